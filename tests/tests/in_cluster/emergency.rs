//! All of the webhook is gone: what does not go on, what does, and the way back with kubectl alone.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};
use system_tests::{
    User, eventually,
    stories::{Home, Stage},
};

use super::ground::Ground;

#[tokio::test]
async fn without_the_webhook_only_deployers_in_namespaces_that_opted_in_have_to_wait_and_kubectl_brings_it_back()
 {
    let Some(ground) = Ground::alone().await else { return };
    let stage = ground.stage();
    let home = stage.home("emergency").await.unwrap();
    let other = stage.bystander("bystander").await.unwrap();
    let small = Stage::small("registry.example/ready:1", "hello").unwrap();
    home.apply(&small, "kubectl apply -f small.yaml").await.unwrap();
    home.end_of(&home.name, 1, Duration::from_mins(3)).await.unwrap();

    scale(&ground, 0).await;
    let refused = home.kubectl(&["create", "configmap", "late"]).await.unwrap();
    assert!(
        refused.stderr.contains("failed calling webhook \"record.backout.dev\""),
        "{} {}",
        refused.stdout,
        refused.stderr
    );
    // People elsewhere, the system, and the cluster's own controllers in the very namespace.
    other.kubectl(&["create", "configmap", "any"]).await.unwrap().success().unwrap();
    ground.admin(&["-n", "kube-system", "create", "configmap", "any"]).await.unwrap();
    ground.own(&["create", "configmap", "any"]).await.unwrap();
    ground.admin(&["label", "node", system_tests::node::NAME, "example.com/any=yes"]).await.unwrap();
    a_pod_is_replaced(&home).await;

    scale(&ground, 2).await;
    eventually("writes go on", Duration::from_mins(1), async || {
        Ok(home.kubectl(&["create", "configmap", "again"]).await?.success().ok())
    })
    .await
    .unwrap();

    // The last resort, and the way back from it.
    scale(&ground, 0).await;
    ground.admin(&["delete", "mutatingwebhookconfiguration", "zz-backout"]).await.unwrap();
    eventually("nobody is asked any more", Duration::from_mins(1), async || {
        Ok(home.kubectl(&["label", "configmap", "again", "--overwrite", "a=b"]).await?.success().ok())
    })
    .await
    .unwrap();
    ground.install().await.unwrap();
}

async fn scale(ground: &Ground, replicas: u8) {
    let option = format!("--replicas={replicas}");
    ground.own(&["scale", "deployment/backout-webhook", &option]).await.unwrap();
    if replicas == 0 {
        let pods = ["-l", "app.kubernetes.io/name=backout-webhook"];
        let gone = [&["wait", "--for=delete", "pod", "--timeout=2m"][..], &pods].concat();
        ground.own(&gone).await.unwrap();
    } else {
        ground.rolls_out("backout-webhook").await.unwrap();
    }
}

/// A pod that is lost while nobody can be asked has another one in its place.
async fn a_pod_is_replaced(home: &Home<'_>) {
    let pods: Api<Pod> = Api::namespaced(home.stage.cluster.client(User::Admin).await.unwrap(), &home.name);
    let list = async || pods.list(&ListParams::default()).await.unwrap().items;
    let before = list().await;
    let victim = before.first().unwrap().name_any();
    // By the one that may: the administrator is a deployer, too.
    let collector = User::ServiceAccount { ns: "kube-system", name: "pod-garbage-collector" };
    let kubectl = home.stage.cluster.kubectl().user(collector);
    kubectl.run(&["-n", &home.name, "delete", "pod", &victim]).await.unwrap().success().unwrap();
    eventually("there are as many pods again", Duration::from_mins(1), async || {
        let now = list().await;
        let is_new = now.iter().all(|pod| pod.name_any() != victim) && now.len() == before.len();
        Ok(is_new.then_some(()))
    })
    .await
    .unwrap();
}
