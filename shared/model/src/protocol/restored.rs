//! After a rollback: the restored objects are watched until they are ready again, and never undone again.

use jiff::SignedDuration;

use super::{
    Wake,
    step::{Step, TICK, signed},
};
use crate::health;

/// Reports how many of the restored objects are ready. Their records tell which these are: they go once all are ready,
/// or have had the time for it, or the next revision is there.
pub(super) fn watch(step: &mut Step<'_>, next_is_there: bool) {
    if next_is_there {
        step.close_interval();
        return;
    }
    let judgement = health::judge(&step.seen.restored_scene(), &step.seen.sightings, step.now);
    if judgement.total > 0 {
        step.status.ready = format!("{}/{}", judgement.ready, judgement.total);
    }
    if judgement.ready == judgement.total || restored_for(step) >= signed(step.seen.policy.deadline) {
        step.close_interval();
    } else {
        step.wake = Wake::After(TICK);
    }
    step.judgement = Some(judgement);
}

fn restored_for(step: &Step<'_>) -> SignedDuration {
    let ended = step.status.history.first().and_then(|past| past.ended_at.as_ref());
    ended.map_or(SignedDuration::MAX, |ended| step.now.duration_since(ended.0))
}
