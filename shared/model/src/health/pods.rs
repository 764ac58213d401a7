//! Which pods show whether the new revision of a workload works.
//!
//! By owner and revision, never by label selector alone: a crash of the old revision says nothing about the new one.

use serde_json::Value;

use super::{Scene, facts::Facts, freshness::Case};
use crate::object::{Image, ObjectRef};

/// The kinds whose pods are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Workload {
    Deployment,
    ReplicaSet,
    ReplicationController,
    StatefulSet,
    DaemonSet,
    Job,
    Pod,
}

impl Workload {
    /// What kind of workload an object is, if it is one.
    pub(super) fn of(object: &ObjectRef) -> Option<Self> {
        match (object.key.group.as_str(), object.kind.as_str()) {
            ("apps", "Deployment") => Some(Self::Deployment),
            ("apps", "ReplicaSet") => Some(Self::ReplicaSet),
            ("", "ReplicationController") => Some(Self::ReplicationController),
            ("apps", "StatefulSet") => Some(Self::StatefulSet),
            ("apps", "DaemonSet") => Some(Self::DaemonSet),
            ("batch", "Job") => Some(Self::Job),
            ("", "Pod") => Some(Self::Pod),
            _ => None,
        }
    }

    /// A pod that an eviction or its node ended stays as an object; its owner has made another one.
    fn replaces_failed_pods(self) -> bool {
        !matches!(self, Self::Job | Self::Pod)
    }
}

/// The pods of the new revision that are neither on their way out nor given up for another. None while the controller
/// has not seen the new spec, or may not act on it: what it calls the newest revision is still the old one.
pub(super) fn of_new_revision<'a>(workload: Workload, case: &Case<'a>, scene: &'a Scene) -> Vec<&'a Value> {
    let given_up = |pod: &Value| workload.replaces_failed_pods() && (has_failed(pod) || is_disrupted(pod));
    new_revision(workload, case, scene).filter(|pod| !given_up(pod)).collect()
}

/// The pods of the new revision that ended and were given up for others.
pub(super) fn ended<'a>(workload: Workload, case: &Case<'a>, scene: &'a Scene) -> Vec<&'a Value> {
    let ended = |pod: &Value| workload.replaces_failed_pods() && has_failed(pod);
    new_revision(workload, case, scene).filter(|pod| ended(pod)).collect()
}

fn has_failed(pod: &Value) -> bool {
    Facts(pod).text("/status/phase") == "Failed"
}

/// Something takes the pod away: an eviction, a preemption, the end of its node. What its containers do then is no word
/// about the revision.
pub(super) fn is_disrupted(pod: &Value) -> bool {
    Facts(pod).is_true("DisruptionTarget")
}

fn new_revision<'a>(
    workload: Workload,
    case: &Case<'a>,
    scene: &'a Scene,
) -> impl Iterator<Item = &'a Value> + use<'a> {
    let object = case.live;
    let seen = !object.is_unobserved() && !object.flag("/spec/paused");
    let pods: Vec<&Value> = match Image(object.0).uid().filter(|_| seen) {
        None => Vec::new(),
        Some(uid) => match workload {
            Workload::Pod => vec![object.0],
            Workload::Deployment => {
                match new_replica_set(object, uid, scene).and_then(|set| Image(set).uid()) {
                    Some(set) => controlled_by(set, scene).collect(),
                    None => Vec::new(),
                }
            }
            Workload::ReplicaSet | Workload::ReplicationController | Workload::Job => {
                controlled_by(uid, scene).collect()
            }
            Workload::StatefulSet => {
                let revision = object.text("/status/updateRevision");
                controlled_by(uid, scene)
                    .filter(|pod| Image(pod).label(REVISION_HASH) == Some(revision))
                    .collect()
            }
            Workload::DaemonSet => newest(object, controlled_by(uid, scene).collect()),
        },
    };
    pods.into_iter().filter(|pod| !Image(pod).is_terminating())
}

/// All pods of a workload, of whatever revision.
pub(super) fn all_of<'a>(uid: &'a str, scene: &'a Scene) -> impl Iterator<Item = &'a Value> {
    let sets = scene.replica_sets.iter().filter(move |set| Image(set).controller() == Some(uid));
    let owners: Vec<_> = sets.filter_map(|set| Image(set).uid()).chain([uid]).collect();
    scene.pods.iter().filter(move |pod| Image(pod).controller().is_some_and(|owner| owners.contains(&owner)))
}

/// The word by which a workload's controller tells its rollouts apart.
pub(super) fn rollout(object: Facts<'_>) -> &str {
    let of_daemon_set = || Image(object.0).annotation(TEMPLATE_GENERATION.0);
    let of_stateful_set = || Some(object.text("/status/updateRevision"));
    Image(object.0).annotation(REVISION).or_else(of_daemon_set).or_else(of_stateful_set).unwrap_or_default()
}

const REVISION_HASH: &str = "controller-revision-hash";
const TEMPLATE_HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
/// The DaemonSet's annotation and its pods' label that count the changes of the template: all that tells without the
/// `ControllerRevision`s which pods are new.
const TEMPLATE_GENERATION: (&str, &str) =
    ("deprecated.daemonset.template.generation", "pod-template-generation");

pub(super) fn controlled_by<'a>(uid: &str, scene: &'a Scene) -> impl Iterator<Item = &'a Value> {
    scene.pods.iter().filter(move |pod| Image(pod).controller() == Some(uid))
}

/// By the revision that the controller wrote on both; failing that by the template, the oldest of equals, as the
/// controller itself chooses.
pub(super) fn new_replica_set<'a>(deployment: Facts<'_>, uid: &str, scene: &'a Scene) -> Option<&'a Value> {
    let mut owned: Vec<&Value> =
        scene.replica_sets.iter().filter(|set| Image(set).controller() == Some(uid)).collect();
    let revision = Image(deployment.0).annotation(REVISION);
    if let Some(set) =
        owned.iter().find(|set| revision.is_some() && Image(set).annotation(REVISION) == revision)
    {
        return Some(set);
    }
    owned.sort_by_key(|set| Image(set).meta("creationTimestamp"));
    owned.into_iter().find(|set| same_template(deployment, Facts(set)))
}

fn same_template(deployment: Facts<'_>, set: Facts<'_>) -> bool {
    let mut template = set.0.pointer("/spec/template").cloned();
    if let Some(labels) = template
        .as_mut()
        .and_then(|template| template.pointer_mut("/metadata/labels"))
        .and_then(Value::as_object_mut)
    {
        labels.remove(TEMPLATE_HASH);
    }
    template.as_ref() == deployment.0.pointer("/spec/template")
}

fn newest<'a>(daemon_set: Facts<'_>, pods: Vec<&'a Value>) -> Vec<&'a Value> {
    let (annotation, label) = TEMPLATE_GENERATION;
    if let Some(generation) = Image(daemon_set.0).annotation(annotation) {
        return pods.into_iter().filter(|pod| Image(pod).label(label) == Some(generation)).collect();
    }
    let youngest = pods.iter().max_by_key(|pod| Image(pod).meta("creationTimestamp"));
    let hash = youngest.and_then(|pod| Image(pod).label(REVISION_HASH));
    pods.into_iter().filter(|pod| Image(pod).label(REVISION_HASH) == hash).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned(kind: &str, name: &str, owner: &str) -> Value {
        json!({"kind": kind, "metadata": {"name": name, "uid": format!("{name}-uid"), "labels": {}, "annotations": {},
               "ownerReferences": [{"uid": owner, "controller": true}]}})
    }

    fn with(mut object: Value, pointer: &str, value: Value) -> Value {
        *object.pointer_mut(pointer).unwrap() = value;
        object
    }

    fn names(workload: Workload, object: &Value, scene: &Scene) -> Vec<String> {
        of_new_revision(workload, &Case::new(object, None), scene)
            .iter()
            .map(|pod| Image(pod).meta("name").unwrap().to_owned())
            .collect()
    }

    fn deployment_scene() -> (Value, Scene) {
        let set = |name: &str, revision: &str| {
            with(owned("ReplicaSet", name, "d"), "/metadata/annotations", json!({REVISION: revision}))
        };
        let object = json!({"metadata": {"uid": "d", "generation": 2, "annotations": {REVISION: "2"}},
                            "status": {"observedGeneration": 2}});
        let scene = Scene {
            pods: vec![
                owned("Pod", "old", "web-1-uid"),
                owned("Pod", "new", "web-2-uid"),
                with(owned("Pod", "foreign", "other-2-uid"), "/metadata/labels", json!({TEMPLATE_HASH: "2"})),
            ],
            replica_sets: vec![set("web-1", "1"), set("web-2", "2")],
            ..Scene::default()
        };
        (object, scene)
    }

    #[test]
    fn the_pods_of_a_deployment_are_those_of_its_newest_replica_set() {
        let (object, scene) = deployment_scene();
        assert_eq!(names(Workload::Deployment, &object, &scene), ["new"]);
    }

    #[test]
    fn no_pod_is_new_before_the_controller_has_seen_the_change() {
        let (object, scene) = deployment_scene();
        let object = with(object, "/metadata/generation", json!(3));
        assert_eq!(names(Workload::Deployment, &object, &scene), Vec::<String>::new());
    }

    #[test]
    fn no_pod_is_new_while_the_deployment_is_paused() {
        let (mut object, scene) = deployment_scene();
        object["spec"] = json!({"paused": true});
        assert_eq!(names(Workload::Deployment, &object, &scene), Vec::<String>::new());
    }

    #[test]
    fn pods_that_are_on_their_way_out_or_evicted_do_not_count() {
        let (object, mut scene) = deployment_scene();
        scene.pods[1]["status"] = json!({"phase": "Failed", "reason": "Evicted"});
        assert_eq!(names(Workload::Deployment, &object, &scene), Vec::<String>::new());
        scene.pods[1]["status"] = json!({});
        scene.pods[1]["metadata"]["deletionTimestamp"] = json!("2026-11-22T22:00:00Z");
        assert_eq!(names(Workload::Deployment, &object, &scene), Vec::<String>::new());
    }

    #[test]
    fn without_a_revision_the_oldest_replica_set_with_the_same_template_is_new() {
        let (mut object, mut scene) = deployment_scene();
        object["metadata"]["annotations"] = json!({});
        object["spec"] = json!({"template": {"metadata": {"labels": {"app": "w"}}, "spec": {"x": 1}}});
        for (set, hash) in scene.replica_sets.iter_mut().zip(["1", "2"]) {
            set["spec"] = json!({"template": {"metadata": {"labels": {"app": "w", TEMPLATE_HASH: hash}}, "spec": {"x": 1}}});
        }
        scene.replica_sets[0]["metadata"]["creationTimestamp"] = json!("2026-11-22T22:00:00Z");
        scene.replica_sets[1]["metadata"]["creationTimestamp"] = json!("2026-11-22T21:00:00Z");
        assert_eq!(names(Workload::Deployment, &object, &scene), ["new"]);
        scene.replica_sets[1]["spec"]["template"]["spec"]["x"] = json!(2);
        assert_eq!(names(Workload::Deployment, &object, &scene), ["old"]);
    }

    #[test]
    fn the_pods_of_a_stateful_set_carry_its_update_revision() {
        let object = json!({"metadata": {"uid": "s"}, "status": {"updateRevision": "s-2"}});
        let pod = |name, hash: &str| {
            with(owned("Pod", name, "s"), "/metadata/labels", json!({REVISION_HASH: hash}))
        };
        let scene = Scene { pods: vec![pod("s-0", "s-1"), pod("s-1", "s-2")], ..Scene::default() };
        assert_eq!(names(Workload::StatefulSet, &object, &scene), ["s-1"]);
    }

    #[test]
    fn the_pods_of_a_daemon_set_are_of_its_template_generation_or_as_young_as_the_youngest() {
        let pod = |name, generation: &str, created: &str| {
            let labels = json!({TEMPLATE_GENERATION.1: generation, REVISION_HASH: generation});
            let pod = with(owned("Pod", name, "d"), "/metadata/labels", labels);
            with(pod, "/metadata/annotations", json!({"created": created}))
        };
        let mut scene =
            Scene { pods: vec![pod("a", "1", ""), pod("b", "2", ""), pod("c", "2", "")], ..Scene::default() };
        let mut object = json!({"metadata": {"uid": "d", "annotations": {TEMPLATE_GENERATION.0: "2"}}});
        assert_eq!(names(Workload::DaemonSet, &object, &scene), ["b", "c"]);
        object["metadata"]["annotations"] = json!({});
        for (pod, created) in scene.pods.iter_mut().zip(["T01", "T02", "T03"]) {
            pod["metadata"]["creationTimestamp"] = json!(created);
        }
        assert_eq!(names(Workload::DaemonSet, &object, &scene), ["b", "c"]);
    }

    #[test]
    fn the_pods_of_jobs_and_bare_replica_sets_are_theirs_and_a_pod_is_its_own() {
        let scene = Scene { pods: vec![owned("Pod", "a", "j"), owned("Pod", "b", "k")], ..Scene::default() };
        let object = json!({"metadata": {"uid": "j", "name": "self"}});
        assert_eq!(names(Workload::Job, &object, &scene), ["a"]);
        assert_eq!(names(Workload::ReplicaSet, &object, &scene), ["a"]);
        assert_eq!(names(Workload::Pod, &object, &scene), ["self"]);
    }
}
