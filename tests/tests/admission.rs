//! The webhook as the API server calls it: what is tagged and recorded of which write, and what is left alone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod admission {
    mod marks;
    mod noops;
    mod scope;
    mod warnings;
    mod writes;
}

use std::collections::{BTreeMap, BTreeSet};

use backout_model::{names, undo::Operation};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, TypeMeta},
};
use serde::Deserialize;
use serde_json::{Value, json};
use system_tests::{Backout, Cluster, Output, TestNamespace, User, records::Logged};

const ALICE: User<'static> = User::Named("alice");

/// A namespace of alice's that opted in, in which no revision ends while the test looks.
async fn namespace(promise: &str) -> (&'static Cluster, TestNamespace<'static>) {
    let (cluster, _) = Backout::shared().unwrap();
    let ns = TestNamespace::atomic(cluster, promise, &[("backout.dev/settle", "10m")]).await.unwrap();
    ns.grant("alice").await.unwrap();
    (cluster, ns)
}

/// The records of the namespace in log order, but for those of the grants that the tests make themselves, and of
/// attempts that met a stale cache of the API server: it asks us again for the next one.
async fn log(cluster: &Cluster, ns: &TestNamespace<'_>) -> Vec<Logged> {
    let mut records = cluster.records(ns.name()).await.unwrap();
    let kinds = ["get", "configmaps,secrets,services,deployments", "-o", "json"];
    let live = kubectl(ns, User::Admin, &kinds).await.success().unwrap().stdout;
    let live: List<DynamicObject> = serde_json::from_str(&live).unwrap();
    let mut carried: BTreeSet<_> =
        live.items.iter().filter_map(|object| labels(object).remove(names::UNDO)).collect();
    carried
        .extend(records.iter().filter_map(|logged| logged.header().undo.as_ref().map(ToString::to_string)));
    let deletions: BTreeMap<_, _> = records
        .iter()
        .filter(|logged| logged.header().operation == Operation::Delete)
        .map(|logged| (logged.header().uid.clone(), logged.name().to_owned()))
        .collect();
    records.retain(|logged| {
        let header = logged.header();
        let committed = match header.operation {
            Operation::Update => carried.contains(logged.name()),
            Operation::Delete => deletions[&header.uid] == logged.name(),
            Operation::Create | Operation::Scale => true,
        };
        committed && header.object.key.resource != "rolebindings"
    });
    records
}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

async fn kubectl(ns: &TestNamespace<'_>, user: User<'_>, args: &[&str]) -> Output {
    let (cluster, _) = Backout::shared().unwrap();
    cluster.kubectl().user(user).run(&[&["-n", ns.name()], args].concat()).await.unwrap()
}

/// Objects as the server tells them, fields and all.
async fn api(cluster: &Cluster, user: User<'_>, ns: &TestNamespace<'_>, kind: &str) -> Api<DynamicObject> {
    let (api_version, plural) = match kind {
        "ConfigMap" => ("v1", "configmaps"),
        "Deployment" => ("apps/v1", "deployments"),
        _ => panic!("no test needs a {kind}"),
    };
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    Api::namespaced_with(cluster.client(user).await.unwrap(), ns.name(), &resource)
}

fn map(name: &str, data: &Value) -> DynamicObject {
    DynamicObject {
        types: Some(TypeMeta { api_version: "v1".to_owned(), kind: "ConfigMap".to_owned() }),
        metadata: serde_json::from_value(json!({ "name": name })).unwrap(),
        data: json!({ "data": data }),
    }
}

fn labels(object: &DynamicObject) -> BTreeMap<String, String> {
    object.metadata.labels.clone().unwrap_or_default()
}

/// The three tags; empty for what is missing.
fn tags(object: &DynamicObject) -> [String; 3] {
    names::TAGS.map(|tag| labels(object).remove(tag).unwrap_or_default())
}

fn deployment(name: &str) -> String {
    let template = json!({ "metadata": { "labels": { "app": name } },
        "spec": { "containers": [{ "name": "c", "image": "registry.example/ready:1" }] } });
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": { "replicas": 2, "selector": { "matchLabels": { "app": name } }, "template": template } })
    .to_string()
}
