//! What the watcher does in the world: it looks, decides, and performs, for as long as it lives.

use std::{collections::BTreeMap, time::Duration};

use backout_model::{
    health::Live,
    names::RecordName,
    object::{Image, ObjectKey, Position},
    protocol::{Decision, Effect, Notice, Observed, Refusal, Spent, Wake, step},
    rollback::{Options, Proof, Track, Write},
    undo::chain::{Chain, Entry, Verification, by_object},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

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
        let tracks = by_object(&entries, &RecordName::parse_all(&self.status.undone))
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
            options: Options { accept_unverified: self.policy.accept_unverified, ..self.options },
            pods: self.pods.clone(),
            ignored: self.ignored.clone(),
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
            proofs: self.proofs(),
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
                    Verification::Verified => Proof::Verified(record.clone()),
                    Verification::Unverified(why) => Proof::Unverified(record.clone(), why),
                    Verification::Refuted(why) => Proof::Refuted(why),
                };
                (record.name.clone(), proof)
            })
            .collect()
    }

    fn verify(&self, record: &Record) -> Verification {
        let Header { object, resource_version, .. } = &record.header;
        let stored = resource_version.clone().and_then(|it| self.history.get(&(object.key.clone(), it)));
        match &record.body.before {
            _ if self.history.is_empty() => Verification::Unverified("compacted".to_owned()),
            Some(before) if stored == Some(before) => Verification::Verified,
            _ => Verification::Refuted("the server had stored something else".to_owned()),
        }
    }

    /// One look of the watcher that dies after `survives` changes to the cluster; false if it died.
    pub(crate) fn look(&mut self, survives: usize) -> (Decision, bool) {
        let observed = self.observe();
        let decision = step(&observed, self.now);
        self.looks += 1;
        self.last_look = Some(self.now);
        self.sightings = decision.sightings.clone();
        let mut left = survives;
        let mut act = || {
            let alive = left > 0;
            left = left.saturating_sub(1);
            alive
        };
        if decision.status != self.status {
            if !act() {
                return (decision, false);
            }
            if decision.status.phase != self.status.phase {
                self.phases.extend(decision.status.phase);
            }
            self.status = decision.status.clone();
            self.stored += 1;
        }
        self.notices.extend(decision.notices.iter().cloned());
        for effect in decision.effects.clone() {
            if !act() {
                return (decision, false);
            }
            self.perform(effect);
        }
        (decision, true)
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Adopt(name) => {
                let clock = self.tick();
                let (entry, ..) = self.log.get_mut(&name).unwrap();
                entry.owner = Some("release".to_owned());
                entry.resource_version = clock.to_string();
            }
            Effect::Verify(name) => {
                let clock = self.tick();
                let outcome = self.verify(&self.log[&name].1);
                let (entry, ..) = self.log.get_mut(&name).unwrap();
                entry.verified = Some(outcome);
                entry.resource_version = clock.to_string();
            }
            Effect::Collect(spent) => {
                let name = RecordName::parse(&spent.name).unwrap();
                assert_eq!(self.log[&name].0.resource_version, spent.resource_version);
                self.log.remove(&name);
            }
            Effect::Restore(restore) => {
                let told = Notice::of_restore(&restore);
                let key = restore.object.key.clone();
                if self.refused.contains(&key) {
                    let pause = jiff::SignedDuration::from_secs(10);
                    self.refusals.insert(restore.object, self.now + pause);
                    return;
                }
                self.refusals.remove(&restore.object);
                let live = self.objects.get(&key).cloned();
                let version =
                    live.as_ref().and_then(|live| Image(live).resource_version().map(str::to_owned));
                let uid = live.as_ref().and_then(|live| Image(live).uid().map(str::to_owned));
                self.written.push((restore.object.to_string(), uid.clone().unwrap_or_default()));
                match restore.write {
                    Write::Delete { uid: wanted, resource_version, .. } => {
                        assert_eq!((uid, version), (Some(wanted.clone()), Some(resource_version)));
                        self.deleted.insert(wanted);
                        self.objects.remove(&key);
                        self.tick();
                    }
                    Write::Update { mut body, .. } => {
                        assert_eq!(version.as_deref(), Image(&body).resource_version());
                        assert_eq!(uid.as_deref(), Image(&body).uid());
                        body["metadata"]["managedFields"] = json!([owner("backout")]);
                        self.store(key, body);
                    }
                    Write::Create { mut body } => {
                        assert_eq!(live, None);
                        body["metadata"]["managedFields"] = json!([owner("backout")]);
                        self.store(key, body);
                    }
                    Write::Own { resource_version, managed_fields } => {
                        assert_eq!(version, Some(resource_version));
                        let mut object = live.unwrap();
                        let before = object.clone();
                        object["metadata"]["managedFields"] = managed_fields;
                        let owners = object["metadata"]["managedFields"].as_array_mut().unwrap();
                        owners.retain(|owner| owner["manager"].as_str() != self.unkept);
                        if object == before {
                            self.ignored.insert(
                                restore.object.clone(),
                                Image(&before).resource_version().unwrap().to_owned(),
                            );
                        } else {
                            self.store(key, object);
                        }
                    }
                }
                self.notices.extend(told);
                self.meddle(&restore.object.key);
            }
        }
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
