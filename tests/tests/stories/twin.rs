//! A healthy release, compared with the very same one in a namespace that Backout leaves alone.

use std::time::Duration;

use backout_model::{
    names,
    release::{Phase, Release},
};
use serde_json::{Map, Value};
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

    let (tagged, plain) = (neutral(&with).await, neutral(&without).await);
    assert_eq!(plain.0.len(), 9, "seven objects, and two that the cluster puts in every namespace");
    assert_eq!(plain.differences(&tagged, &[]), []);
    assert_eq!(replica_sets(&with).await, replica_sets(&without).await, "the pod templates differ");

    let witness = oracle::witness(stage.cluster, &["alice"]).await.unwrap();
    assert_eq!(witness.violations, Vec::<String>::new());
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

/// Without the labels, and without what is different in any two namespaces.
async fn neutral(home: &Home<'_>) -> Snapshot {
    let mut snapshot = Snapshot::take(home).await.unwrap();
    for object in snapshot.0.values_mut() {
        let text = object.to_string().replace(&home.name, "NAMESPACE");
        *object = serde_json::from_str(&text).unwrap();
        for (pointer, field) in INDIVIDUAL {
            fields(object, pointer).map(|fields| fields.remove(*field));
        }
        untag(object, "/metadata", "labels", "");
        let entries = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten() {
            untag(entry, "/fieldsV1/f:metadata", "f:labels", "f:");
        }
    }
    snapshot
}

const INDIVIDUAL: &[(&str, &str)] = &[
    ("/metadata", "uid"),
    ("/metadata", "creationTimestamp"),
    ("/spec", "clusterIP"),
    ("/spec", "clusterIPs"),
];

/// Removes the three labels from a map of labels, and the map if it holds nothing else.
fn untag(object: &mut Value, pointer: &str, map: &str, prefix: &str) {
    let Some(parent) = fields(object, pointer) else { return };
    let Some(Value::Object(labels)) = parent.get_mut(map) else { return };
    for tag in names::TAGS {
        labels.remove(&format!("{prefix}{tag}"));
    }
    if labels.keys().all(|key| key == ".") {
        parent.remove(map);
    }
}

fn fields<'a>(object: &'a mut Value, pointer: &str) -> Option<&'a mut Map<String, Value>> {
    object.pointer_mut(pointer).and_then(Value::as_object_mut)
}

/// Their names end with a digest of the pod template.
async fn replica_sets(home: &Home<'_>) -> String {
    let names = ["get", "replicasets,controllerrevisions", "-o", "name"];
    home.admin(&names).await.unwrap().success().unwrap().stdout
}
