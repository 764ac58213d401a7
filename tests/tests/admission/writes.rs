//! Every kind of write, through the API server.

use std::time::Duration;

use backout_model::undo::{Operation, Replicas};
use kube::api::{DeleteParams, DynamicObject, GetParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use system_tests::eventually;

use super::super::{ALICE, api, deployment, kubectl, log, map, namespace, tags};

#[tokio::test]
async fn each_write_of_an_object_leaves_one_record_and_the_records_are_a_chain() {
    let (cluster, ns) = namespace("chain").await;
    let maps = api(cluster, ALICE, &ns, "ConfigMap").await;
    let manager = Some("by-hand".to_owned());
    let post = PostParams { field_manager: manager.clone(), ..PostParams::default() };
    let patch = PatchParams { field_manager: manager, ..PatchParams::default() };

    let mut states = vec![maps.create(&post, &map("a", &json!({"step": "create"}))).await.unwrap()];
    let mut put = states[0].clone();
    put.data["data"]["step"] = json!("put");
    states.push(maps.replace("a", &post, &put).await.unwrap());
    let operations = json!([{"op": "replace", "path": "/data/step", "value": "json"}]);
    let operations = Patch::<()>::Json(serde_json::from_value(operations).unwrap());
    states.push(maps.patch("a", &patch, &operations).await.unwrap());
    let step = |step: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"step": step}});
    states.push(maps.patch("a", &patch, &Patch::Merge(step("merge"))).await.unwrap());
    states.push(maps.patch("a", &patch, &Patch::Strategic(step("strategic"))).await.unwrap());
    let by_force = PatchParams::apply("server-side").force();
    states.push(maps.patch("a", &by_force, &Patch::Apply(step("apply"))).await.unwrap());
    maps.delete("a", &DeleteParams::default()).await.unwrap();

    let records = log(cluster, &ns).await;
    let operations: Vec<_> = records.iter().map(|logged| logged.header().operation).collect();
    let updates = [Operation::Update; 5];
    assert_eq!(operations, [&[Operation::Create][..], &updates, &[Operation::Delete]].concat());
    for (index, logged) in records.iter().enumerate() {
        let (header, body) = (logged.header(), &logged.record.body);
        let before = index.checked_sub(1).map(|before| json(&states[before]));
        let after = states.get(index);
        assert_eq!(body.before, before, "the before-image of {header:?}");
        assert_eq!(header.uid.as_deref(), before.as_ref().and_then(|b| b["metadata"]["uid"].as_str()));
        let version = before.as_ref().and_then(|b| b["metadata"]["resourceVersion"].as_str());
        assert_eq!(header.resource_version.as_deref(), version);
        let previous = index.checked_sub(1).map(|before| records[before].record.name.clone());
        assert_eq!(header.undo, previous, "the chain is broken at {header:?}");
        let admitted = body.after.as_ref().map(|after| &after["data"]);
        assert_eq!(admitted, after.map(|after| &after.data["data"]));
        if let Some(after) = after {
            assert_eq!(tags(after), [ns.name(), "1", logged.name()]);
        }
        assert_eq!((header.user.as_str(), header.release.name.as_str()), ("alice", ns.name()));
    }
    let tools: Vec<_> = records.iter().map(|logged| logged.header().tool.as_str()).collect();
    assert_eq!(tools, ["by-hand", "by-hand", "by-hand", "by-hand", "by-hand", "server-side", ""]);
}

#[tokio::test]
async fn the_deletion_of_a_collection_leaves_one_record_per_object() {
    let (cluster, ns) = namespace("deletecollection").await;
    let maps = api(cluster, ALICE, &ns, "ConfigMap").await;
    for name in ["a", "b", "c"] {
        let mut object = map(name, &json!({"is": name}));
        object.metadata.labels = Some([("group".to_owned(), "x".to_owned())].into());
        maps.create(&PostParams::default(), &object).await.unwrap();
    }
    maps.create(&PostParams::default(), &map("d", &json!({}))).await.unwrap();
    let selected = ListParams::default().labels("group=x");
    maps.delete_collection(&DeleteParams::default(), &selected).await.unwrap();

    let records = log(cluster, &ns).await;
    let mut deleted: Vec<_> = records
        .iter()
        .filter(|logged| logged.header().operation == Operation::Delete)
        .map(|logged| {
            let before = &logged.record.body.before.as_ref().unwrap()["data"]["is"];
            (logged.header().object.key.name.as_str(), before.as_str().unwrap())
        })
        .collect();
    deleted.sort_unstable();
    assert_eq!(deleted, [("a", "a"), ("b", "b"), ("c", "c")]);
    assert_eq!(records.len(), 4 + 3);
}

#[tokio::test]
async fn a_scale_is_recorded_with_the_replicas_and_moves_no_tags() {
    let (cluster, ns) = namespace("scale").await;
    ns.apply(ALICE, &deployment("web")).await.unwrap();
    let deployments = api(cluster, ALICE, &ns, "Deployment").await;
    let before = tags(&deployments.get("web").await.unwrap());
    let scale = ["scale", "deployment/web", "--replicas=3"];
    kubectl(&ns, ALICE, &scale).await.success().unwrap();
    let records = log(cluster, &ns).await;
    // The API server asks again for each attempt: a controller may write in between.
    assert!(records.len() >= 2);
    for logged in &records[1..] {
        let header = logged.header();
        assert_eq!(header.operation, Operation::Scale);
        assert_eq!(header.replicas, Some(Replicas { before: 2, after: 3 }));
        assert_eq!(header.object.to_string(), format!("Deployment {}/web", ns.name()));
    }
    // The API server shows us what it has in its cache first.
    let cached = GetParams::at("0");
    eventually("the cache knows the replicas", Duration::from_secs(10), async || {
        let web = deployments.get_with("web", &cached).await?;
        Ok((web.data["spec"]["replicas"] == 3).then_some(()))
    })
    .await
    .unwrap();
    kubectl(&ns, ALICE, &scale).await.success().unwrap();
    assert_eq!(log(cluster, &ns).await.len(), records.len(), "the second scale changes nothing");
    let web = deployments.get("web").await.unwrap();
    assert_eq!(web.data["spec"]["replicas"], 3);
    assert_eq!(tags(&web), before);
}

#[tokio::test]
async fn an_object_whose_name_the_server_makes_is_recorded_and_its_next_record_tells_the_name() {
    let (cluster, ns) = namespace("generateName").await;
    let maps = api(cluster, ALICE, &ns, "ConfigMap").await;
    let mut object = map("", &json!({"a": "1"}));
    (object.metadata.name, object.metadata.generate_name) = (None, Some("made-".to_owned()));
    let mut made = [
        maps.create(&PostParams::default(), &object).await.unwrap(),
        maps.create(&PostParams::default(), &object).await.unwrap(),
    ];
    let names = made.clone().map(|made| made.metadata.name.unwrap());
    assert_ne!(names[0], names[1]);
    made[0].data["data"]["a"] = json!("2");
    maps.replace(&names[0], &PostParams::default(), &made[0]).await.unwrap();

    let records = log(cluster, &ns).await;
    let told: Vec<_> = records
        .iter()
        .map(|logged| (logged.header().object.key.name.as_str(), logged.header().generate_name.as_deref()))
        .collect();
    assert_eq!(told, [("", Some("made-")), ("", Some("made-")), (names[0].as_str(), None)]);
    assert_ne!(records[0].name(), records[1].name(), "two equal creates are two records");
    assert_eq!(records[2].header().undo.as_ref(), Some(&records[0].record.name));
}

#[tokio::test]
async fn a_replace_from_a_file_without_our_tags_is_tagged_again() {
    let (cluster, ns) = namespace("replace").await;
    let maps = api(cluster, ALICE, &ns, "ConfigMap").await;
    let first = maps.create(&PostParams::default(), &map("a", &json!({"a": "1"}))).await.unwrap();
    // The same content: the old tags come back, and nothing has happened.
    let same = maps.replace("a", &PostParams::default(), &map("a", &json!({"a": "1"}))).await.unwrap();
    assert_eq!(json(&same), json(&first));
    assert_eq!(log(cluster, &ns).await.len(), 1);

    let other = maps.replace("a", &PostParams::default(), &map("a", &json!({"a": "2"}))).await.unwrap();
    let records = log(cluster, &ns).await;
    assert_eq!(records.len(), 2);
    assert_eq!(tags(&other), [ns.name(), "1", records[1].name()]);
}

#[tokio::test]
async fn a_replace_of_a_version_that_is_gone_leaves_no_record() {
    let (cluster, ns) = namespace("conflict").await;
    let maps = api(cluster, ALICE, &ns, "ConfigMap").await;
    let mut late = maps.create(&PostParams::default(), &map("a", &json!({"a": "1"}))).await.unwrap();
    let fresh = Patch::Merge(json!({"data": {"a": "2"}}));
    let fresh = maps.patch("a", &PatchParams::default(), &fresh).await.unwrap();
    // The API server shows us what it has in its cache first.
    let cached = GetParams::at("0");
    eventually("the cache knows the new version", Duration::from_secs(10), async || {
        Ok((maps.get_with("a", &cached).await? == fresh).then_some(()))
    })
    .await
    .unwrap();
    late.data["data"]["a"] = json!("3");
    assert!(maps.replace("a", &PostParams::default(), &late).await.is_err());

    assert_eq!(json(&maps.get("a").await.unwrap()), json(&fresh));
    let all = cluster.records(ns.name()).await.unwrap();
    let after = all.iter().filter_map(|logged| logged.record.body.after.as_ref());
    assert!(after.map(|after| &after["data"]["a"]).all(|value| value != "3"), "{all:#?}");
    assert_eq!(log(cluster, &ns).await.pop().unwrap().name(), tags(&fresh)[2]);
}

fn json(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap()
}
