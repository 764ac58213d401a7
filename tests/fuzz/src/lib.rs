//! Objects made of the bytes of a fuzzer: nearly all that it tries then is an object, and not broken JSON.

use serde_json::{Map, Value, json};

/// The bytes that are left; zeros when there are none.
pub struct Bytes<'a>(pub &'a [u8]);

/// Names that mean something to the code under test, and some that do not.
const KEYS: [&str; 32] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "uid",
    "resourceVersion",
    "generation",
    "ownerReferences",
    "managedFields",
    "finalizers",
    "spec",
    "status",
    "data",
    "template",
    "containers",
    "env",
    "replicas",
    "selector",
    "app",
    "controller",
    "kind",
    "value",
    "ports",
    "a",
    "b/c",
    "d~e",
    "",
    "backout.dev/undo",
    "backout.dev/release",
    "backout.dev/release-name",
    "generateName",
    "deletionTimestamp",
];

const TEXTS: [&str; 16] = [
    "",
    "a",
    "b",
    "x",
    "1",
    "2",
    "n",
    "shop",
    "helm",
    "kubectl",
    "enabled",
    "{}",
    "ö\u{0}",
    "Never",
    "-1",
    "u-0123456789abcdef0123456789abcdef01234567",
];

impl Bytes<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// One of a few texts.
    pub fn text(&mut self) -> &'static str {
        TEXTS[usize::from(self.byte()) % TEXTS.len()]
    }

    /// Any small value.
    pub fn value(&mut self, depth: usize) -> Value {
        match self.byte() % 10 {
            0 => Value::Null,
            1 => json!(self.byte() > 127),
            2 => json!(i64::from(self.byte()) - 8),
            3 | 4 => json!(self.text()),
            5 if depth > 0 => (0..self.byte() % 4).map(|_| self.value(depth - 1)).collect(),
            6 if depth > 0 => (0..self.byte() % 4).map(|_| self.item(depth - 1)).collect(),
            _ if depth > 0 => Value::Object(self.map(depth - 1)),
            _ => json!({}),
        }
    }

    /// An item of a list with keys.
    fn item(&mut self, depth: usize) -> Value {
        let mut item = self.map(depth);
        item.insert("name".to_owned(), json!(self.text()));
        Value::Object(item)
    }

    fn map(&mut self, depth: usize) -> Map<String, Value> {
        let fields = 0..self.byte() % 5;
        fields.map(|_| (KEYS[usize::from(self.byte()) % KEYS.len()].to_owned(), self.value(depth))).collect()
    }

    /// An object with what every object has.
    pub fn object(&mut self) -> Value {
        let mut object = self.map(5);
        let mut metadata = self.map(3);
        metadata.insert("name".to_owned(), json!("c"));
        metadata.insert("namespace".to_owned(), json!("n"));
        // The server has checked their types, and stores no empty ones.
        for tags in ["labels", "annotations"] {
            let Some(found) = metadata.remove(tags) else { continue };
            let strings = found.as_object().into_iter().flatten().filter(|(_, value)| value.is_string());
            let strings: Map<_, _> = strings.map(|(key, value)| (key.clone(), value.clone())).collect();
            if !strings.is_empty() {
                metadata.insert(tags.to_owned(), Value::Object(strings));
            }
        }
        object.insert("apiVersion".to_owned(), json!("v1"));
        object.insert("kind".to_owned(), json!("Thing"));
        object.insert("metadata".to_owned(), Value::Object(metadata));
        Value::Object(object)
    }
}
