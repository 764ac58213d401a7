//! Readiness of storage, network and definitions.

use super::{super::reasons, Case, Status};

pub(super) fn volume_claim(case: &Case<'_>) -> Status {
    match case.live.text("/status/phase") {
        "Bound" => Status::Current,
        "Lost" => Status::failed(reasons::VOLUME_LOST, "the volume that it was bound to is gone"),
        _ => Status::waiting("NotBound", "it has no volume yet"),
    }
}

/// Clusters without a load balancer never give an address: it is waited for only where there was one.
pub(super) fn service(case: &Case<'_>) -> Status {
    const ADDRESSES: &str = "/status/loadBalancer/ingress";
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
