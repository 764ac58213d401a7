//! What is remembered of one container: failed runs, failed pulls, and since when it is ready.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    containers::Container,
    facts::{Condition, Facts},
    sightings::{Signal, age},
    signals::{Row, plain, row_of},
};

/// Failed attempts to pull the image.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pull {
    pub(super) attempts: u32,
    /// The attempt that was seen last has not been put off yet.
    trying: bool,
    /// What the last attempt failed with.
    pub(super) cause: String,
}

/// Runs that ended since a beginning.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Budget {
    /// How often the container had been restarted at the beginning.
    base: u64,
    /// When the first run ended.
    pub(super) since: Option<Timestamp>,
    /// How many did.
    pub(super) ended: u64,
}

impl Budget {
    fn starting_at(base: u64) -> Self {
        Self { base, ..Self::default() }
    }

    fn count(&mut self, container: &Container<'_>, now: Timestamp) {
        let down = container.failed_run();
        self.ended = container.restarts().saturating_sub(self.base) + u64::from(down.is_some());
        if self.ended == 0 {
            self.since = None;
            return;
        }
        // The kubelet's own time, unless it is of a run before the beginning or of another clock.
        let told = container.last_ending().and_then(|ending| ending.finished);
        let known = self.since.unwrap_or(now);
        let earliest = container.pod.time("/metadata/creationTimestamp").unwrap_or(now);
        let told = told.filter(|time| self.base == 0 && (earliest..=known).contains(time));
        self.since = Some(told.unwrap_or(known));
    }
}

/// What is remembered of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    pub(super) signal: Option<Signal>,
    pub(super) pull: Option<Pull>,
    /// Failed runs since the pod began, or since it last proved itself.
    pub(super) budget: Budget,
    /// Failed runs since the pod proved itself while everything was ready.
    pub(super) soak: Option<Budget>,
    /// How many of them ended while something that it may depend on was still coming up.
    pub(super) forgiven: u64,
    ready_since: Option<Timestamp>,
    pub(super) restarts: u64,
    /// It was down when it was first seen, and the revision did not make it: none of its doing.
    pub(super) inherited: bool,
}

/// What to take a container for that is not remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Background {
    /// Restarts that it had before the revision.
    pub(super) restarts: u64,
    /// The revision did not change what the pod is made from.
    pub(super) inherited: bool,
    /// Everything was ready before.
    pub(super) soaking: bool,
    /// How long a container must be ready to have proved itself.
    pub(super) proof: Duration,
    /// How many failed attempts to pull its image the kubelet's Events tell of.
    pub(super) pulls: u32,
}

impl Memory {
    /// What is remembered after looking at `container` once more.
    pub(super) fn next(
        old: Option<&Self>,
        container: &Container<'_>,
        background: Background,
        now: Timestamp,
    ) -> Self {
        let restarts = container.restarts();
        let mut memory = old.cloned().unwrap_or_else(|| {
            let base = if background.inherited { restarts } else { background.restarts };
            let (_, message) = container.waiting().unwrap_or_default();
            let is_stuck = || row_of(container, &plain(message, container.image())).is_some();
            Self {
                budget: Budget::starting_at(base),
                inherited: background.inherited && is_stuck(),
                restarts,
                ..Self::default()
            }
        });
        if container.is_running() {
            memory.pull = None;
            memory.inherited = false;
        }
        memory.remember_readiness(container, background, now);
        memory.remember_pull(container, background.pulls);
        memory.budget.count(container, now);
        if let Some(soak) = &mut memory.soak {
            soak.count(container, now);
        }
        memory
    }

    /// Who stays ready for long enough starts with a clean sheet, and only then is measured by what soaking allows:
    /// without a readiness probe a container is ready at once, whatever becomes of it.
    fn remember_readiness(&mut self, container: &Container<'_>, background: Background, now: Timestamp) {
        if !container.is_ready() || container.restarts() != self.restarts {
            self.ready_since = None;
            self.restarts = container.restarts();
        }
        if !container.is_ready() {
            return;
        }
        let told = container.pod.condition("Ready").filter(|ready| ready.is_true());
        // A container that is restarted at once takes its pod's readiness over.
        let told =
            told.and_then(Condition::since).map(|since| since.max(container.started().unwrap_or(since)));
        let told = told.filter(|since| *since <= now);
        let since = told.into_iter().chain(self.ready_since).min().unwrap_or(now);
        self.ready_since = Some(since);
        if age(now, since) >= background.proof {
            self.budget = Budget::starting_at(container.restarts());
            self.forgiven = 0;
            if background.soaking && self.soak.is_none() {
                self.soak = Some(self.budget.clone());
            }
        }
    }

    /// An attempt is counted when it is seen to fail; one that is already put off when it is first seen is one too.
    /// The status hides every other one, `told` by the Events does not.
    fn remember_pull(&mut self, container: &Container<'_>, told: u32) {
        let Some((reason @ ("ErrImagePull" | "ImagePullBackOff"), message)) = container.waiting() else {
            return;
        };
        let trying = reason == "ErrImagePull";
        let cause = match message.split_once("ErrImagePull: ") {
            Some((_, cause)) => Some(cause),
            None => trying.then_some(message),
        };
        let mut pull = self.pull.take().unwrap_or(Pull { attempts: 1, trying, cause: String::new() });
        if trying && !pull.trying {
            pull.attempts = pull.attempts.saturating_add(1);
        }
        pull.attempts = pull.attempts.max(told);
        pull.trying = trying;
        if let Some(cause) = cause {
            cause.clone_into(&mut pull.cause);
        } else if pull.cause.is_empty() {
            message.clone_into(&mut pull.cause);
        }
        self.pull = Some(pull);
    }

    /// Why the container waits, as the rows want to read it.
    pub(super) fn complaint(&self, container: &Container<'_>) -> String {
        plain(self.cause(container), container.image())
    }

    /// Why the container waits, in the kubelet's own words.
    pub(super) fn cause<'a>(&'a self, container: &Container<'a>) -> &'a str {
        match (&self.pull, container.waiting()) {
            (Some(pull), Some(_)) if is_pulling(container) => &pull.cause,
            (_, Some(_)) => container.waiting_told().unwrap_or_default().1,
            (_, None) => "",
        }
    }

    /// Notes that `row` holds now; another one that held before is forgotten.
    pub(super) fn sight(&mut self, row: Option<&'static Row>, now: Timestamp) {
        self.signal = Signal::sight(self.signal.take(), row.map(|row| row.name), now);
    }
}

fn is_pulling(container: &Container<'_>) -> bool {
    matches!(container.waiting(), Some(("ErrImagePull" | "ImagePullBackOff", _)))
}

impl Memory {
    /// All times that are remembered.
    pub(super) fn times(&mut self) -> impl Iterator<Item = &mut Timestamp> {
        let Self { signal, budget, soak, ready_since, .. } = self;
        let soak = soak.as_mut().and_then(|soak| soak.since.as_mut());
        let times = [budget.since.as_mut(), soak, ready_since.as_mut()];
        times.into_iter().flatten().chain(signal.iter_mut().flat_map(Signal::times))
    }
}

/// How often the containers of a pod had been restarted before the revision, by name.
pub(super) fn restarts_before(pod: Option<Facts<'_>>, container: &str) -> u64 {
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    pod.into_iter()
        .flat_map(|pod| lists.into_iter().flat_map(move |list| pod.list(list)))
        .find(|status| status.text("/name") == container)
        .map_or(0, |status| u64::try_from(status.count("/restartCount")).unwrap_or(0))
}
