//! The API server and the database killed at the worst moments: everybody waits, and nothing is lost or undone for it.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use backout_model::release::{Phase, ReleaseStatus};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use system_tests::{
    Backout, BackoutOptions, Cluster, Options, TestNamespace, User, eventually, oracle,
    proxy::{Act, Fate, Proxy},
    stories::{Home, Snapshot, Stage},
};
use tokio::{
    sync::{Mutex, MutexGuard, OnceCell, oneshot},
    time::{Instant, sleep, timeout},
};

use super::{
    super::{
        PATIENCE, ends, goes_back, is_as_before, is_clean, is_clean_but_for, is_collected, on, prepare,
        reaches, set, status, trails_of,
    },
    deployer::{Deployer, healthy, map_name},
    late::{Slow, write_late},
    policy::{forget_policy, policy},
    route::home_through,
};

/// A cluster that may be killed in parts: only one test at a time has it.
async fn stage() -> (Stage<'static>, MutexGuard<'static, ()>) {
    static ALONE: Mutex<()> = Mutex::const_new(());
    static GROUND: OnceCell<(Cluster, Backout)> = OnceCell::const_new();
    let alone = ALONE.lock().await;
    let start = async || {
        let cluster = Cluster::start(Options::default()).await?;
        let backout = Backout::install(&cluster, BackoutOptions::default()).await?;
        prepare(&cluster).await?;
        anyhow::Ok((cluster, backout))
    };
    let (cluster, backout) = GROUND.get_or_try_init(start).await.unwrap();
    for process in [cluster.etcd(), cluster.apiserver()] {
        // A test before this one may have failed in between.
        if process.exit().is_some() {
            process.restart().await.unwrap();
        }
    }
    cluster.wait_ready().await.unwrap();
    backout.wait_ready().await.unwrap();
    // After an outage they come back one by one, each after a pause of its own.
    let controllers = async || TestNamespace::new(cluster, "the controllers work").await.map(Some);
    eventually("the controllers work", PATIENCE, controllers).await.unwrap();
    (on(cluster, backout), alone)
}

/// An outage is one from this on: what is shorter may count as seen.
const OUTAGE: Duration = Duration::from_secs(34);
const MAPS: usize = 150;
/// The last of these is not to be restored: until this is forgotten the rollback goes on.
const FORBIDS_THE_END: &str =
    "object.metadata.name != 'map-149' || !has(object.data) || object.data.value != 'ready:1'";
/// What is left of a deadline and of a soak when the outage begins, in seconds.
const LEFT: i64 = 20;

#[tokio::test]
async fn half_a_minute_without_an_api_server_stops_the_clocks_and_nothing_else() {
    let (stage, _alone) = stage().await;
    let [progressing, soaking, rolling] = ["progressing", "soaking", "rolling"].map(|name| stage.home(name));
    let (progressing, soaking, rolling) = tokio::try_join!(progressing, soaking, rolling).unwrap();
    let shop = stage.home("shop").await.unwrap();
    set(&shop, &[("settle", "2s"), ("soak", "1s")]).await;
    shop.kubectl(&["apply", "-f", "./shop-v1.yaml"]).await.unwrap().success().unwrap();
    let befores = tokio::join!(healthy(&progressing, 3), healthy(&soaking, 3), healthy(&rolling, MAPS));
    ends(&shop, 1, Phase::Healthy).await;
    let before_shop = Snapshot::take(&shop).await.unwrap();
    let (webhook, watcher) = (stage.backout().webhook(), stage.backout().watcher());
    let pids = (webhook.pid(), watcher.pid());

    set(&soaking, &[("soak", "10m")]).await;
    upgrade(&progressing, "never-ready", 3).await;
    upgrade(&soaking, "ready:2", 3).await;
    tokio::join!(reaches(&progressing, 2, Phase::Progressing), reaches(&soaking, 2, Phase::Soaking));
    policy(&rolling, FORBIDS_THE_END).await;
    // Its verdict takes a quarter of a minute.
    upgrade(&rolling, "missing", MAPS).await;
    shop.kubectl(&["apply", "-f", "./shop-v2.yaml"]).await.unwrap().success().unwrap();
    shop.kubectl(&["delete", "service/shop"]).await.unwrap().success().unwrap();
    reaches(&rolling, 2, Phase::RollingBack).await;
    // What is left of both is less than the outage lasts.
    let deadline = ends_soon(&progressing, "deadline", |status| status.sealed_at.as_ref()).await;
    let soak = ends_soon(&soaking, "soak", |status| status.ready_since.as_ref()).await;
    first_is_back(&rolling).await;
    let seen = [status(&progressing).await.phase, status(&soaking).await.phase];
    let killed = Timestamp::now();
    stage.cluster.apiserver().kill9().await.unwrap();
    assert_eq!(seen, [Some(Phase::Progressing), Some(Phase::Soaking)]);
    sleep(OUTAGE).await;
    stage.cluster.apiserver().restart().await.unwrap();
    let restarted = Timestamp::now();
    stage.cluster.wait_ready().await.unwrap();
    forget_policy(&rolling).await;

    let rolled_back = ends(&rolling, 2, Phase::RolledBack).await;
    let restores = restores(&stage, &rolling).await;
    assert!(restores.iter().any(|at| *at < killed), "killed before the rollback: {killed} {restores:?}");
    assert!(restores.iter().any(|at| *at > restarted), "killed after the rollback: {restarted} {restores:?}");
    assert!(rolled_back.unrestored.is_empty(), "{rolled_back:#?}");
    is_as_before(&rolling, &befores.2, &[]).await;
    reaches(&shop, 2, Phase::RolledBack).await;
    is_as_before(&shop, &before_shop, &["Service/shop"]).await;

    let outage = restarted.duration_since(killed).as_secs();
    let committed = ends(&soaking, 2, Phase::Healthy).await;
    let soaked = committed_after(&committed);
    // Stored times have whole seconds.
    assert!(soaked >= soak + outage - 2, "soaked for {soaked} s, of which {outage} s unseen: {committed:#?}");

    let failed = ends(&progressing, 2, Phase::RolledBack).await;
    let waited = seconds(failed.sealed_at.as_ref(), failed.decided_at.as_ref());
    assert!(
        waited >= deadline + outage - 2,
        "failed after {waited} s, of which {outage} s unseen: {failed:#?}"
    );
    assert!(waited <= deadline + outage + 60, "failed only after {waited} s: {failed:#?}");
    assert_eq!(failed.failure.as_ref().map(|failure| failure.reason.as_str()), Some("NotReadyInTime"));
    is_as_before(&progressing, &befores.0, &[]).await;
    for home in [&progressing, &soaking, &rolling, &shop] {
        is_clean(home).await;
    }
    assert_eq!((webhook.exit(), watcher.exit()), (None, None));
    assert_eq!((webhook.pid(), watcher.pid()), pids);
}

#[tokio::test]
async fn objects_that_were_written_longer_ago_than_the_database_remembers_go_back_all_the_same() {
    let (stage, _alone) = stage().await;
    let home = stage.home("old").await.unwrap();
    let before = healthy(&home, 3).await;
    // As each API server does every five minutes.
    stage.cluster.forget_history().await.unwrap();
    let deployer = Deployer::of(&home).await;
    upgrade(&home, "missing", 2).await;
    deployer.delete_map(&map_name(2)).await.unwrap();
    goes_back(&home, &before, &[&format!("ConfigMap/{}", map_name(2))]).await;
}

#[tokio::test]
async fn a_database_killed_amid_writes_and_a_rollback_loses_no_write_and_no_record() {
    let (stage, _alone) = stage().await;
    let (rolling, written) = tokio::try_join!(stage.home("rolling"), stage.home("written")).unwrap();
    let (before_rolling, before_written) = tokio::join!(healthy(&rolling, MAPS), healthy(&written, WRITERS));
    set(&written, &[("settle", "10m")]).await;
    policy(&rolling, FORBIDS_THE_END).await;
    upgrade(&rolling, "missing", MAPS).await;
    first_is_back(&rolling).await;

    let writers = Writers::default();
    let kill = async {
        sleep(Duration::from_millis(100)).await;
        let killed = Timestamp::now();
        stage.cluster.etcd().kill9().await.unwrap();
        sleep(Duration::from_secs(1)).await;
        stage.cluster.etcd().restart().await.unwrap();
        let restarted = Timestamp::now();
        (killed, restarted)
    };
    let ((), (killed, restarted)) = tokio::join!(writers.write(&written, 20), kill);
    assert!(writers.met.load(Ordering::Relaxed) > 0, "no write met the outage");
    forget_policy(&rolling).await;

    ends(&rolling, 2, Phase::RolledBack).await;
    let restores = restores(&stage, &rolling).await;
    assert!(restores.iter().any(|at| *at < killed), "killed before the rollback: {killed} {restores:?}");
    assert!(restores.iter().any(|at| *at > restarted), "killed after the rollback: {restarted} {restores:?}");
    is_as_before(&rolling, &before_rolling, &[]).await;
    writers.lost_nothing(&written).await;
    fails_and_goes_back(&written, &before_written).await;
    for home in [&rolling, &written] {
        is_clean(home).await;
    }
}

#[tokio::test]
async fn an_api_server_killed_between_the_webhooks_answer_and_the_commit_leaves_no_hole_in_the_log() {
    let (stage, _alone) = stage().await;
    let webhook = format!("https://127.0.0.1:{}", stage.backout().webhook_port());
    let proxy = Proxy::start(stage.cluster, &webhook).await.unwrap();
    let answered = home_through(&stage, "answered", &[(&proxy, "true")], 30).await;
    let home = stage.home("written").await.unwrap();
    let hangs = Slow::home(&stage, "hangs");
    let (before, before_answered, hangs) =
        tokio::join!(healthy(&home, WRITERS), healthy(&answered, 2), hangs);
    for home in [&home, &answered] {
        set(home, &[("settle", "10m")]).await;
    }
    // These have their answer when it dies, and are never stored.
    hangs.hold();
    let never = write_late(stage.cluster, &hangs.home);
    hangs.held(3).await;

    let writers = Writers::default();
    let mut told = Vec::new();
    for round in 0..3 {
        let kill = async {
            sleep(Duration::from_millis(rand::random_range(100..400))).await;
            let server = stage.cluster.apiserver();
            let (killed, done) = oneshot::channel();
            // It dies before the commit, or after it and before anybody is told; and only once.
            let mut kill = Some(Act::new(async move {
                sleep(Duration::from_millis(round * 8)).await;
                server.kill9().await.unwrap();
                let _ = killed.send(());
            }));
            proxy.rule(move |_| kill.take().map_or(Fate::Pass, Fate::Then));
            let deployer = Deployer::of(&answered).await;
            // The last one changes what was there.
            let (name, value) = (if round == 2 { map_name(0) } else { format!("new-{round}") }, "killed");
            let write = timeout(Duration::from_secs(10), deployer.try_map(&name, value)).await;
            proxy.pass();
            // An error says that there was no call to kill it at.
            let _ = done.await;
            server.restart().await.unwrap();
            (name, matches!(write, Ok(Ok(_))))
        };
        told.push(tokio::join!(writers.write(&home, 10), kill).1);
    }
    stage.cluster.wait_ready().await.unwrap();
    assert!(writers.met.load(Ordering::Relaxed) > 0, "no write met a kill");
    never.await.unwrap().unwrap_err();

    // Nobody knows whether they were stored, but the log does.
    let trails = trails_of(&answered).await.unwrap_or_else(|why| panic!("{why:#}"));
    let mut untold = Vec::new();
    for (name, is_acknowledged) in told {
        let stored = trails.get(&name).is_some_and(|trail| !trail.records.is_empty());
        println!("{name}: stored {stored}, acknowledged {is_acknowledged}");
        assert!(stored || !is_acknowledged, "{name} is lost: {trails:#?}");
        untold.extend((stored && !is_acknowledged).then_some(name));
    }
    Deployer::of(&answered).await.map("after", "the kills").await.unwrap();
    writers.lost_nothing(&home).await;
    tokio::join!(fails_and_goes_back(&home, &before), fails_and_goes_back(&answered, &before_answered));
    is_collected(&hangs.home).await;
    is_as_before(&hangs.home, &hangs.before, &[]).await;
    let last = status(&hangs.home).await;
    assert_eq!((last.revision, last.phase), (1, Some(Phase::Healthy)), "{last:#?}");
    for home in [&home, &answered, &hangs.home] {
        is_collected(home).await;
    }
    is_clean(&home).await;
    is_clean_but_for(&answered, &untold).await;
    is_clean(&hangs.home).await;
}

/// Sets the deadline or the soak so that it is over soon; in seconds.
async fn ends_soon(home: &Home<'_>, setting: &str, since: impl Fn(&ReleaseStatus) -> Option<&Time>) -> i64 {
    let status = status(home).await;
    let whole = Timestamp::now().duration_since(since(&status).unwrap().0).as_secs() + LEFT;
    let client = home.stage.cluster.client(User::Admin).await.unwrap();
    let annotations = json!({ format!("backout.dev/{setting}"): format!("{whole}s") });
    let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.patch(&home.name, &PatchParams::default(), &patch).await.unwrap();
    whole
}

async fn upgrade(home: &Home<'_>, image: &str, maps: usize) {
    let deployer = Deployer::of(home).await;
    deployer.web(image).await.unwrap();
    deployer.maps(maps, image).await.unwrap();
}

/// Waits until a rollback has put the first ConfigMap back.
async fn first_is_back(home: &Home<'_>) {
    let maps: Api<ConfigMap> =
        Api::namespaced(home.stage.cluster.client(User::Admin).await.unwrap(), &home.name);
    eventually("a ConfigMap is back", PATIENCE, async || {
        let map = maps.get(&map_name(0)).await?;
        Ok(map.data.is_some_and(|data| data["value"] == "ready:1").then_some(()))
    })
    .await
    .unwrap();
}

/// When the watcher restored something there.
async fn restores(stage: &Stage<'_>, home: &Home<'_>) -> Vec<Timestamp> {
    let writes = stage.cluster.writes().await.unwrap().committed().by(oracle::WATCHER).within(&home.name);
    writes.to("configmaps").0.iter().map(|write| write.at.parse().unwrap()).collect()
}

fn seconds(from: Option<&Time>, to: Option<&Time>) -> i64 {
    let (from, to) = from.zip(to).unwrap();
    to.0.duration_since(from.0).as_secs()
}

/// From when the last revision was sealed to its end.
fn committed_after(status: &ReleaseStatus) -> i64 {
    seconds(status.sealed_at.as_ref(), status.history[0].ended_at.as_ref())
}

const WRITERS: usize = 20;

/// Each writes one ConfigMap again and again, whatever the server says.
#[derive(Default)]
struct Writers {
    /// Of each, what was acknowledged.
    acknowledged: Mutex<Vec<Vec<String>>>,
    /// How many met an outage: refused, or kept waiting.
    met: AtomicUsize,
}

impl Writers {
    /// All write until so many more writes of each were acknowledged.
    async fn write(&self, home: &Home<'_>, count: usize) {
        let deployer = &Deployer::of(home).await;
        let mut acknowledged = self.acknowledged.lock().await;
        acknowledged.resize(WRITERS, Vec::new());
        let all = acknowledged.iter_mut().enumerate().map(async |(number, acknowledged)| {
            let (name, wanted) = (map_name(number), acknowledged.len() + count);
            while acknowledged.len() < wanted {
                let value = format!("{:x}", rand::random::<u64>());
                let begin = Instant::now();
                let write = timeout(Duration::from_secs(10), deployer.try_map(&name, &value)).await;
                let is_stored = matches!(write, Ok(Ok(_)));
                if !is_stored || begin.elapsed() > Duration::from_millis(900) {
                    self.met.fetch_add(1, Ordering::Relaxed);
                }
                if is_stored {
                    acknowledged.push(value);
                } else {
                    // It may be all the same.
                    sleep(Duration::from_millis(100)).await;
                }
            }
        });
        join_all(all).await;
    }

    /// Every acknowledged write took effect and has its record, in this order; no trail has a hole.
    async fn lost_nothing(&self, home: &Home<'_>) {
        let trails = trails_of(home).await.unwrap_or_else(|why| panic!("{why:#}"));
        for (number, acknowledged) in self.acknowledged.lock().await.iter().enumerate() {
            let trail = &trails[&map_name(number)];
            let written = trail
                .records
                .iter()
                .rev()
                .map(|logged| &logged.record.body.after.as_ref().unwrap()["data"]["value"]);
            let mut written = written.filter_map(Value::as_str);
            for value in acknowledged {
                assert!(written.any(|other| other == value), "{value} is lost: {:?}", trail.names());
            }
        }
    }
}

/// A bad Deployment on top: the release goes back to before all of it.
async fn fails_and_goes_back(home: &Home<'_>, before: &Snapshot) {
    Deployer::of(home).await.web("missing").await.unwrap();
    set(home, &[("settle", "2s")]).await;
    let end = ends(home, 2, Phase::RolledBack).await;
    assert!(end.unrestored.is_empty(), "{end:#?}");
    is_as_before(home, before, &[]).await;
}
