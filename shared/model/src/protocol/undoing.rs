//! A rollback under way: plan from what is there, do the next wave, look again.

use std::time::Duration;

use super::{Effect, Notice, Wake, report, step::Step};
use crate::{
    release::{Phase, Unrestored},
    rollback::{Plan, Restore, Write, plan},
};

/// How soon the next wave follows: at once, for each is planned from a fresh look.
const NEXT_WAVE: Duration = Duration::ZERO;
/// How often something is looked at that others must finish first, or that the server refuses.
const WAITING: Duration = Duration::from_secs(1);

pub(super) fn rolling_back(step: &mut Step<'_>) {
    step.wake = Wake::After(WAITING);
    if step.seen.blind.is_some() {
        return;
    }
    let plan = plan(&step.seen.interval(), &step.seen.proofs, &step.seen.pods, step.seen.options);
    step.status.unrestored = listed(step, &plan);
    if let Some(hold) = plan.hold {
        step.status.held = Some(Unrestored { object: (&hold.object).into(), reason: hold.reason });
        step.end(Phase::Held);
    } else if plan.writes.is_empty() && plan.waiting.is_empty() {
        step.end(Phase::RolledBack);
    } else {
        let refusal = |restore: &Restore| step.seen.refusals.get(&restore.object);
        let wave = plan.wave(
            |restore| refusal(restore).is_some(),
            |restore| refusal(restore).is_some_and(|refusal| refusal.due),
        );
        if !wave.is_empty() {
            step.wake = Wake::After(NEXT_WAVE);
        }
        step.notices.extend(wave.iter().filter_map(|restore| overridden(restore)));
        step.effects.extend(wave.into_iter().cloned().map(Effect::Restore));
    }
}

/// Everything that is not restored yet and not about to be, with the reason.
fn listed(step: &Step<'_>, plan: &Plan) -> Vec<Unrestored> {
    let refused = plan.writes.iter().filter_map(|restore| {
        let refusal = step.seen.refusals.get(&restore.object)?;
        let reason = format!("the server refuses it, it is tried again: {}", refusal.why);
        Some(Unrestored { object: (&restore.object).into(), reason })
    });
    plan.unrestored.iter().cloned().chain(plan.waiting.iter().cloned()).chain(refused).collect()
}

fn overridden(restore: &Restore) -> Option<Notice> {
    match &restore.write {
        Write::Update { overridden, .. } if !overridden.is_empty() => {
            Some(report::overridden(&restore.object, overridden))
        }
        _ => None,
    }
}
