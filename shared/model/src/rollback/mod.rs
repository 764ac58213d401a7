//! From the log of a revision and the live objects to the writes that put everything back.

mod object;
mod order;
mod plan;
mod stuck;

pub use plan::{Hold, Options, Plan, Proof, Restore, Write, plan};

use crate::{
    health::Live,
    object::{ObjectRef, Position},
    undo::chain::{Chain, Entry, Standing},
};

/// One object of a release with its records of the interval, oldest first, and what the server says of it now.
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
    /// The records that took effect, oldest first.
    pub fn confirmed(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.with(Standing::Confirmed)
    }

    /// Whether a write of it may still commit.
    pub fn is_pending(&self) -> bool {
        self.with(Standing::Pending).next().is_some()
    }

    /// What became of one of its records.
    pub fn standing(&self, entry: &Entry) -> Option<Standing> {
        let index = self.entries.iter().position(|other| other.name == entry.name)?;
        self.chain.standings.get(index).copied()
    }

    /// The records up to `position`; `None` if there are none.
    pub fn until(&self, position: Position) -> Option<Self> {
        let within = self.entries.partition_point(|entry| entry.position <= position);
        (within > 0).then(|| Self {
            object: self.object.clone(),
            entries: self.entries.iter().take(within).cloned().collect(),
            chain: Chain {
                standings: self.chain.standings.iter().take(within).copied().collect(),
                dangling: self.chain.dangling.clone(),
            },
            live: self.live.clone(),
        })
    }

    fn with(&self, standing: Standing) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries
            .iter()
            .zip(&self.chain.standings)
            .filter(move |(_, s)| **s == standing)
            .map(|(entry, _)| entry)
    }
}
