//! Vectors 20 to 34.

use super::*;

const fn with(
    number: usize,
    what: &'static str,
    scene: fn(i64) -> Scene,
    expect: crate::sim::Expect,
    more: More,
) -> Case {
    Case { number, what, scene, expect, more }
}

const UPGRADE: More = More { upgrade: true, rewritten: &[], outages: &[], restarts: &[] };

fn job(status: &Value) -> Scene {
    thing("batch", "Job", &json!({"ttlSecondsAfterFinished": 5}), status)
}

fn gone(mut scene: Scene) -> Scene {
    scene.judged[0].live = Live::Absent;
    scene
}

fn claim() -> Scene {
    let mut scene = thing(
        "",
        "PersistentVolumeClaim",
        &json!({"storageClassName": "local"}),
        &json!({"phase": "Pending"}),
    );
    scene
        .storage_classes
        .push(json!({"metadata": {"name": "local"}, "volumeBindingMode": "WaitForFirstConsumer"}));
    scene
}

fn widget(status: &Value) -> Scene {
    thing("example.dev", "Widget", &json!({"size": 1}), status)
}

fn scaled(replicas: usize, pods: Vec<Value>) -> Scene {
    sized("web", replicas, pods)
}

/// A neighbour that was as unwell before, and that the release left alone but for a label.
fn neighbour() -> Judged {
    let mut judged = app("other", vec![unready()]).judged.remove(0);
    let Live::Present(live) = &judged.live else { panic!() };
    judged.baseline = Some(live.clone());
    judged
}

#[rustfmt::skip] // a table reads by its columns
pub(super) const TABLE: &[Case] = &[
    case(20, "a DaemonSet on three nodes, one of which is not ready",
        |s| changed(daemons(vec![("a", ready_from(s, 10)), ("b", ready_from(s, 20)), ("c", creating())]), |scene| {
            scene.nodes.push(node("c", false, false, -900));
        }), Healthy(80, 84)),
    case(21, "a job that is known to fail while its pods still end",
        |s| job(&during(s, &[(0, json!({})), (1, json!({"startTime": time(1), "active": 1})), (20, json!({"startTime": time(1),
            "conditions": [{"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded"}]}))])),
        Fails("JobFailed", 20, 21)),
    case(21, "a job that succeeds and is taken away",
        |s| if s < 12 { job(&json!({"startTime": time(1), "succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]})) }
            else { gone(job(&json!({}))) },
        Healthy(65, AT_ONCE)),
    case(22, "a claim that waits for its first consumer, and has none", |_| claim(), Healthy(65, AT_ONCE)),
    case(23, "a generation that is written as text",
        |_| widget(&json!({"observedGeneration": "1", "conditions": [{"type": "Ready", "status": "True"}]})), Healthy(65, AT_ONCE)),
    case(24, "a custom resource that is silent at first, then not ready for long",
        |s| widget(&match s {
            0..8 => json!({}),
            8..200 => json!({"conditions": [{"type": "Ready", "status": "False", "reason": "Provisioning"}]}),
            _ => json!({"conditions": [{"type": "Ready", "status": "True"}]}),
        }), Healthy(260, 264)),
    case(25, "no pods are asked for", |_| scaled(0, Vec::new()), Healthy(65, AT_ONCE)),
    case(25, "an autoscaler asks for more pods before it is ready",
        |s| match s {
            0..20 => scaled(1, vec![creating()]),
            20..40 => scaled(3, vec![ready(20), creating(), creating()]),
            _ => scaled(3, vec![ready(20), ready(40), ready(40)]),
        }, Healthy(100, 104)),
    case(25, "an autoscaler asks for more pods than there is room for, once it is ready",
        |s| if s < 30 { scaled(1, vec![ready(0)]) } else { scaled(3, vec![ready(0), unscheduled(NO_CPU), unscheduled(NO_CPU)]) },
        Healthy(65, AT_ONCE)),
    case(25, "an autoscaler takes pods away",
        |s| if s < 30 { scaled(3, vec![ready(0), ready(0), ready(0)]) } else { scaled(1, vec![ready(0), ready(0)]) },
        Healthy(65, AT_ONCE)),
    case(26, "a paused Deployment",
        |_| changed(app("web", vec![creating()]), |scene| live(scene)["spec"]["paused"] = json!(true)), Healthy(65, AT_ONCE)),
    with(27, "a newer write supersedes what does not become ready",
        |s| app("web", vec![if s < 110 { unready() } else { ready(110) }]), Healthy(170, 174),
        More { rewritten: &[100], ..UPGRADE }),
    with(27, "a newer write begins the time anew",
        |_| app("web", vec![unready()]), Fails("NotReadyInTime", 1005, 1006), More { rewritten: &[400], ..UPGRADE }),
    with(28, "two minutes without sight do not confirm anything",
        |_| app("web", vec![never_pulled()]), Fails("ImageNotPresent", 130, 132), More { outages: &[(6, 126)], ..UPGRADE }),
    with(28, "two minutes without sight do not count for the deadline",
        |s| app("web", vec![if s < 700 { unready() } else { ready(700) }]), Healthy(760, 764),
        More { outages: &[(100, 220)], ..UPGRADE }),
    case(29, "a neighbour that was as unwell before",
        |_| changed(app("web", vec![ready(0)]), |scene| scene.judged.push(neighbour())), Healthy(65, AT_ONCE)),
    case(30, "out of memory at its start, again and again",
        |s| app("web", vec![crash_loop(s, "OOMKilled", 137, "")]), Fails("OutOfMemory", 22, 23)),
    case(31, "ends well, again and again",
        |s| app("web", vec![crash_loop(s, "Completed", 0, "")]), Fails("CrashLoop", 42, 44)),
    case(32, "a pod is evicted while the release soaks, and another one comes",
        |s| match s {
            0..30 => app("web", vec![ready(0), ready(0)]),
            30..100 => changed(scaled(2, vec![ready(0), changed_name(creating())]), |scene| scene.pods.push(evicted())),
            _ => changed(scaled(2, vec![ready(0), changed_name(ready(100))]), |scene| scene.pods.push(evicted())),
        }, Healthy(160, 164)),
    case(33, "killed by its liveness probe once while it soaks",
        |s| app("web", vec![if s < 40 { ready(0) } else { restarted(0, 1) }]), Healthy(100, 104)),
    case(33, "killed by its liveness probe every fifteen seconds while it soaks",
        |s| app("web", vec![restarted(0, u64::try_from((s - 10).max(0) / 15).unwrap())]), Fails("DidNotStayReady", 55, 57)),
    case(34, "applied again as it was",
        |_| changed(app("web", vec![ready(-900)]), |scene| {
            let baseline = scene.judged[0].live.clone();
            let Live::Present(baseline) = baseline else { panic!() };
            scene.judged[0].baseline = Some(baseline);
        }), Healthy(65, AT_ONCE)),
];

fn changed_name(mut pod: Value) -> Value {
    pod["metadata"]["name"] = json!("web-2-new");
    pod
}

fn evicted() -> Value {
    let mut pod = adopt(creating(), "web", "web-2-1");
    pod["status"] =
        json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."});
    pod
}
