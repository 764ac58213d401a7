//! Releases that are well, and awkward: none may be rolled back.

use serde_json::json;

use super::healthy_case as case;
use crate::{
    scenes::{crashed_pod, never_pulled, set, waiting_pod},
    sim::{Case, More},
    stage::{
        NO_CPU, and, app, changed, config, crashing, creating, daemons, during, event, installed, live, node,
        pulling, ready, ready_from, rejected, restarted, sized, stateful, thing, time, told, unready,
        unscheduled, waits,
    },
};

const UPGRADE: More = More { upgrade: true, rewritten: &[], outages: &[], restarts: &[] };
const INSTALL: More = More { upgrade: false, ..UPGRADE };

fn with(mut case: Case, more: More) -> Case {
    case.more = more;
    case
}

fn job(status: &serde_json::Value) -> backout_model::health::Scene {
    thing("batch", "Job", &json!({}), status)
}

fn complete() -> serde_json::Value {
    json!({"startTime": time(1), "succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]})
}

/// Each row: what it is, what there is to see, by when it must be committed.
#[expect(clippy::too_many_lines, reason = "a table")]
#[rustfmt::skip] // a table reads by its columns
pub(super) fn table() -> Vec<Case> {
    vec![
        case("ready at once", |_| app("web", vec![ready(0)]), 66),
        case("starts for nine minutes", |s| app("web", vec![if s < 540 { unready() } else { ready(540) }]), 604),
        with(case("an install whose pod crashes until its database is there",
            |s| installed(and(app("web", vec![if s < 100 { crashing(s) } else { restarted(100, 5) }]), app("database", vec![ready_from(s, 60)]))), 164), INSTALL),
        case("crashes while another Deployment of the release comes up",
            |s| and(app("web", vec![if s < 85 { crashing(s) } else { restarted(85, 4) }]), app("database", vec![ready_from(s, 84)])), 149),
        case("crashes three times and recovers", |s| app("web", vec![if s < 40 { crashing(s) } else { restarted(40, 3) }]), 104),
        case("a registry that times out for two minutes",
            |s| app("web", vec![if s < 130 { pulling(s, "dial tcp: i/o timeout") } else { ready(130) }]), 194),
        case("a pull secret that comes half a minute late",
            |s| app("web", vec![if s < 40 { pulling(s, "401 Unauthorized") } else { ready(40) }]), 104),
        case("an image that is pushed ten seconds late",
            |s| app("web", vec![if s < 10 { pulling(s, "r.example/shop:9: not found") } else { ready_from(s, 20) }]), 84),
        case("an image of gigabytes", |s| app("web", vec![ready_from(s, 500)]), 564),
        case("a node that is added for it in eight minutes",
            |s| changed(app("web", vec![if s < 480 { unscheduled(NO_CPU) } else { ready(480) }]), |scene| {
                scene.events.push(event("web-2-0", "TriggeredScaleUp", "pod triggered scale-up", 20, 1));
            }), 544),
        case("a node that Karpenter makes",
            |s| changed(app("web", vec![if s < 350 { unscheduled(NO_CPU) } else { ready(350) }]), |scene| {
                scene.events.push(event("web-2-0", "Nominated", "Pod should schedule on: nodeclaim/default-x", 5, 1));
            }), 414),
        case("other pods give way to it",
            |s| app("web", vec![if s < 320 { changed_pod(unscheduled(NO_CPU), "nominatedNodeName", "n1") } else { ready(320) }]), 384),
        case("held back by a scheduling gate for eight minutes", |s| app("web", vec![if s < 480 {
            let mut pod = unscheduled("blocked");
            pod["status"]["conditions"][0]["reason"] = json!("SchedulingGated");
            pod
        } else { ready(480) }]), 544),
        case("an autoscaler asks for more pods in the middle of the rollout",
            |s| if s < 15 { sized("web", 2, vec![ready(10), creating()]) } else { app("web", vec![ready(10), ready_from(s, 30), ready_from(s, 60), ready_from(s, 90)]) }, 154),
        case("an autoscaler asks for more pods in the soak, and they come late",
            |s| if s < 30 { app("web", vec![ready(0)]) } else { app("web", vec![ready(0), ready_from(s, 300)]) }, 66),
        case("an autoscaler whose metrics are late",
            |_| and(app("web", vec![ready(0)]), thing("autoscaling", "HorizontalPodAutoscaler", &json!({}), &json!({"conditions": [
                {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric", "message": "no metrics"}]}))), 66),
        case("paused", |_| changed(app("web", vec![creating()]), |scene| live(scene)["spec"]["paused"] = json!(true)), 66),
        case("scaled to nothing", |_| sized("web", 0, Vec::new()), 66),
        case("a job of five minutes", |s| job(&if s < 300 { json!({"startTime": time(1), "active": 1}) } else { complete() }), 364),
        case("a job whose pods fail twice", |s| {
            let mut scene = job(&if s < 100 { json!({"startTime": time(1), "active": 1, "failed": 2}) } else { complete() });
            let mut pod = crashed_pod(9);
            pod["metadata"] = json!({"name": "x-1", "uid": "x-1", "ownerReferences": [{"uid": "x", "controller": true}]});
            scene.pods.push(pod);
            scene
        }, 164),
        case("a job that is to be started by hand", |_| thing("batch", "Job", &json!({"suspend": true}), &json!({})), 66),
        case("a CronJob", |_| thing("batch", "CronJob", &json!({"schedule": "* * * * *"}), &json!({"lastScheduleTime": time(0)})), 66),
        case("a DaemonSet with a node that is not ready", |_| changed(daemons(vec![("a", ready(0)), ("b", creating())]), |scene| {
            scene.nodes.push(node("b", false, false, -900));
        }), 66),
        case("a DaemonSet whose pod fails on a cordoned node", |_| changed(daemons(vec![("a", ready(0)), ("b", never_pulled())]), |scene| {
            scene.nodes.push(node("b", true, true, -900));
        }), 66),
        case("a DaemonSet with a node that went away", |_| changed(daemons(vec![("a", ready(0)), ("b", unready())]), |scene| {
            scene.nodes.push(json!({"metadata": {"name": "b"}}));
        }), 66),
        case("a DaemonSet that a new node joins while it soaks",
            |s| if s < 30 { daemons(vec![("a", ready(0))]) } else {
                changed(daemons(vec![("a", ready(0)), ("b", ready_from(s, 200))]), |scene| scene.nodes.push(node("b", true, false, 30)))
            }, 66),
        case("a custom resource without a status", |_| thing("example.dev", "Widget", &json!({}), &json!({})), 76),
        case("a custom resource that takes five minutes", |s| thing("example.dev", "Widget", &json!({}), &json!({"conditions": [
            {"type": "Ready", "status": if s < 300 { "False" } else { "True" }, "reason": "Provisioning"}]})), 364),
        case("a custom resource that stalls for five seconds", |s| thing("example.dev", "Widget", &json!({}), &json!({"conditions": [
            {"type": "Stalled", "status": if (10..15).contains(&s) { "True" } else { "False" }, "reason": "Quota"}, {"type": "Ready", "status": "True"}]})), 100),
        case("applied again as it was", |_| changed(app("web", vec![ready(-900)]), |scene| scene.judged[0].baseline = present(scene)), 66),
        case("a label on a Deployment that is unwell for days", |_| changed(app("web", vec![crashed_pod(99)]), |scene| scene.judged[0].baseline = present(scene)), 66),
        case("an operator writes to it again and again", |s| changed(app("web", vec![ready(0)]), |scene| {
            live(scene)["metadata"]["generation"] = json!(2 + s / 10);
            live(scene)["status"]["observedGeneration"] = json!(2 + s / 10);
        }), 66),
        case("an operator writes to it while it soaks, and its controller looks two seconds later", |s| changed(app("web", vec![ready(0)]), |scene| {
            live(scene)["metadata"]["generation"] = json!(if s < 30 { 2 } else { 3 });
            live(scene)["status"]["observedGeneration"] = json!(if s < 32 { 2 } else { 3 });
        }), 94),
        case("its old pods take two minutes to end", |s| changed(app("web", vec![ready(0)]), |scene| {
            set(&mut scene.judged[0], "/status/replicas", json!(if s < 120 { 2 } else { 1 }));
        }), 184),
        case("its pods move one by one to other nodes while it soaks", |s| {
            let moved = |from: i64, name: &str| {
                let mut pod = if s < from { ready(0) } else { ready_from(s, from + 15) };
                pod["metadata"]["name"] = json!(if s < from { name.to_owned() } else { format!("{name}-moved") });
                pod
            };
            app("web", vec![moved(20, "web-2-a"), moved(60, "web-2-b"), moved(100, "web-2-c"), moved(140, "web-2-d")])
        }, 220),
        case("its node is lost, and its pod is replaced", |s| match s {
            0..20 => app("web", vec![ready(0)]),
            20..80 => sized("web", 1, vec![named(changed_pod(creating(), "reason", ""), "web-2-new")]),
            _ => app("web", vec![named(ready(80), "web-2-new")]),
        }, 144),
        case("no room in the quota until old pods have ended", |s| if s < 100 {
            changed(super::refused("exceeded quota: pods"), |scene| live(scene)["spec"]["strategy"] = json!({"type": "Recreate"}))
        } else { app("web", vec![ready(100)]) }, 164),
        case("a quota under which its pods come one by one", |s| {
            let there = (1 + s / 50).min(4);
            let pods = (0..there).map(|i| ready_from(s, 50 * i + 20)).collect();
            changed(sized("web", 4, pods), |scene| if there < 4 {
                scene.replica_sets[0]["status"] = super::refused("exceeded quota: pods").replica_sets[0]["status"].clone();
            })
        }, 234),
        case("a webhook for pods that is down for two minutes", |s| if s < 120 { super::refused("failed calling webhook \"x\": timeout") } else { app("web", vec![ready(120)]) }, 184),
        case("a service account that comes half a minute late", |s| if s < 30 { super::refused("serviceaccount \"web\" not found") } else { app("web", vec![ready(30)]) }, 94),
        case("a claim that waits for its first consumer", |_| changed(thing("", "PersistentVolumeClaim", &json!({"storageClassName": "local"}), &json!({"phase": "Pending"})), |scene| {
            scene.storage_classes.push(json!({"metadata": {"name": "local"}, "volumeBindingMode": "WaitForFirstConsumer"}));
        }), 66),
        case("a claim whose volume takes two minutes", |s| changed(thing("", "PersistentVolumeClaim", &json!({"storageClassName": "fast"}),
            &json!({"phase": if s < 120 { "Pending" } else { "Bound" }})), |scene| {
            scene.storage_classes.push(json!({"metadata": {"name": "fast"}, "volumeBindingMode": "Immediate"}));
        }), 184),
        case("a load balancer that the cluster does not have", |_| and(
            thing("", "Service", &json!({"type": "LoadBalancer", "clusterIP": "10.0.0.1"}), &json!({"loadBalancer": {}})),
            thing("networking.k8s.io", "Ingress", &json!({}), &json!({"loadBalancer": {}}))), 66),
        case("a StatefulSet whose pods take a minute each", |s| stateful(0, (0..3).map(|i| {
            let from = 120 - 60 * i;
            if s < from { ("db-1", ready(-900)) } else { ("db-2", ready_from(s, from + 50)) }
        }).collect()), 234),
        case("a StatefulSet that is rolled out when its pods are deleted", |_| changed(stateful(0, vec![("db-1", ready(-900))]), |scene| {
            live(scene)["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
        }), 66),
        case("a StatefulSet with a partition", |s| stateful(1, vec![("db-1", ready(-900)), ("db-2", ready_from(s, 30))]), 94),
        case("a ConfigMap whose consumers stay well", |_| config("ConfigMap", vec![("user-1", ready(-900)), ("user-2", ready(-900))]), 66),
        case("a ConfigMap whose consumer has crashed for days", |_| config("ConfigMap", vec![("user-1", crashed_pod(99))]), 66),
        case("a Secret for which a reloader replaces the pods", |s| config("Secret", match s {
            0..10 => vec![("user-1", ready(-900))],
            10..40 => vec![("user-1", ready(-900)), ("user-2", creating())],
            _ => vec![("user-2", ready(40))],
        }), 66),
        case("a Secret whose consumer crashes once", |s| config("Secret", vec![("user-1", restarted(-900, u64::from(s >= 30)))]), 94),
        with(case("the watcher starts anew every ten seconds at first", |s| app("web", vec![if s < 40 { crashing(s) } else { restarted(40, 3) }]), 110),
            More { restarts: &[10, 20, 30, 40], ..UPGRADE }),
        with(case("five minutes without the API server while it starts", |s| app("web", vec![ready_from(s, 200)]), 380),
            More { outages: &[(10, 310)], ..UPGRADE }),
        with(case("written again three times before it works", |s| app("web", vec![if s < 400 { unready() } else { ready(400) }]), 464),
            More { rewritten: &[100, 200, 300], ..UPGRADE }),
        case("killed once by its liveness probe while it soaks", |s| app("web", vec![if s < 40 { ready(0) } else { restarted(0, 1) }]), 104),
        case("not ready for twenty seconds while it soaks", |s| app("web", vec![if (30..50).contains(&s) { unready() } else { ready(0) }]), 114),
        case("a Secret that an operator makes half a minute late", |s| if s < 35 { told(s, "FailedMount", "MountVolume.SetUp failed for volume \"v\" : secret \"tls\" not found") }
            else { app("web", vec![ready_from(s, 60)]) }, 124),
        case("a Secret that a Certificate of the release makes two minutes late", |s| and(
            if s < 125 { told(s, "FailedMount", "MountVolume.SetUp failed for volume \"v\" : secret \"tls\" not found") } else { app("web", vec![ready(125)]) },
            thing("cert-manager.io", "Certificate", &json!({}), &json!({"conditions": [{"type": "Ready", "status": if s < 120 { "False" } else { "True" }, "reason": "Issuing"}]}))), 190),
        case("a Secret that an operator makes with a database, in five minutes", |s| and(
            if s < 320 { waits("CreateContainerConfigError", "secret \"db\" not found") } else { app("web", vec![ready(320)]) },
            thing("example.dev", "Database", &json!({}), &json!({"conditions": [{"type": "Ready", "status": if s < 300 { "False" } else { "True" }, "reason": "Creating"}]}))), 384),
        case("a volume that was late, and then a long pull", |s| changed(app("web", vec![ready_from(s, 300)]), |scene| {
            scene.events.push(event("web-2-0", "FailedMount", "secret \"tls\" not found", 8, 5));
        }), 364),
        case("a network plugin that comes up two minutes late", |s| if s < 120 { told(s, "FailedCreatePodSandBox", "failed to setup network") } else { app("web", vec![ready(120)]) }, 184),
        case("two pods that nodes refuse, and a third one", |s| sized("web", 1, match s {
            0..3 => vec![creating()],
            3..10 => vec![rejected(1, "OutOfcpu", "Node didn't have enough resource: cpu"), named(creating(), "web-2-b")],
            _ => vec![rejected(1, "OutOfcpu", "no"), rejected(2, "OutOfcpu", "no"), named(ready_from(s, 20), "web-2-c")],
        }).pipe_ready(s >= 20), 84),
        case("twenty minutes of its own, of which it takes fifteen", |s| changed(app("web", vec![if s < 900 { unready() } else { ready(900) }]), |scene| {
            live(scene)["spec"]["progressDeadlineSeconds"] = json!(1200);
        }), 964),
        case("an object whose deletion takes a while", |s| changed(thing("", "ConfigMap", &json!({}), &json!({})), |scene| {
            scene.judged[0].baseline = present(scene);
            scene.judged[0].deleted = true;
            if s < 100 { live(scene)["metadata"]["deletionTimestamp"] = json!(time(0)); } else { scene.judged[0].live = backout_model::health::Live::Absent; }
        }), 164),
        case("a pod of its own that runs to its end", |s| thing("", "Pod", &json!({"restartPolicy": "Never"}), &json!({"phase": if s < 50 { "Running" } else { "Succeeded" }})), 114),
        case("a StatefulSet whose controller is refused a pod once", |s| changed(stateful(0, vec![("db-2", ready_from(s, 20))]), |scene| {
            scene.events.push(event("db", "FailedCreate", "create Pod db-0 in StatefulSet db failed: etcdserver: request timed out", 2, 1));
        }), 84),
        case("a container whose node lost sight of it", |s| app("web", vec![if s < 30 {
            let mut pod = crashed_pod(1);
            pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] = json!("ContainerStatusUnknown");
            pod
        } else { ready(30) }]), 94),
        case("an image whose registry is down for two minutes", |s| if s < 120 { waits("RegistryUnavailable", "") } else { app("web", vec![ready(120)]) }, 184),
        case("a cache of its node that is behind for a minute", |s| if s < 60 { waits("CreateContainerConfigError", "failed to sync secret cache: timed out") } else { app("web", vec![ready(60)]) }, 124),
        case("started by turns for a while", |s| app("web", vec![during(s, &[(0, creating()), (5, unready()), (9, waiting_pod("CreateContainerError", "context deadline exceeded")), (20, ready(20))])]), 84),
    ]
}

fn present(scene: &backout_model::health::Scene) -> Option<serde_json::Value> {
    match &scene.judged[0].live {
        backout_model::health::Live::Present(live) => Some(live.clone()),
        _ => None,
    }
}

fn named(mut pod: serde_json::Value, name: &str) -> serde_json::Value {
    pod["metadata"]["name"] = json!(name);
    pod
}

fn changed_pod(mut pod: serde_json::Value, field: &str, value: &str) -> serde_json::Value {
    pod["status"][field] = json!(value);
    pod
}

/// Counts the pods anew where some of them were given up.
trait Recount {
    fn pipe_ready(self, ready: bool) -> Self;
}

impl Recount for backout_model::health::Scene {
    fn pipe_ready(mut self, ready: bool) -> Self {
        for (field, count) in [
            ("replicas", 1),
            ("updatedReplicas", 1),
            ("readyReplicas", i64::from(ready)),
            ("availableReplicas", i64::from(ready)),
        ] {
            live(&mut self)["status"][field] = json!(count);
        }
        self
    }
}
