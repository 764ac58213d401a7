//! What the tables of other tools do not tell: 34 stories, each through the whole life of a revision.

use std::collections::BTreeSet;

use backout_model::health::{Judged, Live, Scene};
use serde_json::{Value, json};

use crate::{
    scenes::{adopt, crashed_pod, never_pulled, waiting_pod},
    sim::{
        Case,
        Expect::{Fails, Healthy},
        More,
    },
    stage::{
        NO_CPU, app, changed, crash_loop, crashing, creating, daemons, during, event, live, node, pulling,
        ready, ready_from, restarted, sized, stateful, thing, time, unready, unscheduled,
    },
};

mod later;

const fn case(
    number: usize,
    what: &'static str,
    scene: fn(i64) -> Scene,
    expect: crate::sim::Expect,
) -> Case {
    Case {
        number,
        what,
        scene,
        expect,
        more: More { upgrade: true, rewritten: &[], outages: &[], restarts: &[] },
    }
}

fn exceeded(told: i64) -> Value {
    json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "lastUpdateTime": time(told),
           "lastTransitionTime": time(told)})
}

/// A Deployment whose own deadline is a minute.
fn hurried(pod: Value, progress: Option<Value>) -> Scene {
    changed(app("web", vec![pod]), |scene| {
        let live = live(scene);
        live["spec"]["progressDeadlineSeconds"] = json!(60);
        if let Some(progress) = progress {
            live["status"]["conditions"][0] = progress;
        }
    })
}

/// A pod of the revision before.
fn old(pod: Value) -> Value {
    let mut pod = adopt(pod, "web", "web-1-x");
    pod["metadata"]["ownerReferences"][0]["uid"] = json!("web-rs-1");
    pod
}

/// Init containers that end at once, before the pod's own container.
fn with_init(second: i64, sidecar: bool) -> Value {
    let mut pod = crashing(second);
    let status = pod["status"]["containerStatuses"][0].take();
    let policy = if sidecar { json!("Always") } else { json!(null) };
    pod["spec"]["initContainers"] = json!([{"name": "app", "restartPolicy": policy}]);
    pod["status"]["initContainerStatuses"] = json!([status]);
    let state =
        if sidecar { json!({"running": {}}) } else { json!({"waiting": {"reason": "PodInitializing"}}) };
    pod["status"]["containerStatuses"] =
        json!([{"name": "main", "ready": sidecar, "restartCount": 0, "state": state}]);
    pod["status"]["phase"] = if sidecar { json!("Running") } else { json!("Pending") };
    pod
}

/// A Deployment with no pod, whose ReplicaSets say that they may not create any.
fn refused(set: &str, message: &str) -> Scene {
    changed(sized("web", 1, Vec::new()), |scene| {
        let condition = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]);
        if set == "new" {
            scene.replica_sets[0]["status"] = json!({"conditions": condition});
        } else {
            let mut old = scene.replica_sets[0].clone();
            old["metadata"]["uid"] = json!("web-rs-1");
            old["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("1");
            old["status"] = json!({"conditions": condition});
            scene.replica_sets.push(old);
        }
    })
}

const QUOTA: &str = "pods \"web-2-x\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=10, limited: pods=10";
const DENIED: &str = "admission webhook \"policy.example\" denied the request: no latest tags";
const NO_WEBHOOK: &str = "Internal error occurred: failed calling webhook \"policy.example\": failed to call webhook: Post \"https://policy.policy.svc:443/\": context deadline exceeded";
const NOT_FOUND: &str = "rpc error: code = NotFound desc = r.example/shop:9: not found";
const TOO_MANY: &str =
    "pulling from host r.example failed with status code [manifests 9]: 429 Too Many Requests";

/// Healthy after so many seconds, if it is ready from the start: quiet time and soak.
const AT_ONCE: i64 = 66;

#[rustfmt::skip] // a table reads by its columns
const TABLE: &[Case] = &[
    case(1, "the controller gives up on this revision",
        |s| hurried(unready(), (s >= 62).then(|| exceeded(62))), Fails("ProgressDeadlineExceeded", 62, 63)),
    case(1, "the controller had given up on the revision before, and says so still",
        |s| changed(hurried(ready_from(s, 20), (s < 20).then(|| exceeded(-900))), |scene| {
            let before = scene.judged[0].baseline.as_mut().unwrap();
            before["status"]["conditions"][0] = exceeded(-900);
        }), Healthy(80, 90)),
    case(2, "the controller gave up on what it had seen before",
        |s| changed(hurried(ready_from(s, 30), (s < 30).then(|| exceeded(-1))), |scene| {
            if s < 30 { live(scene)["status"]["observedGeneration"] = json!(1); }
        }), Healthy(90, 100)),
    case(3, "complete, and then not available any more",
        |s| changed(app("web", vec![if s < 30 { ready(0) } else { unready() }]), |scene| {
            live(scene)["status"]["conditions"][0]["reason"] = json!("NewReplicaSetAvailable");
        }), Fails("DidNotStayReady", 90, 92)),
    case(4, "an init container that fails",
        |s| app("web", vec![with_init(s, false)]), Fails("InitContainerFailed", 42, 44)),
    case(5, "a sidecar that fails",
        |s| app("web", vec![with_init(s, true)]), Fails("CrashLoop", 42, 44)),
    case(6, "a pod of the old revision that crashes",
        |_| changed(app("web", vec![ready(0)]), |scene| scene.pods.push(old(crashed_pod(9)))), Healthy(65, AT_ONCE)),
    case(7, "a pod that crashes on its way out",
        |_| changed(app("web", vec![ready(0)]), |scene| {
            let mut pod = adopt(crashed_pod(9), "web", "web-2-x");
            pod["metadata"]["deletionTimestamp"] = json!(time(0));
            scene.pods.push(pod);
        }), Healthy(65, AT_ONCE)),
    case(8, "crashes twice, for what it needs comes late",
        |s| app("web", vec![if s < 16 { crashing(s) } else { restarted(16, 2) }]), Healthy(76, 80)),
    case(9, "five quick restarts, and then it runs",
        |s| app("web", vec![if s < 12 { crashed_pod(1 + u64::try_from(s / 3).unwrap()) } else { restarted(12, 5) }]),
        Healthy(72, 76)),
    case(10, "no node for a minute, then one is added, which takes five",
        |s| changed(app("web", vec![if s < 360 { unscheduled(NO_CPU) } else { ready(360) }]), |scene| {
            if s >= 60 { scene.events.push(event("web-2-0", "TriggeredScaleUp", "pod triggered scale-up", 60, 1)); }
        }), Healthy(420, 424)),
    case(11, "no node, and none will be added",
        |s| changed(app("web", vec![unscheduled(NO_CPU)]), |scene| {
            if s >= 10 { scene.events.push(event("web-2-0", "NotTriggerScaleUp", "pod didn't trigger scale-up", 10, 1)); }
        }), Fails("Unschedulable", 90, 91)),
    case(11, "no node, and nobody says anything", |_| app("web", vec![unscheduled(NO_CPU)]), Fails("Unschedulable", 300, 301)),
    case(12, "no room in the quota for half a minute",
        |s| if s < 30 { refused("new", QUOTA) } else { app("web", vec![ready(30)]) }, Healthy(90, 94)),
    case(12, "no room in the quota", |_| refused("new", QUOTA), Fails("PodsRefused", 60, 61)),
    case(13, "only the old replica set is refused its pods",
        |s| if s < 200 { refused("old", DENIED) } else { app("web", vec![ready(200)]) }, Healthy(260, 264)),
    case(14, "a webhook denies the pods", |_| refused("new", DENIED), Fails("PodsRefused", 15, 16)),
    case(14, "a webhook does not answer for two minutes",
        |s| if s < 120 { refused("new", NO_WEBHOOK) } else { app("web", vec![ready(120)]) }, Healthy(180, 184)),
    case(15, "a Secret that comes eight seconds late",
        |s| app("web", vec![if s < 10 { waiting_pod("CreateContainerConfigError", "secret \"tls\" not found") } else { ready_from(s, 18) }]),
        Healthy(78, 82)),
    case(16, "an image that is not there", |s| app("web", vec![pulling(s, NOT_FOUND)]), Fails("ImageNotFound", 15, 17)),
    case(16, "a registry that is overrun for two minutes",
        |s| app("web", vec![if s < 120 { pulling(s, TOO_MANY) } else { ready(120) }]), Healthy(180, 184)),
    case(17, "a pause between two pulls whose cause is not told",
        |s| app("web", vec![if s < 100 { waiting_pod("ImagePullBackOff", "Back-off pulling image \"r.example/shop:9\"") } else { ready(100) }]),
        Healthy(160, 164)),
    case(18, "one of three pods of a StatefulSet, with a partition",
        |_| stateful(2, vec![("db-1", ready(-900)), ("db-1", ready(-900)), ("db-2", never_pulled())]), Fails("ImageNotPresent", 10, 11)),
    // Its restore is told in `tests/protocol/stuck.rs`.
    case(19, "a StatefulSet that waits for a pod of another revision, which is stuck",
        |_| stateful(0, vec![("db-0", crashed_pod(9)), ("db-1", ready(-900))]), Fails("NotReadyInTime", 605, 606)),
];

#[test]
fn what_no_other_table_tells() {
    let cases = || TABLE.iter().chain(later::TABLE);
    for case in cases() {
        let outcome = case.check();
        println!("{}: {}: {} s", case.number, case.what, outcome.second);
    }
    let numbers: BTreeSet<_> = cases().map(|case| case.number).collect();
    println!("our own: {} vectors in {} cases", numbers.len(), cases().count());
    assert_eq!(numbers, (1..=34).collect());
}
