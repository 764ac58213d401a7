//! Watchers whose wall clocks are wrong by an hour: times in the history may be off, verdicts are not.

use std::time::Duration;

use backout_model::release::Phase;
use system_tests::{
    Backout, BackoutOptions, Cluster, Options, Process, skew,
    stories::{Home, Snapshot, Stage},
};
use tokio::{
    sync::{Mutex, OnceCell},
    time::Instant,
};

use super::{
    super::{ends, is_as_before, is_clean, is_collected, on, prepare, reaches, set},
    deployer::{Deployer, healthy},
    late::{Slow, write_late},
};

const HOUR: i64 = 3600;

#[tokio::test]
async fn a_watcher_an_hour_ahead_decides_nothing_too_early() {
    Box::pin(judged_with(&[HOUR])).await;
}

#[tokio::test]
async fn a_watcher_an_hour_behind_decides_nothing_too_early() {
    Box::pin(judged_with(&[-HOUR])).await;
}

#[tokio::test]
async fn two_watchers_an_hour_apart_decide_nothing_too_early() {
    Box::pin(judged_with(&[0, HOUR])).await;
}

/// The deadline, in seconds, of a release that does not become ready.
const DEADLINE: u64 = 20;
/// The soak, in seconds, of one that does.
const SOAK: u64 = 15;

/// Releases judged by watchers of which each is so many seconds ahead.
async fn judged_with(skews: &[i64]) {
    static ALONE: Mutex<()> = Mutex::const_new(());
    static GROUND: OnceCell<(Cluster, Backout)> = OnceCell::const_new();
    let _alone = ALONE.lock().await;
    let start = async || {
        let cluster = Cluster::start(Options::default()).await?;
        let backout = Backout::install(&cluster, BackoutOptions::default()).await?;
        prepare(&cluster).await?;
        // Each test has watchers of its own.
        backout.watcher().terminate().await?;
        anyhow::Ok((cluster, backout))
    };
    let (cluster, backout) = GROUND.get_or_try_init(start).await.unwrap();
    let stage = on(cluster, backout);
    let mut watchers = Vec::new();
    for skew in skews {
        watchers.push(watcher(&stage, *skew).await);
    }
    let (waiting, soaking) = tokio::try_join!(stage.home("waiting"), stage.home("soaking")).unwrap();
    let slow = Slow::home(&stage, "late");
    let (before, _, slow) = tokio::join!(healthy(&waiting, 2), healthy(&soaking, 2), slow);
    tokio::join!(
        fails_in_time(&waiting, &before),
        commits_in_time(&soaking),
        keeps_what_hangs(&stage, &slow)
    );
    for home in [&waiting, &soaking, &slow.home] {
        is_clean(home).await;
    }
}

async fn watcher(stage: &Stage<'static>, skew: i64) -> Process {
    let options = BackoutOptions {
        watcher_env: skew::environment(stage.cluster, skew).unwrap(),
        ..stage.backout().options().clone()
    };
    let name = format!("watcher-{skew}");
    let (watcher, _) = stage.backout().watcher_like(stage.cluster, &name, &options).await.unwrap();
    watcher
}

/// It has the whole deadline to become ready.
async fn fails_in_time(home: &Home<'_>, before: &Snapshot) {
    set(home, &[("deadline", &format!("{DEADLINE}s"))]).await;
    let begin = Instant::now();
    Deployer::of(home).await.web("never-ready").await.unwrap();
    let end = ends(home, 2, Phase::RolledBack).await;
    // Stored times have whole seconds: the settle of two, which comes first, is more than that.
    assert!(begin.elapsed() >= Duration::from_secs(DEADLINE), "after {:?}: {end:#?}", begin.elapsed());
    is_as_before(home, before, &[]).await;
}

/// It must stay ready for the whole soak.
async fn commits_in_time(home: &Home<'_>) {
    set(home, &[("soak", &format!("{SOAK}s"))]).await;
    let begin = Instant::now();
    Deployer::of(home).await.web("ready:2").await.unwrap();
    let end = ends(home, 2, Phase::Healthy).await;
    assert!(begin.elapsed() >= Duration::from_secs(SOAK), "after {:?}: {end:#?}", begin.elapsed());
    is_collected(home).await;
}

/// The record of a write that hangs stays until it is known what became of it.
async fn keeps_what_hangs(stage: &Stage<'static>, slow: &Slow<'_>) {
    slow.fails_already().await;
    slow.hold();
    let begin = Instant::now();
    let late = write_late(stage.cluster, &slow.home);
    slow.held(3).await;
    set(&slow.home, &[("settle", "2s")]).await;
    reaches(&slow.home, 2, Phase::RollingBack).await;
    tokio::time::sleep_until(begin + Duration::from_secs(18)).await;
    slow.open();
    late.await.unwrap().unwrap();
    slow.is_undone(2).await;
}
