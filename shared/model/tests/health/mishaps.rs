//! What happens to healthy releases while they are judged, and what broken ones look like that seem well.

use backout_model::{
    health::{Live, Scene},
    release::Failure,
};
use serde_json::{Value, json};

use crate::{
    scenes::set,
    sim::{Case, Expect, More, Outcome},
    stage::{
        NO_CPU, and, app, changed, config, consumer, event, installed, live, pulling, ready, ready_from,
        sized, stateful, thing, time, unready, unscheduled,
    },
};

const UPGRADE: More = More { upgrade: true, rewritten: &[], outages: &[], restarts: &[] };

fn run(scene: fn(i64) -> Scene, more: More) -> Outcome {
    Case { number: 0, what: "mishap", scene, expect: Expect::Healthy(0, 3000), more }.run()
}

fn failure(scene: fn(i64) -> Scene) -> Option<(i64, Failure)> {
    let Outcome { second, failure } = run(scene, UPGRADE);
    failure.map(|failure| (second, failure))
}

fn named(mut pod: Value, name: &str) -> Value {
    pod["metadata"]["name"] = json!(name);
    pod
}

/// `progressDeadlineSeconds: 2147483647` means none: the controller then takes the condition `Progressing` away
/// (`syncRolloutStatus`: `HasProgressDeadline`). kstatus knows it.
#[test]
fn a_deployment_that_sets_itself_no_deadline_becomes_ready() {
    let without = |object: &mut Value| {
        object["spec"]["progressDeadlineSeconds"] = json!(2_147_483_647);
        object["status"]["conditions"].as_array_mut().unwrap().retain(|it| it["type"] != "Progressing");
    };
    let scene = changed(app("web", vec![ready(0)]), |scene| {
        without(live(scene));
        without(scene.judged[0].baseline.as_mut().unwrap());
    });
    assert_eq!(crate::scenes::first_sight(&scene), backout_model::health::Verdict::Ready);
}

/// While everything is not ready again only because pods move, the deadline holds; another object that is not ready for
/// one look must not end that time at once.
#[test]
fn a_moment_of_one_object_does_not_end_the_time_of_another_whose_pod_moves() {
    assert_eq!(
        failure(|s| {
            let moved = match s {
                0..20 => app("a", vec![ready(0)]),
                _ => app("a", vec![named(ready_from(s, 200), "a-2-moved")]),
            };
            let other = app("b", vec![if (100..103).contains(&s) { unready() } else { ready(0) }]);
            and(moved, other)
        }),
        None
    );
}

/// Two objects, none of which is unready for more than 40 seconds.
#[test]
fn the_minute_to_recover_is_each_objects_own() {
    assert_eq!(
        failure(|s| and(
            app("a", vec![if (20..60).contains(&s) { unready() } else { ready(0) }]),
            app("b", vec![if (55..85).contains(&s) { unready() } else { ready(0) }]),
        )),
        None
    );
}

/// A StatefulSet of three pods that come one after the other, each in a hundred seconds. In the first second its
/// ServiceAccount was not there yet: told three times, and then the first pod was created.
#[test]
fn a_refusal_that_is_over_does_not_stand_while_an_ordered_stateful_set_comes_up() {
    assert_eq!(
        failure(|s| {
            let count = (1 + s / 100).min(3);
            let pods = (0..count).map(|i| ("db-2", ready_from(s, 100 * i + 100)));
            installed(changed(stateful(0, pods.collect()), |scene| {
                for (i, pod) in scene.pods.iter_mut().enumerate() {
                    pod["metadata"]["creationTimestamp"] = json!(time(100 * i64::try_from(i).unwrap() + 2));
                }
                live(scene)["spec"]["replicas"] = json!(3);
                scene.events.push(event(
                    "db",
                    "FailedCreate",
                    "create Pod db-0 in StatefulSet db failed error: pods \"db-0\" is forbidden: error looking up \
                     service account shop/db: serviceaccount \"db\" not found",
                    1,
                    3,
                ));
            }))
        }),
        None
    );
}

/// The same with a quota that was full for a moment.
#[test]
fn a_quota_that_was_full_for_a_moment_does_not_stand_while_an_ordered_stateful_set_comes_up() {
    assert_eq!(
        failure(|s| {
            let count = (1 + s / 100).min(3);
            let pods = (0..count).map(|i| ("db-2", ready_from(s, 100 * i + 100)));
            installed(changed(stateful(0, pods.collect()), |scene| {
                for (i, pod) in scene.pods.iter_mut().enumerate() {
                    pod["metadata"]["creationTimestamp"] = json!(time(100 * i64::try_from(i).unwrap() + 2));
                }
                live(scene)["spec"]["replicas"] = json!(3);
                scene.events.push(event("db", "FailedCreate", "create Pod db-0 in StatefulSet db failed error: \
                     pods \"db-0\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=10, limited: pods=10", 1, 3));
            }))
        }),
        None
    );
}

/// The node of one of two pods dies while the release soaks. After 40 s the node controller sets the pods' condition
/// Ready to False and nothing else (`MarkPodsNotReady`); after 300 s more they are evicted and others come.
fn lost_node(s: i64) -> Scene {
    let mut lost = ready(0);
    lost["status"]["conditions"][0]["status"] = json!("False");
    match s {
        0..30 => app("web", vec![ready(0), ready(0)]),
        30..330 => app("web", vec![ready(0), lost]),
        _ => app("web", vec![ready(0), named(ready_from(s, 345), "web-2-new")]),
    }
}

#[test]
fn a_node_that_dies_while_it_soaks_is_no_failure_of_the_release() {
    assert_eq!(failure(lost_node), None);
}

/// The only pod of a StatefulSet moves to another node while the release soaks: 90 s to shut down, 30 s to come up. Its
/// controller makes the new one only when the old one is gone.
#[test]
fn the_only_pod_of_a_stateful_set_may_take_its_time_to_shut_down() {
    assert_eq!(
        failure(|s| match s {
            0..20 => stateful(0, vec![("db-2", ready(0))]),
            20..110 => changed(stateful(0, vec![("db-2", ready(0))]), |scene| {
                scene.pods[0]["metadata"]["deletionTimestamp"] = json!(time(140));
                set(&mut scene.judged[0], "/status/updatedReplicas", json!(0));
            }),
            _ => changed(stateful(0, vec![("db-2", ready_from(s, 140))]), |scene| {
                scene.pods[0]["metadata"]["uid"] = json!("db-0-moved");
            }),
        }),
        None
    );
}

/// A chart's new version changes a label of each object and nothing else of this Deployment; one of its pods is drained
/// while the release soaks, and its like takes a minute and a half.
#[test]
fn a_pod_that_moves_is_not_held_against_a_release_that_left_its_spec_alone() {
    assert_eq!(
        failure(|s| {
            let mut scene = match s {
                0..20 => app("web", vec![ready(-900)]),
                _ => app("web", vec![named(ready_from(s, 110), "web-2-moved")]),
            };
            let mut before = app("web", vec![ready(-900)]);
            scene.judged[0].baseline = Some(live(&mut before).clone());
            scene
        }),
        None
    );
}

/// A ConfigMap is changed by one release; the broken image of another release's rollout, whose pods mount it, too, is
/// not its doing.
#[test]
fn an_image_that_is_not_there_is_not_the_fault_of_a_config_map() {
    assert_eq!(
        failure(|s| changed(config("ConfigMap", vec![("user-1", ready(-900))]), |scene| {
            if s >= 10 {
                let mut pod = consumer(
                    pulling(s - 10, "r.example/other:typo: not found"),
                    "other-2-x",
                    "ConfigMap",
                    "settings",
                );
                pod["metadata"]["ownerReferences"] = json!([{"uid": "other-rs-2", "controller": true}]);
                scene.pods.push(pod);
            }
        })),
        None
    );
}

/// Strimzi has no condition `Ready` on what is not ready, but `NotReady=True`.
#[test]
fn a_kafka_that_says_that_it_is_not_ready_is_not_healthy() {
    let outcome = run(
        |_| {
            thing(
                "kafka.strimzi.io",
                "Kafka",
                &json!({}),
                &json!({"observedGeneration": 1, "conditions": [
            {"type": "NotReady", "status": "True", "reason": "InvalidResourceException", "message": "storage cannot be changed"}]}),
            )
        },
        UPGRADE,
    );
    assert_eq!(
        outcome.failure.map(|failure| failure.reason),
        Some("NotReadyInTime".to_owned()),
        "{} s",
        outcome.second
    );
}

/// No room for the new pod until an old one has ended, which takes it two minutes (`terminationGracePeriodSeconds`); the
/// autoscaler says that it is at its limit.
#[test]
fn a_pod_whose_place_an_old_one_is_leaving_is_waited_for() {
    assert_eq!(
        failure(|s| {
            if s >= 125 {
                return app("web", vec![ready_from(s, 135)]);
            }
            changed(app("web", vec![unscheduled(NO_CPU)]), |scene| {
                scene.events.push(event(
                    "web-2-0",
                    "NotTriggerScaleUp",
                    "pod didn't trigger scale-up: 1 max node group size reached",
                    5,
                    1,
                ));
                let mut old = ready(-900);
                old["metadata"] = json!({"name": "web-1-x", "uid": "web-1-x", "namespace": "shop",
                    "deletionTimestamp": time(122), "ownerReferences": [{"uid": "web-rs-1", "controller": true}]});
                scene.pods.push(old);
                let mut set = scene.replica_sets[0].clone();
                set["metadata"]["uid"] = json!("web-rs-1");
                set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("1");
                scene.replica_sets.push(set);
            })
        }),
        None
    );
}

/// A rolling update under a tight quota: the old pod takes 90 s to end, and three seconds later the ReplicaSet is asked
/// for its pod again.
#[test]
fn a_quota_that_is_free_at_last_is_not_a_failure_in_that_very_second() {
    assert_eq!(
        failure(|s| {
            if s >= 93 {
                return app("web", vec![ready_from(s, 100)]);
            }
            changed(sized("web", 1, Vec::new()), |scene| {
                scene.replica_sets[0]["status"] = json!({"conditions": [{"type": "ReplicaFailure", "status": "True",
                    "reason": "FailedCreate", "message": "pods \"web-2-x\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=10, limited: pods=10"}]});
                let mut set = scene.replica_sets[0].clone();
                set["metadata"]["uid"] = json!("web-rs-1");
                set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("1");
                set["status"] = json!({});
                scene.replica_sets.push(set);
                if s < 90 {
                    let mut old = ready(-900);
                    old["metadata"] = json!({"name": "web-1-x", "uid": "web-1-x", "namespace": "shop",
                        "deletionTimestamp": time(90), "ownerReferences": [{"uid": "web-rs-1", "controller": true}]});
                    scene.pods.push(old);
                }
            })
        }),
        None
    );
}

/// An autoscaler asks for more pods three times while the release soaks, and its controller looks a second later.
#[test]
fn an_autoscaler_may_ask_three_times_while_it_soaks() {
    assert_eq!(
        failure(|s| {
            let asked = [20, 40, 60];
            let changes = asked.iter().filter(|it| **it <= s).count();
            let seen = asked.iter().filter(|it| **it < s).count();
            let pods =
                (0..=seen).map(|i| if i == 0 { ready(0) } else { ready_from(s, asked[i - 1] + 8) }).collect();
            changed(sized("web", 1 + changes, pods), |scene| {
                live(scene)["metadata"]["generation"] = json!(2 + changes);
                live(scene)["status"]["observedGeneration"] = json!(2 + seen);
            })
        }),
        None
    );
}

/// A migration with `ttlSecondsAfterFinished: 0` fails. The TTL controller deletes it in the same moment, in the
/// foreground: it is there, on its way out, until its pods have gone, and says all the time that it has failed.
#[test]
fn a_job_that_failed_and_is_taken_away_has_failed() {
    let outcome = run(
        |s| {
            let mut scene = thing(
                "batch",
                "Job",
                &json!({"ttlSecondsAfterFinished": 0, "backoffLimit": 0}),
                &match s {
                    0..20 => json!({"startTime": time(1), "active": 1}),
                    _ => {
                        json!({"startTime": time(1), "failed": 1, "conditions": [{"type": "Failed", "status": "True",
                    "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}]})
                    }
                },
            );
            if s >= 20 {
                live(&mut scene)["metadata"]["deletionTimestamp"] = json!(time(20));
            }
            if s >= 24 {
                scene.judged[0].live = Live::Absent;
            }
            scene
        },
        More { upgrade: true, ..UPGRADE },
    );
    assert_eq!(
        outcome.failure.map(|failure| failure.reason),
        Some("JobFailed".to_owned()),
        "{} s",
        outcome.second
    );
}
