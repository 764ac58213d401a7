//! What was seen of a failed revision, as much of it as fits on a screen.

use backout_model::evidence::{Change, Condition, Container, Event, Evidence, Role};

use super::section;
use crate::{changes, render};

/// How much of each fits on a screen.
const LOG: usize = 8;
const CONTAINERS: usize = 2;
const LIST: usize = 5;
const FIELDS: usize = 8;

pub(super) fn tell(lines: &mut Vec<String>, evidence: &Evidence, all: bool, width: usize) {
    let limit = |limit: usize| if all { usize::MAX } else { limit };
    for container in evidence.containers.iter().take(limit(CONTAINERS)) {
        tell_container(lines, container, limit(LOG), width);
    }
    more(lines, "containers", evidence.containers.len(), limit(CONTAINERS));
    let list = |total: usize| (limit(LIST).min(total), total);
    let (shown, total) = list(evidence.conditions.len());
    section(lines, "Conditions", evidence.conditions.iter().take(shown).map(condition), width);
    more(lines, "conditions", total, shown);
    let (shown, total) = list(evidence.events.len());
    section(lines, "Warnings", evidence.events.iter().take(shown).map(event), width);
    more(lines, "warnings", total, shown);
    tell_changes(lines, &evidence.changes, limit(FIELDS));
    section(lines, "Notes", evidence.notes.iter().cloned(), width);
}

fn tell_container(lines: &mut Vec<String>, container: &Container, limit: usize, width: usize) {
    let role = match container.role {
        Role::Init => "Init container",
        Role::Sidecar => "Sidecar",
        Role::Main => "Container",
    };
    let after = if container.state == "running" { " again after" } else { "" };
    let mut told = vec![match container.reason.as_str() {
        "" => container.state.clone(),
        reason => format!("{}{after} {reason}", container.state),
    }];
    told.extend(container.exit_code.map(|code| format!("exit code {code}")));
    told.extend(container.signal.map(|signal| format!("signal {signal}")));
    if container.restarts > 0 {
        told.push(format!("{} restarts", container.restarts));
    }
    lines.push(String::new());
    lines.push(format!("{role} {} of pod {}: {}", container.container, container.pod, told.join(", ")));
    if !container.termination_message.is_empty() {
        lines.push(format!("  last word: {}", container.termination_message.trim()));
    }
    lines.extend(container.missing.iter().flat_map(|it| render::wrapped(it, "  ", width)));
    for (title, log) in [
        ("its log ends with", &container.log),
        ("the log before its restart ends with", &container.previous_log),
    ] {
        if !log.is_empty() {
            lines.push(format!("  {title}"));
            lines.extend(log.iter().skip(log.len().saturating_sub(limit)).map(|line| format!("  | {line}")));
        }
    }
}

fn more(lines: &mut Vec<String>, what: &str, total: usize, shown: usize) {
    let more = total.saturating_sub(shown);
    if more > 0 {
        lines.push(format!("  … {more} more {what}: kubectl backout why --all"));
    }
}

fn condition(condition: &Condition) -> String {
    let Condition { object, type_, status, reason, message, .. } = condition;
    let told: Vec<_> =
        [reason, message].into_iter().filter(|it| !it.is_empty()).map(String::as_str).collect();
    format!("{object}: {type_}={status} {}", told.join(": "))
}

fn event(event: &Event) -> String {
    let times = if event.count > 1 { format!(" ({} times)", event.count) } else { String::new() };
    format!("{}: {}: {}{times}", event.object, event.reason, event.message)
}

fn tell_changes(lines: &mut Vec<String>, changed: &[Change], limit: usize) {
    if changed.is_empty() {
        return;
    }
    lines.extend([String::new(), "It had changed:".to_owned()]);
    let told = changes::lines(changed);
    let total = told.len();
    lines.extend(told.into_iter().take(limit));
    more(lines, "lines", total, limit);
}
