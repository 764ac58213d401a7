//! What the webhook counts.

use std::time::Duration;

use backout_model::undo::Operation;
use backout_runtime::api::Class;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector,
};

/// Seconds. From the decision alone to the longest time a webhook may have.
const BUCKETS: [f64; 13] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// The webhook's metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    admissions: IntCounterVec,
    records: IntCounterVec,
    record_bytes: IntCounter,
    record_failures: IntCounterVec,
    latency: Histogram,
    in_flight: IntGauge,
    /// Releases in the cache that cannot be read.
    pub unreadable_releases: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            admissions: counters(registry, "admissions_total", "Admission requests, by outcome.", "outcome")?,
            records: counters(registry, "records_total", "Undo records written, by operation.", "operation")?,
            record_bytes: registered(
                registry,
                IntCounter::new(name("record_bytes_total"), "Bytes of undo records, as sent.")?,
            )?,
            record_failures: counters(
                registry,
                "record_failures_total",
                "Undo records that could not be written, by class of the error.",
                "class",
            )?,
            latency: registered(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        name("admission_seconds"),
                        "Time from a request's headers to its answer.",
                    )
                    .buckets(BUCKETS.to_vec()),
                )?,
            )?,
            in_flight: registered(
                registry,
                IntGauge::new(name("admissions_in_flight"), "Requests being decided.")?,
            )?,
            unreadable_releases: registered(
                registry,
                IntCounter::new(
                    name("unreadable_releases_total"),
                    "Releases that arrived and could not be read.",
                )?,
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
        let operation = match operation {
            Operation::Create => "create",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Scale => "scale",
        };
        self.records.with_label_values(&[operation]).inc();
        self.record_bytes.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// A record could not be made durable.
    pub fn not_recorded(&self, class: Class) {
        self.record_failures.with_label_values(&[class.metric_label()]).inc();
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

fn counters(registry: &Registry, name_: &str, help: &str, label: &str) -> prometheus::Result<IntCounterVec> {
    registered(registry, IntCounterVec::new(Opts::new(name(name_), help), &[label])?)
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
