//! Scenes that change from second to second.

use backout_model::health::{Judged, Live, Scene};
use serde_json::{Value, json};

use crate::scenes::{adopt, at, crashed_pod, deployment, is_ready, judged, pod, replica_set, waiting_pod};

/// The last frame that has begun.
pub(crate) fn during<T: Clone>(second: i64, frames: &[(i64, T)]) -> T {
    frames.iter().rev().find(|(from, _)| *from <= second).map(|(_, frame)| frame.clone()).unwrap()
}

/// A second as servers write it.
pub(crate) fn time(second: i64) -> String {
    at(second).to_string()
}

/// A pod that a node has taken and that does not run yet.
pub(crate) fn creating() -> Value {
    let mut pod = waiting_pod("ContainerCreating", "");
    pod["status"]["phase"] = json!("Pending");
    pod
}

/// A pod that runs and is not ready.
pub(crate) fn unready() -> Value {
    pod(&json!({"running": {"startedAt": time(0)}}), 0, false)
}

/// A pod that is ready since a second.
pub(crate) fn ready(since: i64) -> Value {
    restarted(since, 0)
}

/// A pod that is ready since a second, after so many restarts.
pub(crate) fn restarted(since: i64, restarts: u64) -> Value {
    let mut pod = pod(&json!({"running": {"startedAt": time(since)}}), restarts, true);
    pod["status"]["conditions"][0]["lastTransitionTime"] = json!(time(since));
    pod
}

/// Comes up, and is ready from a second on.
pub(crate) fn ready_from(second: i64, from: i64) -> Value {
    if second < from { creating() } else { ready(from) }
}

/// A pod that is pulling, which fails with a cause: an attempt and a pause, by turns.
pub(crate) fn pulling(second: i64, cause: &str) -> Value {
    let mut pod =
        if during(second, &[(0, true), (2, false), (16, true), (18, false), (44, true), (46, false)]) {
            waiting_pod("ErrImagePull", cause)
        } else {
            waiting_pod(
                "ImagePullBackOff",
                &format!("Back-off pulling image \"r.example/shop:9\": ErrImagePull: {cause}"),
            )
        };
    pod["status"]["phase"] = json!("Pending");
    pod
}

/// When a container that ends at once has ended for the first time, and after each pause of the kubelet.
const ENDS: [i64; 8] = [2, 4, 16, 42, 88, 174, 340, 646];

/// How often a container that ends at once has ended by a second.
pub(crate) fn ends(second: i64) -> u64 {
    u64::try_from(ENDS.iter().filter(|end| **end <= second).count()).unwrap()
}

/// A pod whose container ends at once each time, in such a way.
pub(crate) fn crash_loop(second: i64, reason: &str, exit_code: i64, message: &str) -> Value {
    if ends(second) == 0 {
        return creating();
    }
    let mut pod = crashed_pod(ends(second));
    pod["status"]["containerStatuses"][0]["state"]["terminated"] =
        json!({"reason": reason, "exitCode": exit_code, "message": message});
    pod
}

pub(crate) fn crashing(second: i64) -> Value {
    crash_loop(second, "Error", 1, "")
}

/// A pod that no node takes.
pub(crate) fn unscheduled(message: &str) -> Value {
    json!({"metadata": {}, "spec": {"restartPolicy": "Always"}, "status": {"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}})
}

pub(crate) const NO_CPU: &str = "0/3 nodes are available: 3 Insufficient cpu.";

/// A pod that its node cannot make ready to start containers.
pub(crate) fn not_started() -> Value {
    let mut pod = creating();
    pod["status"]["conditions"]
        .as_array_mut()
        .unwrap()
        .push(json!({"type": "PodReadyToStartContainers", "status": "False"}));
    pod
}

/// An Event about an object.
pub(crate) fn event(uid: &str, reason: &str, message: &str, second: i64, count: i64) -> Value {
    json!({"involvedObject": {"uid": uid}, "reason": reason, "message": message, "count": count, "lastTimestamp": time(second)})
}

/// A Deployment with these pods of its new revision.
pub(crate) fn app(name: &str, pods: Vec<Value>) -> Scene {
    sized(name, pods.len(), pods)
}

/// A Deployment that wants so many pods and has these.
pub(crate) fn sized(name: &str, wanted: usize, pods: Vec<Value>) -> Scene {
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let there = pods.len();
    let adopted = pods.into_iter().enumerate().map(|(i, pod)| {
        let kept = pod["metadata"]["name"].as_str().map(str::to_owned);
        adopt(pod, name, &kept.unwrap_or_else(|| format!("{name}-2-{i}")))
    });
    let mut object = deployment(name, wanted, ready.min(wanted));
    if there != wanted {
        crate::scenes::set(&mut object, "/status/replicas", json!(there));
        crate::scenes::set(&mut object, "/status/updatedReplicas", json!(there));
    }
    Scene {
        judged: vec![object],
        pods: adopted.collect(),
        replica_sets: vec![replica_set(name)],
        ..Scene::default()
    }
}

/// The live object of the first that is judged.
pub(crate) fn live(scene: &mut Scene) -> &mut Value {
    let Live::Present(live) = &mut scene.judged[0].live else { panic!("it is not there") };
    live
}

pub(crate) fn changed(mut scene: Scene, change: impl FnOnce(&mut Scene)) -> Scene {
    change(&mut scene);
    scene
}

/// All of two scenes.
pub(crate) fn and(mut one: Scene, other: Scene) -> Scene {
    one.judged.extend(other.judged);
    one.pods.extend(other.pods);
    one.replica_sets.extend(other.replica_sets);
    one.events.extend(other.events);
    one.nodes.extend(other.nodes);
    one
}

/// As a first install: nothing was there before.
pub(crate) fn installed(mut scene: Scene) -> Scene {
    scene.judged.iter_mut().for_each(|judged| judged.baseline = None);
    scene
}

/// One object of any kind.
pub(crate) fn only(judged: Judged) -> Scene {
    Scene { judged: vec![judged], ..Scene::default() }
}

/// An object of a kind, with status.
pub(crate) fn thing(group: &str, kind: &str, spec: &Value, status: &Value) -> Scene {
    only(judged(
        group,
        kind,
        "x",
        json!({"metadata": {"name": "x", "uid": "x", "generation": 1}, "spec": spec, "status": status}),
    ))
}

/// A StatefulSet `db` at its second revision with these pods; each says of which revision it is.
pub(crate) fn stateful(partition: i64, pods: Vec<(&str, Value)>) -> Scene {
    let ready = pods.iter().filter(|(_, pod)| is_ready(pod)).count();
    let updated = pods.iter().filter(|(revision, _)| *revision == "db-2").count();
    let wanted = pods.len();
    let spec = |image: &str| {
        json!({"replicas": wanted, "template": {"image": image},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}})
    };
    let status = json!({"observedGeneration": 2, "updateRevision": "db-2", "currentRevision": "db-1", "replicas": wanted,
        "readyReplicas": ready, "availableReplicas": ready, "updatedReplicas": updated});
    let live = json!({"metadata": {"name": "db", "uid": "db", "generation": 2}, "spec": spec("new"), "status": status});
    let before = json!({"metadata": {"name": "db", "uid": "db", "generation": 1}, "spec": spec("old"), "status": {
        "observedGeneration": 1, "replicas": wanted, "readyReplicas": wanted, "updatedReplicas": wanted}});
    let pods = pods.into_iter().enumerate().map(|(i, (revision, mut pod))| {
        pod["metadata"] = json!({"name": format!("db-{i}"), "uid": format!("db-{i}-{revision}"), "namespace": "shop",
            "labels": {"controller-revision-hash": revision}, "ownerReferences": [{"uid": "db", "controller": true}]});
        pod
    });
    let object = Judged { baseline: Some(before), ..judged("apps", "StatefulSet", "db", live) };
    Scene { judged: vec![object], pods: pods.collect(), ..Scene::default() }
}

/// A DaemonSet `agent` with a new pod on each of these nodes.
pub(crate) fn daemons(pods: Vec<(&str, Value)>) -> Scene {
    let ready = pods.iter().filter(|(_, pod)| is_ready(pod)).count();
    let wanted = pods.len();
    let status = |generation: i64, ready: usize| {
        json!({"observedGeneration": generation, "desiredNumberScheduled": wanted,
        "currentNumberScheduled": wanted, "updatedNumberScheduled": wanted, "numberAvailable": ready, "numberReady": ready})
    };
    let object = |generation: i64, image: &str, ready: usize| {
        json!({
        "metadata": {"name": "agent", "uid": "agent", "generation": generation,
            "annotations": {"deprecated.daemonset.template.generation": generation.to_string()}},
        "spec": {"template": {"image": image}, "updateStrategy": {"rollingUpdate": {"maxUnavailable": 1}}},
        "status": status(generation, ready)})
    };
    let pods = pods.into_iter().map(|(node, mut pod)| {
        pod["metadata"] = json!({"name": format!("agent-{node}"), "uid": format!("agent-{node}"), "namespace": "shop",
            "labels": {"pod-template-generation": "2"}, "creationTimestamp": time(1),
            "ownerReferences": [{"uid": "agent", "controller": true}]});
        pod["spec"]["nodeName"] = json!(node);
        pod
    });
    let judged = Judged {
        baseline: Some(object(1, "old", wanted)),
        ..judged("apps", "DaemonSet", "agent", object(2, "new", ready))
    };
    Scene { judged: vec![judged], pods: pods.collect(), ..Scene::default() }
}

/// A node that is ready or not, and takes pods or not.
pub(crate) fn node(name: &str, ready: bool, unschedulable: bool, created: i64) -> Value {
    let ready = if ready { "True" } else { "Unknown" };
    json!({"metadata": {"name": name, "creationTimestamp": time(created)}, "spec": {"unschedulable": unschedulable},
           "status": {"conditions": [{"type": "Ready", "status": ready}]}})
}

/// A pod of a workload that is not judged, which uses an object: by mounting it and in its environment.
pub(crate) fn consumer(mut pod: Value, name: &str, kind: &str, used: &str) -> Value {
    pod["metadata"] = json!({"name": name, "uid": name, "namespace": "shop", "ownerReferences": [{"uid": "user-rs", "controller": true}]});
    pod["spec"]["volumes"] = match kind {
        "Secret" => json!([{"name": "v", "secret": {"secretName": used}}]),
        _ => json!([{"name": "v", "projected": {"sources": [{"configMap": {"name": used}}]}}]),
    };
    pod
}

/// A ConfigMap or Secret that the release changed, and the pods that use it.
pub(crate) fn config(kind: &str, pods: Vec<(&str, Value)>) -> Scene {
    let object =
        |version: &str| json!({"metadata": {"name": "settings", "uid": "c", "resourceVersion": version}});
    let judged = Judged { baseline: Some(object("1")), ..judged("", kind, "settings", object("2")) };
    let pods = pods.into_iter().map(|(name, pod)| consumer(pod, name, kind, "settings"));
    Scene { judged: vec![judged], pods: pods.collect(), ..Scene::default() }
}

/// A pod that was made and given up, for a reason of its node's.
pub(crate) fn rejected(index: usize, reason: &str, message: &str) -> Value {
    json!({"metadata": {"name": format!("web-2-r{index}")}, "spec": {}, "status": {"phase": "Failed", "reason": reason, "message": message}})
}

/// A container that waits for a reason.
pub(crate) fn waits(reason: &str, message: &str) -> Scene {
    let mut pod = waiting_pod(reason, message);
    pod["status"]["phase"] = json!("Pending");
    app("web", vec![pod])
}

/// A Deployment whose pod cannot start, for what an Event tells since the first second.
pub(crate) fn told(second: i64, reason: &str, message: &str) -> Scene {
    let mut scene = app("web", vec![not_started()]);
    scene.events.push(event("web-2-0", reason, message, second.max(1), 1 + second / 15));
    scene
}
