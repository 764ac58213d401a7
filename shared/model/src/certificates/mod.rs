//! The webhook's certificate: which authorities the API server is told to trust, and what is made and renewed when.
//!
//! Three places are looked at, and one of them is written at a time: the *authority's Secret* (one authority, or two while
//! one succeeds the other, newest first), the *serving Secret* (the certificate that the webhook serves with, the
//! *leaf*) and the *bundles* (`caBundle` of each entry of the webhook's configuration).
//!
//! ```text
//! authorities  old ──▶ new, old ─────────────────────────────────────────────────▶ new
//! bundles      old ───────────▶ new, old ───────────────────────────────────────────────▶ new
//! leaf         old's ──────────────────── surely trusted ──▶ new's ── surely loaded ─┘
//! ```
//!
//! # Guarantees
//!
//! - `step` is total and deterministic, and its steps end: each one brings the three places nearer to where nothing is left to do.
//! - While nobody else changes any of the three, whatever leaf a replica still serves with is of an authority that every
//!   API server trusts: a bundle gets an authority before the first leaf is its, and loses it after the last one was.
//! - Nothing is remembered but for how long bundles and leaf have been seen as they are. Whoever forgets that waits longer.
//! - What somebody took away is put back at once, trust first, and trust in what may still be served with is kept.
//!
//! Not to be avoided is that writes are refused while a bundle lacks the authority, until it is put right; and, where both
//! Secrets or the authority in the bundles are lost, until the kubelets have handed the new leaf to the replicas.

mod observed;
mod step;

use std::{collections::BTreeSet, fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

pub use observed::{Configuration, Leaf, Observed};
pub use step::{Step, step};

use crate::names;

/// What certificates are to be like, and how long to wait between two steps.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The names and addresses that the webhook is called by.
    pub names: BTreeSet<String>,
    /// For how long an authority is valid.
    pub authority_lasts: Duration,
    /// For how long a leaf is valid.
    pub leaf_lasts: Duration,
    /// After so long every API server calls the webhook by the bundles that it was seen with.
    pub trusted_after: Duration,
    /// After so long every replica serves with the leaf that the Secret was seen with.
    pub loaded_after: Duration,
}

/// The names of a Service in its namespace, as far as it can be called by them.
pub fn service_names(service: &str, namespace: &str) -> BTreeSet<String> {
    let suffixes = [
        "",
        &format!(".{namespace}"),
        &format!(".{namespace}.svc"),
        &format!(".{namespace}.svc.cluster.local"),
    ];
    suffixes.iter().map(|suffix| format!("{service}{suffix}")).collect()
}

/// A certificate: the digest of its content.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl fmt::Display for Fingerprint {
    /// Enough of it to tell one from the other.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, _) = self.0.split_at(6);
        f.write_str(&names::hex(head))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Some time before it was made.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
}

/// Clocks may be behind by so much, and still find a new certificate valid.
const BACKDATED: Duration = Duration::from_hours(1);

impl Validity {
    /// Of what is made now.
    pub fn lasting(lasts: Duration, now: Timestamp) -> Self {
        // Certificates tell whole seconds.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        // What lasts for minutes only is due for renewal after some of them.
        let before = BACKDATED.min(lasts / 10);
        Self { from: earlier(now, before), until: later(now, lasts) }
    }

    /// Whether it has not ended. Who made it knows best when it began: his clock may be ahead of ours.
    pub fn holds(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// When a third of it is left: what takes its place is made then, so that there is time to find out why it cannot.
    pub fn renewal(&self) -> Timestamp {
        earlier(self.until, Duration::try_from(self.until.duration_since(self.from) / 3).unwrap_or_default())
    }

    /// No longer than the other.
    #[must_use]
    fn within(self, other: &Self) -> Self {
        Self { until: self.until.min(other.until), ..self }
    }
}

/// A certificate that others are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Which.
    pub id: Fingerprint,
    /// Its time.
    pub validity: Validity,
    /// Whether its key is there, too.
    pub can_sign: bool,
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(signed(by)).unwrap_or(Timestamp::MAX)
}

fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_sub(signed(by)).unwrap_or(Timestamp::MIN)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
