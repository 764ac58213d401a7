//! Many writers of one object, and other webhooks that change what Backout's has seen.

use backout_model::names;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use system_tests::{
    User,
    proxy::{Call, Fate, Proxy},
};

use super::{
    super::{calls, goes_back, set, stage, trails_of},
    deployer::{Deployer, healthy, is_busy, map_name},
    route::{allow, beside, request},
};

#[tokio::test]
async fn fifty_writers_of_one_object_leave_one_trail_that_leads_back_before_all_of_them() {
    const WRITERS: usize = 50;
    let stage = stage().await;
    let home = stage.home("fifty").await.unwrap();
    let before = healthy(&home, 1).await;
    set(&home, &[("settle", "10m")]).await;

    let begin = Timestamp::now();
    let client = stage.cluster.client(User::Named("alice")).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client, &home.name);
    let (maps, hot) = (&maps, &map_name(0));
    let refused: usize = join_all((0..WRITERS).map(async |writer| {
        let patch = Patch::Merge(json!({ "data": { format!("writer-{writer}"): "was here" } }));
        let mut refused = 0;
        // The API server itself tries again only five times.
        while let Err(error) = maps.patch(hot, &PatchParams::default(), &patch).await {
            let is_conflict = matches!(&error, kube::Error::Api(status) if status.code == 409);
            assert!(is_conflict || is_busy(&error), "{error:?}");
            refused += 1;
        }
        refused
    }))
    .await
    .into_iter()
    .sum();

    let written = maps.get(hot).await.unwrap().data.unwrap();
    assert_eq!(written.keys().filter(|key| key.starts_with("writer-")).count(), WRITERS);
    let trail = trails_of(&home).await.unwrap_or_else(|why| panic!("{why:#}")).remove(hot).unwrap();
    assert_eq!(trail.records.len(), WRITERS);
    let records = calls(&home, begin).await[hot];
    println!("{records} calls for {WRITERS} writes, {refused} refused");
    assert!(records > WRITERS, "there was no contention: {records} records");

    Deployer::of(&home).await.web("missing").await.unwrap();
    set(&home, &[("settle", "2s")]).await;
    goes_back(&home, &before, &[]).await;
}

#[tokio::test]
async fn a_webhook_that_changes_the_object_after_ours_is_part_of_the_record_and_of_the_way_back() {
    changed_beside("zzz-after").await;
}

#[tokio::test]
async fn a_webhook_that_changes_the_object_before_ours_is_part_of_the_record_and_of_the_way_back() {
    changed_beside("aa-before").await;
}

/// An upgrade that fails, beside a webhook that copies one field of each ConfigMap to another.
async fn changed_beside(name: &str) {
    let stage = stage().await;
    // Nobody is behind it: it answers by itself.
    let proxy = Proxy::start(stage.cluster, &stage.cluster.url()).await.unwrap();
    proxy.rule(|call| Fate::Reply(allow(call, copies(call).as_ref())));
    let home = stage.home(name).await.unwrap();
    beside(&home, name, &proxy, "IfNeeded").await;
    let before = healthy(&home, 4).await;
    set(&home, &[("settle", "10m")]).await;
    let begin = Timestamp::now();

    let deployer = Deployer::of(&home).await;
    for value in ["second", "third"] {
        deployer.maps(3, value).await.unwrap();
    }
    deployer.delete_map(&map_name(3)).await.unwrap();
    let new = deployer.map("new", "first").await.unwrap();
    assert_eq!(new.data.as_ref().unwrap()["copy"], "first");
    let trails = trails_of(&home).await.unwrap_or_else(|why| panic!("{why:#}"));
    let committed: usize = trails.values().map(|trail| trail.records.len()).sum();
    assert_eq!(committed, 2 * 3 + 1, "{trails:#?}");
    assert_eq!(trails["new"].records[0].name(), new.labels()[names::UNDO]);
    let calls: usize = calls(&home, begin).await.values().sum();
    println!("{name}: {calls} calls for {committed} writes and a deletion");
    // Where the other one comes after ours and changes something, ours is asked again.
    assert!(calls >= if name.starts_with("zzz") { 2 * committed + 1 } else { committed + 1 });

    deployer.web("missing").await.unwrap();
    set(&home, &[("settle", "2s")]).await;
    goes_back(&home, &before, &[&format!("ConfigMap/{}", map_name(3))]).await;
}

/// What the webhook beside changes, unless it is so.
fn copies(call: &Call) -> Option<Value> {
    let data = &request(call)["object"]["data"];
    let value = data["value"].as_str()?;
    (data["copy"] != value).then(|| json!([{ "op": "add", "path": "/data/copy", "value": value }]))
}
