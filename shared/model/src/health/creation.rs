//! Whether the controller of a workload is refused its pods.
//!
//! A ReplicaSet says so in a condition, which the Deployment copies from any of its ReplicaSets: only the new one's
//! counts. The other controllers tell it in Events alone; these count only while pods are missing.

use jiff::Timestamp;

use super::{
    Scene,
    class::Patience,
    diagnosis::Look,
    facts::Facts,
    findings::{Finding, fill},
    pod_signals::{events_about, refusal, when},
    pods::{self, Workload},
    reasons,
    sightings::{ObjectMemory, Signal, age},
};
use crate::object::Image;

/// An Event may be repeated by accident; twice told is a refusal that stands.
const TOLD: u64 = 2;

/// The refusal that stands, if there is one.
pub(super) fn refused(
    look: &Look<'_>,
    pods: usize,
    memory: &mut ObjectMemory,
    is_first_look: bool,
    patience: Patience,
    now: Timestamp,
) -> Option<Finding> {
    let message = match look.workload {
        Workload::Pod => None,
        Workload::Deployment | Workload::ReplicaSet | Workload::ReplicationController => by_condition(look),
        Workload::StatefulSet | Workload::DaemonSet | Workload::Job => by_events(look, memory, is_first_look),
    };
    let row = message.and_then(refusal);
    // Those that come make it a matter of time: under a tight quota each new pod takes the place of an old one.
    if pods > memory.pods {
        memory.refusal = None;
    }
    memory.pods = pods;
    memory.refusal = Signal::sight(memory.refusal.take(), row.map(|row| row.name), now);
    if let Some(signal) = memory.refusal.as_mut().filter(|_| patience.leaving) {
        signal.left = Some(now);
    }
    let (row, signal, message) = (row?, memory.refusal.as_ref()?, message?);
    let stood = age(now, signal.first);
    Some(Finding {
        pod: String::new(),
        reason: reasons::PODS_REFUSED,
        weight: row.class.weigh(patience, signal, now),
        sentence: fill("its pods are not created for {age}: {message}", stood, message),
        rank: row.class.rank(),
    })
}

fn by_condition<'a>(look: &Look<'a>) -> Option<&'a str> {
    let object = look.case.live;
    let set = match look.workload {
        Workload::Deployment => Facts(pods::new_replica_set(object, Image(object.0).uid()?, look.scene)?),
        _ => object,
    };
    let failure =
        set.condition("ReplicaFailure").filter(|it| it.is_true() && it.reason() == "FailedCreate")?;
    (look.workload == Workload::Deployment || look.case.is_fresh(failure)).then(|| failure.message())
}

fn by_events<'a>(look: &Look<'a>, memory: &mut ObjectMemory, is_first_look: bool) -> Option<&'a str> {
    let uid = Image(look.case.live.0).uid()?;
    let told = || events_about(uid, look.scene).filter(|event| event.text("/reason") == "FailedCreate");
    let count = told().map(times).fold(0, u64::saturating_add);
    if is_first_look && look.case.before.is_some() {
        memory.refusals_before = count;
    }
    // Events expire.
    memory.refusals_before = memory.refusals_before.min(count);
    // What is made one after the other is missing for long after a refusal that is over.
    let newest = pods::controlled_by(uid, look.scene)
        .filter_map(|pod| Image(pod).meta("creationTimestamp"))
        .filter_map(|it| it.get(..19))
        .max();
    let last = told()
        .filter(|event| newest.is_none_or(|newest| when(*event).as_str() > newest))
        .max_by_key(|event| when(*event))?;
    (count - memory.refusals_before >= TOLD && is_short(look)).then(|| last.text("/message"))
}

fn times(event: Facts<'_>) -> u64 {
    let counted = event.count("/count").max(event.count("/series/count")).max(1);
    u64::try_from(counted).unwrap_or(1)
}

/// Whether pods are missing.
fn is_short(look: &Look<'_>) -> bool {
    let object = look.case.live;
    let wanted = match look.workload {
        Workload::DaemonSet => object.count("/status/desiredNumberScheduled"),
        Workload::Job => i64::from(!object.is_true("Complete") && !object.flag("/spec/suspend")),
        _ => object.int("/spec/replicas").unwrap_or(1),
    };
    there(look.scene, Image(object.0).uid()) < usize::try_from(wanted).unwrap_or(0)
}

fn there(scene: &Scene, uid: Option<&str>) -> usize {
    uid.map_or(0, |uid| pods::controlled_by(uid, scene).filter(|pod| !Image(pod).is_terminating()).count())
}
