//! The next write for one object: the table of design §6.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Options, Proof, Track, Write};
use crate::{
    health::Live,
    names::{self, RecordName},
    object::{Image, ObjectRef},
    undo::{Operation, Record, chain::Entry, merge, ownership},
};

/// What is to happen with the object.
pub(super) enum Next {
    /// It is as it was before.
    Done,
    /// This brings it nearer.
    Write(Write),
    /// Something else must finish first.
    Wait(String),
    /// It stays as it is.
    Leave(String),
}

pub(super) fn next(track: &Track, proofs: &BTreeMap<RecordName, Proof>, options: Options) -> Next {
    let Some(first) = track.confirmed().next() else { return Next::Done };
    let live = match &track.live {
        Live::Unreadable(why) => return Next::Wait(format!("cannot be read: {why}")),
        Live::Absent => None,
        Live::Present(object) => Some(object),
    };
    if first.header.operation == Operation::Create {
        return match live {
            // Without a pointer it was confirmed by its age: a controller has replaced the labels since.
            Some(object) if is_of_release(track, object) || Image(object).undo().is_none() => {
                take_down(&track.object, object, false)
            }
            _ => Next::Done,
        };
    }
    if PRIVILEGE.contains(&track.object.key.group.as_str()) && !options.restore_rbac {
        return Next::Leave(
            "roles and bindings are restored only when the watcher runs with --restore-rbac".to_owned(),
        );
    }
    let uid = first.header.uid.as_deref();
    let records = records_of(track, proofs, uid);
    match live {
        Some(object) if Image(object).uid() == uid => put_back(object, &records),
        Some(object) if is_of_release(track, object) => take_down(&track.object, object, true),
        Some(object) => created_again(object, &records),
        None => match image_before(&records) {
            Some(image) => Next::Write(Write::Create { body: merge::to_create(&image) }),
            None => Next::Leave("is gone, and its records hold only its replicas".to_owned()),
        },
    }
}

const PRIVILEGE: [&str; 1] = ["rbac.authorization.k8s.io"];

/// Kinds that hold data of their own: taken down only on request.
const PROTECTED: [(&str, &str); 3] =
    [("", "PersistentVolumeClaim"), ("apiextensions.k8s.io", "CustomResourceDefinition"), ("", "Namespace")];

/// Whether the release made this very object, or made it what it is.
fn is_of_release(track: &Track, live: &Value) -> bool {
    let (pointer, uid) = (Image(live).undo(), Image(live).uid());
    let made = |entry: &Entry| pointer.as_ref() == Some(&entry.name);
    let changed = |entry: &Entry| {
        entry.header.operation != Operation::Delete
            && entry.header.uid.is_some()
            && entry.header.uid.as_deref() == uid
    };
    track.confirmed().any(made) || track.confirmed().skip(1).any(changed)
}

fn take_down(object: &ObjectRef, live: &Value, replaced: bool) -> Next {
    let image = Image(live);
    if image.is_terminating() {
        return Next::Wait("is being deleted and waits for its finalizers".to_owned());
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

/// The records of the object with this uid, oldest first.
fn records_of<'a>(
    track: &Track,
    proofs: &'a BTreeMap<RecordName, Proof>,
    uid: Option<&str>,
) -> Vec<&'a Record> {
    track
        .confirmed()
        .filter(|entry| entry.header.uid.as_deref() == uid && entry.header.operation != Operation::Create)
        .filter_map(|entry| match proofs.get(&entry.name) {
            Some(Proof::Verified(record) | Proof::Unverified(record, _)) => Some(record),
            Some(Proof::Refuted(_)) | None => None,
        })
        .collect()
}

/// The object is still there: undo what the release changed, then give the fields back to their owners.
fn put_back(live: &Value, records: &[&Record]) -> Next {
    if Image(live).is_terminating() {
        return Next::Wait("is being deleted; it is created again when it is gone".to_owned());
    }
    let (body, overridden) = undo_all(live.clone(), records);
    if !merge::same(&body, live) {
        return Next::Write(Write::Update { body, overridden });
    }
    own(live, ownership::restored_all(live, changes(records)))
}

/// What each record changed, newest first.
fn changes<'a>(records: &'a [&Record]) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    let images =
        records.iter().rev().filter(|record| record.header.replicas.is_none()).map(|record| &record.body);
    images.filter_map(|body| Some((body.before.as_ref()?, body.after.as_ref()?)))
}

/// Undoes `records`, newest first, on `object`.
fn undo_all(object: Value, records: &[&Record]) -> (Value, Vec<String>) {
    let mut overridden = Vec::new();
    let object = records.iter().rev().fold(object, |object, record| {
        let undone = match (record.header.replicas, &record.body.before, &record.body.after) {
            (Some(replicas), ..) => merge::undo_replicas(&object, replicas),
            (None, Some(before), Some(after)) => merge::undo(&object, before, after),
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

/// The object as the newest record with images left or found it.
fn last_image<'a>(records: &[&'a Record]) -> Option<&'a Value> {
    let newest = records.iter().rev().find(|record| record.header.replicas.is_none())?;
    newest.body.after.as_ref().or(newest.body.before.as_ref())
}

/// The object as it was before the interval, from records alone: it is gone.
fn image_before(records: &[&Record]) -> Option<Value> {
    Some(undo_all(last_image(records)?.clone(), records).0)
}

/// Another object of the name is there, not of the release: it is the one that the rollback created, or someone
/// else's.
fn created_again(live: &Value, records: &[&Record]) -> Next {
    let pointer = image_before(records).map(|image| Image(&image).undo());
    match (last_image(records), pointer) {
        (Some(last), Some(pointer)) if Image(live).undo() == pointer => {
            own(live, ownership::recreated(live, last, changes(records)))
        }
        _ => Next::Leave("was replaced by another object that is not of this release".to_owned()),
    }
}
