//! Readiness of jobs: ready means done.

use super::{super::reasons, Case, Status};

pub(super) fn job(case: &Case<'_>) -> Status {
    let job = case.live;
    if job.is_true("Complete") {
        return Status::Current;
    }
    // FailureTarget comes before Failed, while the last pods end.
    let failed = ["Failed", "FailureTarget"]
        .into_iter()
        .filter_map(|type_| job.condition(type_))
        .find(|condition| condition.is_true() && case.is_fresh(*condition));
    if let Some(failed) = failed {
        return Status::failed(reasons::JOB_FAILED, failed.tells());
    }
    if job.flag("/spec/suspend") {
        return Status::Suspended;
    }
    if job.time("/status/startTime").is_none() {
        return Status::waiting("JobNotStarted", "it has not started");
    }
    let (active, done, lost) =
        (job.count("/status/active"), job.count("/status/succeeded"), job.count("/status/failed"));
    Status::waiting(
        "JobInProgress",
        format!("it runs: {active} pods active, {done} succeeded, {lost} failed"),
    )
}
