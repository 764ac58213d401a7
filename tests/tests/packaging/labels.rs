//! How what is shipped is labelled, and which version it is of.

use serde_json::Value;
use system_tests::Cluster;

use crate::{Rendered, named, rendered, shipped, templated};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The labels that tools group objects by.
const RECOMMENDED: [(&str, Option<&str>); 4] = [
    ("app.kubernetes.io/name", None),
    ("app.kubernetes.io/component", None),
    ("app.kubernetes.io/part-of", Some("backout")),
    ("app.kubernetes.io/version", Some(VERSION)),
];

#[tokio::test]
async fn each_object_and_each_pod_says_what_it_is_part_of_and_of_which_version() {
    let cluster = Cluster::shared().unwrap();
    for Rendered { folder, kustomized, templated } in rendered(cluster).await {
        for object in kustomized.iter().chain(templated) {
            let pods = object.pointer("/spec/template/metadata/labels");
            for labels in [Some(&object["metadata"]["labels"]), pods].into_iter().flatten() {
                for (label, wanted) in RECOMMENDED {
                    let found = labels[label].as_str();
                    assert!(found.is_some(), "{folder}: {} has no {label}", named(object));
                    assert!(wanted.is_none() || found == wanted, "{folder}: {}: {labels}", named(object));
                }
            }
        }
    }
}

#[tokio::test]
async fn images_and_chart_are_of_the_version_of_the_binaries() {
    let cluster = Cluster::shared().unwrap();
    let chart = std::fs::read_to_string(shipped("chart/backout/Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&chart).unwrap();
    assert_eq!((&chart["version"], &chart["appVersion"]), (&VERSION.into(), &VERSION.into()));
    assert_eq!(
        images(&rendered(cluster).await[0].kustomized),
        [format!("backout-watcher:{VERSION}"), format!("backout-webhook:{VERSION}")]
    );
}

#[tokio::test]
async fn images_come_from_where_the_values_say() {
    let cluster = Cluster::shared().unwrap();
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let settings = [
        "--set=images.registry=registry.example:5000/platform/",
        "--set=images.pullSecrets={pull}",
        "--set=images.pullPolicy=Always",
        "--set=webhook.image.tag=1.2.3",
        "--set=watcher.image.repository=mirror/watcher",
        &format!("--set=watcher.image.digest={digest}"),
    ];
    let objects = templated(cluster, &[], &settings).await;
    assert_eq!(
        images(&objects),
        [
            "registry.example:5000/platform/backout-webhook:1.2.3".to_owned(),
            format!("registry.example:5000/platform/mirror/watcher@{digest}"),
        ]
    );
    for deployment in objects.iter().filter(|object| object["kind"] == "Deployment") {
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["imagePullSecrets"][0]["name"], "pull");
        assert_eq!(pod["containers"][0]["imagePullPolicy"], "Always");
    }
}

/// Sorted.
fn images(objects: &[Value]) -> Vec<String> {
    let of = |object: &Value| {
        object.pointer("/spec/template/spec/containers/0/image")?.as_str().map(str::to_owned)
    };
    let mut images: Vec<_> = objects.iter().filter_map(of).collect();
    images.sort();
    images
}
