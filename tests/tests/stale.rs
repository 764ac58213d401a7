//! What the watcher has not heard of, or not yet, or not in order: nothing is undone or forgotten for it, and once it
//! hears again every release ends as it should.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod stale {
    mod answers;
    mod blackout;
    mod frozen;
}

use std::{sync::OnceLock, time::Duration};

use backout_model::release::{Phase, ReleaseStatus};
use system_tests::{
    Backout, BackoutOptions, Cluster, demo, eventually, oracle,
    proxy::Proxy,
    stories::{Deployer, Home, Quiet, Snapshot, Stage, Step, good_shop, manifest},
};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// Backout whose watcher is behind a proxy.
struct Arena {
    cluster: &'static Cluster,
    backout: &'static Backout,
    proxy: &'static Proxy,
}

/// The arena of this binary. Only one test at a time has it.
async fn arena() -> (&'static Arena, MutexGuard<'static, ()>) {
    static ALONE: Mutex<()> = Mutex::const_new(());
    static ARENA: OnceCell<Arena> = OnceCell::const_new();
    let alone = ALONE.lock().await;
    let arena = ARENA.get_or_init(build).await;
    // A test before this one may have failed in between.
    arena.proxy.pass();
    arena.proxy.redirect(&arena.cluster.url()).unwrap();
    arena.backout.wait_ready().await.unwrap();
    (arena, alone)
}

async fn build() -> Arena {
    static BACKOUT: OnceLock<Backout> = OnceLock::new();
    static PROXY: OnceLock<Proxy> = OnceLock::new();
    let cluster = Cluster::shared().unwrap();
    let proxy = Proxy::start(cluster, &cluster.url()).await.unwrap();
    let options = BackoutOptions {
        watcher_args: ["--settle", "1s", "--soak", "1s"].map(str::to_owned).to_vec(),
        watcher_server: Some(proxy.url()),
        ..BackoutOptions::default()
    };
    let installed = Backout::install(cluster, options).await.unwrap();
    demo::definitions(cluster).await.unwrap();
    Arena { cluster, backout: BACKOUT.get_or_init(|| installed), proxy: PROXY.get_or_init(|| proxy) }
}

impl Arena {
    /// A stage with names of its own.
    fn stage(&self) -> Stage<'_> {
        let suffix = format!("-{:08x}", rand::random::<u32>());
        Stage { cluster: self.cluster, backout: Some(self.backout), tell: &Quiet, suffix }
    }

    /// The server's own account: nothing was restored but in these namespaces.
    async fn audited(&self, stage: &Stage<'_>, restored: &[&Home<'_>]) {
        let witness = oracle::witness(self.cluster, &["alice"]).await.unwrap();
        let violations: Vec<_> =
            witness.violations.iter().filter(|told| told.contains(&stage.suffix)).collect();
        assert_eq!(violations, Vec::<&String>::new(), "{}", self.cluster.keep_for_inspection());
        let found = witness.restores.keys().filter(|namespace| namespace.ends_with(&stage.suffix));
        let mut wanted: Vec<_> = restored.iter().map(|home| &home.name).collect();
        wanted.sort();
        assert_eq!(found.collect::<Vec<_>>(), wanted, "{:#?}", witness.restores);
    }
}

/// A namespace in which a good version of the shop is healthy, and nothing is left in the log.
async fn healthy<'a>(stage: &'a Stage<'a>, name: &str) -> Home<'a> {
    let home = stage.home(name).await.unwrap();
    Deployer::new(&home).await.unwrap().go(&good_shop(0).unwrap()).await.unwrap();
    ends(&home, 1, Phase::Healthy).await;
    log_is_empty(&home).await;
    home
}

/// A bad version of the shop of which nothing but the deadline tells.
fn never_ready_shop() -> Vec<Step> {
    manifest("shop-v2.yaml", &[("missing:2", "never-ready:2")]).unwrap()
}

/// Waits for the end of a revision, which must be this one.
async fn ends(home: &Home<'_>, revision: u64, phase: Phase) {
    let end = home.end_of(&home.name, revision, PATIENCE).await.unwrap_or_else(|why| panic!("{why:#}"));
    let status = end.status.unwrap_or_default();
    assert_eq!(status.phase, Some(phase), "{}: {status:#?}", home.name);
    assert!(status.unrestored.is_empty() && status.problems.is_empty(), "{}: {status:#?}", home.name);
}

/// Waits until the release is in this phase of this revision.
async fn comes_to(home: &Home<'_>, revision: u64, phase: Phase) {
    eventually(format!("{} is {}", home.name, phase.as_str()), PATIENCE, async || {
        let status = status(home).await;
        Ok((status.revision == revision && status.phase == Some(phase)).then_some(()))
    })
    .await
    .unwrap();
}

async fn status(home: &Home<'_>) -> ReleaseStatus {
    home.release(&home.name).await.unwrap().status.unwrap_or_default()
}

async fn log_is_empty(home: &Home<'_>) {
    eventually(format!("the records of {} are collected", home.name), PATIENCE, async || {
        Ok(home.stage.cluster.record_heads(&home.name).await?.is_empty().then_some(()))
    })
    .await
    .unwrap();
}

async fn annotate(home: &Home<'_>, object: &[&str], annotation: &str) {
    let args = [&["annotate", "--overwrite"], object, &[annotation]].concat();
    home.admin(&args).await.unwrap().success().unwrap();
}

async fn same(home: &Home<'_>, before: &Snapshot) {
    let differences = before.differences(&Snapshot::take(home).await.unwrap(), &["Service/shop"]);
    assert_eq!(differences, [], "{}", home.name);
}

const PATIENCE: Duration = Duration::from_mins(2);
