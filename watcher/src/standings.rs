//! Where all releases stand, as they were last looked at: for the metrics alone.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use backout_model::{
    names::ReleaseKey,
    object::Position,
    release::{Phase, ReleaseStatus},
};

use crate::metrics::Metrics;

/// A word about each release.
#[derive(Default)]
pub(crate) struct Standings(Mutex<HashMap<ReleaseKey, Standing>>);

struct Standing {
    phase: Option<Phase>,
    is_stalled: bool,
    judged: Position,
}

/// A record as it is counted: of which release, where in the log, and when it was created, in seconds.
pub(crate) type Counted<'a> = (&'a ReleaseKey, Position, i64);

impl Standings {
    /// Notes what is stored of a release.
    pub(crate) fn note(&self, key: &ReleaseKey, status: &ReleaseStatus) {
        let standing =
            Standing { phase: status.phase, is_stalled: status.is_stalled(), judged: status.judged() };
        self.lock().insert(key.clone(), standing);
    }

    /// Forgets the releases that do not exist any more.
    pub(crate) fn retain(&self, exists: impl Fn(&ReleaseKey) -> bool) {
        self.lock().retain(|key, _| exists(key));
    }

    /// Counts the releases and what is in the log.
    pub(crate) fn count(&self, log: &[Counted<'_>], metrics: &Metrics) {
        let standings = self.lock();
        for phase in Phase::ALL {
            let count = standings.values().filter(|standing| standing.phase == Some(phase)).count();
            metrics.releases.with_label_values(&[phase.as_str()]).set(number(count));
        }
        metrics.stalled.set(number(standings.values().filter(|standing| standing.is_stalled).count()));
        metrics.log_records.set(number(log.len()));
        // Of a release that was never looked at nothing is known: another watcher may have.
        let is_undecided = |(key, position, _): &&Counted<'_>| {
            standings.get(key).is_some_and(|standing| *position > standing.judged)
        };
        let undecided = log.iter().filter(is_undecided);
        metrics.oldest_undecided.set(undecided.map(|(.., created)| *created).min().unwrap_or_default());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ReleaseKey, Standing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use backout_model::{names::ReleaseName, release::condition};
    use jiff::Timestamp;
    use prometheus::Registry;

    use super::*;

    fn key(name: &str) -> ReleaseKey {
        ReleaseKey::new("shop", ReleaseName::from_mark(name).unwrap())
    }

    fn status(phase: Phase, healthy: &str, sealed: Option<&str>) -> ReleaseStatus {
        ReleaseStatus {
            phase: Some(phase),
            healthy_position: Some(healthy.to_owned()),
            sealed_position: sealed.map(str::to_owned),
            ..ReleaseStatus::default()
        }
    }

    #[test]
    fn each_release_is_counted_in_its_phase_until_it_is_gone() {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let standings = Standings::default();
        let releases = |phase: &str| metrics.releases.with_label_values(&[phase]).get();
        standings.note(&key("a"), &status(Phase::Open, "1", None));
        standings.note(&key("b"), &status(Phase::Open, "1", None));
        standings.note(&key("b"), &status(Phase::Held, "1", Some("2")));
        standings.count(&[], &metrics);
        assert_eq!((releases("Open"), releases("Held"), releases("Healthy")), (1, 1, 0));
        standings.retain(|key| key.name.as_str() == "a");
        standings.count(&[], &metrics);
        assert_eq!((releases("Open"), releases("Held")), (1, 0));
    }

    #[test]
    fn a_rollback_that_is_held_up_is_counted_as_stalled() {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let standings = Standings::default();
        let mut stalled = status(Phase::RollingBack, "1", Some("2"));
        let set = |status: &mut ReleaseStatus, is| {
            condition(&mut status.conditions, "Stalled", is, "RollingBack", "", None, Timestamp::UNIX_EPOCH);
        };
        for (is, counted) in [(false, 0), (true, 1)] {
            set(&mut stalled, is);
            standings.note(&key("a"), &stalled);
            standings.count(&[], &metrics);
            assert_eq!(metrics.stalled.get(), counted);
        }
    }

    #[test]
    fn the_oldest_undecided_record_is_one_on_which_no_verdict_has_fallen() {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let standings = Standings::default();
        let [held, open, unknown] = ["held", "open", "unknown"].map(key);
        let log = [(&held, 5, 100), (&held, 9, 200), (&open, 6, 150), (&unknown, 7, 50)]
            .map(|(key, position, created)| (key, Position(position), created));
        standings.note(&key("held"), &status(Phase::Held, "1", Some("8")));
        standings.note(&key("open"), &status(Phase::Progressing, "1", Some("8")));
        standings.count(&log, &metrics);
        assert_eq!((metrics.log_records.get(), metrics.oldest_undecided.get()), (4, 150));
        standings.note(&key("open"), &status(Phase::Healthy, "8", Some("8")));
        standings.count(&log, &metrics);
        assert_eq!(metrics.oldest_undecided.get(), 200);
        standings.count(&[], &metrics);
        assert_eq!((metrics.log_records.get(), metrics.oldest_undecided.get()), (0, 0));
    }
}
