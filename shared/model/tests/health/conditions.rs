//! Readiness by what objects say of themselves: generations, conditions, and whether they are news.

use backout_model::health::{Live, Status, readiness};
use serde_json::{Value, json};

use crate::scenes::{check, condition, deployment, of, reason_of};

#[test]
fn any_other_kind_by_the_conditions_it_brings() {
    let with = |conditions: &[Value]| json!({"conditions": conditions});
    let ready = |status| condition("Ready", status, "Why");
    let older = json!({"type": "Ready", "status": "True", "observedGeneration": 0});
    check(
        "example.dev/v1",
        "Widget",
        &[
            (json!({}), json!({}), "Current"),
            (json!({}), with(&[condition("Other", "False", "")]), "Current"),
            (json!({}), with(&[ready("True")]), "Current"),
            (json!({}), with(&[ready("False")]), "Why"),
            (json!({}), with(&[ready("Unknown")]), "Why"),
            (json!({}), with(&[older]), "LatestGenerationNotObserved"),
            (json!({}), with(&[condition("Reconciling", "True", "Why"), ready("True")]), "Reconciling"),
            (json!({}), with(&[condition("Stalled", "True", "Why"), ready("False")]), "Stalled"),
            (json!({}), with(&[condition("Stalled", "False", "Why")]), "Current"),
        ],
    );
    check("v1", "ConfigMap", &[(json!({}), json!({}), "Current")]);
}

#[test]
fn what_the_controller_has_not_seen_is_in_progress_and_what_is_deleted_is_terminating() {
    let mut object = of("example.dev/v1", "Widget", &json!({}), &json!({"observedGeneration": 0}));
    assert_eq!(reason_of(&readiness(&object, None)), "LatestGenerationNotObserved");
    object["status"]["observedGeneration"] = json!("1");
    assert_eq!(readiness(&object, None), Status::Current, "some controllers write numbers as text");
    object["status"]["observedGeneration"] = json!("first");
    assert_eq!(readiness(&object, None), Status::Current, "what is no number says nothing");
    object["metadata"]["deletionTimestamp"] = json!("2026-11-22T22:00:00Z");
    assert_eq!(readiness(&object, None), Status::Terminating);
}

#[test]
fn a_failure_that_was_reported_before_the_revision_is_no_news() {
    let stalled = |time: &str| {
        let mut stalled = condition("Stalled", "True", "Why");
        stalled["lastTransitionTime"] = json!(time);
        of("example.dev/v1", "Widget", &json!({}), &json!({"conditions": [stalled]}))
    };
    let (before, after) = (stalled("T1"), stalled("T2"));
    assert!(matches!(readiness(&before, Some(&before)), Status::InProgress { .. }));
    assert!(matches!(readiness(&after, Some(&before)), Status::Failed { .. }));
    let mut another = before.clone();
    another["metadata"]["uid"] = json!("another");
    assert!(
        matches!(readiness(&before, Some(&another)), Status::Failed { .. }),
        "of another object of that name"
    );
}

#[test]
fn an_exceeded_progress_deadline_counts_only_if_it_is_of_this_revision() {
    let exceeded = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
                           "lastUpdateTime": "T1", "lastTransitionTime": "T1"}]);
    let judged = deployment("web", 1, 0);
    let Live::Present(mut live) = judged.live else { panic!() };
    let mut before = judged.baseline.unwrap();
    live["apiVersion"] = json!("apps/v1");
    live["kind"] = json!("Deployment");
    live["status"]["conditions"] = exceeded.clone();
    assert!(matches!(readiness(&live, Some(&before)), Status::Failed { .. }), "it is new");
    before["status"]["conditions"] = exceeded;
    assert_eq!(reason_of(&readiness(&live, Some(&before))), "LessAvailable", "it stood there before");
    live["status"]["conditions"][0]["lastUpdateTime"] = json!("T2");
    assert!(matches!(readiness(&live, Some(&before)), Status::Failed { .. }), "it was said anew");
    live["status"]["observedGeneration"] = json!(1);
    assert_eq!(reason_of(&readiness(&live, Some(&before))), "LatestGenerationNotObserved");
}
