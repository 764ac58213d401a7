//! The sets of fields in `managedFields`, after structured-merge-diff `fieldpath`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// A set of fields: the way to each, in the steps of `fieldsV1`: `f:NAME` into a field, `k:{KEYS}` to the item with
/// these keys, `v:VALUE` to the item of this value, `i:INDEX` to the item at this place.
pub(super) type Fields<'a> = BTreeSet<Vec<&'a str>>;

/// Reads a `fieldsV1`: an empty node is in the set, another one is if it holds a `.`.
pub(super) fn read_fields(fields_v1: Option<&Value>) -> Fields<'_> {
    let mut fields = Fields::new();
    if let Some(root) = fields_v1.and_then(Value::as_object) {
        read_node(root, &mut Vec::new(), &mut fields);
    }
    fields
}

fn read_node<'a>(node: &'a Map<String, Value>, way: &mut Vec<&'a str>, fields: &mut Fields<'a>) {
    for (step, child) in node {
        if step == "." {
            fields.insert(way.clone());
            continue;
        }
        way.push(step);
        match child.as_object() {
            Some(child) if !child.is_empty() => read_node(child, way, fields),
            _ => {
                fields.insert(way.clone());
            }
        }
        way.pop();
    }
}

/// Writes a `fieldsV1`.
pub(super) fn write_fields(fields: &Fields<'_>) -> Value {
    let mut root = Map::new();
    for way in fields {
        write_field(&mut root, way);
    }
    Value::Object(root)
}

/// Ways come in order, each before its continuations: a node that is still empty when another way goes through it
/// is in the set itself.
fn write_field(node: &mut Map<String, Value>, way: &[&str]) {
    let Some((step, rest)) = way.split_first() else {
        return;
    };
    let in_set = node.get(*step).and_then(Value::as_object).is_some_and(Map::is_empty);
    let child = node.entry(*step).or_insert_with(|| Value::Object(Map::new()));
    if let Some(child) = child.as_object_mut() {
        if in_set && !rest.is_empty() {
            child.insert(".".to_owned(), Value::Object(Map::new()));
        }
        write_field(child, rest);
    }
}

/// What lies at `field` in `object`.
pub(super) fn value_at<'v>(object: &'v Value, field: &[&str]) -> Option<&'v Value> {
    field.iter().try_fold(object, |value, step| match step.split_once(':')? {
        ("f", name) => value.get(name),
        ("k", keys) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
            let has_keys = |item: &&Value| keys.iter().all(|(name, key)| item.get(name) == Some(key));
            value.as_array()?.iter().find(has_keys)
        }
        ("v", member) => {
            let member: Value = serde_json::from_str(member).ok()?;
            value.as_array()?.iter().find(|item| **item == member)
        }
        ("i", index) => value.get(index.parse::<usize>().ok()?),
        _ => None,
    })
}
