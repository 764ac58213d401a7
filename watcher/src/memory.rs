//! What the watcher remembers between two looks at a release. All of it can be lost: then things take a little longer.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use backout_model::{
    health::Sightings,
    names::{RecordName, ReleaseKey},
    object::{ObjectRef, Position},
    protocol::{BLIND_AFTER, Observed, Pack, Refusal, Unrecorded, Watched},
    release::ReleaseStatus,
    rollback::Proof,
    undo::{Record, chain::Entry},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

/// The memory of all releases.
#[derive(Default)]
pub(crate) struct Memories(Mutex<HashMap<ReleaseKey, Memory>>);

/// The memory of one release.
#[derive(Default)]
pub(crate) struct Memory {
    /// The uid of the Release.
    uid: Option<String>,
    /// Records of a Release of the same name that was deleted: to delete a Release is to commit what it holds.
    dead: BTreeSet<RecordName>,
    /// When the last observation was complete.
    pub(crate) observed: Option<Instant>,
    /// The newest record's position, and since when it is: quiet time is measured by one clock alone.
    newest: Option<(Position, Instant)>,
    /// Where the revision is sealed, and since when this watcher has seen it so; it was so at the first look if that is
    /// not known.
    sealed: Option<(Option<String>, Option<Instant>)>,
    /// Since when all objects are ready, as this watcher has found itself.
    ready: Option<Instant>,
    /// When each record was first seen.
    pub(crate) first_seen: HashMap<RecordName, Instant>,
    /// Of records that were read because no object bears them out: what is wrong with each, if anything is.
    pub(crate) readable: HashMap<RecordName, Option<String>>,
    /// What the judge saw.
    pub(crate) sightings: Sightings,
    /// The state of objects before the revision, without data.
    pub(crate) baselines: BTreeMap<RecordName, Value>,
    /// What is kept of the current revision, and at which cut.
    packed: Option<(Option<String>, Pack)>,
    /// What was kept of the revisions after the one that is asked for.
    pub(crate) unpacked: Option<(u64, Vec<(Entry, Record)>)>,
    /// Images read for a rollback under way.
    pub(crate) proofs: BTreeMap<RecordName, Proof>,
    /// What was told last, for which request: the Secret, or why there is none.
    pub(crate) told: Option<(String, Result<String, String>)>,
    /// The failure that evidence was gathered about, and what came of it.
    secured: Option<(Moment, Result<String, String>)>,
    /// What was written without a record, and when that was looked for.
    surveyed: Option<(Moment, Vec<ObjectRef>)>,
    /// Restores that the server refused.
    refusals: BTreeMap<ObjectRef, Backoff>,
    /// See [`Observed::ignored`].
    pub(crate) ignored: BTreeMap<ObjectRef, String>,
    /// How often in a row an object had changed before it could be restored.
    conflicts: BTreeMap<ObjectRef, u32>,
}

/// The end of a revision: when its verdict fell, or since when it is ready. What was found at another one is out of date.
#[derive(PartialEq, Eq)]
struct Moment {
    revision: u64,
    decided: Option<Time>,
    ready: Option<Time>,
}

impl Moment {
    fn of(status: &ReleaseStatus) -> Self {
        Self {
            revision: status.revision,
            decided: status.decided_at.clone(),
            ready: status.ready_since.clone(),
        }
    }
}

struct Backoff {
    why: String,
    delay: Duration,
    due: Instant,
}

/// The first pause after a refusal, doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// After so many conflicts in a row there is a pause.
const CONFLICTS: u32 = 5;

impl Memories {
    /// Takes a release's memory out, for the one who works on it; [`Self::put`] gives it back.
    pub(crate) fn take(&self, key: &ReleaseKey) -> Memory {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key).unwrap_or_default()
    }

    pub(crate) fn put(&self, key: &ReleaseKey, memory: Memory) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), memory);
    }

    /// Whether a record was seen as one of a Release that existed.
    pub(crate) fn knows(&self, key: &ReleaseKey, record: &str) -> bool {
        let memories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let record = RecordName::parse(record);
        memories.get(key).zip(record).is_some_and(|(memory, record)| memory.first_seen.contains_key(&record))
    }

    /// Forgets the releases that do not exist any more.
    pub(crate) fn retain(&self, exists: impl Fn(&ReleaseKey) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| exists(key));
    }
}

impl Memory {
    /// Notes which Release it is that is looked at: all is forgotten of one of the same name before it.
    pub(crate) fn is_of(&mut self, uid: Option<&str>) {
        if self.uid.is_some() && self.uid.as_deref() != uid {
            let dead = std::mem::take(self).first_seen.into_keys().collect();
            self.dead = dead;
        }
        self.uid = uid.map(str::to_owned);
    }

    /// Whether a record is one of a Release that was deleted.
    pub(crate) fn is_dead(&self, record: &RecordName) -> bool {
        self.dead.contains(record)
    }

    /// Forgets the records that are not in the log any more.
    pub(crate) fn is_now<'a>(&mut self, log: impl Iterator<Item = &'a RecordName>) {
        let log: BTreeSet<_> = log.collect();
        self.first_seen.retain(|name, _| log.contains(name));
        self.readable.retain(|name, _| log.contains(name));
    }

    /// For how long the newest record is at `newest`. A time in which nothing was observed does not count.
    pub(crate) fn quiet(&mut self, newest: Position, now: Instant) -> Duration {
        let gap = self.gap(now);
        let since = match self.newest {
            Some((position, since)) if position >= newest => (since + gap).min(now),
            _ => now,
        };
        self.newest = Some((newest, since));
        now.duration_since(since)
    }

    /// The time since the last look, if that is so long that nothing counts as observed in it.
    fn gap(&self, now: Instant) -> Duration {
        let gap = self.observed.map(|last| now.duration_since(last));
        gap.filter(|gap| *gap > BLIND_AFTER).unwrap_or_default()
    }

    /// For how long this watcher has seen itself what `status` tells.
    pub(crate) fn watched(&mut self, status: &ReleaseStatus, now: Instant) -> Watched {
        let gap = self.gap(now);
        let later = |since: Instant| (since + gap).min(now);
        self.sealed = match self.sealed.take() {
            Some((sealed, since)) if sealed == status.sealed_position => Some((sealed, since.map(later))),
            _ => Some((status.sealed_position.clone(), self.observed.map(|_| now))),
        };
        self.ready = self.ready.map(later);
        let sealed = self.sealed.as_ref().and_then(|(_, since)| *since);
        Watched {
            sealed: sealed.map(|since| now.duration_since(since)),
            ready: Some(self.ready.map_or(Duration::ZERO, |since| now.duration_since(since))),
        }
    }

    /// Whether what the current revision changed is kept.
    pub(crate) fn pack(&self, status: &ReleaseStatus) -> Pack {
        let packed = self.packed.as_ref().filter(|(sealed, _)| *sealed == status.sealed_position);
        packed.map_or(Pack::Wanted, |(_, pack)| pack.clone())
    }

    /// Whether a record is one of those in [`Self::unpacked`].
    pub(crate) fn is_unpacked(&self, record: &RecordName) -> bool {
        self.unpacked.iter().flat_map(|(_, unpacked)| unpacked).any(|(entry, _)| entry.name == *record)
    }

    /// Notes what became of keeping it.
    pub(crate) fn packed(&mut self, status: &ReleaseStatus, pack: Pack) {
        self.packed = Some((status.sealed_position.clone(), pack));
    }

    /// What is known of writes without a record.
    pub(crate) fn unrecorded(&self, status: &ReleaseStatus) -> Unrecorded {
        let known = self.surveyed.as_ref().filter(|(of, _)| *of == Moment::of(status));
        known.map_or(Unrecorded::Wanted, |(_, objects)| Unrecorded::Known(objects.clone()))
    }

    /// Notes what was written without a record.
    pub(crate) fn surveyed(&mut self, status: &ReleaseStatus, objects: Vec<ObjectRef>) {
        self.surveyed = Some((Moment::of(status), objects));
    }

    /// Notes what was decided.
    pub(crate) fn decided(&mut self, status: &ReleaseStatus, now: Instant) {
        self.ready = status.ready_since.as_ref().map(|_| self.ready.unwrap_or(now));
    }

    /// What is wrong with a record that was read, if anything is.
    pub(crate) fn garbage(&self, record: &RecordName) -> Option<&str> {
        self.readable.get(record)?.as_deref()
    }

    /// Notes that a restore was refused.
    pub(crate) fn refuse(&mut self, object: &ObjectRef, why: String, now: Instant) {
        let delay =
            self.refusals.get(object).map_or(FIRST_PAUSE, |refusal| (refusal.delay * 2).min(LONGEST_PAUSE));
        self.refusals.insert(object.clone(), Backoff { why, delay, due: now + delay });
    }

    /// Notes that an object was not what it had been a moment before: others write it. Now and then is no matter.
    pub(crate) fn conflict(&mut self, object: &ObjectRef, why: String, now: Instant) {
        let conflicts = self.conflicts.entry(object.clone()).or_default();
        *conflicts += 1;
        if *conflicts > CONFLICTS {
            self.refuse(object, why, now);
        }
    }

    /// Notes that a restore was done.
    pub(crate) fn accept(&mut self, object: &ObjectRef) {
        self.refusals.remove(object);
        self.conflicts.remove(object);
    }

    /// The refusals, as the decision sees them.
    pub(crate) fn refusals(&self, now: Instant) -> BTreeMap<ObjectRef, Refusal> {
        self.refusals
            .iter()
            .map(|(object, backoff)| {
                let pause = backoff.due.saturating_duration_since(now);
                (object.clone(), Refusal { why: backoff.why.clone(), pause })
            })
            .collect()
    }

    /// Takes back what was lent to an observation.
    pub(crate) fn keep(&mut self, observed: Observed) {
        self.baselines = observed.baselines;
        self.proofs = observed.proofs;
        self.proofs.retain(|_, proof| !matches!(proof, Proof::Unknown(_)));
    }

    /// What came of telling what this request asks for, if that was tried.
    pub(crate) fn told(&self, request: Option<&str>) -> Option<Result<String, String>> {
        self.told.as_ref().filter(|(of, _)| Some(of.as_str()) == request).map(|(_, told)| told.clone())
    }

    /// What came of gathering the evidence about a failure, if that was tried.
    pub(crate) fn evidence(&self, status: &ReleaseStatus) -> Option<Result<String, String>> {
        let secured = self.secured.as_ref().filter(|(of, _)| *of == Moment::of(status));
        secured.map(|(_, outcome)| outcome.clone())
    }

    /// Notes what came of it.
    pub(crate) fn secured(&mut self, status: &ReleaseStatus, outcome: Result<String, String>) {
        self.secured = Some((Moment::of(status), outcome));
    }

    /// Forgets what only a rollback under way needs.
    pub(crate) fn end_of_rollback(&mut self) {
        self.proofs.clear();
        self.refusals.clear();
        self.conflicts.clear();
        self.ignored.clear();
    }
}
