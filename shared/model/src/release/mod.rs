//! The `Release` resource: what its users set, and what the watcher reports and remembers in it.

mod health_rule;
mod history;
mod policy;
mod request;
mod status;

use kube_core::Duration;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use health_rule::{HealthRule, HealthTest};
pub use history::Past;
pub use policy::{Action, Policy, Problem, duration};
pub use request::{Answer, LONGEST_REQUEST, Order, Pick};
pub use status::{
    Aside, Attempt, Author, Condition, Failure, Fence, Phase, ReleaseStatus, Standing, Subject, Unrestored,
    condition,
};

/// Policy of one release. A field left out is taken from the namespace's annotations, then from the watcher's flags.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "backout.dev",
    version = "v1alpha1",
    kind = "Release",
    plural = "releases",
    shortname = "rel",
    namespaced,
    status = "ReleaseStatus",
    derive = "PartialEq",
    doc = "A unit of deployment that becomes healthy as a whole, or is undone as a whole.",
    crates(kube_core = "::kube_core")
)]
#[expect(clippy::duplicated_attributes, reason = "columns of the same type are not the same column")]
#[kube(derive = "Default")]
#[kube(printcolumn(name = "Revision", type_ = "integer", json_path = ".status.revision"))]
#[kube(printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"))]
#[kube(printcolumn(name = "Ready", type_ = "string", json_path = ".status.ready"))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[kube(printcolumn(name = "Message", type_ = "string", json_path = ".status.message"))]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSpec {
    /// Quiet time after the last write that ends a revision (default 5s).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "policy::optional")]
    #[schemars(extend("pattern" = DURATION, "maxLength" = policy::LONGEST_DURATION))]
    pub settle: Option<Duration>,
    /// Time to become ready, from the end of the writes (default 10m).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "policy::optional")]
    #[schemars(extend("pattern" = DURATION, "maxLength" = policy::LONGEST_DURATION))]
    pub deadline: Option<Duration>,
    /// Time to stay ready before the revision counts as healthy (default 60s).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "policy::optional")]
    #[schemars(extend("pattern" = DURATION, "maxLength" = policy::LONGEST_DURATION))]
    pub soak: Option<Duration>,
    /// What to do with a revision that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// When a failed revision is rolled back, keep one of its failing pods running for so long, out of its workload and its
    /// Services, for a person to look into (default: none is kept).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "policy::optional")]
    #[schemars(extend("pattern" = DURATION, "maxLength" = policy::LONGEST_DURATION))]
    pub keep_failing_pod: Option<Duration>,
    /// Record, judge and report, but touch nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// How many healthy revisions, and how many others, the history keeps (default 10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub history_limit: Option<u32>,
    /// Roll back even to states that could not be checked against the server's own history. Only for use by hand,
    /// on a release that is held for that reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_unverified: Option<bool>,
    /// When objects of some kinds are healthy, and when they have failed: for custom resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub health: Vec<HealthRule>,
}

/// What to do with a failed revision, apart for the first install and for upgrades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OnFailure {
    /// For a revision without a healthy one before it (default Rollback).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<Action>,
    /// For all others (default Rollback).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Action>,
}

/// A duration as Go writes it, and not negative.
const DURATION: &str = r"^([0-9]{1,6}(\.[0-9]{1,9})?(ms|s|m|h)){1,4}$";
