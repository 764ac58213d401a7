//! The next writes of a rollback, from what is there now. Planning again after any of them, or after a crash, goes on
//! where things stand.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Track, allocation, changes::Changes, object, order::rank, stuck};
use crate::{
    names::RecordName,
    object::{ObjectRef, Position},
    release::Unrestored,
    undo::{Record, schema::Schemas},
};

/// One write that brings an object nearer to its state before the revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Restore {
    /// The object.
    pub object: ObjectRef,
    /// The write.
    pub write: Write,
}

/// A write with its precondition.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Delete the object with exactly this uid and resourceVersion, and in the background what it owns.
    Delete {
        /// Precondition.
        uid: String,
        /// Precondition.
        resource_version: String,
        /// The object makes way for the one that was there before.
        replaced: bool,
    },
    /// Replace the object; the body holds uid and resourceVersion as preconditions.
    Update {
        /// The whole object.
        body: Value,
        /// Fields that someone else had changed too, and that went back all the same.
        overridden: Vec<String>,
    },
    /// Set `metadata.managedFields`.
    Own {
        /// Precondition.
        resource_version: String,
        /// The array.
        managed_fields: Value,
    },
    /// Create the object, which must not be there.
    Create {
        /// The whole object, without what the server sets.
        body: Value,
    },
}

/// What is known of a record's images.
#[derive(Clone, Debug, PartialEq)]
pub enum Proof {
    /// The before-image is what the server itself had stored at that revision.
    Verified(Record),
    /// The server cannot tell any more; the text says why.
    Unverified(Record, String),
    /// The server had stored something else, or the record cannot be read: nothing of it is believed.
    Refuted(String),
    /// Not known yet: the server did not answer; the text says what it said.
    Unknown(String),
}

impl Proof {
    /// The record, if it may be believed by somebody.
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Verified(record) | Self::Unverified(record, _) => Some(record),
            Self::Refuted(_) | Self::Unknown(_) => None,
        }
    }
}

/// What the operator has allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Restore from before-images that could not be verified.
    pub accept_unverified: bool,
    /// Restore roles and bindings too: they are privilege.
    pub restore_rbac: bool,
}

/// What is left to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The writes that can be done now.
    pub writes: Vec<Restore>,
    /// Objects that something else must finish first, and what.
    pub waiting: Vec<Unrestored>,
    /// Objects that will not be restored, and why.
    pub unrestored: Vec<Unrestored>,
    /// Objects that deployers have written again before they were restored: they are the next revision's.
    pub yielded: Vec<Unrestored>,
    /// The last records of the objects that are as they were before: nothing of them is left to undo.
    pub undone: Vec<RecordName>,
    /// The before-state of something is not known for certain: no object may be touched.
    pub hold: Option<Unrestored>,
}

/// What is undone, as positions in the log.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Records up to this one are of revisions that were healthy: they are undone only on the way back to an older one.
    pub healthy: Position,
    /// Records after this one are left alone.
    pub cut: Position,
}

/// Plans the rollback of what lies in `tracks` up to the cut; `proofs` holds the images of the records that it rests on,
/// `schemas` tells which of their lists are merged by key, `pods` are those of the namespaces concerned.
pub fn plan<'a>(
    tracks: impl IntoIterator<Item = &'a Track>,
    span: Span,
    proofs: &BTreeMap<RecordName, Proof>,
    schemas: &Schemas,
    pods: &[Value],
    options: Options,
) -> Plan {
    let mut plan = Plan::default();
    let mut unproven = Vec::new();
    for track in tracks {
        let changes = Changes::of(track, span.cut, proofs);
        let listed = |reason| Unrestored { object: (&track.object).into(), reason };
        match doubt(&changes, proofs, schemas, options) {
            Some(Doubt::Lasting(reason)) => {
                plan.hold.get_or_insert_with(|| listed(reason));
                continue;
            }
            Some(Doubt::Passing(reason)) => {
                unproven.push(listed(reason));
                continue;
            }
            None => {}
        }
        plan.unrestored.extend(changes.refuted.iter().map(|(entry, why)| {
            listed(format!("the undo record {} is not believed and was left out: {why}", entry.name))
        }));
        match object::next(&changes, span.healthy, proofs, schemas.of(&track.object), options) {
            object::Next::Done if changes.uncertain => {
                plan.waiting.push(listed("a write of it may still take effect".to_owned()));
            }
            object::Next::Done => {
                plan.unrestored.extend(allocation::lost(&changes, proofs).map(listed));
                if !stuck::free(&changes, pods, &mut plan) {
                    plan.undone.extend(changes.last.into_iter().cloned());
                }
            }
            object::Next::Write(write) => plan.writes.push(Restore { object: track.object.clone(), write }),
            object::Next::Go(reason) => {
                plan.undone.extend(changes.last.into_iter().cloned());
                plan.waiting.push(listed(reason));
            }
            object::Next::Wait(reason) => plan.waiting.push(listed(reason)),
            object::Next::Leave(reason) => plan.unrestored.push(listed(reason)),
            object::Next::Yield(reason) => plan.yielded.push(listed(reason)),
        }
    }
    // Nothing is touched before it is known that everything can be.
    match plan {
        Plan { undone, hold: hold @ Some(_), .. } => Plan { undone, hold, ..Plan::default() },
        Plan { undone, .. } if !unproven.is_empty() => Plan { waiting: unproven, undone, ..Plan::default() },
        plan => plan,
    }
}

/// Why the state of an object before the revision is not known for certain.
enum Doubt {
    Lasting(String),
    Passing(String),
}

fn doubt(
    changes: &Changes<'_>,
    proofs: &BTreeMap<RecordName, Proof>,
    schemas: &Schemas,
    options: Options,
) -> Option<Doubt> {
    if let Some(record) = changes.disputed {
        return Some(Doubt::Passing(format!("its undo record {record} is not checked yet")));
    }
    if let Some(pointer) = changes.dangling {
        return Some(Doubt::Lasting(format!(
            "its label {} leads to an undo record that does not exist ({pointer}): what it was before cannot be told",
            crate::names::UNDO
        )));
    }
    if let Some(why) = schemas.missing(changes.object).filter(|_| changes.needed().next().is_some()) {
        return Some(Doubt::Passing(format!("the schema of its kind could not be read yet: {why}")));
    }
    changes.needed().find_map(|entry| match proofs.get(&entry.name) {
        Some(Proof::Verified(_)) => None,
        Some(Proof::Unverified(..)) if options.accept_unverified => None,
        Some(Proof::Unverified(_, why)) => Some(Doubt::Lasting(format!(
            "its state before could not be checked against the server's own history ({why}); \
             set spec.acceptUnverified of the Release to roll back all the same"
        ))),
        Some(Proof::Refuted(why)) => {
            Some(Doubt::Lasting(format!("its undo record {} is not to be believed: {why}", entry.name)))
        }
        Some(Proof::Unknown(why)) => {
            Some(Doubt::Passing(format!("its undo record {} could not be checked yet: {why}", entry.name)))
        }
        None => Some(Doubt::Passing(format!("its undo record {} is not read yet", entry.name))),
    })
}

impl Plan {
    /// The writes of the next wave, to be done side by side. What was changed or removed comes back in install order,
    /// then what was added goes in the reverse; field ownership follows each object's content at once.
    /// Objects that `is_refused` hold up nobody: they are tried again when they are due, whatever their place.
    pub fn wave(
        &self,
        is_refused: impl Fn(&Restore) -> bool,
        is_due: impl Fn(&Restore) -> bool,
    ) -> Vec<&Restore> {
        let stage = |restore: &Restore| match &restore.write {
            Write::Own { .. } => (0, 0),
            Write::Update { .. } | Write::Create { .. } | Write::Delete { replaced: true, .. } => {
                (1, rank(&restore.object.kind))
            }
            Write::Delete { replaced: false, .. } => (2, usize::MAX - rank(&restore.object.kind)),
        };
        let (refused, free): (Vec<_>, Vec<_>) = self.writes.iter().partition(|restore| is_refused(restore));
        let first = free.iter().map(|restore| stage(restore)).filter(|(class, _)| *class > 0).min();
        let next = free.into_iter().filter(|restore| stage(restore).0 == 0 || Some(stage(restore)) == first);
        next.chain(refused.into_iter().filter(|restore| is_due(restore))).collect()
    }
}
