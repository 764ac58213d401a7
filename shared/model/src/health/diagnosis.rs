//! What the pods of one workload say together about its new revision.

use std::{cmp::Ordering, time::Duration};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Scene, containers,
    containers::Container,
    evidence,
    facts::Facts,
    freshness::Case,
    pods::{self, Workload},
    sightings::{Background, Memory, Sightings, age, key_of, restarts_before},
    signals::{Class, Row, row_of},
};

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
}

/// How long a container must be ready to have proved itself (as the circuit breaker of ECS resets).
const PROOF: Duration = Duration::from_secs(30);
/// The least time from the first failed run to a verdict: kubelets may restart five times in twelve seconds (KEP-4603).
const FLOOR: Duration = Duration::from_secs(20);
/// How many failed runs it takes once everything was ready: the first may be an accident.
const SOAK_RUNS: u64 = 2;
/// By then a kubelet has tried again, whether it was seen or not: its first two pauses are 10 and 20 seconds.
const SURELY_TRIED_AGAIN: Duration = Duration::from_mins(1);

/// What a signal amounts to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    Fatal,
    /// It becomes fatal if it stands for so much longer.
    Due(Duration),
    Light,
}

struct Finding<'a> {
    container: Container<'a>,
    row: &'static Row,
    weight: Weight,
    message: String,
}

/// Looks at the pods of the new revision; `others_wait` says whether another object of the release is still on its way.
pub(super) fn diagnose<'a>(
    workload: Workload,
    case: &Case<'a>,
    scene: &'a Scene,
    others_wait: bool,
    old: &Sightings,
    new: &mut Sightings,
    now: Timestamp,
) -> Diagnosis<'a> {
    // A write that did not change the spec made no pods: what they do is not its doing.
    if case.is_unchanged() {
        return Diagnosis::default();
    }
    let pods = pods::of_new_revision(workload, case, scene);
    let steady = pods.iter().filter(|pod| is_steady(pod, now)).count();
    let patient = scene.install || others_wait || steady > 0;
    let mut findings = Vec::new();
    for pod in &pods {
        for container in containers::of(pod) {
            let background = background(workload, case, scene, &container);
            let key = key_of(pod, &container);
            let mut memory = Memory::next(old.containers.get(&key), &container, background, now);
            let row = row_of(&container, &memory.complaint(&container));
            memory.sight(row, now);
            if let Some(row) = row.filter(|_| !memory.inherited) {
                let weight = weigh(row, workload, &memory, patient, now);
                findings.push(Finding {
                    container,
                    row,
                    weight,
                    message: tell(row, &container, &memory, now),
                });
            }
            new.containers.insert(key, memory);
        }
    }
    Diagnosis {
        failure: conclude(workload, case.live, pods.len(), steady, &findings),
        trouble: findings
            .first()
            .map(Finding::sentence)
            .or_else(|| pods.iter().find_map(|pod| evidence::trouble(pod))),
        due: findings.iter().filter_map(|finding| finding.weight.due()).min(),
        pods,
    }
}

fn background(workload: Workload, case: &Case<'_>, scene: &Scene, container: &Container<'_>) -> Background {
    let is_pod = workload == Workload::Pod;
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
    let told = scene.events.iter().map(Facts).filter(|event| {
        let field = event.text("/involvedObject/fieldPath");
        event.text("/involvedObject/uid") == uid
            && (field.is_empty() || field.ends_with(&of_container))
            && event.text("/message").starts_with("Failed to pull image")
    });
    told.map(|event| u32::try_from(event.count("/count").max(1)).unwrap_or(u32::MAX)).sum()
}

/// Ready, and not just between two crashes.
fn is_steady(pod: &Value, now: Timestamp) -> bool {
    let Some(ready) = Facts(pod).condition("Ready").filter(|ready| ready.is_true()) else {
        return false;
    };
    let proved = ready.since().is_some_and(|since| age(now, since) >= PROOF);
    proved || containers::of(pod).all(|container| container.restarts() == 0)
}

fn weigh(row: &Row, workload: Workload, memory: &Memory, patient: bool, now: Timestamp) -> Weight {
    let Some(signal) = &memory.signal else {
        return Weight::Light;
    };
    let stood = age(now, signal.first);
    match row.class {
        Class::Evidence => Weight::Light,
        // A job has a budget of its own, and says when it is spent.
        _ if workload == Workload::Job && !row.is_before_start() => Weight::Light,
        Class::Deterministic { confirm, attempts } => {
            let tried = memory.pull.as_ref().map_or(attempts, |pull| pull.attempts);
            let enough = tried >= attempts;
            if enough || stood >= SURELY_TRIED_AGAIN {
                Weight::after(confirm, stood)
            } else {
                Weight::Due(SURELY_TRIED_AGAIN.saturating_sub(stood))
            }
        }
        Class::Threshold { patience } => Weight::after(patience, stood),
        Class::Crashes { restarts, patient: more } => {
            let allowed = if patient { more } else { restarts };
            let soak = memory.soak.as_ref().filter(|soak| soak.ended >= SOAK_RUNS);
            let spent = Some(&memory.budget).filter(|budget| budget.ended > allowed);
            let since = [soak, spent].into_iter().flatten().filter_map(|budget| budget.since).min();
            since.map_or(Weight::Light, |since| Weight::after(FLOOR, age(now, since)))
        }
    }
}

impl Weight {
    fn after(wait: Duration, stood: Duration) -> Self {
        if stood >= wait { Self::Fatal } else { Self::Due(wait.saturating_sub(stood)) }
    }

    fn due(self) -> Option<Duration> {
        match self {
            Self::Due(time) => Some(time),
            Self::Fatal | Self::Light => None,
        }
    }
}

/// Whether enough pods fail for the workload to fail, and with what.
fn conclude(
    workload: Workload,
    object: Facts<'_>,
    pods: usize,
    steady: usize,
    findings: &[Finding<'_>],
) -> Option<(&'static str, String)> {
    let fatal: Vec<_> = findings.iter().filter(|finding| finding.weight == Weight::Fatal).collect();
    let mut names: Vec<_> = fatal.iter().map(|finding| finding.pod()).collect();
    names.dedup();
    let failing = names.len();
    let enough = match workload {
        // An ordered rollout waits for each single pod.
        Workload::StatefulSet | Workload::Pod => failing > 0,
        Workload::DaemonSet => failing > if steady > 0 { max_unavailable(object) } else { 0 },
        Workload::Deployment | Workload::ReplicaSet | Workload::Job => {
            failing > 0 && (steady == 0 || failing >= pods.div_ceil(2))
        }
    };
    let worst = fatal.into_iter().min_by(|a, b| a.order(b)).filter(|_| enough)?;
    let more = match failing {
        1 => String::new(),
        2 => " (and 1 more pod like it)".to_owned(),
        n => format!(" (and {} more pods like it)", n - 1),
    };
    Some((worst.row.reason, format!("{}{more}", worst.sentence())))
}

/// `maxUnavailable` of a DaemonSet, in pods; the API's default is 1.
fn max_unavailable(object: Facts<'_>) -> usize {
    const FIELD: &str = "/spec/updateStrategy/rollingUpdate/maxUnavailable";
    let percent = object.text(FIELD).strip_suffix('%').and_then(|number| number.parse::<i64>().ok());
    let pods = match percent {
        Some(percent) => (object.count("/status/desiredNumberScheduled") * percent + 99) / 100,
        None => object.int(FIELD).unwrap_or(1),
    };
    usize::try_from(pods).unwrap_or(0)
}

impl Finding<'_> {
    fn pod(&self) -> &str {
        self.container.pod.text("/metadata/name")
    }

    fn sentence(&self) -> String {
        format!("{} {}", self.container.title(), self.message)
    }

    /// The surest signal first; among equals always the same.
    fn order(&self, other: &Self) -> Ordering {
        let rank = |finding: &Self| match finding.row.class {
            Class::Deterministic { .. } => 0,
            Class::Threshold { .. } => 1,
            Class::Crashes { .. } => 2,
            Class::Evidence => 3,
        };
        (rank(self), self.pod()).cmp(&(rank(other), other.pod()))
    }
}

/// The row's words, with what is known about the container.
fn tell(row: &Row, container: &Container<'_>, memory: &Memory, now: Timestamp) -> String {
    let ending = container.failed_run();
    let runs = [Some(&memory.budget), memory.soak.as_ref()];
    let (count, since) = if let Class::Crashes { .. } = row.class {
        let runs = runs.into_iter().flatten().max_by_key(|budget| budget.ended);
        (runs.map_or(0, |budget| budget.ended), runs.and_then(|budget| budget.since))
    } else {
        let tried = memory.pull.as_ref().map_or(1, |pull| u64::from(pull.attempts));
        (tried, memory.signal.as_ref().map(|signal| signal.first))
    };
    let message =
        ending.filter(|_| row.is_ended()).map_or_else(|| memory.cause(container), |ending| ending.message);
    row.tells
        .replace("{attempts}", &if count == 1 { "1 attempt".to_owned() } else { format!("{count} attempts") })
        .replace("{times}", &if count == 1 { "once".to_owned() } else { format!("{count} times") })
        .replace("{age}", &format!("{} s", since.map_or(0, |since| age(now, since).as_secs())))
        .replace("{exit}", &ending.map_or(0, |ending| ending.exit_code).to_string())
        .replace("{image}", &format!("{:?}", evidence::text(container.image())))
        .replace("{message}", &evidence::text(evidence::gist(message)))
        .trim_end_matches(": ")
        .to_owned()
}
