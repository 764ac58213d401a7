//! What was seen of a failed revision before anything was touched: a rollback destroys the scene of the crime.
//!
//! # Flow
//!
//! [`wanted`] says what is to be read besides what was observed anyway; the watcher reads what it can of it, and
//! [`evidence`] makes of both what people are shown, [`stored::secret`] a Secret of that.
//!
//! # Guarantees
//!
//! - Total: what is missing is told in the notes.
//! - At most [`LIMIT`] bytes of JSON, whatever comes in.
//! - No text of a container, a controller or a change holds a value of a Secret that the revision wrote or that a failing
//!   pod uses, as long as it has at least 6 bytes: neither in plain nor in base64, nor cut off by more than that. Where
//!   such a Secret cannot be read, what the pods that use it say is left out.

mod bound;
mod changes;
mod containers;
mod diff;
mod events;
mod redact;
pub mod stored;
mod suspects;
mod wanted;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::health::containers::Role;
pub use crate::secrets::SecretKey;
pub use bound::LIMIT;
pub use diff::{Source, diff, of_pack, source};
pub use redact::{REDACTED, Redactor};
pub use wanted::{Findings, IMAGES, LOG_LINES, LogOf, Wanted, wanted};

use self::{
    changes::Changes,
    suspects::{Suspects, named, text_at},
};
use crate::{names::ReleaseKey, protocol::Observed, release::Failure};

/// The pods of the revision that fail, those of the object to blame first and the newest of each first; only some of many.
pub(crate) fn failing_pods(seen: &Observed) -> Vec<&Value> {
    Suspects::of(seen).pods
}

/// What there was to see of a failed revision. Objects are named as people do: `Deployment shop/web`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Evidence {
    /// Namespace and name of the Release.
    pub release: String,
    /// The revision's number.
    pub revision: u64,
    /// When the verdict fell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Time>,
    /// The verdict.
    pub failure: Verdict,
    /// What the object to blame and others of the release say of themselves that is not as it should be.
    pub conditions: Vec<Condition>,
    /// The containers that fail, those that the verdict names first.
    pub containers: Vec<Container>,
    /// The warnings about the object to blame and what belongs to it, the newest first.
    pub events: Vec<Event>,
    /// What the revision had changed.
    pub changes: Vec<Change>,
    /// What could not be had, or was left out, and why.
    pub notes: Vec<String>,
}

/// Why the revision failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// The object to blame.
    pub object: String,
    /// One word, such as `ImageNotFound`.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// A condition of an object, verbatim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Whose.
    pub object: String,
    /// Such as `Available`.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// One word.
    pub reason: String,
    /// What its controller says.
    pub message: String,
    /// Since when it has its status.
    pub since: String,
}

/// A container that fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Namespace and name of its pod.
    pub pod: String,
    /// Its name.
    pub container: String,
    /// What it is to its pod.
    pub role: Role,
    /// Its image.
    pub image: String,
    /// waiting, running or terminated.
    pub state: String,
    /// Why it waits, or how it ended last, in a word.
    pub reason: String,
    /// Why it waits, in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How it ended last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// The signal that ended it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i64>,
    /// What it left as its last word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub termination_message: String,
    /// How often it was started again.
    pub restarts: u64,
    /// The last lines of the instance that is there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// The last lines of the instance before it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub previous_log: Vec<String>,
    /// What could not be had of it, or was left out, and why, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// A warning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// What it is about.
    pub object: String,
    /// Warning.
    #[serde(rename = "type")]
    pub type_: String,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// How often it happened.
    pub count: u64,
    /// When it happened last.
    pub last: String,
}

/// What the revision did to an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    /// The object.
    pub object: String,
    /// What became of it.
    pub operation: Done,
    /// What was changed in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Done {
    /// It was made.
    Created,
    /// It was changed.
    #[default]
    Changed,
    /// It was deleted.
    Deleted,
    /// It was deleted and made anew.
    Replaced,
}

/// A field that was changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Field {
    /// Where it is, such as `spec.template.spec.containers[web].image`.
    pub path: String,
    /// What it was; absent if it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is now; absent if it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Makes evidence of what was observed and what was found besides, when `wanted` had been asked for.
pub fn evidence(key: &ReleaseKey, seen: &Observed, wanted: &Wanted, found: &Findings) -> Evidence {
    let failure = seen.status.failure.clone().unwrap_or_default();
    let suspects = Suspects::of(seen);
    let mut notes = wanted.notes.clone();
    notes.extend(seen.blind.iter().map(|why| format!("pods could not be listed: {why}")));
    let changes = Changes::of(seen, found);
    let secrets = Redactor::of(seen, found, &changes);
    let mut evidence = Evidence {
        release: key.to_string(),
        revision: seen.status.revision,
        decided_at: seen.status.decided_at.clone(),
        failure: verdict(&failure, &secrets),
        conditions: conditions(&suspects, &secrets),
        containers: containers::failing(&suspects, wanted, found, &secrets),
        events: events::warnings(seen, &suspects, found, &secrets, &mut notes),
        changes: changes.tell(&secrets, &mut notes),
        notes: Vec::new(),
    };
    evidence.notes = notes.iter().map(|note| secrets.whole(note)).collect();
    evidence.bounded()
}

fn verdict(failure: &Failure, secrets: &Redactor) -> Verdict {
    Verdict {
        object: named(&failure.object),
        reason: failure.reason.clone(),
        message: secrets.whole(&failure.message),
    }
}

/// Conditions whose being True is bad news.
const BAD_NEWS: [&str; 5] = ["Degraded", "Failed", "FailureTarget", "ReplicaFailure", "Stalled"];
const CONDITIONS: usize = 40;

fn conditions(suspects: &Suspects<'_>, secrets: &Redactor) -> Vec<Condition> {
    let of_object = |(name, object): (String, &Value)| {
        let list = object.pointer("/status/conditions").and_then(Value::as_array).cloned();
        list.into_iter().flatten().filter(is_telling).map(move |condition| (name.clone(), condition))
    };
    suspects
        .objects()
        .flat_map(of_object)
        .take(CONDITIONS)
        .map(|(object, condition)| Condition {
            object,
            type_: text_at(&condition, "/type"),
            status: text_at(&condition, "/status"),
            reason: secrets.whole(&text_at(&condition, "/reason")),
            message: secrets.whole(&text_at(&condition, "/message")),
            since: text_at(&condition, "/lastTransitionTime"),
        })
        .collect()
}

fn is_telling(condition: &Value) -> bool {
    let is_true = condition["status"] == "True";
    BAD_NEWS.contains(&condition["type"].as_str().unwrap_or_default()) == is_true
}
