//! The verdict over all objects: what is waited for, what counts as failed, what nobody knows.

use std::time::Duration;

use backout_model::health::{Judged, Live, Scene, Sightings, Verdict, deadline_failure, judge};
use serde_json::{Value, json};

use crate::scenes::{
    Judge, at, config_map, first_sight, judged, never_pulled, object, pod, running_pod, waiting_for, web,
};

#[test]
fn nothing_to_judge_is_ready() {
    let judgement = judge(&Scene::default(), &Sightings::default(), at(0));
    assert_eq!((judgement.verdict, judgement.ready, judgement.total), (Verdict::Ready, 0, 0));
}

#[test]
fn all_current_is_ready() {
    let mut scene = web([running_pod()]);
    scene.judged.push(config_map());
    let judgement = judge(&scene, &Sightings::default(), at(0));
    assert_eq!((judgement.verdict, judgement.ready, judgement.total), (Verdict::Ready, 2, 2));
    assert_eq!(judgement.next, None);
}

#[test]
fn the_first_object_that_is_not_ready_is_waited_for_and_named_at_the_deadline() {
    let mut scene = web([pod(&json!({"running": {}}), 0, false)]);
    scene.judged.insert(0, config_map());
    let judgement = judge(&scene, &Sightings::default(), at(0));
    assert_eq!(waiting_for(&judgement.verdict), Some(&object("apps", "Deployment", "web")));
    assert_eq!((judgement.ready, judgement.total), (1, 2));
    let limit = Duration::from_mins(10);
    assert_eq!(deadline_failure(&judgement, limit, Duration::from_secs(599)), None);
    let failure = deadline_failure(&judgement, limit, limit).unwrap();
    assert_eq!((failure.reason.as_str(), failure.object.name.as_str()), ("NotReadyInTime", "web"));
    assert_eq!(
        failure.message,
        "not ready after 600 s: 0 of 1 replicas are available; container \"app\" of pod web-2-0 runs but is not ready"
    );
    assert!(failure.evidence.iter().any(|line| line.contains("runs but is not ready")), "{failure:#?}");
}

#[test]
fn a_deployments_own_deadline_makes_a_shorter_one_longer_unless_the_server_gave_it_that() {
    let limit = Duration::from_mins(1);
    for (own, after) in [(600, 60), (30, 60), (601, 631), (1200, 1230), (2_147_483_647, 60)] {
        let mut scene = web([pod(&json!({"running": {}}), 0, false)]);
        let Live::Present(live) = &mut scene.judged[0].live else { panic!("no Deployment") };
        live["spec"]["progressDeadlineSeconds"] = json!(own);
        let judgement = judge(&scene, &Sightings::default(), at(0));
        assert_eq!(deadline_failure(&judgement, limit, Duration::from_secs(after - 1)), None, "{own}");
        assert!(deadline_failure(&judgement, limit, Duration::from_secs(after)).is_some(), "{own}");
    }
}

#[test]
fn what_cannot_be_read_is_undecided_and_never_failed() {
    let mut scene = web([running_pod()]);
    scene.judged[0].live = Live::Unreadable("the server is busy".into());
    let mut judge = Judge::default();
    for second in 0..1000 {
        let verdict = judge.look(&scene, at(second)).verdict;
        assert_eq!(verdict, Verdict::Undecided { message: "Deployment shop/web: the server is busy".into() });
    }
}

#[test]
fn a_certain_failure_counts_beside_an_object_that_cannot_be_read() {
    let mut scene = web([never_pulled()]);
    scene.judged.insert(0, Judged { live: Live::Unreadable("busy".into()), ..config_map() });
    let (second, failure) = Judge::default().watch(&scene, 0, 60).unwrap();
    assert_eq!((second, failure.object.name.as_str()), (10, "web"));
}

#[test]
fn an_object_that_is_gone_undeleted_fails_after_half_a_minute() {
    let scene = Scene { judged: vec![Judged { live: Live::Absent, ..config_map() }], ..Scene::default() };
    let (second, failure) = Judge::default().watch(&scene, 0, 100).unwrap();
    assert_eq!((second, failure.reason.as_str()), (30, "Disappeared"));
}

#[test]
fn a_job_may_go_by_itself_unless_nothing_would_take_it_away() {
    let with = |spec| judged("batch", "Job", "migrate", json!({"metadata": {"uid": "m"}, "spec": spec}));
    let gone = Judged { live: Live::Absent, ..with(json!({})) };
    let scene = |job| Scene { judged: vec![job], ..Scene::default() };
    assert_eq!(first_sight(&scene(gone.clone())), Verdict::Ready, "it may have had a time to live");
    let mut judge = Judge::default();
    judge.look(&scene(with(json!({"ttlSecondsAfterFinished": 60}))), at(0));
    assert_eq!(judge.look(&scene(gone.clone()), at(1)).verdict, Verdict::Ready);
    let mut judge = Judge::default();
    judge.look(&scene(with(json!({}))), at(0));
    assert_eq!(judge.watch(&scene(gone), 1, 60).unwrap().0, 31);
}

#[test]
fn a_deleted_object_is_ready_when_it_is_gone() {
    let old = json!({"metadata": {"uid": "old"}});
    let deleted = |live| Scene {
        judged: vec![Judged { live, deleted: true, baseline: Some(old.clone()), ..config_map() }],
        ..Scene::default()
    };
    let present = |uid: &str, metadata: Value| {
        let mut live = json!({"metadata": metadata});
        live["metadata"]["uid"] = json!(uid);
        Live::Present(live)
    };
    assert_eq!(first_sight(&deleted(Live::Absent)), Verdict::Ready);
    assert_eq!(
        first_sight(&deleted(present("other", json!({})))),
        Verdict::Ready,
        "another object took the name"
    );
    for metadata in [json!({}), json!({"deletionTimestamp": "2026-11-22T22:00:00Z"})] {
        assert!(waiting_for(&first_sight(&deleted(present("old", metadata)))).is_some());
    }
}

#[test]
fn a_stalled_object_fails_after_it_stood_for_a_while() {
    let live = json!({"metadata": {"uid": "w"}, "status": {"conditions": [
        {"type": "Stalled", "status": "True", "reason": "InvalidSpec", "message": "no such region"}]}});
    let scene = Scene { judged: vec![judged("example.dev", "Widget", "w", live)], ..Scene::default() };
    let mut judge = Judge::default();
    assert_eq!(judge.look(&scene, at(0)).next, Some(Duration::from_secs(10)));
    let (second, failure) = judge.watch(&scene, 1, 60).unwrap();
    assert_eq!((second, failure.reason.as_str()), (10, "Stalled"));
    assert!(failure.message.contains("no such region"), "{}", failure.message);
}

#[test]
fn a_pending_claim_is_waited_for_only_if_a_pod_asks_for_it() {
    let claim = judged(
        "",
        "PersistentVolumeClaim",
        "data",
        json!({"metadata": {"uid": "d"}, "status": {"phase": "Pending"}}),
    );
    let mut scene = Scene { judged: vec![claim], ..Scene::default() };
    assert_eq!(first_sight(&scene), Verdict::Ready);
    scene.pods = vec![json!({"metadata": {"namespace": "shop"}, "spec": {"volumes": [
        {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}})];
    assert!(waiting_for(&first_sight(&scene)).is_some());
}
