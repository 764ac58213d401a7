//! What is to be done, as data.

use std::time::Duration;

use super::{observed::Spent, report};
use crate::{
    health::Sightings,
    names::RecordName,
    object::ObjectRef,
    release::ReleaseStatus,
    rollback::{Restore, Write},
};

/// The outcome of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The status to store before anything else is done, if it differs from the observed one: by compare-and-swap on
    /// the resourceVersion that was observed.
    pub status: ReleaseStatus,
    /// What to tell people once the status is stored.
    pub notices: Vec<Notice>,
    /// What to do after that, in any order.
    pub effects: Vec<Effect>,
    /// When to look again.
    pub wake: Wake,
    /// What this judgement saw, for the next one.
    pub sightings: Sightings,
}

/// A change to the cluster: idempotent, with its precondition.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Gather the evidence about the revision that failed, and store it.
    Evidence,
    /// Look for what deployers wrote without a record, see [`super::Survey`].
    Survey,
    /// Tell what a revision changed, as the request asks.
    Tell,
    /// Take the pod that is to be kept out of its workload, see [`super::detachment`].
    SetAside,
    /// Delete the pod that was kept.
    Discard,
    /// Bring an object nearer to its state before the revision.
    Restore(Restore),
    /// Check a record's before-image against the server's history, and note the outcome on the record.
    Verify(RecordName),
    /// Note on a record that it belongs to this Release: it was there before. A Release of the same name after it is
    /// another.
    Adopt(RecordName),
    /// Keep what the revision changed, in a pack.
    Pack,
    /// Delete a record.
    Collect(Spent),
}

/// When to observe the release again, unless something changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// After this long.
    After(Duration),
    /// Only when something changes.
    OnChange,
}

/// An Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The object it is about; the Release itself if absent.
    pub about: Option<ObjectRef>,
    /// A problem, not a piece of news.
    pub warning: bool,
    /// One word.
    pub reason: &'static str,
    /// One or two sentences.
    pub message: String,
}

impl Notice {
    /// What to tell people once `restore` was done: fields of the object that somebody else had changed too, or that it is
    /// another object than before.
    pub fn of_restore(restore: &Restore) -> Option<Self> {
        match &restore.write {
            Write::Update { overridden, .. } if !overridden.is_empty() => {
                Some(report::overridden(&restore.object, overridden))
            }
            Write::Create { .. } => Some(report::created_again(&restore.object)),
            _ => None,
        }
    }
}
