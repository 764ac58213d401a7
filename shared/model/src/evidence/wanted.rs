//! What is to be read for the evidence, besides what was observed anyway.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

use super::{
    Done,
    changes::{done, revised},
    containers::{self, CONTAINERS},
    suspects::Suspects,
};
use crate::{
    names::RecordName,
    protocol::Observed,
    release::Subject,
    rollback::Track,
    secrets::{SecretKey, used_by},
    undo::{Operation, Record},
};

/// How many lines of a log are shown.
pub const LOG_LINES: usize = 50;
/// How many records are read.
const RECORDS: usize = 200;
/// How many bytes of images are read: [`crate::undo::Body::weight`] of all.
pub const IMAGES: usize = 32 << 20;
/// How many Secrets are read.
const SECRETS: usize = 100;

/// The log of one instance of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogOf {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Of the instance before the one that is there.
    pub previous: bool,
}

impl fmt::Display for LogOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instance = if self.previous { "previous " } else { "" };
        write!(f, "the {instance}log of container {} of pod {}/{}", self.container, self.namespace, self.pod)
    }
}

/// What is to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The last [`LOG_LINES`] lines of these.
    pub logs: Vec<LogOf>,
    /// The Secrets that the failing pods use and that were not observed.
    pub secrets: BTreeSet<SecretKey>,
    /// The namespaces whose warning Events are to be listed.
    pub namespaces: BTreeSet<String>,
    /// The records whose images were not observed, those of Secrets first.
    pub records: Vec<RecordName>,
    /// What is not to be read because it is too much.
    pub notes: Vec<String>,
}

/// What was read, or why it could not be. What is missing could not be read in time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// The end of each log.
    pub logs: BTreeMap<LogOf, Result<String, String>>,
    /// Each Secret; nothing where there is none.
    pub secrets: BTreeMap<SecretKey, Result<Option<Value>, String>>,
    /// The warning Events by namespace.
    pub events: BTreeMap<String, Result<Vec<Value>, String>>,
    /// The records.
    pub records: BTreeMap<RecordName, Result<Record, String>>,
}

/// Says what is to be read for the evidence about a failed revision.
pub fn wanted(seen: &Observed) -> Wanted {
    let suspects = Suspects::of(seen);
    let mut notes = Vec::new();
    let reports: Vec<_> = containers::of_failing(&suspects.pods).collect();
    if suspects.more > 0 || reports.len() > CONTAINERS {
        let containers = reports.len().saturating_sub(CONTAINERS);
        notes.push(format!(
            "left out: {containers} more failing containers, {} more failing pods",
            suspects.more
        ));
    }
    let instances = reports.iter().take(CONTAINERS).flat_map(|report| {
        let instances = [(containers::has_log(report), false), (report.ended_before().is_some(), true)];
        instances
            .into_iter()
            .filter(|(is_there, _)| *is_there)
            .map(|(_, previous)| LogOf::new(report, previous))
    });
    let logs = instances.collect();
    let observed: BTreeSet<_> = seen.tracks.iter().filter_map(secret_key).collect();
    let used = suspects.pods.iter().flat_map(|pod| used_by(pod)).filter(|key| !observed.contains(key));
    let secrets = used.take(SECRETS).collect();
    let namespaces = suspects.namespaces().into_iter().map(str::to_owned).collect();
    Wanted { logs, secrets, namespaces, records: records(seen, &mut notes), notes }
}

fn records(seen: &Observed, notes: &mut Vec<String>) -> Vec<RecordName> {
    let blamed = seen.status.failure.as_ref().map(|failure| &failure.object);
    let mut tracks: Vec<_> = seen.tracks.iter().collect();
    tracks.sort_by_key(|track| (secret_key(track).is_none(), blamed != Some(&Subject::from(&track.object))));
    let unread = |name: &&RecordName| seen.proofs.get(*name).is_none_or(|proof| proof.record().is_none());
    // What was made or deleted is told as such, and a scale says in its header what it changed. A value of a Secret may be
    // anywhere.
    let is_telling = |track: &&&Track| {
        secret_key(track).is_some() || matches!(done(seen, track), Some(Done::Changed | Done::Replaced))
    };
    let all = tracks.iter().filter(is_telling).flat_map(|track| revised(seen, track));
    let all = all.filter(|entry| entry.header.operation != Operation::Scale).map(|entry| &entry.name);
    let mut records: Vec<_> = all.filter(unread).cloned().collect();
    if records.len() > RECORDS {
        notes.push(format!("left out: what {} more records changed", records.len() - RECORDS));
        records.truncate(RECORDS);
    }
    records
}

/// The Secret that a track is about.
pub(super) fn secret_key(track: &Track) -> Option<SecretKey> {
    let key = &track.object.key;
    let is_secret = key.group.is_empty() && key.resource == "secrets";
    is_secret.then(|| (key.namespace.clone().unwrap_or_default(), key.name.clone()))
}
