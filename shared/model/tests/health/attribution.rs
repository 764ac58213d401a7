//! Whose failure it is: the new pods of an object that the revision changed, and enough of them.

use backout_model::health::{Judged, Live, Scene, Sightings, Verdict, judge};
use serde_json::{Value, json};

use crate::scenes::{
    Judge, adopt, at, crashed_pod, first_sight, judged, never_pulled, pod, reason_of, running_pod, set,
    waiting_for, web,
};

#[test]
fn restarts_from_before_the_revision_do_not_count() {
    let mut scene = web([crashed_pod(9)]);
    let baseline = scene.judged[0].baseline.clone().unwrap();
    set(&mut scene.judged[0], "/spec/template", baseline["spec"]["template"].clone());
    let mut judge = Judge::default();
    assert_eq!(judge.watch(&scene, 0, 100), None, "only replicas or labels changed");
}

#[test]
fn a_write_that_changes_no_spec_is_not_held_against_by_what_pods_do() {
    let mut scene = web([crashed_pod(9)]);
    scene.judged[0].baseline.as_mut().unwrap()["metadata"]["generation"] = json!(2);
    let mut judge = Judge::default();
    assert_eq!(judge.watch(&scene, 0, 100), None);
    assert!(waiting_for(&judge.look(&scene, at(100)).verdict).is_some(), "it was ready before");
}

#[test]
fn an_object_that_was_in_the_same_trouble_before_is_not_waited_for() {
    let mut scene = web([crashed_pod(9)]);
    let Live::Present(live) = scene.judged[0].live.clone() else { panic!() };
    scene.judged[0].baseline = Some(live);
    let judgement = judge(&scene, &Sightings::default(), at(0));
    assert_eq!((judgement.verdict, judgement.ready, judgement.total), (Verdict::Ready, 1, 1));
    assert_eq!(reason_of(&judgement.objects[0].1), "LessAvailable", "but reported");
}

#[test]
fn the_pods_of_the_old_revision_do_not_count() {
    let mut scene = web([running_pod()]);
    let mut old = adopt(crashed_pod(9), "web", "web-1-x");
    old["metadata"]["ownerReferences"][0]["uid"] = json!("web-rs-old");
    scene.pods.push(old);
    assert_eq!(Judge::default().watch(&scene, 0, 100), None);
}

#[test]
fn one_bad_pod_among_good_ones_is_no_failure_but_half_of_them_are() {
    let bad = never_pulled;
    let one_of_three = web([bad(), running_pod(), running_pod()]);
    assert_eq!(Judge::default().watch(&one_of_three, 0, 100), None);
    let half = web([bad(), bad(), running_pod(), running_pod()]);
    let (_, failure) = Judge::default().watch(&half, 0, 100).unwrap();
    assert!(failure.message.contains("(and 1 more pod like it)"), "{}", failure.message);
    let pending = pod(&json!({"waiting": {"reason": "ContainerCreating"}}), 0, false);
    let none_ready = web([bad(), pending.clone(), pending]);
    assert!(Judge::default().watch(&none_ready, 0, 100).is_some());
}

#[test]
fn each_single_pod_of_a_stateful_set_counts() {
    let mut pods: Vec<_> = [running_pod(), running_pod(), never_pulled()].into();
    for (index, pod) in pods.iter_mut().enumerate() {
        pod["metadata"] = json!({"name": format!("db-{index}"), "uid": format!("db-{index}"),
            "labels": {"controller-revision-hash": "db-2"}, "ownerReferences": [{"uid": "db", "controller": true}]});
    }
    let live = json!({"metadata": {"uid": "db", "generation": 2}, "spec": {"replicas": 3},
        "status": {"observedGeneration": 2, "updateRevision": "db-2", "replicas": 3, "readyReplicas": 2, "updatedReplicas": 1}});
    let mut scene =
        Scene { judged: vec![judged("apps", "StatefulSet", "db", live)], pods, ..Scene::default() };
    assert!(Judge::default().watch(&scene, 0, 100).is_some());
    scene.pods[2]["metadata"]["labels"] = json!({"controller-revision-hash": "db-1"});
    assert_eq!(Judge::default().watch(&scene, 0, 100), None, "not of the new revision");
}

#[test]
fn a_job_fails_by_its_own_word_or_by_an_image_but_not_by_its_retries() {
    let job = |conditions: Value| {
        judged(
            "batch",
            "Job",
            "migrate",
            json!({"metadata": {"uid": "migrate"}, "spec": {},
            "status": {"startTime": "2026-11-22T22:00:00Z", "conditions": conditions}}),
        )
    };
    let scene = |job, mut pod: Value| {
        pod["metadata"] = json!({"name": "migrate-x", "uid": "x", "ownerReferences": [{"uid": "migrate", "controller": true}]});
        pod["spec"]["restartPolicy"] = json!("Never");
        Scene { judged: vec![job], pods: vec![pod], ..Scene::default() }
    };
    assert_eq!(Judge::default().watch(&scene(job(json!([])), crashed_pod(9)), 0, 300), None);
    assert_eq!(Judge::default().watch(&scene(job(json!([])), never_pulled()), 0, 300).unwrap().0, 10);
    let failed = json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too many"}]);
    let Verdict::Failed(failure) = first_sight(&scene(job(failed), crashed_pod(1))) else { panic!() };
    assert_eq!((failure.reason.as_str(), failure.message.as_str()), ("JobFailed", "too many"));
}

#[test]
fn a_daemon_set_bears_as_many_bad_pods_as_may_be_unavailable() {
    let scene = |pods: Vec<Value>, unavailable: Value| {
        let live = json!({
            "metadata": {"uid": "agent", "generation": 2, "annotations": {"deprecated.daemonset.template.generation": "2"}},
            "spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": unavailable}}},
            "status": {"observedGeneration": 2, "desiredNumberScheduled": pods.len()}});
        let mut pods = pods;
        for (index, pod) in pods.iter_mut().enumerate() {
            pod["metadata"] = json!({"name": format!("agent-{index}"), "uid": format!("agent-{index}"),
                "labels": {"pod-template-generation": "2"}, "ownerReferences": [{"uid": "agent", "controller": true}]});
        }
        Scene { judged: vec![judged("apps", "DaemonSet", "agent", live)], pods, ..Scene::default() }
    };
    let fails = |scene: Scene| Judge::default().watch(&scene, 0, 100).is_some();
    let (bad, good) = (never_pulled, running_pod);
    assert!(!fails(scene(vec![bad(), good(), good(), good()], json!(1))));
    assert!(fails(scene(vec![bad(), bad(), good(), good()], json!(1))));
    assert!(!fails(scene(vec![bad(), bad(), good(), good()], json!("50%"))));
    assert!(fails(scene(vec![bad()], json!(1))), "none is ready");
}

#[test]
fn what_had_failed_for_good_before_is_not_waited_for_either() {
    let lost = json!({"metadata": {"uid": "d"}, "status": {"phase": "Lost"}});
    let mut claim = judged("", "PersistentVolumeClaim", "data", lost.clone());
    let scene = |claim: &Judged| Scene { judged: vec![claim.clone()], ..Scene::default() };
    assert!(matches!(first_sight(&scene(&claim)), Verdict::Failed(_)));
    claim.baseline = Some(lost);
    assert_eq!(first_sight(&scene(&claim)), Verdict::Ready);
}
