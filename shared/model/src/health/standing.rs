//! One object on its way to the verdict.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{
    Judged, Live, Scene,
    consumers::{self, Consumers},
    diagnosis::{Diagnosis, Look, diagnose},
    evidence,
    facts::Facts,
    freshness::Case,
    pods::{self, Workload},
    readiness::{self, NO_DEADLINE, Status, readiness_of},
    reasons, rules,
    sightings::{ObjectMemory, Sightings, age},
    verdict::{Wait, Warning},
    wishes::{self, Wishes},
};
use crate::object::Image;

/// For how long an object of the release must be gone that the release did not delete.
const GONE: Duration = Duration::from_secs(30);

/// How long an object's own word that it failed must stand. Others count at once: they are final.
const CONFIRM: &[(&str, Duration)] = &[
    (reasons::STALLED, Duration::from_secs(10)),
    (reasons::BY_RULE, Duration::from_secs(10)),
    (reasons::REPLICA_SET_NOT_CREATED, Duration::from_mins(1)),
];

#[expect(clippy::struct_excessive_bools, reason = "each is a finding of its own")]
pub(super) struct Standing<'a> {
    pub(super) judged: &'a Judged,
    pub(super) status: Status,
    /// It was like this before, and the revision left its spec alone.
    pub(super) excused: bool,
    /// What there is to see of it and its pods.
    pub(super) evidence: Vec<String>,
    pub(super) due: Option<Duration>,
    /// A container was restarted since the last look.
    pub(super) crashed: bool,
    trouble: Option<String>,
    /// Its unready pods only took the place of others.
    replaced: bool,
    /// What its annotations ask for.
    wishes: Wishes,
    /// Nothing was known of it before.
    is_first_look: bool,
    memory: ObjectMemory,
    /// For how long it is waited for otherwise than for pods that take the place of others.
    lost_for: Duration,
}

impl<'a> Standing<'a> {
    pub(super) fn of(judged: &'a Judged, scene: &Scene, old: &Sightings, now: Timestamp) -> Self {
        let before = old.objects.get(&judged.object.key);
        let mut standing = Self {
            judged,
            status: Status::Gone,
            excused: false,
            evidence: Vec::new(),
            due: None,
            crashed: false,
            trouble: None,
            replaced: false,
            wishes: match &judged.live {
                Live::Present(live) => Wishes::of(Facts(live)),
                Live::Absent | Live::Unreadable(_) => Wishes::default(),
            },
            is_first_look: before.is_none(),
            memory: ObjectMemory::next(before),
            lost_for: Duration::ZERO,
        };
        standing.status = match &judged.live {
            Live::Unreadable(why) => Status::Unknown { message: why.clone() },
            // Nothing can be made there any more, and all goes anyway.
            _ if !judged.deleted && is_going(judged, scene) => {
                Status::Unknown { message: "its namespace is being deleted".to_owned() }
            }
            Live::Absent if judged.deleted => Status::Gone,
            Live::Absent => standing.missing(before, now),
            Live::Present(live) if judged.deleted => {
                let is_another =
                    judged.baseline.as_ref().is_some_and(|it| Image(it).uid() != Image(live).uid());
                match (is_another, Image(live).is_terminating()) {
                    (true, _) => Status::Gone,
                    (false, true) => Status::Terminating,
                    (false, false) => waiting("NotDeleted", "it is deleted but still there"),
                }
            }
            Live::Present(live) => standing.present(live, scene, before, now),
        };
        standing
    }

    fn present(
        &mut self,
        live: &'a serde_json::Value,
        scene: &Scene,
        before: Option<&ObjectMemory>,
        now: Timestamp,
    ) -> Status {
        let (group, kind) = (&self.judged.object.key.group, &self.judged.object.kind);
        let case = Case::new(live, self.judged.baseline.as_ref()).aged(scene.age);
        let rule = scene.rules.iter().find(|rule| (&rule.group, &rule.kind) == (group, kind));
        let status =
            rule.map_or_else(|| readiness_of(group, kind, &case), |rule| wishes::by_rule(rule, &case));
        self.memory.lasting = live.pointer("/spec/ttlSecondsAfterFinished").is_none();
        // Compared without freshness: a failure that is no news is still the same failure.
        self.excused = !status.is_ready()
            && case.is_unchanged()
            && case.before.is_some_and(|before| {
                let alone = |object| readiness_of(group, kind, &Case::new(object, None));
                alone(live).is_like(&alone(before.0))
            });
        self.excused |= self.wishes.ignored;
        self.evidence = evidence::gather(case.live, &[]);
        let status = self.confirmed(status, before, now);
        let status = self.told(status, &case, before, now);
        if rules::lets_pass(self.judged, &status, &case, scene, &self.memory) {
            return Status::Current;
        }
        if status == Status::Current && self.workload().is_some() {
            self.memory.ready_with = Some((pods::rollout(case.live).to_owned(), rules::wanted(case.live)));
        }
        status
    }

    fn workload(&self) -> Option<Workload> {
        Workload::of(&self.judged.object)
    }

    /// An object that should be there and is not. Jobs may go by themselves, once they are done.
    fn missing(&mut self, before: Option<&ObjectMemory>, now: Timestamp) -> Status {
        let lasting = before.is_some_and(|before| before.lasting);
        if self.workload() == Some(Workload::Job) && !lasting {
            return Status::Gone;
        }
        let since = before.and_then(|before| before.absent_since).unwrap_or(now);
        self.memory = ObjectMemory { absent_since: Some(since), lasting, ..ObjectMemory::default() };
        let gone = age(now, since);
        if gone >= GONE {
            let message = "it is gone, and the release did not delete it".to_owned();
            return Status::Failed { reason: reasons::DISAPPEARED, message };
        }
        self.due = Some(GONE.saturating_sub(gone));
        waiting("NotFound", "it is not there")
    }

    /// Lets a failure count only after it stood for as long as its kind takes.
    fn confirmed(&mut self, status: Status, before: Option<&ObjectMemory>, now: Timestamp) -> Status {
        let Status::Failed { reason, message } = status else {
            return status;
        };
        let earlier = before.and_then(|before| before.failing).filter(|(word, _)| *word == reason);
        let since = earlier.map_or(now, |(_, since)| since);
        self.memory.failing = Some((reason, since));
        let confirm =
            CONFIRM.iter().find(|(word, _)| *word == reason).map_or(Duration::ZERO, |(_, time)| *time);
        let left = confirm.saturating_sub(age(now, since));
        if left.is_zero() || self.excused {
            return Status::Failed { reason, message };
        }
        self.due = Some(left);
        waiting(reason, &message)
    }

    /// Gives the controller of a custom resource time for its first word on what the revision wants.
    fn told(
        &mut self,
        status: Status,
        case: &Case<'_>,
        before: Option<&ObjectMemory>,
        now: Timestamp,
    ) -> Status {
        if status != Status::Current || !rules::is_untold(&self.judged.object, case) {
            return status;
        }
        let since = before.and_then(|before| before.untold_since).unwrap_or(now);
        self.memory.untold_since = Some(since);
        let left = rules::UNTOLD.saturating_sub(age(now, since));
        if left.is_zero() {
            return status;
        }
        self.due = Some(left);
        waiting("NoStatus", "its controller has not said anything about it yet")
    }

    pub(super) fn look_at_pods(
        &mut self,
        scene: &Scene,
        others_wait: bool,
        makers_wait: bool,
        old: &Sightings,
        new: &mut Sightings,
        now: Timestamp,
    ) {
        let (Live::Present(live), Some(workload)) = (&self.judged.live, self.workload()) else {
            return;
        };
        if self.judged.deleted || self.excused || matches!(self.status, Status::Unknown { .. }) {
            return;
        }
        let case = Case::new(live, self.judged.baseline.as_ref());
        let look = Look { workload, case, scene, others_wait, makers_wait, budget: self.wishes.crash_budget };
        let Diagnosis { pods, failure, trouble, due, crashed, replaced } =
            diagnose(&look, &mut self.memory, self.is_first_look, old, new, now);
        self.evidence = evidence::gather(case.live, &pods);
        self.trouble = trouble;
        self.crashed |= crashed;
        self.replaced = replaced;
        self.due = [self.due, due].into_iter().flatten().min();
        // The pods tell the cause, the object often only that there is one.
        if let Some((reason, message)) = failure {
            self.status = Status::Failed { reason, message };
        }
    }

    /// A ConfigMap or Secret is as well as the pods that use it.
    pub(super) fn look_at_consumers(
        &mut self,
        scene: &Scene,
        judged: &BTreeSet<String>,
        old: &Sightings,
        new: &mut Sightings,
        now: Timestamp,
    ) {
        if !consumers::has_consumers(&self.judged.object) || !self.status.is_ready() {
            return;
        }
        let object = &self.judged.object;
        let Consumers { pods, failure, lost, due, crashed } =
            consumers::look(object, scene, judged, self.is_first_look, old, new, now);
        self.crashed |= crashed;
        self.due = [self.due, due].into_iter().flatten().min();
        if let Some((reason, message)) = failure {
            self.status = Status::Failed { reason, message };
        } else if let Some(message) = lost {
            self.status = waiting("ConsumerNotReady", &message);
        } else {
            return;
        }
        self.evidence = evidence::gather(Facts(&serde_json::Value::Null), &pods);
    }

    /// Notes since when it is waited for otherwise than for pods that take the place of others.
    pub(super) fn time_lost(&mut self, old: &Sightings, now: Timestamp) {
        if self.waits() && !self.replaced {
            let since = old.objects.get(&self.judged.object.key).and_then(|it| it.lost_since).unwrap_or(now);
            self.memory.lost_since = Some(since);
            self.lost_for = age(now, since);
        }
    }

    /// Writes down what is to be known at the next look.
    pub(super) fn remember(&self, new: &mut Sightings) {
        if !matches!(self.status, Status::Unknown { .. }) {
            new.objects.insert(self.judged.object.key.clone(), self.memory.clone());
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.status.is_ready() || self.excused
    }

    pub(super) fn waits(&self) -> bool {
        !self.excused && matches!(self.status, Status::InProgress { .. } | Status::Terminating)
    }

    /// Whether the object may make others: a certificate its Secret, a job whatever it likes.
    pub(super) fn makes_others(&self) -> bool {
        self.workload() == Some(Workload::Job) || !readiness::is_built_in(&self.judged.object.key.group)
    }

    pub(super) fn message(&self) -> String {
        let message = self.status.message();
        match &self.trouble {
            Some(trouble) if self.waits() && trouble != message => format!("{message}; {trouble}"),
            _ => message.to_owned(),
        }
    }

    pub(super) fn wait(&self) -> Wait {
        Wait {
            object: self.judged.object.clone(),
            message: self.message(),
            evidence: self.evidence.clone(),
            patience: self.patience(),
            deadline: self.wishes.deadline,
            replaced: self.replaced,
            lost_for: self.lost_for,
        }
    }

    /// The deadline that a Deployment sets itself; not the one that the server gives to those that set none.
    fn patience(&self) -> Option<Duration> {
        const DEFAULT: u64 = 600;
        let Live::Present(live) = &self.judged.live else { return None };
        let seconds = live.pointer("/spec/progressDeadlineSeconds")?.as_u64();
        let seconds = seconds.filter(|it| *it < NO_DEADLINE.unsigned_abs() && *it != DEFAULT)?;
        Some(Duration::from_secs(seconds)).filter(|_| self.workload() == Some(Workload::Deployment))
    }

    pub(super) fn warnings(&self) -> Vec<Warning> {
        let Live::Present(live) = &self.judged.live else { return Vec::new() };
        if self.judged.deleted {
            return Vec::new();
        }
        let object = &self.judged.object;
        let told = rules::warnings(object, &Case::new(live, self.judged.baseline.as_ref()));
        told.into_iter()
            .chain(self.wishes.problems.iter().cloned())
            .map(|message| Warning { object: object.clone(), message })
            .collect()
    }
}

fn is_going(judged: &Judged, scene: &Scene) -> bool {
    judged.object.key.namespace.as_ref().is_some_and(|namespace| scene.going.contains(namespace))
}

fn waiting(reason: &str, message: &str) -> Status {
    Status::InProgress { reason: reason.to_owned(), message: message.to_owned() }
}
