//! A release of two namespaces: who may join it, and that it is undone in both.

use backout_model::{names, release::Phase};
use serde_json::{Value, json};
use system_tests::{TestNamespace, User};

use super::super::{apply, brake, ended, fail, home, label, mark, object, stage};

fn map(namespace: &str, name: &str, labels: &Value, text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"text": text},
           "metadata": {"name": name, "namespace": namespace, "labels": labels}})
}

#[tokio::test]
async fn a_release_of_two_namespaces_is_undone_in_both() {
    let stage = stage().await;
    let (front, back) = (home(&stage, "front").await, home(&stage, "back").await);
    let ours = mark(&front);
    let inside = |text| map(&front.name, "inside", &json!({}), text);
    let outside = |name, text| map(&back.name, name, &ours, text);
    apply(&front, &[inside("one"), outside("changed", "one"), outside("removed", "one")]).await;
    ended(&front, 1, Phase::Healthy).await;
    let objects = async || {
        [
            object(&front, "cm/inside").await,
            object(&back, "cm/changed").await,
            object(&back, "cm/removed").await,
        ]
    };
    let before = objects().await;

    apply(&front, &[inside("two"), outside("changed", "two"), outside("added", "two"), brake(&front)]).await;
    back.kubectl(&["delete", "configmap", "removed"]).await.unwrap().success().unwrap();
    fail(&front).await;
    let status = ended(&front, 2, Phase::RolledBack).await;
    assert_eq!(status.unrestored, []);
    assert_eq!(objects().await, before);
    assert_eq!(object(&back, "cm/added").await, Value::Null);
    let releases = back.admin(&["get", "releases", "-o", "name"]).await.unwrap().success().unwrap();
    assert_eq!(releases.stdout, "", "nothing there is a release of its own");
}

#[tokio::test]
async fn who_may_not_join_a_release_stays_in_that_of_the_objects_own_namespace() {
    let stage = stage().await;
    let (front, back) = (home(&stage, "guarded").await, home(&stage, "intruder").await);
    stage.cluster.grant("mallory", "admin", &back.name).await.unwrap();
    let intrusion = map(&back.name, "intrusion", &mark(&front), "x").to_string();
    let kubectl = stage.cluster.kubectl().user(User::Named("mallory")).stdin(intrusion);
    kubectl.run(&["apply", "-f", "-"]).await.unwrap().success().unwrap();
    let found = object(&back, "cm/intrusion").await;
    assert_eq!(label(&found, names::RELEASE), back.name);
    ended(&back, 1, Phase::Healthy).await;
    let releases = front.admin(&["get", "releases", "-o", "name"]).await.unwrap().success().unwrap();
    assert_eq!(releases.stdout, "");
}

#[tokio::test]
async fn a_release_in_a_namespace_that_did_not_opt_in_is_joined_by_nobody() {
    let stage = stage().await;
    let back = home(&stage, "inside").await;
    let front = TestNamespace::new(stage.cluster, "not opted in").await.unwrap();
    front.grant("alice").await.unwrap();
    let mark = json!({"backout.dev/release-name": "x", "backout.dev/release-namespace": front.name()});
    apply(&back, &[map(&back.name, "a", &mark, "x")]).await;
    let found = object(&back, "cm/a").await;
    assert_eq!(label(&found, names::RELEASE), back.name);
    ended(&back, 1, Phase::Healthy).await;
}
