//! The evidence is secured first: a rollback destroys the scene of the crime.

use std::time::Duration;

use jiff::SignedDuration;

use super::{Effect, Wake, report, step::Step};
use crate::release::Phase;

/// For how long a rollback waits for watchers that die over it.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

impl Step<'_> {
    /// Has the evidence about a failed revision gathered if that was not tried, and says whether it is still to come.
    /// Where it came to nothing the status says why, and all goes on without it: about a failure it is gathered but once, for
    /// later there is something else to see. A revision that is judged again may fail again, of something else.
    pub(super) fn secures_evidence(&mut self) -> bool {
        let has_failed =
            matches!(self.status.phase, Some(Phase::RollingBack | Phase::Held | Phase::Notified));
        let is_over = self.status.evidence.is_some() || self.status.evidence_missing.is_some();
        if !has_failed || is_over || self.status.failure.is_none() {
            return false;
        }
        match &self.seen.evidence {
            None if self.is_too_late() => {
                let why = format!("no watcher has secured it within {} s", PATIENCE.as_secs());
                self.status.evidence_missing = Some(why);
            }
            None => {
                self.effects.push(Effect::Evidence);
                self.wake = Wake::After(Duration::ZERO);
                return true;
            }
            Some(Ok(secret)) => {
                self.status.evidence = Some(secret.clone());
                let revision = self.status.revision;
                if let Some(past) = self.status.history.iter_mut().find(|past| past.revision == revision) {
                    past.evidence = Some(secret.clone());
                }
            }
            Some(Err(why)) => {
                self.status.evidence_missing = Some(report::short(why.clone()));
            }
        }
        self.choose_aside();
        false
    }

    fn is_too_late(&self) -> bool {
        let decided = self.status.decided_at.as_ref().map(|at| self.now.duration_since(at.0));
        self.status.phase == Some(Phase::RollingBack) && decided.is_some_and(|since| since >= PATIENCE)
    }
}
