//! One step in the life of a revision.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    Decision, Effect, Notice, Observed, Pack, Wake,
    client::{self, Transaction},
    orders, report, restored, undoing,
};
use crate::{
    health::{self, Judgement, Verdict},
    identity::is_helm,
    object::Position,
    release::{Action, Attempt, Author, Failure, Past, Phase, ReleaseStatus, Unrestored},
    rollback::Track,
    undo::{
        Header,
        chain::{Entry, Standing},
    },
};

/// How often a release that is under way is looked at.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// For how long a write that may still commit puts off the cut: longer takes hardly one that is not refused. It is the
/// interval's all the same, which is committed only when it is known.
const UNDER_WAY: Duration = Duration::from_secs(10);

/// After how long without a write that took effect those that do not count no more.
const REFUSED_FOR: Duration = Duration::from_mins(1);

/// For how long one after the cut puts off a decision.
pub(super) const JUST_NOW: Duration = Duration::from_secs(2);

/// Decides what becomes of a release.
pub fn step(seen: &Observed, now: Timestamp) -> Decision {
    let mut step = Step::new(seen, now);
    // What was asked for is stored before it is done.
    if !orders::obey(&mut step) {
        step.lower_fence_for_who_has_begun();
        match seen.status.phase {
            _ if step.surveys() || step.secures_evidence() || step.sets_aside() => {}
            None | Some(Phase::Healthy | Phase::RolledBack | Phase::Held | Phase::Notified) => step.decided(),
            Some(Phase::Open) => step.open(),
            Some(Phase::Progressing | Phase::Soaking) => step.judged(),
            Some(Phase::RollingBack) => undoing::rolling_back(&mut step),
        }
    }
    step.keep_aside();
    step.keep_log();
    step.finish()
}

/// A step being taken.
pub(super) struct Step<'a> {
    pub(super) seen: &'a Observed,
    pub(super) now: Timestamp,
    pub(super) status: ReleaseStatus,
    pub(super) notices: Vec<Notice>,
    pub(super) effects: Vec<Effect>,
    pub(super) wake: Wake,
    pub(super) judgement: Option<Judgement>,
    /// What a rollback under way waits for.
    pub(super) held_up: Option<Unrestored>,
}

impl<'a> Step<'a> {
    fn new(seen: &'a Observed, now: Timestamp) -> Self {
        Self {
            seen,
            now,
            status: seen.status.clone(),
            notices: Vec::new(),
            effects: Vec::new(),
            wake: Wake::OnChange,
            judgement: None,
            held_up: None,
        }
    }

    /// Nothing is under way, unless a new record has come.
    fn decided(&mut self) {
        // A revision that was held or only reported is not committed, and yet a write after its cut is the next one's.
        let boundary = self.status.sealed().unwrap_or_else(|| self.status.healthy());
        self.lower_fence(boundary);
        let effective = self.seen.effective_after(boundary).next().is_some();
        let pending = self.seen.after(boundary).any(|(_, standing)| standing == Standing::Pending);
        if self.watches_restored() {
            restored::watch(self, effective || pending);
        } else if let Some(end) = self.held_until(boundary) {
            self.status.sealed_position = Some(end.to_string());
        } else if effective {
            self.begin(boundary);
            self.open();
        } else if self.may_try_again() {
            self.status.held = None;
            self.enter(Phase::RollingBack);
        } else if pending {
            self.wake = Wake::After(TICK);
        }
    }

    /// The last write of a client that goes on with its own transaction, or ends it, after somebody had it held: nothing new
    /// begins with it.
    fn held_until(&self, boundary: Position) -> Option<Position> {
        let is_held = self.status.phase == Some(Phase::Held) && self.status.failure.is_none();
        let user = client::user(&self.seen.tracks, self.status.opened()).filter(|_| is_held)?;
        let effective = |(_, entry, standing): &(&Track, &Entry, Standing)| {
            entry.position > boundary && standing.took_effect()
        };
        let goes_on = |(track, entry, _): (&Track, &Entry, _)| {
            let Header { begins, user: by, tool, .. } = &entry.header;
            !begins && (client::marks(&track.object) || (by == user && is_helm(tool)))
        };
        let last = self.seen.log().filter(effective).map(|(_, entry, _)| entry.position).max();
        last.filter(|_| self.seen.log().filter(effective).all(goes_on))
    }

    /// Whether what a rollback has put back is still watched: until then its records are there.
    pub(super) fn watches_restored(&self) -> bool {
        let is_open = self.status.sealed().is_some_and(|sealed| sealed > self.status.healthy());
        self.status.phase == Some(Phase::RolledBack) && (is_open || self.status.to.is_some())
    }

    /// Whether a person has looked at why the rollback is held, and allowed it: a change of the Release since.
    fn may_try_again(&self) -> bool {
        self.status.held.is_some()
            && self.seen.policy.accept_unverified
            && self.seen.generation != self.status.observed_generation
    }

    fn begin(&mut self, boundary: Position) {
        let mut new: Vec<_> = self.seen.effective_after(boundary).collect();
        new.sort_by_key(|entry| entry.position);
        let author = Author {
            user: new.first().map(|first| first.header.user.clone()).unwrap_or_default(),
            tool: new
                .iter()
                .map(|entry| &entry.header.tool)
                .find(|tool| !tool.is_empty())
                .cloned()
                .unwrap_or_default(),
        };
        self.begin_as(boundary, author);
    }

    /// A new revision of this author.
    pub(super) fn begin_as(&mut self, boundary: Position, author: Author) {
        self.leave_way_back();
        let past = &self.status;
        self.status = ReleaseStatus {
            phase: Some(Phase::Open),
            revision: past.revision + 1,
            healthy_revision: past.healthy_revision,
            healthy_position: past.healthy_position.clone(),
            undone: past.undone.clone(),
            author: Some(author),
            opened_at: Some(Time(self.now)),
            opened_position: Some(boundary.to_string()),
            attempt: Some(self.seen.attempt()),
            fence: past.fence.clone(),
            answer: past.answer.clone(),
            aside: past.aside.clone(),
            conditions: past.conditions.clone(),
            history: past.history.clone(),
            ..ReleaseStatus::default()
        };
    }

    /// The next revision begins in the midst of a way back: the states of those that it came from are nowhere.
    fn leave_way_back(&mut self) {
        let Some(to) = self.status.to else { return };
        self.notices.push(report::way_back_left(to));
        for past in self.status.history.iter_mut().filter(|past| past.revision > to) {
            past.half_undone |= past.outcome == Phase::Healthy && !past.undone;
        }
    }

    /// The deployer is writing; the judge watches already.
    fn open(&mut self) {
        self.wake = Wake::After(TICK);
        self.lower_fence(self.status.opened());
        self.status.attempt = Some(self.seen.attempt());
        let verdict = self.judge(false);
        let settle = self.seen.policy.settle;
        // A tool that is refused, and tries it again and again, has written nothing for long.
        let last = self.seen.effective_after(self.status.opened()).map(|entry| entry.age).min();
        let is_refused = last.is_some_and(|age| age >= settle + REFUSED_FOR);
        let pending = self.seen.log().any(|(_, entry, standing)| is_young(entry, standing, UNDER_WAY));
        let pending = pending && !is_refused;
        let quiet = self.seen.quiet >= settle || is_refused;
        let transaction = client::transaction(&self.seen.tracks, self.status.opened());
        let failed = matches!(verdict, Verdict::Failed(_));
        let seal = !pending
            && match transaction {
                Transaction::None => quiet,
                Transaction::Ended => true,
                // What made it fail may have been looked at just before.
                Transaction::Failed => failed || self.seen.quiet >= TICK,
                Transaction::Pending => (quiet && failed) || self.is_client_gone(&verdict),
            };
        if !seal {
            return;
        }
        self.status.sealed_position = Some(self.seen.cut.to_string());
        self.status.sealed_at = Some(Time(self.now));
        self.status.frozen_seconds = 0;
        match (verdict, transaction) {
            (Verdict::Failed(failure), _) => self.fail(failure),
            (_, Transaction::Failed) => {
                self.fail(report::client_failed(self.seen, self.judgement.as_ref()));
            }
            (_, Transaction::Pending) => {
                self.fail(report::client_gone(self.seen, self.judgement.as_ref()));
            }
            (verdict, _) => {
                self.enter(Phase::Progressing);
                self.conclude(verdict);
            }
        }
    }

    /// Whether a client has been silent for longer than what it may wait for takes.
    fn is_client_gone(&self, verdict: &Verdict) -> bool {
        let (quiet, deadline) = (self.seen.quiet, self.seen.policy.deadline);
        let is_late = |judgement| health::deadline_failure(judgement, deadline, quiet).is_some();
        quiet >= deadline
            && match verdict {
                Verdict::Undecided { .. } => false,
                Verdict::Waiting { .. } => self.judgement.as_ref().is_some_and(is_late),
                Verdict::Ready | Verdict::Failed(_) => true,
            }
    }

    /// The revision is sealed and its objects are watched.
    fn judged(&mut self) {
        self.wake = Wake::After(TICK);
        let sealed = self.status.sealed().unwrap_or_default();
        self.lower_fence(sealed);
        if self.seen.effective_after(sealed).next().is_some() {
            self.status.sealed_position = None;
            self.status.sealed_at = None;
            self.status.ready_since = None;
            self.status.unready_since = None;
            self.status.unrest = 0;
            self.enter(Phase::Open);
            return self.open();
        }
        let verdict = self.judge(self.status.phase == Some(Phase::Soaking));
        // A write that is just being made is heard first; one that is refused leaves such a record, too.
        if !self.seen.after(sealed).any(|(entry, standing)| is_young(entry, standing, JUST_NOW)) {
            self.conclude(verdict);
        }
    }

    /// What the revision changed is kept first, as long as its records are there.
    pub(super) fn commit(&mut self) {
        if self.looks_for_unrecorded() {
            return;
        }
        if self.seen.pack == Pack::Wanted {
            self.effects.push(Effect::Pack);
            self.wake = Wake::After(Duration::ZERO);
            return;
        }
        self.status.healthy_revision = Some(self.status.revision);
        self.end(Phase::Healthy);
    }

    /// The verdict has fallen. What was seen is stored with the decision, before anything is touched.
    pub(super) fn fail(&mut self, failure: Failure) {
        let policy = &self.seen.policy;
        let action = match self.status.attempt {
            _ if policy.suspend => Action::Notify,
            Some(Attempt::Install) => policy.on_install_failure,
            _ => policy.on_upgrade_failure,
        };
        self.notices.push(report::failed(self.seen, &failure));
        self.status.failure = Some(failure);
        match action {
            Action::Rollback => {
                if !self.holds_for_unrecorded() {
                    self.roll_back();
                }
            }
            Action::Hold => self.end(Phase::Held),
            Action::Notify => self.end(Phase::Notified),
        }
    }

    pub(super) fn roll_back(&mut self) {
        self.raise_fence();
        self.enter(Phase::RollingBack);
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        if phase == Phase::RollingBack {
            self.status.half_undone = false;
            self.status.decided_at = Some(Time(self.now));
            self.wake = Wake::After(Duration::ZERO);
        }
        self.status.phase = Some(phase);
    }

    /// Ends the revision and moves it into the history.
    pub(super) fn end(&mut self, phase: Phase) {
        if phase == Phase::Healthy {
            self.close_interval();
            self.notices.extend(report::warnings(self.judgement.as_ref()));
            self.notices.extend(report::unrecorded_of_healthy(&self.status));
        } else {
            self.status.confirmed = self.confirmed();
        }
        if phase == Phase::RolledBack {
            // Of the restored objects nothing is known yet.
            self.status.ready.clear();
        }
        let now = Some(Time(self.now));
        let decided_at = self.status.decided_at.clone().or_else(|| now.clone());
        self.status.decided_at.clone_from(&decided_at);
        self.status.phase = Some(phase);
        let cut = self.seen.cut();
        let written = self.seen.tracks.iter().filter(|track| {
            let first = track.effective().next();
            first.is_some_and(|first| first.position <= cut)
        });
        let past = Past {
            revision: self.status.revision,
            outcome: phase,
            undone: false,
            half_undone: phase != Phase::RolledBack && self.status.is_half_way(),
            pack: match &self.seen.pack {
                Pack::Kept(name) if phase == Phase::Healthy => Some(name.clone()),
                _ => None,
            },
            author: self.status.author.clone().unwrap_or_default(),
            objects: written.count() as u64,
            opened_at: self.status.opened_at.clone(),
            decided_at,
            ended_at: now,
            failure: self.status.failure.clone(),
            evidence: self.status.evidence.clone(),
            unrestored: self.status.unrestored.clone(),
        };
        self.status.remember(past, self.seen.policy.history_limit);
        self.notices.push(report::ended(&self.status));
        self.wake = Wake::After(Duration::ZERO);
    }

    /// Everything up to the cut is committed or rolled back: its records may go.
    pub(super) fn close_interval(&mut self) {
        self.status.healthy_position.clone_from(&self.status.sealed_position);
        // What is known of later records is the next revision's.
        let later: Vec<_> = self.seen.after(self.seen.cut()).map(|(entry, _)| entry.name.as_str()).collect();
        self.status.confirmed.retain(|name| later.contains(&name.as_str()));
        self.status.undone.clear();
        if let Some(to) = self.status.to.take() {
            self.status.healthy_revision = Some(to);
            for past in self.status.history.iter_mut().filter(|past| past.revision > to) {
                past.undone |= past.outcome == Phase::Healthy;
                past.pack = None;
            }
        }
        self.wake = Wake::After(Duration::ZERO);
    }

    fn finish(mut self) -> Decision {
        self.status.observed_generation = self.seen.generation;
        self.status.problems = report::problems(self.seen, self.judgement.as_ref());
        self.tell_window();
        report::summarize(&mut self.status, self.judgement.as_ref(), self.held_up.as_ref(), self.now);
        Decision {
            status: self.status,
            notices: self.notices,
            effects: self.effects,
            wake: self.wake,
            sightings: self.judgement.map(|judgement| judgement.sightings).unwrap_or_default(),
        }
    }
}

pub(super) fn is_young(entry: &Entry, standing: Standing, age: Duration) -> bool {
    standing == Standing::Pending && entry.age < age
}

pub(super) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
