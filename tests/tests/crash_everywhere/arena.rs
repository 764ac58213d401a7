//! Backout between three proxies, and the one who decides which request is somebody's last.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use system_tests::{
    Backout, BackoutOptions, Cluster, Process,
    cluster::free_port,
    demo,
    proxy::{Act, Call, Fate, Proxy},
    stories::{Quiet, Stage},
};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::point::{Counter, Moment, Point, Site, namespace_of};

/// Backout, whose every request the court judges.
pub(crate) struct Arena {
    pub(crate) cluster: &'static Cluster,
    pub(crate) backout: &'static Backout,
    pub(crate) court: Court,
}

/// Shared by the rules of the proxies.
#[derive(Clone)]
pub(crate) struct Court(Arc<std::sync::Mutex<Docket>>);

#[derive(Default)]
struct Docket {
    lanes: HashMap<String, Docketed>,
    /// By name, the namespace of the release.
    records: HashMap<String, String>,
    /// When the last process was killed.
    killed: Option<Instant>,
}

#[derive(Default)]
struct Docketed {
    counter: Counter,
    seen: Vec<Point>,
    armed: Option<(Point, Moment)>,
    verdict: Verdict,
}

/// What came of an armed point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The request was not made.
    #[default]
    Unreached,
    /// It was, too soon after the last kill.
    TooSoon,
    /// The process was killed there.
    Killed,
}

/// A process that is only just starting has nothing to lose.
const BETWEEN_KILLS: Duration = Duration::from_millis(700);

/// The arena of this binary. Only one test at a time has it.
pub(crate) async fn arena() -> (&'static Arena, MutexGuard<'static, ()>) {
    static ALONE: Mutex<()> = Mutex::const_new(());
    static ARENA: OnceCell<Arena> = OnceCell::const_new();
    let alone = ALONE.lock().await;
    let arena = ARENA.get_or_init(build).await;
    for process in [arena.backout.webhook(), arena.backout.watcher()] {
        // A test before this one may have failed in between.
        if process.exit().is_some() {
            process.restart().await.unwrap();
        }
    }
    arena.backout.wait_ready().await.unwrap();
    (arena, alone)
}

async fn build() -> Arena {
    static BACKOUT: OnceLock<Backout> = OnceLock::new();
    static PROXIES: OnceLock<[Proxy; 3]> = OnceLock::new();
    let cluster = Cluster::shared().unwrap();
    let port = free_port().unwrap();
    let proxies = [cluster.url(), cluster.url(), format!("https://127.0.0.1:{port}")];
    let mut started = Vec::new();
    for server in &proxies {
        started.push(Proxy::start(cluster, server).await.unwrap());
    }
    let [watcher, webhook, review] = PROXIES.get_or_init(|| started.try_into().ok().unwrap());
    let options = BackoutOptions {
        watcher_args: ["--settle", "500ms", "--soak", "1s"].map(str::to_owned).to_vec(),
        watcher_server: Some(watcher.url()),
        webhook_server: Some(webhook.url()),
        webhook_port: Some(port),
        webhook_called_at: Some(review.port()),
        ..BackoutOptions::default()
    };
    let installed = Backout::install(cluster, options).await.unwrap();
    let backout = BACKOUT.get_or_init(|| installed);
    demo::definitions(cluster).await.unwrap();
    let court = Court(Arc::default());
    for (proxy, site) in [(watcher, Site::Watcher), (webhook, Site::Webhook), (review, Site::Review)] {
        let (court, process) =
            (court.clone(), if site == Site::Watcher { backout.watcher() } else { backout.webhook() });
        proxy.rule(move |call| court.judge(site, call, process));
    }
    Arena { cluster, backout, court }
}

impl Arena {
    /// A stage with names of its own.
    pub(crate) fn stage(&self) -> Stage<'_> {
        let suffix = format!("-{:08x}", rand::random::<u32>());
        Stage { cluster: self.cluster, backout: self.backout, tell: &Quiet, suffix }
    }
}

impl Court {
    /// From now on requests that concern this namespace are counted, from one.
    pub(crate) fn arm(&self, namespace: &str, armed: Option<(Point, Moment)>) {
        self.docket().lanes.insert(namespace.to_owned(), Docketed { armed, ..Docketed::default() });
    }

    /// Ends the counting; says what came of it, and which requests there were.
    pub(crate) fn disarm(&self, namespace: &str) -> (Verdict, Vec<Point>) {
        let docketed = self.docket().lanes.remove(namespace).unwrap_or_default();
        (docketed.verdict, docketed.seen)
    }

    fn judge(&self, site: Site, call: &Call, process: &'static Process) -> Fate {
        let mut docket = self.docket();
        let Docket { lanes, records, killed } = &mut *docket;
        let Some(lane) = namespace_of(site, call, records).and_then(|namespace| lanes.get_mut(&namespace))
        else {
            return Fate::Pass;
        };
        let point = lane.counter.count(site, call);
        lane.seen.push(point.clone());
        let Some((_, moment)) = lane.armed.take_if(|(armed, _)| *armed == point) else {
            return Fate::Pass;
        };
        if killed.is_some_and(|killed| killed.elapsed() < BETWEEN_KILLS) {
            lane.verdict = Verdict::TooSoon;
            return Fate::Pass;
        }
        lane.verdict = Verdict::Killed;
        *killed = Some(Instant::now());
        drop(docket);
        let act = Act::new(async move {
            if let Err(error) = process.restart().await {
                eprintln!("{} does not start again: {error:#}", process.name());
            }
        });
        match moment {
            Moment::Before => Fate::Stop(act),
            Moment::Between => Fate::Swallow(act),
            Moment::After => Fate::Then(act),
        }
    }

    fn docket(&self) -> std::sync::MutexGuard<'_, Docket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
