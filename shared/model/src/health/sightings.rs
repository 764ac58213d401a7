//! What earlier judgements saw: since when a signal stands, how often it came, what a kubelet has since forgotten.
//!
//! Plain memory: it comes in, and leaves as new. What a pod's own status tells (restarts, times of runs) is taken
//! from there, so that a watcher that starts anew loses no more than a confirmation window.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;

use super::{containers::Container, runs::Memory};
use crate::object::{Image, ObjectKey};

/// The memory of the judge, for the objects of one release.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sightings {
    pub(super) containers: BTreeMap<ContainerKey, Memory>,
    pub(super) pods: BTreeMap<String, PodMemory>,
    pub(super) objects: BTreeMap<ObjectKey, ObjectMemory>,
}

impl Sightings {
    /// Lets a time in which nothing could be observed not count: what was seen before was seen so much later.
    pub fn stand_still(&mut self, gap: Duration) {
        let of_containers = self.containers.values_mut().flat_map(Memory::times);
        let of_pods = self.pods.values_mut().flat_map(PodMemory::times);
        let of_objects = self.objects.values_mut().flat_map(ObjectMemory::times);
        for time in of_containers.chain(of_pods).chain(of_objects) {
            *time = time.checked_add(gap).unwrap_or(*time);
        }
    }
}

impl Sightings {
    /// The release is still being written: what was ready before may be asked for more now.
    pub(crate) fn begin_anew(&mut self) {
        self.objects.values_mut().for_each(|memory| memory.ready_with = None);
    }
}

/// A container of a pod: the pod's uid, the container's name.
pub(super) type ContainerKey = (String, String);

/// The key under which a container is remembered.
pub(super) fn key_of(pod: &Value, container: &Container<'_>) -> ContainerKey {
    (pod_key(pod), container.name().to_owned())
}

/// The key under which a pod is remembered.
pub(super) fn pod_key(pod: &Value) -> String {
    Image(pod).uid().or_else(|| Image(pod).meta("name")).unwrap_or_default().to_owned()
}

/// What is remembered of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PodMemory {
    /// It was ready at some time.
    pub(super) was_ready: bool,
    /// It was there when what it uses was looked at first.
    pub(super) is_older: bool,
    pub(super) signal: Option<Signal>,
}

impl PodMemory {
    fn times(&mut self) -> impl Iterator<Item = &mut Timestamp> {
        self.signal.iter_mut().flat_map(Signal::times)
    }
}

/// What is remembered of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ObjectMemory {
    /// Since when it is gone.
    pub(super) absent_since: Option<Timestamp>,
    /// Why it counts as failed once it has done so for a while, and since when.
    pub(super) failing: Option<(&'static str, Timestamp)>,
    /// It was there, and nothing would delete it by itself.
    pub(super) lasting: bool,
    /// Since when it is as the revision wants it, and its controller has said nothing yet.
    pub(super) untold_since: Option<Timestamp>,
    /// With which rollout, and with how many pods, it was ready.
    pub(super) ready_with: Option<(String, i64)>,
    /// How many refusals to create its pods were told of when it was first seen: they were there before.
    pub(super) refusals_before: u64,
    /// The refusal that stands.
    pub(super) refusal: Option<Signal>,
    /// How many of its new pods there were.
    pub(super) pods: usize,
    /// Since when it is waited for, for another reason than pods that take the place of others.
    pub(super) lost_since: Option<Timestamp>,
    /// Its pods that nodes have refused, and when that was seen.
    pub(super) rejects: BTreeMap<String, Timestamp>,
}

/// For how long a pod that a node has refused counts.
pub(super) const REJECTS_WITHIN: Duration = Duration::from_mins(1);

impl ObjectMemory {
    /// What is known of the object still, whatever it is doing now.
    pub(super) fn next(before: Option<&Self>) -> Self {
        let Some(before) = before else { return Self::default() };
        let Self { ready_with, refusals_before, refusal, pods, rejects, .. } = before.clone();
        Self { ready_with, refusals_before, refusal, pods, rejects, ..Self::default() }
    }

    fn times(&mut self) -> impl Iterator<Item = &mut Timestamp> {
        let failing = self.failing.as_mut().map(|(_, since)| since);
        [self.absent_since.as_mut(), self.untold_since.as_mut(), self.lost_since.as_mut(), failing]
            .into_iter()
            .flatten()
            .chain(self.refusal.iter_mut().flat_map(Signal::times))
            .chain(self.rejects.values_mut())
    }

    /// Notes the pods that nodes have refused, and says how many there were at most in so short a time. That they were as
    /// many does not pass with time.
    pub(super) fn count_rejects<'a>(
        &mut self,
        pods: impl Iterator<Item = &'a Value>,
        now: Timestamp,
    ) -> usize {
        let there: BTreeSet<_> = pods.map(pod_key).collect();
        self.rejects.retain(|pod, time| age(now, *time) < REJECTS_WITHIN || there.contains(pod));
        for pod in there {
            self.rejects.entry(pod).or_insert(now);
        }
        let mut times: Vec<_> = self.rejects.values().copied().collect();
        times.sort_unstable();
        let until = |from: Timestamp| times.partition_point(|time| age(*time, from) < REJECTS_WITHIN);
        times.iter().enumerate().map(|(at, from)| until(*from) - at).max().unwrap_or_default()
    }
}

/// A signal that stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Signal {
    /// What it is about.
    matter: &'static str,
    /// Since when it is seen.
    pub(super) first: Timestamp,
    /// When something was last on its way that might put an end to it.
    pub(super) excused: Option<Timestamp>,
    /// When something that is in the way was last seen on its way out.
    pub(super) left: Option<Timestamp>,
}

impl Signal {
    pub(super) fn times(&mut self) -> impl Iterator<Item = &mut Timestamp> {
        [Some(&mut self.first), self.excused.as_mut(), self.left.as_mut()].into_iter().flatten()
    }

    /// Notes that a signal about `matter` stands now; one about another matter that stood before is forgotten.
    pub(super) fn sight(before: Option<Self>, matter: Option<&'static str>, now: Timestamp) -> Option<Self> {
        let matter = matter?;
        before.filter(|signal| signal.matter == matter).or(Some(Self {
            matter,
            first: now,
            excused: None,
            left: None,
        }))
    }
}

/// How much time passed; none if the clocks disagree.
pub(super) fn age(now: Timestamp, since: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
