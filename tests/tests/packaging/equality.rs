//! The chart says what the kustomizations say.

use std::collections::BTreeMap;

use backout_model::identity::Deployers;
use backout_webhook::configuration::configuration;
use serde_json::{Value, json};
use system_tests::Cluster;

use crate::{Rendered, VARIANTS, named, rendered, shipped, templated};

/// What kustomizations have and the chart has not: Helm needs the namespace before it can install anything.
const ONLY_KUSTOMIZED: [&str; 1] = ["Namespace /backout-system"];

/// Of all objects, or of those of a kind: where in it, and what.
type Said = (Option<&'static str>, &'static str, fn() -> Value);

/// What the chart says and kustomizations do not.
const ONLY_CHART: [Said; 5] = [
    // Releases are not to go with the chart.
    (
        Some("CustomResourceDefinition"),
        "/metadata/annotations",
        || json!({"helm.sh/resource-policy": "keep"}),
    ),
    // Helm's own labels.
    (None, "/metadata/labels/app.kubernetes.io~1managed-by", || json!("Helm")),
    (None, "/metadata/labels/helm.sh~1chart", chart),
    (Some("Deployment"), "/spec/template/metadata/labels/app.kubernetes.io~1managed-by", || json!("Helm")),
    (Some("Deployment"), "/spec/template/metadata/labels/helm.sh~1chart", chart),
];

fn chart() -> Value {
    json!(concat!("backout-", env!("CARGO_PKG_VERSION")))
}

fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let count = objects.len();
    let named: BTreeMap<_, _> = objects.into_iter().map(|object| (named(&object), object)).collect();
    assert_eq!(named.len(), count, "something is there twice: {:?}", named.keys());
    named
}

/// The objects of the chart without what only the chart may say, which all of them have to.
fn without_what_is_helms(mut objects: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    for (name, object) in &mut objects {
        let kind = object["kind"].clone();
        for (_, pointer, value) in ONLY_CHART.iter().filter(|(of, ..)| of.is_none_or(|of| kind == of)) {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let parent = object.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
            assert_eq!(parent.remove(&key.replace("~1", "/")), Some(value()), "{name}: {pointer}");
        }
    }
    objects
}

#[tokio::test]
async fn each_kustomization_and_the_values_of_its_name_give_the_same_objects() {
    let cluster = Cluster::shared().unwrap();
    for Rendered { folder, kustomized, templated } in rendered(cluster).await {
        let mut kustomized = by_name(kustomized.clone());
        for name in ONLY_KUSTOMIZED {
            assert!(kustomized.remove(name).is_some(), "{folder}: {name}");
        }
        let templated = without_what_is_helms(by_name(templated.clone()));
        let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&kustomized), names(&templated), "{folder}");
        assert!(kustomized.len() >= 20, "{folder} has only {:?}", names(&kustomized));
        for (name, object) in &kustomized {
            assert_eq!(object, &templated[name], "{folder}: {name}");
        }
    }
}

#[test]
fn each_overlay_is_compared() {
    let overlays = std::fs::read_dir(shipped("overlays")).unwrap();
    for overlay in overlays {
        let folder = format!("overlays/{}", overlay.unwrap().file_name().to_str().unwrap());
        assert!(VARIANTS.iter().any(|variant| variant.folder == folder), "{folder}");
    }
    let examples = std::fs::read_dir(shipped("chart/backout/examples")).unwrap();
    for example in examples {
        let name = example.unwrap().file_name().into_string().unwrap();
        let compared =
            VARIANTS.iter().any(|variant| variant.values.contains(&name.trim_end_matches(".yaml")));
        assert!(compared, "{name}");
    }
}

#[tokio::test]
async fn the_chart_tells_the_api_server_of_deployers_what_the_webhook_would_tell_it() {
    let cluster = Cluster::shared().unwrap();
    let accounts = ["ci:deployer", "tools:robot.7"];
    let values = format!("--set=webhook.deployers={{{}}}", accounts.join(","));
    let objects = templated(cluster, &[], &[&values]).await;
    let told = objects.iter().find(|object| object["kind"] == "MutatingWebhookConfiguration").unwrap();
    let printed = serde_json::to_value(configuration(&Deployers::new(accounts).unwrap())).unwrap();
    assert_eq!(told["webhooks"], printed["webhooks"]);

    let is_webhook = |object: &&Value| named(object) == "Deployment backout-system/backout-webhook";
    let webhook = objects.iter().find(is_webhook).unwrap();
    let args = webhook["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    let named: Vec<_> = args.iter().filter_map(|arg| arg.as_str()?.strip_prefix("--deployer=")).collect();
    assert_eq!(named, accounts);
}

#[tokio::test]
async fn what_is_switched_off_is_not_there() {
    let cluster = Cluster::shared().unwrap();
    let switches: [(&str, &[&str]); 5] = [
        ("crds.install", &["CustomResourceDefinition"]),
        ("networkPolicies.enabled", &["NetworkPolicy"]),
        ("flowControl.enabled", &["FlowSchema", "PriorityLevelConfiguration"]),
        ("webhook.podDisruptionBudget.enabled", &["PodDisruptionBudget"]),
        ("watcher.podDisruptionBudget.enabled", &["PodDisruptionBudget"]),
    ];
    let all: Vec<_> = templated(cluster, &[], &[]).await.iter().map(named).collect();
    for (switch, kinds) in switches {
        let left = templated(cluster, &[], &[&format!("--set={switch}=false")]).await;
        let left: Vec<_> = left.iter().map(named).collect();
        let gone: Vec<_> = all.iter().filter(|name| !left.contains(name)).collect();
        let part = switch.split('.').next().unwrap();
        let meant = all.iter().filter(|name| {
            let of_kind = kinds.iter().any(|kind| name.starts_with(&format!("{kind} ")));
            of_kind && (kinds != ["PodDisruptionBudget"] || name.ends_with(part))
        });
        assert_eq!(gone, meant.collect::<Vec<_>>(), "{switch}");
        assert!(!gone.is_empty(), "{switch}");
    }
}

#[tokio::test]
async fn the_chart_is_well_formed_with_each_example_of_values() {
    let cluster = Cluster::shared().unwrap();
    let chart = shipped("chart/backout");
    for variant in &VARIANTS {
        let examples: Vec<_> =
            variant.values.iter().map(|name| format!("--values={chart}/examples/{name}.yaml")).collect();
        let mut args = vec!["lint", "--strict", "--namespace=backout-system", &chart];
        args.extend(examples.iter().map(String::as_str));
        let output = cluster.helm().run(&args).await.unwrap().success().unwrap();
        assert!(output.stdout.contains("1 chart(s) linted, 0 chart(s) failed"), "{}", output.stdout);
    }
    let elsewhere = ["template", "backout", &chart, "--namespace=tools"];
    let refused = cluster.helm().run(&elsewhere).await.unwrap();
    assert!(refused.stderr.contains("Install it with --namespace backout-system"), "{}", refused.stderr);
}
