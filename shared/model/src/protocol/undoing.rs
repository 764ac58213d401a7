//! A rollback under way: plan from what is there, do the next wave, look again.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;

use super::{Effect, Observed, Wake, observed::Refusal, step::Step};
use crate::{
    names::RecordName,
    object::ObjectRef,
    release::{Phase, Subject, Unrestored},
    rollback::{Plan, Restore, Span, Track, Write, plan},
};

/// How soon the next wave follows: at once, for each is planned from a fresh look.
const NEXT_WAVE: Duration = Duration::ZERO;
/// How often something is looked at that others must finish first: the less often the longer it takes.
const WAITING: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(1), SignedDuration::from_secs(15));
/// How long a rollback that does not get on keeps the next revision waiting.
const GIVES_WAY: SignedDuration = SignedDuration::from_secs(60);

pub(super) fn rolling_back(step: &mut Step<'_>) {
    let seen = step.seen;
    if step.takes_in_what_slipped_by() {
        step.wake = Wake::After(Duration::ZERO);
        return;
    }
    let mut plan = planned(step);
    give_up_owners(&mut plan, &seen.ignored);
    if let Some(why) = &seen.blind {
        // Whether pods keep a workload from going back cannot be told.
        plan.waiting.push(Unrestored { object: Subject::default(), reason: why.clone() });
    }
    let refusal = |restore: &Restore| seen.refusals.get(&restore.object);
    let refused = refused(&plan, refusal);
    step.held_up = refused.first().or_else(|| plan.waiting.first()).cloned();
    let left = [&plan.unrestored, &plan.yielded, &plan.waiting, &refused];
    let unrecorded = step.status.unrecorded.iter().map(|object| Unrestored {
        object: object.clone(),
        reason: "it was written without an undo record: what that write did stays".to_owned(),
    });
    step.status.unrestored = super::report::bounded(left.into_iter().flatten().cloned().chain(unrecorded));
    if seen.policy.suspend {
        return halt(step, &plan, Phase::Notified);
    }
    if let Some(hold) = &plan.hold {
        step.status.held = Some(hold.clone());
        if plan.undone.is_empty() {
            // Who waits for it may end.
            step.status.fence = None;
        }
        return halt(step, &plan, Phase::Held);
    }
    if plan.writes.is_empty() && plan.waiting.is_empty() {
        return end(step, &plan, plan.yielded.first());
    }
    let wave = plan.wave(
        |restore| refusal(restore).is_some(),
        |restore| refusal(restore).is_some_and(|refusal| refusal.pause.is_zero()),
    );
    let gets_on = wave.iter().any(|restore| refusal(restore).is_none());
    if !gets_on && rolls_for(step) >= GIVES_WAY {
        step.lower_fence(seen.cut());
        // A deployer has gone on while the rollback did not.
        if seen.effective_after(seen.cut()).next().is_some() {
            let held_up = step.held_up.clone();
            return end(step, &plan, held_up.as_ref());
        }
    }
    step.wake = Wake::After(if wave.is_empty() { pause(step, &plan) } else { NEXT_WAVE });
    step.effects.extend(wave.into_iter().cloned().map(Effect::Restore));
}

/// What is still to be done: of some objects, if only they were asked for.
fn planned(step: &Step<'_>) -> Plan {
    let Observed { tracks, proofs, schemas, pods, options, .. } = step.seen;
    let only = &step.status.only;
    let is_asked = |track: &&Track| only.is_empty() || only.iter().any(|pick| pick.names(&track.object));
    let span = Span { healthy: step.seen.status.healthy(), cut: step.seen.cut() };
    plan(tracks.iter().filter(is_asked), span, proofs, schemas, pods, *options)
}

/// The rollback is stopped by hand.
pub(super) fn stop(step: &mut Step<'_>) {
    let plan = planned(step);
    halt(step, &plan, Phase::Held);
}

/// The server drops owners in a version that it does not serve any more, or folds many into one.
fn give_up_owners(plan: &mut Plan, ignored: &BTreeMap<ObjectRef, String>) {
    let is_ignored = |restore: &mut Restore| match &restore.write {
        Write::Own { resource_version, .. } => ignored.get(&restore.object) == Some(resource_version),
        _ => false,
    };
    for restore in plan.writes.extract_if(.., is_ignored) {
        plan.unrestored.push(Unrestored {
            object: (&restore.object).into(),
            reason: "is restored, but the server does not keep who owned its fields before".to_owned(),
        });
    }
}

/// Nothing is left to do. Where something is left over the revision is not rolled back: the next one, which goes on from
/// there, has the same state to go back to.
fn end(step: &mut Step<'_>, plan: &Plan, left_over: Option<&Unrestored>) {
    match left_over {
        Some(first) => {
            step.status.held = Some(first.clone());
            halt(step, plan, Phase::Held);
        }
        None if !step.status.only.is_empty() => halt(step, plan, Phase::Held),
        None => step.end(Phase::RolledBack),
    }
}

/// The rollback comes to a halt. What it has put back is the revision's no more.
fn halt(step: &mut Step<'_>, plan: &Plan, phase: Phase) {
    let undone = plan.undone.iter().map(ToString::to_string);
    let took_effect = |name: &RecordName| {
        step.seen.tracks.iter().flat_map(Track::effective).any(|entry| entry.name == *name)
    };
    // Whose the fields are is given back when the object is.
    let is_back = |restore: &Restore| matches!(restore.write, Write::Own { .. });
    let is_begun = plan.undone.iter().any(took_effect) || plan.writes.iter().any(is_back);
    step.status.half_undone = step.status.only.is_empty() && is_begun;
    step.status.undone.extend(undone);
    step.end(phase);
}

/// What the server refuses, with what it says.
fn refused<'a>(plan: &Plan, refusal: impl Fn(&Restore) -> Option<&'a Refusal>) -> Vec<Unrestored> {
    let refused = plan.writes.iter().filter_map(|restore| {
        let reason = format!("the server refuses it, it is tried again: {}", refusal(restore)?.why);
        Some(Unrestored { object: (&restore.object).into(), reason })
    });
    refused.collect()
}

fn pause(step: &Step<'_>, plan: &Plan) -> Duration {
    let (least, most) = WAITING;
    let pause = (rolls_for(step) / 16).clamp(least, most);
    let waiting = (!plan.waiting.is_empty()).then(|| Duration::try_from(pause).unwrap_or_default());
    let refusals = step.seen.refusals.values().map(|refusal| refusal.pause);
    refusals.chain(waiting).min().unwrap_or_default().max(Duration::from_millis(100))
}

/// For how long the rollback is under way.
fn rolls_for(step: &Step<'_>) -> SignedDuration {
    let decided = step.status.decided_at.as_ref();
    decided.map_or(SignedDuration::ZERO, |decided| step.now.duration_since(decided.0))
}
