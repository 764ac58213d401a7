//! Whose writes are recorded, and of which objects.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, PostParams},
};
use serde_json::json;
use system_tests::{Backout, TestNamespace, User, eventually};

use super::super::{ALICE, api, deployment, kubectl, labels, log, map, namespace, tags};

#[tokio::test]
async fn an_application_is_not_recorded_unless_it_deploys_with_a_tool() {
    let (cluster, ns) = namespace("service accounts").await;
    let account = User::ServiceAccount { ns: ns.name(), name: "default" };
    cluster.grant(&account.name(), "edit", ns.name()).await.unwrap();
    let maps = api(cluster, account, &ns, "ConfigMap").await;
    let with =
        |manager: &str| PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    for (name, params) in [("state", PostParams::default()), ("other", with("my-operator"))] {
        let created = maps.create(&params, &map(name, &json!({"a": "1"}))).await.unwrap();
        assert_eq!(labels(&created), [].into());
    }
    // The same account at the same object, with a tool: now it is a deployment.
    kubectl(&ns, account, &["patch", "configmap", "state", "-p", r#"{"data":{"a":"2"}}"#])
        .await
        .success()
        .unwrap();
    ns.apply(account, "{apiVersion: v1, kind: ConfigMap, metadata: {name: applied}, data: {a: b}}")
        .await
        .unwrap();
    maps.create(&with("Helm"), &map("by-helm", &json!({}))).await.unwrap();
    let records = log(cluster, &ns).await;
    let told: Vec<_> = records
        .iter()
        .map(|logged| (logged.header().object.key.name.as_str(), logged.header().tool.as_str()))
        .collect();
    assert_eq!(
        told,
        [("state", "kubectl-patch"), ("applied", "kubectl-client-side-apply"), ("by-helm", "Helm")]
    );
    assert!(records.iter().all(|logged| logged.header().user == account.name()));
    let tagged = maps.get("state").await.unwrap();
    assert_eq!(tags(&tagged), [ns.name(), "1", records[0].name()]);

    // An application that goes on writing to a tagged object leaves the tags alone.
    let mut next = tagged.clone();
    next.data["data"]["a"] = json!("3");
    let next = maps.replace("state", &PostParams::default(), &next).await.unwrap();
    assert_eq!(tags(&next), tags(&tagged));
    assert_eq!(log(cluster, &ns).await.len(), 3);
}

#[tokio::test]
async fn the_clusters_own_accounts_are_never_recorded() {
    let (cluster, ns) = namespace("kube-system").await;
    for name in ["generic-garbage-collector", "default"] {
        let account = User::ServiceAccount { ns: "kube-system", name };
        cluster.grant(&account.name(), "edit", ns.name()).await.unwrap();
        let configmap = format!("by-{name}");
        kubectl(&ns, account, &["create", "configmap", &configmap]).await.success().unwrap();
        let maps = api(cluster, account, &ns, "ConfigMap").await;
        assert_eq!(labels(&maps.get(&configmap).await.unwrap()), [].into());
        kubectl(&ns, account, &["delete", "configmap", &configmap]).await.success().unwrap();
    }
    assert!(log(cluster, &ns).await.is_empty());
}

#[tokio::test]
async fn a_deployment_is_one_record_and_what_its_controllers_make_of_it_none() {
    let (cluster, ns) = namespace("controlled objects").await;
    ns.apply(ALICE, &deployment("web")).await.unwrap();
    let wait = ["rollout", "status", "deployment/web", "--timeout=60s"];
    kubectl(&ns, ALICE, &wait).await.success().unwrap();
    let client = cluster.client(User::Admin).await.unwrap();
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), ns.name());
    let pods: Api<Pod> = Api::namespaced(client, ns.name());
    assert_eq!(untagged(&sets).await, 1);
    assert_eq!(untagged(&pods).await, 2);
    // A person who touches them does not make them part of a release either.
    let pod = pods.list(&ListParams::default()).await.unwrap().items[0].name_any();
    kubectl(&ns, ALICE, &["label", "pod", &pod, "a=b"]).await.success().unwrap();
    kubectl(&ns, ALICE, &["delete", "pod", &pod]).await.success().unwrap();
    let replaced = async || {
        let all = pods.list(&ListParams::default()).await?;
        Ok((all.items.len() == 2 && all.iter().all(|other| other.name_any() != pod)).then_some(()))
    };
    eventually("the pod is replaced", Duration::from_secs(30), replaced).await.unwrap();

    let records = log(cluster, &ns).await;
    let told: Vec<_> = records.iter().map(|logged| logged.header().object.to_string()).collect();
    assert_eq!(told, [format!("Deployment {}/web", ns.name())]);
}

#[tokio::test]
async fn no_change_hides_behind_a_controller_that_it_names() {
    let (cluster, ns) = namespace("adoption").await;
    for name in ["owner", "adopted"] {
        kubectl(&ns, ALICE, &["create", "configmap", name]).await.success().unwrap();
    }
    let maps = api(cluster, ALICE, &ns, "ConfigMap").await;
    let uid = maps.get("owner").await.unwrap().uid();
    let owner =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid, "controller": true});
    let patch = json!({"metadata": {"ownerReferences": [owner]}, "data": {"a": "b"}}).to_string();
    let adopt = ["patch", "configmap", "adopted", "--type=merge", "-p", &patch];
    kubectl(&ns, ALICE, &adopt).await.success().unwrap();
    let records = log(cluster, &ns).await;
    assert_eq!(records.len(), 3);
    assert_eq!(tags(&maps.get("adopted").await.unwrap())[2], records[2].name());
    // From now on it is its controller's.
    kubectl(&ns, ALICE, &["label", "configmap", "adopted", "a=b"]).await.success().unwrap();
    assert_eq!(log(cluster, &ns).await.len(), 3);
}

/// How many there are, none of which carries a tag.
async fn untagged<K>(api: &Api<K>) -> usize
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let all = api.list(&ListParams::default()).await.unwrap().items;
    for object in &all {
        assert!(object.labels().keys().all(|key| !key.contains("backout.dev")), "{:?}", object.labels());
    }
    all.len()
}

#[tokio::test]
async fn a_namespace_that_did_not_opt_in_sees_nothing_of_us() {
    let (cluster, _) = Backout::shared().unwrap();
    let ns = TestNamespace::new(cluster, "no opt in").await.unwrap();
    ns.grant("alice").await.unwrap();
    let create = kubectl(&ns, ALICE, &["create", "configmap", "a"]).await.success().unwrap();
    assert_eq!(create.stderr, "");
    let maps = api(cluster, ALICE, &ns, "ConfigMap").await;
    assert_eq!(labels(&maps.get("a").await.unwrap()), [].into());
    assert!(log(cluster, &ns).await.is_empty());
    let releases = kubectl(&ns, ALICE, &["get", "releases", "-o", "name"]).await.success().unwrap();
    assert_eq!(releases.stdout, "");
}
