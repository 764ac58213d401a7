//! What is said of objects over time: Pulumi's recorded sequences and krane's pods.

use backout_model::health::{Judged, Live, Scene, Verdict};
use serde_json::{Value, json};

use super::{expected, gives_reasons, gives_reasons_at_its_end, name, rows};
use crate::scenes::{Judge, adopt, at, deployment, judged, replica_set};

pub(crate) fn told(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Ready => "Ready".to_owned(),
        Verdict::Waiting { .. } => "Waiting".to_owned(),
        Verdict::Failed(failure) => format!("Failed {}", failure.reason),
        Verdict::Undecided { .. } => "Undecided".to_owned(),
    }
}

/// Looks each second; the first failure is the last word.
fn check(row: &Value, scene_at: impl Fn(i64) -> Scene) {
    let (mut judge, mut second, mut said) = (Judge::default(), 0, String::new());
    for (by, ours) in expected(row) {
        while second <= by && !said.starts_with("Failed") {
            said = told(&judge.look(&scene_at(second), at(second)).verdict);
            second += 1;
        }
        assert_eq!(said, ours, "{}: by {by} s", name(row));
    }
}

#[test]
fn pulumi() {
    for row in rows("Pulumi", include_str!("pulumi.json"), 30) {
        let (group, kind) = if row["kind"] == "Job" { ("batch", "Job") } else { ("", "Pod") };
        gives_reasons_at_its_end(&row);
        let frames = row["frames"].as_array().unwrap();
        check(&row, |second| {
            let frame = frames.iter().rev().find(|frame| frame[0].as_i64().unwrap() <= second).unwrap();
            let mut object = json!({"metadata": {"name": "x", "uid": "x"}, "spec": {}, "status": frame[1]});
            if let Some(spec) = row.get("spec") {
                object["spec"] = spec.clone();
            }
            Scene { judged: vec![judged(group, kind, "x", object)], ..Scene::default() }
        });
    }
}

#[test]
fn krane_pods() {
    for row in rows("krane pods", include_str!("krane-pods.json"), 20) {
        gives_reasons(&row);
        let mut pod = row["pod"].clone();
        if row.get("terminating").is_some() {
            pod["metadata"]["deletionTimestamp"] = json!("2026-11-22T22:00:00Z");
        }
        let absent = row.get("absent").is_some();
        check(&row, |_| {
            let pod = adopt(pod.clone(), "web", "web-2-0");
            if row.get("bare").is_some() {
                let pod = judged("", "Pod", "web-2-0", pod);
                let live = if absent { Live::Absent } else { pod.live.clone() };
                return Scene { judged: vec![Judged { live, ..pod }], ..Scene::default() };
            }
            Scene {
                judged: vec![deployment("web", 1, 0)],
                pods: if absent { Vec::new() } else { vec![pod] },
                replica_sets: vec![replica_set("web")],
                ..Scene::default()
            }
        });
    }
}
