//! The stories of Helm, which is not told of Backout either.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use backout_model::release::Phase;
use serde_json::Value;

use super::{Report, Snapshot, Stage, kubectl, measure, stage::Home};

const PATIENCE: Duration = Duration::from_secs(150);
/// What Helm alone takes to notice: its default timeout.
const SOONER_THAN_HELM: Duration = Duration::from_secs(30);

const SAME: &str = "every object equals its state before, Helm's own records included";

/// Helm without `--atomic` and without `--wait`, then with `--wait`.
pub async fn helm(stage: &Stage<'_>) -> Result<[Report; 2]> {
    let home = stage.home("web").await?;
    stage.tell.title("4. Helm, without --atomic or --wait, upgrades to a version that crashes");
    home.helm(&["install", "web", "./web"]).await?.success()?;
    let installed = home.end_of("web", 1, PATIENCE).await?;
    ensure!(phase(&installed) == Some(Phase::Healthy), "{:?}", installed.status);

    let before = Snapshot::take(&home).await?;
    let (rolled_back, failure) = measure::with_first_failure(&home, async {
        home.helm(&["upgrade", "web", "./web", "--set", "image=registry.example/crash:2,greeting=bye"])
            .await?
            .success()?;
        home.end_of("web", 2, PATIENCE).await
    })
    .await?;
    let same = home.claim_same(&before, &[], SAME).await?;
    ensure!(history(&home).await? == [(1, "deployed".to_owned())], "helm history is not what it was");
    stage.tell.claim("helm history shows revision 1 as deployed");
    let seconds = kubectl::measured(&home, failure).await?;
    let crash = kubectl::report("helm-crash-loop", &rolled_back, same, seconds)?;
    ensure!(crash.outcome == Phase::RolledBack, "{crash:?}");

    home.helm(&["upgrade", "web", "./web", "--set", "greeting=hi"]).await?.success()?;
    let upgraded = home.end_of("web", 3, PATIENCE).await?;
    ensure!(phase(&upgraded) == Some(Phase::Healthy), "{:?}", upgraded.status);
    stage.tell.claim("the next upgrade, to a good version, just works");
    Ok([crash, waiting(stage, &home).await?])
}

/// A client that waits for an image that does not exist.
async fn waiting(stage: &Stage<'_>, home: &Home<'_>) -> Result<Report> {
    stage.tell.title("   Helm with --wait upgrades to an image that does not exist");
    let before = Snapshot::take(home).await?;
    let (output, failure) = measure::with_first_failure(home, async {
        home.helm(&["upgrade", "web", "./web", "--wait", "--set", "image=registry.example/missing:9"]).await
    })
    .await?;
    ensure!(!output.status.success(), "helm took the rollback for a success");
    ensure!(output.elapsed < SOONER_THAN_HELM, "helm exited after {:?}", output.elapsed);
    ensure!(
        output.stderr.contains("registry.example/missing:9"),
        "helm was not told the cause: {}",
        output.stderr
    );
    stage.tell.claim(&format!(
        "helm itself failed after {:.1} s, and printed the cause",
        output.elapsed.as_secs_f64()
    ));
    let rolled_back = home.end_of("web", 4, PATIENCE).await?;
    let same = home.claim_same(&before, &[], SAME).await?;
    let report = kubectl::report("helm-wait", &rolled_back, same, kubectl::measured(home, failure).await?)?;
    ensure!(report.outcome == Phase::RolledBack, "{report:?}");
    Ok(report)
}

fn phase(release: &backout_model::release::Release) -> Option<Phase> {
    release.status.as_ref().and_then(|status| status.phase)
}

async fn history(home: &Home<'_>) -> Result<Vec<(u64, String)>> {
    let printed = home.helm(&["history", "web", "-o", "json"]).await?.success()?.stdout;
    let history: Vec<Value> = serde_json::from_str(&printed).context("helm printed no JSON")?;
    Ok(history
        .iter()
        .map(|entry| {
            let status = entry["status"].as_str().unwrap_or_default().to_owned();
            (entry["revision"].as_u64().unwrap_or_default(), status)
        })
        .collect())
}
