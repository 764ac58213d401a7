//! What the watcher reports to people, and what it must remember between two decisions.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Past, Pick};
use crate::object::{ObjectRef, Position};

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// State of a release. Written by the watcher only, each time with the resourceVersion it was decided on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ReleaseStatus {
    /// The generation of the spec that this status was computed from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the current revision stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The current revision, or the last one when none is under way.
    pub revision: u64,
    /// The last revision that proved healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy_revision: Option<u64>,
    /// Log position up to which everything is committed or rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy_position: Option<String>,
    /// Log position at which the current revision was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_position: Option<String>,
    /// The records since the last healthy revision that took effect, as far as none of the others names them. Kept, for
    /// the objects may not tell any more: others may delete them, and the rollback restores them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub confirmed: Vec<String>,
    /// The last records of objects that a rollback put back before it came to a halt: they and those before them count no
    /// more, while the log still holds what was left over.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undone: Vec<String>,
    /// Whether a rollback of the current revision came to a halt when it had put something back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub half_undone: bool,
    /// Whether the current revision is a first install or an upgrade.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// Who writes the current revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<Author>,
    /// Log position after which the current revision began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened_position: Option<String>,
    /// When the current revision was cut: the deadline runs from then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_at: Option<Time>,
    /// When the watcher saw the current revision's first record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Time>,
    /// Since when all judged objects are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<Time>,
    /// Since when an object is not ready any more, after all were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unready_since: Option<Time>,
    /// What happened to objects since all were ready: they lost it, their containers were restarted, their pods replaced.
    #[serde(skip_serializing_if = "is_none")]
    pub unrest: u32,
    /// How long the clocks of the current revision stood still because nothing could be observed, in seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub frozen_seconds: u64,
    /// Since when objects of the current revision cannot be observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undecided_since: Option<Time>,
    /// When the verdict fell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Time>,
    /// How many of the judged objects are ready, such as `5/7`; after a rollback, of those that were restored.
    pub ready: String,
    /// The judged objects, the ones that are not ready first; only so many of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Standing>,
    /// When the current revision fails if it is not ready by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<Time>,
    /// When the current revision is healthy if all stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soaked_at: Option<Time>,
    /// One line for people: what is going on, or what happened and what to do next.
    pub message: String,
    /// Why the current revision failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The Secret beside the Release with what was seen before anything was touched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Why there is no such Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence_missing: Option<String>,
    /// A failing pod that is kept running for a person to look into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aside: Option<Aside>,
    /// Set while a client that still waits for the failed revision must not write any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// Why the failed revision is not rolled back although the policy says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Unrestored>,
    /// The objects that somebody asked to roll back alone: the others are held.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Pick>,
    /// The answer to what was asked last by the annotation `backout.dev/request`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// The revision whose state somebody asked for: what came after it is undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Objects that the rollback could not or should not restore.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unrestored: Vec<Unrestored>,
    /// Objects of the current revision that deployers wrote past the webhook, as of its end; only so many of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unrecorded: Vec<Subject>,
    /// What is wrong with the configuration of the release, and what is used instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Ready, Reconciling and Stalled, in the kstatus convention.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The last decided revisions, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Past>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(seconds: &u64) -> bool {
    *seconds == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_none(count: &u32) -> bool {
    *count == 0
}

impl ReleaseStatus {
    /// The log position up to which everything is decided.
    pub fn healthy(&self) -> Position {
        self.healthy_position.as_deref().and_then(Position::parse).unwrap_or_default()
    }

    /// The cut of the current revision, once it is sealed.
    pub fn sealed(&self) -> Option<Position> {
        self.sealed_position.as_deref().and_then(Position::parse)
    }

    /// Whether a rollback came to a halt when it had put something back, or on its way to an older revision.
    pub fn is_half_way(&self) -> bool {
        self.half_undone || self.to.is_some()
    }

    /// The log position up to which a verdict has fallen, of whatever kind.
    pub fn judged(&self) -> Position {
        let healthy = self.healthy();
        let is_decided = self.phase.is_some_and(|phase| !phase.is_undecided());
        self.sealed().filter(|_| is_decided).map_or(healthy, |sealed| sealed.max(healthy))
    }

    /// Whether a rollback is under way that does not get on.
    pub fn is_stalled(&self) -> bool {
        let is_stalled = |it: &Condition| it.type_ == "Stalled" && it.status == "True";
        self.phase == Some(Phase::RollingBack) && self.conditions.iter().any(is_stalled)
    }

    /// The log position after which the current revision began.
    pub fn opened(&self) -> Position {
        self.opened_position.as_deref().and_then(Position::parse).unwrap_or_default()
    }

    /// The revision that a write belongs to which arrives now, as far as this status tells.
    pub fn revision_of_next_write(&self) -> u64 {
        if self.phase.is_some_and(Phase::is_undecided) { self.revision } else { self.revision + 1 }
    }
}

/// Where a revision stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// The deployer is writing.
    Open,
    /// All is written; objects are becoming ready.
    Progressing,
    /// All are ready and must stay so for a while.
    Soaking,
    /// Healthy: committed.
    Healthy,
    /// Failed; its objects are on their way back.
    RollingBack,
    /// Failed; everything is as it was before.
    RolledBack,
    /// Failed; left as it is for a person to look at, by policy or because rolling back would not be safe.
    Held,
    /// Failed; reported only, by policy.
    Notified,
}

impl Phase {
    /// All of them, in the order of a revision's life.
    pub const ALL: [Self; 8] = [
        Self::Open,
        Self::Progressing,
        Self::Soaking,
        Self::Healthy,
        Self::RollingBack,
        Self::RolledBack,
        Self::Held,
        Self::Notified,
    ];

    /// Whether a verdict is still to come.
    pub fn is_undecided(self) -> bool {
        matches!(self, Self::Open | Self::Progressing | Self::Soaking)
    }

    /// The phase as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::Progressing => "Progressing",
            Self::Soaking => "Soaking",
            Self::Healthy => "Healthy",
            Self::RollingBack => "RollingBack",
            Self::RolledBack => "RolledBack",
            Self::Held => "Held",
            Self::Notified => "Notified",
        }
    }
}

/// What a revision is to its release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Attempt {
    /// There was nothing before it.
    Install,
    /// It changes what was there.
    Upgrade,
}

/// Who deployed a revision, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Author {
    /// The user of the first write.
    pub user: String,
    /// The field manager of the first write that brought one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tool: String,
}

/// An object as the status names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Subject {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// Empty for cluster-scoped objects.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl From<&ObjectRef> for Subject {
    fn from(object: &ObjectRef) -> Self {
        Self {
            api_version: object.api_version(),
            kind: object.kind.clone(),
            namespace: object.key.namespace.clone().unwrap_or_default(),
            name: object.key.name.clone(),
        }
    }
}

/// A pod that is kept running after its revision was rolled back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Aside {
    /// The revision that it is of.
    pub revision: u64,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// When it is deleted.
    pub until: Time,
}

/// Where an object of the revision stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Standing {
    /// The object.
    pub object: Subject,
    /// One word: `Ready`, `Gone`, `Suspended`, `InProgress`, `Failed`, `Terminating` or `Unknown`.
    pub state: String,
    /// What is missing, in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Why a revision failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Failure {
    /// The object to blame.
    pub object: Subject,
    /// One word, stable, such as `ImageNotFound`.
    pub reason: String,
    /// One sentence with the cause, as the kubelet or a controller tells it.
    pub message: String,
    /// What was seen before anything was touched, a line each. Never holds data of Secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

/// A refusal of further writes by a client whose transaction was aborted while it still waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Fence {
    /// The revision that was aborted.
    pub revision: u64,
    /// The client's user; others are not refused.
    pub user: String,
    /// Whether what was aborted takes the client's release down.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub uninstalls: bool,
    /// What the client is told.
    pub message: String,
}

/// An object that did not go back to its state before the revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Unrestored {
    /// The object.
    pub object: Subject,
    /// Why, and what to do about it.
    pub reason: String,
}

/// Sets one condition; its transition time moves only with its status.
pub fn condition(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: bool,
    reason: &str,
    message: &str,
    observed_generation: Option<i64>,
    now: Timestamp,
) {
    let status = if status { "True" } else { "False" };
    let since = conditions
        .iter()
        .find(|c| c.type_ == type_ && c.status == status)
        .map_or(Time(now), |c| c.last_transition_time.clone());
    let condition = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation,
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|c| c.type_ == type_) {
        Some(present) => *present = condition,
        None => conditions.push(condition),
    }
}
