//! Forged reviews about a release that is healthy.

use anyhow::{Result, ensure};
use backout_model::release::Phase;
use system_tests::{eventually, stories::Stage};

use super::{
    super::PATIENCE,
    cases::{Case, wrong},
    scene::Scene,
};

#[tokio::test]
async fn a_healthy_release_stays_as_it_is_whatever_is_claimed_of_it() {
    let stage = Stage::shared().await.unwrap();
    let wrong = wrong(|case| stays(&stage, case)).await;
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), stage.cluster.keep_for_inspection());
}

async fn stays(stage: &Stage<'_>, case: &Case) -> Result<()> {
    let mut scene = Scene::healthy(stage, &format!("alone-{}", case.name)).await?;
    scene.forge(case).await?;
    if case.seems_true {
        let is_told = |problem: &String| problem.contains("is not believed: ");
        eventually(format!("{} is told", case.name), PATIENCE, async || {
            Ok(scene.status().await?.problems.iter().any(is_told).then_some(()))
        })
        .await?;
    }
    scene.log_is_empty().await?;
    let status = scene.status().await?;
    // Nothing of it was taken for a revision.
    ensure!((status.phase, status.revision) == (Some(Phase::Healthy), scene.revision), "{status:#?}");
    eventually(format!("{}: nothing is left to tell", case.name), PATIENCE, async || {
        Ok(scene.status().await?.problems.is_empty().then_some(()))
    })
    .await?;
    let restored = scene.restored().await?;
    ensure!(restored.is_empty(), "the watcher wrote {restored:#?}");
    scene.is_as_before().await
}
