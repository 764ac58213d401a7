//! A long log: thousands of records of one release.

use std::time::{Duration, Instant};

use backout_model::release::Phase;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use system_tests::stories::Home;

use super::{
    super::{ends, everything, is_as_before, is_clean, is_collected, set, stage, trails_of},
    deployer::{Deployer, healthy, map_name},
};

/// What its manifest allows the watcher.
const MEMORY: u64 = 512 << 20;
const MAPS: usize = 30;
/// As many write side by side.
const WRITERS: usize = 8;

#[tokio::test]
async fn thousands_of_records_are_kept_while_they_are_needed_and_lead_back_to_the_state_before() {
    let stage = stage().await;
    let home = stage.home("long-bad").await.unwrap();
    let before = healthy(&home, MAPS).await;
    set(&home, &[("settle", "10m")]).await;
    let writes = writes();
    write(&home, writes).await;
    let recorded: usize = trails_of(&home)
        .await
        .unwrap_or_else(|why| panic!("{why:#}"))
        .values()
        .map(|trail| trail.records.len())
        .sum();
    assert_eq!(recorded, writes, "all are there while the revision is open");

    Deployer::of(&home).await.web("missing").await.unwrap();
    set(&home, &[("settle", "2s")]).await;
    let end = ends_within(&home, 2, Phase::RolledBack).await;
    let rolled = Instant::now();
    let took = end.history[0].ended_at.as_ref().unwrap().0.duration_since(end.decided_at.as_ref().unwrap().0);
    println!("{writes} records: rolled back in {} s", took.as_secs());
    assert!(end.unrestored.is_empty(), "{end:#?}");
    is_as_before(&home, &before, &[]).await;
    is_collected(&home).await;
    println!("{writes} records: collected within {:.0} s", rolled.elapsed().as_secs_f64());
    has_room(stage.backout().watcher());
    is_clean(&home).await;
}

#[tokio::test]
async fn thousands_of_records_of_a_healthy_release_are_collected() {
    let stage = stage().await;
    let home = stage.home("long-good").await.unwrap();
    healthy(&home, MAPS).await;
    set(&home, &[("settle", "10m")]).await;
    let writes = writes();
    write(&home, writes).await;
    set(&home, &[("settle", "2s")]).await;
    let end = ends_within(&home, 2, Phase::Healthy).await;
    assert_eq!(end.history[0].objects, MAPS as u64);
    let committed = Instant::now();
    is_collected(&home).await;
    println!("{writes} records: collected within {:.0} s", committed.elapsed().as_secs_f64());
    has_room(stage.backout().watcher());
    is_clean(&home).await;
}

fn writes() -> usize {
    if everything() { 10_000 } else { 1_500 }
}

/// So many writes, side by side, each ConfigMap by one writer.
async fn write(home: &Home<'_>, writes: usize) {
    let begin = Instant::now();
    let deployer = &Deployer::of(home).await;
    let all = (0..MAPS).map(|number| async move {
        for round in 0..writes / MAPS + usize::from(number < writes % MAPS) {
            deployer.map(&map_name(number), &format!("round {round}")).await?;
        }
        Ok::<_, kube::Error>(())
    });
    stream::iter(all).buffer_unordered(WRITERS).try_collect::<()>().await.unwrap();
    println!("{writes} writes in {:.0} s", begin.elapsed().as_secs_f64());
}

async fn ends_within(home: &Home<'_>, revision: u64, phase: Phase) -> backout_model::release::ReleaseStatus {
    let patience = Duration::from_mins(if everything() { 20 } else { 4 });
    let end = home.end_of(&home.name, revision, patience).await;
    end.unwrap_or_else(|why| panic!("{why:#}\n{}", home.stage.cluster.keep_for_inspection()));
    ends(home, revision, phase).await
}

fn has_room(watcher: &system_tests::Process) {
    let peak = watcher.peak_memory().unwrap();
    println!("the watcher had {} MiB at most", peak >> 20);
    assert!(peak < MEMORY, "{} MiB", peak >> 20);
}
