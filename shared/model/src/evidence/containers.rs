//! The containers that fail, with what they said last.

use serde_json::Value;

use super::{
    Container, Role,
    redact::Redactor,
    suspects::{Suspects, path_of, text_at},
    wanted::{Findings, LOG_LINES, LogOf, Wanted},
};
use crate::object::Image;

/// How many failing containers are shown.
pub(super) const CONTAINERS: usize = 5;

/// The container's state as the kubelet reports it.
#[derive(Clone, Copy)]
pub(super) struct Report<'a> {
    pub(super) pod: &'a Value,
    status: &'a Value,
    role: Role,
}

impl<'a> Report<'a> {
    /// All containers of a pod.
    pub(super) fn all(pod: &'a Value) -> impl Iterator<Item = Self> {
        let list = move |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        let init = list("/status/initContainerStatuses").map(move |status| {
            let name = status["name"].as_str();
            let spec = list("/spec/initContainers").find(|spec| spec["name"].as_str() == name);
            let stays = spec.is_some_and(|spec| spec["restartPolicy"] == "Always");
            Self { pod, status, role: if stays { Role::Sidecar } else { Role::Init } }
        });
        let main = list("/status/containerStatuses");
        init.chain(main.map(move |status| Self { pod, status, role: Role::Main }))
    }

    /// The containers of these pods that fail.
    pub(super) fn failing(pods: &[&'a Value]) -> impl Iterator<Item = Self> {
        pods.iter().flat_map(|pod| Self::all(pod)).filter(Self::fails)
    }

    pub(super) fn name(&self) -> &'a str {
        self.status["name"].as_str().unwrap_or_default()
    }

    pub(super) fn restarts(&self) -> u64 {
        self.status["restartCount"].as_u64().unwrap_or_default()
    }

    /// Whether there is a log of the instance that is there: the kubelet shows the last one's in its place while a
    /// container waits.
    pub(super) fn has_log(&self) -> bool {
        self.status["state"]["waiting"].is_null() && !self.status["state"].is_null()
    }

    /// Whether there is a log of an instance before it.
    pub(super) fn has_previous(&self) -> bool {
        !self.status["lastState"]["terminated"].is_null()
    }

    fn fails(&self) -> bool {
        let state = &self.status["state"];
        if self.restarts() > 0 {
            return true;
        }
        if let Some(ended) = state["terminated"].as_object() {
            let policy = self.pod.pointer("/spec/restartPolicy").and_then(Value::as_str).unwrap_or("Always");
            let goes_on = match self.role {
                Role::Init => false,
                Role::Sidecar => true,
                Role::Main => policy == "Always",
            };
            return goes_on || ended.get("exitCode").and_then(Value::as_i64) != Some(0);
        }
        if let Some(reason) = state["waiting"]["reason"].as_str() {
            return !["ContainerCreating", "PodInitializing"].contains(&reason);
        }
        !state["running"].is_null() && self.status["ready"] == false
    }

    fn tell(&self, secrets: &Redactor) -> Container {
        let state = &self.status["state"];
        let known = ["waiting", "running", "terminated"].into_iter().find(|it| !state[it].is_null());
        let last = [&state["terminated"], &self.status["lastState"]["terminated"]];
        let last = last.into_iter().find(|ending| !ending.is_null()).unwrap_or(&Value::Null);
        let waits = text_at(state, "/waiting/reason");
        let image = self.spec("image").map_or_else(|| text_at(self.status, "/image"), str::to_owned);
        Container {
            pod: path_of(self.pod),
            container: self.name().to_owned(),
            role: self.role,
            image: secrets.whole(&image),
            state: known.unwrap_or("unknown").to_owned(),
            reason: if waits.is_empty() { text_at(last, "/reason") } else { waits },
            message: secrets.whole(&text_at(state, "/waiting/message")),
            exit_code: last["exitCode"].as_i64(),
            signal: last["signal"].as_i64().filter(|signal| *signal != 0),
            termination_message: secrets.cut(&text_at(last, "/message")),
            restarts: self.restarts(),
            log: Vec::new(),
            previous_log: Vec::new(),
        }
    }

    fn spec(&self, field: &str) -> Option<&'a str> {
        let specs = ["/spec/containers", "/spec/initContainers"];
        let mut specs = specs.iter().filter_map(|list| self.pod.pointer(list)?.as_array()).flatten();
        specs.find(|spec| spec["name"].as_str() == Some(self.name()))?.get(field)?.as_str()
    }
}

/// What there is to see of the failing containers, and their logs.
pub(super) fn failing(
    suspects: &Suspects<'_>,
    wanted: &Wanted,
    found: &Findings,
    secrets: &Redactor,
    notes: &mut Vec<String>,
) -> Vec<Container> {
    let reports = Report::failing(&suspects.pods).take(CONTAINERS);
    reports
        .map(|report| {
            let mut told = report.tell(secrets);
            if let Some(why) = secrets.withholds(report.pod) {
                told.message.clear();
                told.termination_message.clear();
                notes.push(format!("what {} says is left out: {why}", log_name(&report)));
                return told;
            }
            for log in wanted.logs.iter().filter(|log| log.is_of(&report)) {
                match found.logs.get(log) {
                    Some(Ok(text)) => *lines_of(&mut told, log) = last_lines(&secrets.cut(text)),
                    Some(Err(why)) => notes.push(format!("{log} could not be had: {why}")),
                    None => notes.push(format!("{log} could not be had in time")),
                }
            }
            told
        })
        .collect()
}

fn log_name(report: &Report<'_>) -> String {
    format!("container {} of pod {}", report.name(), path_of(report.pod))
}

fn lines_of<'a>(container: &'a mut Container, log: &LogOf) -> &'a mut Vec<String> {
    if log.previous { &mut container.previous_log } else { &mut container.log }
}

fn last_lines(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let first = lines.len().saturating_sub(LOG_LINES);
    lines.into_iter().skip(first).collect()
}

impl LogOf {
    pub(super) fn new(report: &Report<'_>, previous: bool) -> Self {
        let image = Image(report.pod);
        let text = |field| image.meta(field).unwrap_or_default().to_owned();
        let container = report.name().to_owned();
        Self { namespace: text("namespace"), pod: text("name"), container, previous }
    }

    fn is_of(&self, report: &Report<'_>) -> bool {
        *self == Self::new(report, self.previous)
    }
}
