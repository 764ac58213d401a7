//! The definition of releases is generated from the code. After a change: `BLESS=1 cargo test -p backout-model
//! --test manifests`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]
#![allow(clippy::disallowed_methods, reason = "this test writes what it generates")]

use std::{env, fs, path::PathBuf};

use backout_model::release::Release;
use kube_core::CustomResourceExt as _;

#[test]
fn the_definition_of_releases_is_the_one_of_the_code() {
    // Through JSON: fields that are absent stay absent, and their order is always the same.
    let content = serde_json::to_value(Release::crd()).unwrap();
    let yaml = serde_saphyr::to_string(&content).unwrap();
    let text = format!("# Generated from the code; see shared/model/tests/manifests.rs.\n{yaml}");
    for file in ["crds/releases.yaml", "chart/backout/files/releases.yaml"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../manifests").join(file);
        if env::var_os("BLESS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        assert!(fs::read_to_string(&path).unwrap() == text, "{} is out of date: BLESS=1", path.display());
    }
}
