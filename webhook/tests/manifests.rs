//! The webhook's configuration is generated from the code. After a change: `BLESS=1 cargo test -p backout-webhook
//! --test manifests`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]

use std::{env, fs, path::PathBuf};

use backout_model::identity::Deployers;
use backout_webhook::configuration::configuration;

/// In the chart a template writes the deployers of its values in place of this one, or takes its line out.
const PLACEHOLDER: &str = "placeholder:deployer";

#[test]
fn the_webhook_is_called_for_the_writes_that_the_code_records() {
    generated("base/webhook-configuration.yaml", &Deployers::default());
}

#[test]
fn the_chart_has_the_same_configuration_with_one_deployer() {
    generated("chart/backout/files/webhook-configuration.yaml", &Deployers::new([PLACEHOLDER]).unwrap());
}

fn generated(file: &str, deployers: &Deployers) {
    // Through JSON: fields that are absent stay absent, and their order is always the same.
    let content = serde_json::to_value(configuration(deployers)).unwrap();
    let yaml = serde_saphyr::to_string(&content).unwrap();
    let text = format!("# Generated from the code; see webhook/tests/manifests.rs.\n{yaml}");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../manifests").join(file);
    if env::var_os("BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "{} is out of date", path.display());
}
