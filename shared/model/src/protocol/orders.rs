//! What a person asks for by hand.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    Effect, Notice,
    client::{self, Transaction},
    report,
    step::{JUST_NOW, Step, is_young},
    undoing,
};
use crate::{
    health::reasons,
    release::{Answer, Author, Failure, LONGEST_REQUEST, Order, Past, Phase, Pick},
    undo::chain::Standing,
};

/// Answers the request of the Release, if it is a new one; whether that changes what happens next.
pub(super) fn obey(step: &mut Step<'_>) -> bool {
    let Some(request) = step.seen.request.as_deref() else { return false };
    let request = &request[..request.floor_char_boundary(LONGEST_REQUEST)];
    if step.status.answer.as_ref().is_some_and(|answer| answer.request == request) {
        return false;
    }
    let order: Result<Order, _> = request.parse();
    let (is_look, is_diff) = (order == Ok(Order::Look), matches!(order, Ok(Order::Diff { .. })));
    if is_behind(step, is_look) {
        return false;
    }
    // From the state that the last rollback has left, as for a deploy.
    if matches!(order, Ok(Order::Rollback { to: Some(_), .. })) && step.watches_restored() {
        step.close_interval();
        return true;
    }
    // Nothing is decided: it is told first, and answered then.
    if is_diff && step.seen.told.is_none() {
        step.effects.push(Effect::Tell);
        step.wake = step.wake.or_after(Duration::ZERO);
        return false;
    }
    let before = step.status.phase;
    let outcome = order.and_then(|order| carry_out(step, order));
    let refused = outcome.is_err();
    let message = outcome.unwrap_or_else(|why| why);
    if !is_look && !is_diff {
        let reason = if refused { "RequestRefused" } else { "Requested" };
        let message = format!("Asked to {}: {message}", request.split(" id=").next().unwrap_or_default());
        step.notices.insert(0, Notice { about: None, warning: refused, reason, message });
    }
    step.status.answer = Some(Answer { request: request.to_owned(), refused, message });
    step.status.phase != before
}

/// Whether the log tells of a write that no revision holds yet: whoever asks has made it before, and means that one. A look
/// is answered with the revision that begins now.
fn is_behind(step: &Step<'_>, is_look: bool) -> bool {
    let Step { status, seen, .. } = step;
    if status.phase.is_some_and(|phase| phase.is_undecided() || phase == Phase::RollingBack) {
        return false;
    }
    let mut newer = seen.after(status.sealed().unwrap_or_else(|| status.healthy()));
    newer.any(|(entry, standing)| (standing.took_effect() && !is_look) || is_young(entry, standing, JUST_NOW))
}

fn carry_out(step: &mut Step<'_>, order: Order) -> Result<String, String> {
    match order {
        Order::Look => Ok("looked".to_owned()),
        Order::Diff { .. } => step.seen.told.clone().unwrap_or_else(|| Err("it was not told".to_owned())),
        Order::Hold => hold(step),
        Order::Resume => resume(step),
        Order::Rollback { only, to } => roll_back(step, only, to),
    }
}

fn hold(step: &mut Step<'_>) -> Result<String, String> {
    let revision = step.status.revision;
    match step.status.phase {
        Some(phase) if phase.is_undecided() => {
            seal(step);
            step.end(Phase::Held);
        }
        Some(Phase::RollingBack) => {
            undoing::stop(step);
            if step.status.is_half_way() {
                return Ok(format!("the rollback is stopped: {}", report::half_way(&step.status)));
            }
        }
        _ => return Err(nothing("to hold", step)),
    }
    Ok(format!("revision {revision} is left as it is, whatever becomes of it"))
}

fn resume(step: &mut Step<'_>) -> Result<String, String> {
    if !matches!(step.status.phase, Some(Phase::Held | Phase::Notified)) {
        return Err(nothing("to resume", step));
    }
    if step.status.is_half_way() {
        return Err(format!("the rollback was stopped: {}", report::half_way(&step.status)));
    }
    // A client that is in the middle of it, or of which nothing was judged, is heard to its end.
    let transaction = client::transaction(&step.seen.tracks, step.status.opened());
    let is_open = step.status.failure.is_none() || transaction == Transaction::Pending;
    let status = &mut step.status;
    status.sealed_at = (!is_open).then_some(Time(step.now));
    status.frozen_seconds = 0;
    status.undecided_since = None;
    status.ready_since = None;
    status.unready_since = None;
    status.unrest = 0;
    status.decided_at = None;
    status.failure = None;
    status.held = None;
    // A client that still waits may finish: nothing is restored under it any more.
    status.fence = None;
    status.evidence = None;
    status.evidence_missing = None;
    status.only.clear();
    status.unrestored.clear();
    if is_open {
        status.sealed_position = None;
    }
    step.enter(if is_open { Phase::Open } else { Phase::Progressing });
    step.wake = super::Wake::After(Duration::ZERO);
    Ok(format!("revision {} is judged again", step.status.revision))
}

fn roll_back(step: &mut Step<'_>, only: Vec<Pick>, to: Option<u64>) -> Result<String, String> {
    if step.seen.policy.suspend {
        return Err("the release is suspended: set suspend to false first".to_owned());
    }
    match (to, step.status.to) {
        (Some(to), Some(under_way)) if to != under_way => {
            return Err(format!(
                "revision {} is on its way back to revision {under_way}: kubectl backout rollback finishes that first",
                step.status.revision
            ));
        }
        (Some(to), None) if Some(to) != step.status.healthy_revision => return go_back(step, to),
        _ => {}
    }
    let revision = step.status.revision;
    let is_held = matches!(step.status.phase, Some(Phase::Held | Phase::Notified));
    if !is_held && !step.status.phase.is_some_and(Phase::is_undecided) {
        return Err(nothing("to roll back", step));
    }
    known(step, &only)?;
    if !is_held {
        seal(step);
    }
    step.status.failure.get_or_insert_with(|| Failure {
        reason: reasons::BY_HAND.to_owned(),
        message: "somebody asked for it".to_owned(),
        ..Failure::default()
    });
    step.status.held = None;
    let message = match only.as_slice() {
        [] => format!("revision {revision} is rolled back{}", with_others(step)),
        _ => format!("of revision {revision} {} go back, the rest is held", report::listed(&only)),
    };
    step.status.only = only;
    step.roll_back();
    // With the evidence otherwise, which is there.
    if step.status.evidence.is_some() || step.status.evidence_missing.is_some() {
        step.choose_aside();
    }
    Ok(message)
}

/// The revisions before it that were never healthy, and stand: the state that comes back is the one before them.
fn with_others(step: &Step<'_>) -> String {
    let status = &step.status;
    let is_left = |past: &&Past| {
        matches!(past.outcome, Phase::Held | Phase::Notified)
            && past.revision < status.revision
            && Some(past.revision) > status.healthy_revision
    };
    let mut others: Vec<_> = status.history.iter().filter(is_left).map(|past| past.revision).collect();
    others.reverse();
    match others.as_slice() {
        [] => String::new(),
        [one] => format!(", and with it revision {one}, which was not healthy"),
        _ => format!(", and with it revisions {}, which were not healthy", report::listed(&others)),
    }
}

/// Undoes revisions that were healthy: as a revision of its own.
fn go_back(step: &mut Step<'_>, to: u64) -> Result<String, String> {
    let boundary = step.status.healthy();
    if !matches!(step.status.phase, Some(Phase::Healthy | Phase::RolledBack)) {
        let revision = step.status.revision;
        return Err(format!("revision {revision} is under way or held: roll that back first"));
    }
    if step.seen.after(boundary).any(|(_, standing)| standing != Standing::Aborted) {
        return Err("a write was admitted just now, and may still be made: try again in a minute".to_owned());
    }
    let ways: Vec<_> = step.status.ways_back().collect();
    if !ways.contains(&to) {
        let there =
            if ways.is_empty() { String::new() } else { format!("; there is to {}", report::listed(&ways)) };
        return Err(format!("there is no way back to revision {to}{there}"));
    }
    let author = Author { user: String::new(), tool: "kubectl backout".to_owned() };
    step.begin_as(boundary, author);
    seal(step);
    step.status.to = Some(to);
    step.status.failure = Some(Failure {
        reason: reasons::BY_HAND.to_owned(),
        message: format!("somebody asked for the state of revision {to}"),
        ..Failure::default()
    });
    step.roll_back();
    Ok(format!("all goes back to the state of revision {to}, as revision {}", step.status.revision))
}

/// All that was written before the request is of the revision.
fn seal(step: &mut Step<'_>) {
    step.status.sealed_position = Some(step.seen.cut.to_string());
    step.status.sealed_at = Some(Time(step.now));
}

/// Each pick must name an object of the revision.
fn known(step: &Step<'_>, only: &[Pick]) -> Result<(), String> {
    let objects = || step.seen.tracks.iter().map(|track| &track.object);
    match only.iter().find(|pick| !objects().any(|object| pick.names(object))) {
        None => Ok(()),
        Some(pick) => {
            let there: Vec<_> =
                objects().take(20).map(|object| format!("{}/{}", object.kind, object.key.name)).collect();
            Err(format!("there is no {pick} in the revision, which wrote {}", report::listed(&there)))
        }
    }
}

fn nothing(to_do: &str, step: &Step<'_>) -> String {
    match step.status.phase {
        Some(phase) => {
            let ways: Vec<_> = step.status.ways_back().collect();
            let older = match ways.as_slice() {
                [] => String::new(),
                _ => format!("; to go back to an older state say which revision: {}", report::listed(&ways)),
            };
            format!("there is nothing {to_do}: revision {} is {phase:?}{older}", step.status.revision)
        }
        None => format!("there is nothing {to_do}: nothing was deployed yet"),
    }
}
