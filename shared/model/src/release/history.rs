//! The revisions that were decided.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Author, Failure, Phase, ReleaseStatus, Unrestored};

/// A decided revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// Its number.
    pub revision: u64,
    /// How it ended.
    pub outcome: Phase,
    /// Where what it changed is kept, so that it can still be undone: the first Secret in Backout's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<String>,
    /// It was healthy, and was undone later, by hand.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undone: bool,
    /// A rollback of it, or the way back to one before it, came to a halt: some of it is undone, and some is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub half_undone: bool,
    /// Whose it was.
    pub author: Author,
    /// How many objects it wrote.
    pub objects: u64,
    /// When its first record was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Time>,
    /// When it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Time>,
    /// When it ended: for a rollback, when the last object was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The Secret with what was seen when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// What was not restored, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unrestored: Vec<Unrestored>,
}

/// How many revisions of the history keep all details: a resource has its limits.
const DETAILED: usize = 10;

impl ReleaseStatus {
    /// Moves a decided revision into the history, which keeps so many that were healthy, and as many others: those that fail again
    /// and again do not take the way back.
    pub fn remember(&mut self, past: Past, limit: usize) {
        self.history.retain(|other| other.revision != past.revision);
        self.history.insert(0, past);
        let mut room = [limit; 2];
        self.history.retain(|past| {
            let left = &mut room[usize::from(past.outcome == Phase::Healthy)];
            let is_kept = *left > 0;
            *left = left.saturating_sub(1);
            is_kept
        });
        for past in self.history.iter_mut().skip(DETAILED) {
            past.unrestored.clear();
            past.failure.iter_mut().for_each(|failure| failure.evidence.clear());
        }
    }

    /// The revisions after `to` that a way back to it has to undo, each with its pack; nothing if there is no such way.
    pub fn way_back(&self, to: u64) -> Option<Vec<&str>> {
        let healthy = || self.history.iter().filter(|past| past.outcome == Phase::Healthy && !past.undone);
        let now = self.healthy_revision.filter(|now| to < *now)?;
        healthy().find(|past| past.revision == to && !past.half_undone)?;
        healthy()
            .filter(|past| past.revision > to && past.revision <= now)
            .map(|past| past.pack.as_deref())
            .collect()
    }

    /// The revisions to whose state there is a way back, the newest first.
    pub fn ways_back(&self) -> impl Iterator<Item = u64> {
        self.history.iter().map(|past| past.revision).filter(|to| self.way_back(*to).is_some())
    }
}
