//! What is noted of the records, and what becomes of them.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Effect, Wake,
    observed::Spent,
    step::{Step, TICK},
};
use crate::{
    release::Phase,
    rollback::Track,
    undo::{
        Operation,
        chain::{Entry, IN_FLIGHT, Standing, Verification},
    },
};

/// At what age a record is checked against the server's history, at the latest: the apiserver compacts what is
/// older than 5 minutes (`--etcd-compaction-interval`), and the check needs time for retries.
pub const VERIFY_AFTER: Duration = Duration::from_secs(150);

impl Step<'_> {
    /// Notes what has taken effect, and looks after the records themselves: verified before the server forgets,
    /// collected when of no more use.
    pub(super) fn keep_log(&mut self) {
        let phase = self.status.phase;
        if !matches!(phase, None | Some(Phase::Healthy | Phase::RolledBack)) {
            self.status.confirmed = self.confirmed();
        }
        let seen = self.seen;
        let healthy = seen.status.healthy();
        for (track, entry, standing) in seen.log().filter(|(_, entry, _)| entry.position > healthy) {
            let due = match standing {
                _ if track.chain.disputed.contains(&entry.name) => {
                    Some((Duration::ZERO, entry.age, Effect::Verify(entry.name.clone())))
                }
                _ if entry.owner.is_none() && seen.uid.is_some() => {
                    Some((Duration::ZERO, entry.age, Effect::Adopt(entry.name.clone())))
                }
                // Kept for as long as the revision may be rolled back: people are told then.
                Standing::Aborted
                    if !entry.header.operation.leaves_pointer()
                        && matches!(entry.verified, Some(Verification::Refuted(_)))
                        && phase.is_some_and(|it| it.is_undecided() || it == Phase::RollingBack) =>
                {
                    None
                }
                Standing::Aborted => Some((IN_FLIGHT, entry.age, Effect::Collect(Spent::from(entry)))),
                Standing::Confirmed | Standing::Claimed if self.is_to_be_verified(track, entry) => {
                    // Too early does no harm: here the server's clock is believed.
                    let written = Duration::try_from(self.now.duration_since(entry.created));
                    let age = entry.age.max(written.unwrap_or_default());
                    Some((VERIFY_AFTER, age, Effect::Verify(entry.name.clone())))
                }
                Standing::Confirmed | Standing::Claimed | Standing::Pending => None,
            };
            let Some((at, age, effect)) = due else { continue };
            if age >= at {
                self.effects.push(effect);
            } else {
                self.wake = self.wake.or_after(at.saturating_sub(age));
            }
        }
        self.effects.extend(self.seen.spent.iter().cloned().map(Effect::Collect));
        // What is done is looked at: it may have come to nothing.
        if !self.effects.is_empty() {
            self.wake = self.wake.or_after(TICK);
        }
    }

    /// Whether a rollback may come to rest on it: not on what was done to an object that the release made itself.
    fn is_to_be_verified(&self, track: &Track, entry: &Entry) -> bool {
        let first = track.effective().next();
        entry.verified.is_none()
            && entry.header.operation != Operation::Create
            && first.is_some_and(|first| first.header.operation != Operation::Create)
            && !matches!(self.status.phase, Some(Phase::Healthy | Phase::RolledBack))
    }

    /// The records that took effect, as far as none of the others names them.
    pub(super) fn confirmed(&self) -> Vec<String> {
        let is_noted = |(_, entry, standing): &(&Track, &Entry, Standing)| {
            let leaves_pointer = entry.header.operation.leaves_pointer();
            *standing == Standing::Confirmed || (*standing == Standing::Claimed && !leaves_pointer)
        };
        let is_believed = |(_, entry, standing): &(&Track, &Entry, Standing)| {
            *standing == Standing::Confirmed || entry.is_verified()
        };
        let noted = || self.seen.log().filter(is_noted);
        let named: BTreeSet<_> =
            noted().filter(is_believed).filter_map(|(_, entry, _)| entry.header.undo.as_ref()).collect();
        let unnamed = noted().map(|(_, entry, _)| &entry.name).filter(|name| !named.contains(name));
        unnamed.map(ToString::to_string).collect()
    }
}

impl Wake {
    /// The sooner of both.
    pub(super) fn or_after(self, pause: Duration) -> Self {
        match self {
            Self::After(sooner) if sooner <= pause => self,
            _ => Self::After(pause),
        }
    }
}
