//! Scenes to judge: a Deployment, its ReplicaSet, its pods.

use backout_model::{
    health::{Judged, Judgement, Live, Scene, Sightings, Status, Verdict, judge, readiness},
    object::{ObjectKey, ObjectRef},
    release::Failure,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// When all scenes begin.
pub(crate) const START: &str = "2026-11-22T22:00:00Z";

/// So many seconds after [`START`].
pub(crate) fn at(seconds: i64) -> Timestamp {
    START.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

pub(crate) fn object(group: &str, kind: &str, name: &str) -> ObjectRef {
    let resource = format!("{}s", kind.to_lowercase());
    let key = ObjectKey { group: group.into(), resource, namespace: Some("shop".into()), name: name.into() };
    ObjectRef { key, version: "v1".into(), kind: kind.into() }
}

pub(crate) fn judged(group: &str, kind: &str, name: &str, live: Value) -> Judged {
    Judged { object: object(group, kind, name), live: Live::Present(live), baseline: None, deleted: false }
}

/// An object that is ready whenever it is there.
pub(crate) fn config_map() -> Judged {
    judged("", "ConfigMap", "settings", json!({"metadata": {"uid": "c"}}))
}

/// A Deployment at generation 2 that its controller has seen, with so many of its new pods ready.
pub(crate) fn deployment(name: &str, replicas: usize, ready: usize) -> Judged {
    let spec = |image: &str| json!({"replicas": replicas, "progressDeadlineSeconds": 600, "template": {"spec": {"containers": [{"image": image}]}}});
    let condition = |type_, status: bool, reason| {
        json!({"type": type_, "status": if status { "True" } else { "False" }, "reason": reason,
               "lastUpdateTime": START, "lastTransitionTime": START})
    };
    let all = ready == replicas;
    let progress = if all { "NewReplicaSetAvailable" } else { "ReplicaSetUpdated" };
    let live = json!({
        "metadata": {"name": name, "uid": name, "generation": 2, "annotations": {"deployment.kubernetes.io/revision": "2"}},
        "spec": spec("new"),
        "status": {"observedGeneration": 2, "replicas": replicas, "updatedReplicas": replicas,
                   "readyReplicas": ready, "availableReplicas": ready,
                   "conditions": [condition("Progressing", true, progress), condition("Available", all, "")]},
    });
    let baseline = json!({
        "metadata": {"name": name, "uid": name, "generation": 1},
        "spec": spec("old"),
        "status": {"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas,
                   "readyReplicas": replicas, "availableReplicas": replicas,
                   "conditions": [condition("Progressing", true, "NewReplicaSetAvailable"), condition("Available", true, "")]},
    });
    let baseline = Some(baseline);
    Judged { baseline, ..judged("apps", "Deployment", name, live) }
}

/// The newest ReplicaSet of a [`deployment`].
pub(crate) fn replica_set(deployment: &str) -> Value {
    json!({"metadata": {"name": format!("{deployment}-2"), "uid": format!("{deployment}-rs"),
        "annotations": {"deployment.kubernetes.io/revision": "2"},
        "ownerReferences": [{"uid": deployment, "controller": true}]}})
}

/// Makes a pod one of the new revision of a [`deployment`].
pub(crate) fn adopt(mut pod: Value, deployment: &str, name: &str) -> Value {
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["uid"] = json!(name);
    pod["metadata"]["namespace"] = json!("shop");
    pod["metadata"]["ownerReferences"] = json!([{"uid": format!("{deployment}-rs"), "controller": true}]);
    pod
}

/// A pod with one container in a state.
pub(crate) fn pod(state: &Value, restarts: u64, ready: bool) -> Value {
    let status = if ready { "True" } else { "False" };
    json!({"metadata": {"creationTimestamp": START}, "spec": {"restartPolicy": "Always"}, "status": {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": status}],
        "containerStatuses": [{"name": "app", "ready": ready, "restartCount": restarts, "image": "r.example/shop:9", "state": state}]}})
}

pub(crate) fn running_pod() -> Value {
    pod(&json!({"running": {"startedAt": START}}), 0, true)
}

pub(crate) fn waiting_pod(reason: &str, message: &str) -> Value {
    pod(&json!({"waiting": {"reason": reason, "message": message}}), 0, false)
}

/// A pod that crashed so often and is down now.
pub(crate) fn crashed_pod(times: u64) -> Value {
    pod(&json!({"terminated": {"reason": "Error", "exitCode": 1}}), times - 1, false)
}

/// The scene of one Deployment `web` with these pods.
pub(crate) fn web(pods: impl IntoIterator<Item = Value>) -> Scene {
    let pods: Vec<_> = pods
        .into_iter()
        .enumerate()
        .map(|(index, pod)| adopt(pod, "web", &format!("web-2-{index}")))
        .collect();
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    Scene {
        judged: vec![deployment("web", pods.len(), ready)],
        pods,
        replica_sets: vec![replica_set("web")],
        ..Scene::default()
    }
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|it| it["type"] == "Ready" && it["status"] == "True")
}

/// A judge with its memory.
#[derive(Default)]
pub(crate) struct Judge {
    pub(crate) sightings: Sightings,
}

impl Judge {
    pub(crate) fn look(&mut self, scene: &Scene, now: Timestamp) -> Judgement {
        let judgement = judge(scene, &self.sightings, now);
        self.sightings = judgement.sightings.clone();
        judgement
    }

    /// Looks each second from `from` to `to`, and says when the verdict became Failed.
    pub(crate) fn watch(&mut self, scene: &Scene, from: i64, to: i64) -> Option<(i64, Failure)> {
        (from..=to).find_map(|second| match self.look(scene, at(second)).verdict {
            Verdict::Failed(failure) => Some((second, failure)),
            _ => None,
        })
    }
}

/// The verdict on a scene at first sight.
pub(crate) fn first_sight(scene: &Scene) -> Verdict {
    judge(scene, &Sightings::default(), at(0)).verdict
}

pub(crate) fn reason_of(status: &Status) -> &str {
    match status {
        Status::InProgress { reason, .. } => reason,
        Status::Failed { reason, .. } => reason,
        Status::Current => "Current",
        Status::Gone => "Gone",
        Status::Suspended => "Suspended",
        Status::Terminating => "Terminating",
        Status::Unknown { .. } => "Unknown",
    }
}

/// A pod whose image is not on the node and may not be pulled: fails for certain after ten seconds.
pub(crate) fn never_pulled() -> Value {
    waiting_pod("ErrImageNeverPull", "not present")
}

/// Changes the live object.
pub(crate) fn set(judged: &mut Judged, pointer: &str, value: Value) {
    let Live::Present(live) = &mut judged.live else { panic!("{judged:?}") };
    *live.pointer_mut(pointer).unwrap() = value;
}

/// What a verdict waits for.
pub(crate) fn waiting_for(verdict: &Verdict) -> Option<&ObjectRef> {
    match verdict {
        Verdict::Waiting { object, .. } => Some(object),
        _ => None,
    }
}

pub(crate) fn of(api_version: &str, kind: &str, spec: &Value, status: &Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "uid": "x", "generation": 1},
           "spec": spec, "status": status})
}

/// Checks a rule of readiness. Each row: spec, status, what the rule says.
pub(crate) fn check(api_version: &str, kind: &str, rows: &[(Value, Value, &str)]) {
    for (spec, status, expected) in rows {
        let object = of(api_version, kind, spec, status);
        assert_eq!(reason_of(&readiness(&object, None)), *expected, "{kind} {spec} {status}");
    }
}

pub(crate) fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": "it says why", "lastTransitionTime": "T1"})
}
