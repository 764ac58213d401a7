//! The warnings about the object to blame, its ReplicaSets and its pods.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    Event,
    redact::Redactor,
    suspects::{Suspects, text_at},
    wanted::Findings,
};
use crate::protocol::Observed;

/// How many are shown.
const EVENTS: usize = 30;
/// Who writes Backout's own Events.
const OURS: &str = "backout-watcher";

/// The warnings since the revision opened, the newest first.
pub(super) fn warnings(
    seen: &Observed,
    suspects: &Suspects<'_>,
    found: &Findings,
    secrets: &Redactor,
    notes: &mut Vec<String>,
) -> Vec<Event> {
    for namespace in suspects.namespaces() {
        match found.events.get(namespace) {
            Some(Ok(_)) => {}
            Some(Err(why)) => notes.push(format!("the Events of {namespace} could not be had: {why}")),
            None => notes.push(format!("the Events of {namespace} could not be had in time")),
        }
    }
    let concerned = suspects.concerned();
    // Times of Events have whole seconds.
    let opened = seen.status.opened_at.as_ref().map(|at| at.0 - SignedDuration::from_secs(1));
    let mut events: Vec<_> = found
        .events
        .values()
        .filter_map(|listed| listed.as_ref().ok())
        .flatten()
        .filter(|event| event["type"] == "Warning" && !is_ours(event))
        .filter(|event| concerned.contains(text_at(event, "/involvedObject/uid").as_str()))
        .map(|event| (last(event), event))
        .filter(|(last, _)| opened.is_none_or(|opened| last.is_none_or(|last| last >= opened)))
        .collect();
    events.sort_by_key(|(last, _)| std::cmp::Reverse(*last));
    if events.len() > EVENTS {
        notes.push(format!("{} older warnings are left out", events.len() - EVENTS));
    }
    events.into_iter().take(EVENTS).map(|(last, event)| tell(event, last, secrets)).collect()
}

fn is_ours(event: &Value) -> bool {
    ["/reportingComponent", "/source/component"].iter().any(|field| text_at(event, field) == OURS)
}

fn last(event: &Value) -> Option<Timestamp> {
    let fields = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    fields.iter().find_map(|field| event.pointer(field)?.as_str()?.parse().ok())
}

fn tell(event: &Value, last: Option<Timestamp>, secrets: &Redactor) -> Event {
    let count = ["/series/count", "/count"].iter().find_map(|field| event.pointer(field)?.as_u64());
    let about = |field| text_at(event, &format!("/involvedObject/{field}"));
    Event {
        object: format!("{} {}/{}", about("kind"), about("namespace"), about("name")),
        type_: text_at(event, "/type"),
        reason: text_at(event, "/reason"),
        message: secrets.whole(&text_at(event, "/message")),
        count: count.unwrap_or(1),
        last: last.map(|last| last.to_string()).unwrap_or_default(),
    }
}
