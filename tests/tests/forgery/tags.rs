//! Tenants who lie about the tags of their objects.

use backout_model::{
    names,
    release::{Phase, Release},
};
use kube::Api;
use serde_json::{Value, json};
use system_tests::{Backout, TestNamespace, User, eventually};

use super::super::PATIENCE;

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
    let releases: Api<Release> = Api::namespaced(cluster.client(User::Admin).await.unwrap(), ns.name());
    let status = eventually("the release is healthy", PATIENCE, async || {
        let status = releases.get(ns.name()).await?.status.unwrap_or_default();
        Ok((status.phase == Some(Phase::Healthy)).then_some(status))
    })
    .await
    .unwrap();
    // The object, and the administrator's grant.
    assert_eq!((status.revision, status.history[0].objects), (1, 2), "{status:#?}");
    assert_eq!(status.problems, Vec::<String>::new());
}
