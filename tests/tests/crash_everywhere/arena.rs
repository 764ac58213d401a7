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

use super::{
    lane::Case,
    point::{Counter, Moment, Point, Site, Start, StartCounter, namespace_of},
};

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
    /// What the watcher asked for since it was started, of no namespace.
    start: StartCounter,
    started: Vec<Start>,
    /// The death of a watcher that is starting, and the namespace that it is for.
    again: Option<(String, Start, Moment)>,
}

#[derive(Default)]
struct Docketed {
    counter: Counter,
    seen: Vec<Point>,
    armed: Vec<Case>,
    verdicts: Vec<Verdict>,
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
const BETWEEN_KILLS: Duration = Duration::from_millis(400);

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
        Stage { cluster: self.cluster, backout: Some(self.backout), tell: &Quiet, suffix }
    }
}

impl Court {
    /// From now on requests that concern this namespace are counted, from one.
    pub(crate) fn arm(&self, namespace: &str, armed: Vec<Case>) {
        let verdicts = vec![Verdict::Unreached; armed.len()];
        let docketed = Docketed { armed, verdicts, ..Docketed::default() };
        self.docket().lanes.insert(namespace.to_owned(), docketed);
    }

    /// Ends the counting; says which requests there were, and what came of what was armed.
    pub(crate) fn disarm(&self, namespace: &str) -> (Vec<Point>, Vec<Verdict>) {
        let mut docket = self.docket();
        let docketed = docket.lanes.remove(namespace).unwrap_or_default();
        docket.again.take_if(|(of, ..)| of == namespace);
        (docketed.seen, docketed.verdicts)
    }

    /// A watcher was started: what it asks for is counted from one.
    pub(crate) fn forget_start(&self) {
        let mut docket = self.docket();
        docket.start = StartCounter::default();
        docket.started.clear();
    }

    /// What the watcher has asked for since it was started, of no namespace.
    pub(crate) fn started(&self) -> Vec<Start> {
        self.docket().started.clone()
    }

    fn judge(&self, site: Site, call: &Call, process: &'static Process) -> Fate {
        let mut docket = self.docket();
        let moment = match namespace_of(site, call, &mut docket.records) {
            Some(namespace) => docket.judge(&namespace, site, call),
            None if site == Site::Watcher => docket.judge_start(call),
            None => None,
        };
        drop(docket);
        let act = Act::new(async move {
            if let Err(error) = process.restart().await {
                eprintln!("{} does not start again: {error:#}", process.name());
            }
        });
        match moment {
            None => Fate::Pass,
            Some(Moment::Before) => Fate::Stop(act),
            Some(Moment::Between) => Fate::Swallow(act),
            Some(Moment::After) => Fate::Then(act),
        }
    }

    fn docket(&self) -> std::sync::MutexGuard<'_, Docket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Docket {
    /// Counts a request of one namespace. The moment of a death, if it is to be one's last.
    fn judge(&mut self, namespace: &str, site: Site, call: &Call) -> Option<Moment> {
        let lane = self.lanes.get_mut(namespace)?;
        let point = lane.counter.count(site, call);
        lane.seen.push(point.clone());
        let armed = lane.armed.iter().zip(&lane.verdicts);
        let is_due =
            |(case, verdict): (&Case, &Verdict)| *verdict == Verdict::Unreached && case.point == point;
        let index = armed.into_iter().position(is_due)?;
        if self.killed.is_some_and(|killed| killed.elapsed() < BETWEEN_KILLS) || self.again.is_some() {
            lane.verdicts[index] = Verdict::TooSoon;
            return None;
        }
        let case = &lane.armed[index];
        match &case.again {
            None => lane.verdicts[index] = Verdict::Killed,
            Some((start, moment)) => self.again = Some((namespace.to_owned(), start.clone(), *moment)),
        }
        let moment = case.moment;
        self.kill(site);
        Some(moment)
    }

    /// Counts a request of none.
    fn judge_start(&mut self, call: &Call) -> Option<Moment> {
        let start = self.start.count(call);
        self.started.push(start.clone());
        let (namespace, _, moment) = self.again.take_if(|(_, wanted, _)| *wanted == start)?;
        if let Some(lane) = self.lanes.get_mut(&namespace) {
            let cases = lane.armed.iter().zip(&mut lane.verdicts);
            cases
                .filter(|(case, _)| case.again.is_some())
                .for_each(|(_, verdict)| *verdict = Verdict::Killed);
        }
        self.kill(Site::Watcher);
        Some(moment)
    }

    fn kill(&mut self, site: Site) {
        self.killed = Some(Instant::now());
        if site == Site::Watcher {
            self.start = StartCounter::default();
            self.started.clear();
        }
    }
}
