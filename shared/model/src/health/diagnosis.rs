//! What the pods of one workload say together about its new revision.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Scene,
    class::{Patience, Weight},
    containers::{self, Container},
    creation, evidence,
    facts::Facts,
    findings::Finding,
    freshness::Case,
    nodes, pod_signals,
    pods::{self, Workload},
    reasons,
    runs::{Background, Memory, restarts_before},
    sightings::{ObjectMemory, PodMemory, Sightings, Signal, age, key_of, pod_key},
    signals::row_of,
};
use crate::object::Image;

/// A workload that is looked at.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) workload: Workload,
    pub(super) case: Case<'a>,
    pub(super) scene: &'a Scene,
    /// Another object of the release is still on its way.
    pub(super) others_wait: bool,
    /// One that may make others is.
    pub(super) makers_wait: bool,
    /// How many failed runs of a container somebody asked to bear.
    pub(super) budget: Option<u64>,
}

/// What was found out about the pods of a workload.
#[derive(Debug, Default)]
pub(super) struct Diagnosis<'a> {
    /// The pods of the new revision.
    pub(super) pods: Vec<&'a Value>,
    /// Why the workload fails: one of [`super::reasons`], and a sentence.
    pub(super) failure: Option<(&'static str, String)>,
    /// What keeps the first unready pod from being ready.
    pub(super) trouble: Option<String>,
    /// When a signal that stands now would become a failure.
    pub(super) due: Option<Duration>,
    /// A container was restarted since the last look.
    pub(super) crashed: bool,
    /// No pod that was ready is in trouble: those that are not ready took the place of others.
    pub(super) replaced: bool,
}

/// How long a container must be ready to have proved itself (as the circuit breaker of ECS resets).
const PROOF: Duration = Duration::from_secs(30);

/// Looks at the pods of the new revision.
pub(super) fn diagnose<'a>(
    look: &Look<'a>,
    memory: &mut ObjectMemory,
    is_first_look: bool,
    old: &Sightings,
    new: &mut Sightings,
    now: Timestamp,
) -> Diagnosis<'a> {
    let Look { workload, case, scene, .. } = *look;
    let all = pods::of_new_revision(workload, &case, scene);
    // Its controller has not looked yet, or waits for a pod to end before it makes the next one.
    let uid = Image(case.live.0).uid();
    let is_awaited = case.live.is_unobserved()
        || uid.is_some_and(|uid| pods::all_of(uid, scene).any(|pod| Image(pod).is_terminating()));
    // A write that did not change the spec made no pods: what they do is not its doing.
    if case.is_unchanged() {
        let mut lost = false;
        for pod in &all {
            let mut memory = old.pods.get(&pod_key(pod)).cloned().unwrap_or_default();
            lost |= loses(pod, &mut memory);
            new.pods.insert(pod_key(pod), memory);
        }
        return Diagnosis { replaced: (is_awaited || !all.is_empty()) && !lost, ..Diagnosis::default() };
    }
    let pods = if workload == Workload::DaemonSet { nodes::telling(all, scene) } else { all };
    let ended = pods::ended(workload, &case, scene);
    let steady = pods.iter().filter(|pod| is_steady(pod, now)).count();
    let patience = Patience {
        crashes: scene.install || look.others_wait || steady > 0,
        makers_wait: look.makers_wait,
        leaving: is_leaving(&case, scene),
        budget: look.budget,
    };
    // What was ready with this rollout proved that the cluster has room for it, and lets it be.
    let proved = memory.ready_with.as_ref().is_some_and(|(rollout, _)| rollout == pods::rollout(case.live));
    let mut findings = Vec::new();
    let (mut crashed, mut lost) = (false, false);
    for (pod, lives) in pods.iter().map(|pod| (pod, true)).chain(ended.iter().map(|pod| (pod, false))) {
        let before = old.pods.get(&pod_key(pod));
        let mut pod_memory = before.cloned().unwrap_or_default();
        let inherited = before.is_none() && is_first_look && case.keeps_pods();
        let found = pod_signals::of(pod, scene).filter(|_| !proved && !inherited);
        pod_memory.signal = Signal::sight(pod_memory.signal, found.map(|found| found.row.matter), now);
        if let (Some(found), Some(signal)) = (found, &mut pod_memory.signal) {
            if look.makers_wait {
                signal.excused = Some(now);
            }
            if patience.leaving {
                signal.left = Some(now);
            }
            let name = Image(pod).meta("name").unwrap_or_default();
            findings.push(Finding::of_pod(name, found, signal, patience, now));
        }
        lost |= loses(pod, &mut pod_memory) && lives;
        new.pods.insert(pod_key(pod), pod_memory);
    }
    for pod in &pods {
        for container in containers::of(pod) {
            let background = background(look, &container);
            let key = key_of(pod, &container);
            let before = old.containers.get(&key);
            crashed |= before.is_some_and(|before| container.restarts() > before.restarts);
            let mut memory = Memory::next(before, &container, background, now);
            if look.others_wait {
                memory.forgiven = memory.budget.ended;
            }
            let row = row_of(&container, &memory.complaint(&container));
            memory.sight(row, now);
            if let Some(signal) = memory.signal.as_mut().filter(|_| look.makers_wait) {
                signal.excused = Some(now);
            }
            if let Some(row) = row.filter(|_| !memory.inherited) {
                findings.push(Finding::of_container(row, Some(workload), &container, &memory, patience, now));
            }
            new.containers.insert(key, memory);
        }
    }
    let refusal =
        creation::refused(look, pods.len(), memory, is_first_look, patience, now).filter(|_| !proved);
    findings.extend(refusal);
    findings.extend(rejected(&pods, &ended, memory, now).filter(|_| !proved));
    Diagnosis {
        failure: conclude(workload, case.live, pods.len(), steady, &findings),
        trouble: findings
            .first()
            .map(|finding| finding.sentence.clone())
            .or_else(|| pods.iter().find_map(|pod| evidence::trouble(pod))),
        due: findings.iter().filter_map(|finding| finding.weight.due()).min(),
        crashed,
        replaced: (is_awaited || !pods.is_empty())
            && !lost
            && findings.iter().all(|finding| finding.weight != Weight::Fatal),
        pods,
    }
}

fn background(look: &Look<'_>, container: &Container<'_>) -> Background {
    let Look { workload, case, scene, .. } = look;
    let is_pod = *workload == Workload::Pod;
    let before = if is_pod { case.before } else { None };
    Background {
        restarts: restarts_before(before, container.name()),
        inherited: !is_pod && case.keeps_pods(),
        soaking: scene.soaking,
        proof: PROOF
            .max(Duration::from_secs(u64::try_from(case.live.count("/spec/minReadySeconds")).unwrap_or(0))),
        pulls: pulls_told(scene, container),
    }
}

fn pulls_told(scene: &Scene, container: &Container<'_>) -> u32 {
    let uid = container.pod.text("/metadata/uid");
    let of_container = format!("{{{}}}", container.name());
    let told = pod_signals::events_about(uid, scene).filter(|event| {
        let field = event.text("/involvedObject/fieldPath");
        (field.is_empty() || field.ends_with(&of_container))
            && event.text("/message").starts_with("Failed to pull image")
    });
    told.map(|event| u32::try_from(event.count("/count").max(1)).unwrap_or(u32::MAX))
        .fold(0, u32::saturating_add)
}

/// Whether a pod that was ready is not any more. Notes it if it is.
fn loses(pod: &Value, memory: &mut PodMemory) -> bool {
    let is_ready = Facts(pod).is_true("Ready");
    let is_lost = memory.was_ready && !is_ready && !is_out_of_sight(pod);
    memory.was_ready |= is_ready;
    is_lost
}

/// Whether its node does not answer any more: the node controller says of its pods that they are not ready, and not why,
/// and nothing of their containers (`MarkPodsNotReady`).
fn is_out_of_sight(pod: &Value) -> bool {
    let ready = Facts(pod).condition("Ready");
    ready.is_some_and(|it| it.is_false() && it.reason().is_empty())
        && containers::of(pod).all(|container| container.is_ready())
}

/// Ready, and not just between two crashes.
fn is_steady(pod: &Value, now: Timestamp) -> bool {
    let Some(ready) = Facts(pod).condition("Ready").filter(|ready| ready.is_true()) else {
        return false;
    };
    let is_old = |since| age(now, since) >= PROOF;
    let proved = ready.since().is_some_and(is_old)
        && containers::of(pod).filter_map(|container| container.started()).all(is_old);
    proved || containers::of(pod).all(|container| container.restarts() == 0)
}

/// Whether pods of the workload are on their way out, or must be before new ones come.
fn is_leaving(case: &Case<'_>, scene: &Scene) -> bool {
    let leaving = |uid| pods::all_of(uid, scene).any(|pod| Image(pod).is_terminating());
    case.live.text("/spec/strategy/type") == "Recreate" || Image(case.live.0).uid().is_some_and(leaving)
}

/// Pods that nodes refuse one after the other, while none of the revision runs.
fn rejected(pods: &[&Value], ended: &[&Value], memory: &mut ObjectMemory, now: Timestamp) -> Option<Finding> {
    let rejects: Vec<_> = ended.iter().copied().filter(|pod| pod_signals::is_refused_here(pod)).collect();
    let count = memory.count_rejects(rejects.iter().copied(), now);
    let runs = pods.iter().any(|pod| Facts(pod).text("/status/phase") == "Running");
    let last = rejects.last()?;
    (count >= pod_signals::REJECTS && !runs).then(|| Finding {
        pod: String::new(),
        reason: reasons::REFUSED_BY_NODE,
        weight: Weight::Fatal,
        sentence: format!(
            "{count} of its pods were refused by their nodes within a minute: {}",
            evidence::text(Facts(last).text("/status/message"))
        ),
        rank: 1,
    })
}

/// Whether enough pods fail for the workload to fail, and with what.
fn conclude(
    workload: Workload,
    object: Facts<'_>,
    pods: usize,
    steady: usize,
    findings: &[Finding],
) -> Option<(&'static str, String)> {
    let fatal: Vec<_> = findings.iter().filter(|finding| finding.weight == Weight::Fatal).collect();
    let mut names: Vec<_> = fatal.iter().map(|finding| finding.pod.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let of_workload = names.contains(&"");
    let failing = names.len() - usize::from(of_workload);
    let enough = match workload {
        _ if of_workload => true,
        // An ordered rollout waits for each single pod.
        Workload::StatefulSet | Workload::Pod => failing > 0,
        Workload::DaemonSet => failing > if steady > 0 { max_unavailable(object) } else { 0 },
        _ => is_broad(failing, pods, steady),
    };
    let worst = fatal.into_iter().min_by(|a, b| a.order(b)).filter(|_| enough)?;
    Some((worst.reason, format!("{}{}", worst.sentence, and_more(failing.saturating_sub(1)))))
}

/// Half of the pods, or any if none is well.
pub(super) fn is_broad(failing: usize, pods: usize, steady: usize) -> bool {
    failing > 0 && (steady == 0 || failing >= pods.div_ceil(2))
}

pub(super) fn and_more(pods: usize) -> String {
    match pods {
        0 => String::new(),
        1 => " (and 1 more pod like it)".to_owned(),
        n => format!(" (and {n} more pods like it)"),
    }
}

/// `maxUnavailable` of a DaemonSet, in pods; the API's default is 1.
fn max_unavailable(object: Facts<'_>) -> usize {
    const FIELD: &str = "/spec/updateStrategy/rollingUpdate/maxUnavailable";
    let percent = object.text(FIELD).strip_suffix('%').and_then(|number| number.parse::<i64>().ok());
    let pods = match percent {
        Some(percent) => {
            object.count("/status/desiredNumberScheduled").saturating_mul(percent).saturating_add(99) / 100
        }
        None => object.int(FIELD).unwrap_or(1),
    };
    usize::try_from(pods).unwrap_or(0)
}
