//! The next write for one object: the table of design §6.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Options, Proof, Write, changes::Changes};
use crate::{
    health::Live,
    names::{self, RecordName},
    object::{Image, ObjectRef, Position, same_content},
    undo::{Operation, Record, chain, merge, ownership, schema::Schema},
};

/// What is to happen with the object.
pub(super) enum Next {
    /// It is as it was before, or was so before others went on from there.
    Done,
    /// This brings it nearer.
    Write(Write),
    /// It is on its way out, which nothing can stop any more.
    Go(String),
    /// Something else must finish first.
    Wait(String),
    /// It stays as it is.
    Leave(String),
    /// A deployer has written it again: it is the next revision's.
    Yield(String),
}

pub(super) fn next(
    changes: &Changes<'_>,
    healthy: Position,
    proofs: &BTreeMap<RecordName, Proof>,
    schema: Schema<'_>,
    options: Options,
) -> Next {
    let live = match changes.live {
        Live::Unreadable(why) if changes.uncertain || !changes.records.is_empty() => {
            return Next::Wait(format!("cannot be read: {why}"));
        }
        Live::Unreadable(_) | Live::Absent => None,
        Live::Present(object) => Some(object),
    };
    let Some(first) = changes.records.first() else { return Next::Done };
    if let Some(next) = changes.next {
        return yielded(changes, next, live, proofs);
    }
    if let Some(reason) = live.and_then(|object| out_of_reach(changes, object)) {
        return Next::Leave(reason);
    }
    if first.header.operation == Operation::Create {
        return match live {
            Some(object)
                if is_created(changes, object)
                    || changes.is_made_again(Image(object).undo().as_ref(), healthy) =>
            {
                take_down(changes.object, object, false)
            }
            Some(object) if chain::is_made(first, object) => {
                if changes.is_certain(first) {
                    take_down(changes.object, object, false)
                } else {
                    Next::Leave(UNTAGGED.to_owned())
                }
            }
            Some(object) if changes.wrote(Image(object).uid()) => Next::Leave(REPLACED.to_owned()),
            _ => Next::Done,
        };
    }
    if PRIVILEGE.contains(&changes.object.key.group.as_str()) && !options.restore_rbac {
        return Next::Leave(
            "roles, bindings and admission configurations are restored only when the watcher runs with --restore-rbac"
                .to_owned(),
        );
    }
    let images = changes.images(proofs);
    let records: Vec<_> = images.iter().map(AsRef::as_ref).collect();
    match live {
        Some(object) if Image(object).uid() == first.header.uid.as_deref() => {
            put_back(changes, object, &records, schema)
        }
        Some(object) if changes.is_made_again(Image(object).undo().as_ref(), healthy) => {
            put_back(changes, object, &records, schema)
        }
        Some(object) if is_created(changes, object) => take_down(changes.object, object, true),
        Some(object) if changes.wrote(Image(object).uid()) => Next::Leave(REPLACED.to_owned()),
        Some(object) => created_again(object, &records, schema),
        // It was on its way out before the release touched it.
        None if found(&records).is_some_and(|found| Image(found).is_terminating()) => Next::Done,
        None => match image_before(&records, schema) {
            Some(image) if would_run_again(changes, &image) => Next::Leave(ENDED.to_owned()),
            Some(image) => Next::Write(Write::Create { body: merge::to_create(&image) }),
            None => Next::Leave("is gone, and its records hold only its replicas".to_owned()),
        },
    }
}

const PRIVILEGE: [&str; 2] = ["rbac.authorization.k8s.io", "admissionregistration.k8s.io"];

/// Kinds that hold data of their own: taken down only on request.
const PROTECTED: [(&str, &str); 3] =
    [("", "PersistentVolumeClaim"), ("apiextensions.k8s.io", "CustomResourceDefinition"), ("", "Namespace")];

const REPLACED: &str = "was replaced by another object that is not of this release";

const UNTAGGED: &str = "carries no undo pointer: whether the release made it cannot be told for certain; delete it by hand if it did";

const ENDED: &str = "had ended, and is not created again, for it would run again";

/// Whether a Job that is gone had ended, as far as its records tell, or goes by itself once it has.
fn would_run_again(changes: &Changes<'_>, image: &Value) -> bool {
    if (changes.object.key.group.as_str(), changes.object.kind.as_str()) != ("batch", "Job") {
        return false;
    }
    let conditions = image.pointer("/status/conditions").and_then(Value::as_array);
    let has_ended = conditions.into_iter().flatten().any(|condition| {
        let text = |field| condition.get(field).and_then(Value::as_str).unwrap_or_default();
        matches!(text("type"), "Complete" | "Failed") && text("status") == "True"
    });
    let is_deleted = changes.records.iter().any(|entry| entry.header.operation == Operation::Delete);
    has_ended || (!is_deleted && image.pointer("/spec/ttlSecondsAfterFinished").is_some())
}

fn yielded(
    changes: &Changes<'_>,
    next: &chain::Entry,
    live: Option<&Value>,
    proofs: &BTreeMap<RecordName, Proof>,
) -> Next {
    if !changes.was_restored_before(next) {
        return Next::Yield(format!("was written again by {} while it was rolled back", next.header.user));
    }
    // It may have come between our PUT and the patch of the field owners.
    let live = live.filter(|live| Image(live).uid() == next.header.uid.as_deref());
    let images = changes.images(proofs);
    let records: Vec<_> = images.iter().map(AsRef::as_ref).collect();
    match live.zip(found(&records)) {
        Some((live, before)) => own(live, ownership::handed_back(live, before)),
        None => Next::Done,
    }
}

/// Why the records cannot be undone on the live object.
fn out_of_reach(changes: &Changes<'_>, live: &Value) -> Option<String> {
    // A scale sees no pointers.
    let is_seen = changes.records.iter().any(|entry| entry.header.operation != Operation::Scale);
    if is_seen && Image(live).undo().is_some_and(|pointer| !changes.knows(&pointer)) {
        return Some("was written since by another release".to_owned());
    }
    let mut versions = changes.needed().map(|entry| &entry.header.object.version);
    versions
        .find(|version| **version != changes.object.version)
        .map(|version| format!("was written as {version} and as {}: {MIXED}", changes.object.version))
}

const MIXED: &str = "states in two versions of an API cannot be compared";

/// Whether the release made this very object.
fn is_created(changes: &Changes<'_>, live: &Value) -> bool {
    changes.created(Image(live).uid(), Image(live).undo().as_ref())
}

fn take_down(object: &ObjectRef, live: &Value, replaced: bool) -> Next {
    let image = Image(live);
    if image.is_terminating() {
        let reason = "is being deleted and waits for its finalizers".to_owned();
        return if replaced { Next::Wait(reason) } else { Next::Go(reason) };
    }
    let wish = image.annotation(names::ON_ROLLBACK);
    if wish == Some("keep") || (wish.is_none() && image.annotation("helm.sh/resource-policy") == Some("keep"))
    {
        return Next::Leave("kept, as its annotation asks".to_owned());
    }
    if wish != Some("delete") && PROTECTED.contains(&(object.key.group.as_str(), object.kind.as_str())) {
        return Next::Leave(format!(
            "kept, because it holds data; the annotation {}: delete would have it taken down",
            names::ON_ROLLBACK
        ));
    }
    Next::Write(Write::Delete {
        uid: image.uid().unwrap_or_default().to_owned(),
        resource_version: image.resource_version().unwrap_or_default().to_owned(),
        replaced,
    })
}

/// The object is still there: undo what the release changed, then give the fields back to their owners.
fn put_back(changes: &Changes<'_>, live: &Value, records: &[&Record], schema: Schema<'_>) -> Next {
    if Image(live).is_terminating() {
        return Next::Wait("is being deleted; it is created again when it is gone".to_owned());
    }
    if !is_restored(changes, live, records, schema) {
        let (body, overridden) = undo_all(live.clone(), records, schema);
        if is_immutable(live) && !is_immutable(&body) {
            // There is no other way back from that.
            return take_down(changes.object, live, true);
        }
        if !merge::same(&body, live) {
            return Next::Write(Write::Update { body, overridden });
        }
    }
    own(live, ownership::restored_all(live, pairs(records)))
}

/// Whether a ConfigMap or Secret is not to change any more.
fn is_immutable(object: &Value) -> bool {
    matches!(Image(object).kind(), "ConfigMap" | "Secret")
        && object.get("immutable").and_then(Value::as_bool) == Some(true)
}

/// Whether the object was put back already. What others have changed since is theirs: who undoes it again and again
/// has begun a fight.
fn is_restored(changes: &Changes<'_>, live: &Value, records: &[&Record], schema: Schema<'_>) -> bool {
    let last = records.iter().rev().find(|record| record.header.replicas.is_none());
    let (Some(before), Some(last)) = (changes.pointer_before(), last) else {
        // A scale moves no pointer; it is undone where it still stands.
        let last = records.last().and_then(|record| record.header.replicas);
        let now = live.pointer("/spec/replicas").and_then(Value::as_i64);
        return last.is_some_and(|last| now != Some(last.after));
    };
    let pointer = Image(live).undo();
    pointer.as_ref() == before && (pointer.is_some() || !is_as_left(live, last, schema))
}

/// Whether the object has everything that its last write made of it: then its labels were only taken off.
fn is_as_left(live: &Value, last: &Record, schema: Schema<'_>) -> bool {
    let (Some(before), Some(after)) = (&last.body.before, &last.body.after) else { return true };
    same_content(&merge::undo(live, after, before, schema).object, live)
}

/// What each record changed, newest first.
fn pairs<'a>(records: &'a [&Record]) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    let images =
        records.iter().rev().filter(|record| record.header.replicas.is_none()).map(|record| &record.body);
    images.filter_map(|body| Some((body.before.as_ref()?, body.after.as_ref()?)))
}

/// Undoes `records`, newest first, on `object`.
fn undo_all(object: Value, records: &[&Record], schema: Schema<'_>) -> (Value, Vec<String>) {
    let mut overridden = Vec::new();
    let object = records.iter().rev().fold(object, |object, record| {
        let undone = match (record.header.replicas, &record.body.before, &record.body.after) {
            (Some(replicas), ..) => merge::undo_replicas(&object, replicas),
            (None, Some(before), Some(after)) => merge::undo(&object, before, after, schema),
            // A deletion changed nothing in the object.
            _ => return object,
        };
        overridden.extend(undone.overridden);
        undone.object
    });
    overridden.sort();
    overridden.dedup();
    (object, overridden)
}

fn own(live: &Value, wanted: Value) -> Next {
    if !ownership::needs_restoring(live, &wanted) {
        return Next::Done;
    }
    Next::Write(Write::Own {
        resource_version: Image(live).resource_version().unwrap_or_default().to_owned(),
        managed_fields: wanted,
    })
}

/// The object as the first record with images found it.
fn found<'a>(records: &[&'a Record]) -> Option<&'a Value> {
    records.iter().find(|record| record.header.replicas.is_none())?.body.before.as_ref()
}

/// The object as the newest record with images left or found it.
fn last_image<'a>(records: &[&'a Record]) -> Option<&'a Value> {
    let newest = records.iter().rev().find(|record| record.header.replicas.is_none())?;
    newest.body.after.as_ref().or(newest.body.before.as_ref())
}

/// The object as it was before the interval, from records alone: it is gone.
fn image_before(records: &[&Record], schema: Schema<'_>) -> Option<Value> {
    Some(undo_all(last_image(records)?.clone(), records, schema).0)
}

/// Another object of the name is there, not of the release: it is the one that the rollback created, or someone
/// else's. Without a pointer to tell them apart it is ours only while we own something of it, or if all of it was so
/// before.
fn created_again(live: &Value, records: &[&Record], schema: Schema<'_>) -> Next {
    let (Some(last), Some(before)) = (last_image(records), image_before(records, schema)) else {
        return Next::Leave(REPLACED.to_owned());
    };
    let pointer = Image(live).undo();
    let is_ours = Image(live).managers().any(|manager| manager == names::FIELD_MANAGER);
    let is_made_again =
        pointer == Image(&before).undo() && (pointer.is_some() || is_ours || same_content(live, &before));
    if is_made_again {
        own(live, ownership::recreated(live, last, pairs(records)))
    } else {
        Next::Leave(REPLACED.to_owned())
    }
}
