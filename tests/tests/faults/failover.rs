//! Two watchers and a Lease: one works, and the other takes over where it dies, leaves, or is not heard of any more.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use backout_model::{lease, release::Phase};
use jiff::SignedDuration;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use system_tests::{
    Backout, BackoutOptions, Cluster, Options, Process, User, backout, eventually,
    stories::{Home, Snapshot, Stage},
};
use tokio::{
    sync::{Mutex, MutexGuard, OnceCell},
    time::timeout,
};

use super::{
    super::{PATIENCE, goes_back, is_clean, on, prepare, reaches},
    deployer::{Deployer, healthy},
};

/// From the death of the one to the work of the other.
const FAIL_OVER: SignedDuration = SignedDuration::from_secs(20);
const MAPS: usize = 20;

struct Pair {
    stage: Stage<'static>,
    second: &'static (Process, SocketAddr),
    _alone: MutexGuard<'static, ()>,
}

/// Two watchers that run, for one test at a time.
async fn pair() -> Pair {
    static ALONE: Mutex<()> = Mutex::const_new(());
    static GROUND: OnceCell<(Cluster, Backout, (Process, SocketAddr))> = OnceCell::const_new();
    let start = async || {
        let cluster = Cluster::start(Options::default()).await?;
        let options = BackoutOptions { leader_elect: true, ..BackoutOptions::default() };
        let backout = Backout::install(&cluster, options).await?;
        prepare(&cluster).await?;
        let second = backout.another_watcher(&cluster, "watcher-second").await?;
        anyhow::Ok((cluster, backout, second))
    };
    let alone = ALONE.lock().await;
    let (cluster, backout, second) = GROUND.get_or_try_init(start).await.unwrap();
    let pair = Pair { stage: on(cluster, backout), second, _alone: alone };
    for process in pair.processes() {
        if process.exit().is_some() {
            process.restart().await.unwrap();
        }
    }
    pair.one_leads([true, true]).await;
    pair
}

impl Pair {
    fn processes(&self) -> [&'static Process; 2] {
        [self.stage.backout().watcher(), &self.second.0]
    }

    /// What each says of itself; nothing where it does not answer.
    async fn leads(&self) -> [Option<bool>; 2] {
        let first = says(self.stage.backout().watcher_metrics());
        let (first, second) = tokio::join!(first, says(backout::scrape_metrics(self.second.1)));
        [first, second]
    }

    /// Waits until just one of these leads; which.
    async fn one_leads(&self, among: [bool; 2]) -> usize {
        eventually("one leads", PATIENCE, async || {
            let leads = self.leads().await;
            let leading: Vec<_> = (0..2).filter(|at| among[*at] && leads[*at] == Some(true)).collect();
            let answer = (0..2).all(|at| !among[at] || leads[at].is_some());
            Ok(if answer && leading.len() == 1 { leading.first().copied() } else { None })
        })
        .await
        .unwrap()
    }

    /// A bad upgrade that is being judged; and what was there before.
    async fn bad_upgrade(&self, name: &str) -> (Home<'_>, Snapshot) {
        let home = self.stage.home(name).await.unwrap();
        let before = healthy(&home, MAPS).await;
        let deployer = Deployer::of(&home).await;
        deployer.maps(MAPS, "second").await.unwrap();
        deployer.web("missing").await.unwrap();
        reaches(&home, 2, Phase::Progressing).await;
        (home, before)
    }

    /// The Lease as it is now.
    async fn lease(&self) -> LeaseSpec {
        let client = self.stage.cluster.client(User::Admin).await.unwrap();
        let leases: Api<Lease> = Api::namespaced(client, backout::NAMESPACE);
        leases.get(lease::NAME).await.unwrap().spec.unwrap()
    }

    /// While a bad upgrade is judged this is done to the watcher that leads, and the other one takes over.
    async fn take_over(&self, what: &str, done: impl AsyncFnOnce(&Process) -> Result<()>) -> TakeOver<'_> {
        let (home, before) = self.bad_upgrade(what).await;
        let led = self.one_leads([true, true]).await;
        done(self.processes()[led]).await.unwrap();
        let left = self.lease().await;
        let mut among = [true, true];
        among[led] = false;
        assert_eq!(self.one_leads(among).await, 1 - led);
        // By the Lease itself: this test may be kept waiting.
        let taken = self.lease().await;
        assert_eq!(taken.holder_identity.as_deref(), Some(self.processes()[1 - led].name()));
        let took = taken.acquire_time.unwrap().0.duration_since(left.renew_time.unwrap().0);
        println!("{what}: the other one leads after {:.1} s", took.as_secs_f64());
        TakeOver { home, before, led, took }
    }
}

struct TakeOver<'a> {
    home: Home<'a>,
    before: Snapshot,
    /// Which one had led.
    led: usize,
    /// From the last word of that one to the first of the other.
    took: SignedDuration,
}

async fn says(scrape: impl Future<Output = Result<backout::Metrics>>) -> Option<bool> {
    let metrics = timeout(Duration::from_secs(1), scrape).await.ok()?.ok()?;
    Some(metrics.sum("backout_watcher_leader", &[]) > 0.0)
}

#[tokio::test]
async fn where_the_watcher_that_leads_is_killed_the_other_one_ends_what_it_had_begun() {
    let pair = pair().await;
    let TakeOver { home, before, took, .. } = pair.take_over("killed", Process::kill9).await;
    assert!(took < FAIL_OVER, "{took:?}");
    goes_back(&home, &before, &[]).await;
}

#[tokio::test]
async fn a_watcher_that_is_asked_to_end_gives_the_lease_back() {
    let pair = pair().await;
    let end = async |leader: &Process| {
        leader.terminate().await?;
        let holder = pair.lease().await.holder_identity;
        assert_ne!(holder.as_deref(), Some(leader.name()), "the other one has to wait until it runs out");
        Ok(())
    };
    let TakeOver { home, before, .. } = pair.take_over("ended", end).await;
    goes_back(&home, &before, &[]).await;
}

#[tokio::test]
async fn a_watcher_that_was_not_heard_of_finds_another_one_in_its_place_and_rests() {
    let pair = pair().await;
    let paused = pair.take_over("paused", async |leader| leader.pause()).await;
    let TakeOver { home, before, led, took } = paused;
    assert!(took < FAIL_OVER, "{took:?}");
    goes_back(&home, &before, &[]).await;

    pair.processes()[led].resume().unwrap();
    assert_eq!(pair.one_leads([true, true]).await, 1 - led);
    assert_eq!(pair.processes()[led].exit(), None);
    let holder = pair.lease().await.holder_identity;
    assert_eq!(holder.as_deref(), Some(pair.processes()[1 - led].name()));
    is_clean(&home).await;
}
