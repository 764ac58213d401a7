//! A node whose kubelet answers.

use backout_model::release::Phase;
use http::StatusCode;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use system_tests::{
    User, eventually,
    proxy::{Fate, Proxy, Reply},
};

use super::ground::{CRASHING, LIVES, PATIENCE, app, audited, ends, evidence, ground};

const NODE: &str = "with-kubelet";

#[tokio::test]
async fn the_last_lines_of_both_instances_are_shown_without_the_values_of_secrets() {
    let ground = ground().await;
    let _alive = LIVES.read().await;
    let cluster = ground.stage.cluster;
    // Nobody is behind it: it answers itself.
    let kubelet = Proxy::start(cluster, &cluster.url()).await.unwrap();
    kubelet.rule(|call| {
        if !call.path.starts_with("/containerLogs/") || !call.query.contains("tailLines=50") {
            return Fate::Reply(Reply::body(StatusCode::NOT_FOUND, ""));
        }
        let instance = if call.query.contains("previous=true") { "previous" } else { "current" };
        let mut log: Vec<_> = (0..60).map(|line| format!("{instance} line {line}")).collect();
        log.push("password=third-passw0rd dXNlZC1wYXNzdzByZA== {\"p\":\"used-passw0rd\"}\n".to_owned());
        Fate::Reply(Reply::body(StatusCode::OK, log.join("\n")))
    });
    let nodes: Api<Node> = Api::all(cluster.client(User::Admin).await.unwrap());
    let node = json!({"metadata": {"name": NODE, "labels": {"kubelet": "yes"}, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "spec": {"taints": [{"key": "kubelet", "value": "yes", "effect": "NoSchedule"}]},
        "status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}});
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let endpoint = json!({"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port()}}}});
    nodes.patch_status(NODE, &PatchParams::default(), &Patch::Merge(&endpoint)).await.unwrap();

    // By no deployer's tool: what was written just before, when the webhook was being installed, would hold the revision.
    let used =
        ["create", "secret", "generic", "used", "--from-literal=P=used-passw0rd", "--field-manager=operator"];
    let home = ground.home_with("kubelet", &["see", "store"], &used).await;
    let here = "    spec:\n      nodeSelector: {kubelet: \"yes\"}\n      tolerations: [{key: kubelet, operator: Exists}]\n";
    ground.deadline(&home, "10m").await;
    let manifest = app(CRASHING, "third-passw0rd").replace("    spec:\n", here);
    home.apply(&manifest, "a bad install").await.unwrap();
    // Given up early in the twelve seconds for which the second instance is neither gone nor followed by a third.
    eventually("there are two instances", PATIENCE, async || {
        let restarts = "jsonpath={.items[*].status.containerStatuses[0].restartCount}";
        let restarts = home.admin(&["get", "pods", "-o", restarts]).await?.success()?.stdout;
        Ok((restarts == "1").then_some(()))
    })
    .await
    .unwrap();
    ground.deadline(&home, "1s").await;
    let status = ends(&home, 1, Phase::RolledBack).await;
    let (_, told) = evidence(&home, &status).await;
    assert_eq!(audited(&home).await.len(), 1);
    let [container] = &told.containers[..] else { panic!("{told:#?}") };
    // While it waits the kubelet would have nothing of the current one.
    assert_ne!(container.state, "waiting", "{told:#?}");
    for (instance, log) in [("previous", &container.previous_log), ("current", &container.log)] {
        assert_eq!(log.len(), 50, "{instance}: {told:#?}");
        assert_eq!(log[0], format!("{instance} line 11"));
        assert_eq!(log[49], "password=[redacted] [redacted] {\"p\":\"[redacted]\"}");
    }
    nodes.delete(NODE, &kube::api::DeleteParams::default()).await.unwrap();
}
