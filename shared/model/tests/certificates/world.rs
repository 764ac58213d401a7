//! The three places, and those who follow them: API servers the bundles, replicas of the webhook the leaf, each with a
//! delay; watchers, whose looks are cut into reads and a write so that anything may happen between.

use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
    time::Duration,
};

use backout_model::certificates::{
    Authority, Configuration, Fingerprint, Leaf, Observed, Settings, Step, Validity, service_names, step,
};
use jiff::{SignedDuration, Timestamp};

pub(crate) const HOUR: u64 = 3600;
const TRUSTED_AFTER: u64 = 60;
const LOADED_AFTER: u64 = 600;

pub(crate) fn settings() -> Settings {
    Settings {
        names: service_names("backout-webhook", "backout-system"),
        authority_lasts: Duration::from_secs(12 * HOUR),
        leaf_lasts: Duration::from_secs(3 * HOUR),
        trusted_after: Duration::from_secs(TRUSTED_AFTER),
        loaded_after: Duration::from_secs(LOADED_AFTER),
    }
}

pub(crate) type Bundles = Vec<Option<Vec<Fingerprint>>>;

/// Something that is written under the condition that it is still at this version.
#[derive(Clone, Default)]
struct Place<T> {
    version: u64,
    content: T,
}

impl<T> Place<T> {
    fn put(&mut self, content: T) {
        self.version += 1;
        self.content = content;
    }
}

/// The serving Secret: the leaf, with a number of its own, and the authorities beside it.
#[derive(Clone)]
pub(crate) struct Served {
    number: u64,
    pub(crate) leaf: Leaf,
    beside: Vec<Fingerprint>,
}

/// Follows a place with a delay: what it works by, and what it gets to know when.
struct Follower<T> {
    delay: u64,
    works_by: T,
    coming: Vec<(Timestamp, T)>,
}

impl<T: Clone> Follower<T> {
    fn told(&mut self, now: Timestamp, content: &T) {
        self.coming.push((now + SignedDuration::from_secs(self.delay.cast_signed()), content.clone()));
    }

    fn at(&mut self, now: Timestamp) {
        while let Some(next) = self.coming.iter().position(|(at, _)| *at <= now) {
            self.works_by = self.coming.remove(next).1;
        }
    }
}

/// A watcher: what it has read in this look, and since when it has seen things as they are.
#[derive(Default)]
struct Watcher {
    bundles: Option<Place<Bundles>>,
    served: Option<Place<Option<Served>>>,
    authorities: Option<Place<Vec<Authority>>>,
    bundles_since: Option<(u64, Timestamp)>,
    leaf_since: Option<(u64, Timestamp)>,
}

pub(crate) struct World {
    pub(crate) now: Timestamp,
    made: u64,
    times: BTreeMap<Fingerprint, Validity>,
    bundles: Place<Bundles>,
    served: Place<Option<Served>>,
    authorities: Place<Vec<Authority>>,
    servers: Vec<Follower<Bundles>>,
    replicas: Vec<Follower<Option<Served>>>,
    watchers: Vec<Watcher>,
}

impl World {
    /// With entries that trust nobody, and nothing else; API servers and replicas follow with these delays.
    pub(crate) fn new(watchers: usize, delays: &[(u64, u64)]) -> Self {
        let bundles: Bundles = vec![None, None];
        let server = |delay: u64| Follower {
            delay: delay % TRUSTED_AFTER,
            works_by: bundles.clone(),
            coming: Vec::new(),
        };
        let replica =
            |delay: u64| Follower { delay: delay % LOADED_AFTER, works_by: None, coming: Vec::new() };
        Self {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            made: 0,
            times: BTreeMap::new(),
            served: Place::default(),
            authorities: Place::default(),
            servers: delays.iter().map(|&(delay, _)| server(delay)).collect(),
            replicas: delays.iter().map(|&(_, delay)| replica(delay)).collect(),
            watchers: (0..watchers).map(|_| Watcher::default()).collect(),
            bundles: Place { version: 0, content: bundles },
        }
    }

    pub(crate) fn passes(&mut self, seconds: u64) {
        self.now += SignedDuration::from_secs(seconds.cast_signed());
        self.servers.iter_mut().for_each(|server| server.at(self.now));
        self.replicas.iter_mut().for_each(|replica| replica.at(self.now));
    }

    /// The watcher makes its next read, or decides and writes; its write, if it made one.
    pub(crate) fn advance(&mut self, watcher: usize) -> Option<Step> {
        let now = self.now;
        let reads = &mut self.watchers[watcher];
        if reads.bundles.is_none() {
            reads.bundles = Some(self.bundles.clone());
            if reads.bundles_since.is_none_or(|(version, _)| version != self.bundles.version) {
                reads.bundles_since = Some((self.bundles.version, now));
            }
        } else if reads.served.is_none() {
            reads.served = Some(self.served.clone());
            let number = self.served.content.as_ref().map_or(0, |served| served.number);
            if reads.leaf_since.is_none_or(|(seen, _)| seen != number) {
                reads.leaf_since = Some((number, now));
            }
        } else if reads.authorities.is_none() {
            reads.authorities = Some(self.authorities.clone());
        } else {
            return self.decide(watcher);
        }
        None
    }

    fn decide(&mut self, watcher: usize) -> Option<Step> {
        let reads = &mut self.watchers[watcher];
        let (bundles, served) = (reads.bundles.take().unwrap(), reads.served.take().unwrap());
        let authorities = reads.authorities.take().unwrap();
        let since = |since: Option<(u64, Timestamp)>| {
            Duration::try_from(self.now.duration_since(since.unwrap().1)).unwrap()
        };
        let (bundles_seen_for, leaf_seen_for) = (since(reads.bundles_since), since(reads.leaf_since));
        let seen = self.observed(&bundles.content, served.content.as_ref(), &authorities.content);
        let seen = Observed {
            configuration: seen
                .configuration
                .map(|seen| Configuration { seen_for: bundles_seen_for, ..seen }),
            leaf_seen_for,
            ..seen
        };
        let next = step(&seen, &settings(), self.now);
        let is_current = match &next {
            Step::MakeAuthority { .. } | Step::Retire { .. } => {
                authorities.version == self.authorities.version
            }
            Step::Trust(_) => bundles.version == self.bundles.version,
            Step::MakeLeaf { .. } => served.version == self.served.version,
            Step::Wait(_) => false,
        };
        is_current.then(|| {
            self.perform(&next, &authorities.content);
            next
        })
    }

    /// What there is, seen for ever.
    fn observed(&self, bundles: &Bundles, served: Option<&Served>, authorities: &[Authority]) -> Observed {
        let mut there: Vec<_> = authorities.iter().map(|authority| authority.id.clone()).collect();
        there.extend(bundles.iter().flatten().flatten().cloned());
        there.extend(served.iter().flat_map(|served| &served.beside).cloned());
        let leaf = served.map(|served| served.leaf.clone());
        let leaf = leaf.map(|leaf| Leaf { issuer: leaf.issuer.filter(|id| there.contains(id)), ..leaf });
        Observed {
            authorities: authorities.to_vec(),
            leaf,
            leaf_seen_for: Duration::MAX,
            configuration: Some(Configuration { bundles: bundles.clone(), seen_for: Duration::MAX }),
            known: there.into_iter().map(|id| (id.clone(), self.times[&id])).collect(),
        }
    }

    fn perform(&mut self, next: &Step, seen: &[Authority]) {
        match next {
            Step::MakeAuthority { validity, keep } => {
                let made = self.authority(*validity);
                let kept = seen.iter().filter(|authority| Some(&authority.id) == keep.as_ref());
                self.authorities.put([made].into_iter().chain(kept.cloned()).collect());
            }
            Step::Retire { keep } => {
                self.authorities
                    .put(seen.iter().filter(|authority| authority.id == *keep).cloned().collect());
            }
            Step::Trust(ids) => self.trust(|_, bundle| *bundle = Some(ids.clone())),
            Step::MakeLeaf { by, validity } => {
                let beside = seen.iter().map(|authority| authority.id.clone()).collect();
                let leaf = Leaf {
                    validity: *validity,
                    names: settings().names,
                    issuer: Some(by.clone()),
                    is_usable: true,
                };
                self.serve(leaf, beside);
            }
            Step::Wait(_) => {}
        }
    }

    fn authority(&mut self, validity: Validity) -> Authority {
        self.made += 1;
        let id = Fingerprint::of(&self.made.to_be_bytes());
        self.times.insert(id.clone(), validity);
        Authority { id, validity, can_sign: true }
    }

    fn serve(&mut self, leaf: Leaf, beside: Vec<Fingerprint>) {
        self.made += 1;
        self.served.put(Some(Served { number: self.made, leaf, beside }));
        self.replicas.iter_mut().for_each(|replica| replica.told(self.now, &self.served.content));
        self.passes(0);
    }

    /// Every bundle becomes another, by whoever it is.
    pub(crate) fn trust(&mut self, change: impl Fn(usize, &mut Option<Vec<Fingerprint>>)) {
        let mut bundles = self.bundles.content.clone();
        bundles.iter_mut().enumerate().for_each(|(number, bundle)| change(number, bundle));
        self.bundles.put(bundles);
        self.servers.iter_mut().for_each(|server| server.told(self.now, &self.bundles.content));
        self.passes(0);
    }

    /// One of a stranger.
    pub(crate) fn stranger(&mut self) -> Authority {
        self.authority(Validity::lasting(Duration::from_secs(100 * HOUR), self.now))
    }

    /// Somebody brings a leaf of his own for these names, signed by this authority.
    pub(crate) fn bring(&mut self, authority: &Authority, names: BTreeSet<String>) {
        let validity = Validity::lasting(Duration::from_secs(100 * HOUR), self.now);
        let leaf = Leaf { validity, names, issuer: Some(authority.id.clone()), is_usable: true };
        self.serve(leaf, Vec::new());
    }

    /// The watcher dies where it is, and is started again.
    pub(crate) fn restart(&mut self, watcher: usize) {
        self.watchers[watcher] = Watcher::default();
    }

    pub(crate) fn lose_authorities(&mut self) {
        self.authorities.put(Vec::new());
    }

    pub(crate) fn lose_key(&mut self) {
        let mut authorities = self.authorities.content.clone();
        authorities.iter_mut().take(1).for_each(|authority| authority.can_sign = false);
        self.authorities.put(authorities);
    }

    /// Replicas keep the last one that they could use.
    pub(crate) fn lose_leaf(&mut self) {
        self.served.put(None);
    }

    pub(crate) fn garble_leaf(&mut self) {
        let garbled = self.served.content.clone().map(|served| {
            let leaf = Leaf { is_usable: false, ..served.leaf };
            Served { number: served.number + 1_000_000, leaf, ..served }
        });
        self.served.put(garbled);
    }

    pub(crate) fn leaf(&self) -> Option<&Served> {
        self.served.content.as_ref()
    }

    pub(crate) fn authorities(&self) -> &[Authority] {
        &self.authorities.content
    }

    pub(crate) fn bundles(&self) -> &Bundles {
        &self.bundles.content
    }

    /// Which pair of API server and replica does not get on with each other, and why.
    pub(crate) fn refused(&self) -> Option<String> {
        for (number, replica) in self.replicas.iter().enumerate() {
            let Some(Served { leaf, .. }) = &replica.works_by else { continue };
            let issuer = leaf.issuer.as_ref().unwrap();
            if !leaf.validity.holds(self.now) || !self.times[issuer].holds(self.now) {
                return Some(format!("the certificate of replica {number} is over at {}", self.now));
            }
            let untrusting = |server: &Follower<Bundles>| {
                server
                    .works_by
                    .iter()
                    .any(|bundle| !bundle.as_ref().is_some_and(|bundle| bundle.contains(issuer)))
            };
            if let Some(server) = self.servers.iter().position(untrusting) {
                return Some(format!(
                    "at {} server {server} does not trust {issuer:?} of replica {number}",
                    self.now
                ));
            }
        }
        None
    }

    /// Nothing is left to do.
    pub(crate) fn is_in_order(&self) -> bool {
        let [authority] = self.authorities() else { return false };
        let trusted =
            self.bundles().iter().all(|bundle| bundle.as_deref() == Some(slice::from_ref(&authority.id)));
        let leaf = self.leaf().is_some_and(|served| {
            served.leaf.is_usable && served.leaf.issuer.as_ref() == Some(&authority.id)
        });
        trusted && leaf
    }

    /// So long, with all watchers at work.
    pub(crate) fn runs(&mut self, seconds: u64) {
        for _ in 0..seconds.div_ceil(30) {
            for watcher in 0..self.watchers.len() {
                (0..12).for_each(|_| drop(self.advance(watcher)));
            }
            self.passes(30);
        }
    }
}
