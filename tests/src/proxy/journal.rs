//! What came, and what became of it.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use http::{Method, StatusCode};

use super::{Call, locked};

/// One request in the journal.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number.
    pub number: u64,
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its query.
    pub query: String,
    /// Its verb and resource, see [`Call::kind`].
    pub kind: String,
    /// The namespace in the path, empty if there is none.
    pub namespace: String,
    /// When the rule was asked.
    pub at: Instant,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Under way still, or its client went away before there was an answer.
    Unanswered,
    /// Stopped, held back or reset: it has not reached the server.
    Stopped,
    /// The server answered this, and the client was not told.
    Swallowed(StatusCode),
    /// The server answered this, and the client was told.
    Answered(StatusCode),
    /// The proxy answered this.
    Replied(StatusCode),
    /// The server could not be reached, or gave no answer.
    Failed(String),
}

/// The journal of a proxy.
#[derive(Clone, Default)]
pub(super) struct Journal(Arc<Mutex<Vec<Entry>>>);

/// One request's place in the journal.
pub(super) struct Ticket {
    journal: Journal,
    index: usize,
}

impl Journal {
    /// Numbers a request.
    pub(super) fn open(&self, call: &mut Call) -> Ticket {
        let mut entries = locked(&self.0);
        let index = entries.len();
        call.number = index as u64 + 1;
        entries.push(Entry {
            number: call.number,
            method: call.method.clone(),
            path: call.path.clone(),
            query: call.query.clone(),
            kind: call.kind(),
            namespace: call.namespace().unwrap_or_default().to_owned(),
            at: Instant::now(),
            outcome: Outcome::Unanswered,
        });
        Ticket { journal: self.clone(), index }
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        locked(&self.0).clone()
    }
}

impl Ticket {
    pub(super) fn note(&self, outcome: Outcome) {
        if let Some(entry) = locked(&self.journal.0).get_mut(self.index) {
            entry.outcome = outcome;
        }
    }
}
