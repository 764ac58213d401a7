//! Readiness of the workloads of group `apps`.

use std::time::Duration;

use super::{super::reasons, Case, Facts, Status};

/// The API's default of `spec.replicas`. Read anew each time: autoscalers change it.
fn wanted(object: Facts<'_>) -> i64 {
    object.int("/spec/replicas").unwrap_or(1)
}

/// A rule that holds when a number is less than another: reason, what is counted, the two numbers.
type Count = (&'static str, &'static str, i64, i64);

/// The first count that falls short.
fn short(counts: &[Count]) -> Option<Status> {
    counts.iter().find(|(_, _, have, want)| have < want).map(|(reason, what, have, want)| {
        Status::waiting(*reason, format!("{have} of {want} replicas are {what}"))
    })
}

fn extra(have: i64, want: i64) -> Option<Status> {
    (have > want).then(|| {
        Status::waiting(
            "ExtraPods",
            format!("old replicas that are still to end: {}", have.saturating_sub(want)),
        )
    })
}

pub(super) fn deployment(case: &Case<'_>) -> Status {
    let object = case.live;
    if object.flag("/spec/paused") {
        return Status::Suspended;
    }
    if let Some(status) = given_up(case) {
        return status;
    }
    let want = wanted(object);
    let replicas = object.count("/status/replicas");
    let updated = object.count("/status/updatedReplicas");
    let available = object.count("/status/availableReplicas");
    let ready = object.count("/status/readyReplicas");
    short(&[("LessReplicas", "there", replicas, want), ("LessUpdated", "updated", updated, want)])
        .or_else(|| extra(replicas, want))
        .or_else(|| {
            short(&[("LessAvailable", "available", available, updated), ("LessReady", "ready", ready, want)])
        })
        .or_else(|| unsettled(object))
        .unwrap_or(Status::Current)
}

/// As `progressDeadlineSeconds` it means none: the controller then says nothing of its progress (`HasProgressDeadline`).
pub(in crate::health) const NO_DEADLINE: i64 = i32::MAX as i64;

/// What the controller itself says about the rollout, after all counts are right.
fn unsettled(object: Facts<'_>) -> Option<Status> {
    let settled = object
        .condition("Progressing")
        .is_some_and(|progress| progress.is_true() && progress.reason() == "NewReplicaSetAvailable");
    if object.int("/spec/progressDeadlineSeconds").is_some_and(|it| it < NO_DEADLINE) && !settled {
        return Some(Status::waiting("ReplicaSetNotAvailable", "the new ReplicaSet is not available yet"));
    }
    (!object.is_true("Available"))
        .then(|| Status::waiting("DeploymentNotAvailable", "it has less available replicas than it needs"))
}

/// Only as far as the controller said so after the revision changed the object: see [`super::super::freshness`].
fn given_up(case: &Case<'_>) -> Option<Status> {
    let progress = case.live.condition("Progressing").filter(|progress| case.is_fresh(*progress))?;
    match progress.reason() {
        "ProgressDeadlineExceeded" if !is_too_early(case) => {
            Some(Status::failed(reasons::PROGRESS_DEADLINE_EXCEEDED, progress.tells()))
        }
        "ReplicaSetCreateError" if progress.is_false() => {
            Some(Status::failed(reasons::REPLICA_SET_NOT_CREATED, progress.tells()))
        }
        _ => None,
    }
}

/// The controller cannot have waited for as long as it should, of this revision: what it says is about an older one.
fn is_too_early(case: &Case<'_>) -> bool {
    let seconds = u64::try_from(case.live.count("/spec/progressDeadlineSeconds")).unwrap_or(0);
    case.age.is_some_and(|age| age < Duration::from_secs(seconds))
}

/// Of a `ReplicationController`, too.
pub(super) fn replica_set(case: &Case<'_>) -> Status {
    let object = case.live;
    if let Some(refused) = object.condition("ReplicaFailure").filter(|condition| condition.is_true()) {
        return Status::waiting("ReplicaFailure", refused.tells());
    }
    let want = wanted(object);
    let labelled = object.count("/status/fullyLabeledReplicas");
    let available = object.count("/status/availableReplicas");
    let ready = object.count("/status/readyReplicas");
    short(&[
        ("LessLabelled", "labelled", labelled, want),
        ("LessAvailable", "available", available, want),
        ("LessReady", "ready", ready, want),
    ])
    .or_else(|| extra(object.count("/status/replicas"), want))
    .unwrap_or(Status::Current)
}

pub(super) fn stateful_set(case: &Case<'_>) -> Status {
    let object = case.live;
    if object.text("/spec/updateStrategy/type") == "OnDelete" {
        return Status::Current;
    }
    if object.number("/status/observedGeneration").is_none() {
        return Status::waiting("NoObservedGeneration", "its controller has not yet seen it");
    }
    let want = wanted(object);
    let replicas = object.count("/status/replicas");
    let ready = object.count("/status/readyReplicas");
    let updated = object.count("/status/updatedReplicas");
    let partition = object.count("/spec/updateStrategy/rollingUpdate/partition");
    let patient = object.count("/spec/minReadySeconds") > 0;
    let available = if patient { object.count("/status/availableReplicas") } else { want };
    short(&[("LessReplicas", "there", replicas, want), ("LessReady", "ready", ready, want)])
        .or_else(|| extra(replicas, want))
        .or_else(|| {
            short(&[
                ("PartitionRollout", "updated", updated, want.saturating_sub(partition).max(0)),
                ("LessAvailable", "available", available, want),
            ])
        })
        .unwrap_or(Status::Current)
}

pub(super) fn daemon_set(case: &Case<'_>) -> Status {
    let object = case.live;
    if object.text("/spec/updateStrategy/type") == "OnDelete" {
        return Status::Current;
    }
    if object.number("/status/observedGeneration").is_none() {
        return Status::waiting("NoObservedGeneration", "its controller has not yet seen it");
    }
    let Some(want) = object.int("/status/desiredNumberScheduled") else {
        return Status::waiting("NoDesiredNumber", "its controller has not yet chosen the nodes");
    };
    short(&[
        ("LessCurrent", "there", object.count("/status/currentNumberScheduled"), want),
        ("LessUpdated", "updated", object.count("/status/updatedNumberScheduled"), want),
        ("LessAvailable", "available", object.count("/status/numberAvailable"), want),
        ("LessReady", "ready", object.count("/status/numberReady"), want),
    ])
    .unwrap_or(Status::Current)
}
