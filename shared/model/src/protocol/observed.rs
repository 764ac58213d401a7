//! What a decision rests on.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use crate::{
    health::{Judged, Live, Scene, Sightings},
    names::RecordName,
    object::{ObjectRef, Position},
    release::{Attempt, Policy, ReleaseStatus},
    rollback::{Options, Proof, Track},
    undo::{Operation, chain::Entry},
};

/// One release, its log and its objects, as the watcher found them.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// `metadata.generation` of the Release.
    pub generation: Option<i64>,
    /// Its status: what was decided so far.
    pub status: ReleaseStatus,
    /// The policy that holds for it.
    pub policy: Policy,
    /// What is wrong with its settings or its log, a sentence each.
    pub problems: Vec<String>,
    /// The objects with records after `healthyPosition`.
    pub tracks: Vec<Track>,
    /// Records that are of no more use: at or before `healthyPosition`, of a Release that is gone, or unreadable.
    pub spent: Vec<Spent>,
    /// The log position of the LIST that found the records.
    pub cut: Position,
    /// For how long no new record has been seen.
    pub quiet: Duration,
    /// The state of objects before the revision, by record: what their health is compared with.
    pub baselines: BTreeMap<RecordName, Value>,
    /// All pods of the namespaces concerned.
    pub pods: Vec<Value>,
    /// All ReplicaSets of the namespaces concerned.
    pub replica_sets: Vec<Value>,
    /// Events of reason `Failed` about those pods.
    pub events: Vec<Value>,
    /// What could not be listed, and why: then no verdict falls.
    pub blind: Option<String>,
    /// The images of the confirmed records; only while rolling back.
    pub proofs: BTreeMap<RecordName, Proof>,
    /// Restores that the server refused, and what it said.
    pub refusals: BTreeMap<ObjectRef, Refusal>,
    /// Time since the observation before this one; absent after a start.
    pub since_last: Option<Duration>,
    /// What earlier judgements saw.
    pub sightings: Sightings,
    /// What the operator allows in a rollback.
    pub options: Options,
}

/// A restore that the server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the server said.
    pub why: String,
    /// It is time to try again.
    pub due: bool,
}

/// A record that can be collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// The name of its head.
    pub name: String,
    /// Its resourceVersion: the precondition of its deletion.
    pub resource_version: String,
    /// In how many pieces its body lies beside it.
    pub pieces: usize,
}

impl From<&Entry> for Spent {
    fn from(entry: &Entry) -> Self {
        Self {
            name: entry.name.as_str().to_owned(),
            resource_version: entry.resource_version.clone(),
            pieces: entry.pieces,
        }
    }
}

impl Observed {
    /// The objects of the current revision up to its cut.
    pub fn interval(&self) -> Vec<Track> {
        let cut = self.status.sealed().unwrap_or(self.cut);
        self.tracks.iter().filter_map(|track| track.until(cut)).collect()
    }

    /// All records after `position`, with their objects.
    pub fn after(&self, position: Position) -> impl Iterator<Item = (&Track, &Entry)> {
        self.tracks
            .iter()
            .flat_map(|track| track.entries.iter().map(move |entry| (track, entry)))
            .filter(move |(_, entry)| entry.position > position)
    }

    /// What the current revision is to its release.
    pub fn attempt(&self) -> Attempt {
        let created = |track: &Track| {
            track.confirmed().next().is_none_or(|first| first.header.operation == Operation::Create)
        };
        if self.status.healthy_revision.is_none() && self.tracks.iter().all(created) {
            Attempt::Install
        } else {
            Attempt::Upgrade
        }
    }

    /// What the judge looks at.
    pub fn scene(&self, soaking: bool) -> Scene {
        Scene {
            judged: self.tracks.iter().filter_map(|track| self.judged(track)).collect(),
            pods: self.pods.clone(),
            replica_sets: self.replica_sets.clone(),
            events: self.events.clone(),
            install: self.attempt() == Attempt::Install,
            soaking,
        }
    }

    fn judged(&self, track: &Track) -> Option<Judged> {
        let first = track.confirmed().next()?;
        let last = track.confirmed().next_back()?;
        Some(Judged {
            object: track.object.clone(),
            live: match &self.blind {
                Some(why) => Live::Unreadable(why.clone()),
                None => track.live.clone(),
            },
            baseline: self.baselines.get(&first.name).cloned(),
            deleted: last.header.operation == Operation::Delete,
        })
    }
}
