//! When is a release healthy, when has it failed: a pure function of objects and the time.
//!
//! # Flow
//!
//! [`judge`] asks of each object that the revision changed whether it is ready ([`readiness`]), and of each workload
//! what the containers of its new pods are doing: a table of signals says which of their states are failures, and how
//! long or how often they must be seen.
//!
//! # Guarantees
//!
//! - What the revision did not change is never held against it.
//! - What cannot be seen is never a failure.

mod containers;
mod diagnosis;
mod evidence;
mod facts;
mod freshness;
mod pods;
mod readiness;
pub mod reasons;
mod sightings;
mod signals;
mod verdict;

use serde_json::Value;

use crate::object::ObjectRef;

pub use readiness::{Status, readiness};
pub use sightings::Sightings;
pub use verdict::{Judgement, Verdict, deadline_failure, judge};

/// What the server says about an object right now.
#[derive(Clone, Debug, PartialEq)]
pub enum Live {
    /// It is there.
    Present(Value),
    /// It is not there.
    Absent,
    /// The server did not say; the reason is for people.
    Unreadable(String),
}

/// One object that the revision changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Which object.
    pub object: ObjectRef,
    /// As it is now.
    pub live: Live,
    /// As it was before the revision; absent if the revision created it.
    pub baseline: Option<Value>,
    /// The revision's last word on the object is its deletion.
    pub deleted: bool,
}

/// All that a judgement rests on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    /// The objects that the revision changed.
    pub judged: Vec<Judged>,
    /// All pods of the namespaces concerned.
    pub pods: Vec<Value>,
    /// All `ReplicaSet`s of the namespaces concerned.
    pub replica_sets: Vec<Value>,
    /// Events of reason `Failed` about those pods: the kubelet tells there of each attempt to pull an image, in the
    /// pod's status only of every other one. Best effort: nothing rests on them alone.
    pub events: Vec<Value>,
    /// The revision is a first install: dependencies may still be coming up.
    pub install: bool,
    /// Everything was ready before: the revision is soaking.
    pub soaking: bool,
}
