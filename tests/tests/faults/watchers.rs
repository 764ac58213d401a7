//! More than one watcher, each of which believes that it leads: compare-and-swap keeps them from doing harm.

use std::time::Duration;

use backout_model::release::Phase;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use system_tests::{
    Backout, BackoutOptions, Cluster, Options, Process, User, eventually,
    stories::{Home, Snapshot, Stage},
};
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep, sleep_until},
};

use super::{
    super::{PATIENCE, ends, is_as_before, is_clean, is_collected, on, prepare, status},
    deployer::{Deployer, healthy, map_name},
};

/// A cluster with three watchers. The first may be paused.
async fn stage() -> Stage<'static> {
    static GROUND: OnceCell<(Cluster, Backout, [Process; 2])> = OnceCell::const_new();
    let start = async || {
        let cluster = Cluster::start(Options::default()).await?;
        let backout = Backout::install(&cluster, BackoutOptions::default()).await?;
        prepare(&cluster).await?;
        let (second, _) = backout.another_watcher(&cluster, "watcher-second").await?;
        let (third, _) = backout.another_watcher(&cluster, "watcher-third").await?;
        anyhow::Ok((cluster, backout, [second, third]))
    };
    let (cluster, backout, _) = GROUND.get_or_try_init(start).await.unwrap();
    on(cluster, backout)
}

const MAPS: usize = 60;

#[tokio::test]
async fn watchers_that_all_believe_they_lead_end_where_one_would_have() {
    let stage = stage().await;
    let (bad, good) = tokio::try_join!(stage.home("bad"), stage.home("good")).unwrap();
    let (before, _) = tokio::join!(healthy(&bad, MAPS), healthy(&good, MAPS));
    let upgrade = async |home: &Home<'_>, image: &str| {
        let deployer = Deployer::of(home).await;
        deployer.web(image).await.unwrap();
        deployer.maps(MAPS - 1, image).await.unwrap();
        deployer.delete_map(&map_name(MAPS - 1)).await.unwrap();
        deployer.map("new", image).await.unwrap();
    };
    tokio::join!(upgrade(&bad, "missing"), upgrade(&good, "ready:2"));
    let committed = ends(&good, 2, Phase::Healthy).await;
    let rolled_back = ends(&bad, 2, Phase::RolledBack).await;
    assert!(rolled_back.unrestored.is_empty(), "{rolled_back:#?}");
    is_as_before(&bad, &before, &[&format!("ConfigMap/{}", map_name(MAPS - 1))]).await;
    let outcomes = |status: &backout_model::release::ReleaseStatus| {
        status.history.iter().map(|past| past.outcome).collect::<Vec<_>>()
    };
    assert_eq!(outcomes(&committed), [Phase::Healthy, Phase::Healthy]);
    assert_eq!(outcomes(&rolled_back), [Phase::RolledBack, Phase::Healthy]);
    for (home, end) in [(&bad, &rolled_back), (&good, &committed)] {
        is_collected(home).await;
        is_clean(home).await;
        assert_eq!(outcomes(&status(home).await), outcomes(end), "it went on");
    }
}

#[tokio::test]
async fn a_watcher_that_wakes_up_after_a_minute_in_the_middle_of_a_rollback_writes_nothing_wrong() {
    let stage = stage().await;
    let home = stage.home("paused").await.unwrap();
    let before = healthy(&home, MAPS).await;
    let deployer = Deployer::of(&home).await;
    deployer.web("missing").await.unwrap();
    deployer.maps(MAPS, "second").await.unwrap();
    first_is_back(&home).await;
    let watcher = stage.backout().watcher();
    watcher.pause().unwrap();
    let resume = Instant::now() + Duration::from_mins(1);
    let end = ends(&home, 2, Phase::RolledBack).await;
    assert!(end.unrestored.is_empty(), "{end:#?}");
    is_as_before(&home, &before, &[]).await;
    // What it was about to write would be wrong by now.
    deployer.web("ready:3").await.unwrap();
    deployer.maps(MAPS, "third").await.unwrap();
    let end = ends(&home, 3, Phase::Healthy).await;
    is_collected(&home).await;
    let before = Snapshot::take(&home).await.unwrap();

    sleep_until(resume).await;
    watcher.resume().unwrap();
    // Longer than any look or call lasts that it was in.
    sleep(Duration::from_secs(15)).await;
    assert_eq!(watcher.exit(), None);
    is_as_before(&home, &before, &[]).await;
    assert_eq!(status(&home).await.history, end.history);
    is_clean(&home).await;
}

async fn first_is_back(home: &Home<'_>) {
    let client = home.stage.cluster.client(User::Admin).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client, &home.name);
    eventually("a ConfigMap is back", PATIENCE, async || {
        let map = maps.get(&map_name(0)).await?;
        Ok(map.data.is_some_and(|data| data["value"] == "ready:1").then_some(()))
    })
    .await
    .unwrap();
}
