//! Recordings of real pods, replayed second by second as the new pod of a Deployment.

use std::{fs, path::Path};

use backout_model::{
    health::{Scene, Verdict},
    release::Failure,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::scenes::{Judge, judged, web};

/// What became of a recording.
#[derive(Debug)]
struct Outcome {
    failed: Option<(i64, Failure)>,
    ready_at_end: bool,
}

#[derive(Clone, Copy, Default)]
struct How {
    install: bool,
    /// The watcher starts anew at this second.
    restart: Option<i64>,
    step: Option<usize>,
    /// The pod is judged on its own.
    bare: bool,
}

fn recording_of(name: &str, what: &str) -> Vec<(f64, Value)> {
    let path = format!("{}/tests/fixtures/health/signals/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let events: Vec<Value> = serde_json::from_str(&fs::read_to_string(Path::new(&path)).unwrap()).unwrap();
    events.into_iter().filter_map(|event| Some((event["t"].as_f64()?, event.get(what)?.clone()))).collect()
}

/// The kubelet's Events, of the pod with this uid.
fn told(name: &str, uid: &str) -> Vec<(f64, Value)> {
    let told = recording_of(name, "event").into_iter().map(|(t, mut event)| {
        event["involvedObject"] = json!({"kind": "Pod", "uid": uid});
        (t, event)
    });
    told.filter(|(_, event)| event["type"] == "Warning").collect()
}

/// What the Events say at a second: of each message the last count.
fn events_at(told: &[(f64, Value)], second: i64) -> Vec<Value> {
    let until = f64::from(i32::try_from(second).unwrap());
    let mut of_message = std::collections::BTreeMap::new();
    for (_, event) in told.iter().filter(|(t, _)| *t <= until) {
        of_message.insert(event["message"].to_string(), event.clone());
    }
    of_message.into_values().collect()
}

fn replay(name: &str, how: How) -> Outcome {
    let mut events = recording_of(name, "pod");
    if name == "sidecar-crash" {
        // The recordings leave the containers' specs out.
        for (_, pod) in &mut events {
            pod["spec"]["initContainers"] = json!([{"name": "i", "restartPolicy": "Always"}]);
        }
    }
    let start: Timestamp = events[0].1["metadata"]["creationTimestamp"].as_str().unwrap().parse().unwrap();
    let told = told(name, "web-2-0");
    let mut judge = Judge::default();
    let mut soaking = false;
    for second in (0..=310).step_by(how.step.unwrap_or(1)) {
        if how.restart == Some(second) {
            judge = Judge::default();
        }
        let seen = events.iter().rev().find(|(t, _)| *t <= f64::from(i32::try_from(second).unwrap()));
        let mut scene = Scene { soaking, install: how.install, ..web(seen.map(|(_, pod)| pod.clone())) };
        if how.bare {
            scene.judged = scene.pods.drain(..).map(|pod| judged("", "Pod", "web-2-0", pod)).collect();
        }
        scene.events = events_at(&told, second);
        match judge.look(&scene, start + SignedDuration::from_secs(second)).verdict {
            Verdict::Failed(failure) => {
                return Outcome { failed: Some((second, failure)), ready_at_end: false };
            }
            Verdict::Ready => soaking = true,
            Verdict::Waiting { .. } => soaking = false,
            Verdict::Undecided { message } => panic!("{message}"),
        }
    }
    Outcome { failed: None, ready_at_end: soaking }
}

/// What each recording must come to as an upgrade: a reason, and the seconds between which it must be found.
const FAILING: &[(&str, &str, i64, i64)] = &[
    ("invalid-image-name", "InvalidImageName", 10, 15),
    ("never-pull", "ImageNotPresent", 10, 15),
    ("image-manifest-unknown", "ImageNotFound", 15, 20),
    ("image-unauthorized", "ImagePullDenied", 45, 50),
    ("image-not-found", "ImagePullFailed", 150, 155),
    ("image-rate-limited", "ImagePullFailed", 150, 155),
    ("run-as-non-root", "BadContainerConfig", 10, 15),
    ("missing-secret-env", "BadContainerConfig", 30, 35),
    ("exec-not-found", "ContainerCannotStart", 20, 40),
    ("crash-exit1", "CrashLoop", 30, 60),
    ("init-crash", "InitContainerFailed", 30, 60),
    ("ready-then-fails-at-40s", "CrashLoop", 80, 120),
    ("exec-not-executable", "ContainerCannotStart", 20, 40),
    ("exit0-loop", "CrashLoop", 30, 60),
    ("liveness-kill", "CrashLoop", 25, 60),
    ("liveness-kill-hard", "CrashLoop", 35, 60),
    ("missing-key", "BadContainerConfig", 30, 35),
    ("missing-volume", "VolumeNotMounted", 45, 50),
    ("oom-killed", "OutOfMemory", 20, 40),
    ("post-start-fail", "CrashLoop", 30, 60),
    ("sidecar-crash", "CrashLoop", 30, 60),
    ("unschedulable", "Unschedulable", 300, 305),
];

#[test]
fn what_is_broken_is_found_in_time() {
    for (name, reason, earliest, latest) in FAILING {
        let (second, failure) =
            replay(name, How::default()).failed.unwrap_or_else(|| panic!("{name}: not found"));
        println!("{name}: {second} s: {}: {}\n{:#?}", failure.reason, failure.message, failure.evidence);
        assert_eq!(failure.reason, *reason, "{name}: {failure:#?}");
        assert!((*earliest..=*latest).contains(&second), "{name}: {second} s");
        assert_eq!((failure.object.kind.as_str(), failure.object.name.as_str()), ("Deployment", "web"));
        assert!(failure.message.contains("pod web-2-0"), "{}", failure.message);
        assert!(!failure.evidence.is_empty(), "{name}");
    }
}

#[test]
fn what_is_healthy_in_the_end_is_never_called_failed() {
    for name in ["healthy", "healthy-slow-start", "healthy-after-two-crashes"] {
        for install in [true, false] {
            for restart in [None, Some(7), Some(20), Some(25)] {
                let outcome = replay(name, How { install, restart, ..How::default() });
                assert!(outcome.failed.is_none() && outcome.ready_at_end, "{name}: {outcome:#?}");
            }
        }
    }
}

#[test]
fn a_pod_of_its_own_that_is_never_restarted_fails_with_its_container() {
    let outcome = replay("restart-never-fail", How { bare: true, ..How::default() });
    let (second, failure) = outcome.failed.unwrap();
    assert_eq!(failure.reason, "PodFailed");
    assert!((5..=7).contains(&second), "{second} s");
}

#[test]
fn each_recording_is_replayed() {
    let folder = format!("{}/tests/fixtures/health/signals", env!("CARGO_MANIFEST_DIR"));
    let names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace(".json", ""))
        .collect();
    let well = ["healthy", "healthy-slow-start", "healthy-after-two-crashes"];
    let others = [&well[..], &["never-ready", "restart-never-fail"]].concat();
    let is_replayed = |name: &str| others.contains(&name) || FAILING.iter().any(|(it, ..)| *it == name);
    println!("{} recordings", names.len());
    assert_eq!(names.len(), 27);
    assert_eq!(names.iter().filter(|name| !is_replayed(name)).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn a_readiness_probe_that_never_succeeds_is_left_to_the_deadline() {
    assert!(replay("never-ready", How::default()).failed.is_none());
}

#[test]
fn an_install_has_more_patience_with_crashes_and_none_with_what_cannot_start() {
    let how = How { install: true, ..How::default() };
    for (name, earliest, latest) in
        [("crash-exit1", 150, 180), ("init-crash", 150, 195), ("exec-not-found", 20, 40)]
    {
        let (second, _) = replay(name, how).failed.unwrap();
        assert!((earliest..=latest).contains(&second), "{name}: {second} s");
    }
}

#[test]
fn a_watcher_that_starts_anew_loses_no_more_than_a_confirmation() {
    for (name, restart, latest) in [
        ("image-manifest-unknown", 10, 40),
        ("image-manifest-unknown", 17, 40),
        ("missing-secret-env", 30, 62),
        ("crash-exit1", 40, 60),
        ("exec-not-found", 20, 40),
    ] {
        let outcome = replay(name, How { restart: Some(restart), ..How::default() });
        let (second, failure) = outcome.failed.unwrap();
        println!("{name}: started anew at {restart} s: {second} s: {}", failure.message);
        assert!((restart..=latest).contains(&second), "{name}: {second} s");
    }
}

#[test]
fn how_often_the_judge_looks_hardly_matters() {
    for (name, reason, earliest, latest) in FAILING {
        let outcome = replay(name, How { step: Some(5), ..How::default() });
        let (second, failure) = outcome.failed.unwrap_or_else(|| panic!("{name}: not found"));
        assert_eq!(failure.reason, *reason, "{name}");
        assert!((*earliest..=*latest + 30).contains(&second), "{name}: {second} s");
    }
}
