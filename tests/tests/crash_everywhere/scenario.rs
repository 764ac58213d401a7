//! What is played again and again.

use std::time::Duration;

use anyhow::{Result, ensure};
use backout_model::{
    names,
    release::{Phase, ReleaseStatus},
};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use system_tests::{
    cluster::User,
    eventually,
    stories::{Deployer, Difference, Home, Snapshot, Step, bad_shop, good_shop, manifest},
};

/// One scenario. Most can be played in the same namespace again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// A good upgrade of the first release of story 1.
    Good,
    /// The bad upgrade of story 2: objects changed, one deleted, one new.
    BadUpgrade,
    /// The bad install of story 3.
    BadInstall,
    /// The bad upgrade, overwritten by a good one before there is a verdict.
    Superseded,
}

/// How often it was played, and what there is since.
pub(crate) struct Played {
    rounds: usize,
    pub(crate) state: Snapshot,
    revision: u64,
}

impl Scenario {
    /// Brings a new namespace to where the scenario begins.
    pub(crate) async fn prepare(self, home: &Home<'_>) -> Result<Played> {
        let mut revision = 0;
        if self != Self::BadInstall {
            Deployer::new(home).await?.go(&good_shop(0)?).await?;
            revision = 1;
            let release = home.end_of(&home.name, 1, PATIENCE).await?;
            let status = release.status.unwrap_or_default();
            ensure!(status.phase == Some(Phase::Healthy), "{status:#?}");
            log_is_empty(home).await?;
        }
        if self.outcome() == Phase::RolledBack {
            // The verdict is the deadline's: no restart puts it off, while what a watcher has seen of pods dies with it.
            let deadline = ["annotate", "namespace", &home.name, "backout.dev/deadline=2s"];
            home.admin(&deadline).await?.success()?;
        }
        Ok(Played { rounds: 0, state: Snapshot::take(home).await?, revision })
    }

    /// Plays it, and waits until all is done; says how often alice was refused.
    pub(crate) async fn play(self, home: &Home<'_>, played: &Played) -> Result<u32> {
        let alice = Deployer::new(home).await?;
        let revision = played.revision + 1;
        let mut refused = 0;
        match self {
            Self::Good => refused += alice.go(&good_shop(played.rounds + 1)?).await?,
            Self::BadUpgrade => {
                let mut bad = bad_shop()?;
                // All kinds of writes: this one leaves no pointer.
                bad.push(Step::Scale("StatefulSet", "shop-store", 3));
                refused += alice.go(&bad).await?;
            }
            Self::BadInstall => refused += alice.go(&manifest("first.yaml", &[])?).await?,
            Self::Superseded => {
                refused += alice.go(&bad_shop()?).await?;
                eventually("the bad revision is judged", PATIENCE, async || {
                    let status = home.release(&home.name).await?.status.unwrap_or_default();
                    Ok((status.revision == revision && status.phase == Some(Phase::Progressing))
                        .then_some(()))
                })
                .await?;
                let mut again = good_shop(played.rounds + 1)?;
                again.push(Step::Delete("ConfigMap", "shop-banner"));
                refused += alice.go(&again).await?;
            }
        }
        home.end_of(&home.name, revision, PATIENCE).await?;
        log_is_empty(home).await?;
        Ok(refused)
    }

    /// Checks the end of what was played; `reference` holds the states that rounds end in.
    pub(crate) async fn check(
        self,
        home: &Home<'_>,
        before: Played,
        reference: &[Snapshot],
    ) -> Result<Played> {
        let status = home.release(&home.name).await?.status.unwrap_or_default();
        let after = Played {
            rounds: before.rounds + 1,
            state: Snapshot::take(home).await?,
            revision: before.revision + 1,
        };
        self.check_status(&status, &after)?;
        self.check_evidence(home, &status).await?;
        let mut differences: Vec<Difference> = match self.outcome() {
            Phase::RolledBack => before.state.differences(&after.state, &["Service/shop"]),
            _ => match reference.get(before.rounds % 2) {
                Some(reference) => reference.differences(&after.state.neutral(&home.name), &[]),
                None => Vec::new(),
            },
        };
        // Who owned the replicas before they were scaled is not restored: a scale does not tell.
        differences.retain(|difference| difference.at != "StatefulSet/shop-store metadata managedFields");
        ensure!(differences.is_empty(), "{differences:#?}");
        Ok(after)
    }

    fn check_status(self, status: &ReleaseStatus, after: &Played) -> Result<()> {
        ensure!(status.revision == after.revision, "it went on: {status:#?}");
        ensure!(status.phase == Some(self.outcome()), "{status:#?}");
        let outcomes: Vec<_> = status.history.iter().map(|past| (past.revision, past.outcome)).collect();
        let first = (after.revision, self.outcome());
        ensure!(outcomes.first() == Some(&first), "{status:#?}");
        let is_next = |pair: &[(u64, Phase)]| pair[0].0 == pair[1].0 + 1;
        ensure!(outcomes.windows(2).all(is_next), "a revision ended twice, or not at all: {outcomes:?}");
        ensure!(status.unrestored.is_empty() && status.problems.is_empty(), "{status:#?}");
        Ok(())
    }

    /// Of a rollback there is evidence; or the time that it had ran out, for the whole machine is busy with deaths.
    async fn check_evidence(self, home: &Home<'_>, status: &ReleaseStatus) -> Result<()> {
        let (name, why) = (status.evidence.as_deref(), status.evidence_missing.as_deref());
        if self.outcome() != Phase::RolledBack {
            ensure!((name, why) == (None, None), "{status:#?}");
            return Ok(());
        }
        let Some(name) = name else {
            ensure!(why.is_some_and(|why| why.ends_with("within 5 s")), "{status:#?}");
            println!("{}: there is no evidence: {}", home.name, why.unwrap_or_default());
            return Ok(());
        };
        let secrets: Api<Secret> = Api::namespaced(home.stage.cluster.client(User::Admin).await?, &home.name);
        let secret = secrets.get(name).await?;
        ensure!(secret.type_.as_deref() == Some(names::EVIDENCE_TYPE), "{name} is something else");
        Ok(())
    }

    /// Whether a namespace sees it but once: where a Release was there already, none has to be created.
    pub(crate) fn happens_once(self) -> bool {
        self == Self::BadInstall
    }

    /// How many states it ends in by turns, besides the one before.
    pub(crate) fn versions(self) -> usize {
        if self.outcome() == Phase::Healthy { 2 } else { 1 }
    }

    /// How it ends.
    pub(crate) fn outcome(self) -> Phase {
        match self {
            Self::Good | Self::Superseded => Phase::Healthy,
            Self::BadUpgrade | Self::BadInstall => Phase::RolledBack,
        }
    }
}

async fn log_is_empty(home: &Home<'_>) -> Result<()> {
    eventually(format!("the records of {} are collected", home.name), PATIENCE, async || {
        Ok(home.stage.cluster.record_heads(&home.name).await?.is_empty().then_some(()))
    })
    .await
}

/// For one round. Everyone's watcher dies every other second, and the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(10);
