//! What there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{Authority, Fingerprint, Settings, Validity};

/// The three places as they are: the bundles read first, the authority's Secret last. What a bundle got from somebody
/// else's look is then in the authorities, too.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// What the authority's Secret holds that can be read, newest first.
    pub authorities: Vec<Authority>,
    /// The leaf, if it can be read.
    pub leaf: Option<Leaf>,
    /// For how long this very leaf has been seen.
    pub leaf_seen_for: Duration,
    /// The webhook's configuration, if there is one.
    pub configuration: Option<Configuration>,
    /// The times of all certificates in the three places.
    pub known: BTreeMap<Fingerprint, Validity>,
}

/// What the webhook serves with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its time.
    pub validity: Validity,
    /// The names and addresses it is for.
    pub names: BTreeSet<String>,
    /// The one of all certificates in the three places that signed it.
    pub issuer: Option<Fingerprint>,
    /// Whether a server can use it: its key is there, and fits.
    pub is_usable: bool,
}

/// The webhook's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The bundle of each entry; `None` if it is absent or garbled.
    pub bundles: Vec<Option<Vec<Fingerprint>>>,
    /// For how long exactly these bundles have been seen.
    pub seen_for: Duration,
}

impl Observed {
    /// The newest authority that can sign.
    pub(super) fn newest(&self, now: Timestamp) -> Option<&Authority> {
        self.authorities.iter().find(|authority| authority.can_sign && authority.validity.holds(now))
    }

    /// The leaf's authority, as long as that is valid.
    pub(super) fn issuer(&self, now: Timestamp) -> Option<&Fingerprint> {
        self.leaf.as_ref()?.issuer.as_ref().filter(|id| self.holds(id, now))
    }

    pub(super) fn holds(&self, id: &Fingerprint, now: Timestamp) -> bool {
        self.known.get(id).is_some_and(|validity| validity.holds(now))
    }

    /// The leaf, if whoever trusts its authority takes it.
    pub(super) fn serving(&self, now: Timestamp) -> Option<&Leaf> {
        let issued = self.issuer(now).is_some();
        self.leaf.as_ref().filter(|leaf| issued && leaf.is_usable && leaf.validity.holds(now))
    }

    /// What is to be trusted in any case: all our authorities, and the one of the leaf, whose ever that is.
    pub(super) fn needed(&self, now: Timestamp) -> Vec<Fingerprint> {
        let ours = self.authorities.iter().filter(|authority| authority.validity.holds(now));
        let mut needed: Vec<_> = ours.map(|authority| authority.id.clone()).collect();
        needed.extend(
            self.issuer(now)
                .filter(|issuer| !needed.contains(issuer))
                .cloned()
                .into_iter()
                .collect::<Vec<_>>(),
        );
        needed
    }

    /// What some bundle holds besides.
    pub(super) fn besides(&self, needed: &[Fingerprint], now: Timestamp) -> Vec<Fingerprint> {
        let bundles = self.configuration.iter().flat_map(|configuration| &configuration.bundles).flatten();
        let others: BTreeSet<_> =
            bundles.flatten().filter(|id| !needed.contains(id) && self.holds(id, now)).collect();
        others.into_iter().cloned().collect()
    }

    /// Whether every bundle, if there is any, holds this authority.
    pub(super) fn is_trusted(&self, id: &Fingerprint) -> bool {
        let holds = |bundle: &Option<Vec<_>>| bundle.as_ref().is_some_and(|bundle| bundle.contains(id));
        self.configuration.as_ref().is_none_or(|configuration| configuration.bundles.iter().all(holds))
    }

    /// The time until every API server surely trusts what every bundle holds.
    pub(super) fn until_trusted(&self, settings: &Settings) -> Duration {
        let seen_for = self.configuration.as_ref().map(|configuration| configuration.seen_for);
        seen_for.map_or(Duration::ZERO, |seen_for| settings.trusted_after.saturating_sub(seen_for))
    }

    /// The time until every replica surely serves with the leaf.
    pub(super) fn until_loaded(&self, settings: &Settings) -> Duration {
        settings.loaded_after.saturating_sub(self.leaf_seen_for)
    }
}
