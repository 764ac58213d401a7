//! What is around the objects: pods that use a ConfigMap or Secret, namespaces on their way out, and what is only warned of.

use backout_model::health::{Sightings, Verdict, judge};
use serde_json::{Value, json};

use crate::{
    scenes::{Judge, at, config_map, crashed_pod, first_sight, never_pulled, object},
    stage::{and, app, changed, config, consumer, creating, live, ready, stateful, thing, unready},
};

/// Whether a pod that is ready and then is not holds up the object of this kind which it names in such a way.
fn is_consumer(kind: &str, spec: &Value) -> bool {
    let with = |mut pod: Value| {
        pod["spec"] = spec.clone();
        pod
    };
    let scene = |pod: Value| {
        changed(config(kind, vec![("user-1", pod)]), |scene| scene.pods[0] = with(scene.pods[0].clone()))
    };
    let mut judge = Judge::default();
    judge.look(&scene(ready(0)), at(0));
    judge.look(&scene(unready()), at(1)).verdict != Verdict::Ready
}

#[test]
fn a_pod_uses_what_it_mounts_and_what_its_containers_read() {
    for (kind, spec) in [
        ("ConfigMap", json!({"volumes": [{"configMap": {"name": "settings"}}]})),
        (
            "ConfigMap",
            json!({"volumes": [{"projected": {"sources": [{"secret": {"name": "x"}}, {"configMap": {"name": "settings"}}]}}]}),
        ),
        ("ConfigMap", json!({"containers": [{"envFrom": [{"configMapRef": {"name": "settings"}}]}]})),
        (
            "ConfigMap",
            json!({"initContainers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "settings", "key": "k"}}}]}]}),
        ),
        ("Secret", json!({"volumes": [{"secret": {"secretName": "settings"}}]})),
        ("Secret", json!({"volumes": [{"projected": {"sources": [{"secret": {"name": "settings"}}]}}]})),
        ("Secret", json!({"imagePullSecrets": [{"name": "settings"}]})),
        (
            "Secret",
            json!({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "settings", "key": "k"}}}]}]}),
        ),
        ("Secret", json!({"containers": [{"envFrom": [{"secretRef": {"name": "settings"}}]}]})),
    ] {
        assert!(is_consumer(kind, &spec), "{kind} {spec}");
        let other = if kind == "Secret" { "ConfigMap" } else { "Secret" };
        assert!(!is_consumer(other, &spec), "not of the other kind: {spec}");
        let another: Value = serde_json::from_str(&spec.to_string().replace("settings", "others")).unwrap();
        assert!(!is_consumer(kind, &another), "not of another name: {another}");
    }
}

#[test]
fn the_pods_of_workloads_that_the_release_changed_too_are_judged_with_these() {
    let scene = |user: Value| {
        let mut user = consumer(user, "web-2-0", "ConfigMap", "settings");
        user["metadata"]["ownerReferences"] = json!([{"uid": "web-rs", "controller": true}]);
        changed(and(config("ConfigMap", Vec::new()), app("web", vec![creating()])), |scene| {
            scene.pods[0] = user;
        })
    };
    let mut judge = Judge::default();
    judge.look(&scene(ready(0)), at(0));
    let judgement = judge.look(&scene(unready()), at(1));
    let waits: Vec<_> = judgement.waits.iter().map(|wait| wait.object.kind.as_str()).collect();
    assert_eq!(waits, ["Deployment"]);
}

#[test]
fn one_consumer_of_three_that_fails_is_no_failure_but_two_are() {
    let fails = |bad: usize| {
        let names = ["user-1", "user-2", "user-3"];
        let mut judge = Judge::default();
        judge.look(&config("Secret", Vec::new()), at(0));
        let pods = names
            .iter()
            .enumerate()
            .map(|(i, name)| (*name, if i < bad { never_pulled() } else { ready(0) }));
        judge.watch(&config("Secret", pods.collect()), 1, 100).map(|(_, failure)| failure)
    };
    assert_eq!(fails(1), None);
    let failure = fails(2).unwrap();
    assert_eq!((failure.reason.as_str(), failure.object.kind.as_str()), ("ImageNotPresent", "Secret"));
    assert!(failure.message.ends_with("which uses it (and 1 more pod like it)"), "{}", failure.message);
    assert!(!failure.evidence.is_empty());
}

#[test]
fn what_consumers_did_before_is_no_word_about_the_change() {
    let scene = |times| config("ConfigMap", vec![("user-1", crashed_pod(times))]);
    let mut judge = Judge::default();
    for second in 0..200 {
        let verdict = judge.look(&scene(5 + u64::try_from(second / 20).unwrap()), at(second)).verdict;
        assert_eq!(verdict, Verdict::Ready, "{second} s");
    }
}

#[test]
fn in_a_namespace_that_is_being_deleted_nothing_fails_and_nothing_is_decided() {
    let mut scene = app("web", vec![never_pulled()]);
    scene.going.insert("shop".to_owned());
    assert_eq!(Judge::default().watch(&scene, 0, 700), None);
    let message = "Deployment shop/web: its namespace is being deleted".to_owned();
    assert_eq!(first_sight(&scene), Verdict::Undecided { message });
    scene.going = ["another".to_owned()].into();
    assert!(Judge::default().watch(&scene, 0, 700).is_some());
}

#[test]
fn what_is_ready_by_its_rule_but_not_known_to_work_is_warned_of() {
    let on_delete = |revision: &'static str| {
        changed(stateful(0, vec![(revision, ready(0))]), |scene| {
            live(scene)["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
        })
    };
    let autoscaler = |reason: &str| {
        thing(
            "autoscaling",
            "HorizontalPodAutoscaler",
            &json!({}),
            &json!({"conditions": [
            {"type": "AbleToScale", "status": "True", "reason": "SucceededGetScale"},
            {"type": "ScalingActive", "status": "False", "reason": reason, "message": "no metrics"}]}),
        )
    };
    for (scene, warnings) in [
        (on_delete("db-1"), vec!["OnDelete"]),
        (on_delete("db-2"), vec![]),
        (autoscaler("FailedGetResourceMetric"), vec!["FailedGetResourceMetric: no metrics"]),
        (autoscaler("ScalingDisabled"), vec![]),
        (app("web", vec![ready(0)]), vec![]),
    ] {
        let judgement = judge(&scene, &Sightings::default(), at(0));
        assert_eq!(judgement.verdict, Verdict::Ready);
        let told: Vec<_> = judgement.warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!(told.len(), warnings.len(), "{told:?}");
        assert!(told.iter().zip(&warnings).all(|(told, warning)| told.contains(warning)), "{told:?}");
    }
}

#[test]
fn who_waits_only_for_pods_in_the_place_of_others_says_so() {
    let mut judge = Judge::default();
    judge.look(&app("web", vec![ready(0), ready(0)]), at(0));
    let replaced = changed(app("web", vec![ready(0), creating()]), |scene| {
        scene.pods[1]["metadata"]["uid"] = json!("another");
    });
    let lost = app("web", vec![ready(0), unready()]);
    let is_replaced = |judge: &Judge, scene| judge_once(judge, scene).waits[0].replaced;
    assert!(is_replaced(&judge, &replaced));
    assert!(!is_replaced(&judge, &lost));
    assert_eq!(judge_once(&judge, &lost).waits[0].object, object("apps", "Deployment", "web"));
}

fn judge_once(judge: &Judge, scene: &backout_model::health::Scene) -> backout_model::health::Judgement {
    backout_model::health::judge(scene, &judge.sightings, at(1))
}

#[test]
fn a_restart_between_two_looks_is_told_of() {
    let mut judge = Judge::default();
    judge.look(&app("web", vec![ready(0)]), at(0));
    assert_eq!(judge.look(&app("web", vec![ready(0)]), at(1)).crashed, None);
    let restarted = app("web", vec![crate::stage::restarted(0, 1)]);
    assert_eq!(
        judge.look(&restarted, at(2)).crashed.map(|(object, _)| object.kind),
        Some("Deployment".to_owned())
    );
    assert_eq!(judge.look(&restarted, at(3)).crashed, None);
    assert_eq!(judge.look(&changed(restarted, |scene| scene.judged.push(config_map())), at(4)).crashed, None);
}
