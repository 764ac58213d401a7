//! What a decision rests on.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Unrecorded;
use crate::{
    health::{Judged, Live, Scene, Sightings},
    names::RecordName,
    object::{Image, ObjectRef, Position},
    release::{Attempt, Policy, ReleaseStatus},
    rollback::{Options, Proof, Track},
    undo::{
        Operation,
        chain::{Entry, Standing},
        schema::Schemas,
    },
};

/// One release, its log and its objects, as the watcher found them.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// `metadata.uid` of the Release.
    pub uid: Option<String>,
    /// `metadata.generation` of the Release.
    pub generation: Option<i64>,
    /// What a person asks of it: the annotation [`crate::names::REQUEST`].
    pub request: Option<String>,
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
    /// For how long no new record has been seen, while anything could be seen.
    pub quiet: Duration,
    /// The state of objects before the revision, by record: what their health is compared with.
    pub baselines: BTreeMap<RecordName, Value>,
    /// All pods of the namespaces concerned.
    pub pods: Vec<Value>,
    /// All ReplicaSets of the namespaces concerned.
    pub replica_sets: Vec<Value>,
    /// Events about those pods and their owners that tell of trouble.
    pub events: Vec<Value>,
    /// Nodes on which pods of a DaemonSet are not ready.
    pub nodes: Vec<Value>,
    /// The storage classes of claims that are not bound.
    pub storage_classes: Vec<Value>,
    /// Namespaces that are being deleted.
    pub going: BTreeSet<String>,
    /// What could not be listed, and why: then no verdict falls.
    pub blind: Option<String>,
    /// The images that a rollback rests on; only while rolling back.
    pub proofs: BTreeMap<RecordName, Proof>,
    /// What the server says of the lists in the objects that are to be restored; only while rolling back.
    pub schemas: Schemas,
    /// Whether what the revision changed is kept for later.
    pub pack: Pack,
    /// What deployers wrote past the webhook.
    pub unrecorded: Unrecorded,
    /// Restores that the server refused, and what it said.
    pub refusals: BTreeMap<ObjectRef, Refusal>,
    /// The resourceVersions at which the server took a patch of field owners and changed nothing.
    pub ignored: BTreeMap<ObjectRef, String>,
    /// The Secret with the evidence about the revision that failed, or why there is none; absent while that was not tried.
    pub evidence: Option<Result<String, String>>,
    /// The Secret that tells what the request asks for, or why there is none; absent while that was not tried.
    pub told: Option<Result<String, String>>,
    /// The pod that is kept for a person to look into, as it is now.
    pub aside: Option<Live>,
    /// What the watcher has timed itself.
    pub watched: Watched,
    /// Time since the observation before this one; absent after a start.
    pub since_last: Option<Duration>,
    /// What earlier judgements saw.
    pub sightings: Sightings,
    /// What the operator allows in a rollback.
    pub options: Options,
}

/// For how long one watcher has itself seen what the status tells, by its monotonic clock, without the times in which
/// it saw nothing: the times in the status may be another's, whose wall clock differs. Absent where only they tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// That the revision is sealed where it is.
    pub sealed: Option<Duration>,
    /// That all objects are ready.
    pub ready: Option<Duration>,
}

impl Watched {
    /// The shorter of what the status tells and what was seen.
    pub(super) fn at_most(told: SignedDuration, seen: Option<Duration>) -> SignedDuration {
        seen.map_or(told, |seen| told.min(SignedDuration::try_from(seen).unwrap_or(SignedDuration::MAX)))
    }
}

/// Whether what a revision changed is kept for later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pack {
    /// It is not wanted.
    #[default]
    Unwanted,
    /// It is to be made before the revision is committed.
    Wanted,
    /// It is there, under this name.
    Kept(String),
    /// It could not be made, and will not be.
    Failed(String),
}

/// A restore that the server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the server said.
    pub why: String,
    /// For how long it is not to be tried again.
    pub pause: Duration,
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
    /// The cut of the current revision; where it is not sealed yet, the end of the log.
    pub fn cut(&self) -> Position {
        self.status.sealed().unwrap_or(self.cut)
    }

    /// All records with their objects and what became of each.
    pub fn log(&self) -> impl Iterator<Item = (&Track, &Entry, Standing)> {
        self.tracks
            .iter()
            .flat_map(|track| track.records().map(move |(entry, standing)| (track, entry, standing)))
    }

    /// The records after `position` with what became of each.
    pub fn after(&self, position: Position) -> impl Iterator<Item = (&Entry, Standing)> {
        let records = self.tracks.iter().flat_map(Track::records);
        records.filter(move |(entry, _)| entry.position > position)
    }

    /// The records after `position` that took effect.
    pub fn effective_after(&self, position: Position) -> impl Iterator<Item = &Entry> {
        self.after(position).filter(|(_, standing)| standing.took_effect()).map(|(entry, _)| entry)
    }

    /// The records that the rollback under way needs the images of, and has not got.
    pub fn unproven(&self) -> impl Iterator<Item = &Entry> {
        let needed = self.tracks.iter().flat_map(|track| track.needed(self.cut(), &self.proofs));
        needed.filter(|entry| !self.proofs.contains_key(&entry.name))
    }

    /// What the current revision is to its release.
    pub fn attempt(&self) -> Attempt {
        let created = |track: &Track| {
            track.effective().next().is_none_or(|first| first.header.operation == Operation::Create)
        };
        if self.status.healthy_revision.is_none() && self.tracks.iter().all(created) {
            Attempt::Install
        } else {
            Attempt::Upgrade
        }
    }

    /// What the judge looks at.
    pub fn scene(&self, soaking: bool, now: Timestamp) -> Scene {
        let judged = self.tracks.iter().filter_map(|track| self.judged(track));
        let since = self.status.opened_at.as_ref().map(|at| now.duration_since(at.0));
        Scene {
            install: self.attempt() == Attempt::Install,
            age: since.map(|since| Duration::try_from(since).unwrap_or_default()),
            soaking,
            ..self.around(judged.collect())
        }
    }

    /// The same after a rollback: the objects that were there before the revision.
    pub fn restored_scene(&self) -> Scene {
        let was_there = |track: &&Track| {
            track.effective().next().is_some_and(|first| first.header.operation != Operation::Create)
        };
        let judged = self.tracks.iter().filter(was_there).map(|track| Judged {
            object: track.object.clone(),
            live: self.live(track),
            baseline: self.baseline(track),
            deleted: false,
        });
        self.around(judged.collect())
    }

    fn around(&self, judged: Vec<Judged>) -> Scene {
        Scene {
            judged,
            pods: self.pods.clone(),
            replica_sets: self.replica_sets.clone(),
            events: self.events.clone(),
            nodes: self.nodes.clone(),
            storage_classes: self.storage_classes.clone(),
            going: self.going.clone(),
            rules: self.policy.health.clone(),
            ..Scene::default()
        }
    }

    fn judged(&self, track: &Track) -> Option<Judged> {
        let (last, standing) = track.records().rfind(|(_, standing)| standing.took_effect())?;
        // A mere claim that the object is there, or is something else, is no reason to look at it.
        if last.header.operation.leaves_pointer() && standing == Standing::Claimed {
            return None;
        }
        // What was looked for by its first record alone may only have another record by now.
        if track.object.key.name.is_empty() && track.live == Live::Absent {
            return None;
        }
        let deleted = last.header.operation == Operation::Delete;
        let live = match self.live(track) {
            // It was deleted; what has its name now is another object.
            Live::Present(live) if deleted && Image(&live).uid() != last.header.uid.as_deref() => {
                Live::Absent
            }
            live => live,
        };
        Some(Judged { object: track.object.clone(), live, baseline: self.baseline(track), deleted })
    }

    fn live(&self, track: &Track) -> Live {
        match &self.blind {
            Some(why) => Live::Unreadable(why.clone()),
            None => track.live.clone(),
        }
    }

    fn baseline(&self, track: &Track) -> Option<Value> {
        self.baselines.get(&track.effective().next()?.name).cloned()
    }
}
