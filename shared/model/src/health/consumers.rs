//! What a change of a ConfigMap or Secret does to the pods that use it: no controller rolls them out anew, so they are
//! watched themselves. Pods of workloads that the release changed too are judged with these.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Scene,
    class::{Patience, Weight},
    containers::{self, Container},
    diagnosis::{and_more, is_broad},
    facts::Facts,
    findings::Finding,
    pod_signals,
    pods::is_disrupted,
    reasons,
    runs::{Background, Memory},
    sightings::{Sightings, Signal, key_of, pod_key},
    signals::row_of,
};
use crate::object::{Image, ObjectRef};

/// What was found out about the pods that use an object.
#[derive(Debug, Default)]
pub(super) struct Consumers<'a> {
    pub(super) pods: Vec<&'a Value>,
    pub(super) failure: Option<(&'static str, String)>,
    /// A pod that was ready and is not any more.
    pub(super) lost: Option<String>,
    pub(super) due: Option<Duration>,
    pub(super) crashed: bool,
}

/// How long a container must be ready to have proved itself.
const PROOF: Duration = Duration::from_secs(30);

/// Where a pod names an object that it uses: the list, and in its elements the name.
type Place = (&'static str, &'static [&'static str]);

/// The kinds whose consumers are watched: the places in a pod's spec, and those in each of its containers.
const KINDS: &[(&str, &[Place], &[Place])] = &[
    (
        "ConfigMap",
        &[("/spec/volumes", &["/configMap/name"])],
        &[("/envFrom", &["/configMapRef/name"]), ("/env", &["/valueFrom/configMapKeyRef/name"])],
    ),
    (
        "Secret",
        &[("/spec/volumes", &["/secret/secretName"]), ("/spec/imagePullSecrets", &["/name"])],
        &[("/envFrom", &["/secretRef/name"]), ("/env", &["/valueFrom/secretKeyRef/name"])],
    ),
];

/// The key of a projected volume's source, by kind.
fn projected(kind: &str) -> &'static str {
    if kind == "Secret" { "/secret/name" } else { "/configMap/name" }
}

/// Whether a change of an object of this kind shows in pods only.
pub(super) fn has_consumers(object: &ObjectRef) -> bool {
    object.key.group.is_empty() && KINDS.iter().any(|(kind, ..)| *kind == object.kind)
}

fn uses(pod: &Value, object: &ObjectRef) -> bool {
    let Some((kind, of_pod, of_container)) = KINDS.iter().find(|(kind, ..)| *kind == object.kind) else {
        return false;
    };
    let name = object.key.name.as_str();
    let names = |part: Facts<'_>, places: &[Place]| {
        places.iter().any(|(list, fields)| {
            part.list(list).any(|element| fields.iter().any(|field| element.text(field) == name))
        })
    };
    let pod = Facts(pod);
    let mut sources = pod.list("/spec/volumes").flat_map(|volume| volume.list("/projected/sources"));
    let mut containers =
        ["/spec/containers", "/spec/initContainers"].into_iter().flat_map(|list| pod.list(list));
    names(pod, of_pod)
        || sources.any(|source| source.text(projected(kind)) == name)
        || containers.any(|container| names(container, of_container))
}

/// Looks at the pods that use `object`, but for those of `judged` workloads.
pub(super) fn look<'a>(
    object: &ObjectRef,
    scene: &'a Scene,
    judged: &BTreeSet<String>,
    is_first_look: bool,
    old: &Sightings,
    new: &mut Sightings,
    now: Timestamp,
) -> Consumers<'a> {
    let runs = |pod: &Value| !matches!(Facts(pod).text("/status/phase"), "Failed" | "Succeeded");
    let pods: Vec<&Value> = scene
        .pods
        .iter()
        .filter(|pod| Image(pod).meta("namespace") == object.key.namespace.as_deref())
        .filter(|pod| runs(pod) && !Image(pod).is_terminating() && !is_disrupted(pod) && uses(pod, object))
        .filter(|pod| !judged.contains(&pod_key(pod)))
        .collect();
    let mut found = Consumers::default();
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for pod in &pods {
        let mut memory = old.pods.get(&pod_key(pod)).cloned().unwrap_or_default();
        let ready = Facts(pod).is_true("Ready");
        memory.is_older |= is_first_look;
        let name = Image(pod).meta("name").unwrap_or_default();
        if memory.was_ready && !ready {
            found.lost.get_or_insert_with(|| format!("pod {name}, which uses it, is not ready any more"));
        }
        memory.was_ready |= ready;
        // What was not well before is no word about the change.
        let tells = memory.was_ready || !memory.is_older;
        let signal = pod_signals::of(pod, scene).filter(|_| tells);
        memory.signal = Signal::sight(memory.signal, signal.map(|signal| signal.row.matter), now);
        let group = groups.entry(Image(pod).controller().unwrap_or(name)).or_default();
        group.pods += 1;
        group.ready += usize::from(ready);
        if let (Some(found), Some(signal)) = (signal, &memory.signal) {
            group.findings.push(Finding::of_pod(name, found, signal, PATIENCE, now));
        }
        for container in containers::of(pod) {
            let key = key_of(pod, &container);
            let before = old.containers.get(&key);
            found.crashed |= before.is_some_and(|before| container.restarts() > before.restarts);
            let (memory, finding) = consider(&container, before, memory.is_older, scene, now);
            group.findings.extend(finding.filter(|_| tells));
            new.containers.insert(key, memory);
        }
        new.pods.insert(pod_key(pod), memory);
    }
    for group in groups.values_mut() {
        group.findings.retain(|finding| may_cause(object, finding.reason));
    }
    found.failure = groups.values().find_map(Group::failure);
    found.due = groups.values().flat_map(|group| &group.findings).filter_map(|it| it.weight.due()).min();
    found.pods = pods;
    found
}

/// What happens to a pod before anybody asks for its files and environment.
const BEFORE: [&str; 4] = [
    reasons::UNSCHEDULABLE,
    reasons::SANDBOX_NOT_CREATED,
    reasons::REFUSED_BY_NODE,
    reasons::INVALID_IMAGE_NAME,
];
/// What may come of the Secret that a pod pulls its images with, and of no ConfigMap.
const PULLS: [&str; 5] = [
    reasons::IMAGE_NOT_FOUND,
    reasons::IMAGE_NOT_PRESENT,
    reasons::IMAGE_PULL_DENIED,
    reasons::IMAGE_PULL_FAILED,
    reasons::IMAGE_NOT_TRUSTED,
];

/// Whether a change of the object can bring about such a failure.
fn may_cause(object: &ObjectRef, reason: &str) -> bool {
    !BEFORE.contains(&reason) && (object.kind == "Secret" || !PULLS.contains(&reason))
}

/// Nobody knows what else they may be waiting for.
const PATIENCE: Patience = Patience { crashes: true, makers_wait: false, leaving: false, budget: None };

fn consider(
    container: &Container<'_>,
    before: Option<&Memory>,
    is_older: bool,
    scene: &Scene,
    now: Timestamp,
) -> (Memory, Option<Finding>) {
    let background =
        Background { restarts: 0, inherited: is_older, soaking: scene.soaking, proof: PROOF, pulls: 0 };
    let mut memory = Memory::next(before, container, background, now);
    let row = row_of(container, &memory.complaint(container));
    memory.sight(row, now);
    let finding = row
        .filter(|_| !memory.inherited)
        .map(|row| Finding::of_container(row, None, container, &memory, PATIENCE, now));
    (memory, finding)
}

/// The pods of one owner.
#[derive(Default)]
struct Group {
    pods: usize,
    ready: usize,
    findings: Vec<Finding>,
}

impl Group {
    fn failure(&self) -> Option<(&'static str, String)> {
        let fatal: Vec<_> = self.findings.iter().filter(|it| it.weight == Weight::Fatal).collect();
        let mut names: Vec<_> = fatal.iter().map(|finding| finding.pod.as_str()).collect();
        names.dedup();
        let worst = fatal.iter().min_by(|a, b| a.order(b))?;
        is_broad(names.len(), self.pods, self.ready).then(|| {
            let more = and_more(names.len() - 1);
            (worst.reason, format!("{}, which uses it{more}", worst.sentence))
        })
    }
}
