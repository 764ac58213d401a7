//! What a pod as a whole says about the revision before its containers say anything: a table like that of
//! [`super::signals`].
//!
//! A pod that has no node says so itself. Why its volumes are not mounted or its sandbox is not made, only Events tell:
//! they count only while the pod's own condition says that it is not ready to start containers.

use serde_json::Value;

use super::{
    Scene,
    class::{Class, deterministic, patient_threshold, reference, threshold},
    facts::Facts,
    reasons,
    signals::plain,
};
use crate::object::Image;

/// What a pod does that a row looks for.
#[derive(Clone, Copy)]
enum When {
    /// The scheduler has not found a node for it, for one of these reasons.
    NoNode(&'static [&'static str]),
    /// The same, while the autoscaler is adding a node for it, or room is being made.
    NodeIsComing,
    /// The same, after the autoscaler said that it will not add one.
    NodeIsRefused,
    /// An Event of one of these reasons tells why its containers cannot be started yet.
    Told(&'static [&'static str]),
    /// Its node or its cluster ended it, for one of these reasons.
    Ended(&'static [&'static str]),
}

use When::{Ended, NoNode, NodeIsComing, NodeIsRefused, Told};

/// One rule.
pub(super) struct PodRow {
    /// What the rule is called, in fixtures.
    #[cfg_attr(not(test), expect(dead_code, reason = "fixtures name it"))]
    name: &'static str,
    /// What it is about: how long it stands is counted over all rows of one matter.
    pub(super) matter: &'static str,
    when: When,
    says: &'static [&'static [&'static str]],
    pub(super) class: Class,
    pub(super) reason: &'static str,
    /// What the pod does, for people: `{message}` is what is told.
    pub(super) tells: &'static str,
}

/// A row that holds, and what was told.
#[derive(Clone, Copy)]
pub(super) struct PodSignal<'a> {
    pub(super) row: &'static PodRow,
    pub(super) message: &'a str,
}

const fn row(
    (name, matter): (&'static str, &'static str),
    when: When,
    says: &'static [&'static [&'static str]],
    class: Class,
    reason: &'static str,
    tells: &'static str,
) -> PodRow {
    PodRow { name, matter, when, says, class, reason, tells }
}

const ANY: &[&[&str]] = &[];
const MOUNT: When = Told(&["FailedMount", "FailedAttachVolume", "FailedMapVolume"]);
const NO_NODE: When = NoNode(&["Unschedulable"]);

/// Reasons for which a kubelet does not take a pod, whichever node it is.
const NEVER: When = Ended(&[
    "PodOSNotSupported",
    "PodOSSelectorNodeLabelDoesNotMatch",
    "SupplementalGroupsPolicyNotSupported",
    "InitContainerRestartPolicyForbidden",
]);

/// Reasons for which a kubelet does not take a pod that another node, or the same one later, would.
const NOT_HERE: &[&str] = &[
    "OutOfcpu",
    "OutOfmemory",
    "OutOfpods",
    "OutOfephemeral-storage",
    "UnexpectedAdmissionError",
    "InvalidNodeInfo",
    "UnknownReason",
];

/// How the cluster itself ends pods: no word about the revision.
const DISRUPTED: When =
    Ended(&["Evicted", "Preempting", "Terminated", "NodeShutdown", "NodeLost", "NodeAffinity"]);

#[rustfmt::skip] // a table reads by its columns
const ROWS: &[PodRow] = &[
    // Somebody else will let it go.
    row(("pod-gated", "gate"), NoNode(&["SchedulingGated"]), ANY, Class::Evidence,
        reasons::UNSCHEDULABLE, "is held back by a scheduling gate"),
    row(("pod-scheduler", "scheduler"), NoNode(&["SchedulerError"]), ANY, threshold(120),
        reasons::UNSCHEDULABLE, "cannot be scheduled for {age}: {message}"),
    // The claim may be made later in the same apply.
    row(("pod-claim", "claim"), NO_NODE, &[&["persistentvolumeclaim", "not found"]], reference(60, 150),
        reasons::UNSCHEDULABLE, "has no node for {age}: {message}"),
    row(("pod-node-coming", "scaling"), NodeIsComing, ANY, Class::Evidence,
        reasons::UNSCHEDULABLE, "waits for a node that is being added: {message}"),
    row(("pod-node-refused", "node"), NodeIsRefused, ANY, patient_threshold(90, 600),
        reasons::UNSCHEDULABLE, "has no node for {age}, and none is added for it: {message}"),
    row(("pod-no-node", "node"), NO_NODE, ANY, patient_threshold(300, 600),
        reasons::UNSCHEDULABLE, "has no node for {age}: {message}"),

    row(("pod-mount-reference", "mount"), MOUNT,
        &[&["secret", "not found"], &["configmap", "not found"], &["references non-existent"]], reference(45, 150),
        reasons::VOLUME_NOT_MOUNTED, "cannot mount its volumes for {age}: {message}"),
    row(("pod-mount", "mount"), MOUNT, ANY, threshold(150),
        reasons::VOLUME_NOT_MOUNTED, "cannot mount its volumes for {age}: {message}"),
    row(("pod-sandbox", "sandbox"), Told(&["FailedCreatePodSandBox"]), ANY, threshold(180),
        reasons::SANDBOX_NOT_CREATED, "gets no sandbox from its node for {age}: {message}"),

    row(("pod-refused", "refused"), NEVER, ANY, deterministic(10),
        reasons::REFUSED_BY_NODE, "is refused by its node: {message}"),
    // Counted over all pods of the workload: see REJECTS.
    row(("pod-refused-here", "refused-here"), Ended(NOT_HERE), ANY, Class::Evidence,
        reasons::REFUSED_BY_NODE, "was refused by its node: {message}"),
    row(("pod-disrupted", "disrupted"), DISRUPTED, ANY, Class::Evidence,
        reasons::POD_FAILED, "was ended by its node or for another pod: {message}"),
];

/// So many pods refused by nodes within [`super::sightings::REJECTS_WITHIN`] are no race of the scheduler any more.
pub(super) const REJECTS: usize = 3;

/// What controllers are told when they create a pod, by what is told. First what says nothing about the pod.
pub(super) struct Refusal {
    /// What the rule is called, in fixtures.
    pub(super) name: &'static str,
    says: &'static [&'static [&'static str]],
    pub(super) class: Class,
}

#[rustfmt::skip]
const REFUSALS: &[Refusal] = &[
    Refusal { name: "create-unavailable", class: threshold(150), says: &[
        &["failed calling webhook"], &["internal error occurred"], &["etcdserver"], &["connection refused"],
        &["context deadline exceeded"], &["object has been modified"], &["too many requests"],
        &["unable to handle the request"], &["timed out"], &["timeout"]] },
    Refusal { name: "create-denied", class: deterministic(15), says: &[
        &["admission webhook", "denied the request"], &["validatingadmissionpolicy", "denied request"],
        &["violates podsecurity"], &["is invalid:"], &["minimum", "usage"], &["maximum", "usage"],
        &["unable to validate against any security context constraint"]] },
    Refusal { name: "create-quota", class: patient_threshold(60, 120), says: &[&["exceeded quota"]] },
    Refusal { name: "create-reference", class: threshold(45), says: &[
        &["serviceaccount", "not found"], &["service account", "not found"], &["priorityclass", "not found"],
        &["no priorityclass with name"]] },
    Refusal { name: "create-other", class: threshold(150), says: ANY },
];

/// The rule for a refusal to create a pod.
pub(super) fn refusal(message: &str) -> Option<&'static Refusal> {
    let message = plain(message, "");
    REFUSALS.iter().find(|refusal| hears(refusal.says, &message))
}

/// The first row that matches a pod.
pub(super) fn of<'a>(pod: &'a Value, scene: &'a Scene) -> Option<PodSignal<'a>> {
    ROWS.iter().find_map(|row| {
        let message = row.when.told(pod, scene)?;
        hears(row.says, &plain(message, "")).then_some(PodSignal { row, message })
    })
}

fn hears(says: &[&[&str]], message: &str) -> bool {
    says.is_empty() || says.iter().any(|words| words.iter().all(|word| message.contains(word)))
}

impl When {
    /// What is told, if it is so.
    fn told<'a>(self, pod: &'a Value, scene: &'a Scene) -> Option<&'a str> {
        match self {
            NoNode(reasons) => {
                let scheduled = Facts(pod).condition("PodScheduled").filter(|it| it.is_false())?;
                reasons.contains(&scheduled.reason()).then(|| scheduled.message())
            }
            NodeIsComing => {
                let message = NO_NODE.told(pod, scene)?;
                let nominated = !Facts(pod).text("/status/nominatedNodeName").is_empty();
                (nominated || scaler(pod, scene) == Some(true)).then_some(message)
            }
            NodeIsRefused => {
                let message = NO_NODE.told(pod, scene)?;
                (scaler(pod, scene) == Some(false)).then_some(message)
            }
            Told(reasons) => {
                let starts = Facts(pod).condition("PodReadyToStartContainers")?;
                let last = || last_event(pod, scene, reasons).map(|event| event.text("/message"));
                if starts.is_false() && !has_ended(pod) { last() } else { None }
            }
            Ended(reasons) => {
                let reason = Facts(pod).text("/status/reason");
                (has_ended(pod) && reasons.contains(&reason)).then(|| Facts(pod).text("/status/message"))
            }
        }
    }
}

fn has_ended(pod: &Value) -> bool {
    matches!(Facts(pod).text("/status/phase"), "Failed" | "Succeeded")
}

/// The autoscaler's last word on a pod: whether a node is added for it. Cluster Autoscaler's words, and Karpenter's.
fn scaler(pod: &Value, scene: &Scene) -> Option<bool> {
    const YES: &[&str] = &["TriggeredScaleUp", "Nominated"];
    const NO: &[&str] = &["NotTriggerScaleUp"];
    let time = |reasons| last_event(pod, scene, reasons).map(when);
    match (time(YES), time(NO)) {
        (None, None) => None,
        (yes, no) => Some(yes >= no),
    }
}

fn last_event<'a>(pod: &Value, scene: &'a Scene, reasons: &[&str]) -> Option<Facts<'a>> {
    let uid = Image(pod).uid()?;
    events_about(uid, scene)
        .filter(|event| reasons.contains(&event.text("/reason")))
        .max_by_key(|it| when(*it))
}

/// The Events about the object with this uid.
pub(super) fn events_about<'a>(uid: &str, scene: &'a Scene) -> impl Iterator<Item = Facts<'a>> {
    scene.events.iter().map(Facts).filter(move |event| event.text("/involvedObject/uid") == uid)
}

/// When an Event was told last: RFC 3339 in UTC, which sorts as text to the second.
pub(super) fn when(event: Facts<'_>) -> String {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/firstTimestamp"];
    let time = times.iter().map(|field| event.text(field)).find(|time| !time.is_empty());
    time.unwrap_or_default().chars().take("2026-01-01T00:00:00".len()).collect()
}

/// Whether a node has refused the pod that another one might have taken.
pub(super) fn is_refused_here(pod: &Value) -> bool {
    has_ended(pod) && NOT_HERE.contains(&Facts(pod).text("/status/reason"))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::json;

    use super::*;

    /// By row: pods that it is for, and what Events tell of them. Under `(none)`: pods that no row is for.
    fn samples() -> BTreeMap<String, Vec<Value>> {
        serde_json::from_str(include_str!("../../tests/fixtures/health/pod-rows.json")).unwrap()
    }

    fn refusals() -> BTreeMap<String, Vec<String>> {
        serde_json::from_str(include_str!("../../tests/fixtures/health/refusals.json")).unwrap()
    }

    #[test]
    fn each_row_matches_its_samples() {
        for (row, samples) in samples() {
            for sample in samples {
                let events = sample["events"].as_array().cloned().unwrap_or_default();
                let scene = Scene { events, ..Scene::default() };
                let found = of(&sample["pod"], &scene).map_or("(none)", |found| found.row.name);
                assert_eq!(found, row, "{sample:#}");
            }
        }
    }

    #[test]
    fn each_refusal_is_of_the_class_that_its_words_tell() {
        for (row, messages) in refusals() {
            for message in messages {
                assert_eq!(refusal(&message).unwrap().name, row, "{message}");
            }
        }
    }

    #[test]
    fn each_row_has_a_sample() {
        let sampled: BTreeSet<_> = samples().into_keys().chain(refusals().into_keys()).collect();
        let rows = ROWS.iter().map(|row| row.name).chain(REFUSALS.iter().map(|row| row.name));
        assert_eq!(rows.filter(|row| !sampled.contains(*row)).collect::<Vec<_>>(), Vec::<&str>::new());
    }

    #[test]
    fn the_last_word_of_an_event_is_the_one_that_was_told_last_however_its_time_is_written() {
        let old = json!({"lastTimestamp": "2026-11-22T22:00:01Z"});
        let series = json!({"eventTime": "2026-11-22T22:00:00.123456Z", "series": {"lastObservedTime": "2026-11-22T22:00:02.5Z"}});
        assert!(when(Facts(&series)) > when(Facts(&old)));
        assert_eq!(when(Facts(&json!({}))), "");
    }
}
