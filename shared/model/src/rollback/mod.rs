//! From the log of a revision and the live objects to the writes that put everything back.

mod allocation;
mod changes;
mod object;
mod order;
mod plan;
mod stuck;

use std::collections::{BTreeMap, BTreeSet};

pub use allocation::without_taken;
pub use plan::{Options, Plan, Proof, Restore, Span, Write, plan};

use self::changes::Changes;
use crate::{
    health::Live,
    names::RecordName,
    object::{ObjectRef, Position},
    undo::chain::{Chain, Entry, Standing, Verification},
};

/// One object of a release with its records since the last healthy revision, oldest first, and what the server says of
/// it now.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// The object.
    pub object: ObjectRef,
    /// Its records.
    pub entries: Vec<Entry>,
    /// What became of each.
    pub chain: Chain,
    /// The object now.
    pub live: Live,
}

impl Track {
    /// The records with what became of each, oldest first.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = (&Entry, Standing)> {
        self.entries.iter().zip(self.chain.standings.iter().copied())
    }

    /// The records that took effect, as far as is known, oldest first.
    pub fn effective(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.records().filter(|(_, standing)| standing.took_effect()).map(|(entry, _)| entry)
    }

    /// The deletions and scales that the server's history refutes, and why: reviews that no API server sent. A call of one
    /// write that began with a stale object is no forgery: another call of the same write was right.
    pub fn forged(&self) -> impl Iterator<Item = (&Entry, &str)> {
        let is_of_same = |entry: &Entry, other: &Entry| {
            other.header.operation == entry.header.operation && other.header.uid == entry.header.uid
        };
        self.records().filter_map(move |(entry, standing)| match &entry.verified {
            Some(Verification::Refuted(why))
                if standing == Standing::Aborted
                    && !entry.header.operation.leaves_pointer()
                    && !self.effective().any(|other| is_of_same(entry, other)) =>
            {
                Some((entry, why.as_str()))
            }
            _ => None,
        })
    }

    /// Leaves only the records for which `keep` holds.
    pub fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        let mut kept = self.entries.iter().map(&keep).collect::<Vec<_>>().into_iter();
        self.chain.standings.retain(|_| kept.next().unwrap_or(true));
        self.entries.retain(keep);
    }

    /// The records up to `cut` whose images a rollback rests on, as far as `proofs` tell by now which to believe.
    pub fn needed(&self, cut: Position, proofs: &BTreeMap<RecordName, Proof>) -> Vec<&Entry> {
        let names: BTreeSet<_> = Changes::of(self, cut, proofs).needed().map(|entry| &entry.name).collect();
        self.entries.iter().filter(|entry| names.contains(&entry.name)).collect()
    }
}
