//! For minutes the watcher hears nothing: events are held back, dropped, merged by a re-list, and one is wrong.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use backout_model::{names, release::Phase};
use kube::ResourceExt;
use serde_json::json;
use system_tests::{
    proxy::{Change, Event, Fate, Gate, Tap, expired},
    stories::{Deployer, Home, Snapshot, Stage, bad_shop, good_shop, manifest},
};
use tokio::time::{Instant, sleep_until};

use super::super::{annotate, arena, comes_to, ends, healthy, log_is_empty, same, status};

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
    let silence = Silence::fall(arena.proxy, &scene.lost.name);
    let told = scene.meanwhile().await;
    // Nobody has heard of these, and nobody has done anything about them.
    sleep_until(begin + BLACKOUT).await;
    assert_eq!(status(&scene.late).await.revision, 1, "the blackout is none");
    assert_eq!(records(&scene.new).await, told.new, "records of a release that is still to come");
    assert_eq!(records(&scene.lost).await, told.lost, "records of a release that only seems to be gone");

    silence.end(&scene).await;
    ends(&scene.late, 2, Phase::RolledBack).await;
    same(&scene.late, &told.late).await;
    ends(&scene.new, 1, Phase::Healthy).await;
    ends(&scene.replaced, 1, Phase::RolledBack).await;
    same(&scene.replaced, &told.replaced).await;
    for home in [&scene.late, &scene.new, &scene.replaced] {
        log_is_empty(home).await;
    }
    assert_eq!(
        status(&scene.suspended).await.phase,
        Some(Phase::Notified),
        "{:#?}",
        status(&scene.suspended).await
    );
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
            annotate(&home, &["namespace", &home.name], "backout.dev/deadline=12s").await;
            home
        };
        let (late, new, suspended, replaced, lost) = tokio::join!(
            healthy(stage, "late"),
            stage.bystander("new"),
            suspended,
            held("replaced"),
            held("lost")
        );
        deploy_bad(&suspended).await;
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

/// The watcher hears nothing.
struct Silence {
    records: Gate,
    over: Arc<AtomicBool>,
    relist: Gate,
}

impl Silence {
    /// Events of records are held back. Those of Releases and namespaces are dropped, but for one that is wrong: the
    /// Release of `lost` is said to be deleted.
    fn fall(proxy: &system_tests::proxy::Proxy, lost: &str) -> Self {
        let silence = Self { records: Gate::closed(), over: Arc::default(), relist: Gate::closed() };
        let (records, over, relist) =
            (silence.records.clone(), Arc::clone(&silence.over), silence.relist.clone());
        let lost = lost.to_owned();
        proxy.rule(move |call| match (call.verb(), call.resource().as_str()) {
            ("watch", "secrets") => Fate::Tap(Tap::held(&records)),
            ("watch", "releases" | "namespaces") => {
                let (over, lost) = (Arc::clone(&over), lost.clone());
                Fate::Tap(Tap::new(move |event| {
                    if over.load(Ordering::SeqCst) {
                        Change::End(vec![expired()])
                    } else if event.kind == "MODIFIED"
                        && event.object["kind"] != "Namespace"
                        && event.meta("name") == lost
                    {
                        Change::Replace(vec![Event { kind: "DELETED".to_owned(), ..event.clone() }])
                    } else {
                        Change::Drop
                    }
                }))
            }
            // Those of one namespace are looks at a release.
            ("list", "releases" | "namespaces") if call.namespace().is_none() => Fate::Hold(relist.clone()),
            _ => Fate::Pass,
        });
        // The watches that there are were not tapped.
        proxy.cut();
        silence
    }

    /// What was held back comes now; what was dropped is gone, and has to be listed, which takes a while.
    async fn end(self, scene: &Scene<'_>) {
        self.over.store(true, Ordering::SeqCst);
        self.records.open();
        // The next event of each watch says that it has expired.
        annotate(&scene.new, &["namespace", &scene.new.name], "poke=1").await;
        annotate(&scene.lost, &["release", &scene.lost.name], "poke=2").await;
        tokio::time::sleep(RELIST).await;
        self.relist.open();
    }
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
