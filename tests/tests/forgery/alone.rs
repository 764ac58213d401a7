//! Forged reviews about a release that is healthy.

use anyhow::{Result, ensure};
use backout_model::release::Phase;
use futures::future::join_all;
use system_tests::stories::Stage;

use super::{
    cases::{CASES, Case},
    scene::Scene,
};

#[tokio::test]
async fn a_healthy_release_stays_as_it_is_whatever_is_claimed_of_it() {
    let stage = Stage::shared().await.unwrap();
    let outcomes =
        join_all(CASES.iter().map(|case| async {
            stays(&stage, case).await.map_err(|why| format!("{}: {why:#}", case.name))
        }))
        .await;
    let wrong: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), stage.cluster.keep_for_inspection());
}

async fn stays(stage: &Stage<'_>, case: &Case) -> Result<()> {
    let mut scene = Scene::healthy(stage, &format!("alone-{}", case.name)).await?;
    scene.forge(case).await?;
    scene.log_is_empty().await?;
    let status = scene.status().await?;
    println!(
        "{}: {:?}, revision {}, problems {:?}",
        case.name, status.phase, status.revision, status.problems
    );
    ensure!(status.phase == Some(Phase::Healthy), "{status:#?}");
    ensure!(status.history.iter().all(|past| past.outcome == Phase::Healthy), "{:#?}", status.history);
    let restored = scene.restored().await?;
    ensure!(restored.is_empty(), "the watcher wrote {restored:#?}");
    scene.is_as_before().await
}
