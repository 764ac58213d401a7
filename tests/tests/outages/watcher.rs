//! The watcher killed again and again, at random moments of ten bad upgrades: the end is always the same.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use backout_model::release::{Phase, Release, ReleaseStatus};
use futures::future::try_join_all;
use kube::{Api, ResourceExt, api::ListParams};
use rand::{Rng, SeedableRng, rngs::StdRng};
use system_tests::{
    User, eventually, oracle,
    stories::{Difference, Home, Snapshot, Stage},
};
use tokio::time::{Instant, sleep, sleep_until};

#[tokio::test]
async fn a_watcher_killed_at_any_moment_of_a_bad_upgrade_rolls_it_back_all_the_same() {
    let (stage, _alone) = super::super::stage().await;
    let plan = Plan::from_seed(seed());
    println!("{plan:?}");
    let homes = try_join_all((0..NAMESPACES).map(|number| healthy(&stage, number))).await.unwrap();
    let befores = try_join_all(homes.iter().map(Snapshot::take)).await.unwrap();

    let begin = Instant::now();
    let upgrades =
        try_join_all(homes.iter().zip(&plan.upgrades).map(|(home, at)| upgrade(home, begin + *at)));
    let (kills, ends) = {
        let mut kills = Kills { stage: &stage, begin, log: Vec::new() };
        let ends = tokio::select! {
            ends = upgrades => ends,
            never = kills.go(&plan) => never.map(|()| Vec::new()),
        };
        (kills.log, ends)
    };
    // The last kill may have been under way, and nobody there to start it again, when all was over.
    stage.backout().watcher().restart().await.unwrap();
    for line in &kills {
        println!("{line}");
    }
    let ends = ends.unwrap_or_else(|error| panic!("{plan:?}: {error:#}\n{}", kept(&stage)));
    assert!(kills.len() >= plan.kills.len(), "all was over after {} kills of {plan:?}", kills.len());

    for ((home, before), end) in homes.iter().zip(&befores).zip(ends) {
        same_end(home, before, &end).await.unwrap_or_else(|why| panic!("{why:#}\n{}", kept(&stage)));
    }
    let witness = oracle::witness(stage.cluster, &["alice"]).await.unwrap();
    assert_eq!(witness.violations, Vec::<String>::new(), "{}", kept(&stage));
}

const NAMESPACES: u32 = 10;
/// From the first upgrade to the begin of the last.
const UPGRADES: Duration = Duration::from_secs(85);
/// Kills come in pairs, one pair in each slot. A new watcher needs some 17 s to a verdict on an image: the sightings
/// of the old one are lost with it. The last pair comes while the last upgrade is still judged.
const PAIRS: u32 = 5;
const SLOT: Duration = Duration::from_secs(17);
const BETWEEN_TWO: Duration = Duration::from_secs(4);
/// Kills that are aimed at the short time of the restores, besides the scheduled ones.
const AIMED: usize = 4;
const BETWEEN_AIMED: Duration = Duration::from_secs(8);
const LONGEST_AIM: Duration = Duration::from_millis(1500);

/// What happens when, from the first upgrade on. Replayed by its seed, as far as processes can be.
#[derive(Debug)]
struct Plan {
    #[expect(dead_code, reason = "printed")]
    seed: u64,
    upgrades: Vec<Duration>,
    kills: Vec<Duration>,
    /// Between the first sight of a rollback and the kill aimed at it.
    aims: Vec<Duration>,
}

impl Plan {
    fn from_seed(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        // Spread over the whole time: one moment in each of as many slots.
        let mut within = |whole: Duration| whole.mul_f64(random.random::<f64>());
        let upgrade = UPGRADES / NAMESPACES;
        let upgrades = (0..NAMESPACES).map(|slot| upgrade * slot + within(upgrade)).collect();
        let pair = |first: Duration, second: Duration| [first, first + second];
        let kills =
            (0..PAIRS).flat_map(|slot| pair(SLOT * slot + within(SLOT), within(BETWEEN_TWO))).collect();
        let aims = (0..AIMED).map(|_| within(LONGEST_AIM)).collect();
        Self { seed, upgrades, kills, aims }
    }
}

fn seed() -> u64 {
    match std::env::var("BACKOUT_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => rand::random(),
    }
}

/// A namespace in which the first release of story 1 is healthy.
async fn healthy<'a>(stage: &'a Stage<'a>, number: u32) -> Result<Home<'a>> {
    let home = stage.home(&format!("shop{number}")).await?;
    home.kubectl(&["apply", "-f", "./shop-v1.yaml"]).await?.success()?;
    let release = home.end_of(&home.name, 1, PATIENCE).await?;
    anyhow::ensure!(outcomes(&release) == [Phase::Healthy], "{:#?}", release.status);
    Ok(home)
}

/// The bad upgrade of story 2.
async fn upgrade(home: &Home<'_>, at: Instant) -> Result<Release> {
    sleep_until(at).await;
    home.kubectl(&["apply", "-f", "./shop-v2.yaml"]).await?.success()?;
    home.kubectl(&["delete", "service/shop"]).await?.success()?;
    home.end_of(&home.name, 2, PATIENCE).await
}

const PATIENCE: Duration = Duration::from_mins(4);

/// Rolled back once, everything as it was, and the log empty.
async fn same_end(home: &Home<'_>, before: &Snapshot, end: &Release) -> Result<()> {
    let status = status(end);
    anyhow::ensure!(outcomes(end) == [Phase::RolledBack, Phase::Healthy], "{}: {status:#?}", home.name);
    anyhow::ensure!(status.unrestored.is_empty(), "{}: {:?}", home.name, status.unrestored);
    let differences: Vec<Difference> = before.differences(&Snapshot::take(home).await?, &["Service/shop"]);
    anyhow::ensure!(differences.is_empty(), "{}: {differences:#?}", home.name);
    eventually(format!("the records of {} are collected", home.name), Duration::from_mins(1), async || {
        Ok(home.stage.cluster.record_heads(&home.name).await?.is_empty().then_some(()))
    })
    .await?;
    let last = home.release(&home.name).await?;
    anyhow::ensure!(outcomes(&last) == outcomes(end), "it went on: {:#?}", last.status);
    Ok(())
}

/// The one who kills the watcher.
struct Kills<'a> {
    stage: &'a Stage<'a>,
    begin: Instant,
    log: Vec<String>,
}

impl Kills<'_> {
    /// Kills as planned; then waits for ever.
    async fn go(&mut self, plan: &Plan) -> Result<()> {
        let (mut kills, mut aims) = (plan.kills.iter().peekable(), plan.aims.iter().peekable());
        let mut aimed: Option<Instant> = None;
        while kills.peek().is_some() || aims.peek().is_some() {
            let phases = self.phases().await?;
            if kills.next_if(|moment| self.begin.elapsed() >= **moment).is_some() {
                self.kill("as planned", &phases).await?;
            } else if phases.contains_key("RollingBack")
                && aimed.is_none_or(|last| last.elapsed() >= BETWEEN_AIMED)
                && let Some(moment) = aims.next()
            {
                sleep(*moment).await;
                let phases = self.phases().await?;
                self.kill("aimed", &phases).await?;
                aimed = Some(Instant::now());
            }
            sleep(Duration::from_millis(20)).await;
        }
        std::future::pending().await
    }

    async fn kill(&mut self, why: &str, phases: &BTreeMap<&str, usize>) -> Result<()> {
        let watcher = self.stage.backout().watcher();
        watcher.restart().await.context("the watcher does not start again")?;
        self.log.push(format!("{:5.1} s: killed {why}, {phases:?}", self.begin.elapsed().as_secs_f64()));
        Ok(())
    }

    /// How many releases are in which phase.
    async fn phases(&self) -> Result<BTreeMap<&'static str, usize>> {
        let releases: Api<Release> = Api::all(self.stage.cluster.client(User::Admin).await?);
        let mut phases = BTreeMap::new();
        for release in releases.list(&ListParams::default()).await? {
            if release.name_any().ends_with(&self.stage.suffix) {
                *phases.entry(status(&release).phase.map_or("none", Phase::as_str)).or_default() += 1;
            }
        }
        Ok(phases)
    }
}

fn outcomes(release: &Release) -> Vec<Phase> {
    status(release).history.iter().map(|past| past.outcome).collect()
}

fn status(release: &Release) -> ReleaseStatus {
    release.status.clone().unwrap_or_default()
}

fn kept(stage: &Stage<'_>) -> String {
    stage.cluster.keep_for_inspection()
}
