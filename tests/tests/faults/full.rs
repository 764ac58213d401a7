//! A database that is full: writes are refused with the reason, and nothing else happens until there is room.

use std::time::Duration;

use backout_model::release::Phase;
use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kube::{
    Api,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
};
use serde_json::json;
use system_tests::{
    Backout, BackoutOptions, Cluster, Options, User,
    stories::{Home, Snapshot},
};
use tokio::time::{Instant, sleep_until};

use super::{
    super::{ends, is_as_before, is_clean, on, prepare, reaches, set, status, trails_of},
    deployer::{Deployer, healthy, map_name},
};

/// In bytes: a cluster without anything in it has some 4 MiB.
const QUOTA: u64 = 48 << 20;
/// Longer than it takes to fill it.
const DEADLINE: Duration = Duration::from_secs(40);

#[tokio::test]
async fn a_full_database_refuses_writes_and_restores_and_leaves_no_hole_behind() {
    let quota = vec![format!("--quota-backend-bytes={QUOTA}")];
    let cluster = Cluster::start(Options { etcd_args: quota, ..Options::default() }).await.unwrap();
    let backout = Backout::install(&cluster, BackoutOptions::default()).await.unwrap();
    prepare(&cluster).await.unwrap();
    let stage = on(&cluster, &backout);
    let (written, judged) = tokio::try_join!(stage.home("written"), stage.home("judged")).unwrap();
    let garbage = stage.bystander("garbage").await.unwrap();
    let (before_written, before_judged) = tokio::join!(healthy(&written, 3), healthy(&judged, 3));
    set(&written, &[("settle", "10m")]).await;
    let deployer = Deployer::of(&written).await;
    deployer.maps(3, "second").await.unwrap();
    fill(&garbage, 8 << 20).await;
    // Its verdict falls when there is no room for it any more: it is the deadline's, for pods cannot report a failure then.
    set(&judged, &[("deadline", &format!("{}s", DEADLINE.as_secs()))]).await;
    let begin = Instant::now();
    Deployer::of(&judged).await.web("never-ready").await.unwrap();
    reaches(&judged, 2, Phase::Progressing).await;
    let failed = Snapshot::take(&judged).await.unwrap();

    fill(&garbage, 0).await;
    for write in [
        &["patch", "configmap", "map-000", "--type=merge", "-p", r#"{"data":{"value":"third"}}"#][..],
        &["delete", "configmap", "map-001"],
        &["create", "configmap", "new"],
    ] {
        let output = written.kubectl(write).await.unwrap();
        println!("{}", output.stderr);
        assert!(!output.status.success(), "{write:?}: {output:?}");
        for words in [
            "undo record of this write could not be stored",
            "database space exceeded",
            "nothing was changed",
        ] {
            assert!(output.stderr.contains(words), "{words:?} is not in {}", output.stderr);
        }
    }
    // Longer than the verdict takes.
    sleep_until(begin + DEADLINE + Duration::from_secs(15)).await;
    assert_eq!(status(&judged).await.phase, Some(Phase::Progressing));
    assert_eq!(failed.differences(&Snapshot::take(&judged).await.unwrap(), &[]), []);

    empty(&garbage).await;
    let trails = trails_of(&written).await.unwrap_or_else(|why| panic!("{why:#}"));
    assert_eq!(trails.values().map(|trail| trail.records.len()).sum::<usize>(), 3, "{trails:#?}");
    deployer.map(&map_name(0), "third").await.unwrap();
    deployer.web("missing").await.unwrap();
    set(&written, &[("settle", "2s")]).await;
    // What the database was told to forget cannot be compared with the records any more.
    for (home, before) in [(&judged, &before_judged), (&written, &before_written)] {
        held_until_allowed(home, before).await;
        is_clean(home).await;
    }
}

/// The rollback waits for a person, who allows it.
async fn held_until_allowed(home: &Home<'_>, before: &Snapshot) {
    let held = ends(home, 2, Phase::Held).await;
    let why = held.held.as_ref().unwrap();
    println!("{}: {}", home.name, held.message);
    assert!(why.reason.contains("could not be checked against the server's own history"), "{held:#?}");
    assert!(held.message.contains(&why.reason), "{held:#?}");
    let allow = r#"{"spec":{"acceptUnverified":true}}"#;
    home.admin(&["patch", "release", &home.name, "--type=merge", "-p", allow])
        .await
        .unwrap()
        .success()
        .unwrap();
    // Held until the watcher has seen it.
    reaches(home, 2, Phase::RolledBack).await;
    is_as_before(home, before, &[]).await;
}

/// Writes what is no release, until there is no room but for so many bytes.
async fn fill(home: &Home<'_>, room: u64) {
    let maps = maps(home).await;
    let noise = vec![0x5a; 600 << 10];
    for number in 0..200 {
        let status = home.stage.cluster.etcd_call("/v3/maintenance/status", &json!({})).await.unwrap();
        let size: u64 = status["dbSize"].as_str().unwrap().parse().unwrap();
        if size + room > QUOTA {
            return;
        }
        let map = ConfigMap {
            metadata: ObjectMeta { name: Some(format!("garbage-{room}-{number}")), ..ObjectMeta::default() },
            binary_data: Some([("noise".to_owned(), ByteString(noise.clone()))].into()),
            ..ConfigMap::default()
        };
        if let Err(error) = maps.create(&PostParams::default(), &map).await {
            assert!(error.to_string().contains("database space exceeded"), "{error}");
            return;
        }
    }
    panic!("the database is never full");
}

/// Makes room as etcd's manual tells: remove, compact, defragment, disarm.
async fn empty(home: &Home<'_>) {
    let maps = maps(home).await;
    let all = maps.list_metadata(&ListParams::default()).await.unwrap();
    for map in all.items {
        let name = map.metadata.name.unwrap();
        if name.starts_with("garbage-") {
            maps.delete(&name, &DeleteParams::default()).await.unwrap();
        }
    }
    let cluster = home.stage.cluster;
    cluster.forget_history().await.unwrap();
    cluster.etcd_call("/v3/maintenance/defragment", &json!({})).await.unwrap();
    let alarms = cluster.etcd_call("/v3/maintenance/alarm", &json!({ "action": "GET" })).await.unwrap();
    assert_eq!(alarms["alarms"][0]["alarm"], "NOSPACE", "{alarms}");
    let member = &alarms["alarms"][0]["memberID"];
    let disarm = json!({ "action": "DEACTIVATE", "memberID": member, "alarm": "NOSPACE" });
    cluster.etcd_call("/v3/maintenance/alarm", &disarm).await.unwrap();
}

async fn maps(home: &Home<'_>) -> Api<ConfigMap> {
    Api::namespaced(home.stage.cluster.client(User::Admin).await.unwrap(), &home.name)
}
