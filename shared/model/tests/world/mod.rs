//! A cluster in miniature: objects with resourceVersions, a log, one Release, and what the webhook and the watcher do
//! to them. No faults but the ones a test asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use backout_model::{
    health::{Live, Sightings},
    names::{self, RecordName, ReleaseKey, ReleaseName},
    object::{Image, ObjectKey, ObjectRef, Position},
    protocol::{Decision, Effect, Notice, Observed, Refusal, Spent, Wake, step},
    release::{Phase, Policy, ReleaseStatus},
    rollback::{Options, Proof, Track, Write},
    undo::{
        Body, Header, Operation, Record,
        chain::{Chain, Entry, Verification, subject},
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) const FOREVER: usize = usize::MAX;

pub(crate) fn seconds(n: i64) -> jiff::SignedDuration {
    jiff::SignedDuration::from_secs(n)
}

pub(crate) fn key(kind: &str, name: &str) -> ObjectKey {
    reference(kind, name).key
}

pub(crate) fn data(text: &str) -> Option<Value> {
    Some(json!({"data": {"text": text}}))
}

pub(crate) fn failed_job() -> Option<Value> {
    Some(json!({"spec": {"completions": 1}, "status": {"startTime": "2026-01-01T00:00:00Z",
        "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "no luck"}]}}))
}

/// A release of two ConfigMaps that has become healthy.
pub(crate) fn healthy() -> World {
    let mut world = World::new();
    world.deploy("ConfigMap", "a", data("one"));
    world.deploy("ConfigMap", "b", data("one"));
    world.run(120, || FOREVER);
    assert_eq!(world.phases, [Phase::Open, Phase::Soaking, Phase::Healthy]);
    world.phases.clear();
    world.notices.clear();
    world
}

/// An upgrade of it that changes one object, deletes one and creates two, of which one fails.
pub(crate) fn bad_upgrade(world: &mut World) {
    world.deploy("ConfigMap", "a", data("two"));
    world.deploy("ConfigMap", "b", None);
    world.deploy("ConfigMap", "c", data("new"));
    world.deploy("Job", "migrate", failed_job());
}

/// What Helm does to its release Secret.
pub(crate) fn helm(world: &mut World, version: u32, status: &str) {
    let name = format!("sh.helm.release.v1.web.v{version}");
    let object = world.objects.get(&key("Secret", &name)).cloned();
    let mut metadata =
        object.map_or_else(|| json!({"name": name, "namespace": "shop"}), |o| o["metadata"].clone());
    metadata["labels"]["status"] = json!(status);
    world.deploy("Secret", &name, Some(json!({"metadata": metadata})));
}

type Logged = (Entry, Record, Option<Timestamp>);

pub(crate) struct World {
    pub(crate) objects: BTreeMap<ObjectKey, Value>,
    pub(crate) status: ReleaseStatus,
    pub(crate) policy: Policy,
    pub(crate) now: Timestamp,
    /// Every write of the watcher to an object: what it did to which uid.
    pub(crate) written: Vec<(String, String)>,
    /// The uids that the watcher deleted, and those that deployers created.
    pub(crate) deleted: BTreeSet<String>,
    pub(crate) made: BTreeSet<String>,
    /// The objects that deployers wrote.
    pub(crate) deployed: BTreeSet<String>,
    pub(crate) phases: Vec<Phase>,
    pub(crate) notices: Vec<Notice>,
    /// How often the watcher stored a status, and looked.
    pub(crate) stored: usize,
    pub(crate) looks: usize,
    /// After so many looks it is taken for a loop without end.
    pub(crate) patience: usize,
    /// Whether what it stored makes it look again at once, as a watch does.
    pub(crate) echo: bool,
    pub(crate) generation: i64,
    pub(crate) pods: Vec<Value>,
    pub(crate) options: Options,
    /// Objects that the server does not show to the watcher.
    pub(crate) unreadable: BTreeSet<ObjectKey>,
    /// Objects whose writes by the watcher the server refuses.
    pub(crate) refused: BTreeSet<ObjectKey>,
    /// Somebody who changes an object whenever the watcher has written it.
    pub(crate) meddler: Option<(ObjectKey, fn(&mut Value))>,
    refusals: BTreeMap<ObjectRef, Timestamp>,
    /// When the watcher saw each record first, too.
    log: BTreeMap<RecordName, Logged>,
    /// Records of another release.
    foreign: BTreeMap<RecordName, Logged>,
    clock: u64,
    last_write: Timestamp,
    last_look: Option<Timestamp>,
    sightings: Sightings,
}

impl World {
    pub(crate) fn new() -> Self {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Self {
            objects: BTreeMap::new(),
            status: ReleaseStatus::default(),
            policy: Policy::default(),
            now,
            written: Vec::new(),
            deleted: BTreeSet::new(),
            made: BTreeSet::new(),
            deployed: BTreeSet::new(),
            phases: Vec::new(),
            notices: Vec::new(),
            stored: 0,
            looks: 0,
            patience: 20_000,
            echo: false,
            generation: 1,
            pods: Vec::new(),
            options: Options::default(),
            unreadable: BTreeSet::new(),
            refused: BTreeSet::new(),
            meddler: None,
            refusals: BTreeMap::new(),
            log: BTreeMap::new(),
            foreign: BTreeMap::new(),
            clock: 100,
            last_write: now,
            last_look: None,
            sightings: Sightings::default(),
        }
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// A deployer's write, through the webhook. `None` deletes.
    pub(crate) fn deploy(&mut self, kind: &str, name: &str, content: Option<Value>) {
        let (record, after) = self.admit(kind, name, content);
        self.commit(&record, after);
    }

    /// What the webhook does: the record is stored, nothing else has happened yet.
    pub(crate) fn admit(
        &mut self,
        kind: &str,
        name: &str,
        content: Option<Value>,
    ) -> (Record, Option<Value>) {
        let object = reference(kind, name);
        let before = self.objects.get(&object.key).cloned();
        let image = before.as_ref().map(Image);
        let operation = match (&before, &content) {
            (None, _) => Operation::Create,
            (Some(_), Some(_)) => Operation::Update,
            (Some(_), None) => Operation::Delete,
        };
        let position = self.tick();
        let header = Header {
            operation,
            object: object.clone(),
            generate_name: None,
            uid: image.and_then(|image| image.uid()).map(str::to_owned),
            resource_version: image.and_then(|image| image.resource_version()).map(str::to_owned),
            undo: image.and_then(|image| image.undo()),
            replicas: None,
            release: ReleaseKey::new("shop", ReleaseName::from_mark("shop").unwrap()),
            release_uid: None,
            revision: self.status.revision_of_next_write(),
            begins: kind == "Secret" && operation == Operation::Create,
            user: "alice".into(),
            tool: "kubectl".into(),
            request: format!("request-{position}"),
        };
        let after = content.map(|content| {
            let mut after = before.clone().unwrap_or_else(|| {
                json!({"apiVersion": object.api_version(), "kind": kind, "metadata": {"name": name, "namespace": "shop"}})
            });
            for (field, value) in content.as_object().unwrap() {
                after[field] = value.clone();
            }
            // The server knows the owners before it asks for admission.
            after["metadata"]["managedFields"] = json!([owner("kubectl")]);
            after
        });
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&position.to_be_bytes());
        let name = RecordName::from_digest(&digest);
        let record = Record { name: name.clone(), header, body: Body { before, after: after.clone() } };
        let entry = Entry {
            name: name.clone(),
            position: Position(position),
            resource_version: position.to_string(),
            pieces: 0,
            created: self.now,
            age: Duration::ZERO,
            header: record.header.clone(),
            verified: None,
        };
        self.log.insert(name, (entry, record.clone(), None));
        self.last_write = self.now;
        (record, after)
    }

    /// What etcd does with the admitted write: nothing, if the object is not what it was.
    pub(crate) fn commit(&mut self, record: &Record, after: Option<Value>) -> bool {
        let key = record.header.object.key.clone();
        let live = self.objects.get(&key).map(Image);
        if live.and_then(Image::uid) != record.header.uid.as_deref()
            || live.and_then(Image::resource_version) != record.header.resource_version.as_deref()
        {
            return false;
        }
        self.deployed.insert(record.header.object.to_string());
        let Some(mut object) = after else {
            self.objects.remove(&key);
            self.tick();
            return true;
        };
        let labels = &mut object["metadata"]["labels"];
        labels[names::UNDO] = json!(record.name.as_str());
        labels[names::RELEASE] = json!("shop");
        labels[names::REVISION] = json!(record.header.revision.to_string());
        self.store(key.clone(), object);
        let uid = Image(&self.objects[&key]).uid().map(str::to_owned);
        self.made.extend(uid.filter(|_| record.header.operation == Operation::Create));
        true
    }

    fn store(&mut self, key: ObjectKey, mut object: Value) {
        let version = self.tick();
        let metadata = &mut object["metadata"];
        if metadata.get("uid").is_none() {
            metadata["uid"] = json!(format!("uid-{version}"));
            metadata["creationTimestamp"] = json!(self.now.to_string());
        }
        metadata["resourceVersion"] = json!(version.to_string());
        self.objects.insert(key, object);
    }

    /// A write by somebody who is no deployer.
    pub(crate) fn outside(&mut self, kind: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let key = reference(kind, name).key;
        let mut object = self.objects[&key].clone();
        change(&mut object);
        self.store(key, object);
    }

    /// An object made by somebody who is no deployer.
    pub(crate) fn outside_create(&mut self, kind: &str, name: &str, content: &Value) {
        let object = reference(kind, name);
        let mut body = json!({"apiVersion": object.api_version(), "kind": kind, "metadata": {"name": name,
            "namespace": "shop", "managedFields": [owner("operator")]}});
        for (field, value) in content.as_object().unwrap() {
            body[field] = value.clone();
        }
        self.store(object.key, body);
    }

    pub(crate) fn outside_delete(&mut self, kind: &str, name: &str) {
        self.objects.remove(&reference(kind, name).key);
        self.tick();
    }

    /// A deployer's write to an object for another release.
    pub(crate) fn foreign(&mut self, kind: &str, name: &str, text: &str) {
        let (record, after) = self.admit(kind, name, data(text));
        let (mut entry, mut record, seen) = self.log.remove(&record.name).unwrap();
        for header in [&mut entry.header, &mut record.header] {
            header.release = ReleaseKey::new("shop", ReleaseName::from_mark("other").unwrap());
        }
        self.commit(&record, after);
        self.foreign.insert(record.name.clone(), (entry, record, seen));
    }

    /// The other release is healthy: its records go.
    pub(crate) fn forget_foreign(&mut self) {
        self.foreign.clear();
    }

    /// The watcher ends and starts anew: what it remembered is lost.
    pub(crate) fn restart(&mut self) {
        self.last_look = None;
        self.last_write = self.now;
        self.sightings = Sightings::default();
        self.refusals.clear();
        for (.., seen) in self.log.values_mut() {
            *seen = None;
        }
    }

    /// How many records nobody has verified, of those that can be.
    pub(crate) fn unverified(&self) -> usize {
        let entries = self.log.values().map(|(entry, ..)| entry);
        entries
            .filter(|entry| entry.header.operation != Operation::Create && entry.verified.is_none())
            .count()
    }

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
        let mut noted: BTreeSet<_> =
            self.status.confirmed.iter().filter_map(|name| RecordName::parse(name)).collect();
        noted.extend(self.foreign.values().filter_map(|(entry, ..)| entry.header.undo.clone()));
        let mut entries: Vec<_> =
            self.log.values().map(|(entry, _, seen)| aged(entry, *seen, self.now)).collect();
        entries.sort_by_key(|entry| entry.position);
        let (entries, spent): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| entry.position > self.status.healthy());
        let mut groups: BTreeMap<ObjectKey, Vec<Entry>> = BTreeMap::new();
        for entry in &entries {
            groups.entry(subject(entry, &entries)).or_default().push(entry.clone());
        }
        let tracks = groups
            .into_iter()
            .map(|(key, entries)| {
                let live = self.live(&key);
                let chain = Chain::read(&entries, &live, &noted, self.lost(&entries, &live).as_ref());
                Track { object: entries[0].header.object.clone(), entries, chain, live }
            })
            .collect();
        let seconds = |from: Timestamp| Duration::try_from(self.now.duration_since(from)).unwrap();
        Observed {
            generation: Some(self.generation),
            options: Options { accept_unverified: self.policy.accept_unverified, ..self.options },
            pods: self.pods.clone(),
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
            .map(|(_, record, _)| (record.name.clone(), Proof::Verified(record.clone())))
            .collect()
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
            Effect::Verify(name) => {
                let clock = self.tick();
                let (entry, ..) = self.log.get_mut(&name).unwrap();
                entry.verified = Some(Verification::Verified);
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
                        object["metadata"]["managedFields"] = managed_fields;
                        self.store(key, object);
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

/// Who changes an object owns what lies in it.
fn owner(manager: &str) -> Value {
    json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:text": {}}}})
}

fn aged(entry: &Entry, seen: Option<Timestamp>, now: Timestamp) -> Entry {
    let age = now.duration_since(seen.unwrap_or(now));
    Entry { age: Duration::try_from(age).unwrap(), ..entry.clone() }
}

pub(crate) fn reference(kind: &str, name: &str) -> ObjectRef {
    let (group, resource) = match kind {
        "Job" => ("batch", "jobs"),
        "Deployment" => ("apps", "deployments"),
        "StatefulSet" => ("apps", "statefulsets"),
        "Role" => ("rbac.authorization.k8s.io", "roles"),
        "ConfigMap" => ("", "configmaps"),
        "Secret" => ("", "secrets"),
        "PersistentVolumeClaim" => ("", "persistentvolumeclaims"),
        other => panic!("the world knows no {other}"),
    };
    ObjectRef {
        key: ObjectKey {
            group: group.into(),
            resource: resource.into(),
            namespace: Some("shop".into()),
            name: name.into(),
        },
        version: "v1".into(),
        kind: kind.into(),
    }
}
