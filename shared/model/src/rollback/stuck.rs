//! Workloads that do not heal by their spec alone.

use jiff::Timestamp;
use serde_json::Value;

use super::{Plan, Restore, Write, changes::Changes};
use crate::{
    health::Live,
    object::{Image, ObjectKey, ObjectRef},
    release::Unrestored,
};

/// Adds the deletion of pods that keep a restored workload from rolling back: the controller of a StatefulSet waits for
/// an unready pod of the bad revision forever (kubernetes#67250), and with `OnDelete` none replaces pods by itself. Pods
/// that were there before the revision are none of its doing. Returns whether there is anything to be done or waited for.
pub(super) fn free(changes: &Changes<'_>, pods: &[Value], plan: &mut Plan) -> bool {
    let (Live::Present(workload), Some(first)) = (changes.live, changes.records.first()) else {
        return false;
    };
    let on_delete = workload.pointer("/spec/updateStrategy/type").and_then(Value::as_str) == Some("OnDelete");
    let (label, update) = match (changes.object.key.group.as_str(), changes.object.kind.as_str()) {
        ("apps", "StatefulSet") => {
            ("controller-revision-hash", workload.pointer("/status/updateRevision").and_then(Value::as_str))
        }
        ("apps", "DaemonSet") if on_delete => (
            "pod-template-generation",
            Image(workload).annotation("deprecated.daemonset.template.generation"),
        ),
        _ => return false,
    };
    if changes.next.is_some() {
        return false;
    }
    let observed = workload.pointer("/status/observedGeneration").and_then(Value::as_i64);
    if observed < Image(workload).generation() {
        plan.waiting.push(Unrestored {
            object: changes.object.into(),
            reason: "waits for its controller to see the restored spec".to_owned(),
        });
        return true;
    }
    let partition = workload.pointer("/spec/updateStrategy/rollingUpdate/partition").and_then(Value::as_i64);
    let stuck = pods.iter().filter(|pod| {
        Image(pod).controller() == Image(workload).uid()
            && Image(pod).label(label) != update
            && created(pod).is_some_and(|created| created >= first.created)
            && ordinal(pod) >= partition
            && !Image(pod).is_terminating()
            && (on_delete || !is_ready(pod))
    });
    let planned = plan.writes.len();
    plan.writes.extend(stuck.map(|pod| Restore {
        object: pod_ref(pod),
        write: Write::Delete {
            uid: Image(pod).uid().unwrap_or_default().to_owned(),
            resource_version: Image(pod).resource_version().unwrap_or_default().to_owned(),
            replaced: false,
        },
    }));
    plan.writes.len() > planned
}

fn created(pod: &Value) -> Option<Timestamp> {
    Image(pod).meta("creationTimestamp")?.parse().ok()
}

/// The pods below the partition keep their old revision on purpose.
fn ordinal(pod: &Value) -> Option<i64> {
    Image(pod).meta("name")?.rsplit('-').next()?.parse().ok()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| {
            condition.get("type").and_then(Value::as_str) == Some("Ready")
                && condition.get("status").and_then(Value::as_str) == Some("True")
        })
    })
}

fn pod_ref(pod: &Value) -> ObjectRef {
    ObjectRef {
        key: ObjectKey {
            group: String::new(),
            resource: "pods".to_owned(),
            namespace: Image(pod).meta("namespace").map(str::to_owned),
            name: Image(pod).meta("name").unwrap_or_default().to_owned(),
        },
        version: "v1".to_owned(),
        kind: "Pod".to_owned(),
    }
}
