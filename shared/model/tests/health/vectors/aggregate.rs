//! What several objects amount to: the aggregator and pod reader of kstatus and its fork, the waits of Flux and Helm.

use backout_model::health::{Judged, Live, Scene};
use serde_json::{Value, json};

use super::{Row, scenes_are_judged};
use crate::{
    scenes::{adopt, config_map, crashed_pod, judged},
    stage::{NO_CPU, and, app, changed, creating, live, only, ready, sized, thing, unready, unscheduled},
};

fn unreadable(name: &str) -> Scene {
    let mut judged = config_map();
    judged.object.key.name = name.into();
    judged.live = Live::Unreadable("no answer".into());
    Scene { judged: vec![judged], ..Scene::default() }
}

fn failed_job() -> Scene {
    thing("batch", "Job", &json!({}), &json!({"conditions": [{"type": "Failed", "status": "True"}]}))
}

fn absent(kind: &str, ttl: bool, seen: bool) -> Scene {
    let spec = if ttl { json!({"ttlSecondsAfterFinished": 5}) } else { json!({}) };
    let mut judged = judged("batch", kind, "x", json!({"metadata": {"uid": "x"}, "spec": spec}));
    if !seen {
        judged = Judged { live: Live::Absent, ..judged };
    }
    Scene { judged: vec![judged], ..Scene::default() }
}

fn deleting(pod: Value) -> Scene {
    changed(sized("web", 1, Vec::new()), |scene| {
        let mut pod = adopt(pod, "web", "web-2-x");
        pod["metadata"]["deletionTimestamp"] = json!("2026-11-22T22:00:00Z");
        scene.pods.push(pod);
    })
}

/// A Deployment whose controller has given up.
fn stalled() -> Scene {
    changed(app("web", vec![unready()]), |scene| {
        live(scene)["status"]["conditions"][0] = json!({"type": "Progressing", "status": "False",
            "reason": "ProgressDeadlineExceeded", "lastUpdateTime": "T9", "lastTransitionTime": "T9"});
    })
}

/// A custom resource whose controller has seen so much of it.
fn custom(observed: i64) -> Scene {
    thing("testing.example", "ClusterTest", &json!({}), &json!({"observedGeneration": observed}))
}

/// A pod of its own in a phase.
fn bare(phase: &str, ready: &str) -> Scene {
    let status = json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}]});
    thing("", "Pod", &json!({"restartPolicy": "Never"}), &status)
}

fn hook(scene: Scene) -> Scene {
    changed(scene, |scene| {
        live(scene)["metadata"]["annotations"] = json!({"helm.sh/hook": "pre-upgrade"});
    })
}

/// An object that the release deleted.
fn deleted(live: Live) -> Scene {
    only(Judged { live, deleted: true, ..config_map() })
}

/// Another one of its kind.
fn renamed(scene: Scene) -> Scene {
    changed(scene, |scene| scene.judged[0].object.key.name = "other".into())
}

fn ended(reason: &str) -> Value {
    json!({"metadata": {}, "spec": {}, "status": {"phase": "Failed", "reason": reason}})
}

/// What, theirs, the scene, ours after a minute, and why it differs.
#[expect(clippy::too_many_lines, reason = "a table")]
fn table() -> Vec<Row> {
    vec![
        ("aggregator: nothing", "Ready", Scene::default(), "Ready", ""),
        ("aggregator: one", "Ready", app("web", vec![ready(0)]), "Ready", ""),
        (
            "aggregator: one of many is unknown",
            "Undecided",
            and(app("web", vec![ready(0)]), unreadable("x")),
            "Undecided",
            "",
        ),
        (
            "aggregator: one of many failed",
            "Failed",
            and(app("web", vec![ready(0)]), failed_job()),
            "Failed JobFailed",
            "",
        ),
        (
            "aggregator: one failed and one is unknown",
            "Failed",
            and(unreadable("x"), failed_job()),
            "Failed JobFailed",
            "",
        ),
        ("pods: as the workload says", "Waiting", app("web", vec![creating()]), "Waiting", ""),
        ("pods: the workload cannot be read", "Undecided", unreadable("web"), "Undecided", ""),
        (
            "pods: one ended without success",
            "Failed",
            sized("web", 1, vec![ended("Error")]),
            "Waiting",
            "its controller has made another one",
        ),
        ("fork: without a node for now", "Waiting", app("web", vec![unscheduled(NO_CPU)]), "Waiting", ""),
        (
            "fork: ended, not for want of a node",
            "Failed",
            sized("web", 1, vec![ended("")]),
            "Waiting",
            "its controller has made another one",
        ),
        (
            "fork: pending, not for want of a node",
            "Failed",
            app("web", vec![creating()]),
            "Waiting",
            "to be pending is no failure: its reason may be one",
        ),
        ("fork: failed on its way out", "Waiting", deleting(crashed_pod(9)), "Waiting", ""),
        (
            "fork: one without a node, one that crashes",
            "Failed",
            app("web", vec![unscheduled(NO_CPU), crashed_pod(9)]),
            "Failed CrashLoop",
            "",
        ),
        ("fork: no pod to be seen", "Waiting", sized("web", 1, Vec::new()), "Waiting", ""),
        ("fork: a crash loop", "Failed", app("web", vec![crashed_pod(9)]), "Failed CrashLoop", ""),
        (
            "flux wait: one failed while others are on their way",
            "Failed",
            and(app("web", vec![creating()]), failed_job()),
            "Failed JobFailed",
            "",
        ),
        (
            "flux wait: all are ready or failed",
            "Failed",
            and(app("web", vec![ready(0)]), failed_job()),
            "Failed JobFailed",
            "",
        ),
        ("flux wait: a job that was taken away in time", "Ready", absent("Job", true, false), "Ready", ""),
        (
            "flux wait: a job with a time to live that is not done",
            "Waiting",
            absent("Job", true, true),
            "Waiting",
            "",
        ),
        (
            "flux wait: a job that is not there, and has no time to live",
            "Failed",
            absent("Job", false, false),
            "Ready",
            "nobody saw it: it may have been done, and taken away by who made it",
        ),
        ("flux wait: an object that cannot be read", "Undecided", unreadable("x"), "Undecided", ""),
        (
            "flux wait: objects that a server asked too often does not show",
            "Undecided",
            and(unreadable("x"), unreadable("y")),
            "Undecided",
            "",
        ),
        (
            "flux wait: one failed while others are on their way, not to fail fast",
            "Waiting",
            and(stalled(), app("api", vec![creating()])),
            "Failed ProgressDeadlineExceeded",
            "what has failed is not waited out",
        ),
        ("flux wait: a custom resource that is not seen yet", "Waiting", custom(0), "Waiting", ""),
        ("flux wait: a custom resource that is seen", "Ready", custom(1), "Ready", ""),
        // No counterpart: a wait that is called off. A judge looks and does not wait; that a newer write opens the
        // revision again is told in `tests/protocol/life.rs`.
        (
            "flux wait: a deleted object that is still there",
            "Waiting",
            deleted(config_map().live),
            "Waiting",
            "",
        ),
        ("flux wait: a deleted object that is gone", "Ready", deleted(Live::Absent), "Ready", ""),
        ("helm wait: a pod has failed", "Failed", bare("Failed", "False"), "Failed PodFailed", ""),
        ("helm wait: a job has failed", "Failed", failed_job(), "Failed JobFailed", ""),
        (
            "helm wait: one of two pods never becomes ready",
            "Waiting",
            and(bare("Running", "True"), renamed(bare("", "False"))),
            "Waiting",
            "",
        ),
        (
            "helm wait: one of two deleted objects is still there",
            "Waiting",
            and(deleted(Live::Absent), renamed(deleted(config_map().live))),
            "Waiting",
            "",
        ),
        (
            "helm wait for hooks: a pod has failed",
            "Failed",
            hook(bare("Failed", "False")),
            "Failed PodFailed",
            "",
        ),
        ("helm wait for hooks: a job has failed", "Failed", hook(failed_job()), "Failed JobFailed", ""),
        ("helm wait for hooks: a pod is done", "Ready", hook(bare("Succeeded", "False")), "Ready", ""),
        (
            "helm wait for hooks: a pod is ready, and not done",
            "Waiting",
            hook(bare("Running", "True")),
            "Ready",
            "what a pod is to do to the end is a job's: hooks are objects of the release like others",
        ),
        (
            "helm wait for hooks: what is neither a pod nor a job is not ready",
            "Ready",
            hook(app("web", vec![creating()])),
            "Waiting",
            "hooks are objects of the release like others",
        ),
    ]
}

#[test]
fn kstatus_of_many_objects() {
    scenes_are_judged("kstatus aggregator, pod reader and fork, Flux and Helm wait", table(), 36, 60);
}
