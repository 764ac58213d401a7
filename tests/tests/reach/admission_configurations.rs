//! Admission configurations, of whose writes no webhook is told.

use std::{fmt::Debug, ops::RangeBounds};

use backout_model::release::Phase;
use serde_json::{Value, json};
use system_tests::{eventually, stories::Home};

use super::super::{PATIENCE, apply, brake, ended, fail, grant, home, mark, object, stage};

const API: &str = "admissionregistration.k8s.io/v1";

/// A policy that never refuses anything.
fn policy(home: &Home<'_>, name: &str, message: &str) -> Value {
    json!({"apiVersion": API, "kind": "ValidatingAdmissionPolicy",
           "metadata": {"name": format!("{name}-{}", home.name), "labels": mark(home)},
           "spec": {"matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                        "operations": ["CREATE"], "resources": ["configmaps"]}]},
                    "validations": [{"expression": "true", "message": message}]}})
}

/// A webhook for a kind that nobody has.
fn webhook(home: &Home<'_>) -> Value {
    let rule = json!({"apiGroups": ["none.example"], "apiVersions": ["v1"], "operations": ["CREATE"],
                      "resources": ["nothings"]});
    json!({"apiVersion": API, "kind": "ValidatingWebhookConfiguration",
           "metadata": {"name": format!("hook-{}", home.name), "labels": mark(home)},
           "webhooks": [{"name": "hook.none.example", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                         "clientConfig": {"url": "https://127.0.0.1:1/none"}, "rules": [rule]}]})
}

/// Waits until the log of the release holds so many records: without a webhook nobody waits for the watcher's.
async fn recorded(home: &Home<'_>, counts: impl RangeBounds<usize> + Debug) {
    eventually(format!("{counts:?} records"), PATIENCE, async || {
        let heads = home.stage.cluster.record_heads(&home.name).await?;
        Ok(counts.contains(&heads.len()).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn admission_configurations_are_undone_although_no_webhook_sees_them_written() {
    let stage = stage().await;
    let home = home(&stage, "policies").await;
    let group = "admissionregistration.k8s.io";
    grant(&home, &[(group, "validatingadmissionpolicies"), (group, "validatingwebhookconfigurations")]).await;
    apply(&home, &[policy(&home, "changed", "one"), webhook(&home)]).await;
    ended(&home, 1, Phase::Healthy).await;
    recorded(&home, ..1).await;
    let name = |kind: &str, name: &str| format!("{kind}/{name}-{}", home.name);
    let changed = name("validatingadmissionpolicy", "changed");
    let hook = name("validatingwebhookconfiguration", "hook");
    let objects = async || [object(&home, &changed).await, object(&home, &hook).await];
    let before = objects().await;

    apply(&home, &[brake(&home), policy(&home, "changed", "two"), policy(&home, "added", "two")]).await;
    home.kubectl(&["delete", &hook]).await.unwrap().success().unwrap();
    recorded(&home, 4..).await;
    fail(&home).await;
    let status = ended(&home, 2, Phase::RolledBack).await;
    assert_eq!(status.unrestored, []);
    assert_eq!(objects().await, before);
    assert_eq!(object(&home, &name("validatingadmissionpolicy", "added")).await, Value::Null);
    // Our own writes are no release.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(home.release(&home.name).await.unwrap().status.unwrap().revision, 2);
}
