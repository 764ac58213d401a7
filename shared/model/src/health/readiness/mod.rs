//! Whether one object is ready, by the rules of kstatus: from the object alone and its state before the revision.
//!
//! # Flow
//!
//! The first that applies: it is being deleted; its controller has not seen its spec; it says itself that it is
//! reconciling or stalled; the rule of its kind; its condition `Ready`; it is ready.

mod apps;
mod batch;
mod cluster;
mod pod;

pub(super) use apps::NO_DEADLINE;
use serde_json::Value;

use super::{facts::Facts, freshness::Case, reasons};
use crate::object::Image;

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is as its spec asks.
    Current,
    /// It is not there, and should not be.
    Gone,
    /// It is told to wait.
    Suspended,
    /// It is on its way.
    InProgress {
        /// One word, as kstatus uses it, or the reason of the condition that says so.
        reason: String,
        /// A sentence for people.
        message: String,
    },
    /// It will not get there.
    Failed {
        /// One of [`reasons`].
        reason: &'static str,
        /// A sentence for people.
        message: String,
    },
    /// It is being deleted.
    Terminating,
    /// Nobody knows.
    Unknown {
        /// Why not.
        message: String,
    },
}

impl Status {
    /// Whether nothing more is to be waited for.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Current | Self::Gone | Self::Suspended)
    }

    /// The status in a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Current => "Ready",
            Self::Gone => "Gone",
            Self::Suspended => "Suspended",
            Self::Terminating => "Terminating",
            Self::InProgress { .. } => "InProgress",
            Self::Failed { .. } => "Failed",
            Self::Unknown { .. } => "Unknown",
        }
    }

    /// What is missing, in a sentence.
    pub fn message(&self) -> &str {
        match self {
            Self::Current => "is ready",
            Self::Gone => "is gone",
            Self::Suspended => "is suspended",
            Self::Terminating => "is being deleted",
            Self::InProgress { message, .. } | Self::Failed { message, .. } | Self::Unknown { message } => {
                message
            }
        }
    }

    /// Whether two statuses say the same, whatever the numbers in their messages.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::InProgress { reason, .. }, Self::InProgress { reason: other, .. }) => reason == other,
            (Self::Failed { reason, .. }, Self::Failed { reason: other, .. }) => reason == other,
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }

    pub(super) fn waiting(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InProgress { reason: reason.into(), message: message.into() }
    }

    pub(super) fn failed(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Failed { reason, message: message.into() }
    }
}

/// The rule of one kind.
type Rule = fn(&Case<'_>) -> Status;

/// The kinds with a rule of their own: group, kind, rule.
const KINDS: &[(&str, &str, Rule)] = &[
    ("apps", "Deployment", apps::deployment),
    ("apps", "ReplicaSet", apps::replica_set),
    ("apps", "StatefulSet", apps::stateful_set),
    ("apps", "DaemonSet", apps::daemon_set),
    ("", "ReplicationController", apps::replica_set),
    ("", "Pod", pod::pod),
    ("batch", "Job", batch::job),
    ("", "PersistentVolumeClaim", cluster::volume_claim),
    ("", "Service", cluster::service),
    ("networking.k8s.io", "Ingress", cluster::ingress),
    ("apiregistration.k8s.io", "APIService", cluster::api_service),
    ("autoscaling", "HorizontalPodAutoscaler", |_| Status::Current),
    ("apiextensions.k8s.io", "CustomResourceDefinition", cluster::definition),
];

/// The groups of the API server itself: what has no rule there is ready by being there. Others end in `.k8s.io` too.
const BUILT_IN: &[&str] = &[
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// Whether a group is one of the API server itself.
pub(super) fn is_built_in(group: &str) -> bool {
    BUILT_IN.contains(&group)
}

/// Where `object` stands; `baseline` is its state before the revision.
///
/// The object must carry `apiVersion` and `kind`; without them only the rules common to all kinds apply.
pub fn readiness(object: &Value, baseline: Option<&Value>) -> Status {
    let api_version = Facts(object).text("/apiVersion");
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    readiness_of(group, Image(object).kind(), &Case::new(object, baseline))
}

/// As [`readiness`], for an object whose group and kind are known: items of a list do not carry them.
pub(super) fn readiness_of(group: &str, kind: &str, case: &Case<'_>) -> Status {
    if Image(case.live.0).is_terminating() {
        // What a job came to it says to its end: it may be taken away at once.
        let ended = ((group, kind) == ("batch", "Job")).then(|| batch::job(case));
        return match ended {
            Some(failed @ Status::Failed { .. }) => failed,
            _ => Status::Terminating,
        };
    }
    if case.live.is_unobserved() {
        return Status::waiting("LatestGenerationNotObserved", "its controller has not yet seen the change");
    }
    if let Some(status) = own_word(case) {
        return status;
    }
    match KINDS.iter().find(|(g, k, _)| (*g, *k) == (group, kind)) {
        Some((_, _, rule)) => rule(case),
        None => ready_condition(case),
    }
}

/// The conditions of the kstatus convention, by which a controller says how it is doing.
fn own_word(case: &Case<'_>) -> Option<Status> {
    let condition = case
        .live
        .conditions()
        .find(|condition| condition.is_true() && matches!(condition.type_(), "Reconciling" | "Stalled"))?;
    Some(if condition.type_() == "Stalled" && case.is_fresh(condition) {
        Status::failed(reasons::STALLED, format!("its controller cannot go on: {}", condition.tells()))
    } else {
        Status::waiting(condition.type_(), condition.tells())
    })
}

fn ready_condition(case: &Case<'_>) -> Status {
    match case.live.condition("Ready") {
        None => match case.live.condition("NotReady").filter(|it| it.is_true()) {
            Some(not) => Status::waiting("NotReady", not.tells()),
            None => Status::Current,
        },
        Some(ready) if case.speaks_of_older(ready) => {
            Status::waiting("LatestGenerationNotObserved", "its controller has not yet seen the change")
        }
        Some(ready) if ready.is_true() => Status::Current,
        Some(ready) => {
            let reason = if ready.reason().is_empty() { "NotReady" } else { ready.reason() };
            Status::waiting(reason, ready.tells())
        }
    }
}
