//! A list read as what Kubernetes means by it: items with keys.

use std::collections::HashMap;

use serde_json::Value;

use super::super::schema::{ListKind, Schema};

/// What tells an item apart: the values of its key fields.
pub(super) type Key<'a> = Vec<KeyPart<'a>>;

/// The value of one key field; one that is written out equals the same one left to its default.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum KeyPart<'a> {
    Default,
    Value(&'a Value),
}

/// The items of a list in their order, with their keys; no key is there twice.
pub(super) struct Keyed<'a> {
    pub(super) items: Vec<(Key<'a>, &'a Value)>,
    by_key: HashMap<Key<'a>, &'a Value>,
}

impl<'a> Keyed<'a> {
    /// Reads `list`, an absent one as empty; `None` if it is one value: by its `schema`, or because an item lacks a key
    /// or shares it with another.
    pub(super) fn read(schema: Schema<'a>, list: Option<&'a Value>) -> Option<Self> {
        if schema.list_kind() == ListKind::Atomic {
            return None;
        }
        let list = list.map_or(Some([].as_slice()), |list| list.as_array().map(Vec::as_slice))?;
        let items = list.iter().map(|item| Some((key(schema, item)?, item))).collect::<Option<Vec<_>>>()?;
        let by_key: HashMap<_, _> = items.iter().cloned().collect();
        (by_key.len() == items.len()).then_some(Self { items, by_key })
    }

    pub(super) fn get(&self, key: &Key<'a>) -> Option<&'a Value> {
        self.by_key.get(key).copied()
    }
}

fn key<'a>(schema: Schema<'a>, item: &'a Value) -> Option<Key<'a>> {
    match schema.list_kind() {
        ListKind::Atomic => None,
        ListKind::Set => (!item.is_object() && !item.is_array()).then(|| vec![KeyPart::Value(item)]),
        ListKind::Map(fields) => {
            fields.iter().map(|field| key_part(item.get(field), schema.item().field(field))).collect()
        }
    }
}

fn key_part<'a>(value: Option<&'a Value>, schema: Schema<'a>) -> Option<KeyPart<'a>> {
    let default = schema.default();
    match value {
        Some(_) if value == default => Some(KeyPart::Default),
        Some(value) => Some(KeyPart::Value(value)),
        None => default.map(|_| KeyPart::Default),
    }
}
