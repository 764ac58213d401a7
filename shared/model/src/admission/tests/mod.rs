mod capture;
mod fence;
mod joins;
mod passes;
mod records;
mod review;
mod warning;

use serde_json::{Value, json};

use super::*;
use crate::{
    identity::Deployers,
    release::{Release, ReleaseStatus},
};

fn deployment(labels: &Value, replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
           "metadata": {"name": "web", "namespace": "shop", "uid": "d-1", "resourceVersion": "812",
                        "labels": labels, "managedFields": [{"manager": "kubectl"}]},
           "spec": {"replicas": replicas}, "status": {"replicas": replicas}})
}

fn review(operation: &str, old: &Value, new: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "r-1",
        "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "name": "web", "namespace": "shop", "operation": operation,
        "userInfo": {"username": "alice", "groups": ["system:authenticated"]},
        "object": new, "oldObject": old, "dryRun": false,
        "options": {"kind": "UpdateOptions", "fieldManager": "kubectl-edit"}}})
}

fn update(old: &Value, new: &Value) -> Value {
    review("UPDATE", old, new)
}

fn release(status: ReleaseStatus) -> Release {
    let mut release = Release { status: Some(status), ..Release::default() };
    release.metadata.uid = Some("rel-1".to_owned());
    release
}

/// Decides on `review`, and gives `look` what came out.
fn decide<T>(review: &Value, release: Option<&Release>, look: impl FnOnce(Decision<'_>) -> T) -> T {
    let body = review.to_string();
    let request = parse(body.as_bytes()).unwrap();
    match triage(&request, &Deployers::default()).unwrap() {
        Triage::Pass(why) => look(Decision::Pass { why, patch: None }),
        Triage::Write(write) => look(write.decide(release)),
        Triage::Join(joining) => panic!("{joining:?}"),
    }
}

fn recording<T>(review: &Value, release: Option<&Release>, look: impl FnOnce(Recording<'_>) -> T) -> T {
    decide(review, release, |decision| match decision {
        Decision::Record(recording) => look(*recording),
        other => panic!("{other:?}"),
    })
}

fn passed(review: &Value) -> Pass {
    decide(review, None, |decision| match decision {
        Decision::Pass { why, patch: None } => why,
        other => panic!("{other:?}"),
    })
}

fn operations(patch: Option<&Patch>) -> Value {
    patch.map(|patch| serde_json::from_slice(patch.as_bytes()).unwrap()).unwrap_or_default()
}
