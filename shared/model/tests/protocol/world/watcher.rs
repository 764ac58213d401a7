//! What the watcher does in the world: it looks, decides, and performs, for as long as it lives.

use std::{collections::BTreeMap, time::Duration};

use backout_model::{
    health::Live,
    names::RecordName,
    object::{Image, ObjectKey, Position},
    protocol::{Decision, Effect, Notice, Observed, Pack, Refusal, Spent, Unrecorded, Wake, step},
    rollback::{Options, Proof, Restore, Track, Write},
    undo::chain::{Chain, Entry, Verification, by_object},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

/// A look of the watcher: what it decided, and on what.
pub(crate) struct Look {
    pub(crate) decision: Decision,
    status: ReleaseStatus,
    stored: usize,
}

impl Look {
    fn stores(&self) -> bool {
        self.decision.status != self.status
    }

    /// How many changes to the cluster were decided: first the status, if it is another, then the effects.
    pub(crate) fn changes(&self) -> usize {
        usize::from(self.stores()) + self.decision.effects.len()
    }

    /// The effect that is the change of this number.
    pub(crate) fn effect(&self, index: usize) -> Option<&Effect> {
        self.decision.effects.get(index.checked_sub(usize::from(self.stores()))?)
    }
}

impl World {
    fn live(&self, key: &ObjectKey) -> Live {
        if self.unreadable.contains(key) {
            return Live::Unreadable("no answer".to_owned());
        }
        self.objects.get(key).cloned().map_or(Live::Absent, Live::Present)
    }

    /// The pointer of an object whose record is gone.
    fn lost(&self, entries: &[Entry], live: &Live) -> Option<RecordName> {
        let Live::Present(object) = live else { return None };
        let pointer = Image(object).undo()?;
        let known = entries.iter().any(|entry| entry.header.undo.as_ref() == Some(&pointer));
        let found = self.log.contains_key(&pointer) || self.foreign.contains_key(&pointer);
        (!known && !found).then_some(pointer)
    }

    pub(crate) fn observe(&mut self) -> Observed {
        for (.., seen) in self.log.values_mut() {
            seen.get_or_insert(self.now);
        }
        // A time in which nothing was observed is no quiet time.
        if let Some(last) = self.last_look.filter(|last| self.last_write <= *last) {
            let gap = self.now.duration_since(last);
            self.last_write += if gap > seconds(30) { gap } else { seconds(0) };
        }
        let mut noted = RecordName::parse_all(&self.status.confirmed);
        noted.extend(self.foreign.values().filter_map(|(entry, ..)| entry.header.undo.clone()));
        let mut entries: Vec<_> =
            self.log.values().map(|(entry, _, seen)| aged(entry, *seen, self.now)).collect();
        entries.sort_by_key(|entry| entry.position);
        let (entries, spent): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.position > self.status.healthy());
        let mut entries = entries;
        let unpacked = self.unpacked();
        noted.extend(unpacked.iter().map(|(entry, _)| entry.name.clone()));
        entries.extend(unpacked.iter().map(|(entry, _)| entry.clone()));
        entries.sort_by_key(|entry| entry.position);
        let tracks = by_object(entries, &RecordName::parse_all(&self.status.undone))
            .into_iter()
            .map(|((key, _), entries)| {
                let live = self.live(&key);
                let chain = Chain::read(&entries, &live, &noted, self.lost(&entries, &live).as_ref());
                Track { object: entries[0].header.object.clone(), entries, chain, live }
            })
            .collect();
        let seconds = |from: Timestamp| Duration::try_from(self.now.duration_since(from)).unwrap();
        Observed {
            uid: Some("release".to_owned()),
            generation: Some(self.generation),
            request: self.request.map(str::to_owned),
            options: Options { accept_unverified: self.policy.accept_unverified, ..self.options },
            pods: self.pods.clone(),
            ignored: self.ignored.clone(),
            told: self.told.clone(),
            aside: self.status.aside.as_ref().map(|aside| self.pod(&aside.pod)),
            evidence: (self.gathered == Some(self.status.revision)).then(|| self.evidence.clone()),
            refusals: self
                .refusals
                .iter()
                .map(|(object, due)| {
                    let pause = Duration::try_from(due.duration_since(self.now)).unwrap_or_default();
                    (object.clone(), Refusal { why: "quota".to_owned(), pause })
                })
                .collect(),
            status: self.status.clone(),
            policy: self.policy.clone(),
            tracks,
            spent: spent.iter().map(Spent::from).collect(),
            cut: Position(self.clock),
            quiet: seconds(self.last_write),
            proofs: self
                .proofs()
                .into_iter()
                .chain(unpacked.into_iter().map(|(entry, record)| (entry.name, Proof::Verified(record))))
                .collect(),
            pack: match &self.packs {
                None => Pack::Unwanted,
                Some(packs) if packs.contains_key(&self.pack_name()) => Pack::Kept(self.pack_name()),
                Some(_) => Pack::Wanted,
            },
            unrecorded: match &self.past_webhook {
                Some(_) if self.surveyed != Some(self.status.revision) => Unrecorded::Wanted,
                past => Unrecorded::Known(past.clone().unwrap_or_default()),
            },
            baselines: self.baselines(),
            since_last: self.last_look.map(seconds),
            sightings: self.sightings.clone(),
            ..Observed::default()
        }
    }

    fn baselines(&self) -> BTreeMap<RecordName, Value> {
        let with_state = self.log.values().filter(|(entry, ..)| entry.header.object.kind != "ConfigMap");
        with_state
            .filter_map(|(_, record, _)| Some((record.name.clone(), record.body.before.clone()?)))
            .collect()
    }

    fn proofs(&self) -> BTreeMap<RecordName, Proof> {
        self.log
            .values()
            .map(|(_, record, _)| {
                let proof = match self.verify(record) {
                    Verification::Verified => Proof::Verified(Record::clone(record)),
                    Verification::Unverified(why) => Proof::Unverified(Record::clone(record), why),
                    Verification::Refuted(why) => Proof::Refuted(why),
                };
                (record.name.clone(), proof)
            })
            .collect()
    }

    pub(crate) fn verify(&self, record: &Record) -> Verification {
        let Header { object, resource_version, .. } = &record.header;
        let stored = resource_version.clone().and_then(|it| self.history.get(&(object.key.clone(), it)));
        match &record.body.before {
            _ if self.history.is_empty() => Verification::Unverified("compacted".to_owned()),
            Some(before) if stored.is_some_and(|stored| **stored == *before) => Verification::Verified,
            _ => Verification::Refuted("the server had stored something else".to_owned()),
        }
    }

    /// One look of the watcher that dies after `survives` changes to the cluster; false if it died.
    pub(crate) fn look(&mut self, survives: usize) -> (Decision, bool) {
        let look = self.decide();
        let changes = look.changes();
        for index in 0..changes.min(survives) {
            self.change(&look, index);
            assert_eq!(self.conflicts, 0, "{:?}", look.decision.effects);
        }
        (look.decision, changes <= survives)
    }

    /// What the watcher sees, and decides.
    pub(crate) fn decide(&mut self) -> Look {
        let observed = self.observe();
        let decision = step(&observed, self.now);
        self.looks += 1;
        self.last_look = Some(self.now);
        self.sightings = decision.sightings.clone();
        if decision.status == observed.status {
            self.notices.extend(decision.notices.iter().cloned());
        }
        Look { decision, status: observed.status, stored: self.stored }
    }

    /// Makes one of the changes that were decided; false if the others are not to be made any more.
    pub(crate) fn change(&mut self, look: &Look, index: usize) -> bool {
        if let Some(effect) = look.effect(index) {
            self.perform(effect.clone());
            return true;
        }
        let Look { decision, .. } = look;
        if self.stored != look.stored {
            self.conflicts += 1;
            return false;
        }
        if decision.status.phase != self.status.phase {
            self.phases.extend(decision.status.phase);
        }
        self.status = decision.status.clone();
        self.stored += 1;
        self.gathered = self.gathered.filter(|_| self.status.failure.is_some());
        self.notices.extend(decision.notices.iter().cloned());
        true
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Adopt(name) => self.note(&name, |entry, _| entry.owner = Some("release".to_owned())),
            Effect::Verify(name) => self.note(&name, |entry, outcome| entry.verified = Some(outcome)),
            Effect::Collect(spent) => {
                let name = RecordName::parse(&spent.name).unwrap();
                let found = self.log.get(&name).map(|(entry, ..)| &entry.resource_version);
                if found == Some(&spent.resource_version) {
                    self.log.remove(&name);
                } else {
                    self.conflicts += 1;
                }
            }
            Effect::Pack => self.pack(),
            Effect::Restore(restore) => self.restore(restore),
            Effect::Survey => self.surveyed = Some(self.status.revision),
            Effect::Evidence => self.gathered = Some(self.status.revision),
            Effect::SetAside => self.set_aside(),
            Effect::Discard => self.discard(),
            Effect::Tell => self.told = Some(Ok("diff".to_owned())),
        }
    }

    /// The name of the pack of the current revision.
    fn pack_name(&self) -> String {
        format!("{}-{:?}", self.status.revision, self.status.sealed())
    }

    fn pack(&mut self) {
        let seen = self.observe();
        let kept =
            seen.log().filter(|(_, entry, standing)| standing.took_effect() && entry.position <= seen.cut());
        let kept =
            kept.map(|(_, entry, _)| (entry.clone(), Record::clone(&self.log[&entry.name].1))).collect();
        let name = self.pack_name();
        self.packs.as_mut().unwrap().insert(name, kept);
    }

    /// What was packed of the revisions that are to be undone.
    fn unpacked(&self) -> Vec<(Entry, Record)> {
        let ways = self.status.to.and_then(|to| self.status.way_back(to)).unwrap_or_default();
        ways.into_iter().filter_map(|name| self.packs.as_ref()?.get(name)).flatten().cloned().collect()
    }

    fn note(&mut self, name: &RecordName, change: impl FnOnce(&mut Entry, Verification)) {
        let clock = self.tick();
        let outcome = self.log.get(name).map(|(_, record, _)| self.verify(record));
        match (self.log.get_mut(name), outcome) {
            (Some((entry, ..)), Some(outcome)) => {
                change(entry, outcome);
                entry.resource_version = clock.to_string();
            }
            _ => self.conflicts += 1,
        }
    }

    fn restore(&mut self, restore: Restore) {
        let key = restore.object.key.clone();
        if self.refused.contains(&key) {
            let pause = jiff::SignedDuration::from_secs(10);
            self.refusals.insert(restore.object, self.now + pause);
            return;
        }
        self.refusals.remove(&restore.object);
        let live = self.there(&key);
        let image = live.as_ref().map(Image);
        let version = image.and_then(Image::resource_version);
        let uid = image.and_then(Image::uid);
        let stated = |body| (Image(body).uid(), Image(body).resource_version());
        let is_as_decided = match &restore.write {
            Write::Delete { uid: wanted, resource_version, .. } => {
                (uid, version) == (Some(wanted.as_str()), Some(resource_version.as_str()))
            }
            Write::Update { body, .. } => live.is_some() && (uid, version) == stated(body),
            Write::Create { .. } => live.is_none(),
            Write::Own { resource_version, .. } => version == Some(resource_version.as_str()),
        };
        if !is_as_decided {
            self.conflicts += 1;
            return;
        }
        self.written.push((restore.object.to_string(), uid.unwrap_or_default().to_owned()));
        let told = Notice::of_restore(&restore);
        match restore.write {
            Write::Delete { uid, .. } => {
                self.pods.retain(|pod| Image(pod).uid() != Some(&uid));
                self.deleted.insert(uid);
                self.objects.remove(&key);
                self.tick();
            }
            Write::Update { mut body, .. } | Write::Create { mut body } => {
                body["metadata"]["managedFields"] = json!([owner("backout")]);
                self.store(key, body);
            }
            Write::Own { managed_fields, .. } => {
                let mut object = live.clone().unwrap();
                object["metadata"]["managedFields"] = managed_fields;
                let owners = object["metadata"]["managedFields"].as_array_mut().unwrap();
                owners.retain(|owner| owner["manager"].as_str() != self.unkept);
                if live.as_ref() == Some(&object) {
                    let version = version.unwrap_or_default().to_owned();
                    self.ignored.insert(restore.object.clone(), version);
                } else {
                    self.store(key, object);
                }
            }
        }
        self.notices.extend(told);
        self.meddle(&restore.object.key);
    }

    fn meddle(&mut self, key: &ObjectKey) {
        let Some((_, change)) = self.meddler.clone().filter(|(meddled, _)| meddled == key) else { return };
        if let Some(mut object) = self.objects.get(key).cloned() {
            change(&mut object);
            if self.objects.get(key) != Some(&object) {
                self.store(key.clone(), object);
            }
        }
    }

    /// Lets the watcher work until nothing is left to do, or for `seconds`; each look is a life of the watcher, and it
    /// dies in it after as many changes as `dies_after` says, if it makes more.
    pub(crate) fn run(&mut self, seconds: i64, mut dies_after: impl FnMut() -> usize) {
        let end = self.now + self::seconds(seconds);
        while self.now < end && self.turn(dies_after()) {}
    }

    /// One look, and the pause after it; false if the watcher then waits for something to happen.
    pub(crate) fn turn(&mut self, survives: usize) -> bool {
        assert!(self.looks < self.patience, "it never ends: {:?} {:#?}", self.phases, self.status);
        let stored = self.stored;
        let (decision, alive) = self.look(survives);
        if !alive {
            self.restart();
            return true;
        }
        // The watch of Releases shows the watcher what it has stored itself.
        if self.stored > stored && self.echo {
            self.now += jiff::SignedDuration::from_millis(20);
            return true;
        }
        match decision.wake {
            Wake::After(pause) => self.now += jiff::SignedDuration::try_from(pause).unwrap(),
            Wake::OnChange => return false,
        }
        true
    }

    /// Looks once a second until the phase is reached, without doing what is decided then.
    pub(crate) fn until(&mut self, phase: Phase) {
        for _ in 0..1000 {
            if self.status.phase == Some(phase) {
                return;
            }
            self.look(FOREVER);
            self.now += seconds(1);
        }
        panic!("{phase:?} is not reached: {:#?}", self.status);
    }

    /// What a ConfigMap says.
    pub(crate) fn text(&self, name: &str) -> Value {
        self.objects[&key("ConfigMap", name)]["data"]["text"].clone()
    }

    pub(crate) fn records(&self) -> usize {
        self.log.len()
    }

    /// All objects without what a server sets anew: to compare states.
    pub(crate) fn state(&self) -> BTreeMap<String, Value> {
        self.objects
            .iter()
            .map(|(key, object)| {
                let mut object = object.clone();
                for field in ["resourceVersion", "uid", "creationTimestamp"] {
                    object["metadata"].as_object_mut().unwrap().remove(field);
                }
                (format!("{}/{}", key.resource, key.name), object)
            })
            .collect()
    }
}
