//! A cluster in miniature: objects with resourceVersions, a log, one Release, and what the webhook and the watcher do
//! to them. No faults but the ones a test asks for.

use std::{collections::BTreeMap, time::Duration};

use backout_model::{
    health::{Live, Sightings},
    names::{self, RecordName, ReleaseKey, ReleaseName},
    object::{Image, ObjectKey, ObjectRef, Position},
    protocol::{Decision, Effect, Observed, Spent, Wake, step},
    release::{Phase, Policy, ReleaseStatus},
    rollback::{Proof, Track, Write},
    undo::{
        Body, Header, Operation, Record,
        chain::{Chain, Entry, Verification, subject},
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) struct World {
    pub(crate) objects: BTreeMap<ObjectKey, Value>,
    pub(crate) status: ReleaseStatus,
    pub(crate) policy: Policy,
    pub(crate) now: Timestamp,
    /// Every write of the watcher to an object: what it did to which uid.
    pub(crate) written: Vec<(String, String)>,
    pub(crate) phases: Vec<Phase>,
    log: BTreeMap<RecordName, (Entry, Record, Timestamp)>,
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
            phases: Vec::new(),
            log: BTreeMap::new(),
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
        self.log.insert(name, (entry, record.clone(), self.now));
        self.last_write = self.now;
        (record, after)
    }

    /// What etcd does with the admitted write.
    pub(crate) fn commit(&mut self, record: &Record, after: Option<Value>) {
        let key = record.header.object.key.clone();
        let Some(mut object) = after else {
            self.objects.remove(&key);
            self.tick();
            return;
        };
        let labels = &mut object["metadata"]["labels"];
        labels[names::UNDO] = json!(record.name.as_str());
        labels[names::RELEASE] = json!("shop");
        labels[names::REVISION] = json!(record.header.revision.to_string());
        object["metadata"]["managedFields"] = json!([owner("kubectl")]);
        self.store(key, object);
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

    pub(crate) fn observe(&self) -> Observed {
        let noted = self.status.confirmed.iter().filter_map(|name| RecordName::parse(name)).collect();
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
                let live = self.objects.get(&key).cloned().map_or(Live::Absent, Live::Present);
                let chain = Chain::read(&entries, &live, &noted, None);
                Track { object: entries[0].header.object.clone(), entries, chain, live }
            })
            .collect();
        let seconds = |from: Timestamp| Duration::try_from(self.now.duration_since(from)).unwrap();
        Observed {
            status: self.status.clone(),
            policy: self.policy.clone(),
            tracks,
            spent: spent.iter().map(Spent::from).collect(),
            cut: Position(self.clock),
            quiet: seconds(self.last_write),
            proofs: self.proofs(),
            since_last: self.last_look.map(seconds),
            sightings: self.sightings.clone(),
            ..Observed::default()
        }
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
        }
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
                let key = restore.object.key.clone();
                let live = self.objects.get(&key).cloned();
                let version =
                    live.as_ref().and_then(|live| Image(live).resource_version().map(str::to_owned));
                let uid = live.as_ref().and_then(|live| Image(live).uid().map(str::to_owned));
                self.written.push((restore.object.to_string(), uid.clone().unwrap_or_default()));
                match restore.write {
                    Write::Delete { uid: wanted, resource_version, .. } => {
                        assert_eq!((uid, version), (Some(wanted), Some(resource_version)));
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
            }
        }
    }

    /// Lets the watcher work until nothing is left to do, or for `seconds`; it dies and starts anew whenever
    /// `dies_after` names the next number of changes it makes.
    pub(crate) fn run(&mut self, seconds: i64, mut dies_after: impl FnMut() -> usize) {
        let end = self.now + jiff::SignedDuration::from_secs(seconds);
        while self.now < end {
            let (decision, alive) = self.look(dies_after());
            if !alive {
                self.last_look = None;
                self.sightings = Sightings::default();
                continue;
            }
            match decision.wake {
                Wake::After(pause) => self.now += jiff::SignedDuration::try_from(pause).unwrap(),
                Wake::OnChange if decision.effects.is_empty() => return,
                Wake::OnChange => {}
            }
        }
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

fn aged(entry: &Entry, seen: Timestamp, now: Timestamp) -> Entry {
    Entry { age: Duration::try_from(now.duration_since(seen)).unwrap(), ..entry.clone() }
}

pub(crate) fn reference(kind: &str, name: &str) -> ObjectRef {
    let (group, resource) = match kind {
        "Job" => ("batch", "jobs"),
        "Deployment" => ("apps", "deployments"),
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
