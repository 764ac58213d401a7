//! A snapshot without what is different in any two namespaces, and without Backout's labels.

use backout_model::names;
use serde_json::{Map, Value};

use super::Snapshot;

const INDIVIDUAL: &[(&str, &str)] = &[
    ("/metadata", "uid"),
    ("/metadata", "creationTimestamp"),
    ("/spec", "clusterIP"),
    ("/spec", "clusterIPs"),
];

impl Snapshot {
    /// The snapshot as it would be of any namespace that was deployed to in the same way, with Backout or without.
    #[must_use]
    pub fn neutral(&self, namespace: &str) -> Self {
        let mut snapshot = self.clone();
        for object in snapshot.0.values_mut() {
            rename(object, namespace);
            for (pointer, field) in INDIVIDUAL {
                fields(object, pointer).map(|fields| fields.remove(*field));
            }
            untag(object, "/metadata", "labels", "");
            let entries = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
            for entry in entries.into_iter().flatten() {
                untag(entry, "/fieldsV1/f:metadata", "f:labels", "f:");
            }
        }
        snapshot
    }
}

/// The namespace's name, wherever it occurs.
fn rename(value: &mut Value, namespace: &str) {
    match value {
        Value::String(text) => *text = text.replace(namespace, "NAMESPACE"),
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, namespace)),
        Value::Object(fields) => fields.values_mut().for_each(|field| rename(field, namespace)),
        _ => {}
    }
}

/// Removes the three labels from a map of labels, and the map if it holds nothing else.
fn untag(object: &mut Value, pointer: &str, map: &str, prefix: &str) {
    let Some(parent) = fields(object, pointer) else { return };
    let Some(Value::Object(labels)) = parent.get_mut(map) else { return };
    for tag in names::TAGS {
        labels.remove(&format!("{prefix}{tag}"));
    }
    if labels.keys().all(|key| key == ".") {
        parent.remove(map);
    }
}

fn fields<'a>(object: &'a mut Value, pointer: &str) -> Option<&'a mut Map<String, Value>> {
    object.pointer_mut(pointer).and_then(Value::as_object_mut)
}
