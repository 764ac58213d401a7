//! Readiness of a pod of its own.

use super::{super::reasons, Case, Status};

pub(super) fn pod(case: &Case<'_>) -> Status {
    let pod = case.live;
    match pod.text("/status/phase") {
        "" => Status::waiting("PodNotObserved", "no node has taken it yet"),
        "Succeeded" => Status::Current,
        "Failed" => {
            let parts = [pod.text("/status/reason"), pod.text("/status/message")];
            let why: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            let why = if why.is_empty() { "it ended without success".to_owned() } else { why.join(": ") };
            Status::failed(reasons::POD_FAILED, why)
        }
        "Running" if pod.is_true("Ready") => Status::Current,
        "Running" => Status::waiting("PodRunningNotReady", "it runs but is not ready"),
        "Pending" => Status::waiting("PodPending", "it does not run yet"),
        phase => Status::Unknown { message: format!("its phase is {phase}") },
    }
}
