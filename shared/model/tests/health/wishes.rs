//! What people ask of the judge by annotations and rules.

use std::time::Duration;

use backout_model::{
    health::{Sightings, Verdict, deadline_failure, judge},
    release::HealthRule,
};
use serde_json::{Value, json};

use crate::scenes::{Judge, at, crashed_pod, first_sight, judged, never_pulled, pod, set, web};

fn annotated(
    mut scene: backout_model::health::Scene,
    key: &str,
    value: &str,
) -> backout_model::health::Scene {
    set(
        &mut scene.judged[0],
        "/metadata/annotations",
        json!({"deployment.kubernetes.io/revision": "2", key: value}),
    );
    scene
}

#[test]
fn an_object_that_is_to_be_ignored_neither_fails_nor_is_waited_for() {
    let scene = annotated(web([never_pulled()]), "backout.dev/health", "ignore");
    assert_eq!(Judge::default().watch(&scene, 0, 700), None);
    assert_eq!(first_sight(&scene), Verdict::Ready);
    // It is its annotation that does it.
    assert!(Judge::default().watch(&web([never_pulled()]), 0, 60).is_some());
}

#[test]
fn an_object_may_have_a_deadline_of_its_own_shorter_or_longer() {
    let limit = Duration::from_mins(10);
    for (text, seconds) in [("30s", 30), ("20m", 1200)] {
        let scene = annotated(web([pod(&json!({"running": {}}), 0, false)]), "backout.dev/deadline", text);
        let judgement = judge(&scene, &Sightings::default(), at(0));
        assert_eq!(deadline_failure(&judgement, limit, Duration::from_secs(seconds - 1)), None, "{text}");
        assert!(deadline_failure(&judgement, limit, Duration::from_secs(seconds)).is_some(), "{text}");
    }
}

#[test]
fn an_object_may_bear_more_or_less_crashes_than_others() {
    let fails = |budget: Option<&str>, crashes: u64| {
        let scene = web([crashed_pod(crashes)]);
        let scene = budget.map_or_else(
            || scene.clone(),
            |budget| annotated(scene.clone(), "backout.dev/crash-budget", budget),
        );
        Judge::default().watch(&scene, 0, 60).is_some()
    };
    for (budget, crashes, wanted) in [
        (None, 4, true),
        (None, 3, false),
        (Some("9"), 9, false),
        (Some("9"), 10, true),
        (Some("0"), 1, true),
    ] {
        assert_eq!(fails(budget, crashes), wanted, "{budget:?} {crashes}");
    }
}

#[test]
fn a_wish_that_cannot_be_read_is_told_and_changes_nothing() {
    let scene = annotated(web([never_pulled()]), "backout.dev/health", "never");
    let warnings = judge(&scene, &Sightings::default(), at(0)).warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].message.contains("it must be ignore, and is \"never\""), "{warnings:?}");
    assert!(Judge::default().watch(&scene, 0, 60).is_some());
}

#[test]
fn a_custom_resource_is_judged_by_the_rule_of_the_release() {
    let rule: HealthRule = serde_json::from_value(json!({
        "group": "db.example", "kind": "Database",
        "ready": [{"field": "status.phase", "is": ["Running"]}], "failed": [{"field": "status.phase", "is": ["Broken"]}],
    }))
    .unwrap();
    let scene = |phase: &str, rules: &[HealthRule]| {
        let live: Value = json!({"metadata": {"uid": "d", "generation": 1}, "status": {"phase": phase}});
        backout_model::health::Scene {
            judged: vec![judged("db.example", "Database", "main", live)],
            rules: rules.to_vec(),
            ..Default::default()
        }
    };
    let rules = [rule];
    assert_eq!(first_sight(&scene("Running", &rules)), Verdict::Ready);
    assert!(matches!(first_sight(&scene("Starting", &rules)), Verdict::Waiting { .. }));
    let (second, failure) = Judge::default().watch(&scene("Broken", &rules), 0, 60).unwrap();
    assert_eq!((second, failure.reason.as_str()), (10, "FailedByRule"));
    assert_eq!(failure.message, "status.phase is Broken");
    // Without it nobody knows better.
    assert_eq!(first_sight(&scene("Broken", &[])), Verdict::Ready);
}
