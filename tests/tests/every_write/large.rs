//! Objects as large as the server takes them, and with as many owners.

use anyhow::{Result, ensure};
use backout_model::names;
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Map, Value, json};
use system_tests::eventually;

use super::case::{
    Case,
    Step::{Do, Kubectl},
    case, play,
};
use super::scene::{ALICE, CONTROLLER, PATIENCE, Scene, patient};

#[tokio::test]
async fn an_object_of_a_megabyte_is_changed_and_deleted_and_comes_back() {
    play(&LARGE).await;
}

#[tokio::test]
async fn the_fields_of_five_hundred_owners_are_changed_and_deleted_and_come_back() {
    play(&OWNED).await;
}

const LARGE: [Case; 2] = [
    case("large-changed", &[Do(|scene| Box::pin(create(scene)))], &[Do(|scene| Box::pin(change(scene)))])
        .recorded(&["Update ConfigMap/a"]),
    case("large-deleted", &[Do(|scene| Box::pin(create(scene)))], &[Kubectl("delete configmap a")])
        .recorded(&["Delete ConfigMap/a"])
        .anew(&["ConfigMap/a"]),
];

fn noise() -> Value {
    let noise: String = (0..1_000_000).map(|_| char::from(rand::random_range(b'!'..b'~'))).collect();
    json!({ "key": noise })
}

async fn create(scene: &Scene) -> Result<()> {
    recorded(scene, &noise()).await
}

/// Creates the map; again, where the API server had not heard yet that the namespace opted in.
async fn recorded(scene: &Scene, data: &Value) -> Result<()> {
    let maps = scene.api(ALICE, "ConfigMap").await?;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let map = serde_json::from_value(map)?;
    eventually("it is recorded", PATIENCE, async || {
        let created = maps.create(&PostParams::default(), &map).await?;
        if created.labels().contains_key(names::UNDO) {
            return Ok(Some(()));
        }
        patient("its deletion", async || maps.delete("a", &DeleteParams::default()).await).await?;
        Ok(None)
    })
    .await
}

async fn change(scene: &Scene) -> Result<()> {
    let maps = scene.api(ALICE, "ConfigMap").await?;
    let mut map = maps.get("a").await?;
    map.data = json!({ "data": noise() });
    patient("it", async || maps.replace("a", &PostParams::default(), &map).await).await.map(drop)
}

const OWNED: [Case; 2] = [
    case("owners-changed", &[Do(|scene| Box::pin(own(scene)))], &[Do(|scene| Box::pin(take(scene)))])
        .recorded(&["Update ConfigMap/a"]),
    case("owners-deleted", &[Do(|scene| Box::pin(own(scene)))], &[Kubectl("delete configmap a")])
        .recorded(&["Delete ConfigMap/a"])
        .anew(&["ConfigMap/a"]),
];
const OWNERS: usize = 500;

/// Each key of the map has another owner. To apply them one by one would take the server minutes.
async fn own(scene: &Scene) -> Result<()> {
    let data: Map<String, Value> =
        (0..OWNERS).map(|number| (format!("key-{number}"), json!("old"))).collect();
    let entries: Vec<_> = data
        .keys()
        .map(|key| {
            json!({"manager": format!("manager-of-{key}"), "operation": "Apply", "apiVersion": "v1",
                "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:data": {format!("f:{key}"): {}}}})
        })
        .collect();
    recorded(scene, &data.into()).await?;
    let owners = json!([{"op": "replace", "path": "/metadata/managedFields", "value": entries}]);
    let owners = Patch::<()>::Json(serde_json::from_value(owners)?);
    let maps = scene.api(CONTROLLER, "ConfigMap").await?;
    let params = PatchParams::default();
    let owned = patient("who owns it", async || maps.patch("a", &params, &owners).await).await?;
    let count = owned.metadata.managed_fields.map_or(0, |entries| entries.len());
    ensure!(count == OWNERS, "it has {count} owners");
    Ok(())
}

/// Every other key goes to one owner.
async fn take(scene: &Scene) -> Result<()> {
    let maps = scene.api(ALICE, "ConfigMap").await?;
    let data: Value = (0..OWNERS).step_by(2).map(|number| (format!("key-{number}"), json!("new"))).collect();
    let (params, patch) = (PatchParams::default(), Patch::Merge(json!({ "data": data })));
    patient("every other key", async || maps.patch("a", &params, &patch).await).await.map(drop)
}
