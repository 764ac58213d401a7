//! What people are told: the message, the conditions, the Events.

use jiff::{SignedDuration, Timestamp};

use super::{Notice, Observed, client};
use crate::{
    health::{Judgement, Status, Verdict, Warning, reasons},
    object::ObjectRef,
    release::{Failure, Past, Phase, ReleaseStatus, Standing, Subject, Unrestored, condition},
    undo::chain::Entry,
};

/// The client marked its own transaction as failed.
pub(super) fn client_failed(seen: &Observed, judgement: Option<&Judgement>) -> Failure {
    let message = "the client itself reported that its deploy failed, and left it unfinished";
    client_failure(seen, judgement, reasons::CLIENT_FAILED, message.to_owned())
}

/// The client stopped in the middle.
pub(super) fn client_gone(seen: &Observed, judgement: Option<&Judgement>) -> Failure {
    let quiet = seen.quiet.as_secs();
    let message =
        format!("the client stopped in the middle of its deploy: it has written nothing for {quiet} s");
    client_failure(seen, judgement, reasons::CLIENT_GONE, message)
}

/// With what there is to see of the objects: a client seldom says why.
fn client_failure(
    seen: &Observed,
    judgement: Option<&Judgement>,
    reason: &str,
    mut message: String,
) -> Failure {
    let secret = client::newest(&seen.tracks, seen.status.opened());
    if let Some(Verdict::Waiting { object, message: why }) = judgement.map(|judgement| &judgement.verdict) {
        message = format!("{message} ({object}: {why})");
    }
    Failure {
        object: secret.map(|track| Subject::from(&track.object)).unwrap_or_default(),
        reason: reason.to_owned(),
        message,
        evidence: judgement.map(|judgement| judgement.evidence.clone()).unwrap_or_default(),
    }
}

/// What a client is told whose transaction was aborted.
pub(super) fn fence(status: &ReleaseStatus) -> String {
    let failure = status.failure.clone().unwrap_or_default();
    format!(
        "backout: revision {} failed and is rolled back: {}. This client's transaction is over; run it again once \
         the cause is mended",
        status.revision,
        blame(&failure)
    )
}

/// The Event on the object to blame.
pub(super) fn failed(seen: &Observed, failure: &Failure) -> Notice {
    let about =
        seen.tracks.iter().map(|track| &track.object).find(|object| failure.object == Subject::from(*object));
    Notice { about: about.cloned(), warning: true, reason: "ReleaseFailed", message: blame(failure) }
}

/// The Event on the Release when a revision is over.
pub(super) fn ended(status: &ReleaseStatus) -> Notice {
    let phase = status.phase.unwrap_or(Phase::Open);
    let objects = objects(status);
    let revision = status.revision;
    let cause = status.failure.as_ref().map(blame).unwrap_or_default();
    let message = match (phase, &status.held) {
        (Phase::Healthy, _) => format!("Revision {revision} is healthy: {objects}"),
        (Phase::RolledBack, _) => {
            format!("Revision {revision} was rolled back: {objects}. Cause: {cause}")
        }
        (_, Some(held)) => format!("Revision {revision} failed: {cause}. {}", not_rolled_back(held)),
        _ if status.is_half_way() => {
            format!("The rollback of revision {revision} was stopped, as was asked: {}", half_way(status))
        }
        _ if status.failure.is_none() => format!("Revision {revision} is held, as was asked: {objects}"),
        _ if !status.only.is_empty() => {
            format!(
                "Of revision {revision}, which failed, {} went back; the rest is held",
                listed(&status.only)
            )
        }
        _ => format!("Revision {revision} failed and is left as it is: {cause}"),
    };
    Notice { about: None, warning: phase != Phase::Healthy, reason: phase.as_str(), message }
}

/// Why an object keeps a release from being rolled back, alone or with others.
pub(super) fn unrecorded(object: Subject, count: usize) -> Unrestored {
    let more = match count.saturating_sub(1) {
        0 => String::new(),
        1 => " (and so was 1 more, see status.unrecorded)".to_owned(),
        more => format!(" (and so were {more} more, see status.unrecorded)"),
    };
    let reason = format!(
        "it was written while the webhook was not asked, without an undo record{more}. To go on: a new deploy, or \
         kubectl backout rollback, which undoes the rest alone"
    );
    Unrestored { object, reason }
}

/// The Event on a healthy Release of which not all could have been undone.
pub(super) fn unrecorded_of_healthy(status: &ReleaseStatus) -> Option<Notice> {
    if status.unrecorded.is_empty() {
        return None;
    }
    let objects: Vec<_> = status.unrecorded.iter().map(name).collect();
    let message = format!(
        "Revision {} is not recorded as a whole. Written while the webhook was not asked, and not to be rolled back: {}",
        status.revision,
        listed(&objects)
    );
    Some(Notice { about: None, warning: true, reason: "WrittenUnrecorded", message })
}

/// Objects as a status lists them.
pub(super) fn subjects(objects: &[ObjectRef]) -> Vec<Subject> {
    objects.iter().take(LISTED).map(Subject::from).collect()
}

fn not_rolled_back(held: &Unrestored) -> String {
    format!("Not rolled back, {}: {}", name(&held.object), held.reason)
}

/// The Event on an object whose fields somebody else had changed too.
pub(super) fn overridden(object: &ObjectRef, fields: &[String]) -> Notice {
    let message = format!(
        "Rolled back fields that were changed by someone else too, after the release had changed them: {}",
        fields.join(", ")
    );
    Notice { about: Some(object.clone()), warning: true, reason: "Overridden", message }
}

/// The Event on an object that was gone.
pub(super) fn created_again(object: &ObjectRef) -> Notice {
    let message = "Created again as it was before the release; its uid is a new one".to_owned();
    Notice { about: Some(object.clone()), warning: false, reason: "CreatedAgain", message }
}

/// What is wrong with the settings and the log of a release.
pub(super) fn problems(seen: &Observed, judgement: Option<&Judgement>) -> Vec<String> {
    let dangling = seen.tracks.iter().filter_map(|track| {
        let pointer = track.chain.dangling.as_ref()?;
        Some(format!(
            "The label {} of {} leads to an undo record that does not exist ({pointer}): if this revision fails it is \
             not rolled back.",
            crate::names::UNDO,
            track.object
        ))
    });
    let forged = seen.tracks.iter().flat_map(|track| {
        let told = |(entry, why): (&Entry, &str)| {
            format!("The undo record {} of {} is not believed: {why}.", entry.name, track.object)
        };
        track.forged().map(told).collect::<Vec<_>>()
    });
    let warnings = judgement.into_iter().flat_map(|judgement| &judgement.warnings);
    let warnings = warnings.map(|Warning { object, message }| format!("{object}: {message}."));
    seen.problems.iter().cloned().chain(dangling).chain(forged).chain(warnings).take(LISTED).collect()
}

/// The Events on objects of a healthy revision that are worth a warning all the same.
pub(super) fn warnings(judgement: Option<&Judgement>) -> Vec<Notice> {
    let warnings = judgement.into_iter().flat_map(|judgement| &judgement.warnings).take(LISTED);
    warnings
        .map(|Warning { object, message }| Notice {
            about: Some(object.clone()),
            warning: true,
            reason: "HealthUncertain",
            message: message.clone(),
        })
        .collect()
}

/// All was ready, and one object did not stay so.
pub(super) fn unsteady(object: &ObjectRef, message: &str, evidence: &[String]) -> Failure {
    Failure {
        object: Subject::from(object),
        reason: reasons::DID_NOT_STAY_READY.to_owned(),
        message: format!("it was ready and did not stay so: {message}"),
        evidence: evidence.to_vec(),
    }
}

/// The first of a list that may be long, each of them short, and how many more there are.
pub(super) fn bounded(list: impl Iterator<Item = Unrestored>) -> Vec<Unrestored> {
    let mut all: Vec<_> = list.collect();
    let more = all.len().saturating_sub(LISTED);
    all.truncate(LISTED);
    for Unrestored { reason, .. } in &mut all {
        *reason = short(std::mem::take(reason));
    }
    if more > 0 {
        all.push(Unrestored { object: Subject::default(), reason: format!("and {more} more") });
    }
    all
}

/// How many things a status lists, and how long what the server says of one may be: a resource has its limits.
const LISTED: usize = 20;
const LONGEST: usize = 500;

/// How long a rollback may wait for something before that is news.
const STALLED_AFTER: SignedDuration = SignedDuration::from_secs(10);

/// Sets message and conditions to what the rest of the status says.
pub(super) fn summarize(
    status: &mut ReleaseStatus,
    judgement: Option<&Judgement>,
    held_up: Option<&Unrestored>,
    now: Timestamp,
) {
    let Some(phase) = status.phase else {
        "Nothing was deployed yet".clone_into(&mut status.message);
        return;
    };
    let decided = status.decided_at.as_ref().map_or(now, |at| at.0);
    let held_up =
        held_up.filter(|_| phase == Phase::RollingBack && now.duration_since(decided) >= STALLED_AFTER);
    status.message = message(status, phase, judgement, held_up);
    if let Some(judgement) = judgement {
        status.objects = standings(judgement);
    }
    let failed = matches!(phase, Phase::RolledBack | Phase::Held | Phase::Notified);
    let reconciling = phase.is_undecided() || (phase == Phase::RollingBack && held_up.is_none());
    let reason = phase.as_str();
    let generation = status.observed_generation;
    let message = status.message.clone();
    for (type_, is) in [
        ("Ready", phase == Phase::Healthy),
        ("Reconciling", reconciling),
        ("Stalled", failed || held_up.is_some()),
    ] {
        condition(&mut status.conditions, type_, is, reason, &message, generation, now);
    }
}

/// Where each object stands, the ones that are not ready first.
fn standings(judgement: &Judgement) -> Vec<Standing> {
    let mut objects: Vec<_> = judgement.objects.iter().collect();
    objects.sort_by_key(|(_, status)| status.is_ready());
    let standing = |(object, status): &(ObjectRef, Status)| Standing {
        object: Subject::from(object),
        state: status.word().to_owned(),
        message: if status.is_ready() { String::new() } else { short(status.message().to_owned()) },
    };
    objects.into_iter().take(LISTED).map(standing).collect()
}

/// A text of bounded length, as what the server says may be long.
pub(super) fn short(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

fn message(
    status: &ReleaseStatus,
    phase: Phase,
    judgement: Option<&Judgement>,
    held_up: Option<&Unrestored>,
) -> String {
    let cause = status.failure.as_ref().map(blame).unwrap_or_default();
    let waiting = judgement.map(|judgement| &judgement.verdict);
    match (phase, waiting) {
        (Phase::Open | Phase::Progressing | Phase::Soaking, Some(Verdict::Undecided { message })) => {
            format!("Cannot judge for the moment, the clock stands still: {message}")
        }
        (Phase::Open | Phase::Progressing, Some(Verdict::Waiting { object, message })) => {
            format!("{object}: {message}")
        }
        (Phase::Open, _) => "Waiting for the deployer to finish".to_owned(),
        (Phase::Progressing, _) => "Waiting for the objects to become ready".to_owned(),
        (Phase::Soaking, _) => "All objects are ready and must stay so for a while".to_owned(),
        (Phase::Healthy, _) => format!("Committed, {}", objects(status)),
        (Phase::RollingBack, _) => match held_up {
            Some(first) => format!(
                "Rolling back is held up by {}: {}. Cause of the rollback: {cause}",
                name(&first.object),
                first.reason
            ),
            None => format!("Rolling back: {cause}"),
        },
        (Phase::RolledBack, _) => rolled_back(status, &cause),
        (Phase::Held, _) => match &status.held {
            Some(held) => format!("{}. It failed: {cause}", not_rolled_back(held)),
            None if status.is_half_way() => format!("Stopped, as was asked: {}", half_way(status)),
            None if status.failure.is_none() => {
                format!("Held, as was asked: nothing is touched. {NEXT_OF_HELD}")
            }
            None if !status.only.is_empty() => format!(
                "{} went back, as was asked; the rest is held. It failed: {cause}. {NEXT_OF_HELD}",
                listed(&status.only)
            ),
            None => format!("Failed, and held for you to look at: {cause}. {NEXT_OF_HELD}"),
        },
        (Phase::Notified, _) if status.is_half_way() => {
            format!("Stopped, for the release is suspended: {}", half_way(status))
        }
        (Phase::Notified, _) => format!("Failed, and left as it is: {cause}"),
    }
}

fn rolled_back(status: &ReleaseStatus, cause: &str) -> String {
    let left = match status.unrestored.len() {
        0 => "",
        1 => " 1 object was not restored, see status.unrestored.",
        _ => " Some objects were not restored, see status.unrestored.",
    };
    let took = match status.history.first().and_then(duration) {
        None => String::new(),
        Some(0) => " in less than a second".to_owned(),
        Some(seconds) => format!(" in {seconds} s"),
    };
    let ready = match status.ready.as_str() {
        "" => String::new(),
        ready => format!(" Ready again: {ready} of the restored objects."),
    };
    format!("Rolled back{took}: {cause}.{ready}{left}")
}

/// How many objects the last revision wrote.
fn objects(status: &ReleaseStatus) -> String {
    match status.history.first().map_or(0, |past| past.objects) {
        1 => "1 object".to_owned(),
        many => format!("{many} objects"),
    }
}

fn duration(past: &Past) -> Option<i64> {
    let (from, to) = (past.decided_at.as_ref()?.0, past.ended_at.as_ref()?.0);
    Some(SignedDuration::as_secs(&to.duration_since(from)))
}

/// Where a rollback came to a halt.
pub(super) fn half_way(status: &ReleaseStatus) -> String {
    let what = match status.to {
        Some(to) => format!("not all is back in the state of revision {to}"),
        None => format!("of revision {} some is undone, and some is not", status.revision),
    };
    format!("{what}. To go on: kubectl backout rollback, or a new deploy")
}

/// The Event on the Release where the next revision takes the place of a way back.
pub(super) fn way_back_left(to: u64) -> Notice {
    let message = format!(
        "A deploy has begun when not all was back in the state of revision {to}: it begins from there. There is no way \
         back any more to the revisions after that one, whose states are nowhere as a whole"
    );
    Notice { about: None, warning: true, reason: "WayBackLeft", message }
}

/// What to do with a held revision.
const NEXT_OF_HELD: &str =
    "To go on: kubectl backout resume (judge it again), kubectl backout rollback, or a new deploy";

/// Some names, in a sentence.
pub(super) fn listed(names: &[impl std::fmt::Display]) -> String {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// `Deployment shop/web: container …`, without a full stop.
fn blame(failure: &Failure) -> String {
    let message = failure.message.trim_end_matches('.');
    if failure.object.kind.is_empty() {
        return message.to_owned();
    }
    format!("{}: {message}", name(&failure.object))
}

fn name(object: &Subject) -> String {
    if object.kind.is_empty() {
        "the cluster".to_owned()
    } else if object.namespace.is_empty() {
        format!("{} {}", object.kind, object.name)
    } else {
        format!("{} {}/{}", object.kind, object.namespace, object.name)
    }
}
