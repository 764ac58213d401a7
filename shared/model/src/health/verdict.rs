//! The verdict over all objects of a revision.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{
    Live, Scene,
    pods::{self, Workload},
    readiness::Status,
    reasons,
    sightings::{Sightings, pod_key},
    standing::Standing,
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
    /// The objects that are waited for.
    pub waits: Vec<Wait>,
    /// The first object of which a container was restarted since the last judgement, and what there is to see of it.
    pub crashed: Option<(ObjectRef, Vec<String>)>,
    /// What is worth a warning, and keeps nothing from being ready.
    pub warnings: Vec<Warning>,
    /// To be given to the next judgement.
    pub sightings: Sightings,
    /// After which time the verdict may change without any object changing.
    pub next: Option<Duration>,
}

/// An object that is waited for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// Which.
    pub object: ObjectRef,
    /// What is missing, a sentence for people.
    pub message: String,
    /// What there is to see about it.
    pub evidence: Vec<String>,
    /// The deadline that it sets itself.
    pub patience: Option<Duration>,
    /// The deadline that its annotation asks for.
    pub deadline: Option<Duration>,
    /// It only waits for pods that take the place of others, which were well: none of the revision's doing.
    pub replaced: bool,
    /// For how long it is waited for otherwise.
    pub lost_for: Duration,
}

/// Something about an object that people should know although it does not fail for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which object.
    pub object: ObjectRef,
    /// A sentence.
    pub message: String,
}

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
        scene.judged.iter().map(|judged| Standing::of(judged, scene, sightings, now)).collect();
    let waiting = standings.iter().filter(|standing| standing.waits()).count();
    let is_maker = |standing: &Standing<'_>| standing.waits() && standing.makes_others();
    let makers = standings.iter().filter(|standing| is_maker(standing)).count();
    let judged = judged_pods(scene);
    for standing in &mut standings {
        let others_wait = waiting > usize::from(standing.waits());
        let makers_wait = makers > usize::from(is_maker(standing));
        standing.look_at_pods(scene, others_wait, makers_wait, sightings, &mut new, now);
        standing.look_at_consumers(scene, &judged, sightings, &mut new, now);
        standing.time_lost(sightings, now);
        standing.remember(&mut new);
    }
    let next = standings.iter().filter_map(|standing| standing.due).min();
    let (verdict, evidence) = conclude(&standings);
    Judgement {
        ready: standings.iter().filter(|standing| standing.is_done()).count(),
        total: standings.len(),
        waits: standings.iter().filter(|standing| standing.waits()).map(Standing::wait).collect(),
        crashed: standings
            .iter()
            .find(|standing| standing.crashed)
            .map(|standing| (standing.judged.object.clone(), standing.evidence.clone())),
        warnings: standings.iter().flat_map(Standing::warnings).collect(),
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

/// The pods of the workloads that are judged, of whatever revision.
fn judged_pods(scene: &Scene) -> BTreeSet<String> {
    let workloads = scene.judged.iter().filter(|judged| Workload::of(&judged.object).is_some());
    workloads
        .filter_map(|judged| match &judged.live {
            Live::Present(live) => Some(live),
            _ => judged.baseline.as_ref(),
        })
        .flat_map(|object| {
            let pods = Image(object).uid().into_iter().flat_map(|uid| pods::all_of(uid, scene));
            pods.map(pod_key).chain([pod_key(object)])
        })
        .collect()
}

/// How much longer than its own deadline an object is waited for: its controller is to speak first.
const GRACE: Duration = Duration::from_secs(30);

/// The failure of a revision that is not ready `elapsed` after its writes: of the first object whose time is up.
pub fn deadline_failure(judgement: &Judgement, deadline: Duration, elapsed: Duration) -> Option<Failure> {
    let time = |wait: &Wait| {
        let own = wait.patience.filter(|own| *own > deadline).map(|own| own + GRACE);
        wait.deadline.or(own).unwrap_or(deadline)
    };
    let late = judgement.waits.iter().find(|wait| elapsed >= time(wait))?;
    Some(Failure {
        object: Subject::from(&late.object),
        reason: reasons::NOT_READY_IN_TIME.to_owned(),
        message: format!("not ready after {} s: {}", time(late).as_secs(), late.message),
        evidence: late.evidence.clone(),
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
