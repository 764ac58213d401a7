//! What there is in the world, and what happens in it again and again.

use serde_json::{Value, json};

use super::*;

pub(crate) fn seconds(n: i64) -> jiff::SignedDuration {
    jiff::SignedDuration::from_secs(n)
}

pub(crate) fn key(kind: &str, name: &str) -> ObjectKey {
    reference(kind, name).key
}

#[expect(clippy::unnecessary_wraps, reason = "what is deployed is some content, or none")]
pub(crate) fn data(text: &str) -> Option<Value> {
    Some(json!({"data": {"text": text}}))
}

#[expect(clippy::unnecessary_wraps, reason = "what is deployed is some content, or none")]
pub(crate) fn failed_job() -> Option<Value> {
    Some(json!({"spec": {"completions": 1}, "status": {"startTime": "2026-01-01T00:00:00Z",
        "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "no luck"}]}}))
}

/// A release of two ConfigMaps that has become healthy.
pub(crate) fn healthy() -> World {
    let mut world = World::new();
    world.deploy("ConfigMap", "a", data("one"));
    world.deploy("ConfigMap", "b", data("one"));
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Phase::Open, Phase::Soaking, Phase::Healthy]);
    world.phases.clear();
    world.notices.clear();
    world
}

/// An upgrade of it that changes one object, deletes one and creates two, of which one fails.
pub(crate) fn bad_upgrade(world: &mut World) {
    world.deploy("ConfigMap", "a", data("two"));
    world.deploy("ConfigMap", "b", None);
    world.deploy("ConfigMap", "c", data("new"));
    world.deploy("Job", "migrate", failed_job());
}

/// What Helm does to its release Secret, without naming itself.
pub(crate) fn helm(world: &mut World, version: u32, status: &str) {
    let name = format!("sh.helm.release.v1.web.v{version}");
    let object = world.objects.get(&key("Secret", &name)).cloned();
    let mut metadata =
        object.map_or_else(|| json!({"name": name, "namespace": "shop"}), |o| o["metadata"].clone());
    metadata["labels"]["status"] = json!(status);
    let tool = std::mem::take(&mut world.by.1);
    world.deploy("Secret", &name, Some(json!({"metadata": metadata})));
    world.by.1 = tool;
}

pub(crate) fn reference(kind: &str, name: &str) -> ObjectRef {
    let (group, resource) = match kind {
        "Job" => ("batch", "jobs"),
        "Deployment" => ("apps", "deployments"),
        "StatefulSet" => ("apps", "statefulsets"),
        "Role" => ("rbac.authorization.k8s.io", "roles"),
        "ConfigMap" => ("", "configmaps"),
        "Secret" => ("", "secrets"),
        "PersistentVolumeClaim" => ("", "persistentvolumeclaims"),
        other => panic!("the world knows no {other}"),
    };
    ObjectRef {
        key: ObjectKey {
            group: group.into(),
            resource: resource.into(),
            namespace: Some("shop".into()),
            name: name.into(),
        },
        version: "v1".into(),
        kind: kind.into(),
    }
}

/// The first version of a client is healthy.
pub(crate) fn installed() -> World {
    let mut world = World::new();
    world.by.1 = "helm";
    helm(&mut world, 1, "deployed");
    world.deploy("ConfigMap", "a", data("one"));
    world.run(120, || FOREVER);
    assert_eq!(world.status.phase, Some(Phase::Healthy));
    world
}

pub(crate) fn ask(world: &mut World, request: &'static str) {
    world.request = Some(request);
    world.run(200, || FOREVER);
}

/// A client has begun its second version, and somebody has that held before it has written anything else.
pub(crate) fn held_when_begun(world: &mut World) {
    helm(world, 2, "pending-upgrade");
    world.look(FOREVER);
    world.request = Some("hold");
    world.look(FOREVER);
}

/// A client waits for its second version, which has failed and is rolled back.
pub(crate) fn fenced() -> World {
    let mut world = installed();
    helm(&mut world, 2, "pending-upgrade");
    world.deploy("Job", "migrate", failed_job());
    world.run(60, || FOREVER);
    assert_eq!((world.status.phase, world.status.fence.is_some()), (Some(Phase::RolledBack), true));
    world
}

/// What Helm would list: its versions with their states.
pub(crate) fn history(world: &World) -> BTreeMap<String, String> {
    let secrets = world.objects.iter().filter(|(key, _)| key.resource == "secrets");
    secrets
        .map(|(key, object)| {
            let status = object["metadata"]["labels"]["status"].as_str().unwrap_or_default();
            (key.name.rsplit('.').next().unwrap().to_owned(), status.to_owned())
        })
        .collect()
}

pub(crate) fn listed(versions: &[(&str, &str)]) -> BTreeMap<String, String> {
    versions.iter().map(|(version, status)| ((*version).to_owned(), (*status).to_owned())).collect()
}

pub(crate) fn texts(world: &World) -> BTreeMap<String, Value> {
    world.state().into_iter().map(|(key, object)| (key, object["data"].clone())).collect()
}
