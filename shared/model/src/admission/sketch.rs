//! What decisions look at of an object, without parsing the rest of it.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use crate::object::{Image, same_content};

/// An object of a request: its metadata, and the text of its other fields. Without `status` and `managedFields`,
/// which make up half of it and are never content.
#[derive(Debug)]
pub(super) struct Sketch<'a> {
    known: Value,
    rest: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

impl<'a> Sketch<'a> {
    /// Reads an object.
    pub(super) fn read(raw: &'a RawValue) -> serde_json::Result<Self> {
        serde_json::from_str(raw.get())
    }

    /// `metadata` and `type`.
    pub(super) fn image(&self) -> Image<'_> {
        Image(&self.known)
    }

    /// Whether a write from `self` to `after` changes anything that is to be recorded. The server prints both with
    /// the same encoder, from values of the same type: what is equal is equal text.
    pub(super) fn same_content(&self, after: &Self) -> bool {
        same_content(&self.known, &after.known)
            && self.rest.len() == after.rest.len()
            && self
                .rest
                .iter()
                .all(|(key, before)| after.rest.get(key).is_some_and(|after| after.get() == before.get()))
    }

    /// `spec.replicas` of a `Scale`, which leaves out a zero.
    pub(super) fn replicas(&self) -> i64 {
        let spec = self.rest.get("spec").and_then(|spec| serde_json::from_str::<ScaleSpec>(spec.get()).ok());
        spec.and_then(|spec| spec.replicas).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct ScaleSpec {
    replicas: Option<i64>,
}

impl<'de> Deserialize<'de> for Sketch<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object)
    }
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Sketch<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut known = Map::new();
        let mut rest = BTreeMap::new();
        while let Some(Key(key)) = entries.next_key()? {
            match key.as_ref() {
                "status" => drop(entries.next_value::<IgnoredAny>()?),
                "metadata" => drop(known.insert(key.into_owned(), entries.next_value_seed(Metadata)?)),
                "type" => drop(known.insert(key.into_owned(), entries.next_value()?)),
                _ => drop(rest.insert(key, entries.next_value()?)),
            }
        }
        Ok(Sketch { known: Value::Object(known), rest })
    }
}

/// Borrows the key where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

struct Metadata;

impl<'de> DeserializeSeed<'de> for Metadata {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Metadata {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the metadata of an object")
    }

    /// `null`, as good as absent.
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if key == "managedFields" {
                entries.next_value::<IgnoredAny>()?;
            } else {
                map.insert(key, entries.next_value()?);
            }
        }
        Ok(Value::Object(map))
    }
}
