//! A chart with hooks: a Job before the upgrade, which goes when it is done, and one after it, which stays.

use anyhow::{Result, ensure};
use backout_model::release::{Phase, ReleaseStatus};
use serde_json::json;
use system_tests::{
    eventually,
    stories::{Home, Snapshot, Stage},
};
use tokio::time::{Duration, sleep};

use super::super::{PATIENCE, history, told, turn};

/// Lets the only pod of a hook's Job end: nobody runs it.
pub(super) async fn end(home: &Home<'_>, job: &str, exit: i64) -> Result<()> {
    let selector = format!("job-name={job}");
    let get = ["get", "pods", "-l", &selector, "--field-selector=status.phase=Running", "-o", "name"];
    let pod = eventually(format!("{job} runs"), PATIENCE, async || {
        let printed = home.admin(&get).await?.success()?.stdout;
        Ok(Some(printed.trim().to_owned()).filter(|pod| !pod.is_empty()))
    })
    .await?;
    let (phase, reason) = if exit == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
    let ended = json!({"name": job, "image": "x", "imageID": "x", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": exit, "reason": reason}}});
    let status = json!({"status": {"phase": phase, "containerStatuses": [ended]}}).to_string();
    home.admin(&["patch", &pod, "--subresource=status", "--type=merge", "-p", &status]).await?.success()?;
    Ok(())
}

/// Helm runs, and the hooks end so; the release's status when it is over, and whether Helm was content.
pub(super) async fn run(
    home: &Home<'_>,
    verb: &str,
    greeting: &str,
    exits: &[(&str, i64)],
    revision: u64,
) -> Result<(ReleaseStatus, bool)> {
    let set = format!("greeting={greeting}");
    let args = [verb, "web", "./hooked", "--set", &set, "--timeout=40s"];
    let hooks = async {
        for (job, exit) in exits {
            // Longer than the quiet time that ends the writes of others.
            sleep(Duration::from_secs(8)).await;
            end(home, job, *exit).await?;
        }
        anyhow::Ok(())
    };
    let (output, hooks) = tokio::join!(home.helm(&args), hooks);
    hooks?;
    let status = home.end_of("web", revision, PATIENCE).await?.status.unwrap_or_default();
    Ok((status, output?.status.success()))
}

#[tokio::test]
async fn a_chart_with_hooks_is_one_revision_each_time_and_judged_by_its_hooks_too() {
    let _turn = turn().await;
    let stage = Stage::shared().await.unwrap();
    let home = stage.home("hooked").await.unwrap();
    let (good, passes) = ([("migrate", 0), ("smoke", 0)], |(status, content): &(ReleaseStatus, bool)| {
        status.phase == Some(Phase::Healthy) && *content
    });
    let installed = run(&home, "install", "one", &good, 1).await.unwrap();
    assert!(passes(&installed), "{installed:#?}");
    let upgraded = run(&home, "upgrade", "two", &good, 2).await.unwrap();
    assert!(passes(&upgraded), "{upgraded:#?}");
    assert_eq!(told(&history(&home).await.unwrap()), "1 superseded, 2 deployed");
    let before = Snapshot::take(&home).await.unwrap();
    for (revision, exits, job) in
        [(3, &[("migrate", 1)][..], "migrate"), (4, &[("migrate", 0), ("smoke", 1)], "smoke")]
    {
        let failed = run(&home, "upgrade", "bad", exits, revision).await.unwrap();
        println!("{job} fails: {}", failed.0.message);
        assert!(!failed.1, "helm took the failure of {job} for a success: {failed:#?}");
        gone_back(&home, &failed.0, job, &before).await.unwrap();
    }
    let mended = run(&home, "upgrade", "three", &good, 5).await.unwrap();
    assert!(passes(&mended), "{mended:#?}");
    assert_eq!(told(&history(&home).await.unwrap()), "1 superseded, 2 superseded, 3 deployed");
}

async fn gone_back(home: &Home<'_>, status: &ReleaseStatus, job: &str, before: &Snapshot) -> Result<()> {
    ensure!(status.phase == Some(Phase::RolledBack), "{status:#?}");
    let failure = status.failure.clone().unwrap_or_default();
    ensure!((failure.object.kind.as_str(), failure.object.name.as_str()) == ("Job", job), "{failure:#?}");
    ensure!(failure.reason == "JobFailed", "{failure:#?}");
    // A Job that had ended is not run again.
    let (after, gone) = (Snapshot::take(home).await?, ["Job/smoke"]);
    let differences = before.differences(&after, &gone);
    ensure!(differences.is_empty(), "{differences:#?}");
    ensure!(told(&history(home).await?) == "1 superseded, 2 deployed", "{:?}", history(home).await?);
    Ok(())
}
