//! Cluster-scoped objects: part of a release by its mark, and by nothing else.

use backout_model::{names, release::Phase};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use system_tests::{User, eventually, stories::Home};

use super::super::{PATIENCE, apply, brake, ended, fail, home, label, mark, object, stage};

/// Alice may write cluster-scoped objects, in a way of her own in each test.
async fn grant(home: &Home<'_>) {
    let kinds = [
        ("scheduling.k8s.io", "priorityclasses"),
        ("storage.k8s.io", "storageclasses"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        (&group(home), "kits"),
    ];
    super::super::grant(home, &kinds).await;
}

/// Of the kinds that the test defines.
fn group(home: &Home<'_>) -> String {
    format!("{}.example", home.name.replace('-', ""))
}

fn priority(home: &Home<'_>, name: &str, labels: &Value, text: &str) -> Value {
    json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 7, "description": text,
           "metadata": {"name": format!("{name}-{}", home.name), "labels": labels}})
}

fn storage(home: &Home<'_>) -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "example/none",
           "metadata": {"name": format!("disk-{}", home.name), "labels": mark(home)}})
}

#[tokio::test]
async fn marked_objects_of_the_cluster_are_undone_with_their_release() {
    let stage = stage().await;
    let home = home(&stage, "wide").await;
    grant(&home).await;
    let ours = mark(&home);
    apply(&home, &[priority(&home, "kept", &ours, "one"), storage(&home)]).await;
    ended(&home, 1, Phase::Healthy).await;
    let [kept, added] = ["kept", "added"].map(|name| format!("priorityclass/{name}-{}", home.name));
    let disk = format!("storageclass/disk-{}", home.name);
    let objects = async || [object(&home, &kept).await, object(&home, &disk).await];
    let before = objects().await;
    assert_eq!(label(&before[0], names::RELEASE), home.name);

    apply(
        &home,
        &[priority(&home, "kept", &ours, "two"), priority(&home, "added", &ours, "two"), brake(&home)],
    )
    .await;
    home.kubectl(&["delete", &disk]).await.unwrap().success().unwrap();
    fail(&home).await;
    let status = ended(&home, 2, Phase::RolledBack).await;
    assert_eq!(status.unrestored, []);
    assert_eq!(objects().await, before);
    assert_eq!(object(&home, &added).await, Value::Null);
}

#[tokio::test]
async fn a_mark_that_is_taken_off_does_not_take_the_object_out_of_its_release() {
    let stage = stage().await;
    let home = home(&stage, "unmarked").await;
    grant(&home).await;
    apply(&home, &[priority(&home, "a", &mark(&home), "one")]).await;
    ended(&home, 1, Phase::Healthy).await;
    let name = format!("priorityclass/a-{}", home.name);
    let before = object(&home, &name).await;
    apply(&home, &[priority(&home, "a", &json!({}), "two"), brake(&home)]).await;
    fail(&home).await;
    ended(&home, 2, Phase::RolledBack).await;
    assert_eq!(object(&home, &name).await, before);
}

#[tokio::test]
async fn an_unmarked_object_of_the_cluster_is_left_alone() {
    let stage = stage().await;
    let home = home(&stage, "narrow").await;
    grant(&home).await;
    apply(&home, &[priority(&home, "alone", &json!({"backout.dev/release-name": "x"}), "one")]).await;
    let found = object(&home, &format!("priorityclass/alone-{}", home.name)).await;
    assert_eq!(label(&found, names::UNDO), "");
}

fn definition(home: &Home<'_>, description: &str) -> Value {
    let schema = json!({"type": "object", "description": description, "properties": {"spec": {"type": "object",
        "properties": {"size": {"type": "integer"}, "parts": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["id"], "items": {"type": "object", "required": ["id"], "properties": {
                "id": {"type": "string"}, "size": {"type": "integer"}}}}}}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
           "metadata": {"name": format!("kits.{}", group(home)), "labels": mark(home)},
           "spec": {"group": group(home), "scope": "Namespaced",
                    "names": {"kind": "Kit", "plural": "kits", "singular": "kit"},
                    "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
}

fn kit(home: &Home<'_>, name: &str, parts: &Value) -> Value {
    json!({"apiVersion": format!("{}/v1", group(home)), "kind": "Kit",
           "metadata": {"name": name, "namespace": home.name}, "spec": {"parts": parts}})
}

/// The revision in which all is healthy that was written: one or two, by how fast the writes are.
async fn healthy(home: &Home<'_>) -> u64 {
    eventually("all is healthy", PATIENCE, async || {
        let kit = object(home, &format!("kits.{}/box", group(home))).await;
        let status = home.release(&home.name).await?.status.unwrap_or_default();
        let written: u64 = label(&kit, names::REVISION).parse()?;
        Ok((status.phase == Some(Phase::Healthy) && status.revision >= written).then_some(status.revision))
    })
    .await
    .unwrap()
}

async fn define(home: &Home<'_>, description: &str) {
    apply(home, &[definition(home, description)]).await;
    let crd = format!("crd/kits.{}", group(home));
    home.admin(&["wait", "--for=condition=Established", &crd, "--timeout=30s"])
        .await
        .unwrap()
        .success()
        .unwrap();
}

#[tokio::test]
async fn a_definition_and_its_resources_are_one_release() {
    let stage = stage().await;
    let home = home(&stage, "defined").await;
    grant(&home).await;
    let kits = format!("kits.{}", group(&home));
    define(&home, "one").await;
    apply(&home, &[kit(&home, "box", &json!([{"id": "a", "size": 1}, {"id": "b", "size": 1}]))]).await;
    let revision = healthy(&home).await;
    let crd = format!("crd/{kits}");
    let (definition_before, kit_before) =
        (object(&home, &crd).await, object(&home, &format!("{kits}/box")).await);

    apply(&home, &[brake(&home)]).await;
    define(&home, "two").await;
    let larger = kit(&home, "box", &json!([{"id": "a", "size": 2}, {"id": "b", "size": 1}]));
    apply(&home, &[larger, kit(&home, "new", &json!([]))]).await;
    // Another tool adds a part: the definition says that parts are told apart by their ids.
    let theirs = json!({"apiVersion": kit_before["apiVersion"], "kind": "Kit",
        "metadata": {"name": "box", "namespace": home.name}, "spec": {"parts": [{"id": "theirs", "size": 9}]}});
    let operator = User::ServiceAccount { ns: &home.name, name: "default" };
    stage.cluster.grant(&operator.name(), &format!("reach-{}", home.name), &home.name).await.unwrap();
    // Not with kubectl, which would take the fields of the client-side apply over.
    let resource = ApiResource {
        group: group(&home),
        version: "v1".to_owned(),
        api_version: format!("{}/v1", group(&home)),
        kind: "Kit".to_owned(),
        plural: "kits".to_owned(),
    };
    let client = stage.cluster.client(operator).await.unwrap();
    let api: Api<DynamicObject> = Api::namespaced_with(client, &home.name, &resource);
    eventually("the operator may", PATIENCE, async || {
        Ok(Some(api.patch("box", &PatchParams::apply("operator"), &Patch::Apply(&theirs)).await?))
    })
    .await
    .unwrap();

    fail(&home).await;
    let status = ended(&home, revision + 1, Phase::RolledBack).await;
    assert_eq!(status.unrestored, []);
    assert_eq!(object(&home, &crd).await, definition_before);
    assert_eq!(object(&home, &format!("{kits}/new")).await, Value::Null);
    let restored = object(&home, &format!("{kits}/box")).await;
    assert_eq!(
        restored["spec"]["parts"],
        json!([{"id": "a", "size": 1}, {"id": "b", "size": 1}, {"id": "theirs", "size": 9}])
    );
}

#[tokio::test]
async fn a_definition_of_a_failed_install_is_kept_and_reported_and_its_resources_go() {
    let stage = stage().await;
    let home = home(&stage, "undefined").await;
    grant(&home).await;
    let kits = format!("kits.{}", group(&home));
    apply(&home, &[brake(&home)]).await;
    define(&home, "one").await;
    apply(&home, &[kit(&home, "box", &json!([]))]).await;
    fail(&home).await;
    let status = ended(&home, 1, Phase::RolledBack).await;
    let told: Vec<_> =
        status.unrestored.iter().map(|left| (left.object.kind.as_str(), left.reason.as_str())).collect();
    assert_eq!(
        told,
        [(
            "CustomResourceDefinition",
            "kept, because it holds data; the annotation backout.dev/on-rollback: delete would have it taken down"
        )]
    );
    assert_eq!(object(&home, &format!("{kits}/box")).await, Value::Null);
    assert_ne!(object(&home, &format!("crd/{kits}")).await, Value::Null);
}
