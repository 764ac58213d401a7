//! The recorded cases again, live: real containers on a real node, as Deployment upgrades under Backout with its default
//! policy, from kubectl to the restored state.
//!
//! Only where it is asked for, by `BACKOUT_REAL_NODE=1` or the names of some cases with commas between them, and only
//! where a node can be had: it takes root and some packages.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod real_node {
    pub(super) mod arena;
    pub(super) mod cases;
    pub(super) mod manifest;
    pub(super) mod play;
    pub(super) mod signal;
    pub(super) mod table;
}

use std::{collections::BTreeSet, fs, io::Write as _, path::Path, time::Duration};

use backout_model::{
    evidence::{Evidence, stored},
    release::Phase,
};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use real_node::{
    arena::{self, Arena},
    cases::{CASES, Case},
    manifest::{Version, manifest},
    play::{PATIENCE, before_upgrade, play},
    table,
};
use system_tests::{Cluster, Node, Options, User, eventually, node, oracle};

#[test]
fn each_recording_is_played() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/model/tests/fixtures/health/signals");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let recorded: BTreeSet<_> =
        files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(CASES.iter().map(|case| case.name.to_owned()).collect::<BTreeSet<_>>(), recorded);
}

/// How many are played side by side: the node has to share two cores with the control plane.
const AT_ONCE: usize = 5;

#[tokio::test]
async fn a_bad_upgrade_on_a_real_node_is_put_back_and_a_good_one_left_alone() {
    let Some(wanted) = arena::wanted() else { return };
    let arena = Arena::shared().await.unwrap();
    let cases: Vec<&Case> = CASES.iter().filter(|case| wanted.includes(case.name)).collect();
    let playing = cases.into_iter().map(|case| play(&arena, case));
    let mut played: Vec<_> = stream::iter(playing).buffer_unordered(AT_ONCE).collect().await;
    played.sort_by_key(|played| CASES.iter().position(|case| case.name == played.case.name));
    // To where it is seen although nothing failed.
    std::io::stderr().write_all(table::of(&played).as_bytes()).unwrap();

    let wrong: Vec<_> = played.iter().flat_map(|played| &played.wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", arena.cluster.keep_for_inspection());
    let witness = oracle::witness(&arena.cluster, &["alice"]).await.unwrap();
    assert_eq!(witness.violations, Vec::<String>::new(), "{}", arena.cluster.keep_for_inspection());
}

#[tokio::test]
async fn the_evidence_has_the_last_lines_of_the_container_that_crashed_and_of_the_one_before() {
    if arena::wanted().is_none() {
        return;
    }
    let arena = Arena::shared().await.unwrap();
    let stage = arena.stage();
    let home = before_upgrade(&stage, &arena, "evidence").await.unwrap();
    let crash = CASES.iter().find(|case| case.name == "crash-exit1").unwrap();
    home.apply(&manifest(Version::Of(crash), &arena), "v2").await.unwrap();
    let status = home.end_of(&home.name, 2, PATIENCE).await.unwrap().status.unwrap();
    assert_eq!(status.phase, Some(Phase::RolledBack), "{status:#?}");
    let secrets: Api<Secret> = Api::namespaced(arena.cluster.client(User::Admin).await.unwrap(), &home.name);
    let secret = secrets.get(status.evidence.as_deref().unwrap()).await.unwrap();
    let told: Evidence = serde_json::from_slice(&secret.data.unwrap()[stored::KEY].0).unwrap();

    let [container] = &told.containers[..] else { panic!("{told:#?}") };
    assert_eq!((container.container.as_str(), container.exit_code), ("c", Some(1)), "{told:#?}");
    let said = |log: &[String]| {
        let [first, second, third] = log else { return false };
        first == "starting"
            && second.starts_with("opening the database of instance ")
            && third == "cannot reach the database: connection refused"
    };
    // While it waits to be started again the last instance that ran counts as the previous one.
    let (last, before) = match container.state.as_str() {
        "waiting" => (&container.previous_log, None),
        "terminated" => (&container.log, Some(&container.previous_log)),
        _ => (&container.previous_log, Some(&container.log)),
    };
    assert!(said(last), "{told:#?}");
    if let Some(other) = before.filter(|log| !log.is_empty()) {
        assert_eq!(other[0], "starting", "{told:#?}");
        assert_ne!(other, last, "two instances are the same one: {told:#?}");
    } else if before.is_some() {
        // The node keeps one instance that has ended.
        assert!(container.missing.iter().any(|it| it.contains("could not be had")), "{told:#?}");
    }
    assert!(told.events.iter().any(|event| event.reason == "BackOff"), "{told:#?}");
}

#[tokio::test]
async fn a_node_that_is_killed_takes_its_containers_along_and_leaves_nothing_in_the_end() {
    if arena::wanted().is_none() {
        return;
    }
    let cluster = Cluster::start(Options { nodes: 0, real_node: true, ..Options::default() }).await.unwrap();
    let node = Node::join(&cluster).await.unwrap();
    let kubectl = |args: &'static str| async {
        cluster.kubectl().run(&args.split(' ').collect::<Vec<_>>()).await.unwrap().success().unwrap()
    };
    kubectl("create deployment web --image local/app:1").await;
    kubectl("wait deployment/web --for=condition=Available --timeout=2m").await;
    let is_process = |what: &String| what.starts_with("process ");
    assert!(node::remains().iter().filter(|what| is_process(what)).count() >= 2, "{:?}", node::remains());

    node.process().kill9().await.unwrap();
    eventually("the containers are gone", Duration::from_secs(30), async || {
        Ok((!node::remains().iter().any(is_process)).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(node.end(), Vec::<String>::new());
}
