//! What the manifests repeat of the code is generated from it. After a change: `BLESS=1 cargo test -p backout-model
//! --test manifests`.

use std::{env, fs, path::PathBuf};

use backout_model::{
    identity::{Deployers, match_conditions},
    names,
    release::Release,
};
use kube_core::CustomResourceExt as _;
use serde::Serialize;
use serde_json::json;

fn assert_generated(file: &str, content: &impl Serialize) {
    // Through JSON: fields that are absent stay absent, and their order is always the same.
    let content = serde_json::to_value(content).unwrap();
    let yaml = serde_saphyr::to_string(&content).unwrap();
    let text = format!("# Generated from the code; see shared/model/tests/manifests.rs.\n{yaml}");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../manifests").join(file);
    if env::var_os("BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "{} is out of date", path.display());
}

#[test]
fn the_definition_of_releases_is_the_one_of_the_code() {
    assert_generated("crds/releases.yaml", &Release::crd());
}

#[test]
fn the_webhook_is_called_for_the_writes_that_the_code_records() {
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        // Webhooks are called in the order of their configurations' names: the later, the nearer to what is stored.
        "metadata": {"name": "zz-backout", "labels": {"app.kubernetes.io/part-of": "backout"}},
        "webhooks": [{
            "name": "record.backout.dev",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "backout-webhook", "namespace": "backout-system", "path": "/admit"}},
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "NoneOnDryRun",
            "timeoutSeconds": 5,
            "namespaceSelector": {
                "matchLabels": {names::ATOMIC: names::ATOMIC_ENABLED},
                "matchExpressions": [{
                    "key": "kubernetes.io/metadata.name",
                    "operator": "NotIn",
                    "values": ["kube-system", "kube-node-lease", "backout-system"],
                }],
            },
            "rules": [{
                "apiGroups": ["*"],
                "apiVersions": ["*"],
                "operations": ["CREATE", "UPDATE", "DELETE"],
                "resources": ["*", "*/scale"],
                "scope": "Namespaced",
            }],
            "matchConditions": match_conditions(&Deployers::default()),
        }],
    });
    assert_generated("base/webhook-configuration.yaml", &configuration);
}
