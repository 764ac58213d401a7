//! `cargo demo --context`: the stories on a cluster of somebody else's, and what stays there of them: nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod demo {
    pub(super) mod abroad;
    mod refused;
}

use std::time::Duration;

use serde_json::Value;
use system_tests::{Exit, eventually};

use self::demo::abroad::{Abroad, MINE, SIMULATED};

#[tokio::test]
async fn on_a_cluster_of_the_users_all_stories_are_true_and_nothing_stays() {
    let abroad = Abroad::alone().await;
    let before = abroad.inventory().await;
    let ended = abroad.demo(&[&["--context", MINE, "--json"], SIMULATED].concat()).await;
    assert_eq!(ended.exit, Exit::Code(0), "{}", ended.printed);

    let reports: Vec<Value> = ended.printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = reports.iter().map(|report| (&report["story"], &report["outcome"])).collect();
    let (healthy, back) = (&Value::from("Healthy"), &Value::from("RolledBack"));
    let stories =
        ["good-release", "bad-upgrade", "failed-install", "helm-crash-loop", "helm-wait", "autoscaler"];
    let wanted = stories.map(Value::from);
    let wanted: Vec<_> =
        wanted.iter().map(|story| (story, if *story == "good-release" { healthy } else { back })).collect();
    assert_eq!(told, wanted);
    for report in &reports {
        assert_eq!(report["exact"], true, "{report}");
        let measured = [&report["detect_seconds"], &report["restore_seconds"]];
        assert_eq!(measured, [&Value::Null; 2], "nobody can have measured this: {report}");
    }
    assert_eq!(abroad.inventory().await, before);
    abroad.kubeconfig_is_untouched();
}

#[tokio::test]
async fn interrupted_in_the_middle_of_a_story_it_leaves_nothing_behind() {
    let abroad = Abroad::alone().await;
    let before = abroad.inventory().await;
    let process = abroad.start(&[&["--context", MINE], SIMULATED].concat());
    eventually("something has been deployed", Duration::from_mins(3), async || {
        let printed = std::fs::read_to_string(process.log())?;
        assert_eq!(process.exit(), None, "{printed}");
        Ok(printed.contains("release shop").then_some(()))
    })
    .await
    .unwrap();
    assert_ne!(abroad.inventory().await, before, "nothing had been made");
    let pid = rustix::process::Pid::from_raw(i32::try_from(process.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let exit = process.wait_exit().await;
    let printed = std::fs::read_to_string(process.log()).unwrap();
    assert_eq!(exit, Exit::Code(1), "{printed}");
    assert!(printed.contains("nothing that the demo made is left"), "{printed}");
    assert!(printed.contains("The demo failed: it was interrupted"), "{printed}");
    assert_eq!(abroad.inventory().await, before);
}

#[tokio::test]
async fn a_story_that_is_not_true_fails_the_demo_and_leaves_nothing_behind() {
    let abroad = Abroad::alone().await;
    let before = abroad.inventory().await;
    let never = ["--context", MINE, "--image", "ready=registry.example/missing:1"];
    let ended = abroad.demo(&never).await;
    assert_eq!(ended.exit, Exit::Code(1), "{}", ended.printed);
    for told in [
        "The demo failed: ",
        "story 1 or 2",
        "registry.example/missing:1",
        "nothing that the demo made is left",
    ] {
        assert!(ended.printed.contains(told), "not told: {told}\n{}", ended.printed);
    }
    assert_eq!(abroad.inventory().await, before);
}
