//! What several objects amount to: the aggregator and pod reader of kstatus and its fork, and Flux' wait.

use backout_model::health::{Judged, Live, Scene};
use serde_json::{Value, json};

use super::{Row, scenes_are_judged};
use crate::{
    scenes::{adopt, config_map, crashed_pod, judged},
    stage::{NO_CPU, and, app, changed, creating, ready, sized, thing, unscheduled},
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

fn ended(reason: &str) -> Value {
    json!({"metadata": {}, "spec": {}, "status": {"phase": "Failed", "reason": reason}})
}

/// What, theirs, the scene, ours after a minute, and why it differs.
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
        ("flux wait: an object that cannot be read", "Undecided", unreadable("x"), "Undecided", ""),
    ]
}

#[test]
fn kstatus_of_many_objects() {
    scenes_are_judged("kstatus aggregator, pod reader and fork, Flux wait", table(), 19, 60);
}
