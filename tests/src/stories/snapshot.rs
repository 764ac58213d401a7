//! The state of a namespace, to be compared with what it is later.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use backout_model::names;
use serde_json::Value;

use super::Home;
use crate::Site;

/// The kinds that the stories write, and Helm's Secrets with them.
const KINDS: &str =
    "serviceaccounts,configmaps,secrets,services,deployments.apps,statefulsets.apps,widgets.demo.example";

/// Annotations that controllers keep on the objects of users.
const CONTROLLERS: [&str; 1] = ["deployment.kubernetes.io/revision"];

/// All objects of a namespace, by kind and name, without what the server and the controllers count up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot(pub BTreeMap<String, Value>);

/// A place where two snapshots differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// `Kind/name`, and the path in it.
    pub at: String,
    /// What was there.
    pub before: Value,
    /// What is there.
    pub after: Value,
}

impl Snapshot {
    /// Takes a snapshot of the namespace, field ownership included.
    pub async fn take<C: Site>(home: &Home<'_, C>) -> Result<Self> {
        Self::take_with(home, "").await
    }

    /// Takes a snapshot of further kinds, too: each with a comma before it, as `kubectl get` takes them.
    pub async fn take_with<C: Site>(home: &Home<'_, C>, kinds: &str) -> Result<Self> {
        let kinds = format!("{KINDS}{kinds}");
        let listed = home.admin(&["get", &kinds, "-o", "json", "--show-managed-fields"]).await?.success()?;
        let mut list: Value = serde_json::from_str(&listed.stdout).context("kubectl printed no JSON")?;
        let items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        // What the watcher has seen of failures is nobody's deployment.
        let items = items.into_iter().filter(|object| object["type"] != names::EVIDENCE_TYPE);
        let objects = items.map(|mut object| {
            normalize(&mut object);
            let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            (format!("{}/{}", text("/kind"), text("/metadata/name")), object)
        });
        Ok(Self(objects.collect()))
    }

    /// Where `after` differs. Of the objects in `made_anew` the uid and the time of creation may.
    pub fn differences(&self, after: &Self, made_anew: &[&str]) -> Vec<Difference> {
        let mut differences = Vec::new();
        let names: std::collections::BTreeSet<_> = self.0.keys().chain(after.0.keys()).collect();
        for name in names {
            let [mut before, mut after] =
                [self, after].map(|state| state.0.get(name).cloned().unwrap_or(Value::Null));
            if made_anew.contains(&name.as_str()) {
                for object in [&mut before, &mut after] {
                    remove(object, "/metadata", &["uid", "creationTimestamp"]);
                }
            }
            compare(name, &before, &after, &mut differences);
        }
        differences
    }
}

fn normalize(object: &mut Value) {
    remove(object, "", &["status"]);
    remove(object, "/metadata", &["resourceVersion", "generation"]);
    remove(object, "/metadata/annotations", &CONTROLLERS);
    if object
        .pointer("/metadata/annotations")
        .is_some_and(|annotations| annotations == &serde_json::json!({}))
    {
        remove(object, "/metadata", &["annotations"]);
    }
    let Some(Value::Array(entries)) = object.pointer_mut("/metadata/managedFields") else { return };
    entries.retain(|entry| entry.get("subresource").and_then(Value::as_str) != Some("status"));
    for entry in entries.iter_mut() {
        remove(entry, "", &["time"]);
        // The annotation is the controller's own, and so is its entry.
        let controllers = CONTROLLERS.iter().map(|name| format!("f:{name}")).collect::<Vec<_>>();
        let controllers: Vec<_> = controllers.iter().map(String::as_str).collect();
        remove(entry, "/fieldsV1/f:metadata/f:annotations", &controllers);
    }
    entries.retain(|entry| entry["manager"] != "kube-controller-manager");
    entries.sort_by_key(Value::to_string);
}

fn remove(object: &mut Value, pointer: &str, fields: &[&str]) {
    if let Some(Value::Object(map)) = object.pointer_mut(pointer) {
        map.retain(|field, _| !fields.contains(&field.as_str()));
    }
}

fn compare(at: &str, before: &Value, after: &Value, differences: &mut Vec<Difference>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let fields: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for field in fields {
                let [before, after] = [old, new].map(|map| map.get(field).unwrap_or(&Value::Null));
                compare(&format!("{at} {field}"), before, after, differences);
            }
        }
        (before, after) if before == after => {}
        (before, after) => {
            differences.push(Difference { at: at.to_owned(), before: before.clone(), after: after.clone() });
        }
    }
}
