//! Helm killed in the middle of its work.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Result, ensure};
use backout_model::release::{Phase, ReleaseStatus};
use futures::future::join_all;
use rand::{Rng, SeedableRng, rngs::StdRng};
use system_tests::{
    User,
    stories::{Home, Snapshot, Stage},
};
use tokio::time::{Instant, sleep};

use super::super::{PATIENCE, audited, history, next_works, over, told, turn};

#[tokio::test]
async fn whenever_helm_is_killed_its_upgrade_is_whole_or_undone_and_the_next_one_just_works() {
    killed("upgrade").await;
}

#[tokio::test]
async fn whenever_helm_is_killed_its_install_is_whole_or_undone_and_the_next_one_just_works() {
    killed("install").await;
}

async fn killed(verb: &str) {
    let stage = Stage::shared().await.unwrap();
    let seed: u64 = std::env::var("BACKOUT_SEED").map_or_else(|_| rand::random(), |it| it.parse().unwrap());
    let many = if std::env::var_os("BACKOUT_EVERYTHING").is_some() { 10 } else { 4 };
    let mut random = StdRng::seed_from_u64(seed);
    let whole = undisturbed(&stage, verb).await.unwrap();
    // Side by side all take longer.
    let slot = whole * 5 / 4 / many;
    let moments: Vec<_> = (0..many).map(|number| slot * number + slot.mul_f64(random.random())).collect();
    println!("seed {seed}: an undisturbed {verb} takes {whole:?}, killed after {moments:?}");
    let stage = &stage;
    let lines = join_all(moments.iter().enumerate().map(|(number, &moment)| async move {
        let mut line = format!("{verb} killed after {moment:?}");
        let gone = go(stage, verb, number, moment, &mut line).await;
        println!("{line}");
        gone.map_err(|why| format!("{line}: {why:#}"))
    }))
    .await;
    let wrong: Vec<_> = lines.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "seed {seed}: {}\n{}", wrong.join("\n"), stage.cluster.keep_for_inspection());
}

async fn undisturbed(stage: &Stage<'_>, verb: &str) -> Result<Duration> {
    let home = stage.home(&format!("{verb}-undisturbed")).await?;
    if verb == "upgrade" {
        home.helm(&["install", "web", "./web", "--wait"]).await?.success()?;
    }
    Ok(home.helm(&args(verb)).await?.success()?.elapsed)
}

/// A good version.
fn args(verb: &str) -> [&str; 6] {
    [verb, "web", "./web", "--wait", "--set", "greeting=bye"]
}

async fn go(stage: &Stage<'_>, verb: &str, number: usize, moment: Duration, line: &mut String) -> Result<()> {
    let _turn = turn().await;
    let home = stage.home(&format!("{verb}-{number}")).await?;
    let deadline = format!("{}={}s", backout_model::names::POLICY_DEADLINE, DEADLINE.as_secs());
    home.admin(&["annotate", "namespace", &home.name, &deadline]).await?.success()?;
    if verb == "upgrade" {
        home.helm(&["install", "web", "./web"]).await?.success()?;
        let installed = home.end_of("web", 1, PATIENCE).await?.status.unwrap_or_default();
        ensure!(installed.phase == Some(Phase::Healthy), "{installed:#?}");
    }
    let before = Snapshot::take(&home).await?;
    kill(&home, verb, moment).await?;
    let reached = history(&home).await?;
    // What was sent may still arrive.
    sleep(Duration::from_secs(3)).await;
    let status = over(&home).await?;
    let history = history(&home).await?;
    let outcome = status.history.first().map_or("nothing", |past| past.outcome.as_str());
    let (reached, left) = (told(&reached), told(&history));
    let ReleaseStatus { revision, message, .. } = &status;
    write!(line, " | {reached} | {revision} {outcome}: {message} | {left}")?;
    let now = Snapshot::take(&home).await?;
    let is_whole = history.last().is_some_and(|last| last.1 == "deployed")
        && now.0.get("ConfigMap/web").is_some_and(|map| map["data"]["greeting"] == "bye");
    if is_whole {
        ensure!(status.phase == Some(Phase::Healthy), "{status:#?}");
    } else {
        let differences = before.differences(&now, &[]);
        ensure!(differences.is_empty(), "{differences:#?}");
        ensure!(left == if verb == "upgrade" { "1 deployed" } else { "" }, "{history:?}");
    }
    let deadline = format!("{}-", backout_model::names::POLICY_DEADLINE);
    home.admin(&["annotate", "namespace", &home.name, &deadline]).await?.success()?;
    next_works(&home, history.is_empty()).await?;
    *line += " | works";
    audited(&home).await
}

/// After so long without a write a client that has not ended is given up; and so long a good version may take.
const DEADLINE: Duration = Duration::from_secs(40);

async fn kill(home: &Home<'_>, verb: &str, moment: Duration) -> Result<()> {
    let chart = Stage::file("web");
    let all: Vec<_> = ["-n", &home.name]
        .into_iter()
        .chain(args(verb))
        .map(|arg| if arg == "./web" { chart.as_str() } else { arg })
        .collect();
    let begin = Instant::now();
    let helm = home.stage.cluster.helm().user(User::Named("alice")).start(&all).await?;
    sleep(moment.saturating_sub(begin.elapsed())).await;
    helm.kill9().await
}
