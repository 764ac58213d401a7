//! What the webhook counts.

use std::time::Duration;

use backout_model::{admission::Pass, undo::Operation};
use backout_runtime::{
    api::Class,
    metrics::{counter, counters, gauge, histogram},
};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Registry};

/// Seconds. From the decision alone to the longest time a webhook may have.
const BUCKETS: [f64; 13] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// How a request came out that did not pass unrecorded.
pub(crate) mod outcome {
    /// Allowed, and recorded.
    pub(crate) const RECORDED: &str = "recorded";
    /// Refused: the client's transaction was aborted.
    pub(crate) const FENCED: &str = "fenced";
    /// Not answered: it could not be recorded, or what the answer hangs on could not be asked.
    pub(crate) const FAILED: &str = "failed";
    /// Not answered: too much was under way.
    pub(crate) const OVERLOAD: &str = "overload";
    /// No request that could be answered.
    pub(crate) const INVALID: &str = "invalid";
    /// Its body is larger than any the API server sends.
    pub(crate) const TOO_LARGE: &str = "too_large";
    /// Its body did not arrive in time.
    pub(crate) const SLOW: &str = "slow";

    /// All of them.
    pub(super) const ALL: [&str; 7] = [RECORDED, FENCED, FAILED, OVERLOAD, INVALID, TOO_LARGE, SLOW];
}

/// The webhook's metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    admissions: IntCounterVec,
    records: IntCounterVec,
    record_bytes: IntCounter,
    record_failures: IntCounterVec,
    joins: IntCounterVec,
    latency: Histogram,
    in_flight: IntGauge,
    /// Releases in the cache that cannot be read.
    pub unreadable_releases: IntCounter,
    /// Times that the watch of releases broke off.
    pub watch_interruptions: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let outcomes: Vec<_> = outcome::ALL.into_iter().chain(Pass::ALL.map(Pass::metric_label)).collect();
        let many = |name_: &str, help: &str, label, values: &[&str]| {
            counters(registry, &name(name_), help, &[(label, values)])
        };
        let one = |name_: &str, help: &str| counter(registry, &name(name_), help);
        let operations = OPERATIONS.map(label);
        let classes = Class::ALL.map(Class::metric_label);
        Ok(Self {
            admissions: many("admissions_total", "Admission requests, by outcome.", "outcome", &outcomes)?,
            records: many("records_total", "Undo records written, by operation.", "operation", &operations)?,
            record_bytes: one("record_bytes_total", "Bytes of undo records, as sent.")?,
            record_failures: many(
                "record_failures_total",
                "Undo records that could not be written, by class of the error.",
                "class",
                &classes,
            )?,
            joins: many(
                "joins_total",
                "Writes that are to be part of a release in another namespace, by whether they may.",
                "answer",
                &["granted", "denied", "failed"],
            )?,
            latency: histogram(
                registry,
                &name("admission_seconds"),
                "Time from a request's headers to its answer.",
                &BUCKETS,
            )?,
            in_flight: gauge(registry, &name("admissions_in_flight"), "Requests being decided.")?,
            unreadable_releases: one(
                "unreadable_releases_total",
                "Releases that arrived and could not be read.",
            )?,
            watch_interruptions: one(
                "watch_interruptions_total",
                "Times that the watch of releases broke off.",
            )?,
        })
    }

    /// A request is under way until this is dropped; a client that goes away drops it, too.
    pub fn under_way(&self) -> UnderWay {
        self.in_flight.inc();
        UnderWay(self.in_flight.clone())
    }

    /// A request was answered.
    pub fn answered(&self, outcome: &'static str, took: Duration) {
        self.admissions.with_label_values(&[outcome]).inc();
        self.latency.observe(took.as_secs_f64());
    }

    /// A record is durable.
    pub fn recorded(&self, operation: Operation, bytes: usize) {
        self.records.with_label_values(&[label(operation)]).inc();
        self.record_bytes.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// A record could not be made durable.
    pub fn not_recorded(&self, class: Class) {
        self.record_failures.with_label_values(&[class.metric_label()]).inc();
    }

    /// Whether a write may be part of a release in another namespace was asked.
    pub fn joined<E>(&self, asked: &Result<bool, E>) {
        let answer = match asked {
            Ok(true) => "granted",
            Ok(false) => "denied",
            Err(_) => "failed",
        };
        self.joins.with_label_values(&[answer]).inc();
    }
}

const OPERATIONS: [Operation; 4] =
    [Operation::Create, Operation::Update, Operation::Delete, Operation::Scale];

fn label(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Scale => "scale",
    }
}

/// A request between its headers and its answer.
#[derive(Debug)]
#[must_use]
pub struct UnderWay(IntGauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn name(name: &str) -> String {
    format!("backout_webhook_{name}")
}
