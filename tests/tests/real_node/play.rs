//! One case, from a good version to the end of its upgrade.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use backout_model::release::Phase;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{Api, api::ListParams};
use system_tests::{
    User, eventually,
    stories::{Home, Snapshot, Stage, restoring_writes},
};

use super::{
    arena::Arena,
    cases::{Case, Change, End},
    manifest::{UPGRADED, Version, manifest},
    signal,
};

/// Longer than any revision lasts here.
pub(crate) const PATIENCE: Duration = Duration::from_mins(9);

/// What became of a case.
pub(crate) struct Played {
    pub(crate) case: &'static Case,
    /// A sentence for each thing that is not as it should be.
    pub(crate) wrong: Vec<String>,
    pub(crate) seen: Seen,
}

/// What was seen of it, each time counted from kubectl's start.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) end: Option<Phase>,
    pub(crate) reason: String,
    pub(crate) first_signal: Option<SignedDuration>,
    pub(crate) first_restore: Option<SignedDuration>,
    pub(crate) restored: Option<SignedDuration>,
}

impl Seen {
    /// From the first bad signal to the first restoring write.
    pub(crate) fn hesitation(&self) -> Option<SignedDuration> {
        Some(self.first_restore? - self.first_signal?)
    }
}

/// Plays it to its end, whatever goes wrong.
pub(crate) async fn play(arena: &Arena, case: &'static Case) -> Played {
    let mut played = Played { case, wrong: Vec::new(), seen: Seen::default() };
    if let Err(error) = upgrade(arena, &mut played).await {
        played.wrong.push(format!("{}: {error:#}", case.name));
    }
    played
}

/// A namespace in which the good version is healthy, and the default policy holds for what comes next.
pub(crate) async fn before_upgrade<'a>(stage: &'a Stage<'a>, arena: &Arena, name: &str) -> Result<Home<'a>> {
    let home = stage.home(name).await?;
    annotate(&home, &["backout.dev/settle=1s", "backout.dev/soak=1s"]).await?;
    home.apply(&manifest(Version::Good, arena), "v1").await?;
    let status = home.end_of(&home.name, 1, PATIENCE).await?.status.unwrap_or_default();
    ensure!(status.phase == Some(Phase::Healthy), "the good version: {:?}: {}", status.phase, status.message);
    annotate(&home, &["backout.dev/settle-", "backout.dev/soak-"]).await?;
    Ok(home)
}

async fn upgrade(arena: &Arena, played: &mut Played) -> Result<()> {
    let case = played.case;
    let stage = arena.stage();
    let home = before_upgrade(&stage, arena, case.name).await?;
    if let Some(deadline) = case.deadline {
        annotate(&home, &[&format!("backout.dev/deadline={deadline}")]).await?;
    }
    let before = Snapshot::take(&home).await?;

    let applied = Timestamp::now();
    let (release, first_signal) = signal::first_while(&home, async {
        home.apply(&manifest(Version::Of(case), arena), "v2").await?;
        home.end_of(&home.name, 2, PATIENCE).await
    })
    .await?;
    let status = release.status.unwrap_or_default();
    let restores = restoring_writes(&home).await?;
    let first_restore = restores.first().map(|write| write.at.parse::<Timestamp>()).transpose()?;
    let since = |time: Timestamp| time.duration_since(applied);
    played.seen = Seen {
        end: status.phase,
        reason: status.failure.as_ref().map(|failure| failure.reason.clone()).unwrap_or_default(),
        first_signal: first_signal.map(since),
        first_restore: first_restore.map(since),
        restored: None,
    };
    let (end, message) = (status.phase, &status.message);
    match &case.end {
        End::Healthy => {
            ensure!(end == Some(Phase::Healthy), "{end:?}: {message}");
            ensure!(restores.is_empty(), "was healthy, and restored: {restores:#?}");
            rolled_out(&home, "2").await
        }
        End::RolledBack { reasons, within } => {
            ensure!(end == Some(Phase::RolledBack), "{end:?}: {message}");
            rolled_out(&home, "1").await?;
            played.seen.restored = Some(since(Timestamp::now()));
            gone(&home, case).await?;
            let differences = before.differences(&Snapshot::take(&home).await?, &[]);
            ensure!(differences.is_empty(), "not as it was before: {differences:#?}");
            ensure!(status.unrestored.is_empty(), "not restored: {:#?}", status.unrestored);
            let Seen { reason, .. } = &played.seen;
            ensure!(reasons.contains(&reason.as_str()), "{reason} and not {reasons:?}: {message}");
            let hesitation = played.seen.hesitation().context("no signal was seen")?;
            ensure!(hesitation.is_positive(), "restored before the first signal was seen");
            ensure!(hesitation.unsigned_abs() <= *within, "restored {hesitation:#} after the first signal");
            Ok(())
        }
    }
}

async fn annotate(home: &Home<'_>, annotations: &[&str]) -> Result<()> {
    let args = [&["annotate", "namespace", home.name.as_str(), "--overwrite"], annotations].concat();
    home.admin(&args).await?.success().map(drop)
}

/// The Deployment's pods are all of this version, and serve.
async fn rolled_out(home: &Home<'_>, version: &str) -> Result<()> {
    let client = home.stage.cluster.client(User::Admin).await?;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &home.name);
    let pods: Api<Pod> = Api::namespaced(client, &home.name);
    eventually(format!("version {version} serves"), PATIENCE, async || {
        let deployment = deployments.get("web").await?;
        let (generation, status) = (deployment.metadata.generation, deployment.status.unwrap_or_default());
        let counts = [status.replicas, status.updated_replicas, status.available_replicas];
        let is_complete = status.observed_generation == generation && counts == [Some(1); 3];
        let of_version = ListParams::default().labels(&format!("app=web,version={version}"));
        let is_served = pods.list(&of_version).await?.iter().any(is_ready);
        Ok((is_complete && is_served).then_some(()))
    })
    .await
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.any(|it| it.type_ == "Ready" && it.status == "True")
}

/// Nothing is left of the upgrade's pods.
async fn gone(home: &Home<'_>, case: &Case) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(home.stage.cluster.client(User::Admin).await?, &home.name);
    let what = match case.change {
        Change::Template { .. } => "the pods of the upgrade are gone",
        Change::PodBeside { .. } => "the pod that the upgrade brought is gone, and so are its Deployment's",
    };
    let upgraded = ListParams::default().labels(UPGRADED);
    eventually(what, Duration::from_mins(2), async || {
        Ok(pods.list(&upgraded).await?.items.is_empty().then_some(()))
    })
    .await
}
