//! What decisions look at of an object, without parsing the rest of it.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use crate::object::{Image, containers, same_content};

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
                "type" => {
                    let raw: &RawValue = entries.next_value()?;
                    match serde_json::from_str(raw.get()) {
                        Ok(text) => drop(known.insert(key.into_owned(), Value::String(text))),
                        Err(_) => drop(rest.insert(key, raw)),
                    }
                }
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

/// What a field of metadata may hold in objects and arrays, which take far more memory than text: owners are few.
const CONTAINERS: usize = 1000;

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
            } else if ["labels", "annotations"].contains(&key.as_str()) {
                // Long, and read in one pass: pairs of strings take some ten times their length at worst.
                let strings = entries.next_value::<Option<BTreeMap<String, String>>>()?;
                map.insert(key, strings.map_or(Value::Null, |strings| strings.into_iter().collect()));
            } else {
                let raw: &RawValue = entries.next_value()?;
                // Each takes two characters at least: most fields are too short to be looked at.
                if raw.get().len() > 2 * CONTAINERS && containers(raw.get()) > CONTAINERS {
                    return Err(A::Error::custom(format!(
                        "metadata.{key} holds more than {CONTAINERS} objects"
                    )));
                }
                map.insert(key, serde_json::from_str(raw.get()).map_err(A::Error::custom)?);
            }
        }
        Ok(Value::Object(map))
    }
}
