//! What stands in the way of a rollback, and what people are told meanwhile.

use std::time::Duration;

use anyhow::{Context as _, Result};
use backout_model::release::Phase;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt as _, api::DeleteParams};
use serde_json::json;
use system_tests::{User, eventually};

use super::case::Step::{self, Controller, Kubectl, Pipe};
use super::scene::{CONTROLLER, PATIENCE, Scene, patient, stage};

const HELD: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, finalizers: [example.com/held]}, data: {key: old}}";
const FREE: &[Step] = &[Controller("ConfigMap/a", r#"{"metadata": {"finalizers": null}}"#)];

/// A scene in which `before` is healthy, and `change` has failed.
async fn failed(name: &str, before: &[Step], change: &[Step]) -> Result<Scene> {
    let mut scene = Scene::open(stage().await, name).await?;
    scene.all(before).await?;
    scene.healthy().await?;
    scene.hold_open().await?;
    scene.all(change).await?;
    scene.fail().await?;
    Ok(scene)
}

/// Waits until the Release says so while it is rolling back.
async fn told(scene: &Scene, parts: &[&str]) -> Result<()> {
    eventually(format!("it tells {parts:?}"), PATIENCE, async || {
        let status = scene.home.release(&scene.home.name).await?.status.unwrap_or_default();
        let is_told = status.phase == Some(Phase::RollingBack)
            && parts.iter().all(|part| status.message.contains(part));
        if is_told { Ok(Some(())) } else { anyhow::bail!("{status:#?}") }
    })
    .await
}

#[tokio::test]
async fn an_object_that_waits_for_its_finalizers_comes_back_when_it_is_gone_and_meanwhile_that_is_told() {
    let deletion = [Kubectl("delete configmap a --wait=false"), Kubectl("create configmap new")];
    let scene = failed("held-deleted", &[Pipe("apply -f -", HELD)], &deletion).await.unwrap();
    told(
        &scene,
        &["Rolling back is held up by ConfigMap", "is being deleted; it is created again when it is gone"],
    )
    .await
    .unwrap();
    // Nothing else waits for it.
    scene.until("get configmap -o name", |names| !names.contains("configmap/new")).await.unwrap();
    scene.all(FREE).await.unwrap();
    let status = scene.end().await.unwrap();
    assert_eq!((status.phase, status.unrestored), (Some(Phase::RolledBack), vec![]));
    let state = scene.snapshot().await.unwrap();
    let map = &state.0["ConfigMap/a"];
    assert_eq!(
        (&map["data"]["key"], &map["metadata"]["finalizers"][0]),
        (&json!("old"), &json!("example.com/held"))
    );
    scene.all(FREE).await.unwrap();
}

#[tokio::test]
async fn what_the_release_created_with_finalizers_is_told_of_until_it_is_gone() {
    let scene = failed("held-created", &[Kubectl("create configmap old")], &[Pipe("apply -f -", HELD)])
        .await
        .unwrap();
    told(&scene, &["Rolling back is held up by ConfigMap", "is being deleted and waits for its finalizers"])
        .await
        .unwrap();
    scene.all(FREE).await.unwrap();
    let status = scene.end().await.unwrap();
    assert_eq!((status.phase, status.unrestored), (Some(Phase::RolledBack), vec![]));
    assert!(!scene.snapshot().await.unwrap().0.contains_key("ConfigMap/a"));
}

/// Makes a ConfigMap of another controller's the controlling owner of an object.
pub(super) async fn adopt(scene: &Scene, object: &str) -> Result<()> {
    let (kind, name) = object.split_once('/').context("Kind/name")?;
    let owner = scene.api(User::Admin, "ConfigMap").await?.get("kube-root-ca.crt").await?;
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner.name_any(), "uid": owner.uid(),
        "controller": true});
    let owners = kube::api::Patch::Merge(json!({"metadata": {"ownerReferences": [reference]}}));
    let (api, params) = (scene.api(CONTROLLER, kind).await?, kube::api::PatchParams::default());
    patient("an owner", async || api.patch(name, &params, &owners).await).await.map(drop)
}

#[tokio::test]
async fn a_namespace_that_is_deleted_in_the_middle_of_a_rollback_takes_all_with_it() {
    let deletion = [Kubectl("delete configmap a --wait=false"), Kubectl("create configmap new")];
    let scene = failed("leaving", &[Pipe("apply -f -", HELD)], &deletion).await.unwrap();
    told(&scene, &["Rolling back"]).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(scene.client.clone());
    namespaces.delete(&scene.home.name, &DeleteParams::default()).await.unwrap();
    eventually("the Release goes", PATIENCE, async || {
        Ok(scene.home.release(&scene.home.name).await.is_err().then_some(()))
    })
    .await
    .unwrap();
    scene.all(FREE).await.unwrap();
    eventually("the namespace goes", PATIENCE, async || {
        Ok(namespaces.get_opt(&scene.home.name).await?.is_none().then_some(()))
    })
    .await
    .unwrap();
    // Orphaned records are kept for two minutes: caches may lag behind.
    let records = async || Ok(scene.records().await?.is_empty().then_some(()));
    eventually("the records go", PATIENCE + Duration::from_mins(2), records).await.unwrap();
}
