//! How much it takes until a signal counts as a failure.

use std::time::Duration;

use jiff::Timestamp;

use super::sightings::{Signal, age};

/// What kind of signal it is, and how long or how often it must be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// It will not go away by itself: confirmed by seeing it again after a while, and after so many attempts.
    Deterministic { confirm: Duration, attempts: u32 },
    /// Something is missing that will not come by itself. While another object of the release may yet make it, nothing is
    /// decided; after that `patient`, for kubelets look for it ever more seldom.
    Reference { confirm: Duration, patient: Duration },
    /// It may go away: it must last; `patient` where something that is on its way out is in the way.
    Threshold { patience: Duration, patient: Duration },
    /// Runs that ended: so many restarts that did not help. `patient` where something else may still be coming up.
    Crashes { restarts: u64, patient: u64 },
    /// It is told, but decides nothing.
    Evidence,
}

pub(super) const fn deterministic(seconds: u64) -> Class {
    after_attempts(seconds, 1)
}

pub(super) const fn after_attempts(seconds: u64, attempts: u32) -> Class {
    Class::Deterministic { confirm: Duration::from_secs(seconds), attempts }
}

pub(super) const fn reference(seconds: u64, patient: u64) -> Class {
    Class::Reference { confirm: Duration::from_secs(seconds), patient: Duration::from_secs(patient) }
}

pub(super) const fn threshold(seconds: u64) -> Class {
    patient_threshold(seconds, seconds)
}

pub(super) const fn patient_threshold(seconds: u64, patient: u64) -> Class {
    Class::Threshold { patience: Duration::from_secs(seconds), patient: Duration::from_secs(patient) }
}

pub(super) const fn crashes(restarts: u64, patient: u64) -> Class {
    Class::Crashes { restarts, patient }
}

/// What a signal amounts to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Fatal,
    /// It becomes fatal if it stands for so much longer.
    Due(Duration),
    Light,
}

impl Weight {
    /// Of something that is fatal once it stood for `wait`.
    pub(super) fn after(wait: Duration, stood: Duration) -> Self {
        if stood >= wait { Self::Fatal } else { Self::Due(wait.saturating_sub(stood)) }
    }

    /// For how long a signal is said to stand: roughly, as long as it decides nothing. What is told of a release is stored,
    /// and is not to change every second.
    pub(super) fn told(self, stood: Duration) -> Duration {
        const STEPS: [u64; 8] = [45, 30, 20, 15, 10, 5, 2, 1];
        let seconds = stood.as_secs();
        match self {
            Self::Fatal => stood,
            _ if seconds >= 60 => Duration::from_secs(seconds / 60 * 60),
            _ => Duration::from_secs(STEPS.into_iter().find(|step| *step <= seconds).unwrap_or(0)),
        }
    }

    pub(super) fn due(self) -> Option<Duration> {
        match self {
            Self::Due(time) => Some(time),
            Self::Fatal | Self::Light => None,
        }
    }
}

impl Class {
    /// What a signal that is no run of a container amounts to now.
    pub(super) fn weigh(self, patience: Patience, signal: &Signal, now: Timestamp) -> Weight {
        let stood = age(now, signal.first);
        match self {
            Self::Deterministic { confirm, .. } => Weight::after(confirm, stood),
            Self::Reference { .. } if patience.makers_wait => Weight::Light,
            Self::Reference { confirm, patient } => match signal.excused {
                None => Weight::after(confirm, stood),
                Some(since) => Weight::after(patient, age(now, since)),
            },
            Self::Threshold { patience: wait, patient } => {
                let since = signal.left.map_or(stood, |left| age(now, left));
                if patience.leaving { Weight::after(patient, stood) } else { Weight::after(wait, since) }
            }
            Self::Crashes { .. } | Self::Evidence => Weight::Light,
        }
    }

    /// The surer the lower.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Deterministic { .. } | Self::Reference { .. } => 0,
            Self::Threshold { .. } => 1,
            Self::Crashes { .. } => 2,
            Self::Evidence => 3,
        }
    }
}

/// What gives reason to wait longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Patience {
    /// Something that a crashing container may depend on is still coming up.
    pub(super) crashes: bool,
    /// An object that may make others, such as a certificate that makes a Secret, is still on its way.
    pub(super) makers_wait: bool,
    /// Pods that are on their way out still hold what the new ones need.
    pub(super) leaving: bool,
    /// How many failed runs somebody asked to bear.
    pub(super) budget: Option<u64>,
}
