//! What really happened, which the watcher can only conclude, and what it must not do whatever it concludes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use backout_model::{
    names::{FIELD_MANAGER, RecordName},
    object::{Image, ObjectKey, Position},
    protocol::Effect,
    release::{Phase, ReleaseStatus},
    rollback::{Restore, Write},
    undo::{Header, Operation, Record},
};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    canon::json,
    world::{World, key, seconds},
};

/// How long the API server works on a write, once it is admitted.
const BOUND: i64 = 34;

/// The invariants, by their number in ARCHITECTURE.md.
pub(crate) const INVARIANTS: [&str; 8] = [
    "1 write-ahead",
    "2 atomic",
    "3 no collateral",
    "4 harmless when healthy",
    "5 decided once, and on evidence",
    "6 crash-safe",
    "7 progress",
    "8 log safety",
];

/// Broken invariants, by number, each with what was seen first.
pub(crate) type Broken = BTreeMap<usize, String>;

/// A write that was admitted, and may still commit.
#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) record: RecordName,
    pub(crate) admitted: Timestamp,
    pub(crate) after: Option<Value>,
}

/// A deployer's write that has committed.
#[derive(Clone)]
pub(crate) struct Committed {
    name: RecordName,
    position: Position,
    key: ObjectKey,
    /// The object before it.
    before: Option<Value>,
    /// The object that it made.
    made: Option<String>,
    /// It can make its revision fail.
    bad: bool,
    /// Somebody else has deleted the object before the watcher noted the write: nobody can know of it.
    lost: bool,
}

/// What really happened.
#[derive(Clone, Default)]
pub(crate) struct Truth {
    pub(crate) pending: Vec<Pending>,
    committed: Vec<Committed>,
    /// Somebody else has deleted an object.
    missing: bool,
    pub(crate) broken: Broken,
}

/// The job that makes a revision fail.
pub(crate) fn bad_object() -> ObjectKey {
    key("Job", "migrate")
}

/// What is to be the same again, without what the server sets anew and others write.
pub(crate) fn content(object: Option<&Value>) -> Option<Value> {
    let mut object = object?.clone();
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["resourceVersion", "uid", "creationTimestamp", "annotations"] {
        metadata.remove(field);
    }
    Some(object)
}

impl Truth {
    /// All of it but what follows from the log.
    pub(crate) fn write(&self, text: &mut String) {
        for Pending { record, admitted, .. } in &self.pending {
            _ = write!(text, "{record} {admitted}");
        }
        for Committed { position, key, before, made, bad, lost, .. } in &self.committed {
            _ = write!(text, "{position} {} {made:?} {bad} {lost}", key.name);
            json(text, before);
        }
        _ = write!(text, "{} {:?}", self.missing, self.broken);
    }

    fn breaks(&mut self, number: usize, what: impl Into<String>) {
        self.broken.entry(number).or_insert_with(|| what.into());
    }

    /// Writes whose time is up, and what no invariant speaks of any more, are forgotten.
    pub(crate) fn tidy(&mut self, world: &World) {
        self.pending.retain(|pending| world.now.duration_since(pending.admitted) < seconds(BOUND));
        let healthy = world.status.healthy();
        self.committed.retain(|committed| committed.position > healthy);
        if self.committed.is_empty() {
            self.missing = false;
        }
    }

    /// The server stores a write, if the object is still what it was.
    pub(crate) fn commit(&mut self, world: &mut World, index: usize) {
        let Pending { record: name, after, .. } = self.pending.remove(index);
        let stored = world.log.get(&name).map(|(entry, record, _)| (entry.position, Record::clone(record)));
        let Some((position, record)) = stored else {
            return self.breaks(1, format!("the record {name} is gone while its write may commit"));
        };
        let key = record.header.object.key.clone();
        let before = world.objects.get(&key).cloned();
        if !world.commit(&record, after.clone()) {
            return;
        }
        if position <= world.status.healthy() {
            self.breaks(1, format!("{} commits after its record was decided on", record.header.object));
        }
        let creates = record.header.operation == Operation::Create;
        let made = world.objects.get(&key).filter(|_| creates);
        self.committed.push(Committed {
            name,
            lost: false,
            position,
            before: content(before.as_ref()),
            made: made.and_then(|made| Image(made).uid().map(str::to_owned)),
            bad: key == bad_object() && after.is_some(),
            key,
        });
    }

    /// Somebody else deletes an object: what nobody has noted of it by then, nobody can know.
    pub(crate) fn misses(&mut self, world: &World, key: &ObjectKey) {
        self.missing = true;
        let noted = RecordName::parse_all(&world.status.confirmed);
        for write in self.committed.iter_mut().filter(|write| write.key == *key) {
            write.lost |= !noted.contains(&write.name);
        }
        // Nor who was first where a deployer is about to delete it too.
        let overtaken = self.pending.iter().filter(|pending| pending.after.is_none()).filter_map(|pending| {
            let (entry, ..) =
                world.log.get(&pending.record).filter(|(it, ..)| it.header.object.key == *key)?;
            Some(Committed {
                name: pending.record.clone(),
                position: entry.position,
                key: key.clone(),
                before: content(world.objects.get(key)),
                made: None,
                bad: false,
                lost: true,
            })
        });
        self.committed.extend(overtaken.collect::<Vec<_>>());
    }

    fn interval(&self, status: &ReleaseStatus) -> impl Iterator<Item = &Committed> {
        let (healthy, cut) = (status.healthy(), status.sealed());
        self.committed
            .iter()
            .filter(move |write| write.position > healthy && cut.is_none_or(|cut| write.position <= cut))
    }

    /// Looks at a change that the watcher is about to make.
    pub(crate) fn expects(&mut self, world: &World, effect: &Effect) {
        match effect {
            Effect::Collect(spent) => {
                let name = RecordName::parse(&spent.name).unwrap();
                let Some((entry, ..)) = world.log.get(&name) else { return };
                let may_commit = self.pending.iter().any(|pending| {
                    let wanted = entry.header.resource_version.as_deref();
                    let live = world.objects.get(&entry.header.object.key).map(Image);
                    pending.record == name && live.and_then(Image::resource_version) == wanted
                });
                if entry.position > world.status.healthy()
                    && (may_commit || self.committed.iter().any(|it| it.name == name && !it.lost))
                {
                    self.breaks(8, format!("the record {name} of {} is collected", entry.header.object));
                }
            }
            Effect::Restore(restore) => self.expects_restore(world, restore),
            Effect::Adopt(_)
            | Effect::Verify(_)
            | Effect::Pack
            | Effect::Evidence
            | Effect::Survey
            | Effect::Tell
            | Effect::SetAside
            | Effect::Discard => {}
        }
    }

    fn expects_restore(&mut self, world: &World, restore: &Restore) {
        let Restore { object, write } = restore;
        let status = &world.status;
        let is_written = self.interval(status).any(|write| write.key == object.key);
        let is_bad = self.missing || self.interval(status).any(|write| write.bad);
        let live = world.objects.get(&object.key).map(Image);
        if let Write::Delete { uid, .. } = write
            && live.and_then(Image::uid) == Some(uid)
            && !self.interval(status).any(|write| write.made.as_ref() == Some(uid))
        {
            self.breaks(3, format!("{object} is deleted, which the release did not make"));
        }
        if !is_written {
            self.breaks(3, format!("{object} is written, which the release did not write"));
        }
        if !is_bad {
            self.breaks(4, format!("{object} is written although nothing failed"));
        }
        if status.evidence.is_none() && status.evidence_missing.is_none() {
            self.breaks(5, format!("{object} is written before the evidence is secured"));
        }
        if status.phase != Some(Phase::RollingBack) {
            self.breaks(5, format!("{object} is written before the decision is stored"));
        }
    }

    /// Looks at a status that has been stored; `hidden` is what could not be seen when it was decided.
    pub(crate) fn expects_status(
        &mut self,
        world: &World,
        old: &ReleaseStatus,
        hidden: &BTreeSet<ObjectKey>,
    ) {
        let new = &world.status;
        if !follows(old, new) {
            let (from, to) = ((old.revision, old.phase), (new.revision, new.phase));
            self.breaks(5, format!("{from:?} is followed by {to:?}"));
        }
        let is_closed = matches!(new.phase, Some(Phase::Healthy | Phase::RolledBack));
        if new.healthy_position != old.healthy_position && !is_closed {
            self.breaks(8, format!("everything is decided in {:?}", new.phase));
        }
        if new.phase == old.phase && new.revision == old.revision {
            return;
        }
        let bad = bad_object();
        let in_sight = |key: &ObjectKey| !hidden.contains(key);
        let fails = world.objects.contains_key(&bad) && self.interval(new).any(|write| write.key == bad);
        let unseen = self.interval(new).find(|write| !in_sight(&write.key));
        match new.phase {
            Some(Phase::RollingBack) if !(self.missing || fails && in_sight(&bad)) => {
                self.breaks(5, "it is rolled back, and no failure can be seen");
            }
            Some(Phase::Healthy) if unseen.is_some() => {
                self.breaks(5, "it is healthy, and not everything can be seen");
            }
            Some(Phase::Healthy) if fails => self.breaks(2, "it is healthy, and something failed"),
            Some(Phase::RolledBack) => self.expects_all_restored(world, old),
            Some(Phase::Held)
                if !self.committed.iter().any(|it| Some(it.position) > new.sealed())
                    && !is_told_to_go(world, None, new.sealed()) =>
            {
                self.breaks(2, format!("it is held, and nobody wrote again: {:?}", new.held));
            }
            _ => {}
        }
    }

    fn expects_all_restored(&mut self, world: &World, old: &ReleaseStatus) {
        // What nobody can know of need not be undone, and may be.
        let mut first: BTreeMap<_, (Option<&Committed>, Option<&Committed>)> = BTreeMap::new();
        for write in self.interval(old) {
            let (of_all, of_known) = first.entry(write.key.clone()).or_default();
            of_all.get_or_insert(write);
            if !write.lost {
                of_known.get_or_insert(write);
            }
        }
        let first: Vec<_> = first
            .into_iter()
            .filter_map(|(key, (of_all, of_known))| {
                Some((key, [of_all?.before.clone(), of_known?.before.clone()]))
            })
            .collect();
        for (key, befores) in first {
            let is_listed =
                world.status.unrestored.iter().any(|it| it.object.name == key.name && !it.reason.is_empty());
            let goes_on = self.committed.iter().any(|it| it.key == key && Some(it.position) > old.sealed());
            // Who deletes an object when it is back, or before anybody looks for it, has the last word.
            let is_told = is_told_to_go(world, Some(&key), old.sealed())
                || (self.missing && !world.objects.contains_key(&key));
            let now = content(world.objects.get(&key));
            if !befores.iter().any(|before| is_like(now.as_ref(), before.as_ref()))
                && !is_listed
                && !goes_on
                && !is_told
            {
                self.breaks(2, format!("{} is not as it was before, {now:?} of {befores:?}", key.name));
            }
        }
    }
}

/// Whether a deployer has asked after the cut for the deletion of an object that is gone: who deleted it nobody can tell.
fn is_told_to_go(world: &World, key: Option<&ObjectKey>, cut: Option<Position>) -> bool {
    world.log.values().any(|(entry, ..)| {
        let Header { operation, object, .. } = &entry.header;
        *operation == Operation::Delete
            && key.is_none_or(|key| object.key == *key)
            && Some(entry.position) > cut
            && !world.objects.contains_key(&object.key)
    })
}

/// Whether an object is as it was. Where a deployer wrote between our restore and the patch that gives the fields back, whose
/// they were can only be told from before.
fn is_like(now: Option<&Value>, before: Option<&Value>) -> bool {
    let is_ours = before.is_some_and(|it| Image(it).managers().any(|manager| manager == FIELD_MANAGER));
    let without_owners = |object: Option<&Value>| {
        let mut object = object.cloned();
        if let Some(metadata) = object.as_mut().and_then(|it| it["metadata"].as_object_mut()) {
            metadata.remove("managedFields");
        }
        object
    };
    if is_ours { without_owners(now) == without_owners(before) } else { now == before }
}

/// Whether one status may come after another: within a revision a decision is not taken back.
fn follows(old: &ReleaseStatus, new: &ReleaseStatus) -> bool {
    use Phase::{Healthy, Held, Notified, Open, Progressing, RolledBack, RollingBack, Soaking};
    let is_decided = matches!(old.phase, None | Some(Healthy | RolledBack | Held | Notified));
    if new.revision != old.revision {
        return is_decided && new.revision == old.revision + 1;
    }
    match (old.phase, new.phase) {
        (Some(Open | Progressing | Soaking), Some(_)) => true,
        (Some(RollingBack), Some(new)) => matches!(new, RollingBack | RolledBack | Held | Notified),
        (old, new) => old == new,
    }
}
