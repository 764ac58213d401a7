//! The demo's stories, all at once, and what the API server's audit log says of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod stories {
    mod twin;
}

use anyhow::Result;
use backout_model::release::Phase;
use system_tests::{
    oracle,
    stories::{self as told, Report, Stage},
};

#[tokio::test]
async fn a_good_release_becomes_healthy_and_a_bad_upgrade_of_it_is_rolled_back() {
    let stage = Stage::shared().await.unwrap();
    let reports = audited(&stage, "shop", told::shop(&stage).await).await;
    assert_outcomes(&reports, &[Phase::Healthy, Phase::RolledBack]);
}

#[tokio::test]
async fn a_failed_first_install_is_taken_down_again() {
    let stage = Stage::shared().await.unwrap();
    let report = audited(&stage, "first", told::failed_install(&stage).await).await;
    assert_outcomes(&[report], &[Phase::RolledBack]);
}

#[tokio::test]
async fn a_crashing_helm_upgrade_is_rolled_back_and_a_waiting_helm_is_told_the_verdict() {
    let stage = Stage::shared().await.unwrap();
    let reports = audited(&stage, "web", told::helm(&stage).await).await;
    assert_outcomes(&reports, &[Phase::RolledBack, Phase::RolledBack]);
}

#[tokio::test]
async fn the_replicas_of_an_autoscaler_survive_a_rollback() {
    let stage = Stage::shared().await.unwrap();
    let report = audited(&stage, "queue", told::autoscaler(&stage).await).await;
    assert_outcomes(&[report], &[Phase::RolledBack]);
}

/// Checks all writes of the watcher after a story, which must have seen it restore something.
async fn audited<T>(stage: &Stage<'_>, home: &str, story: Result<T>) -> T {
    let ns = format!("{home}{}", stage.suffix);
    let story = match story {
        Ok(story) => story,
        Err(error) => panic!("{error:#}\n{}\n{}", describe(stage, &ns).await, kept(stage)),
    };
    let witness = oracle::witness(stage.cluster, &["alice"]).await.unwrap();
    assert_eq!(witness.violations, Vec::<String>::new(), "{}", kept(stage));
    assert!(witness.restores.contains_key(&ns), "nothing was restored in {ns}: {witness:#?}");
    let blind = oracle::witness(stage.cluster, &[]).await.unwrap();
    assert!(
        !blind.violations.is_empty(),
        "the oracle would find nothing to object to if alice had not written"
    );
    story
}

fn kept(stage: &Stage<'_>) -> String {
    stage.cluster.keep_for_inspection()
}

async fn describe(stage: &Stage<'_>, ns: &str) -> String {
    let kubectl = ["get", "releases,events,pods", "-n", ns, "-o", "wide"];
    let output = stage.cluster.kubectl().run(&kubectl).await;
    output.map_or_else(|error| format!("{error:#}"), |output| output.stdout + &output.stderr)
}

fn assert_outcomes(reports: &[Report], wanted: &[Phase]) {
    let outcomes: Vec<_> = reports.iter().map(|report| report.outcome).collect();
    assert_eq!(outcomes, wanted);
    for report in reports {
        println!("{}", serde_json::to_string(report).unwrap());
        assert!(report.exact);
    }
}
