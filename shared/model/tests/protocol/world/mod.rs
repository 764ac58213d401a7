//! A cluster in miniature: objects with resourceVersions, a log, one Release, and what the webhook and the watcher do
//! to them. No faults but the ones a test asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use backout_model::{
    health::Sightings,
    names::{self, RecordName, ReleaseKey, ReleaseName},
    object::{Image, ObjectKey, ObjectRef, Position},
    protocol::Notice,
    release::{Phase, Policy, ReleaseStatus},
    rollback::Options,
    undo::{Body, Header, Operation, Record, chain::Entry},
};
use jiff::Timestamp;
use serde_json::{Value, json};

mod pods;
mod scenes;
mod watcher;

pub(crate) use scenes::*;

#[allow(unused_imports, reason = "the model checker steps through a look")]
pub(crate) use watcher::Look;

pub(crate) const FOREVER: usize = usize::MAX;

/// The first resourceVersion: of more digits than any other number has.
pub(crate) const FIRST: u64 = 1_000_000;

type Logged = (Entry, Arc<Record>, Option<Timestamp>);

/// What an outsider does to an object.
pub(crate) type Meddle = fn(&mut Value);

#[derive(Clone)]
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
    /// The user and the tool of what is deployed.
    pub(crate) by: (&'static str, &'static str),
    /// What a person asks for.
    pub(crate) request: Option<&'static str>,
    /// What was told of what a revision changed.
    pub(crate) told: Option<Result<String, String>>,
    /// What healthy revisions changed, if that is kept.
    pub(crate) packs: Option<BTreeMap<String, Vec<(Entry, Record)>>>,
    pub(crate) pods: Vec<Value>,
    /// Whether the server refuses to let pods go from their workloads.
    pub(crate) keeps_pods: bool,
    pub(crate) options: Options,
    /// Objects that the server does not show to the watcher.
    pub(crate) unreadable: BTreeSet<ObjectKey>,
    /// Objects whose writes by the watcher the server refuses.
    pub(crate) refused: BTreeSet<ObjectKey>,
    /// What the server had stored, by resourceVersion; nothing if it has forgotten all of it.
    pub(crate) history: BTreeMap<(ObjectKey, String), Arc<Value>>,
    /// A manager whose ownership of fields the server does not keep.
    pub(crate) unkept: Option<&'static str>,
    /// Whether the webhook knows the Release.
    pub(crate) knows: bool,
    /// How many changes came too late: the server had something else than they were decided on.
    pub(crate) conflicts: usize,
    ignored: BTreeMap<ObjectRef, String>,
    /// The revision about whose failure this watcher has tried to gather evidence, and what it comes to.
    pub(crate) gathered: Option<u64>,
    pub(crate) evidence: Result<String, String>,
    /// What deployers wrote past the webhook, where they could, and the revision for which this watcher has looked for it.
    pub(crate) past_webhook: Option<Vec<ObjectRef>>,
    surveyed: Option<u64>,
    /// Somebody who changes an object whenever the watcher has written it.
    pub(crate) meddler: Option<(ObjectKey, Meddle)>,
    refusals: BTreeMap<ObjectRef, Timestamp>,
    /// When the watcher saw each record first, too.
    pub(crate) log: BTreeMap<RecordName, Logged>,
    /// Records of another release.
    foreign: BTreeMap<RecordName, Logged>,
    clock: u64,
    pub(crate) last_write: Timestamp,
    pub(crate) last_look: Option<Timestamp>,
    pub(crate) sightings: Sightings,
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
            by: ("alice", "kubectl"),
            request: None,
            told: None,
            packs: None,
            pods: Vec::new(),
            keeps_pods: false,
            options: Options::default(),
            unreadable: BTreeSet::new(),
            refused: BTreeSet::new(),
            history: BTreeMap::new(),
            unkept: None,
            knows: false,
            conflicts: 0,
            ignored: BTreeMap::new(),
            gathered: None,
            evidence: Ok("evidence".to_owned()),
            past_webhook: None,
            surveyed: None,
            meddler: None,
            refusals: BTreeMap::new(),
            log: BTreeMap::new(),
            foreign: BTreeMap::new(),
            clock: FIRST,
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
            uid: image.and_then(Image::uid).map(str::to_owned),
            resource_version: image.and_then(Image::resource_version).map(str::to_owned),
            undo: image.and_then(Image::undo),
            replicas: None,
            release: ReleaseKey::new("shop", ReleaseName::from_mark("shop").unwrap()),
            release_uid: self.knows.then(|| "release".to_owned()),
            revision: self.status.revision_of_next_write(),
            begins: kind == "Secret" && operation == Operation::Create,
            captured: false,
            user: self.by.0.into(),
            tool: self.by.1.into(),
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
            owner: record.header.release_uid.clone(),
            verified: None,
        };
        self.log.insert(name, (entry, Arc::new(record.clone()), None));
        self.last_write = self.now;
        (record, after)
    }

    /// A review of a write that nobody makes, of an object of this uid and resourceVersion with this pointer.
    pub(crate) fn forge(
        &mut self,
        name: &str,
        before: Option<(&str, &str)>,
        undo: Option<&RecordName>,
    ) -> RecordName {
        let key = reference("ConfigMap", name).key;
        let real = self.objects.remove(&key);
        if let Some((uid, version)) = before {
            let labels: Value = undo.map(|undo| (names::UNDO, undo.as_str())).into_iter().collect();
            let metadata = json!({"name": name, "namespace": "shop", "uid": uid, "resourceVersion": version, "labels": labels});
            let image = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"text": "evil"}, "metadata": metadata});
            self.objects.insert(key.clone(), image);
        }
        let (record, _) = self.admit("ConfigMap", name, data("forged"));
        self.objects.remove(&key);
        self.objects.extend(real.map(|real| (key, real)));
        record.name
    }

    /// A review of the deletion of another object of that name.
    pub(crate) fn forge_deletion(&mut self, kind: &str, name: &str) {
        let key = reference(kind, name).key;
        let real = self.objects[&key].clone();
        self.objects.get_mut(&key).unwrap()["metadata"]["uid"] = json!("invented");
        self.admit(kind, name, None);
        self.objects.insert(key, real);
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
        // Of kinds that have one: it counts the specs.
        if let Some(before) = self.objects.get(&key).filter(|it| it["metadata"].get("generation").is_some()) {
            let changes = i64::from(before["spec"] != object["spec"]);
            object["metadata"]["generation"] = json!(Image(before).generation().unwrap() + changes);
        }
        let metadata = &mut object["metadata"];
        if metadata.get("uid").is_none() {
            metadata["uid"] = json!(format!("uid-{version}"));
            metadata["creationTimestamp"] = json!(self.now.to_string());
        }
        metadata["resourceVersion"] = json!(version.to_string());
        self.history.insert((key.clone(), version.to_string()), Arc::new(object.clone()));
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
        for header in [&mut entry.header, &mut Arc::make_mut(&mut record).header] {
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
        self.ignored.clear();
        self.gathered = None;
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
