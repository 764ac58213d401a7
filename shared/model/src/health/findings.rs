//! A signal that stands, weighed and put into words.

use std::{cmp::Ordering, time::Duration};

use jiff::Timestamp;

use super::{
    class::{Class, Patience, Weight},
    containers::Container,
    evidence,
    pod_signals::PodSignal,
    pods::Workload,
    runs::{Memory, Pull},
    sightings::{Signal, age},
    signals::Row,
};

/// What was found about a pod, or about the workload itself.
#[derive(Debug)]
pub(super) struct Finding {
    /// The pod's name; empty if it is about the workload itself.
    pub(super) pod: String,
    /// One of [`super::reasons`].
    pub(super) reason: &'static str,
    pub(super) weight: Weight,
    /// A sentence for people.
    pub(super) sentence: String,
    /// The surer the lower.
    pub(super) rank: u8,
}

/// The least time from the first failed run to a verdict: kubelets may restart five times in twelve seconds (KEP-4603).
const FLOOR: Duration = Duration::from_secs(20);
/// How many failed runs it takes once everything was ready: the first may be an accident.
const SOAK_RUNS: u64 = 2;
/// By then a kubelet has tried again, whether it was seen or not: its first two pauses are 10 and 20 seconds.
const SURELY_TRIED_AGAIN: Duration = Duration::from_mins(1);

impl Finding {
    /// What a container does.
    pub(super) fn of_container(
        row: &Row,
        workload: Option<Workload>,
        container: &Container<'_>,
        memory: &Memory,
        patience: Patience,
        now: Timestamp,
    ) -> Self {
        let weight = weigh(row, workload, memory, patience, now);
        Self {
            pod: container.pod.text("/metadata/name").to_owned(),
            reason: row.reason,
            weight,
            sentence: format!("{} {}", container.title(), tell(row, weight, container, memory, now)),
            rank: row.class.rank(),
        }
    }

    /// What a pod as a whole does.
    pub(super) fn of_pod(
        name: &str,
        found: PodSignal<'_>,
        signal: &Signal,
        patience: Patience,
        now: Timestamp,
    ) -> Self {
        let PodSignal { row, message } = found;
        let weight = row.class.weigh(patience, signal, now);
        let stood = weight.told(age(now, signal.first));
        Self {
            pod: name.to_owned(),
            reason: row.reason,
            weight,
            sentence: format!("pod {name} {}", fill(row.tells, stood, message)),
            rank: row.class.rank(),
        }
    }

    /// The surest signal first; among equals always the same.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        (self.rank, &self.pod).cmp(&(other.rank, &other.pod))
    }
}

/// A rule's words with what is known.
pub(super) fn fill(words: &str, stood: Duration, message: &str) -> String {
    words
        .replace("{age}", &format!("{} s", stood.as_secs()))
        .replace("{message}", &evidence::text(evidence::gist(message)))
        .trim_end_matches(": ")
        .to_owned()
}

fn weigh(
    row: &Row,
    workload: Option<Workload>,
    memory: &Memory,
    patience: Patience,
    now: Timestamp,
) -> Weight {
    let Some(signal) = &memory.signal else {
        return Weight::Light;
    };
    let stood = age(now, signal.first);
    match row.class {
        // A job has a budget of its own, and says when it is spent.
        _ if workload == Some(Workload::Job) && !row.is_before_start() => Weight::Light,
        Class::Deterministic { confirm, attempts } => {
            let tried = memory.pull.as_ref().map_or(attempts, |pull| pull.attempts);
            if tried >= attempts || stood >= SURELY_TRIED_AGAIN {
                Weight::after(confirm, stood)
            } else {
                Weight::Due(SURELY_TRIED_AGAIN.saturating_sub(stood))
            }
        }
        Class::Crashes { restarts, patient } => {
            // What it waited for may be there now: it has a run to show for that.
            let forgiven = memory.budget.ended <= memory.forgiven;
            let usual = if patience.crashes || forgiven { patient } else { restarts };
            let allowed = patience.budget.unwrap_or(usual);
            let soak = memory.soak.as_ref().filter(|soak| soak.ended >= SOAK_RUNS);
            let spent = Some(&memory.budget).filter(|budget| budget.ended > allowed);
            let since = [soak, spent].into_iter().flatten().filter_map(|budget| budget.since).min();
            since.map_or(Weight::Light, |since| Weight::after(FLOOR, age(now, since)))
        }
        class => class.weigh(patience, signal, now),
    }
}

/// The row's words, with what is known about the container.
fn tell(row: &Row, weight: Weight, container: &Container<'_>, memory: &Memory, now: Timestamp) -> String {
    let ending = container.failed_run();
    let runs = [Some(&memory.budget), memory.soak.as_ref()];
    let (count, since) = if let Class::Crashes { .. } = row.class {
        let runs = runs.into_iter().flatten().max_by_key(|budget| budget.ended);
        (runs.map_or(0, |budget| budget.ended), runs.and_then(|budget| budget.since))
    } else {
        let tried = memory.pull.as_ref().map_or(1, |Pull { attempts, .. }| u64::from(*attempts));
        (tried, memory.signal.as_ref().map(|signal| signal.first))
    };
    let message = ending
        .filter(|_| row.is_ended())
        .map_or_else(|| memory.cause(container), |ending| ending.told(container));
    let words = row
        .tells
        .replace("{attempts}", &if count == 1 { "1 attempt".to_owned() } else { format!("{count} attempts") })
        .replace("{times}", &if count == 1 { "once".to_owned() } else { format!("{count} times") })
        .replace("{exit}", &ending.map_or(0, |ending| ending.exit_code).to_string())
        .replace("{image}", &format!("{:?}", evidence::text(container.image())));
    let stood = since.map_or(Duration::ZERO, |since| age(now, since));
    fill(&words, weight.told(stood), message)
}
