//! What the watcher counts.

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// The watcher's metrics. Label values are words of the code, never of the cluster.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// Phases entered.
    pub(crate) phases: IntCounterVec,
    /// Restoring writes, by verb and outcome.
    pub(crate) restores: IntCounterVec,
    /// Exact-revision checks, by outcome.
    pub(crate) verifications: IntCounterVec,
    /// Records collected, by outcome.
    pub(crate) collected: IntCounterVec,
    /// 1 while this watcher works, 0 while another one does.
    pub(crate) leader: IntGauge,
    /// What is kept of healthy revisions, in bytes, as of the last count.
    pub(crate) kept_bytes: IntGauge,
    /// Evidence that was gathered, by outcome.
    pub(crate) evidence: IntCounterVec,
    /// When the webhook's certificate and its authority end, as they are in use.
    pub(crate) certificate_expiry: IntGaugeVec,
    /// Looks at a release that ended with an error, by its class.
    pub(crate) errors: IntCounterVec,
    /// Time of one look at a release, with what was decided and done.
    pub(crate) reconcile_seconds: Histogram,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        let seconds = Histogram::with_opts(
            HistogramOpts::new("backout_watcher_reconcile_seconds", "Time of one look at a release.")
                .buckets(vec![0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]),
        )?;
        registry.register(Box::new(seconds.clone()))?;
        let kept = IntGauge::new("backout_history_bytes", "Size of what is kept of healthy revisions.")?;
        registry.register(Box::new(kept.clone()))?;
        let leader =
            IntGauge::new("backout_watcher_leader", "1 while this watcher works, 0 while another one does.")?;
        registry.register(Box::new(leader.clone()))?;
        let expiry = IntGaugeVec::new(
            Opts::new("backout_certificate_expiry_timestamp_seconds", "When the webhook's certificates end."),
            &["certificate"],
        )?;
        registry.register(Box::new(expiry.clone()))?;
        Ok(Self {
            leader,
            certificate_expiry: expiry,
            kept_bytes: kept,
            phases: counter("backout_release_phases_total", "Phases that revisions entered.", &["phase"])?,
            restores: counter("backout_restores_total", "Restoring writes.", &["verb", "outcome"])?,
            verifications: counter(
                "backout_verifications_total",
                "Before-images compared with the server's own history.",
                &["outcome"],
            )?,
            collected: counter("backout_records_collected_total", "Undo records deleted.", &["outcome"])?,
            evidence: counter("backout_evidence_total", "Evidence about failed revisions.", &["outcome"])?,
            errors: counter("backout_reconcile_errors_total", "Looks at a release that failed.", &["class"])?,
            reconcile_seconds: seconds,
        })
    }
}
