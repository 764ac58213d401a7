//! The next writes of a rollback, from what is there now. Planning again after any of them, or after a crash, goes on
//! where things stand.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Track, object, order::rank, stuck};
use crate::{
    names::RecordName,
    object::ObjectRef,
    release::Unrestored,
    undo::{Operation, Record},
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
    /// The before-state of something is not known for certain: no object may be touched.
    pub hold: Option<Hold>,
}

/// Why a rollback must not go on by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The object whose before-state is in doubt.
    pub object: ObjectRef,
    /// Why, and what to do about it.
    pub reason: String,
}

/// Plans the rollback of `tracks`; `proofs` holds the images of their confirmed records, `pods` those of the
/// namespaces concerned.
pub fn plan(
    tracks: &[Track],
    proofs: &BTreeMap<RecordName, Proof>,
    pods: &[Value],
    options: Options,
) -> Plan {
    let mut plan = Plan::default();
    for track in tracks {
        let track = &believed(track, proofs, &mut plan.unrestored);
        if let Some(reason) = doubt(track, proofs, options) {
            return Plan { hold: Some(Hold { object: track.object.clone(), reason }), ..Plan::default() };
        }
        match object::next(track, proofs, options) {
            object::Next::Done => stuck::free(track, pods, &mut plan),
            object::Next::Write(write) => plan.writes.push(Restore { object: track.object.clone(), write }),
            object::Next::Wait(reason) => plan.waiting.push(listed(track, reason)),
            object::Next::Leave(reason) => plan.unrestored.push(listed(track, reason)),
        }
    }
    plan
}

fn listed(track: &Track, reason: String) -> Unrestored {
    Unrestored { object: (&track.object).into(), reason }
}

/// The track without refuted claims that nothing but the object's absence, or its replicas, seemed to confirm: anyone
/// who can reach the webhook could have made them. Where the object itself carries the record's name the claim stays,
/// and holds the release.
fn believed(track: &Track, proofs: &BTreeMap<RecordName, Proof>, reported: &mut Vec<Unrestored>) -> Track {
    let mut track = track.clone();
    let mut kept = track.entries.iter().map(|entry| {
        let Some(Proof::Refuted(why)) = proofs.get(&entry.name) else { return true };
        let claim = matches!(entry.header.operation, Operation::Delete | Operation::Scale);
        if claim {
            let reason = format!("the undo record {} is not believed and was left out: {why}", entry.name);
            reported.push(Unrestored { object: (&track.object).into(), reason });
        }
        !claim
    });
    let kept: Vec<_> = kept.by_ref().collect();
    let mut flags = kept.iter();
    track.entries.retain(|_| flags.next().copied().unwrap_or(true));
    let mut flags = kept.iter();
    track.chain.standings.retain(|_| flags.next().copied().unwrap_or(true));
    track
}

/// Why the state of the object before the interval is not known for certain.
fn doubt(track: &Track, proofs: &BTreeMap<RecordName, Proof>, options: Options) -> Option<String> {
    if let Some(pointer) = &track.chain.dangling {
        return Some(format!(
            "its label {} names the undo record {pointer}, which does not exist: what it was before cannot be told",
            crate::names::UNDO
        ));
    }
    // An object that the release created has no state before it.
    let mut confirmed = track.confirmed().peekable();
    if confirmed.peek().is_none_or(|first| first.header.operation == Operation::Create) {
        return None;
    }
    confirmed.find_map(|entry| match proofs.get(&entry.name) {
        _ if entry.header.operation == Operation::Create => None,
        Some(Proof::Verified(_)) => None,
        Some(Proof::Unverified(..)) if options.accept_unverified => None,
        Some(Proof::Unverified(_, why)) => Some(format!(
            "its state before could not be checked against the server's own history ({why}); \
             set spec.acceptUnverified of the Release to roll back all the same"
        )),
        Some(Proof::Refuted(why)) => {
            Some(format!("its undo record {} is not to be believed: {why}", entry.name))
        }
        None => Some(format!("its undo record {} could not be read", entry.name)),
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
