//! Writes that hang between Backout's answer and the database, and are stored when the release has moved on: after the
//! cut, after the verdict, at the very end of the rollback, after it.

use std::time::Duration;

use backout_model::release::Phase;
use system_tests::{
    Cluster, eventually,
    proxy::{Fate, Gate, Proxy},
    stories::{Home, Snapshot, Stage},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    super::{PATIENCE, ends, is_as_before, is_clean, is_collected, reaches, set, stage, status},
    deployer::{Deployer, healthy},
    route::{allow, beside, request},
};

#[tokio::test]
async fn a_write_that_is_stored_after_the_cut_belongs_to_the_revision_that_it_was_recorded_in() {
    let stage = stage().await;
    let slow = Slow::home(&stage, "late-cut").await;
    let home = &slow.home;
    Deployer::of(home).await.web("slow").await.unwrap();
    slow.hold();
    let late = write_late(stage.cluster, home);
    slow.held(3).await;
    let sealed = async || {
        Ok(home
            .release(&home.name)
            .await?
            .status
            .filter(|it| it.sealed_position.is_some() && it.revision == 2))
    };
    let sealed = eventually("the second revision is sealed", PATIENCE, sealed).await.unwrap();
    assert!(sealed.phase.is_some_and(Phase::is_undecided), "{sealed:#?}");
    slow.open();
    late.await.unwrap().unwrap();
    let end = ends(home, 2, Phase::Healthy).await;
    assert_eq!(end.history[0].objects, 4, "{end:#?}");
    is_collected(home).await;
    let before = Snapshot::take(home).await.unwrap();

    Deployer::of(home).await.web("missing").await.unwrap();
    ends(home, 3, Phase::RolledBack).await;
    is_as_before(home, &before, &[]).await;
    is_clean(home).await;
}

#[tokio::test]
async fn a_write_that_is_stored_during_the_rollback_is_undone_with_the_rest() {
    let stage = stage().await;
    let slow = Slow::home(&stage, "late-rollback").await;
    let home = &slow.home;
    slow.fails_already().await;
    slow.hold();
    let late = write_late(stage.cluster, home);
    slow.held(3).await;
    set(home, &[("settle", "2s")]).await;
    reaches(home, 2, Phase::RollingBack).await;
    slow.open();
    late.await.unwrap().unwrap();
    slow.is_undone(2).await;
}

#[tokio::test]
async fn a_rollback_is_not_called_done_while_a_write_may_still_be_stored() {
    let stage = stage().await;
    let slow = Slow::home(&stage, "late-end").await;
    let home = &slow.home;
    slow.fails_already().await;
    slow.hold();
    let begin = Instant::now();
    let late = write_late(stage.cluster, home);
    slow.held(3).await;
    set(home, &[("settle", "2s")]).await;
    reaches(home, 2, Phase::RollingBack).await;
    // Long after all the rest is back, and well within the 30 s that the API server waits for the slow webhook.
    sleep_until(begin + Duration::from_secs(18)).await;
    let now = status(home).await;
    assert_eq!(now.phase, Some(Phase::RollingBack), "{now:#?}");
    slow.open();
    late.await.unwrap().unwrap();
    slow.is_undone(2).await;
}

#[tokio::test]
async fn a_write_that_is_asked_for_during_the_rollback_and_stored_after_it_is_the_next_revision() {
    let stage = stage().await;
    let slow = Slow::home(&stage, "late-after").await;
    let home = &slow.home;
    Deployer::of(home).await.web("missing").await.unwrap();
    slow.hold();
    // All but its owners: the rest takes no half a minute.
    eventually("the Deployment is back", PATIENCE, async || {
        let image = ["get", "deployment/web", "-o", "jsonpath={..image}"];
        Ok(home.admin(&image).await?.stdout.ends_with("ready:1").then_some(()))
    })
    .await
    .unwrap();
    let late = write_late(stage.cluster, home);
    slow.held(3).await;
    let end = ends(home, 2, Phase::RolledBack).await;
    is_as_before(home, &slow.before, &[]).await;
    assert!(end.unrestored.is_empty(), "{end:#?}");
    slow.open();
    late.await.unwrap().unwrap();
    let end = ends(home, 3, Phase::Healthy).await;
    let outcomes: Vec<_> = end.history.iter().map(|past| past.outcome).collect();
    assert_eq!(outcomes, [Phase::Healthy, Phase::RolledBack, Phase::Healthy], "{end:#?}");
    let differences = slow.before.differences(&Snapshot::take(home).await.unwrap(), &[]);
    let differ = |name: &str| differences.iter().any(|it| it.at.starts_with(&format!("ConfigMap/{name}")));
    assert!(differ("late-new") && differ("late-changed") && differ("late-gone"), "{differences:#?}");
    assert!(!differ("map-"), "{differences:#?}");
    is_collected(home).await;
    is_clean(home).await;
}

/// A namespace in which another webhook, after Backout's, keeps writes of `late-` ConfigMaps waiting.
pub(crate) struct Slow<'a> {
    pub(crate) home: Home<'a>,
    /// In front of one that answers: it holds the request until the gate is open.
    front: Proxy,
    _behind: Proxy,
    gate: Gate,
    pub(crate) before: Snapshot,
}

impl<'a> Slow<'a> {
    /// With a first revision that is healthy.
    pub(crate) async fn home(stage: &'a Stage<'a>, name: &str) -> Self {
        let behind = Proxy::start(stage.cluster, &stage.cluster.url()).await.unwrap();
        behind.rule(|call| Fate::Reply(allow(call, None)));
        let front = Proxy::start(stage.cluster, &behind.url()).await.unwrap();
        let home = stage.home(name).await.unwrap();
        beside(&home, "zzz-slow", &front, "Never").await;
        let deployer = Deployer::of(&home).await;
        for map in ["late-changed", "late-gone"] {
            deployer.map(map, "ready:1").await.unwrap();
        }
        let before = healthy(&home, 2).await;
        Self { home, front, _behind: behind, gate: Gate::closed(), before }
    }

    /// Begins a revision that is known to fail: its verdict only waits for the settle, which is long. The API server
    /// lets nothing hang for longer than half a minute, in which all the rest has to happen.
    pub(crate) async fn fails_already(&self) {
        set(&self.home, &[("settle", "10m")]).await;
        Deployer::of(&self.home).await.web("missing").await.unwrap();
        eventually("the second revision is known to fail", PATIENCE, async || {
            let status = self.home.release(&self.home.name).await?.status.unwrap_or_default();
            let is_known = status.message == "Waiting for the deployer to finish";
            Ok((status.revision == 2 && status.phase == Some(Phase::Open) && is_known).then_some(()))
        })
        .await
        .unwrap();
    }

    /// Lets them hang from now on.
    pub(crate) fn hold(&self) {
        let gate = self.gate.clone();
        self.front.rule(move |call| {
            let is_late = request(call)["name"].as_str().is_some_and(|name| name.starts_with("late-"));
            if is_late { Fate::Hold(gate.clone()) } else { Fate::Pass }
        });
    }

    /// Lets what hangs go on.
    pub(crate) fn open(&self) {
        self.gate.open();
    }

    /// Waits until so many writes hang, and their records are there.
    pub(crate) async fn held(&self, count: usize) {
        let home = &self.home;
        eventually("the late writes are recorded", PATIENCE, async || {
            let records = home.stage.cluster.records(&home.name).await?;
            let late = records.iter().filter(|it| it.header().object.key.name.starts_with("late-"));
            Ok((late.count() >= count).then_some(()))
        })
        .await
        .unwrap();
    }

    /// The revision is rolled back, and what was stored late is undone, too.
    pub(crate) async fn is_undone(&self, revision: u64) {
        let end = ends(&self.home, revision, Phase::RolledBack).await;
        assert!(end.unrestored.is_empty(), "{end:#?}");
        is_as_before(&self.home, &self.before, &["ConfigMap/late-gone"]).await;
        is_collected(&self.home).await;
        let last = status(&self.home).await;
        assert_eq!((last.revision, last.phase), (revision, Some(Phase::RolledBack)), "it went on: {last:#?}");
        is_clean(&self.home).await;
    }
}

/// A change, a creation and a deletion, all at once.
pub(crate) fn write_late(cluster: &'static Cluster, home: &Home<'_>) -> JoinHandle<kube::Result<()>> {
    let name = home.name.clone();
    tokio::spawn(async move {
        let deployer = Deployer::new(cluster, &name, "alice").await;
        let all = tokio::join!(
            deployer.try_map("late-changed", "late"),
            deployer.try_map("late-new", "late"),
            deployer.try_delete_map("late-gone"),
        );
        all.0.and(all.1).map(drop).and(all.2)
    })
}
