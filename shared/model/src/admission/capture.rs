//! Writes that no webhook is shown: of admission configurations (apiserver `rules.IsExemptAdmissionConfigurationResource`).
//!
//! The watcher sees each such write once it is done, with the states before and after, and records it then. So these
//! records are not written ahead; but both images are what the server itself had stored.

use serde_json::{Value, value::RawValue};

use crate::{
    identity::{Belongs, Facts, Verb},
    names::{self, ReleaseKey},
    object::{Image, ObjectRef, same_content},
    undo::{Header, Operation},
};

/// A write that was seen.
#[derive(Clone, Debug)]
pub struct Captured {
    /// What its record says.
    pub header: Header,
    /// The object before, as JSON.
    pub before: Option<Box<RawValue>>,
    /// The object after, as JSON.
    pub after: Option<Box<RawValue>>,
}

/// What is to be recorded of a write of `object` from `before` to `after`: nothing if it is not part of a release,
/// changes nothing, or is Backout's own.
///
/// A deletion does not tell who deleted: the caller leaves out those of the time in which the release is rolled back.
pub fn capture(object: &ObjectRef, before: Option<&Value>, after: Option<&Value>) -> Option<Captured> {
    let (operation, now) = match (before, after) {
        (None, Some(after)) => (Operation::Create, after),
        (Some(before), Some(after)) if !same_content(before, after) => (Operation::Update, after),
        (Some(before), None) => (Operation::Delete, before),
        _ => return None,
    };
    if after.is_some_and(|after| ours(after).is_some() && ours(after) != before.and_then(ours)) {
        return None;
    }
    let release = release(object, operation, now, before)?;
    let text = |image: Option<&Value>, field| image.and_then(|it| Image(it).meta(field)).map(str::to_owned);
    let uid = text(Some(now), "uid")?;
    let header = Header {
        operation,
        object: object.clone(),
        generate_name: None,
        uid: Some(uid.clone()),
        resource_version: text(before, "resourceVersion"),
        undo: None,
        replicas: None,
        release,
        release_uid: None,
        revision: 0,
        begins: false,
        captured: true,
        user: UNKNOWN.to_owned(),
        tool: newest_manager(now).unwrap_or_default().to_owned(),
        // The same for whoever sees it, and whenever: two watchers make one record of it.
        request: format!("{uid}@{}", text(Some(now), "resourceVersion")?),
    };
    let raw = |image: &Value| RawValue::from_string(image.to_string()).ok();
    Some(Captured { header, before: before.and_then(raw), after: after.and_then(raw) })
}

/// Nobody tells.
const UNKNOWN: &str = "unknown";

fn release(
    object: &ObjectRef,
    operation: Operation,
    now: &Value,
    before: Option<&Value>,
) -> Option<ReleaseKey> {
    let facts = Facts {
        verb: if operation == Operation::Delete { Verb::Delete } else { Verb::Update },
        group: &object.key.group,
        resource: &object.key.resource,
        namespace: "",
        user: "",
        groups: &[],
        field_manager: "",
        dry_run: false,
        object: Image(now),
        old: before.map(Image),
    };
    let Belongs { join, .. } = facts.belongs();
    join
}

/// What the server booked on Backout: more with each restore, and nothing once the owners have it back.
fn ours(object: &Value) -> Option<&Value> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    entries.iter().find(|entry| entry.get("manager").and_then(Value::as_str) == Some(names::FIELD_MANAGER))
}

/// Who wrote last, as far as the server noted it.
fn newest_manager(object: &Value) -> Option<&str> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let newest = entries.iter().max_by_key(|entry| entry.get("time").and_then(Value::as_str))?;
    newest.get("manager")?.as_str()
}
