//! Forged reviews about a release that fails: its rollback runs with them in its interval.

use std::time::Duration;

use anyhow::{Result, ensure};
use backout_model::release::Phase;
use system_tests::{eventually, stories::Stage};

use super::{
    super::PATIENCE,
    cases::{CASES, Case, wrong},
    scene::Scene,
};

#[tokio::test]
async fn a_failed_release_goes_back_to_what_was_really_there_whatever_is_claimed_of_it() {
    let stage = Stage::shared().await.unwrap();
    let wrong = wrong(|case| goes_back(&stage, case)).await;
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), stage.cluster.keep_for_inspection());
}

/// Then it must not be taken for a deployer who has gone on meanwhile: to him the rollback would give way.
#[tokio::test]
async fn a_rollback_under_way_does_not_give_way_to_what_is_only_claimed() {
    let stage = Stage::shared().await.unwrap();
    let of = |name: &str| CASES.iter().find(|case| case.name == name).unwrap();
    let mut scene = Scene::healthy(&stage, "late").await.unwrap();
    scene.upgrade().await.unwrap();
    // Whether these come true is known after 40 s only: so long the rollback waits.
    scene.forge(of("deletion")).await.unwrap();
    let phase = async |scene: &Scene<'_>| scene.status().await.unwrap().phase;
    eventually("the rollback begins", PATIENCE, async || {
        Ok((phase(&scene).await == Some(Phase::RollingBack)).then_some(()))
    })
    .await
    .unwrap();
    let mut times = 0;
    while phase(&scene).await == Some(Phase::RollingBack) {
        scene.forge(of("deletion-of-another")).await.unwrap();
        times += 1;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert!(times > 0, "the rollback was over at once");
    let status = scene.status().await.unwrap();
    assert_eq!(status.phase, Some(Phase::RolledBack), "{status:#?}");
    scene.is_as_before().await.unwrap();
    scene.restored().await.unwrap();
}

async fn goes_back(stage: &Stage<'_>, case: &Case) -> Result<()> {
    let mut scene = Scene::healthy(stage, &format!("beside-{}", case.name)).await?;
    scene.forge(case).await?;
    scene.upgrade().await?;
    scene.forge(case).await?;
    let status = eventually(format!("{} has ended", scene.ns()), PATIENCE, async || {
        let status = scene.status().await?;
        let is_over = [Phase::RolledBack, Phase::Held, Phase::Notified].map(Some).contains(&status.phase);
        if is_over { Ok(Some(status)) } else { Err(anyhow::anyhow!("{status:#?}")) }
    })
    .await?;
    let told: Vec<_> =
        status.unrestored.iter().map(|it| (it.object.name.as_str(), it.reason.as_str())).collect();
    ensure!(status.phase == Some(Phase::RolledBack), "{status:#?}");
    let restored = scene.restored().await?;
    ensure!(restored.iter().all(|write| write.contains("/web ")), "{restored:#?}");
    scene.is_as_before().await?;
    // One of each forging at least, and nothing of any other object.
    let is_wanted = |(name, why): &(&str, &str)| {
        case.told.iter().any(|wanted| name.starts_with(wanted.0) && why.contains(wanted.1))
    };
    ensure!(told.iter().all(|it| is_wanted(it) || it.1.starts_with("and ")), "{told:#?}");
    for wanted in case.told.iter().filter(|_| case.seems_true) {
        ensure!(
            told.iter().any(|(name, why)| name.starts_with(wanted.0) && why.contains(wanted.1)),
            "{wanted:?} is not told: {told:#?}"
        );
    }
    Ok(())
}
