//! What is said of single objects: kstatus, Flux, Argo CD, Helm.

use backout_model::{
    health::{Judged, Live, Scene, Status},
    object::{ObjectKey, ObjectRef},
};
use serde_json::{Value, json};

use super::{expected, gives_reasons, name, rows};
use crate::scenes::{Judge, at, reason_of};

fn scene(row: &Value) -> Scene {
    let mut live = row["object"].clone();
    for (field, value) in [("name", "x"), ("uid", "x"), ("namespace", "shop")] {
        live["metadata"][field] = json!(value);
    }
    let api_version = live["apiVersion"].as_str().unwrap();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = live["kind"].as_str().unwrap();
    let key = ObjectKey {
        group: group.into(),
        resource: format!("{}s", kind.to_lowercase()),
        namespace: Some("shop".into()),
        name: "x".into(),
    };
    let object = ObjectRef { key, version: version.into(), kind: kind.into() };
    let list = |field: &str| row[field].as_array().cloned().unwrap_or_default();
    let live = match row["live"].as_str() {
        None => Live::Present(live),
        Some("absent") => Live::Absent,
        Some(_) => Live::Unreadable("no answer".into()),
    };
    Scene {
        judged: vec![Judged { object, live, baseline: None, deleted: false }],
        pods: list("pods"),
        storage_classes: list("storageClasses"),
        rules: list("rules").into_iter().map(|rule| serde_json::from_value(rule).unwrap()).collect(),
        ..Scene::default()
    }
}

fn told(status: &Status) -> String {
    match status {
        Status::InProgress { .. } => format!("InProgress {}", reason_of(status)),
        Status::Failed { .. } => format!("Failed {}", reason_of(status)),
        other => reason_of(other).to_owned(),
    }
}

fn check(source: &str, text: &str, count: usize) {
    for row in rows(source, text, count) {
        gives_reasons(&row);
        let scene = scene(&row);
        let mut judge = Judge::default();
        let mut second = 0;
        for (by, ours) in expected(&row) {
            let mut status = String::new();
            while second <= by {
                status = told(&judge.look(&scene, at(second)).objects[0].1);
                second += 1;
            }
            assert_eq!(status, ours, "{source}: {}: by {by} s", name(&row));
        }
    }
}

#[test]
fn kstatus_compute() {
    check("kstatus Compute", include_str!("kstatus.json"), 53);
}

#[test]
fn kstatus_of_the_fork_and_flux() {
    check("kstatus core and augment, Flux", include_str!("kstatus-more.json"), 23);
}

#[test]
fn flux_health_checks() {
    check("Flux health checks", include_str!("flux.json"), 24);
}

#[test]
fn argo_cd() {
    check("Argo CD", include_str!("argocd.json"), 53);
}

#[test]
fn helm() {
    check("Helm", include_str!("helm.json"), 77);
}
