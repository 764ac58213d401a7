//! Signals of containers: how long and how often they must be seen.

use std::time::Duration;

use backout_model::health::{Live, Scene, Verdict};
use serde_json::{Value, json};

use crate::scenes::{
    Judge, START, at, crashed_pod, deployment, first_sight, judged, never_pulled, pod, running_pod,
    waiting_for, waiting_pod, web,
};

#[test]
fn what_was_seen_before_an_outage_is_still_known_after_it() {
    let scene = web([never_pulled()]);
    let mut blind = scene.clone();
    blind.judged[0].live = Live::Unreadable("busy".into());
    let mut judge = Judge::default();
    judge.look(&scene, at(0));
    judge.look(&blind, at(5));
    judge.look(&blind, at(105));
    judge.sightings.stand_still(Duration::from_secs(100));
    assert_eq!(judge.watch(&scene, 105, 200).unwrap().0, 110);
}

#[test]
fn a_deterministic_signal_is_confirmed_before_it_counts_and_the_judge_says_when() {
    let scene = web([never_pulled()]);
    let mut judge = Judge::default();
    assert_eq!(judge.look(&scene, at(0)).next, Some(Duration::from_secs(10)));
    assert_eq!(judge.look(&scene, at(4)).next, Some(Duration::from_secs(6)));
    assert_eq!(judge.look(&scene, at(10)).verdict, first_sight_failed(&scene, 10));
}

fn first_sight_failed(scene: &Scene, after: i64) -> Verdict {
    let mut judge = Judge::default();
    judge.look(scene, at(0));
    let verdict = judge.look(scene, at(after)).verdict;
    assert!(matches!(verdict, Verdict::Failed(_)), "{verdict:?}");
    verdict
}

#[test]
fn a_signal_that_goes_away_is_forgotten() {
    let (broken, mended) = (web([never_pulled()]), web([running_pod()]));
    let mut judge = Judge::default();
    judge.look(&broken, at(0));
    judge.look(&mended, at(8));
    assert_eq!(judge.watch(&broken, 9, 60).unwrap().0, 19);
}

#[test]
fn an_image_that_is_not_found_needs_two_attempts_or_a_minute() {
    let cause = "r.example/shop:9: not found";
    let failing = web([waiting_pod("ErrImagePull", cause)]);
    let waiting = web([waiting_pod(
        "ImagePullBackOff",
        &format!("Back-off pulling image \"x\": ErrImagePull: {cause}"),
    )]);
    assert_eq!(Judge::default().watch(&failing, 0, 100).unwrap().0, 60);
    assert_eq!(Judge::default().watch(&waiting, 0, 100).unwrap().0, 60, "first seen while it was put off");
    let mut judge = Judge::default();
    assert_eq!(judge.watch(&failing, 0, 5), None);
    assert_eq!(judge.watch(&waiting, 6, 20), None);
    let (second, failure) = judge.watch(&failing, 21, 60).unwrap();
    assert_eq!(second, 21);
    assert!(failure.message.ends_with("not found (2 attempts in 21 s)"), "{}", failure.message);
}

#[test]
fn a_back_off_without_its_cause_keeps_the_cause_that_was_seen() {
    let failing = web([waiting_pod("ErrImagePull", "manifest unknown")]);
    let silent = web([waiting_pod("ImagePullBackOff", "Back-off pulling image \"r.example/shop:9\"")]);
    let mut judge = Judge::default();
    judge.look(&failing, at(0));
    assert_eq!(judge.watch(&silent, 1, 200).unwrap().1.reason, "ImageNotFound");
    let (second, failure) = Judge::default().watch(&silent, 0, 200).unwrap();
    assert_eq!((second, failure.reason.as_str()), (150, "ImagePullFailed"), "never seen");
}

#[test]
fn five_quick_restarts_are_forgiven_if_the_container_then_runs() {
    let mut judge = Judge::default();
    for second in 0..12 {
        let restarts = 1 + u64::try_from(second).unwrap() / 3;
        let verdict = judge.look(&web([crashed_pod(restarts)]), at(second)).verdict;
        assert!(waiting_for(&verdict).is_some(), "{second} s: {verdict:?}");
    }
    let running = pod(&json!({"running": {}}), 5, true);
    assert_eq!(judge.watch(&web([running]), 12, 100), None);
}

#[test]
fn crashes_have_a_budget_that_is_larger_where_something_else_may_still_come_up() {
    let fails_at = |scene: &dyn Fn(Value) -> Scene| {
        (1..10).find(|crashes| {
            let mut judge = Judge::default();
            judge.watch(&scene(crashed_pod(*crashes)), 0, 100).is_some()
        })
    };
    let upgrade = |pod| web([pod]);
    let install = |pod| Scene { install: true, ..web([pod]) };
    let sibling = |pod| {
        let mut scene = web([pod]);
        scene.judged.push(deployment("database", 1, 0));
        scene
    };
    let beside_ready = |pod: Value| web([pod.clone(), pod, running_pod()]);
    assert_eq!(fails_at(&upgrade), Some(4), "three restarts that did not help");
    assert_eq!(fails_at(&install), Some(6));
    assert_eq!(fails_at(&sibling), Some(6));
    assert_eq!(fails_at(&beside_ready), Some(6));
}

#[test]
fn a_bare_pod_that_is_never_restarted_fails_with_its_container() {
    let mut pod = crashed_pod(1);
    pod["metadata"] = json!({"name": "once", "uid": "once"});
    pod["spec"]["restartPolicy"] = json!("Never");
    let scene = Scene { judged: vec![judged("", "Pod", "once", pod)], ..Scene::default() };
    let Verdict::Failed(failure) = first_sight(&scene) else { panic!() };
    assert_eq!(failure.message, "container \"app\" of pod once ended with exit code 1 and is not restarted");
}

#[test]
fn crashes_after_everything_was_ready_are_measured_by_what_soaking_allows() {
    let mut judge = Judge::default();
    let soaking = |pod| Scene { soaking: true, ..web([pod]) };
    assert_eq!(judge.watch(&soaking(running_pod()), 0, 40), None);
    assert_eq!(judge.watch(&soaking(crashed_pod(1)), 41, 100), None, "the first may be an accident");
    assert_eq!(
        judge.watch(&web([crashed_pod(2)]), 101, 110).unwrap().0,
        101,
        "whatever the phase is by then"
    );
}

#[test]
fn crashes_before_everything_was_ready_have_the_ordinary_budget() {
    let mut judge = Judge::default();
    assert_eq!(judge.watch(&web([running_pod()]), 0, 40), None);
    assert_eq!(judge.watch(&web([crashed_pod(3)]), 41, 100), None);
}

#[test]
fn who_was_ready_for_long_starts_with_a_clean_sheet() {
    let recovered = web([pod(&json!({"running": {}}), 3, true)]);
    let down_again = web([crashed_pod(4)]);
    let mut judge = Judge::default();
    assert_eq!(judge.watch(&recovered, 0, 40), None);
    assert_eq!(judge.watch(&down_again, 41, 100), None);
    let mut judge = Judge::default();
    assert_eq!(judge.watch(&recovered, 0, 20), None);
    assert!(judge.watch(&down_again, 21, 100).is_some(), "not ready for long enough");
}

#[test]
fn who_is_ready_at_each_look_but_restarts_between_them_has_proved_nothing() {
    let mut judge = Judge::default();
    for restarts in 0..4 {
        let ready = web([pod(&json!({"running": {}}), restarts, true)]);
        judge.look(&ready, at(10 * i64::try_from(restarts).unwrap()));
    }
    assert!(judge.watch(&web([crashed_pod(4)]), 35, 40).is_some());
}

#[test]
fn a_pod_that_is_ready_between_two_crashes_gives_no_reason_for_patience() {
    let mut between = pod(&json!({"running": {}}), 3, true);
    between["status"]["conditions"][0]["lastTransitionTime"] = json!(START);
    assert!(Judge::default().watch(&web([crashed_pod(4), between.clone()]), 0, 25).is_some());
    assert!(Judge::default().watch(&web([crashed_pod(4), between]), 40, 80).is_none(), "ready for long");
}

#[test]
fn a_new_watcher_reads_from_the_pod_when_it_crashed() {
    let mut crashed = crashed_pod(4);
    crashed["status"]["containerStatuses"][0]["lastState"] = json!({"terminated": {"exitCode": 1}});
    crashed["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] =
        json!("2026-11-22T22:00:10Z");
    assert_eq!(Judge::default().watch(&web([crashed.clone()]), 40, 100).unwrap().0, 40);
    assert_eq!(Judge::default().watch(&web([crashed]), 20, 100).unwrap().0, 30);
}

#[test]
fn what_a_container_says_at_its_end_is_told_only_where_it_knows_no_secret() {
    let crashed = |env: Value| {
        let mut pod = crashed_pod(6);
        pod["spec"]["containers"] = json!([{"name": "app", "image": "r.example/shop:9", "env": env}]);
        pod["status"]["containerStatuses"][0]["state"] =
            json!({"terminated": {"reason": "Error", "exitCode": 3, "message": "hunter22 is refused"}});
        format!("{:?}", Judge::default().watch(&web([pod]), 0, 300).unwrap().1)
    };
    let told = crashed(json!([{"name": "A", "value": "b"}]));
    assert!(told.contains("hunter22"), "{told}");
    let from_secret =
        json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]);
    let told = crashed(from_secret);
    assert!(!told.contains("hunter22") && told.contains('3'), "{told}");
}
