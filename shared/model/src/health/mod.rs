//! When is a release healthy, when has it failed: a pure function of objects and the time.
//!
//! # Flow
//!
//! [`judge`] asks of each object that the revision changed whether it is ready ([`readiness`]), and of each workload
//! whether its new pods come to be, find a node and start, and what their containers are doing: tables of signals say
//! what of that is a failure, and how long or how often it must be seen. A ConfigMap or Secret is judged by the pods
//! that use it.
//!
//! # Guarantees
//!
//! - What the revision did not change is never held against it.
//! - What cannot be seen is never a failure.

mod class;
mod consumers;
pub(crate) mod containers;
mod creation;
mod diagnosis;
mod evidence;
pub(crate) mod facts;
mod findings;
mod freshness;
mod nodes;
mod pod_signals;
mod pods;
mod readiness;
pub mod reasons;
mod rules;
mod runs;
mod sightings;
mod signals;
mod standing;
mod verdict;
mod wishes;

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use crate::{object::ObjectRef, release::HealthRule};

pub use readiness::{Status, readiness};
pub use sightings::Sightings;
pub use verdict::{Judgement, Verdict, Wait, Warning, deadline_failure, judge};

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
    /// Events about those pods and their owners that tell of trouble, and those of autoscalers of nodes. Best effort: no
    /// verdict rests on one alone.
    pub events: Vec<Value>,
    /// Nodes on which pods of a DaemonSet are not ready; of a node that is gone its name alone.
    pub nodes: Vec<Value>,
    /// The storage classes of claims that are not bound.
    pub storage_classes: Vec<Value>,
    /// Rules for kinds that somebody has written.
    pub rules: Vec<HealthRule>,
    /// Namespaces that are being deleted.
    pub going: BTreeSet<String>,
    /// For how long the revision has been under way, if that is known.
    pub age: Option<Duration>,
    /// The revision is a first install: dependencies may still be coming up.
    pub install: bool,
    /// Everything was ready before: the revision is soaking.
    pub soaking: bool,
}
