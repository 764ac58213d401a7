//! A healthy release, compared with the very same one in a namespace that Backout leaves alone.

use std::time::Duration;

use backout_model::release::{Phase, Release};
use system_tests::{
    oracle,
    stories::{Home, Snapshot, Stage},
};

#[tokio::test]
async fn a_healthy_release_differs_from_the_same_one_without_backout_by_three_labels_only() {
    let stage = Stage::shared().await.unwrap();
    let (with, without) = (stage.home("with").await.unwrap(), stage.bystander("without").await.unwrap());
    for home in [&with, &without] {
        home.kubectl(&["apply", "-f", "./shop-v1.yaml"]).await.unwrap().success().unwrap();
    }
    let release = with.end_of(&with.name, 1, Duration::from_mins(2)).await.unwrap();
    assert_eq!(phase(&release), Some(Phase::Healthy), "{:?}", release.status);
    rolled_out(&without).await;

    let neutral = async |home: &Home<'_>| Snapshot::take(home).await.unwrap().neutral(&home.name);
    let (tagged, plain) = (neutral(&with).await, neutral(&without).await);
    assert_eq!(plain.0.len(), 9, "seven objects, and two that the cluster puts in every namespace");
    assert_eq!(plain.differences(&tagged, &[]), [], "{}", stage.cluster.keep_for_inspection());
    assert_eq!(replica_sets(&with).await, replica_sets(&without).await, "the pod templates differ");

    let witness = oracle::witness(stage.cluster, &["alice"]).await.unwrap();
    assert_eq!(witness.violations, Vec::<String>::new(), "{}", stage.cluster.keep_for_inspection());
    assert!(!witness.restores.contains_key(&with.name), "{witness:#?}");
}

fn phase(release: &Release) -> Option<Phase> {
    release.status.as_ref()?.phase
}

async fn rolled_out(home: &Home<'_>) {
    for workload in ["deployment/shop", "statefulset/shop-store"] {
        home.admin(&["rollout", "status", workload, "--timeout=60s"]).await.unwrap().success().unwrap();
    }
}

/// Their names end with a digest of the pod template.
async fn replica_sets(home: &Home<'_>) -> String {
    let names = ["get", "replicasets,controllerrevisions", "-o", "name"];
    home.admin(&names).await.unwrap().success().unwrap().stdout
}
