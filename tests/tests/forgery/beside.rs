//! Forged reviews about a release that fails: its rollback runs with them in its interval.

use anyhow::{Result, ensure};
use backout_model::release::Phase;
use futures::future::join_all;
use system_tests::{eventually, stories::Stage};

use super::{
    super::PATIENCE,
    cases::{CASES, Case},
    scene::Scene,
};

#[tokio::test]
async fn a_failed_release_goes_back_to_what_was_really_there_whatever_is_claimed_of_it() {
    let stage = Stage::shared().await.unwrap();
    let outcomes = join_all(CASES.iter().map(|case| async {
        goes_back(&stage, case).await.map_err(|why| format!("{}: {why:#}", case.name))
    }))
    .await;
    let wrong: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), stage.cluster.keep_for_inspection());
}

async fn goes_back(stage: &Stage<'_>, case: &Case) -> Result<()> {
    let mut scene = Scene::healthy(stage, &format!("beside-{}", case.name)).await?;
    scene.forge(case).await?;
    scene.home.apply(&Stage::small("registry.example/missing:2", "bye")?, "").await?;
    scene.forge(case).await?;
    let status = eventually(format!("{} has ended", scene.ns()), PATIENCE, async || {
        let status = scene.status().await?;
        let is_over = [Phase::RolledBack, Phase::Held, Phase::Notified].map(Some).contains(&status.phase);
        if is_over { Ok(Some(status)) } else { Err(anyhow::anyhow!("{status:#?}")) }
    })
    .await?;
    let told: Vec<_> =
        status.unrestored.iter().map(|it| (it.object.name.as_str(), it.reason.as_str())).collect();
    println!(
        "{}: {:?}, revision {}, {told:#?}, {:?}",
        case.name, status.phase, status.revision, status.problems
    );
    ensure!(status.phase == Some(Phase::RolledBack), "{status:#?}");
    let restored = scene.restored().await?;
    ensure!(restored.iter().all(|write| write.contains("/web ")), "{restored:#?}");
    scene.is_as_before().await?;
    for wanted in case.told {
        ensure!(
            told.iter().any(|(name, why)| *name == wanted.0 && why.contains(wanted.1)),
            "{wanted:?} is not told: {told:#?}"
        );
    }
    Ok(())
}
