//! Clients that wait while Backout judges, or that die: what they are told, and what the next ones find.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod clients {
    mod held;
    mod hooks;
    mod killed;
    mod kubectl;
    mod waiting;
}

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use backout_model::release::{Phase, ReleaseStatus};
use serde_json::Value;
use system_tests::{Output, eventually, oracle, stories::Home};
use tokio::sync::{Semaphore, SemaphorePermit};

/// A revision ends in half a minute on an idle machine.
const PATIENCE: Duration = Duration::from_mins(4);

/// More runs of Helm at a time than this, and a small machine is what is tested.
async fn turn() -> SemaphorePermit<'static> {
    static AT_A_TIME: Semaphore = Semaphore::const_new(6);
    AT_A_TIME.acquire().await.unwrap()
}

/// What `helm history` says: versions and their status. Empty where Helm knows no such release.
async fn history(home: &Home<'_>) -> Result<Vec<(u64, String)>> {
    let output = home.helm(&["history", "web", "-o", "json"]).await?;
    if output.stderr.contains("release: not found") {
        return Ok(Vec::new());
    }
    let printed = output.success()?.stdout;
    let history: Vec<Value> = serde_json::from_str(&printed).context("helm printed no JSON")?;
    let entry = |entry: &Value| {
        let status = entry["status"].as_str().unwrap_or_default().to_owned();
        (entry["revision"].as_u64().unwrap_or_default(), status)
    };
    Ok(history.iter().map(entry).collect())
}

/// `1 superseded, 2 deployed`.
fn told(history: &[(u64, String)]) -> String {
    let entries: Vec<_> = history.iter().map(|(version, status)| format!("{version} {status}")).collect();
    entries.join(", ")
}

async fn status(home: &Home<'_>) -> Result<ReleaseStatus> {
    let releases = home.admin(&["get", "releases", "-o", "json"]).await?.success()?.stdout;
    let releases: Value = serde_json::from_str(&releases)?;
    let release =
        releases["items"].as_array().into_iter().flatten().find(|it| it["metadata"]["name"] == "web");
    Ok(release.map(|it| serde_json::from_value(it["status"].clone())).transpose()?.unwrap_or_default())
}

/// Waits until nothing is under way any more: the last revision is decided, and its log is collected.
async fn over(home: &Home<'_>) -> Result<ReleaseStatus> {
    let status = eventually(format!("{} has come to rest", home.name), PATIENCE, async || {
        let heads = home.stage.cluster.record_heads(&home.name).await?;
        let status = status(home).await?;
        let is_over = [None, Some(Phase::Healthy), Some(Phase::RolledBack)].contains(&status.phase);
        ensure!(heads.is_empty() && is_over, "{} records, {status:#?}", heads.len());
        Ok(Some(status))
    })
    .await?;
    Ok(status)
}

/// All that Helm printed, but for its log of warnings.
fn printed(output: &Output) -> String {
    let text = format!("{}{}", output.stderr, output.stdout);
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.contains("warnings.go"));
    lines.collect::<Vec<_>>().join(" / ")
}

/// The next deploy of a good version just works.
async fn next_works(home: &Home<'_>, install: bool) -> Result<()> {
    let verb = if install { "install" } else { "upgrade" };
    let args = [verb, "web", "./web", "--set", "greeting=next", "--wait", "--timeout=3m"];
    let before = status(home).await?.revision;
    let output = helm_let_in(home, &args).await?;
    ensure!(output.status.success(), "the next {verb} fails: {}{}", output.stdout, output.stderr);
    let healthy = home.end_of("web", before + 1, PATIENCE).await?.status.unwrap_or_default();
    ensure!(healthy.phase == Some(Phase::Healthy), "{healthy:#?}");
    ensure!(healthy.fence.is_none(), "{healthy:#?}");
    let history = history(home).await?;
    let deployed: Vec<_> = history.iter().filter(|(_, status)| status == "deployed").collect();
    ensure!(deployed.len() == 1 && deployed.first() == history.last().as_ref(), "{history:?}");
    Ok(())
}

/// Until the watcher has taken the fence down Helm is told to try again.
async fn helm_let_in(home: &Home<'_>, args: &[&str]) -> Result<Output> {
    eventually("helm may begin", PATIENCE, async || {
        let output = home.helm(args).await?;
        let is_fenced = !output.status.success() && output.stderr.contains("Try again in a few seconds");
        Ok((!is_fenced).then_some(output))
    })
    .await
}

/// Every write of the watcher in the namespace is accounted for.
async fn audited(home: &Home<'_>) -> Result<()> {
    let witness = oracle::witness(home.stage.cluster, &["alice"]).await?;
    let violations: Vec<_> = witness.violations.iter().filter(|what| what.contains(&home.name)).collect();
    ensure!(violations.is_empty(), "{violations:#?}");
    Ok(())
}
