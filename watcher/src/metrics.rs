//! What the watcher counts.

use backout_model::{health::reasons, protocol::Milestone, release::Phase, undo::chain::Verification};
use backout_runtime::{
    api::{self, ApiError, Class},
    metrics::{counter, counters, gauge, gauges, histogram},
};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};

use crate::reconcile;

/// The watcher's metrics. Label values are words of the code, never of the cluster.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// Phases entered.
    pub(crate) phases: IntCounterVec,
    verdicts: IntCounterVec,
    rollbacks: IntCounter,
    rollback_seconds: HistogramVec,
    unrestored: IntCounter,
    unrecorded: IntCounter,
    /// How many Releases are in each phase.
    pub(crate) releases: IntGaugeVec,
    /// Releases whose rollback does not get on.
    pub(crate) stalled: IntGauge,
    status_writes: IntCounterVec,
    /// Restoring writes, by verb and outcome.
    pub(crate) restores: IntCounterVec,
    verifications: IntCounterVec,
    /// From a record's creation until it was first looked at.
    pub(crate) lag: Histogram,
    /// Records in the log.
    pub(crate) log_records: IntGauge,
    /// When the oldest record was created on which no verdict has fallen.
    pub(crate) oldest_undecided: IntGauge,
    collected: IntCounterVec,
    captures: IntCounterVec,
    /// 1 while this watcher works, 0 while another one does.
    pub(crate) leader: IntGauge,
    /// When the webhook's certificate and its authority end, as they are in use.
    pub(crate) certificate_expiry: IntGaugeVec,
    /// What is kept of healthy revisions, in bytes, as of the last count.
    pub(crate) kept_bytes: IntGauge,
    packs: IntCounterVec,
    evidence: IntCounterVec,
    events: IntCounterVec,
    watches: IntCounterVec,
    /// Looks at a release that ended with an error, by its class.
    pub(crate) errors: IntCounterVec,
    /// Time of one look at a release, with what was decided and done.
    pub(crate) reconcile_seconds: Histogram,
}

/// From an undo of one object to one that is held up for hours.
const ROLLBACK_BUCKETS: [f64; 10] = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];
/// The server tells when a record was created to the second.
const LAG_BUCKETS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];
const LOOK_BUCKETS: [f64; 7] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];
const MADE: [&str; 2] = ["ok", "failed"];

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let many =
            |name: &str, help: &str, labels: &[(&str, &[&str])]| counters(registry, name, help, labels);
        let one = |name: &str, help: &str| gauge(registry, name, help);
        let tally = |name: &str, help: &str| counter(registry, name, help);
        let outcomes = api::outcomes();
        let restored: Vec<_> = outcomes.iter().copied().chain(["ignored"]).collect();
        let errors: Vec<_> =
            Class::ALL.map(Class::metric_label).into_iter().chain([reconcile::NAME]).collect();
        let phases = Phase::ALL.map(Phase::as_str);
        Ok(Self {
            phases: many(
                "backout_release_phases_total",
                "Phases that revisions entered.",
                &[("phase", &phases)],
            )?,
            verdicts: verdicts(registry)?,
            rollbacks: tally("backout_rollbacks_started_total", "Rollbacks that began.")?,
            rollback_seconds: rollback_seconds(registry)?,
            unrestored: tally(
                "backout_unrestored_objects_total",
                "Objects that were listed as not restored when a rollback ended.",
            )?,
            unrecorded: tally(
                "backout_unrecorded_objects_total",
                "Objects that deployers wrote past the webhook, as found at the end of a revision.",
            )?,
            releases: gauges(
                registry,
                "backout_releases",
                "Releases by the phase of their last revision, as they were last looked at.",
                &[("phase", &phases)],
            )?,
            stalled: one("backout_releases_stalled", "Releases whose rollback does not get on for now.")?,
            status_writes: many(
                "backout_status_writes_total",
                "Decisions stored in the status of a Release, by outcome; a conflict is decided anew.",
                &[("outcome", &outcomes)],
            )?,
            restores: many(
                "backout_restores_total",
                "Restoring writes, by verb and outcome.",
                &[("verb", &["create", "update", "own", "delete"]), ("outcome", &restored)],
            )?,
            verifications: many(
                "backout_verifications_total",
                "Before-images compared with the server's own history.",
                &[("outcome", &Verification::LABELS)],
            )?,
            lag: histogram(
                registry,
                "backout_record_lag_seconds",
                "Time from the creation of an undo record until it was first looked at.",
                &LAG_BUCKETS,
            )?,
            log_records: one("backout_log_records", "Undo records in the log.")?,
            oldest_undecided: one(
                "backout_log_oldest_undecided_record_timestamp_seconds",
                "When the oldest undo record was created on which no verdict has fallen; 0 if there is none.",
            )?,
            collected: many(
                "backout_records_collected_total",
                "Undo records deleted, by outcome.",
                &[("outcome", &outcomes)],
            )?,
            captures: many(
                "backout_captures_total",
                "Writes to admission configurations, which no webhook sees, that were to be recorded.",
                &[("outcome", &MADE)],
            )?,
            leader: one("backout_watcher_leader", "1 while this watcher works, 0 while another one does.")?,
            certificate_expiry: certificate_expiry(registry)?,
            kept_bytes: one("backout_history_bytes", "Size of what is kept of healthy revisions.")?,
            packs: many(
                "backout_packs_total",
                "Healthy revisions that were to be kept for a way back.",
                &[("outcome", &MADE)],
            )?,
            evidence: many(
                "backout_evidence_total",
                "Evidence about failed revisions.",
                &[("outcome", &["ok", "missing"])],
            )?,
            events: many("backout_events_total", "Events published.", &[("outcome", &MADE)])?,
            watches: many(
                "backout_watch_interruptions_total",
                "Times that a watch broke off; it goes on from where it was.",
                &[("watch", &Watch::ALL.map(Watch::metric_label))],
            )?,
            errors: many(
                "backout_reconcile_errors_total",
                "Looks at a release that failed, by class of the error.",
                &[("class", &errors)],
            )?,
            reconcile_seconds: histogram(
                registry,
                "backout_watcher_reconcile_seconds",
                "Time of one look at a release.",
                &LOOK_BUCKETS,
            )?,
        })
    }

    /// A decision is stored that means this.
    pub(crate) fn reached(&self, milestone: Milestone) {
        match milestone {
            Milestone::Healthy => self.verdicts.with_label_values(&["healthy", NO_REASON]).inc(),
            Milestone::Failed(reason) => self.verdicts.with_label_values(&["failed", reason]).inc(),
            Milestone::Unrecorded(objects) => {
                self.unrecorded.inc_by(u64::try_from(objects).unwrap_or(u64::MAX));
            }
            Milestone::RollbackBegan => self.rollbacks.inc(),
            Milestone::RollbackEnded { phase, took, unrestored } => {
                self.rollback_seconds.with_label_values(&[phase.as_str()]).observe(took.as_secs_f64());
                self.unrestored.inc_by(u64::try_from(unrestored).unwrap_or(u64::MAX));
            }
        }
    }

    /// A status was to be stored.
    pub(crate) fn stored<T>(&self, outcome: &Result<T, ApiError>) {
        self.status_writes.with_label_values(&[label(outcome)]).inc();
    }

    /// A record was to be deleted.
    pub(crate) fn collected<T>(&self, outcome: &Result<T, ApiError>) {
        self.collected.with_label_values(&[label(outcome)]).inc();
    }

    /// A before-image was compared.
    pub(crate) fn verified(&self, outcome: &Verification) {
        self.verifications.with_label_values(&[outcome.metric_label()]).inc();
    }

    /// A write to an admission configuration was to be recorded.
    pub(crate) fn captured(&self, is_made: bool) {
        self.captures.with_label_values(&[made(is_made)]).inc();
    }

    /// A healthy revision was to be kept.
    pub(crate) fn packed(&self, is_made: bool) {
        self.packs.with_label_values(&[made(is_made)]).inc();
    }

    /// Evidence was to be stored.
    pub(crate) fn secured(&self, is_stored: bool) {
        self.evidence.with_label_values(&[if is_stored { "ok" } else { "missing" }]).inc();
    }

    /// An Event was to be published.
    pub(crate) fn told(&self, is_made: bool) {
        self.events.with_label_values(&[made(is_made)]).inc();
    }

    /// A watch broke off.
    pub(crate) fn interrupted(&self, watch: Watch) {
        self.watches.with_label_values(&[watch.metric_label()]).inc();
    }
}

/// What is followed all the time.
#[derive(Clone, Copy)]
pub(crate) enum Watch {
    Releases,
    Records,
    Namespaces,
    AdmissionConfigurations,
    Certificates,
}

impl Watch {
    const ALL: [Self; 5] =
        [Self::Releases, Self::Records, Self::Namespaces, Self::AdmissionConfigurations, Self::Certificates];

    /// A bounded value for a metric's label.
    pub(crate) fn metric_label(self) -> &'static str {
        match self {
            Self::Releases => "releases",
            Self::Records => "records",
            Self::Namespaces => "namespaces",
            Self::AdmissionConfigurations => "admission_configurations",
            Self::Certificates => "certificates",
        }
    }
}

/// The outcome of a call, as a metric's label.
pub(crate) fn label<T>(outcome: &Result<T, ApiError>) -> &'static str {
    outcome.as_ref().map_or_else(|error| error.class.metric_label(), |_| api::OK)
}

fn made(is_made: bool) -> &'static str {
    if is_made { "ok" } else { "failed" }
}

/// The reason of a verdict that needs none.
const NO_REASON: &str = "None";

fn verdicts(registry: &Registry) -> prometheus::Result<IntCounterVec> {
    let help = "Verdicts, with the reason of those that failed.";
    // Not each verdict with each reason.
    let verdicts = counters(registry, "backout_verdicts_total", help, &[("verdict", &[]), ("reason", &[])])?;
    verdicts.with_label_values(&["healthy", NO_REASON]).inc_by(0);
    for reason in reasons::ALL.iter().chain([&reasons::OTHER]) {
        verdicts.with_label_values(&["failed", reason]).inc_by(0);
    }
    Ok(verdicts)
}

/// Without a series for what is not known: 0 would have ended long ago.
fn certificate_expiry(registry: &Registry) -> prometheus::Result<IntGaugeVec> {
    let name = "backout_certificate_expiry_timestamp_seconds";
    gauges(registry, name, "When the webhook's certificates end.", &[("certificate", &[])])
}

fn rollback_seconds(registry: &Registry) -> prometheus::Result<HistogramVec> {
    let help = "Time from a verdict to the end of the rollback, by how it ended.";
    let options = HistogramOpts::new("backout_rollback_seconds", help).buckets(ROLLBACK_BUCKETS.to_vec());
    let seconds = HistogramVec::new(options, &["outcome"])?;
    registry.register(Box::new(seconds.clone()))?;
    for phase in [Phase::RolledBack, Phase::Held, Phase::Notified] {
        seconds.with_label_values(&[phase.as_str()]);
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_milestone_is_counted_where_it_belongs() {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let verdicts = |verdict, reason| metrics.verdicts.with_label_values(&[verdict, reason]).get();
        metrics.reached(Milestone::Healthy);
        metrics.reached(Milestone::Failed(reasons::CRASH_LOOP));
        assert_eq!((verdicts("healthy", "None"), verdicts("failed", "CrashLoop")), (1, 1));
        assert_eq!((verdicts("failed", "Other"), metrics.rollbacks.get()), (0, 0));
        metrics.reached(Milestone::RollbackBegan);
        let took = Duration::from_secs(3);
        metrics.reached(Milestone::RollbackEnded { phase: Phase::RolledBack, took, unrestored: 2 });
        let ended = metrics.rollback_seconds.with_label_values(&["RolledBack"]);
        assert_eq!((metrics.rollbacks.get(), metrics.unrestored.get(), ended.get_sample_count()), (1, 2, 1));
        assert!((ended.get_sample_sum() - 3.0).abs() < f64::EPSILON);
    }
}
