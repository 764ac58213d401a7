//! What a revision did to one object, as far as its records are to be believed.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::{Proof, Track, allocation::as_stored};
use crate::{
    health::Live,
    names::RecordName,
    object::{ObjectRef, Position},
    undo::{
        Operation, Record,
        chain::{Entry, Standing},
    },
};

/// The records of one object up to the cut of the revision.
pub(super) struct Changes<'a> {
    pub(super) object: &'a ObjectRef,
    pub(super) live: &'a Live,
    /// Those that took effect, oldest first.
    pub(super) records: Vec<&'a Entry>,
    /// Those of them that nothing but a claim says so of.
    claims: BTreeSet<&'a RecordName>,
    /// Claims that are not believed, and why.
    pub(super) refuted: Vec<(&'a Entry, &'a str)>,
    /// What becomes of some record is not known yet, or cannot be: the object cannot be read.
    pub(super) uncertain: bool,
    /// The last records up to the cut: of all, and of those that took effect. The one may be collected before the other.
    pub(super) last: BTreeSet<&'a RecordName>,
    /// A record that is still to be checked, and may tell what became of the object.
    pub(super) disputed: Option<&'a RecordName>,
    /// The first record after the cut that took effect.
    pub(super) next: Option<&'a Entry>,
    /// See [`crate::undo::chain::Chain::dangling`].
    pub(super) dangling: Option<&'a RecordName>,
}

impl<'a> Changes<'a> {
    /// Leaves out refuted claims that nothing but the object's absence, or its replicas, seemed to confirm: anyone who
    /// can reach the webhook could have made them. Where the object itself carries the record's name the claim stays.
    pub(super) fn of(track: &'a Track, cut: Position, proofs: &'a BTreeMap<RecordName, Proof>) -> Self {
        let mut changes = Self {
            object: &track.object,
            live: &track.live,
            records: Vec::new(),
            refuted: track.forged().filter(|(entry, _)| entry.position <= cut).collect(),
            uncertain: track
                .records()
                .any(|(entry, standing)| entry.position <= cut && standing == Standing::Pending),
            claims: BTreeSet::new(),
            last: [
                track.entries.iter().rfind(|entry| entry.position <= cut),
                track.effective().rfind(|entry| entry.position <= cut),
            ]
            .into_iter()
            .flatten()
            .map(|entry| &entry.name)
            .collect(),
            next: track.effective().find(|entry| entry.position > cut),
            disputed: track.chain.disputed.iter().next(),
            dangling: track.chain.dangling.as_ref(),
        };
        let effective =
            track.records().filter(|(entry, standing)| standing.took_effect() && entry.position <= cut);
        for (entry, standing) in effective {
            let is_claim = standing == Standing::Claimed;
            match proofs.get(&entry.name) {
                Some(Proof::Refuted(why)) if is_claim => changes.refuted.push((entry, why)),
                _ => changes.records.push(entry),
            }
            if is_claim {
                changes.claims.insert(&entry.name);
            }
        }
        changes
    }

    /// The records whose images a rollback rests on: what the release created has no state before it, and of an object
    /// that it replaced only the first one is wanted back.
    pub(super) fn needed(&self) -> impl Iterator<Item = &'a Entry> {
        let first = self.records.first().filter(|first| first.header.operation != Operation::Create);
        let uid = first.map(|first| first.header.uid.as_deref());
        self.records
            .iter()
            .filter(move |entry| {
                entry.header.operation != Operation::Create && Some(entry.header.uid.as_deref()) == uid
            })
            .copied()
    }

    /// The needed records with their images.
    pub(super) fn images(&self, proofs: &'a BTreeMap<RecordName, Proof>) -> Vec<Cow<'a, Record>> {
        let records = self.needed().filter_map(|entry| proofs.get(&entry.name)?.record());
        records.map(as_stored).collect()
    }

    /// The undo pointer of the object before the revision; `None` where the records cannot tell: a scale does not see
    /// the labels.
    #[expect(clippy::option_option, reason = "no pointer is something else than not known")]
    pub(super) fn pointer_before(&self) -> Option<Option<&'a RecordName>> {
        let first = self.needed().find(|entry| entry.header.operation != Operation::Scale)?;
        Some(first.header.undo.as_ref())
    }

    /// Whether the release created the object that has this uid and this undo pointer. A captured creation knows the uid.
    pub(super) fn created(&self, uid: Option<&str>, pointer: Option<&RecordName>) -> bool {
        let is_create = |name: &RecordName| {
            let named = self.records.iter().find(|entry| entry.name == *name);
            named.is_some_and(|entry| entry.header.operation == Operation::Create)
        };
        let found = |entry: &&Entry| {
            self.is_certain(entry)
                && entry.header.uid.is_some()
                && entry.header.uid.as_deref() == uid
                && (entry.header.undo.as_ref().is_some_and(is_create)
                    || (entry.header.captured && entry.header.operation == Operation::Create))
        };
        pointer.is_some_and(is_create) || self.records.iter().copied().any(|entry| found(&entry))
    }

    /// Whether more than a claim says that the write took effect, and what it found.
    pub(super) fn is_certain(&self, entry: &Entry) -> bool {
        // That a name was free does not tell who took it.
        let is_proven = entry.is_verified() && entry.header.operation != Operation::Create;
        !self.claims.contains(&entry.name) || is_proven
    }

    /// Whether a record of the revision wrote the object with this uid.
    pub(super) fn wrote(&self, uid: Option<&str>) -> bool {
        self.records.iter().any(|entry| entry.header.uid.is_some() && entry.header.uid.as_deref() == uid)
    }

    /// Whether the object, of whatever uid, is the one that the last record, of a revision that was healthy, left: a
    /// rollback since has made it again.
    pub(super) fn is_made_again(&self, pointer: Option<&RecordName>, healthy: Position) -> bool {
        let last = self.records.iter().rev().find(|entry| entry.header.operation.leaves_pointer());
        last.is_some_and(|last| last.position <= healthy && Some(&last.name) == pointer)
    }

    /// Whether the object had its state before the revision again when it was written next.
    pub(super) fn was_restored_before(&self, next: &Entry) -> bool {
        let creates = next.header.operation == Operation::Create;
        match self.records.first() {
            None => true,
            Some(first) if first.header.operation == Operation::Create => creates,
            // A captured write tells nothing of what it found.
            Some(_) => {
                !creates && !next.header.captured && self.pointer_before() == Some(next.header.undo.as_ref())
            }
        }
    }

    /// Whether a pointer is one that the revision found or left on the object.
    pub(super) fn knows(&self, pointer: &RecordName) -> bool {
        self.records.iter().any(|entry| entry.name == *pointer || entry.header.undo.as_ref() == Some(pointer))
    }
}
