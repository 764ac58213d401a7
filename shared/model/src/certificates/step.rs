//! The next step.

use std::{slice, time::Duration};

use jiff::Timestamp;

use super::{Authority, Fingerprint, Observed, Settings, Validity};

/// What is to be done next, in one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make an authority: the authority's Secret holds it, and behind it the one to keep, if any.
    MakeAuthority {
        /// The time of the new one.
        validity: Validity,
        /// The one before it.
        keep: Option<Fingerprint>,
    },
    /// Every bundle holds these.
    Trust(Vec<Fingerprint>),
    /// Make a leaf.
    MakeLeaf {
        /// Who signs it.
        by: Fingerprint,
        /// Its time.
        validity: Validity,
    },
    /// The authority's Secret holds no other but this one any more.
    Retire {
        /// The one that stays.
        keep: Fingerprint,
    },
    /// Nothing, for so long, or until something changes.
    Wait(Duration),
}

/// Says what is to be done next. The caller does it, under the condition that nobody was faster, and looks again.
pub fn step(seen: &Observed, settings: &Settings, now: Timestamp) -> Step {
    let Some(newest) = seen.newest(now) else {
        let issuer = seen.issuer(now);
        let rest = seen.authorities.iter().filter(|rest| rest.validity.holds(now));
        let keep = rest.clone().find(|rest| Some(&rest.id) == issuer).or_else(|| rest.clone().next());
        return make_authority(keep, settings, now);
    };
    let look = Look { seen, settings, now, newest };
    look.trust_more()
        .or_else(|| look.make_leaf())
        .or_else(|| look.retire())
        .or_else(|| look.succeed())
        .or_else(|| look.trust_less())
        .unwrap_or_else(|| Step::Wait(look.rest()))
}

fn make_authority(keep: Option<&Authority>, settings: &Settings, now: Timestamp) -> Step {
    let validity = Validity::lasting(settings.authority_lasts, now);
    Step::MakeAuthority { validity, keep: keep.map(|keep| keep.id.clone()) }
}

struct Look<'a> {
    seen: &'a Observed,
    settings: &'a Settings,
    now: Timestamp,
    newest: &'a Authority,
}

impl Look<'_> {
    /// At once, and without taking anything away.
    fn trust_more(&self) -> Option<Step> {
        let mut wanted = self.seen.needed(self.now);
        if wanted.iter().all(|id| self.seen.is_trusted(id)) {
            return None;
        }
        wanted.extend(self.seen.besides(&wanted, self.now));
        Some(Step::Trust(wanted))
    }

    fn make_leaf(&self) -> Option<Step> {
        let serving = self.seen.serving(self.now);
        let signer = match serving {
            None => self.trusted().or_else(|| (!self.may_be_served()).then_some(self.newest))?,
            Some(leaf) => {
                let signer = self.trusted()?;
                let is_of_another = leaf.issuer.as_ref() != Some(&signer.id);
                let is_newest = signer.id == self.newest.id;
                let is_other = !self.settings.names.is_subset(&leaf.names);
                let is_due =
                    self.now >= leaf.validity.renewal() && self.leaf(signer).until > leaf.validity.until;
                if !(is_other || is_due || (is_of_another && is_newest)) {
                    return None;
                }
                signer
            }
        };
        Some(Step::MakeLeaf { by: signer.id.clone(), validity: self.leaf(signer) })
    }

    /// The newest authority that every API server surely trusts.
    fn trusted(&self) -> Option<&Authority> {
        let is_sure = self.seen.until_trusted(self.settings).is_zero();
        if is_sure && self.seen.is_trusted(&self.newest.id) {
            return Some(self.newest);
        }
        let others = self.seen.authorities.iter().filter(|other| other.id != self.newest.id);
        others
            .filter(|other| other.can_sign && other.validity.holds(self.now))
            .find(|other| self.seen.is_trusted(&other.id))
    }

    /// Whether replicas may go on with a leaf that is lost: they keep what they have loaded until they get one that can be
    /// used, and somebody's authority besides ours is trusted.
    fn may_be_served(&self) -> bool {
        let is_lost = self.seen.leaf.as_ref().is_none_or(|leaf| !leaf.is_usable);
        is_lost && !self.seen.besides(slice::from_ref(&self.newest.id), self.now).is_empty()
    }

    fn leaf(&self, signer: &Authority) -> Validity {
        Validity::lasting(self.settings.leaf_lasts, self.now).within(&signer.validity)
    }

    /// Whether every replica surely serves with a leaf of the newest authority.
    fn is_settled(&self) -> bool {
        self.seen.issuer(self.now) == Some(&self.newest.id) && self.seen.until_loaded(self.settings).is_zero()
    }

    fn has_others(&self) -> bool {
        self.seen.authorities.iter().any(|authority| authority.id != self.newest.id)
    }

    fn retire(&self) -> Option<Step> {
        (self.is_settled() && self.has_others()).then(|| Step::Retire { keep: self.newest.id.clone() })
    }

    fn succeed(&self) -> Option<Step> {
        let is_due = self.now >= self.newest.validity.renewal() && !self.has_others();
        is_due.then(|| make_authority(Some(self.newest), self.settings, self.now))
    }

    fn trust_less(&self) -> Option<Step> {
        let needed = self.seen.needed(self.now);
        (self.is_settled() && self.exceeds(&needed)).then_some(Step::Trust(needed))
    }

    /// Whether a bundle holds anything but these.
    fn exceeds(&self, needed: &[Fingerprint]) -> bool {
        let bundles =
            self.seen.configuration.iter().flat_map(|configuration| &configuration.bundles).flatten();
        bundles.into_iter().any(|bundle| bundle.len() > needed.len())
    }

    /// The time until something is due.
    fn rest(&self) -> Duration {
        let at = |time: Timestamp| Duration::try_from(time.duration_since(self.now)).unwrap_or_default();
        let leaf = self.seen.leaf.as_ref().map(|leaf| at(leaf.validity.renewal()));
        let waits = [self.seen.until_trusted(self.settings), self.seen.until_loaded(self.settings)];
        let waits = waits.into_iter().chain([at(self.newest.validity.renewal())]).chain(leaf);
        waits.filter(|wait| !wait.is_zero()).min().unwrap_or(Duration::MAX)
    }
}
