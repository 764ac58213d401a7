//! From ready to healthy: all objects must stay ready for a while.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    client,
    observed::Watched,
    report,
    step::{Step, signed},
};
use crate::{
    health::{self, Judgement, Verdict},
    release::{Failure, Phase},
    undo::chain::{Entry, Standing},
};

/// For how long an object may not be ready after all were.
const RECOVERY: Duration = Duration::from_mins(1);

/// What it counts when an object that was ready is not any more, or a container is restarted meanwhile: three times is
/// once too often.
const TROUBLE: u32 = 3;
/// What it counts when pods that were well are taken away and others come in their place.
const REPLACEMENT: u32 = 1;
/// How much of that a revision bears.
const BEARABLE: u32 = 8;

impl Step<'_> {
    pub(super) fn conclude(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Failed(failure) => self.fail(failure),
            Verdict::Undecided { .. } => {}
            Verdict::Ready => self.soak(),
            Verdict::Waiting { .. } => self.wait(),
        }
    }

    fn wait(&mut self) {
        let Some(judgement) = &self.judgement else { return };
        let replaced = judgement.waits.iter().all(|wait| wait.replaced);
        if self.status.phase == Some(Phase::Soaking) {
            self.status.ready_since = None;
            self.status.unready_since = Some(Time(self.now));
            self.status.unrest += if replaced { REPLACEMENT } else { TROUBLE };
            self.status.phase = Some(Phase::Progressing);
        }
        if let Some(failure) = self.overdue(judgement) {
            self.fail(failure);
        }
    }

    /// The failure of a revision that takes too long to become ready, or of which one object takes too long to become so again.
    fn overdue(&self, judgement: &Judgement) -> Option<Failure> {
        let deadline = self.seen.policy.deadline;
        let Some(since) = &self.status.unready_since else {
            let elapsed = Duration::try_from(self.sealed_for()).unwrap_or_default();
            return health::deadline_failure(judgement, deadline, elapsed);
        };
        let limit = RECOVERY.min(deadline);
        let late = judgement.waits.iter().find(|wait| !wait.replaced && wait.lost_for >= limit);
        let is_over = self.now.duration_since(since.0) >= signed(deadline) || self.status.unrest > BEARABLE;
        let wait = late.or_else(|| judgement.waits.first().filter(|_| is_over))?;
        Some(report::unsteady(&wait.object, &wait.message, &wait.evidence))
    }

    fn soak(&mut self) {
        let crashed = self.judgement.as_ref().and_then(|judgement| judgement.crashed.clone());
        if let Some((object, evidence)) = crashed.filter(|_| self.status.phase == Some(Phase::Soaking)) {
            self.status.ready_since = None;
            self.status.unrest += TROUBLE;
            if self.status.unrest > BEARABLE {
                let message = "its containers are restarted again and again";
                return self.fail(report::unsteady(&object, message, &evidence));
            }
        }
        self.status.unready_since = None;
        let since = self.status.ready_since.clone().map_or_else(|| round_up(self.now), |since| since.0);
        self.status.ready_since = Some(Time(since));
        let is_open = |(_, entry, standing): (&_, &Entry, _)| {
            standing == Standing::Pending && entry.position <= self.seen.cut()
        };
        let soaked = Watched::at_most(self.now.duration_since(since), self.seen.watched.ready);
        if soaked >= signed(self.seen.policy.soak)
            && !self.seen.log().any(is_open)
            && !self.is_client_at_work()
        {
            self.commit();
        } else if self.status.phase != Some(Phase::Soaking) {
            self.enter(Phase::Soaking);
        }
    }

    /// Whether a client is in the middle of what would be committed: its transaction is of an earlier revision, which was
    /// held.
    fn is_client_at_work(&self) -> bool {
        let waiting = client::waiting(&self.seen.tracks);
        waiting.is_some_and(|client| client.silent_for < self.seen.policy.deadline)
    }
}

/// Stored times have whole seconds: rounding up keeps the soak from being cut short.
fn round_up(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second() + 1).unwrap_or(now)
}
