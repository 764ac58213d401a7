//! What is shipped to install Backout: kustomizations and a chart that say the same, what a cluster makes of them, and the
//! programs' bills of materials.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod packaging {
    mod bills;
    mod equality;
    mod installed;
    mod labels;
    mod namespaced;
    mod programs;
    mod values;
}

use futures::future::join_all;
use serde_json::Value;
use system_tests::{Cluster, Output};
use tokio::sync::OnceCell;

/// A kustomization, and the values with which the chart says the same.
struct Variant {
    folder: &'static str,
    values: &'static [&'static str],
}

const VARIANTS: [Variant; 8] = [
    Variant { folder: "base", values: &[] },
    Variant { folder: "overlays/single", values: &["single"] },
    Variant { folder: "overlays/ha", values: &["ha"] },
    Variant { folder: "overlays/ignore", values: &["ignore"] },
    Variant { folder: "overlays/namespaced", values: &["namespaced"] },
    Variant { folder: "overlays/cert-manager", values: &["cert-manager"] },
    // Of several components, as users combine them.
    Variant { folder: "../tests/tests/packaging/combined/large", values: &["cert-manager", "ha", "ignore"] },
    Variant {
        folder: "../tests/tests/packaging/combined/small",
        values: &["single", "ignore", "namespaced"],
    },
];

/// Of kinds that a cluster without cert-manager does not know.
const ONLY_WITH_CERT_MANAGER: [&str; 2] = ["Certificate", "Issuer"];

/// The path of something that is shipped.
fn shipped(path: &str) -> String {
    format!("{}/../manifests/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// What a variant is, rendered both ways.
struct Rendered {
    folder: &'static str,
    kustomized: Vec<Value>,
    templated: Vec<Value>,
}

/// All variants, rendered once.
async fn rendered(cluster: &Cluster) -> &'static [Rendered] {
    static RENDERED: OnceCell<Vec<Rendered>> = OnceCell::const_new();
    let render = async || {
        let all = VARIANTS.iter().map(async |Variant { folder, values }| Rendered {
            folder,
            kustomized: kustomized(cluster, folder).await,
            templated: templated(cluster, values, &[]).await,
        });
        join_all(all).await
    };
    RENDERED.get_or_init(render).await
}

/// The objects of a kustomization.
async fn kustomized(cluster: &Cluster, folder: &str) -> Vec<Value> {
    let rendered = cluster.kubectl().run(&["kustomize", &shipped(folder)]).await.unwrap().success().unwrap();
    serde_saphyr::from_multiple(&rendered.stdout).unwrap()
}

/// The objects of the chart, with these examples of values and further arguments.
async fn templated(cluster: &Cluster, examples: &[&str], further: &[&str]) -> Vec<Value> {
    let rendered = helm(cluster, "template", examples, further).await.success().unwrap();
    serde_saphyr::from_multiple(&rendered.stdout).unwrap()
}

/// Helm does this with the chart.
async fn helm(cluster: &Cluster, verb: &str, examples: &[&str], further: &[&str]) -> Output {
    let chart = shipped("chart/backout");
    let examples: Vec<_> =
        examples.iter().map(|name| format!("--values={chart}/examples/{name}.yaml")).collect();
    let mut args = vec![verb, "backout", &chart, "--namespace=backout-system"];
    args.extend(examples.iter().map(String::as_str));
    args.extend(further);
    cluster.helm().run(&args).await.unwrap()
}

/// `KIND NAMESPACE/NAME`.
fn named(object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}
