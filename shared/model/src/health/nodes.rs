//! Which pods of a DaemonSet are to be waited for: not those on nodes that are not ready, cordoned, gone or new.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Scene,
    facts::Facts,
    freshness::Case,
    pods::{self, Workload},
    readiness::Status,
};
use crate::object::Image;

/// Whether what a pod does on its node says something about the revision. Of a node that is not in the scene nothing
/// bad is known. `since`: when the first pod of the revision was made; a younger node came while it was rolled out.
fn counts(pod: &Value, scene: &Scene, since: Option<&str>) -> bool {
    let name = Facts(pod).text("/spec/nodeName");
    let Some(node) = scene.nodes.iter().find(|node| Image(node).meta("name") == Some(name)) else {
        return true;
    };
    let is_new =
        since.is_some_and(|since| Image(node).meta("creationTimestamp").is_some_and(|it| it > since));
    Facts(node).is_true("Ready") && !Facts(node).flag("/spec/unschedulable") && !is_new
}

fn beginning<'a>(pods: &[&'a Value]) -> Option<&'a str> {
    pods.iter().filter_map(|pod| Image(pod).meta("creationTimestamp")).min()
}

/// Those of a DaemonSet's new pods that say something about the revision.
pub(super) fn telling<'a>(pods: Vec<&'a Value>, scene: &Scene) -> Vec<&'a Value> {
    let since = beginning(&pods);
    pods.into_iter().filter(|pod| counts(pod, scene, since)).collect()
}

/// Whether a DaemonSet waits for nothing but pods on nodes that do not count.
pub(super) fn waits_for_nodes_alone(status: &Status, case: &Case<'_>, scene: &Scene) -> bool {
    const SHORT: [&str; 4] = ["LessCurrent", "LessUpdated", "LessAvailable", "LessReady"];
    let Status::InProgress { reason, .. } = status else { return false };
    let (true, Some(uid)) = (SHORT.contains(&reason.as_str()), Image(case.live.0).uid()) else {
        return false;
    };
    let new = pods::of_new_revision(Workload::DaemonSet, case, scene);
    let since = beginning(&new);
    let without: BTreeSet<_> = pods::controlled_by(uid, scene)
        .filter(|pod| !counts(pod, scene, since))
        .map(|pod| Facts(pod).text("/spec/nodeName"))
        .collect();
    let ready = new.iter().filter(|pod| counts(pod, scene, since) && Facts(pod).is_true("Ready")).count();
    !without.is_empty()
        && ready > 0
        && ready + without.len()
            >= usize::try_from(case.live.count("/status/desiredNumberScheduled")).unwrap_or(0)
}
