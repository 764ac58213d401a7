//! The containers that fail, with what they said last.

use serde_json::Value;

use super::{
    Container,
    redact::Redactor,
    suspects::{Suspects, path_of},
    wanted::{Findings, LOG_LINES, LogOf, Wanted},
};
use crate::{
    health::containers::{self, Container as Reported},
    object::Image,
};

/// How many failing containers are shown.
pub(super) const CONTAINERS: usize = 5;

/// The containers of these pods that fail.
pub(super) fn of_failing<'a>(pods: &[&'a Value]) -> impl Iterator<Item = Reported<'a>> {
    pods.iter().flat_map(|pod| containers::of(pod)).filter(fails)
}

/// Whether there is a log of the instance that is there: the kubelet shows the last one's in its place while a container
/// waits.
pub(super) fn has_log(container: &Reported<'_>) -> bool {
    container.is_running() || container.ended().is_some()
}

fn fails(container: &Reported<'_>) -> bool {
    if container.restarts() > 0 {
        return true;
    }
    if let Some(ended) = container.ended() {
        return container.should_not_have(&ended);
    }
    match container.waiting() {
        Some((reason, _)) => !["", "ContainerCreating", "PodInitializing"].contains(&reason),
        None => container.is_running() && !container.is_ready(),
    }
}

fn tell(container: &Reported<'_>, secrets: &Redactor) -> Container {
    let waiting = container.waiting();
    let (waits, message) = waiting.unwrap_or_default();
    let last = container.last_ending();
    let state = match waiting {
        Some(_) => "waiting",
        None if container.is_running() => "running",
        None if container.ended().is_some() => "terminated",
        None => "unknown",
    };
    let reason = if waits.is_empty() { last.map_or("", |last| last.reason) } else { waits };
    Container {
        pod: path_of(container.pod.0),
        container: container.name().to_owned(),
        role: container.role,
        image: secrets.whole(container.image()),
        state: state.to_owned(),
        reason: reason.to_owned(),
        message: secrets.whole(message),
        exit_code: last.map(|last| last.exit_code),
        signal: last.map(|last| last.signal).filter(|signal| *signal != 0),
        termination_message: secrets.cut(last.map_or("", |last| last.message)),
        restarts: container.restarts(),
        log: Vec::new(),
        previous_log: Vec::new(),
        missing: Vec::new(),
    }
}

/// What there is to see of the failing containers, and their logs.
pub(super) fn failing(
    suspects: &Suspects<'_>,
    wanted: &Wanted,
    found: &Findings,
    secrets: &Redactor,
) -> Vec<Container> {
    of_failing(&suspects.pods)
        .take(CONTAINERS)
        .map(|container| {
            let mut told = tell(&container, secrets);
            if let Some(why) = secrets.withholds(container.pod.0) {
                told.message.clear();
                told.termination_message.clear();
                told.missing = vec![format!("what it says is left out: {why}")];
                return told;
            }
            let mut missing: Vec<(&LogOf, String)> = Vec::new();
            for log in wanted.logs.iter().filter(|log| log.is_of(&container)) {
                match found.logs.get(log) {
                    Some(Ok(text)) if is_lost(text) => {
                        missing.push((log, format!(": {}", secrets.cut(text.trim_end()))));
                    }
                    Some(Ok(text)) => *lines_of(&mut told, log) = last_lines(&secrets.cut(text)),
                    Some(Err(why)) => missing.push((log, format!(": {}", secrets.whole(why)))),
                    None => missing.push((log, " in time".to_owned())),
                }
            }
            told.missing = match &missing[..] {
                [(_, why), (_, same)] if why == same => vec![format!("its logs could not be had{why}")],
                each => {
                    each.iter().map(|(log, why)| format!("{} could not be had{why}", of_it(log))).collect()
                }
            };
            told
        })
        .collect()
}

fn of_it(log: &LogOf) -> &'static str {
    if log.previous { "its previous log" } else { "its log" }
}

fn lines_of<'a>(container: &'a mut Container, log: &LogOf) -> &'a mut Vec<String> {
    if log.previous { &mut container.previous_log } else { &mut container.log }
}

/// Of an instance that is removed already the kubelet says so in place of its log, with a status as if it were the log.
fn is_lost(text: &str) -> bool {
    text.starts_with("unable to retrieve container logs for ") && text.trim_end().lines().count() == 1
}

fn last_lines(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let first = lines.len().saturating_sub(LOG_LINES);
    lines.into_iter().skip(first).collect()
}

impl LogOf {
    pub(super) fn new(container: &Reported<'_>, previous: bool) -> Self {
        let text = |field| Image(container.pod.0).meta(field).unwrap_or_default().to_owned();
        Self {
            namespace: text("namespace"),
            pod: text("name"),
            container: container.name().to_owned(),
            previous,
        }
    }

    fn is_of(&self, container: &Reported<'_>) -> bool {
        *self == Self::new(container, self.previous)
    }
}
