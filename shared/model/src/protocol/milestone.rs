//! What a decision means to those who count and read logs.

use std::time::Duration;

use super::Observed;
use crate::{
    health::reasons,
    object::Position,
    release::{Phase, ReleaseStatus},
    undo::chain::{Entry, Standing},
};

/// Something that a revision reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// The verdict: it is healthy.
    Healthy,
    /// The verdict: it failed, for one of [`reasons::ALL`].
    Failed(&'static str),
    /// So many of its objects were found to have been written without a record.
    Unrecorded(usize),
    /// Its rollback began.
    RollbackBegan,
    /// Its rollback came to an end.
    RollbackEnded {
        /// `RolledBack`, or where it was stopped.
        phase: Phase,
        /// Since the verdict, by the clocks of the watchers that stored the two.
        took: Duration,
        /// How many objects are listed as not restored.
        unrestored: usize,
    },
}

/// What is reached once a status gives way to the next.
pub fn milestones(before: &ReleaseStatus, after: &ReleaseStatus) -> Vec<Milestone> {
    let mut reached = Vec::new();
    let entered = |phase| after.phase == Some(phase) && before.phase != after.phase;
    let is_new = before.failure.is_none() || before.revision != after.revision;
    if let Some(failure) = after.failure.as_ref().filter(|_| is_new) {
        reached.push(Milestone::Failed(reasons::metric_label(&failure.reason)));
    }
    if entered(Phase::Healthy) {
        reached.push(Milestone::Healthy);
    }
    if before.unrecorded.is_empty() && !after.unrecorded.is_empty() {
        reached.push(Milestone::Unrecorded(after.unrecorded.len()));
    }
    if entered(Phase::RollingBack) {
        reached.push(Milestone::RollbackBegan);
    }
    let ends = [Phase::RolledBack, Phase::Held, Phase::Notified];
    if let Some(phase) = after.phase.filter(|phase| ends.contains(phase))
        && before.phase == Some(Phase::RollingBack)
    {
        let ended = after.history.first().and_then(|past| past.ended_at.as_ref());
        let took =
            ended.zip(after.decided_at.as_ref()).map(|(ended, decided)| ended.0.duration_since(decided.0));
        reached.push(Milestone::RollbackEnded {
            phase,
            took: took.and_then(|took| Duration::try_from(took).ok()).unwrap_or_default(),
            unrestored: after.unrestored.len(),
        });
    }
    reached
}

/// The writes of a revision that is being cut which the webhook took for another revision's: its cache may lag.
pub fn strays<'a>(seen: &'a Observed, after: &ReleaseStatus) -> Vec<&'a Entry> {
    let is_cut = after.sealed_position.is_some() && seen.status.sealed_position != after.sealed_position;
    let interval = after.opened()..=after.sealed().unwrap_or_default();
    let is_stray = |(entry, standing): &(&Entry, Standing)| {
        *standing != Standing::Aborted
            && interval.contains(&entry.position)
            && entry.header.revision != after.revision
    };
    let all = seen.after(after.opened()).filter(|_| is_cut).filter(is_stray);
    all.map(|(entry, _)| entry).collect()
}

/// The records that nobody has looked at before, and no revision holds yet.
pub fn newcomers(entries: &[Entry], judged: Position) -> impl Iterator<Item = &Entry> {
    entries.iter().filter(move |entry| entry.age.is_zero() && entry.position > judged)
}
