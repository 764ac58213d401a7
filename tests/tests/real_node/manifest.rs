//! The objects of a case, before its upgrade and after.

use serde_json::{Value, json};
use system_tests::node::IMAGE;

use super::{
    arena::Arena,
    cases::{Case, Change},
};

/// What is applied.
#[derive(Clone, Copy)]
pub(crate) enum Version<'a> {
    /// Serves, and is ready at once.
    Good,
    /// The upgrade of a case.
    Of(&'a Case),
}

/// The label that tells the pods of both apart.
pub(crate) const UPGRADED: &str = "version=2";

/// What kubectl applies: JSON, which is YAML.
pub(crate) fn manifest(version: Version<'_>, arena: &Arena) -> String {
    let objects = match version {
        Version::Good => vec![deployment("1", &spec(GOOD, "{}", arena))],
        Version::Of(Case { change: Change::Template { container, pod }, .. }) => {
            vec![deployment("2", &spec(container, pod, arena))]
        }
        Version::Of(Case { change: Change::PodBeside { container, pod }, .. }) => {
            let labels = json!({ "version": "2" });
            vec![
                json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "beside", "labels": labels },
                    "spec": spec(container, pod, arena) }),
                deployment("2", &spec(GOOD, "{}", arena)),
            ]
        }
    };
    json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string()
}

const GOOD: &str = "{args: [serve], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}";

fn deployment(version: &str, spec: &Value) -> Value {
    let labels = json!({ "app": "web", "version": version });
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" }, "spec": {
        "replicas": 1,
        "selector": { "matchLabels": { "app": "web" } },
        "template": { "metadata": { "labels": labels }, "spec": spec },
    }})
}

/// A pod with one container `c`, which rests unless its fields say otherwise.
fn spec(container: &str, pod: &str, arena: &Arena) -> Value {
    let read = |text: &str| -> Value { serde_saphyr::from_str(&addressed(text, arena)).unwrap() };
    let mut whole = json!({ "name": "c", "image": IMAGE });
    json_patch::merge(&mut whole, &read(container));
    // Most of the programs that fail do not listen to being asked to end.
    let mut spec = json!({ "terminationGracePeriodSeconds": 5, "containers": [whole] });
    json_patch::merge(&mut spec, &read(pod));
    spec
}

fn addressed(text: &str, arena: &Arena) -> String {
    let registries = &arena.registries;
    [("WITHOUT_IT", registries.without_it), ("CLOSED", registries.closed), ("BUSY", registries.busy)]
        .iter()
        .fold(text.to_owned(), |text, (name, registry)| text.replace(name, &registry.image()))
}
