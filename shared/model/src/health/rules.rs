//! What readiness takes that no object tells alone: other objects, and the time.

use std::time::Duration;

use super::{
    Judged, Scene,
    facts::Facts,
    freshness::Case,
    nodes,
    pods::{self, Workload},
    readiness::{self, Status},
    sightings::ObjectMemory,
};
use crate::object::{Image, ObjectRef};

/// For how long a custom resource may be silent before it counts as one that has nothing to say.
pub(super) const UNTOLD: Duration = Duration::from_secs(10);

/// Whether an object that is not as its spec asks need not be waited for all the same.
pub(super) fn lets_pass(
    judged: &Judged,
    status: &Status,
    case: &Case<'_>,
    scene: &Scene,
    memory: &ObjectMemory,
) -> bool {
    if !matches!(status, Status::InProgress { .. }) || case.live.is_unobserved() {
        return false;
    }
    let object = &judged.object;
    if (object.key.group.as_str(), object.kind.as_str()) == ("", "PersistentVolumeClaim") {
        return is_unclaimed(object, case, scene);
    }
    match Workload::of(object) {
        Some(Workload::DaemonSet) => {
            is_scaled_by_others(case, memory) || nodes::waits_for_nodes_alone(status, case, scene)
        }
        Some(Workload::Job | Workload::Pod) | None => false,
        Some(_) => is_scaled_by_others(case, memory),
    }
}

/// How many pods a workload is to have now: of a DaemonSet the nodes decide.
pub(super) fn wanted(object: Facts<'_>) -> i64 {
    let by_nodes = object.int("/status/desiredNumberScheduled");
    by_nodes.or_else(|| object.int("/spec/replicas")).unwrap_or(1)
}

/// Whether the workload was ready with this very rollout, and since then only the number of its pods was changed, by an
/// autoscaler or by the nodes that come and go: the revision's own pods are still there.
fn is_scaled_by_others(case: &Case<'_>, memory: &ObjectMemory) -> bool {
    let object = case.live;
    let Some((rollout, before)) = &memory.ready_with else { return false };
    let wanted = wanted(object);
    let ready = object.count("/status/readyReplicas").max(object.count("/status/numberReady"));
    rollout == pods::rollout(object) && wanted != *before && ready >= wanted.min(*before)
}

/// A claim that binds only once a pod asks for it does no harm while none does: the pods' own workload tells.
fn is_unclaimed(object: &ObjectRef, case: &Case<'_>, scene: &Scene) -> bool {
    if !matches!(case.live.text("/status/phase"), "" | "Pending") {
        return false;
    }
    let class = case.live.text("/spec/storageClassName");
    let class = scene.storage_classes.iter().find(|it| Image(it).meta("name") == Some(class));
    match class.map(|class| Facts(class).text("/volumeBindingMode")) {
        Some(mode) => mode == "WaitForFirstConsumer",
        None => !scene.pods.iter().any(|pod| {
            Image(pod).meta("namespace") == object.key.namespace.as_deref()
                && Facts(pod)
                    .list("/spec/volumes")
                    .any(|volume| volume.text("/persistentVolumeClaim/claimName") == object.key.name)
        }),
    }
}

/// Whether a custom resource's controller has not said anything about what the revision wants: there is no status, or
/// one from before that does not tell which spec it is about.
pub(super) fn is_untold(object: &ObjectRef, case: &Case<'_>) -> bool {
    if readiness::is_built_in(&object.key.group) || case.is_unchanged() {
        return false;
    }
    let live = case.live.0.get("status").filter(|status| status.as_object().is_some_and(|it| !it.is_empty()));
    match (live, case.before) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(status), Some(before)) => {
            case.live.number("/status/observedGeneration").is_none() && before.0.get("status") == Some(status)
        }
    }
}

/// Conditions of an autoscaler that tell of trouble, often a passing one: metrics come late.
const AUTOSCALER: &[(&str, &[&str])] = &[
    ("AbleToScale", &["FailedGetScale", "FailedUpdateScale"]),
    (
        "ScalingActive",
        &[
            "FailedGetResourceMetric",
            "FailedGetContainerResourceMetric",
            "FailedGetObjectMetric",
            "FailedGetPodsMetric",
            "FailedGetExternalMetric",
            "FailedComputeMetricsReplicas",
            "InvalidSelector",
        ],
    ),
];

/// What people should know about an object that is ready by its rule.
pub(super) fn warnings(object: &ObjectRef, case: &Case<'_>) -> Vec<String> {
    let live = case.live;
    match (object.key.group.as_str(), object.kind.as_str()) {
        ("apps", "StatefulSet" | "DaemonSet") => {
            let updated =
                live.count("/status/updatedReplicas").max(live.count("/status/updatedNumberScheduled"));
            let waits = live.text("/spec/updateStrategy/type") == "OnDelete" && updated < wanted(live);
            let warns = waits && case.before.is_some() && !case.keeps_pods();
            let message = "its pods are replaced only when somebody deletes them (updateStrategy OnDelete): \
                           the new revision was not tried";
            warns.then(|| message.to_owned()).into_iter().collect()
        }
        ("autoscaling", "HorizontalPodAutoscaler") => live
            .conditions()
            .filter(|condition| condition.is_false())
            .filter(|condition| {
                let of_type = AUTOSCALER.iter().find(|(type_, _)| *type_ == condition.type_());
                of_type.is_some_and(|(_, reasons)| reasons.contains(&condition.reason()))
            })
            .map(|condition| format!("it cannot scale: {}", condition.verbatim()))
            .collect(),
        _ => Vec::new(),
    }
}
