//! What the watcher remembers between two looks at a release. All of it can be lost: then things take a little longer.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use backout_model::{
    health::Sightings,
    names::{RecordName, ReleaseKey},
    object::{ObjectRef, Position},
    protocol::Refusal,
    rollback::Proof,
};
use serde_json::Value;

/// The memory of all releases.
#[derive(Default)]
pub(crate) struct Memories(Mutex<HashMap<ReleaseKey, Memory>>);

/// The memory of one release.
#[derive(Default)]
pub(crate) struct Memory {
    /// When the last observation was complete.
    pub(crate) observed: Option<Instant>,
    /// The newest record's position, and when it was first seen: quiet time is measured by one clock alone.
    pub(crate) newest: Option<(Position, Instant)>,
    /// When each record was first seen.
    pub(crate) first_seen: HashMap<RecordName, Instant>,
    /// What the judge saw.
    pub(crate) sightings: Sightings,
    /// The state of objects before the revision, without data.
    pub(crate) baselines: BTreeMap<RecordName, Value>,
    /// Images read for a rollback under way.
    pub(crate) proofs: BTreeMap<RecordName, Proof>,
    /// Restores that the server refused.
    refusals: BTreeMap<ObjectRef, Backoff>,
}

struct Backoff {
    why: String,
    delay: Duration,
    due: Instant,
}

/// The first pause after a refusal, doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Memories {
    /// Takes a release's memory out, for the one who works on it; [`Self::put`] gives it back.
    pub(crate) fn take(&self, key: &ReleaseKey) -> Memory {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key).unwrap_or_default()
    }

    pub(crate) fn put(&self, key: &ReleaseKey, memory: Memory) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), memory);
    }

    pub(crate) fn forget(&self, key: &ReleaseKey) {
        drop(self.take(key));
    }
}

impl Memory {
    /// Notes that a restore was refused.
    pub(crate) fn refuse(&mut self, object: &ObjectRef, why: String, now: Instant) {
        let delay =
            self.refusals.get(object).map_or(FIRST_PAUSE, |refusal| (refusal.delay * 2).min(LONGEST_PAUSE));
        self.refusals.insert(object.clone(), Backoff { why, delay, due: now + delay });
    }

    /// Notes that a restore was done.
    pub(crate) fn accept(&mut self, object: &ObjectRef) {
        self.refusals.remove(object);
    }

    /// The refusals, as the decision sees them.
    pub(crate) fn refusals(&self, now: Instant) -> BTreeMap<ObjectRef, Refusal> {
        self.refusals
            .iter()
            .map(|(object, backoff)| {
                (object.clone(), Refusal { why: backoff.why.clone(), due: now >= backoff.due })
            })
            .collect()
    }

    /// Forgets what only a rollback under way needs.
    pub(crate) fn end_of_rollback(&mut self) {
        self.proofs.clear();
        self.refusals.clear();
    }
}
