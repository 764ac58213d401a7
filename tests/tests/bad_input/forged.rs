//! Tenants who lie: about the tags of their objects, and to the webhook itself.

use std::time::Duration;

use backout_model::{
    names,
    release::{Phase, ReleaseStatus},
};
use serde_json::{Value, json};
use system_tests::{
    Backout, TestNamespace, User, demo, eventually, oracle,
    stories::{Home, Quiet, Snapshot, Stage},
};
use tokio::sync::OnceCell;

use super::super::{healthy, review};

#[tokio::test]
async fn tags_that_a_tenant_sets_are_overwritten_and_never_believed() {
    let (cluster, _) = Backout::shared().unwrap();
    let ns = TestNamespace::atomic(cluster, "forged tags", &[]).await.unwrap();
    ns.grant("alice").await.unwrap();
    let undo = format!("u-{}", "0".repeat(40));
    let labels = json!({names::RELEASE: "other", names::REVISION: "99", names::UNDO: undo, "app": "a"});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
                     "metadata": {"name": "a", "labels": labels}, "data": {"a": "b"}});
    ns.apply(User::Named("alice"), &map.to_string()).await.unwrap();
    let get = ["get", "configmap", "a", "-n", ns.name(), "-o", "json"];
    let stored = async || -> Value {
        let output = cluster.kubectl().run(&get).await.unwrap().success().unwrap();
        let mut stored: Value = serde_json::from_str(&output.stdout).unwrap();
        // The server notes who tried.
        stored["metadata"]["resourceVersion"].take();
        stored
    };
    let first = stored().await;
    let labels = &first["metadata"]["labels"];
    assert_eq!((&labels[names::RELEASE], &labels[names::REVISION]), (&json!(ns.name()), &json!("1")));
    assert_ne!(labels[names::UNDO], undo);
    assert_eq!(labels["app"], "a");

    // Tags alone are no content: they are given back.
    for args in [
        &["label", "--overwrite", "configmap", "a", "backout.dev/undo=u-1", "backout.dev/revision=7"][..],
        &["label", "--overwrite", "configmap", "a", "backout.dev/undo-", "backout.dev/release-"],
    ] {
        let args = [args, &["-n", ns.name()]].concat();
        cluster.kubectl().user(User::Named("alice")).run(&args).await.unwrap().success().unwrap();
        assert_eq!(stored().await, first);
    }
    let status = healthy(cluster, ns.name()).await.unwrap();
    // The object, and the administrator's grant.
    assert_eq!((status.revision, status.history[0].objects), (1, 2), "{status:#?}");
    assert_eq!(status.problems, Vec::<String>::new());
}

#[tokio::test]
async fn forged_reviews_alone_make_the_watcher_write_nothing() {
    let stage = stage().await;
    let home = stage.home("forged").await.unwrap();
    home.apply(&manifest("registry.example/ready:1", "hello"), "").await.unwrap();
    ended(&home, 1, Phase::Healthy).await;
    let before = Snapshot::take(&home).await.unwrap();

    forge(&home).await;
    // None of it committed: what no object bears out goes after the longest time that a write may take.
    eventually("the forged records are collected", Duration::from_mins(2), async || {
        Ok(stage.cluster.record_heads(&home.name).await?.is_empty().then_some(()))
    })
    .await
    .unwrap();
    let status = home.release(&home.name).await.unwrap().status.unwrap();
    println!("after forged reviews alone: {:?}, revision {}", status.phase, status.revision);
    assert_eq!(status.phase, Some(Phase::Healthy), "{status:#?}");
    assert_eq!(before.differences(&Snapshot::take(&home).await.unwrap(), &[]), []);
    let witness = oracle::witness(stage.cluster, &["alice"]).await.unwrap();
    assert!(!witness.restores.contains_key(&home.name), "{witness:#?}");
}

#[tokio::test]
async fn a_rollback_restores_nothing_that_was_only_forged() {
    let stage = stage().await;
    let home = stage.home("forged-upgrade").await.unwrap();
    home.apply(&manifest("registry.example/ready:1", "hello"), "").await.unwrap();
    ended(&home, 1, Phase::Healthy).await;
    let before = Snapshot::take(&home).await.unwrap();

    forge(&home).await;
    home.apply(&manifest("registry.example/missing:2", "bye"), "").await.unwrap();
    forge(&home).await;
    ended(&home, 2, Phase::RolledBack).await;
    assert_eq!(before.differences(&Snapshot::take(&home).await.unwrap(), &[]), []);
    let witness = oracle::witness(stage.cluster, &["alice"]).await.unwrap();
    let violations: Vec<_> = witness.violations.iter().filter(|what| what.contains(&home.name)).collect();
    assert_eq!(violations, Vec::<&String>::new());
    let restores = &witness.restores[&home.name];
    assert!(restores.iter().all(|restore| restore.contains("/web ")), "{restores:#?}");
}

/// Reviews that the API server never sent: of an object that never was, and of real ones with invented content.
async fn forge(home: &Home<'_>) {
    let stage = home.stage;
    let client = stage.backout.admission_client(&stage.cluster.authority().ca()).unwrap();
    let ghost = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"evil": "ghost"}, "metadata": {
        "name": "ghost", "namespace": home.name, "uid": "00000000-0000-4000-8000-000000000000",
        "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}});
    let mut reviews = vec![
        review("DELETE", &home.name, None, Some(&ghost)),
        review("CREATE", &home.name, Some(&ghost), None),
    ];
    for name in ["web", "untouched"] {
        let output = home.admin(&["get", "configmap", name, "-o", "json"]).await.unwrap().success().unwrap();
        let real: Value = serde_json::from_str(&output.stdout).unwrap();
        let mut invented = real.clone();
        invented["data"] = json!({"evil": "invented"});
        reviews.push(review("UPDATE", &home.name, Some(&real), Some(&invented)));
    }
    for review in reviews {
        let answer = client.review("/admit?timeout=5s", &review).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        let undo = &answer["response"]["auditAnnotations"]["undo"];
        assert!(undo.is_string(), "{review} left no record: {answer}");
    }
}

async fn ended(home: &Home<'_>, revision: u64, wanted: Phase) -> ReleaseStatus {
    let end = home.end_of(&home.name, revision, Duration::from_mins(2)).await.unwrap();
    let status = end.status.unwrap();
    assert_eq!(status.phase, Some(wanted), "{status:#?}");
    status
}

pub(super) async fn stage() -> Stage<'static> {
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    let (cluster, backout) = Backout::shared().unwrap();
    DEFINED.get_or_try_init(|| demo::definitions(cluster)).await.unwrap();
    Stage { cluster, backout, tell: &Quiet, suffix: format!("-{:08x}", rand::random::<u32>()) }
}

pub(super) fn manifest(image: &str, greeting: &str) -> String {
    format!(
        r"
apiVersion: v1
kind: ConfigMap
metadata: {{name: untouched}}
data: {{a: b}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: web}}
data: {{greeting: {greeting}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: web, image: '{image}'}}]}}
"
    )
}
