//! Watches, event by event: a watch is a stream of JSON lines.

use std::{collections::VecDeque, fmt};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use serde_json::{Value, json};

use super::Gate;

/// Decides about each event of a watch.
pub struct Tap {
    each: Box<dyn FnMut(&Event) -> Change + Send>,
    /// When the gate is open these events come, and the watch ends.
    end: Option<(Gate, Vec<Event>)>,
}

/// One event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// ADDED, MODIFIED, DELETED, BOOKMARK or ERROR.
    pub kind: String,
    /// The object, or the `Status` of an error.
    pub object: Value,
}

/// What becomes of an event.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is passed on as it is.
    Pass,
    /// It is lost.
    Drop,
    /// Others come in its place.
    Replace(Vec<Event>),
    /// It is passed on when the gate is open; what comes after it waits, too.
    Hold(Gate),
    /// These are passed on in its place, and the watch ends.
    End(Vec<Event>),
}

impl Tap {
    /// A tap that asks this for each event.
    pub fn new(each: impl FnMut(&Event) -> Change + Send + 'static) -> Self {
        Self { each: Box::new(each), end: None }
    }

    /// When the gate is open, whether an event comes or not, the watch ends with these.
    #[must_use]
    pub fn until(mut self, gate: &Gate, events: Vec<Event>) -> Self {
        self.end = Some((gate.clone(), events));
        self
    }

    /// Passes every event on when the gate is open.
    pub fn held(gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::new(move |_| Change::Hold(gate.clone()))
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap")
    }
}

impl Event {
    /// An object's field as text, empty if there is none.
    pub fn meta(&self, field: &str) -> &str {
        self.object["metadata"][field].as_str().unwrap_or_default()
    }

    fn line(&self) -> Bytes {
        let mut line = json!({ "type": self.kind, "object": self.object }).to_string();
        line.push('\n');
        line.into()
    }
}

/// What an API server says that has forgotten the watch's resourceVersion: the client has to list again.
pub fn expired() -> Event {
    let object = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version", "reason": "Expired", "code": 410,
    });
    Event { kind: "ERROR".to_owned(), object }
}

/// A watch's body behind a tap.
pub(super) struct Tapped {
    incoming: Incoming,
    tap: Tap,
    read: Vec<u8>,
    due: VecDeque<Bytes>,
    ended: bool,
}

impl Tapped {
    pub(super) fn new(incoming: Incoming, tap: Tap) -> Self {
        Self { incoming, tap, read: Vec::new(), due: VecDeque::new(), ended: false }
    }

    /// The next bytes to pass on; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            if let Some(line) = self.due.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(end + 1);
                let line = std::mem::replace(&mut self.read, rest);
                self.decide(line.into()).await;
                continue;
            }
            let frame = tokio::select! {
                frame = self.incoming.frame() => frame,
                events = ending(self.tap.end.as_ref()) => {
                    self.end(&events);
                    continue;
                }
            };
            match frame {
                Some(Ok(frame)) => self.read.extend(frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    // An answer that is no watch may end without a newline.
                    self.ended = true;
                    self.due.push_back(std::mem::take(&mut self.read).into());
                }
            }
        }
    }

    async fn decide(&mut self, line: Bytes) {
        let Ok(mut value) = serde_json::from_slice::<Value>(&line) else {
            return self.due.push_back(line);
        };
        let kind = value["type"].as_str().unwrap_or_default().to_owned();
        let event = Event { kind, object: value["object"].take() };
        match (self.tap.each)(&event) {
            Change::Pass => self.due.push_back(line),
            Change::Drop => {}
            Change::Replace(events) => self.due.extend(events.iter().map(Event::line)),
            Change::Hold(gate) => {
                gate.passed().await;
                self.due.push_back(line);
            }
            Change::End(events) => self.end(&events),
        }
    }

    fn end(&mut self, events: &[Event]) {
        self.due.extend(events.iter().map(Event::line));
        self.ended = true;
    }
}

/// The last events of a watch, when it is time for them.
async fn ending(end: Option<&(Gate, Vec<Event>)>) -> Vec<Event> {
    match end {
        Some((gate, events)) => {
            gate.passed().await;
            events.clone()
        }
        None => std::future::pending().await,
    }
}
