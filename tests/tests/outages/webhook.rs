//! The webhook killed: deployers have to wait, the cluster does not.

use std::{collections::BTreeSet, time::Duration};

use backout_model::names;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams},
};
use serde_json::json;
use system_tests::{
    Output, User, eventually,
    stories::{Home, Snapshot},
};

#[tokio::test]
async fn a_dead_webhook_stops_deployers_in_atomic_namespaces_and_nobody_else() {
    let (stage, _alone) = super::super::stage().await;
    let (home, bystander) = (stage.home("home").await.unwrap(), stage.bystander("bystander").await.unwrap());
    // Long enough for the records to stay where they can be counted.
    home.admin(&["annotate", "namespace", &home.name, "backout.dev/settle=10m"]).await.unwrap();
    for home in [&home, &bystander] {
        home.apply(MANIFEST, "").await.unwrap();
        has_ready(home, 2).await;
    }
    stage.cluster.grant(&account(&home).name(), "edit", &home.name).await.unwrap();
    let records = record_names(&home).await;
    assert_eq!(records.len(), 3, "one each for Deployment, ConfigMap and RoleBinding");

    stage.backout().webhook().kill9().await.unwrap();
    deployers_are_refused(&home).await;
    dry_runs_and_policy_go_on(&home).await;
    other_namespaces_go_on(&bystander).await;
    controllers_go_on(&home).await;
    applications_go_on(&home).await;
    assert_eq!(record_names(&home).await, records);

    stage.backout().webhook().restart().await.unwrap();
    stage.backout().wait_ready().await.unwrap();
    ok(&home, &["create", "configmap", "afterwards"]).await;
    let found = home.admin(&["get", "configmap", "afterwards", "-o", "json"]).await.unwrap().stdout;
    let found: ConfigMap = serde_json::from_str(&found).unwrap();
    let undo = found.labels()[names::UNDO].clone();
    let mut now = record_names(&home).await;
    assert!(now.remove(&undo), "the write afterwards is not recorded");
    assert_eq!(now, records, "and nothing else is");
}

/// Every kind of write, each with a message that names the webhook; nothing changes.
async fn deployers_are_refused(home: &Home<'_>) {
    let before = Snapshot::take(home).await.unwrap();
    for write in [
        &["create", "configmap", "new"][..],
        &["label", "configmap", "web", "a=b"],
        &["delete", "configmap", "web"],
        &["delete", "deployment", "web"],
        &["scale", "deployment", "web", "--replicas=5"],
        &["set", "image", "deployment/web", "web=registry.example/ready:2"],
    ] {
        let output = home.kubectl(write).await.unwrap();
        assert!(!output.status.success(), "{write:?} was not refused: {output:?}");
        println!("kubectl {}\n{}", write.join(" "), output.stderr);
        assert!(output.stderr.contains("record.backout.dev"), "{write:?}: {}", output.stderr);
        assert!(output.stderr.contains("connection refused"), "{write:?}: {}", output.stderr);
    }
    let after = Snapshot::take(home).await.unwrap();
    assert_eq!(before.differences(&after, &[]), []);
}

async fn dry_runs_and_policy_go_on(home: &Home<'_>) {
    ok(home, &["create", "configmap", "new", "--dry-run=server"]).await;
    eventually("there is a Release", Duration::from_secs(30), async || {
        home.release(&home.name).await.map(Some)
    })
    .await
    .unwrap();
    ok(home, &["patch", "release", &home.name, "--type=merge", "-p", r#"{"spec":{"soak":"1s"}}"#]).await;
}

async fn other_namespaces_go_on(bystander: &Home<'_>) {
    for write in [
        &["create", "configmap", "new"][..],
        &["scale", "deployment", "web", "--replicas=3"],
        &["delete", "configmap", "web"],
    ] {
        ok(bystander, write).await;
    }
    has_ready(bystander, 3).await;
}

/// Pods are replaced, autoscalers scale, rollouts are reported.
async fn controllers_go_on(home: &Home<'_>) {
    let client = home.stage.cluster.client(User::Admin).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client, &home.name);
    let all = async || {
        let listed = pods.list(&ListParams::default().labels("app=web")).await.unwrap();
        listed.iter().map(ResourceExt::name_any).collect::<BTreeSet<_>>()
    };
    let before = all().await;
    let victim = before.first().unwrap();
    ok(home, &["delete", "pod", victim]).await;
    let replaced = async || {
        let now = all().await;
        Ok((now.len() == 2 && !now.contains(victim)).then_some(()))
    };
    eventually("the pod is replaced", Duration::from_secs(30), replaced).await.unwrap();

    let autoscaler = User::ServiceAccount { ns: "kube-system", name: "horizontal-pod-autoscaler" };
    let client = home.stage.cluster.client(autoscaler).await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client, &home.name);
    // A conflict with the Deployment's controller is met by trying again, as autoscalers do.
    eventually("the autoscaler scales", Duration::from_secs(30), async || {
        let mut scale = deployments.get_scale("web").await?;
        scale.spec.get_or_insert_default().replicas = Some(4);
        Ok(Some(deployments.replace_scale("web", &PostParams::default(), &scale).await?))
    })
    .await
    .unwrap();
    has_ready(home, 4).await;
}

/// An application that keeps its state in a ConfigMap is no deployer.
async fn applications_go_on(home: &Home<'_>) {
    let client = home.stage.cluster.client(account(home)).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client, &home.name);
    let state =
        serde_json::from_value(json!({"metadata": {"name": "state"}, "data": {"step": "1"}})).unwrap();
    let mut state = maps.create(&PostParams::default(), &state).await.unwrap();
    state.data.get_or_insert_default().insert("step".to_owned(), "2".to_owned());
    maps.replace("state", &PostParams::default(), &state).await.unwrap();
}

fn account<'a>(home: &'a Home<'_>) -> User<'a> {
    User::ServiceAccount { ns: &home.name, name: "default" }
}

async fn ok(home: &Home<'_>, args: &[&str]) -> Output {
    home.kubectl(args).await.unwrap().success().unwrap()
}

/// Waits until the controllers report so many ready replicas of as many.
async fn has_ready(home: &Home<'_>, replicas: i32) {
    let client = home.stage.cluster.client(User::Admin).await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client, &home.name);
    let ready = async || {
        let status = deployments.get_status("web").await?.status.unwrap_or_default();
        let wanted = Some(replicas);
        Ok((status.ready_replicas == wanted && status.replicas == wanted).then_some(()))
    };
    let what = format!("{replicas} replicas are ready in {}", home.name);
    eventually(what, Duration::from_mins(1), ready).await.unwrap();
}

async fn record_names(home: &Home<'_>) -> BTreeSet<String> {
    let heads = home.stage.cluster.record_heads(&home.name).await.unwrap();
    heads.iter().map(ResourceExt::name_any).collect()
}

const MANIFEST: &str = r"
apiVersion: v1
kind: ConfigMap
metadata: {name: web}
data: {greeting: hello}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: registry.example/ready:1}]}
";
