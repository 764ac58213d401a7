//! The verdict over all objects of a revision.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Judged, Live, Scene,
    diagnosis::{Diagnosis, diagnose},
    evidence,
    freshness::Case,
    pods::Workload,
    readiness::{Status, readiness_of},
    reasons,
    sightings::{ObjectMemory, Sightings, age},
};
use crate::{
    object::{Image, ObjectRef},
    release::{Failure, Subject},
};

/// What the objects of a revision amount to.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// All objects are as they should be.
    Ready,
    /// Nothing failed, but something is not ready yet.
    Waiting {
        /// The first object that is not.
        object: ObjectRef,
        /// What is missing, a sentence for people.
        message: String,
    },
    /// The revision will not become healthy.
    Failed(Failure),
    /// Something could not be seen: no verdict, and no clock may run.
    Undecided {
        /// What, and why not.
        message: String,
    },
}

/// A verdict, and what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The objects and where they stand, in the order of the scene.
    pub objects: Vec<(ObjectRef, Status)>,
    /// How many of them need not be waited for.
    pub ready: usize,
    /// How many there are.
    pub total: usize,
    /// What they amount to.
    pub verdict: Verdict,
    /// What there is to see about the object that is waited for.
    pub evidence: Vec<String>,
    /// To be given to the next judgement.
    pub sightings: Sightings,
    /// After which time the verdict may change without any object changing.
    pub next: Option<Duration>,
}

/// For how long an object of the release must be gone that the release did not delete.
const GONE: Duration = Duration::from_secs(30);

/// How long an object's own word that it failed must stand. Others count at once: they are final.
const CONFIRM: &[(&str, Duration)] = &[
    (reasons::STALLED, Duration::from_secs(10)),
    (reasons::REPLICA_SET_NOT_CREATED, Duration::from_mins(1)),
];

/// Judges a revision.
///
/// # Guarantees
///
/// - Total and deterministic; objects and pods that have nothing to do with the revision change nothing.
/// - An object that cannot be read never fails; a failure for certain of another one counts all the same.
/// - An object that was in the same trouble before, and whose spec the revision left alone, is not waited for.
pub fn judge(scene: &Scene, sightings: &Sightings, now: Timestamp) -> Judgement {
    let blind = scene.judged.iter().any(|judged| matches!(judged.live, Live::Unreadable(_)));
    // Where something cannot be seen, what was seen there before is not forgotten.
    let mut new = if blind { sightings.clone() } else { Sightings::default() };
    let mut standings: Vec<Standing<'_>> =
        scene.judged.iter().map(|judged| Standing::of(judged, scene, sightings, &mut new, now)).collect();
    let waiting = standings.iter().filter(|standing| standing.waits()).count();
    for standing in &mut standings {
        let others_wait = waiting > usize::from(standing.waits());
        standing.look_at_pods(scene, others_wait, sightings, &mut new, now);
    }
    let next = standings.iter().filter_map(|standing| standing.due).min();
    let (verdict, evidence) = conclude(&standings);
    Judgement {
        ready: standings.iter().filter(|standing| standing.is_done()).count(),
        total: standings.len(),
        objects: standings
            .into_iter()
            .map(|standing| (standing.judged.object.clone(), standing.status))
            .collect(),
        verdict,
        evidence,
        sightings: new,
        next,
    }
}

/// The failure of a revision that is not ready when its time is up: of the first object that is waited for.
pub fn deadline_failure(judgement: &Judgement, deadline: Duration) -> Failure {
    let (object, message) = match &judgement.verdict {
        Verdict::Failed(failure) => return failure.clone(),
        Verdict::Waiting { object, message } => (Subject::from(object), message.as_str()),
        Verdict::Undecided { message } => (Subject::default(), message.as_str()),
        Verdict::Ready => (Subject::default(), "it became ready too late"),
    };
    Failure {
        object,
        reason: reasons::NOT_READY_IN_TIME.to_owned(),
        message: format!("not ready after {} s: {message}", deadline.as_secs()),
        evidence: judgement.evidence.clone(),
    }
}

/// One object on its way to the verdict.
struct Standing<'a> {
    judged: &'a Judged,
    status: Status,
    /// It was like this before, and the revision left its spec alone.
    excused: bool,
    /// What there is to see of it and its pods.
    evidence: Vec<String>,
    trouble: Option<String>,
    due: Option<Duration>,
}

impl<'a> Standing<'a> {
    fn of(judged: &'a Judged, scene: &Scene, old: &Sightings, new: &mut Sightings, now: Timestamp) -> Self {
        let key = &judged.object.key;
        let before = old.objects.get(key);
        let mut standing = Self {
            judged,
            status: Status::Gone,
            excused: false,
            evidence: Vec::new(),
            trouble: None,
            due: None,
        };
        let mut memory = ObjectMemory::default();
        standing.status = match &judged.live {
            Live::Unreadable(why) => {
                return Self { status: Status::Unknown { message: why.clone() }, ..standing };
            }
            Live::Absent if judged.deleted => Status::Gone,
            Live::Absent => standing.missing(before, &mut memory, now),
            Live::Present(live) if judged.deleted => {
                let is_another =
                    judged.baseline.as_ref().is_some_and(|it| Image(it).uid() != Image(live).uid());
                match (is_another, Image(live).is_terminating()) {
                    (true, _) => Status::Gone,
                    (false, true) => Status::Terminating,
                    (false, false) => waiting("NotDeleted", "it is deleted but still there"),
                }
            }
            Live::Present(live) => {
                let (group, kind) = (&judged.object.key.group, &judged.object.kind);
                let baseline = judged.baseline.as_ref();
                let status = readiness_of(group, kind, live, baseline);
                memory.lasting = live.pointer("/spec/ttlSecondsAfterFinished").is_none();
                let case = Case::new(live, baseline);
                // Compared without freshness: a failure that is no news is still the same failure.
                standing.excused = !status.is_ready()
                    && case.is_unchanged()
                    && case.before.is_some_and(|before| {
                        readiness_of(group, kind, live, None)
                            .is_like(&readiness_of(group, kind, before.0, None))
                    });
                standing.evidence = evidence::gather(case.live, &[]);
                standing.confirmed(status, before, &mut memory, now)
            }
        };
        if is_unclaimed(judged, scene) {
            standing.status = Status::Current;
        }
        new.objects.insert(key.clone(), memory);
        standing
    }

    /// An object that should be there and is not. Jobs may go by themselves, once they are done.
    fn missing(
        &mut self,
        before: Option<&ObjectMemory>,
        memory: &mut ObjectMemory,
        now: Timestamp,
    ) -> Status {
        let lasting = before.is_some_and(|before| before.lasting);
        if Workload::of(&self.judged.object) == Some(Workload::Job) && !lasting {
            return Status::Gone;
        }
        let since = before.and_then(|before| before.absent_since).unwrap_or(now);
        *memory = ObjectMemory { absent_since: Some(since), lasting, ..ObjectMemory::default() };
        let gone = age(now, since);
        if gone >= GONE {
            let message = "it is gone, and the release did not delete it".to_owned();
            return Status::Failed { reason: reasons::DISAPPEARED, message };
        }
        self.due = Some(GONE.saturating_sub(gone));
        waiting("NotFound", "it is not there")
    }

    /// Lets a failure count only after it stood for as long as its kind takes.
    fn confirmed(
        &mut self,
        status: Status,
        before: Option<&ObjectMemory>,
        memory: &mut ObjectMemory,
        now: Timestamp,
    ) -> Status {
        let Status::Failed { reason, message } = status else {
            return status;
        };
        let earlier = before.and_then(|before| before.failing).filter(|(word, _)| *word == reason);
        let since = earlier.map_or(now, |(_, since)| since);
        memory.failing = Some((reason, since));
        let confirm =
            CONFIRM.iter().find(|(word, _)| *word == reason).map_or(Duration::ZERO, |(_, time)| *time);
        let left = confirm.saturating_sub(age(now, since));
        if left.is_zero() || self.excused {
            return Status::Failed { reason, message };
        }
        self.due = Some(left);
        waiting(reason, &message)
    }

    fn look_at_pods(
        &mut self,
        scene: &Scene,
        others_wait: bool,
        old: &Sightings,
        new: &mut Sightings,
        now: Timestamp,
    ) {
        let (Live::Present(live), false) = (&self.judged.live, self.judged.deleted || self.excused) else {
            return;
        };
        let Some(workload) = Workload::of(&self.judged.object) else {
            return;
        };
        let case = Case::new(live, self.judged.baseline.as_ref());
        let Diagnosis { pods, failure, trouble, due } =
            diagnose(workload, &case, scene, others_wait, old, new, now);
        self.evidence = evidence::gather(case.live, &pods);
        self.trouble = trouble;
        self.due = [self.due, due].into_iter().flatten().min();
        // The pods tell the cause, the object often only that there is one.
        if let Some((reason, message)) = failure {
            self.status = Status::Failed { reason, message };
        }
    }

    fn is_done(&self) -> bool {
        self.status.is_ready() || self.excused
    }

    fn waits(&self) -> bool {
        !self.excused && matches!(self.status, Status::InProgress { .. } | Status::Terminating)
    }

    fn message(&self) -> String {
        let message = self.status.message();
        match &self.trouble {
            Some(trouble) if self.waits() && trouble != message => format!("{message}; {trouble}"),
            _ => message.to_owned(),
        }
    }
}

fn waiting(reason: &str, message: &str) -> Status {
    Status::InProgress { reason: reason.to_owned(), message: message.to_owned() }
}

/// A claim that no pod asks for may wait for its first consumer for ever, and does no harm.
fn is_unclaimed(judged: &Judged, scene: &Scene) -> bool {
    let key = &judged.object.key;
    let pending = matches!(&judged.live, Live::Present(live) if live.pointer("/status/phase").is_none_or(|it| it == "Pending"));
    (key.group.as_str(), judged.object.kind.as_str()) == ("", "PersistentVolumeClaim")
        && pending
        && !judged.deleted
        && !scene.pods.iter().any(|pod| {
            Image(pod).meta("namespace") == key.namespace.as_deref()
                && super::facts::Facts(pod)
                    .list("/spec/volumes")
                    .any(|volume| volume.text("/persistentVolumeClaim/claimName") == key.name)
        })
}

fn conclude(standings: &[Standing<'_>]) -> (Verdict, Vec<String>) {
    let failed = standings.iter().find_map(|standing| match &standing.status {
        Status::Failed { reason, .. } if !standing.excused => Some((standing, *reason)),
        _ => None,
    });
    if let Some((standing, reason)) = failed {
        let failure = Failure {
            object: Subject::from(&standing.judged.object),
            reason: reason.to_owned(),
            message: standing.message(),
            evidence: standing.evidence.clone(),
        };
        return (Verdict::Failed(failure), standing.evidence.clone());
    }
    let unknown = standings.iter().find_map(|standing| match &standing.status {
        Status::Unknown { message } if !standing.excused => {
            Some(format!("{}: {message}", standing.judged.object))
        }
        _ => None,
    });
    if let Some(message) = unknown {
        return (Verdict::Undecided { message }, Vec::new());
    }
    match standings.iter().find(|standing| standing.waits()) {
        Some(standing) => {
            let (object, message) = (standing.judged.object.clone(), standing.message());
            (Verdict::Waiting { object, message }, standing.evidence.clone())
        }
        None => (Verdict::Ready, Vec::new()),
    }
}
