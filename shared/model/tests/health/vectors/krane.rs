//! krane's tables of workloads: what is no failure of the new revision, and what is one.

mod deployments;

use backout_model::health::Scene;
use serde_json::{Value, json};

use super::{Row, scenes_are_judged};
use crate::{
    scenes::{adopt, crashed_pod, never_pulled},
    stage::{and, app, changed, creating, daemons, live, node, ready, sized, stateful, thing, unready},
};

fn rollout(ready: usize, generation: i64, observed: i64, progress: &str, age: u64) -> Scene {
    changed(app("web", vec![unready(), unready()]), |scene| {
        scene.age = Some(std::time::Duration::from_secs(age));
        let live = live(scene);
        live["metadata"]["generation"] = json!(generation);
        live["status"]["observedGeneration"] = json!(observed);
        live["status"]["readyReplicas"] = json!(ready);
        live["status"]["availableReplicas"] = json!(ready);
        live["status"]["conditions"][0] = json!({"type": "Progressing", "status": if ready == 2 { "True" } else { "False" },
            "reason": progress, "lastUpdateTime": "T9", "lastTransitionTime": "T9"});
        live["status"]["conditions"][1]["status"] = json!(if ready == 2 { "True" } else { "False" });
    })
}

fn old_pod(pod: Value) -> Value {
    let mut pod = adopt(pod, "web", "web-1-x");
    pod["metadata"]["ownerReferences"][0]["uid"] = json!("web-rs-1");
    pod
}

fn with_node(scene: Scene, node: Value) -> Scene {
    changed(scene, |scene| scene.nodes.push(node))
}

fn replica_set(available: i64, observed: i64) -> Scene {
    let status = json!({"observedGeneration": observed, "replicas": 2, "readyReplicas": available, "availableReplicas": available, "fullyLabeledReplicas": 2});
    thing("apps", "ReplicaSet", &json!({"replicas": 2}), &status)
}

/// Its controller has not seen the change yet.
fn unseen(scene: Scene) -> Scene {
    changed(scene, |scene| live(scene)["metadata"]["generation"] = json!(3))
}

fn on_delete(scene: Scene) -> Scene {
    changed(scene, |scene| live(scene)["spec"]["updateStrategy"] = json!({"type": "OnDelete"}))
}

const EACH_NODE: &str = "each node is waited for that can run it";

/// What, krane's verdict, the scene, ours after 30 s, and why it differs.
#[expect(clippy::too_many_lines, reason = "a table")]
fn table() -> Vec<Row> {
    let bad = never_pulled;
    vec![
        ("deployment: done", "Ready", rollout(2, 2, 2, "NewReplicaSetAvailable", 0), "Ready", ""),
        ("deployment: half done", "Waiting", rollout(1, 2, 2, "ReplicaSetUpdated", 0), "Waiting", ""),
        (
            "deployment: a status from before",
            "Waiting",
            rollout(2, 3, 2, "NewReplicaSetAvailable", 0),
            "Waiting",
            "",
        ),
        (
            "deployment: its replica set is not the new one yet",
            "Waiting",
            changed(rollout(2, 2, 2, "NewReplicaSetAvailable", 0), |scene| {
                live(scene)["status"]["updatedReplicas"] = json!(0);
            }),
            "Waiting",
            "",
        ),
        (
            "deployment: its own deadline passed",
            "Failed",
            rollout(0, 2, 2, "ProgressDeadlineExceeded", 600),
            "Failed ProgressDeadlineExceeded",
            "",
        ),
        (
            "deployment: a deadline of an older generation",
            "Waiting",
            rollout(0, 3, 2, "ProgressDeadlineExceeded", 600),
            "Waiting",
            "",
        ),
        (
            "deployment: a deadline that cannot have passed yet",
            "Waiting",
            rollout(0, 2, 2, "ProgressDeadlineExceeded", 30),
            "Waiting",
            "",
        ),
        (
            "deployment: all pods of its new replica set fail",
            "Failed",
            app("web", vec![bad(), bad()]),
            "Failed ImageNotPresent",
            "",
        ),
        (
            "deployment: a pod of its old replica set fails",
            "Waiting",
            changed(app("web", vec![creating(), creating()]), |scene| {
                scene.pods.push(old_pod(crashed_pod(9)));
            }),
            "Waiting",
            "",
        ),
        ("deployment: none is asked for", "Ready", sized("web", 0, Vec::new()), "Ready", ""),
        ("daemonset: done", "Ready", daemons(vec![("a", ready(0)), ("b", ready(0))]), "Ready", ""),
        ("daemonset: not done", "Waiting", daemons(vec![("a", ready(0)), ("b", creating())]), "Waiting", ""),
        (
            "daemonset: a node was added",
            "Ready",
            with_node(daemons(vec![("a", ready(0)), ("b", creating())]), node("b", true, false, 20)),
            "Ready",
            "",
        ),
        (
            "daemonset: a node is not ready",
            "Ready",
            with_node(daemons(vec![("a", ready(0)), ("b", creating())]), node("b", false, false, -900)),
            "Ready",
            "",
        ),
        (
            "daemonset: a node takes no pods",
            "Ready",
            with_node(daemons(vec![("a", ready(0)), ("b", creating())]), node("b", true, true, -900)),
            "Ready",
            "",
        ),
        (
            "daemonset: a node is well and its pod is not",
            "Waiting",
            with_node(daemons(vec![("a", ready(0)), ("b", creating())]), node("b", true, false, -900)),
            "Waiting",
            "",
        ),
        (
            "daemonset: no node is ready",
            "Waiting",
            with_node(daemons(vec![("a", creating())]), node("a", false, false, -900)),
            "Waiting",
            "",
        ),
        (
            "daemonset: a pod fails",
            "Failed",
            daemons(vec![("a", ready(0)), ("b", bad())]),
            "Waiting",
            "as many as may be unavailable may fail",
        ),
        (
            "daemonset: all pods fail",
            "Failed",
            daemons(vec![("a", bad()), ("b", bad())]),
            "Failed ImageNotPresent",
            "",
        ),
        (
            "daemonset: a pod was evicted",
            "Ready",
            changed(daemons(vec![("a", ready(0)), ("b", creating())]), |scene| {
                scene.pods[1]["status"] = json!({"phase": "Failed", "reason": "Evicted"});
            }),
            "Waiting",
            EACH_NODE,
        ),
        (
            "daemonset: a status from before",
            "Waiting",
            unseen(daemons(vec![("a", ready(0)), ("b", ready(0))])),
            "Waiting",
            "",
        ),
        (
            "daemonset: all pods fail before its controller has seen the change",
            "Waiting",
            unseen(daemons(vec![("a", bad()), ("b", bad())])),
            "Waiting",
            "",
        ),
        (
            "daemonset: not all pods are updated",
            "Waiting",
            changed(daemons(vec![("a", ready(0)), ("b", ready(0))]), |scene| {
                live(scene)["status"]["updatedNumberScheduled"] = json!(1);
            }),
            "Waiting",
            "",
        ),
        (
            "daemonset: its status is behind its pods",
            "Waiting",
            changed(daemons(vec![("a", ready(0))]), |scene| {
                live(scene)["status"]["numberReady"] = json!(0);
                live(scene)["status"]["numberAvailable"] = json!(0);
            }),
            "Waiting",
            "",
        ),
        (
            "statefulset: done",
            "Ready",
            stateful(0, vec![("db-2", ready(0)), ("db-2", ready(0))]),
            "Ready",
            "",
        ),
        (
            "statefulset: half done",
            "Waiting",
            stateful(0, vec![("db-1", ready(0)), ("db-2", creating())]),
            "Waiting",
            "",
        ),
        (
            "statefulset: a pod of the current revision fails",
            "Waiting",
            stateful(0, vec![("db-1", crashed_pod(9)), ("db-2", creating())]),
            "Waiting",
            "",
        ),
        (
            "statefulset: an updated pod fails",
            "Failed",
            stateful(0, vec![("db-1", ready(0)), ("db-2", bad())]),
            "Failed ImageNotPresent",
            "",
        ),
        (
            "statefulset: rolled out only when pods are deleted",
            "Ready",
            on_delete(stateful(0, vec![("db-1", ready(0))])),
            "Ready",
            "",
        ),
        (
            "statefulset: rolled out only when pods are deleted, and asked for in full",
            "Ready",
            on_delete(stateful(0, vec![("db-2", ready(0)), ("db-2", ready(0))])),
            "Ready",
            "",
        ),
        (
            "statefulset: rolled out only when pods are deleted, asked for in full, and not ready",
            "Waiting",
            on_delete(stateful(0, vec![("db-2", ready(0)), ("db-2", creating())])),
            "Ready",
            "who deletes its pods decides: a warning tells that the revision was not tried",
        ),
        (
            "statefulset: ready, and not all are updated",
            "Waiting",
            stateful(0, vec![("db-1", ready(0)), ("db-2", ready(0))]),
            "Waiting",
            "",
        ),
        (
            "statefulset: a status from before",
            "Waiting",
            unseen(stateful(0, vec![("db-2", ready(0)), ("db-2", ready(0))])),
            "Waiting",
            "",
        ),
        (
            "statefulset: a pod fails before its controller has seen the change",
            "Waiting",
            unseen(stateful(0, vec![("db-1", ready(0)), ("db-2", bad())])),
            "Waiting",
            "",
        ),
        (
            "statefulset: the same, rolled out only when pods are deleted",
            "Waiting",
            unseen(on_delete(stateful(0, vec![("db-1", ready(0)), ("db-2", bad())]))),
            "Waiting",
            "",
        ),
        ("replica set: done", "Ready", replica_set(2, 1), "Ready", ""),
        ("replica set: not available", "Waiting", replica_set(1, 1), "Waiting", ""),
        ("replica set: not observed", "Waiting", replica_set(2, 0), "Waiting", ""),
        ("replica set: not available, and not observed", "Waiting", replica_set(0, 0), "Waiting", ""),
        (
            "job: running",
            "Ready",
            thing("batch", "Job", &json!({}), &json!({"startTime": "2026-11-22T22:00:00Z", "active": 1})),
            "Waiting",
            "a release is done when its jobs are",
        ),
        (
            "job: failed",
            "Failed",
            thing("batch", "Job", &json!({}), &json!({"conditions": [{"type": "Failed", "status": "True"}]})),
            "Failed JobFailed",
            "",
        ),
        (
            "job: over its limit, and not told so",
            "Failed",
            thing(
                "batch",
                "Job",
                &json!({"backoffLimit": 1}),
                &json!({"startTime": "2026-11-22T22:00:00Z", "failed": 2}),
            ),
            "Waiting",
            "its controller is the one to say so",
        ),
        (
            "two deployments, of which one fails",
            "Failed",
            and(app("web", vec![bad()]), app("api", vec![ready(0)])),
            "Failed ImageNotPresent",
            "",
        ),
    ]
}

#[test]
fn krane_workloads() {
    let table = table().into_iter().chain(deployments::table()).collect();
    scenes_are_judged("krane workloads", table, 57, 30);
}
