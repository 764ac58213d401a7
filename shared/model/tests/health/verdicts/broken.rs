//! Releases that fail before or beside their containers.

use serde_json::{Value, json};

use super::{UPGRADE, broken_case as case, refused};
use crate::{
    scenes::{crashed_pod, never_pulled, waiting_pod},
    sim::{Case, More},
    stage::{
        NO_CPU, app, changed, config, consumer, creating, daemons, event, live, ready, rejected, restarted,
        sized, stateful, thing, time, told, unready, unscheduled,
    },
};

/// A workload of one pod that is not there, and what Events tell of it.
fn events(kind: &str, second: i64, message: &str) -> backout_model::health::Scene {
    let mut scene = match kind {
        "StatefulSet" => changed(stateful(0, vec![("db-2", creating())]), |scene| scene.pods.clear()),
        "DaemonSet" => changed(daemons(vec![("a", creating())]), |scene| scene.pods.clear()),
        _ => thing("batch", "Job", &json!({}), &json!({"startTime": time(1)})),
    };
    let uid = live(&mut scene)["metadata"]["uid"].as_str().unwrap().to_owned();
    if second >= 2 {
        scene.events.push(event(&uid, "FailedCreate", message, second, 2 + second / 10));
    }
    scene
}

fn with_condition(
    group: &str,
    kind: &str,
    type_: &str,
    status: &str,
    reason: &str,
) -> backout_model::health::Scene {
    thing(
        group,
        kind,
        &json!({}),
        &json!({"conditions": [{"type": type_, "status": status, "reason": reason, "message": "no"}]}),
    )
}

fn progress(reason: &str, deadline: i64) -> backout_model::health::Scene {
    changed(app("web", vec![unready()]), |scene| {
        live(scene)["spec"]["progressDeadlineSeconds"] = json!(deadline);
        live(scene)["status"]["conditions"][0] = json!({"type": "Progressing", "status": "False", "reason": reason, "message": "no", "lastUpdateTime": "T9"});
    })
}

fn rejects(count: usize, reason: &str) -> backout_model::health::Scene {
    let mut pods: Vec<Value> = (0..count).map(|index| rejected(index, reason, "the node says no")).collect();
    pods.push(creating());
    changed(sized("web", 1, pods), |scene| {
        for field in ["replicas", "updatedReplicas"] {
            live(scene)["status"][field] = json!(1);
        }
    })
}

/// Each row: what it is, what there is to see, why it fails, and between which seconds.
#[rustfmt::skip] // a table reads by its columns
pub(super) fn table() -> Vec<Case> {
    vec![
        case("no node has room", |_| app("web", vec![unscheduled(NO_CPU)]), "Unschedulable", (300, 302)),
        Case { more: More { outages: &[(20, 140)], ..UPGRADE }, ..case("no node has room, and for two minutes nothing is to be seen",
            |_| app("web", vec![unscheduled(NO_CPU)]), "Unschedulable", (420, 422)) },
        Case { more: More { rewritten: &[30], ..UPGRADE }, ..case("asks for more pods itself while it soaks, and no node has room",
            |s| if s < 30 { app("web", vec![ready(0)]) } else { app("web", vec![ready(0), unscheduled(NO_CPU), unscheduled(NO_CPU)]) }, "Unschedulable", (330, 332)) },
        case("no node has room, and none is added", |_| changed(app("web", vec![unscheduled(NO_CPU)]), |scene| {
            scene.events.push(event("web-2-0", "NotTriggerScaleUp", "pod didn't trigger scale-up", 5, 1));
        }), "Unschedulable", (90, 92)),
        case("a claim that is not there", |_| app("web", vec![unscheduled("persistentvolumeclaim \"data\" not found")]), "Unschedulable", (60, 62)),
        case("a scheduler that fails", |_| {
            let mut pod = unscheduled("running PreBind plugin failed");
            pod["status"]["conditions"][0]["reason"] = json!("SchedulerError");
            app("web", vec![pod])
        }, "Unschedulable", (120, 122)),
        case("a Secret to mount that is not there", |s| told(s, "FailedMount", "MountVolume.SetUp failed for volume \"v\" : secret \"tls\" not found"), "VolumeNotMounted", (45, 47)),
        case("a volume that cannot be attached", |s| told(s, "FailedAttachVolume", "AttachVolume.Attach failed for volume \"pvc-1\""), "VolumeNotMounted", (150, 152)),
        case("no network for pods", |s| told(s, "FailedCreatePodSandBox", "failed to setup network for sandbox"), "SandboxNotCreated", (180, 182)),
        case("nodes refuse one pod after the other", |s| rejects(if s < 20 { 2 } else { 4 }, "OutOfcpu"), "RefusedByNode", (20, 22)),
        case("an operating system that the node does not have", |_| rejects(1, "PodOSNotSupported"), "RefusedByNode", (10, 12)),
        case("a webhook denies its pods", |_| refused("admission webhook \"x\" denied the request: no"), "PodsRefused", (15, 17)),
        case("its pods violate Pod Security", |_| refused("pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\""), "PodsRefused", (15, 17)),
        case("its pods ask for more than may be", |_| refused("pods \"x\" is forbidden: maximum cpu usage per Container is 1, but limit is 2"), "PodsRefused", (15, 17)),
        case("no room in the quota", |_| refused("exceeded quota: pods"), "PodsRefused", (60, 62)),
        case("no room in the quota, although its old pods have gone", |_| changed(refused("exceeded quota: pods"), |scene| {
            live(scene)["spec"]["strategy"] = json!({"type": "Recreate"});
        }), "PodsRefused", (120, 122)),
        case("a webhook for pods that is down for good", |_| refused("failed calling webhook \"x\": timeout"), "PodsRefused", (150, 152)),
        case("a service account that is not there", |_| refused("serviceaccount \"web\" not found"), "PodsRefused", (45, 47)),
        case("the pods of a StatefulSet are denied", |s| events("StatefulSet", s, "create Pod db-0 in StatefulSet db failed error: admission webhook \"x\" denied the request"), "PodsRefused", (15, 19)),
        case("the pods of a DaemonSet violate Pod Security", |s| events("DaemonSet", s, "Error creating: pods \"agent-\" is forbidden: violates PodSecurity \"baseline:latest\""), "PodsRefused", (15, 19)),
        case("the pods of a job are not valid", |s| events("Job", s, "Error creating: Pod \"x\" is invalid: spec.containers[0].image: Required value"), "PodsRefused", (15, 19)),
        case("the Deployment controller gives up", |s| if s < 70 { app("web", vec![unready()]) } else { progress("ProgressDeadlineExceeded", 60) }, "ProgressDeadlineExceeded", (70, 71)),
        case("the new ReplicaSet cannot be created", |_| progress("ReplicaSetCreateError", 600), "ReplicaSetNotCreated", (60, 62)),
        case("a Deployment with a deadline of twenty minutes that never becomes ready", |_| changed(app("web", vec![unready()]), |scene| {
            live(scene)["spec"]["progressDeadlineSeconds"] = json!(1200);
        }), "NotReadyInTime", (1235, 1236)),
        case("a job that fails", |_| with_condition("batch", "Job", "Failed", "True", "BackoffLimitExceeded"), "JobFailed", (5, 6)),
        case("a job that is known to fail", |_| with_condition("batch", "Job", "FailureTarget", "True", "DeadlineExceeded"), "JobFailed", (5, 6)),
        case("a job without a Secret that it needs", |_| {
            let mut scene = thing("batch", "Job", &json!({}), &json!({"startTime": time(1), "active": 1}));
            let mut pod = waiting_pod("CreateContainerConfigError", "secret \"db\" not found");
            pod["metadata"] = json!({"name": "x-1", "uid": "x-1", "ownerReferences": [{"uid": "x", "controller": true}]});
            scene.pods.push(pod);
            scene
        }, "BadContainerConfig", (30, 32)),
        case("a job that never ends", |_| thing("batch", "Job", &json!({}), &json!({"startTime": time(1), "active": 1})), "NotReadyInTime", (605, 606)),
        case("a custom resource that is stalled", |_| with_condition("example.dev", "Widget", "Stalled", "True", "InvalidSpec"), "Stalled", (10, 12)),
        case("a custom resource that never becomes ready", |_| with_condition("example.dev", "Widget", "Ready", "False", "Unhealthy"), "NotReadyInTime", (605, 606)),
        case("an API that is not served", |_| with_condition("apiregistration.k8s.io", "APIService", "Available", "False", "MissingEndpoints"), "NotReadyInTime", (605, 606)),
        case("a claim that lost its volume", |_| thing("", "PersistentVolumeClaim", &json!({}), &json!({"phase": "Lost"})), "VolumeLost", (5, 6)),
        case("a claim that no volume is found for", |_| changed(thing("", "PersistentVolumeClaim", &json!({"storageClassName": "fast"}), &json!({"phase": "Pending"})), |scene| {
            scene.storage_classes.push(json!({"metadata": {"name": "fast"}, "volumeBindingMode": "Immediate"}));
        }), "NotReadyInTime", (605, 606)),
        case("a definition whose names are refused", |_| with_condition("apiextensions.k8s.io", "CustomResourceDefinition", "NamesAccepted", "False", "Conflict"), "DefinitionRefused", (5, 6)),
        case("an object that somebody deletes", |s| changed(config("ConfigMap", Vec::new()), |scene| {
            if s >= 20 { scene.judged[0].live = backout_model::health::Live::Absent; }
        }), "Disappeared", (50, 52)),
        case("one pod of a StatefulSet", |_| stateful(0, vec![("db-1", ready(-900)), ("db-2", never_pulled())]), "ImageNotPresent", (10, 12)),
        case("more pods of a DaemonSet than may be unavailable", |_| daemons(vec![("a", ready(0)), ("b", never_pulled()), ("c", never_pulled())]), "ImageNotPresent", (10, 12)),
        case("one pod of a DaemonSet, for good", |_| daemons(vec![("a", ready(0)), ("b", never_pulled())]), "NotReadyInTime", (605, 606)),
        case("a pod of its own that fails", |_| thing("", "Pod", &json!({"restartPolicy": "Never"}), &json!({"phase": "Failed", "reason": "Error"})), "PodFailed", (5, 6)),
        case("a pod of its own that is evicted", |_| thing("", "Pod", &json!({}), &json!({"phase": "Failed", "reason": "Evicted"})), "PodFailed", (5, 6)),
        case("a ConfigMap whose consumer then crashes", |s| config("ConfigMap", vec![("user-1", match s {
            0..40 => ready(-900),
            40..42 => crashed_pod(1),
            42..52 => restarted(42, 1),
            _ => crashed_pod(2),
        })]), "CrashLoop", (60, 70)),
        case("a Secret whose consumer is not ready any more", |s| config("Secret", vec![("user-1", if s < 20 { ready(-900) } else { unready() })]), "DidNotStayReady", (80, 82)),
        case("a ConfigMap without a key that the pods of a reloader ask for", |s| changed(config("ConfigMap", vec![("user-1", ready(-900))]), |scene| {
            if s >= 10 {
                scene.pods.push(consumer(waiting_pod("CreateContainerConfigError", "couldn't find key k in ConfigMap shop/settings"), "user-2", "ConfigMap", "settings"));
            }
        }), "BadContainerConfig", (40, 43)),
    ]
}
