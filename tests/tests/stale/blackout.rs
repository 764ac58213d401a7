//! For minutes the watcher hears nothing: events are held back, dropped, merged by a re-list, and one is wrong.

use std::{collections::HashSet, time::Duration};

use backout_model::{names, release::Phase};
use kube::ResourceExt;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use system_tests::{
    proxy::{Call, Change, Event, Fate, Gate, Proxy, Tap, expired},
    stories::{Deployer, Home, Snapshot, Stage, bad_shop, good_shop, manifest},
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::super::{
    PATIENCE, annotate, arena, comes_to, ends, healthy, log_is_empty, never_ready_shop, same, status,
};

/// Longer than a record without a Release is kept for one to come.
const BLACKOUT: Duration = Duration::from_secs(140);
/// From the end of the blackout to the first complete list.
const RELIST: Duration = Duration::from_secs(8);

#[tokio::test]
async fn what_the_watcher_does_not_hear_for_minutes_is_neither_undone_nor_forgotten() {
    let (arena, _alone) = arena().await;
    let stage = arena.stage();
    let scene = Box::pin(Scene::before(&stage)).await;
    let begin = Instant::now();
    let silence = Silence::fall(arena.proxy, &scene.lost).await;
    let told = scene.meanwhile().await;
    // Nobody has heard of these, and nobody has done anything about them.
    sleep_until(begin + BLACKOUT).await;
    assert_eq!(status(&scene.late).await.revision, 1, "the blackout is none");
    assert_eq!(records(&scene.new).await, told.new, "records of a release that is still to come");
    assert_eq!(records(&scene.lost).await, told.lost, "records of a release that only seems to be gone");

    silence.end().await;
    ends(&scene.late, 2, Phase::RolledBack).await;
    same(&scene.late, &told.late).await;
    ends(&scene.new, 1, Phase::Healthy).await;
    ends(&scene.replaced, 1, Phase::RolledBack).await;
    same(&scene.replaced, &told.replaced).await;
    for home in [&scene.late, &scene.new, &scene.replaced] {
        log_is_empty(home).await;
    }
    comes_to(&scene.suspended, 2, Phase::Notified).await;
    same(&scene.suspended, &told.suspended).await;
    assert_eq!(status(&scene.lost).await.phase, Some(Phase::Held));
    same(&scene.lost, &told.lost_state).await;
    assert_eq!(records(&scene.lost).await, told.lost);
    arena.audited(&stage, &[&scene.late, &scene.replaced]).await;
}

/// Namespaces, each with something that goes on while nobody hears.
struct Scene<'a> {
    /// A bad upgrade.
    late: Home<'a>,
    /// Opts in, and gets its first release.
    new: Home<'a>,
    /// Its bad upgrade is under way; then its releases are to be left alone.
    suspended: Home<'a>,
    /// Its held Release is deleted, which commits what it holds, and one of the same name made; then a bad upgrade.
    replaced: Home<'a>,
    /// Its held Release is said to be deleted, which is not so.
    lost: Home<'a>,
}

/// What there was when the scene was set.
struct Told {
    late: Snapshot,
    new: HashSet<String>,
    suspended: Snapshot,
    replaced: Snapshot,
    lost: HashSet<String>,
    lost_state: Snapshot,
}

impl<'a> Scene<'a> {
    async fn before(stage: &'a Stage<'a>) -> Self {
        let held = async |name: &str| {
            let home = healthy(stage, name).await;
            annotate(&home, &["namespace", &home.name], "backout.dev/on-upgrade-failure=Hold").await;
            annotate(&home, &["namespace", &home.name], "backout.dev/deadline=2s").await;
            deploy_bad(&home).await;
            ends(&home, 2, Phase::Held).await;
            home
        };
        let suspended = async {
            let home = healthy(stage, "suspended").await;
            // It passes in the blackout, and not before that.
            annotate(&home, &["namespace", &home.name], "backout.dev/deadline=60s").await;
            home
        };
        let (late, new, suspended, replaced, lost) = tokio::join!(
            healthy(stage, "late"),
            stage.bystander("new"),
            suspended,
            held("replaced"),
            held("lost")
        );
        Deployer::new(&suspended).await.unwrap().go(&never_ready_shop()).await.unwrap();
        comes_to(&suspended, 2, Phase::Progressing).await;
        Self { late, new: new.unwrap(), suspended, replaced, lost }
    }

    async fn meanwhile(&self) -> Told {
        annotate(&self.suspended, &["namespace", &self.suspended.name], "backout.dev/suspend=true").await;
        self.replace_release().await;
        let opt_in = format!("{}={}", names::ATOMIC, names::ATOMIC_ENABLED);
        self.new.admin(&["label", "namespace", &self.new.name, &opt_in]).await.unwrap().success().unwrap();
        // Any write will do to see whether the API server knows of it.
        deploy(&self.new, 0).await;
        let told = Told {
            late: Snapshot::take(&self.late).await.unwrap(),
            new: records(&self.new).await,
            suspended: Snapshot::take(&self.suspended).await.unwrap(),
            replaced: Snapshot::take(&self.replaced).await.unwrap(),
            lost: records(&self.lost).await,
            lost_state: Snapshot::take(&self.lost).await.unwrap(),
        };
        assert!(!told.new.is_empty() && !told.lost.is_empty());
        deploy_bad(&self.late).await;
        // Another bad image on top of the one that is committed now.
        let again =
            manifest("shop-v2.yaml", &[("missing:2", "missing:3"), ("good morning", "again")]).unwrap();
        Deployer::new(&self.replaced).await.unwrap().go(&again).await.unwrap();
        told
    }

    async fn replace_release(&self) {
        let home = &self.replaced;
        home.admin(&["delete", "release", &home.name]).await.unwrap().success().unwrap();
        let release =
            json!({"apiVersion": API, "kind": "Release", "metadata": {"name": home.name}, "spec": {}})
                .to_string();
        let kubectl = home.stage.cluster.kubectl().stdin(&release);
        kubectl.run(&["create", "-n", &home.name, "-f", "-"]).await.unwrap().success().unwrap();
        annotate(home, &["namespace", &home.name], "backout.dev/on-upgrade-failure=Rollback").await;
    }
}

const API: &str = "backout.dev/v1alpha1";

/// What the watcher follows.
const WATCHED: [&str; 3] = ["secrets", "releases", "namespaces"];

/// What becomes of the events of a kind while nothing is heard.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loss {
    /// They come when all is over.
    Held,
    /// They never come. The watch has expired by the end, and the list that replaces them takes its time.
    Dropped,
}

/// The watcher hears nothing.
struct Silence {
    over: Gate,
    relist: Gate,
}

impl Silence {
    /// One event comes, and it is wrong: the Release of `lost` is said to be deleted.
    async fn fall(proxy: &Proxy, lost: &Home<'_>) -> Self {
        let mut random = StdRng::seed_from_u64(seed());
        let losses = WATCHED.map(|kind| (kind, if random.random() { Loss::Held } else { Loss::Dropped }));
        println!("{losses:?}");
        let (over, relist, lied) = (Gate::closed(), Gate::closed(), Gate::closed());
        let silence = Self { over: over.clone(), relist: relist.clone() };
        let (name, liar) = (lost.name.clone(), lied.clone());
        proxy.rule(move |call| {
            let resource = call.resource();
            let Some((_, treatment)) = losses.iter().find(|(kind, _)| *kind == resource).copied() else {
                return Fate::Pass;
            };
            match call.verb() {
                "watch" if !over.is_open() => {
                    let (name, liar, held) = (name.clone(), liar.clone(), over.clone());
                    let tap = Tap::new(move |event| {
                        if event.object["kind"] != "Namespace"
                            && event.meta("name") == name
                            && !liar.is_open()
                        {
                            liar.open();
                            return Change::Replace(vec![Event {
                                kind: "DELETED".to_owned(),
                                ..event.clone()
                            }]);
                        }
                        if treatment == Loss::Held { Change::Hold(held.clone()) } else { Change::Drop }
                    });
                    Fate::Tap(if treatment == Loss::Held { tap } else { tap.until(&over, vec![expired()]) })
                }
                // Others are looks at a single release.
                "list" if is_for_the_cache(call) => Fate::Hold(relist.clone()),
                _ => Fate::Pass,
            }
        });
        // The watches that there are were not tapped.
        proxy.cut();
        annotate(lost, &["release", &lost.name], "poke=1").await;
        timeout(PATIENCE, lied.passed()).await.unwrap();
        silence
    }

    async fn end(self) {
        self.over.open();
        sleep(RELIST).await;
        self.relist.open();
    }
}

fn is_for_the_cache(call: &Call) -> bool {
    match call.resource().as_str() {
        "secrets" => !call.query.contains("release-namespace"),
        _ => call.namespace().is_none(),
    }
}

fn seed() -> u64 {
    let seed = std::env::var("BACKOUT_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("BACKOUT_SEED={seed}");
    seed
}

async fn deploy(home: &Home<'_>, number: usize) {
    Deployer::new(home).await.unwrap().go(&good_shop(number).unwrap()).await.unwrap();
}

async fn deploy_bad(home: &Home<'_>) {
    Deployer::new(home).await.unwrap().go(&bad_shop().unwrap()).await.unwrap();
}

async fn records(home: &Home<'_>) -> HashSet<String> {
    let heads = home.stage.cluster.record_heads(&home.name).await.unwrap();
    heads.iter().map(ResourceExt::name_any).collect()
}
