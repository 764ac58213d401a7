//! One step in the life of a revision.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    Decision, Effect, Notice, Observed, Wake,
    client::{self, Transaction},
    observed::Spent,
    report, undoing,
};
use crate::{
    health::{self, Judgement, Verdict},
    object::Position,
    release::{Action, Attempt, Author, Failure, Fence, Past, Phase, ReleaseStatus},
    rollback::Track,
    undo::{
        Operation,
        chain::{IN_FLIGHT, Standing},
    },
};

/// At what age a record is checked against the server's history, at the latest: the apiserver compacts what is
/// older than 5 minutes (`--etcd-compaction-interval`), and the check needs time for retries.
pub const VERIFY_AFTER: Duration = Duration::from_secs(150);

/// How often a release that is under way is looked at.
const TICK: Duration = Duration::from_secs(1);

/// An observation this much later than the one before counts as a time in which nothing was observed.
const BLIND_AFTER: Duration = Duration::from_secs(30);

/// Decides what becomes of a release.
pub fn step(seen: &Observed, now: Timestamp) -> Decision {
    let mut step = Step::new(seen, now);
    match seen.status.phase {
        None | Some(Phase::Healthy | Phase::RolledBack | Phase::Held | Phase::Notified) => step.decided(),
        Some(Phase::Open) => step.open(),
        Some(Phase::Progressing | Phase::Soaking) => step.judged(),
        Some(Phase::RollingBack) => undoing::rolling_back(&mut step),
    }
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
    judgement: Option<Judgement>,
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
        }
    }

    /// Nothing is under way, unless a new record has come.
    fn decided(&mut self) {
        let boundary = self.boundary();
        let new: Vec<_> = self.seen.after(boundary).collect();
        if new.iter().any(|(track, entry)| client::begins_transaction(track, entry)) {
            self.status.fence = None;
        }
        let any = |standing| new.iter().any(|(track, entry)| track.standing(entry) == Some(standing));
        if any(Standing::Confirmed) {
            self.begin(boundary);
            self.open();
        } else if any(Standing::Pending) {
            self.wake = Wake::After(TICK);
        } else if self.status.held.is_some() && self.seen.policy.accept_unverified {
            self.status.held = None;
            self.enter(Phase::RollingBack);
        }
    }

    /// Up to where the log belongs to revisions that are over: one that was held or only reported is not committed,
    /// and yet a write after its cut is the next one's.
    fn boundary(&self) -> Position {
        match self.status.phase {
            Some(Phase::Held | Phase::Notified) => self.status.sealed().unwrap_or(self.status.healthy()),
            _ => self.status.healthy(),
        }
    }

    fn begin(&mut self, boundary: Position) {
        let confirmed = || {
            self.seen
                .tracks
                .iter()
                .flat_map(|track| track.confirmed())
                .filter(|entry| entry.position > boundary)
        };
        let first = confirmed().min_by_key(|entry| entry.position);
        let author = Author {
            user: first.map(|entry| entry.header.user.clone()).unwrap_or_default(),
            tool: confirmed()
                .filter(|entry| !entry.header.tool.is_empty())
                .min_by_key(|entry| entry.position)
                .map(|entry| entry.header.tool.clone())
                .unwrap_or_default(),
        };
        let past = &self.seen.status;
        self.status = ReleaseStatus {
            phase: Some(Phase::Open),
            revision: past.revision + 1,
            healthy_revision: past.healthy_revision,
            healthy_position: past.healthy_position.clone(),
            author: Some(author),
            opened_at: Some(Time(self.now)),
            attempt: Some(self.seen.attempt()),
            fence: self.status.fence.clone(),
            conditions: past.conditions.clone(),
            history: past.history.clone(),
            ..ReleaseStatus::default()
        };
    }

    /// The deployer is writing; the judge watches already.
    fn open(&mut self) {
        self.wake = Wake::After(TICK);
        if self.seen.after(self.boundary()).any(|(track, entry)| client::begins_transaction(track, entry)) {
            self.status.fence = None;
        }
        self.status.attempt = Some(self.seen.attempt());
        let verdict = self.judge(false);
        let pending = self.seen.tracks.iter().any(|track| track.is_pending());
        let quiet = self.seen.quiet >= self.seen.policy.settle;
        let transaction = client::transaction(&self.seen.tracks);
        let failed = matches!(verdict, Verdict::Failed(_));
        let seal = !pending
            && match transaction {
                Transaction::None => quiet,
                Transaction::Ended | Transaction::Failed => true,
                Transaction::Pending => (quiet && failed) || self.seen.quiet >= self.seen.policy.deadline,
            };
        if !seal {
            return;
        }
        self.status.sealed_position = Some(self.seen.cut.to_string());
        match (verdict, transaction) {
            (Verdict::Failed(failure), _) => self.fail(failure, transaction == Transaction::Pending),
            (_, Transaction::Failed) => self.fail(report::client_failed(self.seen), false),
            (_, Transaction::Pending) => self.fail(report::client_gone(self.seen), true),
            _ => {
                self.enter(Phase::Progressing);
                self.judged();
            }
        }
    }

    /// The revision is sealed and its objects are watched.
    fn judged(&mut self) {
        self.wake = Wake::After(TICK);
        let sealed = self.status.sealed().unwrap_or_default();
        if self.seen.after(sealed).any(|(track, entry)| track.standing(entry) != Some(Standing::Aborted)) {
            self.status.sealed_position = None;
            self.status.ready_since = None;
            self.enter(Phase::Open);
            return;
        }
        let soaking = self.status.phase == Some(Phase::Soaking);
        match self.judge(soaking) {
            Verdict::Failed(failure) => self.fail(failure, false),
            Verdict::Undecided { .. } => {}
            Verdict::Ready => self.soak(),
            Verdict::Waiting { .. } => {
                if soaking {
                    self.status.ready_since = None;
                    self.enter(Phase::Progressing);
                }
                if self.open_for() >= signed(self.seen.policy.deadline)
                    && let Some(judgement) = &self.judgement
                {
                    self.fail(health::deadline_failure(judgement, self.seen.policy.deadline), false);
                }
            }
        }
    }

    fn soak(&mut self) {
        let since = self.status.ready_since.clone().map_or_else(|| round_up(self.now), |since| since.0);
        self.status.ready_since = Some(Time(since));
        if self.now.duration_since(since) >= signed(self.seen.policy.soak) {
            self.commit();
        } else if self.status.phase != Some(Phase::Soaking) {
            self.enter(Phase::Soaking);
        }
    }

    fn commit(&mut self) {
        self.status.healthy_revision = Some(self.status.revision);
        self.end(Phase::Healthy);
    }

    /// The verdict has fallen. What was seen is stored with the decision, before anything is touched.
    pub(super) fn fail(&mut self, failure: Failure, client_waits: bool) {
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
                if client_waits {
                    self.status.fence = Some(Fence {
                        revision: self.status.revision,
                        user: self.status.author.clone().unwrap_or_default().user,
                        message: report::fence(&self.status),
                    });
                }
                self.enter(Phase::RollingBack);
            }
            Action::Hold => self.end(Phase::Held),
            Action::Notify => self.end(Phase::Notified),
        }
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        if phase == Phase::RollingBack {
            self.status.decided_at = Some(Time(self.now));
            self.status.confirmed = self.confirmed();
            self.wake = Wake::After(Duration::ZERO);
        }
        self.status.phase = Some(phase);
    }

    fn confirmed(&self) -> Vec<String> {
        let cut = self.status.sealed().unwrap_or(self.seen.cut);
        let tracks: Vec<_> = self.seen.tracks.iter().filter_map(|track| track.until(cut)).collect();
        let named: BTreeSet<_> = tracks
            .iter()
            .flat_map(|track| &track.entries)
            .filter_map(|entry| entry.header.undo.as_ref())
            .collect();
        let confirmed = tracks.iter().flat_map(Track::confirmed).map(|entry| &entry.name);
        confirmed.filter(|name| !named.contains(name)).map(ToString::to_string).collect()
    }

    /// Ends the revision and moves it into the history.
    pub(super) fn end(&mut self, phase: Phase) {
        if matches!(phase, Phase::Healthy | Phase::RolledBack) {
            self.status.healthy_position.clone_from(&self.status.sealed_position);
        }
        let now = Some(Time(self.now));
        let decided_at = self.status.decided_at.clone().or_else(|| now.clone());
        self.status.decided_at.clone_from(&decided_at);
        self.status.phase = Some(phase);
        self.status.confirmed.clear();
        let past = Past {
            revision: self.status.revision,
            outcome: phase,
            author: self.status.author.clone().unwrap_or_default(),
            objects: self.seen.interval().iter().filter(|track| track.confirmed().next().is_some()).count()
                as u64,
            opened_at: self.status.opened_at.clone(),
            decided_at,
            ended_at: now,
            failure: self.status.failure.clone(),
            unrestored: self.status.unrestored.clone(),
        };
        self.status.history.retain(|other| other.revision != past.revision);
        self.status.history.insert(0, past);
        self.status.history.truncate(self.seen.policy.history_limit);
        self.notices.push(report::ended(self.seen, &self.status));
        self.wake = Wake::After(Duration::ZERO);
    }

    /// Judges the objects, and lets the clocks stand still over a time in which they could not be observed.
    fn judge(&mut self, soaking: bool) -> Verdict {
        let since_last = self.seen.since_last.unwrap_or_default();
        let mut sightings = self.seen.sightings.clone();
        if since_last > BLIND_AFTER {
            sightings.stand_still(since_last);
        }
        let judgement = health::judge(&self.seen.scene(soaking), &sightings, self.now);
        self.status.ready = format!("{}/{}", judgement.ready, judgement.total);
        let verdict = judgement.verdict.clone();
        self.judgement = Some(judgement);
        if since_last > BLIND_AFTER || matches!(verdict, Verdict::Undecided { .. }) {
            let stood = since_last.as_secs() + u64::from(since_last.subsec_nanos() > 0);
            self.status.frozen_seconds += stood;
            if let Some(since) = &mut self.status.ready_since {
                since.0 += SignedDuration::from_secs(i64::try_from(stood).unwrap_or(i64::MAX));
            }
        }
        verdict
    }

    /// How long the revision has been observed.
    fn open_for(&self) -> SignedDuration {
        let opened = self.status.opened_at.as_ref().map_or(self.now, |at| at.0);
        self.now.duration_since(opened) - signed(Duration::from_secs(self.status.frozen_seconds))
    }

    /// Looks after the records themselves: verified before the server forgets, collected when of no more use.
    fn keep_log(&mut self) {
        let healthy = self.seen.status.healthy();
        for (track, entry) in self.seen.after(healthy) {
            match track.standing(entry) {
                Some(Standing::Aborted) if entry.age >= IN_FLIGHT => {
                    self.effects.push(Effect::Collect(Spent::from(entry)));
                }
                Some(Standing::Confirmed)
                    if entry.verified.is_none()
                        && entry.age >= VERIFY_AFTER
                        && entry.header.operation != Operation::Create =>
                {
                    self.effects.push(Effect::Verify(entry.name.clone()));
                }
                _ => {}
            }
        }
        self.effects.extend(self.seen.spent.iter().cloned().map(Effect::Collect));
    }

    fn finish(mut self) -> Decision {
        self.status.observed_generation = self.seen.generation;
        self.status.problems.clone_from(&self.seen.problems);
        report::summarize(&mut self.status, self.judgement.as_ref(), self.now);
        Decision {
            status: self.status,
            notices: self.notices,
            effects: self.effects,
            wake: self.wake,
            sightings: self.judgement.map(|judgement| judgement.sightings).unwrap_or_default(),
        }
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// Stored times have whole seconds: rounding up keeps the soak from being cut short.
fn round_up(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second() + 1).unwrap_or(now)
}
