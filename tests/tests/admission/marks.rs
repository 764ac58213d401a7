//! Which release a write belongs to, and how its record lies in the cluster.

use std::{collections::BTreeMap, time::Duration};

use backout_model::names;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams},
};
use serde_json::Value;
use system_tests::{User, backout::NAMESPACE, eventually, stories::Stage};

use super::super::{ALICE, api, log, namespace, tags};

#[tokio::test]
async fn an_unmarked_object_belongs_to_the_release_of_its_namespace_and_a_mark_wins() {
    let (cluster, ns) = namespace("marks").await;
    let helm = format!("meta.helm.sh/release-name: chart, meta.helm.sh/release-namespace: {}", ns.name());
    let foreign = "meta.helm.sh/release-name: chart, meta.helm.sh/release-namespace: elsewhere";
    let own = ns.name().to_owned();
    for (name, metadata, release) in [
        ("plain", String::new(), own.as_str()),
        ("label", "labels: {backout.dev/release-name: shop}".to_owned(), "shop"),
        ("annotation", "annotations: {backout.dev/release-name: shop}".to_owned(), "shop"),
        ("helm", format!("annotations: {{{helm}}}"), "chart"),
        (
            "hook",
            "labels: {app.kubernetes.io/instance: chart}, annotations: {helm.sh/hook: pre-upgrade}"
                .to_owned(),
            "chart",
        ),
        ("both", format!("annotations: {{backout.dev/release-name: shop, {helm}}}"), "shop"),
        ("foreign", format!("annotations: {{{foreign}}}"), own.as_str()),
        (
            "label-first",
            "labels: {backout.dev/release-name: shop}, annotations: {backout.dev/release-name: x}".to_owned(),
            "shop",
        ),
    ] {
        let metadata = if metadata.is_empty() { metadata } else { format!(", {metadata}") };
        let manifest = format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}{metadata}}}}}");
        ns.apply(ALICE, &manifest).await.unwrap();
        let record = log(cluster, &ns).await.pop().unwrap();
        assert_eq!(record.header().object.key.name, name);
        assert_eq!(record.header().release.name.as_str(), release, "{name}");
        assert_eq!(record.header().release.namespace, own);
        let object = api(cluster, ALICE, &ns, "ConfigMap").await.get(name).await.unwrap();
        assert_eq!(tags(&object), [release, "1", record.name()], "{name}");
        assert_eq!(record.head.labels()[names::RELEASE], release);
    }
}

#[tokio::test]
async fn what_helm_installs_is_a_release_of_the_name_that_helm_gave_it() {
    let (cluster, ns) = namespace("helm").await;
    let chart = Stage::file("web");
    let install = ["install", "shop-front", &chart, "-n", ns.name()];
    cluster.helm().user(ALICE).run(&install).await.unwrap().success().unwrap();
    let records = log(cluster, &ns).await;
    assert!(records.iter().all(|logged| logged.header().release.name.as_str() == "shop-front"));
    let kinds: BTreeMap<_, _> = records
        .iter()
        .map(|logged| (logged.header().object.key.name.as_str(), logged.header().object.kind.as_str()))
        .collect();
    assert_eq!(kinds["sh.helm.release.v1.shop-front.v1"], "Secret");
    let first: Vec<_> = records.iter().filter(|logged| logged.header().begins).collect();
    assert_eq!(first.len(), 1, "the creation of Helm's Secret begins the transaction, and nothing else does");
    let mut objects: Vec<_> = records.iter().map(|logged| logged.header().object.kind.as_str()).collect();
    objects.dedup();
    objects.sort_unstable();
    // Helm's Secret is written twice: pending-install, then deployed.
    assert_eq!(objects, ["ConfigMap", "Deployment", "Secret", "Secret", "Service"]);
}

#[tokio::test]
async fn a_person_reads_a_record_with_kubectl_base64_and_gunzip() {
    let (cluster, ns) = namespace("readable records").await;
    let manifest = |value: &str| {
        format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a}}, data: {{key: {value}}}}}")
    };
    ns.apply(ALICE, &manifest("old")).await.unwrap();
    ns.apply(ALICE, &manifest("new")).await.unwrap();
    let record = log(cluster, &ns).await.pop().unwrap();
    let get = ["get", "secret", record.name(), "-n", NAMESPACE, "-o", "jsonpath={.data.body}"];
    let printed = cluster.kubectl().run(&get).await.unwrap().success().unwrap().stdout;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), printed).unwrap();
    let mut shell = std::process::Command::new("sh");
    let shell = shell.args(["-c", "base64 -d < \"$0\" | gunzip"]).arg(file.path()).output().unwrap();
    let body: Value = serde_json::from_slice(&shell.stdout).unwrap();
    assert_eq!(
        (&body["before"]["data"]["key"], &body["after"]["data"]["key"]),
        (&"old".into(), &"new".into())
    );

    let head = &record.head;
    assert_eq!((head.type_.as_deref(), head.immutable), (Some(names::RECORD_TYPE), Some(true)));
    let labels: BTreeMap<_, _> =
        head.labels().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let wanted = [(names::PART, "head"), (names::RELEASE, ns.name()), (names::RELEASE_NAMESPACE, ns.name())];
    assert_eq!(labels, wanted.into());
}

#[tokio::test]
async fn a_record_too_large_for_one_secret_lies_in_pieces() {
    let (cluster, ns) = namespace("large records").await;
    // Noise in base64 shrinks to three quarters; two images of 900 kB make more than one Secret holds.
    let noise = || -> String { (0..900_000).map(|_| char::from(rand::random_range(b'!'..b'~'))).collect() };
    let manifest = |noise: &str| serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"key": noise}});
    let (old, new) = (noise(), noise());
    let maps = api(cluster, ALICE, &ns, "ConfigMap").await;
    let object = |noise: &str| serde_json::from_value(manifest(noise)).unwrap();
    let post = PostParams::default();
    // On a busy machine so much may take longer than a webhook has: then the write is refused, and tried again.
    eventually("it is created", Duration::from_mins(1), async || {
        Ok(Some(maps.create(&post, &object(&old)).await?))
    })
    .await
    .unwrap();
    eventually("it is changed", Duration::from_mins(1), async || {
        Ok(Some(maps.replace("a", &post, &object(&new)).await?))
    })
    .await
    .unwrap();

    let record = log(cluster, &ns).await.pop().unwrap();
    let data = |image: &Option<Value>| image.as_ref().unwrap()["data"]["key"].as_str().unwrap().to_owned();
    assert!(data(&record.record.body.before) == old && data(&record.record.body.after) == new);
    let secrets: Api<Secret> = Api::namespaced(cluster.client(User::Admin).await.unwrap(), NAMESPACE);
    let selector = format!("{}=piece,{}={}", names::PART, names::RELEASE_NAMESPACE, ns.name());
    let pieces = secrets.list(&ListParams::default().labels(&selector)).await.unwrap().items;
    let of_record: Vec<_> =
        pieces.iter().filter(|piece| piece.name_any().starts_with(record.name())).collect();
    assert_eq!(record.head.annotations()[names::PIECES], of_record.len().to_string());
    assert_eq!((of_record.len(), record.head.data.as_ref()), (2, None));
}
