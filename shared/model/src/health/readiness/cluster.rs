//! Readiness of storage, network and definitions.

use super::{super::reasons, Case, Status};

pub(super) fn volume_claim(case: &Case<'_>) -> Status {
    match case.live.text("/status/phase") {
        "Bound" => Status::Current,
        "Lost" => Status::failed(reasons::VOLUME_LOST, "the volume that it was bound to is gone"),
        _ => Status::waiting("NotBound", "it has no volume yet"),
    }
}

const ADDRESSES: &str = "/status/loadBalancer/ingress";

/// Clusters without a load balancer never give an address: it is waited for only where there was one.
pub(super) fn service(case: &Case<'_>) -> Status {
    let service = case.live;
    if service.text("/spec/type") != "LoadBalancer" {
        return Status::Current;
    }
    let had_one = case
        .before
        .is_some_and(|before| before.text("/spec/type") == "LoadBalancer" && before.has(ADDRESSES));
    if service.text("/spec/clusterIP").is_empty() {
        Status::waiting("NoIPAssigned", "it has no cluster IP yet")
    } else if had_one && !service.has(ADDRESSES) {
        Status::waiting("NoIngressAssigned", "its load balancer has no address any more")
    } else {
        Status::Current
    }
}

/// As of a Service: not each cluster's controllers give addresses.
pub(super) fn ingress(case: &Case<'_>) -> Status {
    let had_one = case.before.is_some_and(|before| before.has(ADDRESSES));
    if had_one && !case.live.has(ADDRESSES) {
        return Status::waiting("NoIngressAssigned", "it has no address any more");
    }
    Status::Current
}

pub(super) fn api_service(case: &Case<'_>) -> Status {
    match case.live.condition("Available") {
        Some(available) if available.is_true() => Status::Current,
        Some(available) => Status::waiting("NotAvailable", available.tells()),
        None => Status::waiting("NotAvailable", "nobody has tried to reach it yet"),
    }
}

pub(super) fn definition(case: &Case<'_>) -> Status {
    let refused = case.live.conditions().find(|condition| match condition.type_() {
        "NamesAccepted" => condition.is_false(),
        "Established" => condition.is_false() && condition.reason() != "Installing",
        _ => false,
    });
    match refused {
        Some(condition) if case.is_fresh(condition) => {
            Status::failed(reasons::DEFINITION_REFUSED, condition.tells())
        }
        None if case.live.is_true("Established") => Status::Current,
        _ => Status::waiting("Installing", "it is not established yet"),
    }
}
