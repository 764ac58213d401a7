//! The stories of Helm, which is not told of Backout either.

use anyhow::{Context, Result, ensure};
use backout_model::{health::reasons, release::Phase};
use serde_json::Value;

use super::{Report, Snapshot, Stage, kubectl, measure, stage::Home};
use crate::Site;

const SAME: &str = "every object equals its state before, Helm's own records included";

/// Helm without `--atomic` and without `--wait`, then with `--wait`.
pub async fn helm<C: Site>(stage: &Stage<'_, C>) -> Result<[Report; 2]> {
    let home = stage.home("web").await?;
    stage.tell.title("4. Helm, without --atomic or --wait, upgrades to a version that crashes");
    home.helm(&["install", "web", "./web"]).await?.success()?;
    let installed = home.end_of("web", 1, home.patience()).await?;
    ensure!(phase(&installed) == Some(Phase::Healthy), "{:?}", installed.status);

    let before = Snapshot::take(&home).await?;
    let (rolled_back, failure) = measure::with_first_failure(&home, async {
        home.helm(&["upgrade", "web", "./web", "--set", "image=registry.example/crash:2,greeting=bye"])
            .await?
            .success()?;
        home.end_of("web", 2, home.patience()).await
    })
    .await?;
    let same = home.claim_same(&before, &[], SAME).await?;
    ensure!(history(&home).await? == [(1, "deployed".to_owned())], "helm history is not what it was");
    stage.tell.claim("helm history shows revision 1 as deployed");
    kubectl::failed_by(&rolled_back, reasons::CRASH_LOOP)?;
    let seconds = kubectl::measured(&home, failure, &rolled_back).await?;
    let crash = kubectl::report("helm-crash-loop", &rolled_back, same, seconds)?;
    ensure!(crash.outcome == Phase::RolledBack, "{crash:?}");

    home.helm(&["upgrade", "web", "./web", "--set", "greeting=hi"]).await?.success()?;
    let upgraded = home.end_of("web", 3, home.patience()).await?;
    ensure!(phase(&upgraded) == Some(Phase::Healthy), "{:?}", upgraded.status);
    stage.tell.claim("the next upgrade, to a good version, just works");
    Ok([crash, waiting(stage, &home).await?])
}

/// A client that waits for an image that does not exist.
async fn waiting<C: Site>(stage: &Stage<'_, C>, home: &Home<'_, C>) -> Result<Report> {
    stage.tell.title("   Helm with --wait upgrades to an image that does not exist");
    let before = Snapshot::take(home).await?;
    let (output, failure) = measure::with_first_failure(home, async {
        home.helm(&["upgrade", "web", "./web", "--wait", "--set", "image=registry.example/missing:9"]).await
    })
    .await?;
    ensure!(!output.status.success(), "helm took the rollback for a success");
    ensure!(
        output.elapsed < stage.cluster.setting().sooner_than_helm,
        "helm exited after {:?}",
        output.elapsed
    );
    ensure!(
        output.stderr.contains(&home.translate("registry.example/missing:9")),
        "helm was not told the cause: {}",
        output.stderr
    );
    stage.tell.claim(&format!(
        "helm itself failed after {:.1} s, and printed the cause",
        output.elapsed.as_secs_f64()
    ));
    let rolled_back = home.end_of("web", 4, home.patience()).await?;
    let same = home.claim_same(&before, &[], SAME).await?;
    kubectl::failed_by(&rolled_back, reasons::IMAGE_NOT_FOUND)?;
    let seconds = kubectl::measured(home, failure, &rolled_back).await?;
    let report = kubectl::report("helm-wait", &rolled_back, same, seconds)?;
    ensure!(report.outcome == Phase::RolledBack, "{report:?}");
    Ok(report)
}

fn phase(release: &backout_model::release::Release) -> Option<Phase> {
    release.status.as_ref().and_then(|status| status.phase)
}

async fn history<C: Site>(home: &Home<'_, C>) -> Result<Vec<(u64, String)>> {
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
