//! How objects are named, and a view of what lies in them: what the server owns and what its users own.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::names::{self, RecordName};

/// What identifies an object for as long as its name is taken: independent of the version it was written in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// API group, empty for the core group.
    pub group: String,
    /// Plural name of the resource, such as `deployments`.
    pub resource: String,
    /// Absent for cluster-scoped objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Empty for an object whose name the server is still to generate.
    pub name: String,
}

/// An object together with the version and kind to address it by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    /// What identifies the object.
    #[serde(flatten)]
    pub key: ObjectKey,
    /// The version it was written in.
    pub version: String,
    /// Its kind, such as `Deployment`.
    pub kind: String,
}

impl ObjectRef {
    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.key.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.key.group, self.version)
        }
    }
}

/// As a person names it: `Deployment shop/web`.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        f.write_str(" ")?;
        if let Some(namespace) = &self.key.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.key.name)
    }
}

/// A resourceVersion. Ordered as an integer within one resource (KEP-5504).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// Reads a resourceVersion; `None` if it is no number.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A view of an object as the server stores it.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a>(pub &'a Value);

impl<'a> Image<'a> {
    /// The string at `metadata.FIELD`.
    pub fn meta(self, field: &str) -> Option<&'a str> {
        self.0.get("metadata")?.get(field)?.as_str()
    }

    /// `metadata.uid`.
    pub fn uid(self) -> Option<&'a str> {
        self.meta("uid")
    }

    /// `metadata.resourceVersion`.
    pub fn resource_version(self) -> Option<&'a str> {
        self.meta("resourceVersion")
    }

    /// `metadata.generation`.
    pub fn generation(self) -> Option<i64> {
        self.0.get("metadata")?.get("generation")?.as_i64()
    }

    /// The value of a label.
    pub fn label(self, key: &str) -> Option<&'a str> {
        self.0.get("metadata")?.get("labels")?.get(key)?.as_str()
    }

    /// The value of an annotation.
    pub fn annotation(self, key: &str) -> Option<&'a str> {
        self.0.get("metadata")?.get("annotations")?.get(key)?.as_str()
    }

    /// The undo pointer, if the object carries a valid one.
    pub fn undo(self) -> Option<RecordName> {
        RecordName::parse(self.label(names::UNDO)?)
    }

    /// Whether the object waits for its finalizers to be deleted.
    pub fn is_terminating(self) -> bool {
        self.meta("deletionTimestamp").is_some()
    }

    /// `kind`.
    pub fn kind(self) -> &'a str {
        self.0.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    /// The field managers that own something of the object.
    pub fn managers(self) -> impl Iterator<Item = &'a str> {
        let entries = self.0.pointer("/metadata/managedFields").and_then(Value::as_array);
        entries.into_iter().flatten().filter_map(|entry| entry.get("manager")?.as_str())
    }

    /// The uid of the owner that controls the object.
    pub fn controller(self) -> Option<&'a str> {
        let owners = self.0.get("metadata")?.get("ownerReferences")?.as_array()?;
        let owner = owners.iter().find(|o| o.get("controller").and_then(Value::as_bool) == Some(true))?;
        owner.get("uid")?.as_str()
    }
}

/// Fields of `metadata` that the server sets, whatever a client sends.
pub const SERVER_METADATA: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Whether a write changes anything that is to be recorded: all but `status`, what the server owns, and our tags.
///
/// `status` of a kind without status subresource counts as status all the same: by convention no deployer writes it.
pub fn same_content(before: &Value, after: &Value) -> bool {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else {
        return before == after;
    };
    same_but(before, after, &["metadata", "status"])
        && match (before.get("metadata"), after.get("metadata")) {
            (Some(Value::Object(before)), Some(Value::Object(after))) => same_metadata(before, after),
            (before, after) => before == after,
        }
}

/// How many objects and arrays a JSON text holds: of a few bytes of text each takes hundreds in memory.
pub(crate) fn containers(json: &str) -> usize {
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

fn same_metadata(before: &Map<String, Value>, after: &Map<String, Value>) -> bool {
    let mut ignored = SERVER_METADATA.to_vec();
    ignored.push("labels");
    let empty = Map::new();
    let labels = |metadata: &Map<String, Value>| metadata.get("labels").and_then(Value::as_object).cloned();
    same_but(before, after, &ignored)
        && same_but(
            labels(before).as_ref().unwrap_or(&empty),
            labels(after).as_ref().unwrap_or(&empty),
            &names::TAGS,
        )
}

fn same_but(before: &Map<String, Value>, after: &Map<String, Value>, ignored: &[&str]) -> bool {
    let relevant =
        |map: &Map<String, Value>| map.keys().filter(|key| !ignored.contains(&key.as_str())).count();
    relevant(before) == relevant(after)
        && before
            .iter()
            .filter(|(key, _)| !ignored.contains(&key.as_str()))
            .all(|(key, value)| after.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_map() -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"},
               "metadata": {"name": "c", "namespace": "n", "uid": "x", "resourceVersion": "7", "labels": {"app": "c"}}})
    }

    #[test]
    fn what_looks_like_an_object_in_a_string_is_none() {
        for (json, count) in
            [("{}", 1), (r#"{"a": [{}, "[{"]}"#, 3), (r#"["\"{", "\\", {}]"#, 2), ("\"{\\\"{\"", 0)]
        {
            assert_eq!(containers(json), count, "{json}");
        }
    }

    #[test]
    fn what_the_server_and_the_webhook_own_is_no_content() {
        let mut after = config_map();
        after["metadata"]["resourceVersion"] = json!("8");
        after["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
        after["metadata"]["labels"][names::UNDO] = json!("u-1");
        after["status"] = json!({"phase": "x"});
        assert!(same_content(&config_map(), &after));
        assert!(same_content(&after, &config_map()));
    }

    #[test]
    fn data_labels_annotations_and_finalizers_are_content() {
        for (pointer, value) in
            [("data", json!({"a": "2"})), ("data", json!(null)), ("immutable", json!(true))]
        {
            let mut after = config_map();
            after[pointer] = value;
            assert!(!same_content(&config_map(), &after), "{pointer}");
        }
        for (field, value) in [
            ("labels", json!({"app": "d"})),
            ("labels", json!({})),
            ("annotations", json!({"a": "b"})),
            ("finalizers", json!(["f"])),
        ] {
            let mut after = config_map();
            after["metadata"][field] = value;
            assert!(!same_content(&config_map(), &after), "{field}");
        }
    }
}
