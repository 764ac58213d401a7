//! The judgement, and the clocks that stand still while nothing can be observed.

use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    observed::Watched,
    step::{Step, signed},
};
use crate::{
    health::{self, Verdict},
    release::{Phase, ReleaseStatus},
};

/// An observation this much later than the one before counts as a time in which nothing was observed.
pub const BLIND_AFTER: Duration = Duration::from_secs(30);

/// A watcher that has just started watches for at least this long before a deadline passes.
const FIRST_WATCH: Duration = Duration::from_mins(1);

impl Step<'_> {
    /// Judges the objects, and lets the clocks stand still over a time in which they could not be observed.
    pub(super) fn judge(&mut self, soaking: bool) -> Verdict {
        let gap = self.seen.since_last.filter(|gap| *gap > BLIND_AFTER);
        let mut sightings = self.seen.sightings.clone();
        if let Some(gap) = gap {
            sightings.stand_still(gap);
        }
        if self.status.phase == Some(Phase::Open) {
            sightings.begin_anew();
        }
        let judgement = health::judge(&self.seen.scene(soaking, self.now), &sightings, self.now);
        self.status.ready = format!("{}/{}", judgement.ready, judgement.total);
        let verdict = judgement.verdict.clone();
        self.judgement = Some(judgement);
        let blind = self.status.undecided_since.as_ref().map(|since| self.now.duration_since(since.0));
        match (matches!(verdict, Verdict::Undecided { .. }), blind) {
            (false, Some(blind)) => {
                self.status.undecided_since = None;
                self.stand_still(blind);
            }
            (undecided, None) => {
                self.status.undecided_since = undecided.then_some(Time(self.now));
                self.stand_still(signed(gap.unwrap_or_default()));
            }
            (true, Some(_)) => {}
        }
        if self.seen.since_last.is_none() {
            self.start();
        }
        verdict
    }

    /// Nothing is known of the time before a start: what must be watched is watched anew.
    fn start(&mut self) {
        self.status.ready_since = None;
        self.status.unready_since = self.status.unready_since.take().map(|_| Time(self.now));
        let deadline = self.seen.policy.deadline.saturating_sub(FIRST_WATCH);
        self.stand_still(self.sealed_for() - signed(deadline));
    }

    fn stand_still(&mut self, time: SignedDuration) {
        let seconds = u64::try_from(time.as_secs()).unwrap_or(0);
        let seconds = seconds + u64::from(time.subsec_nanos() > 0);
        self.status.frozen_seconds += seconds;
        let status = &mut self.status;
        for since in [&mut status.ready_since, &mut status.unready_since].into_iter().flatten() {
            since.0 += SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        }
    }

    /// Tells when the health window ends, one way or the other.
    pub(super) fn tell_window(&mut self) {
        let after = |since: &Option<Time>, time: Duration, frozen: u64| {
            let time = signed(time) + signed(Duration::from_secs(frozen));
            since.as_ref().and_then(|since| Some(Time(since.0.checked_add(time).ok()?)))
        };
        let ReleaseStatus { sealed_at, ready_since, frozen_seconds, .. } = &self.status;
        let policy = &self.seen.policy;
        (self.status.deadline_at, self.status.soaked_at) = match self.status.phase {
            Some(Phase::Progressing) => (after(sealed_at, policy.deadline, *frozen_seconds), None),
            Some(Phase::Soaking) => (None, after(ready_since, policy.soak, 0)),
            _ => (None, None),
        };
    }

    /// How long the revision has been observed since it was cut.
    pub(super) fn sealed_for(&self) -> SignedDuration {
        let sealed = self.status.sealed_at.as_ref().map_or(self.now, |at| at.0);
        let told = self.now.duration_since(sealed) - signed(Duration::from_secs(self.status.frozen_seconds));
        Watched::at_most(told, self.seen.watched.sealed)
    }
}
