//! What a case is, and how it is played.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use backout_model::release::{Phase, ReleaseStatus};
use futures::{StreamExt as _, future::LocalBoxFuture, stream};
use system_tests::{
    User, oracle,
    stories::{Snapshot, Stage},
};
use tokio::sync::Semaphore;

use super::scene::{Scene, stage};

pub(super) type Act = for<'a> fn(&'a Scene) -> LocalBoxFuture<'a, Result<()>>;

/// One thing that somebody does.
pub(super) enum Step {
    /// Alice runs kubectl; words are separated by blanks.
    Kubectl(&'static str),
    /// Alice runs kubectl with this standard input.
    Pipe(&'static str, &'static str),
    /// Alice runs kubectl, which fails with this text.
    Fails(&'static str, &'static str, &'static str),
    /// Somebody else runs kubectl.
    By(User<'static>, &'static str, &'static str),
    /// A controller of the cluster merges these fields, as JSON, into `Kind/name`.
    Controller(&'static str, &'static str),
    /// A controller applies these fields server-side and by force, as this field manager.
    Manager(&'static str, &'static str, &'static str),
    /// Anything else.
    Do(Act),
}

/// A healthy release, and a change of it that fails.
pub(super) struct Case {
    /// The name of its namespace, but for the suffix.
    name: &'static str,
    /// What the healthy release does.
    before: &'static [Step],
    /// What the failing release does.
    change: &'static [Step],
    /// What others do before it fails.
    meanwhile: &'static [Step],
    /// What is done once it is rolled back.
    afterwards: &'static [Step],
    /// The records of the change in log order, as `Update ConfigMap/a`; not looked at if empty.
    recorded: &'static [&'static str],
    /// Objects with a new uid after the rollback.
    anew: &'static [&'static str],
    /// All places, besides, that are not as they were before.
    differs: &'static [&'static str],
    /// All of `status.unrestored`: `Kind/name`, and a part of the reason.
    unrestored: &'static [(&'static str, &'static str)],
    /// Parts of Events that people are told.
    told: &'static [&'static str],
    /// The release, if it is not the namespace's.
    release: Option<&'static str>,
}

/// A case of which nothing further is claimed.
pub(super) const fn case(name: &'static str, before: &'static [Step], change: &'static [Step]) -> Case {
    Case {
        name,
        before,
        change,
        meanwhile: &[],
        afterwards: &[],
        recorded: &[],
        anew: &[],
        differs: &[],
        unrestored: &[],
        told: &[],
        release: None,
    }
}

/// Plays all cases side by side, and tells of all that did not end as they should.
pub(super) async fn play(cases: &[Case]) {
    /// More at a time are no faster: they would wait for the machine.
    static PLACES: Semaphore = Semaphore::const_new(8);
    let stage = stage().await;
    let only = std::env::var("BACKOUT_CASE").ok();
    let chosen = cases.iter().filter(|case| only.as_ref().is_none_or(|only| case.name == only));
    let played = chosen.map(async |case| {
        let _place = PLACES.acquire().await.unwrap();
        let ended = case.play(stage).await;
        let failure = ended.err().map(|error| format!("=== {}\n{error:#}", case.name));
        failure.inspect(|failure| println!("{failure}"))
    });
    let failures: Vec<_> = stream::iter(played)
        .buffer_unordered(cases.len().max(1))
        .filter_map(std::future::ready)
        .collect()
        .await;
    let witness = oracle::witness(stage.cluster, &["alice", "bob"]).await.unwrap();
    let names: BTreeSet<_> = cases.iter().map(|case| format!("{}{}", case.name, stage.suffix)).collect();
    let ours = |violation: &&String| names.iter().any(|name| violation.contains(&format!(" {name}/")));
    let violations: Vec<_> = witness.violations.iter().filter(ours).collect();
    assert!(
        failures.is_empty() && violations.is_empty(),
        "{}\n{violations:#?}\n{}",
        failures.join("\n"),
        stage.cluster.keep_for_inspection()
    );
}

impl Case {
    pub(super) const fn meanwhile(self, meanwhile: &'static [Step]) -> Self {
        Self { meanwhile, ..self }
    }

    pub(super) const fn afterwards(self, afterwards: &'static [Step]) -> Self {
        Self { afterwards, ..self }
    }

    pub(super) const fn recorded(self, recorded: &'static [&'static str]) -> Self {
        Self { recorded, ..self }
    }

    pub(super) const fn anew(self, anew: &'static [&'static str]) -> Self {
        Self { anew, ..self }
    }

    pub(super) const fn differs(self, differs: &'static [&'static str]) -> Self {
        Self { differs, ..self }
    }

    pub(super) const fn unrestored(self, unrestored: &'static [(&'static str, &'static str)]) -> Self {
        Self { unrestored, ..self }
    }

    pub(super) const fn told(self, told: &'static [&'static str]) -> Self {
        Self { told, ..self }
    }

    pub(super) const fn of(self, release: &'static str) -> Self {
        Self { release: Some(release), ..self }
    }

    async fn play(&self, stage: &'static Stage<'static>) -> Result<()> {
        let mut scene = Scene::open(stage, self.name).await?;
        if let Some(release) = self.release {
            release.clone_into(&mut scene.release);
        }
        if !self.before.is_empty() {
            scene.all(self.before).await.context("before")?;
            scene.healthy().await?;
        }
        let before = scene.snapshot().await?;
        let known = scene.records().await?.iter().map(|logged| logged.name().to_owned()).collect();
        scene.hold_open().await?;
        scene.all(self.change).await.context("change")?;
        if !self.recorded.is_empty() {
            let recorded = scene.recorded(&known).await?;
            ensure!(recorded == self.recorded, "recorded was {recorded:#?}");
        }
        scene.all(self.meanwhile).await.context("meanwhile")?;
        scene.fail().await?;
        let status = scene.end().await?;
        ensure!(status.phase == Some(Phase::RolledBack), "{status:#?}");
        self.compare(&before, &scene, &status).await?;
        scene.all(self.afterwards).await.context("afterwards")
    }

    async fn compare(&self, before: &Snapshot, scene: &Scene, status: &ReleaseStatus) -> Result<()> {
        let differences = before.differences(&scene.snapshot().await?, self.anew);
        let places: Vec<_> = differences.iter().map(|difference| difference.at.as_str()).collect();
        ensure!(places == self.differs, "differs in {differences:#?}\n{status:#?}");
        let left: Vec<_> = status
            .unrestored
            .iter()
            .map(|left| (format!("{}/{}", left.object.kind, left.object.name), left.reason.as_str()))
            .collect();
        println!("{}: unrestored {left:?}", self.name);
        let as_told = left.len() == self.unrestored.len()
            && left
                .iter()
                .zip(self.unrestored)
                .all(|((object, reason), (of, part))| object == of && reason.contains(part));
        ensure!(as_told, "unrestored are {left:#?}");
        if self.told.is_empty() {
            return Ok(());
        }
        let events = scene.events().await?;
        ensure!(self.told.iter().all(|part| events.iter().any(|event| event.contains(part))), "{events:#?}");
        Ok(())
    }
}
