//! The patch that tags an object, or gives it its tags back.

use k8s_openapi::ByteString;
use serde_json::{Map, Value, json};

use crate::{
    names::{self, RecordName, ReleaseKey},
    object::Image,
};

/// A JSON patch (RFC 6902) of an object's labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch(ByteString);

impl Patch {
    /// Tags `object`; `None` if it carries these very tags.
    pub(super) fn tag(
        object: Image<'_>,
        release: &ReleaseKey,
        revision: u64,
        undo: &RecordName,
    ) -> Option<Self> {
        let revision = revision.to_string();
        set(object, [Some(release.name.as_str()), Some(&revision), Some(undo.as_str())])
    }

    /// Gives `object` the tags of `old`, absent ones included; `None` if it has them.
    pub(super) fn untouched(object: Image<'_>, old: Image<'_>) -> Option<Self> {
        set(object, names::TAGS.map(|tag| old.label(tag)))
    }

    /// The patch as JSON.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.0
    }

    /// The patch as an AdmissionReview carries it.
    pub(super) fn base64(&self) -> &ByteString {
        &self.0
    }

    fn of(operations: &[Value]) -> Option<Self> {
        if operations.is_empty() {
            return None;
        }
        // Strings in arrays and maps: nothing there that JSON cannot express.
        serde_json::to_vec(operations).ok().map(|bytes| Self(ByteString(bytes)))
    }
}

fn set(object: Image<'_>, values: [Option<&str>; 3]) -> Option<Patch> {
    let tags = || names::TAGS.into_iter().zip(values);
    let wanted = || tags().filter_map(|(tag, value)| Some((tag, value?))).collect::<Value>();
    match object.0.get("metadata") {
        Some(Value::Object(metadata)) => match metadata.get("labels") {
            Some(Value::Object(labels)) => Patch::of(&changes(labels, tags())),
            _ if values == [None; 3] => None,
            _ => Patch::of(&[add("/metadata/labels", &wanted())]),
        },
        _ if values == [None; 3] => None,
        _ => Patch::of(&[add("/metadata", &json!({"labels": wanted()}))]),
    }
}

fn changes<'a>(
    labels: &Map<String, Value>,
    tags: impl Iterator<Item = (&'static str, Option<&'a str>)> + Clone,
) -> Vec<Value> {
    let absent = tags.clone().all(|(_, value)| value.is_none());
    if absent && !labels.is_empty() && labels.keys().all(|key| names::TAGS.contains(&key.as_str())) {
        // There were no labels at all before somebody brought these.
        return vec![json!({"op": "remove", "path": "/metadata/labels"})];
    }
    let change = |(tag, value): (&'static str, Option<&str>)| {
        let present = labels.get(tag);
        let path = format!("/metadata/labels/{}", tag.replace('~', "~0").replace('/', "~1"));
        match value {
            Some(value) if present.and_then(Value::as_str) == Some(value) => None,
            Some(value) => Some(add(&path, &value.into())),
            None => present.map(|_| json!({"op": "remove", "path": path})),
        }
    };
    tags.filter_map(change).collect()
}

fn add(path: &str, value: &Value) -> Value {
    json!({"op": "add", "path": path, "value": value})
}
