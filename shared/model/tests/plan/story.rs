//! The records of a release and the objects they left, made up for a test.

use std::{collections::BTreeMap, time::Duration};

use backout_model::{
    health::Live,
    names::{self, RecordName, ReleaseKey, ReleaseName},
    object::{Image, ObjectKey, ObjectRef, Position},
    rollback::{Options, Plan, Proof, Restore, Span, Track, Write, plan},
    undo::{
        Body, Header, Operation, Record, Replicas,
        chain::{Chain, Entry, Standing},
        schema::Schemas,
    },
};
use serde_json::{Value, json};

pub(crate) const CUT: Position = Position(100);
pub(crate) const SPAN: Span = Span { healthy: Position(0), cut: CUT };

/// One object, what the release did to it, and what there is now.
pub(crate) struct Story {
    pub(crate) track: Track,
    pub(crate) proofs: BTreeMap<RecordName, Proof>,
}

pub(crate) fn record(n: u8) -> RecordName {
    RecordName::from_digest(&[n; 32])
}

/// An object of the kind as the server stores it: with an undo pointer, if there is one.
pub(crate) fn stored(
    group: &str,
    kind: &str,
    uid: &str,
    version: u32,
    pointer: Option<u8>,
    text: &str,
) -> Value {
    let api = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    let mut object = json!({"apiVersion": api, "kind": kind, "data": {"text": text}, "metadata": {"name": "x",
        "namespace": "shop", "uid": uid, "resourceVersion": version.to_string(),
        "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "x"},
        "managedFields": [{"manager": "kubectl", "operation": "Update", "apiVersion": api, "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:text": {}}}}]}});
    if let Some(pointer) = pointer {
        object["metadata"]["labels"][names::UNDO] = json!(record(pointer).as_str());
    }
    object
}

pub(crate) fn map(uid: &str, version: u32, pointer: Option<u8>, text: &str) -> Value {
    stored("", "ConfigMap", uid, version, pointer, text)
}

impl Story {
    pub(crate) fn of(group: &str, kind: &str) -> Self {
        let key = ObjectKey {
            group: group.into(),
            resource: format!("{}s", kind.to_lowercase()),
            namespace: Some("shop".into()),
            name: "x".into(),
        };
        let object = ObjectRef { key, version: "v1".into(), kind: kind.into() };
        let chain = Chain::default();
        let track = Track { object, entries: Vec::new(), chain, live: Live::Absent };
        Self { track, proofs: BTreeMap::new() }
    }

    pub(crate) fn map() -> Self {
        Self::of("", "ConfigMap")
    }

    /// The next record; its log position is ten times its number.
    pub(crate) fn then(mut self, operation: Operation, before: Option<Value>, after: Option<Value>) -> Self {
        let n = u8::try_from(self.track.entries.len() + 1).unwrap();
        let image = before.as_ref().map(Image);
        let header = Header {
            operation,
            object: self.track.object.clone(),
            generate_name: None,
            uid: image.and_then(Image::uid).map(str::to_owned),
            resource_version: image.and_then(Image::resource_version).map(str::to_owned),
            undo: image.and_then(Image::undo),
            replicas: None,
            release: ReleaseKey::new("shop", ReleaseName::from_mark("shop").unwrap()),
            release_uid: None,
            revision: 2,
            begins: false,
            captured: false,
            user: "alice".into(),
            tool: "kubectl".into(),
            request: n.to_string(),
        };
        let entry = Entry {
            name: record(n),
            position: Position(u64::from(n) * 10),
            resource_version: n.to_string(),
            pieces: 0,
            created: "2026-01-01T01:00:00Z".parse().unwrap(),
            age: Duration::from_secs(10),
            header: header.clone(),
            owner: None,
            verified: None,
        };
        self.track.entries.push(entry);
        let is_claim = matches!(operation, Operation::Delete | Operation::Scale);
        let standing = if is_claim { Standing::Claimed } else { Standing::Confirmed };
        self.track.chain.standings.push(standing);
        let proof = Record { name: record(n), header, body: Body { before, after } };
        self.proofs.insert(record(n), Proof::Verified(proof));
        self
    }

    pub(crate) fn created(self, after: Value) -> Self {
        self.then(Operation::Create, None, Some(after))
    }

    pub(crate) fn updated(self, before: Value, after: Value) -> Self {
        self.then(Operation::Update, Some(before), Some(after))
    }

    pub(crate) fn deleted(self, before: Value) -> Self {
        self.then(Operation::Delete, Some(before), None)
    }

    pub(crate) fn scaled(mut self, before: Value, replicas: Replicas) -> Self {
        self = self.then(Operation::Scale, Some(before.clone()), Some(before));
        self.track.entries.last_mut().unwrap().header.replicas = Some(replicas);
        if let Some(Proof::Verified(record)) = self.proofs.values_mut().next_back() {
            record.header.replicas = Some(replicas);
        }
        self
    }

    pub(crate) fn now(mut self, live: Value) -> Self {
        self.track.live = Live::Present(live);
        self
    }

    pub(crate) fn proved(mut self, n: u8, proof: impl FnOnce(Record) -> Proof) -> Self {
        let Some(Proof::Verified(known)) = self.proofs.remove(&record(n)) else { panic!("{n} is known") };
        self.proofs.insert(record(n), proof(known));
        self
    }

    pub(crate) fn plan_with(&self, pods: &[Value], options: Options) -> Plan {
        plan(std::slice::from_ref(&self.track), SPAN, &self.proofs, &Schemas::default(), pods, options)
    }

    pub(crate) fn plan(&self) -> Plan {
        self.plan_with(&[], Options::default())
    }

    pub(crate) fn write(&self) -> Write {
        let plan = self.plan();
        let [Restore { write, .. }] = &plan.writes[..] else { panic!("{plan:#?}") };
        write.clone()
    }

    /// Why it is not restored.
    pub(crate) fn left(&self) -> String {
        let plan = self.plan();
        assert_eq!(plan.writes, []);
        let [left] = &plan.unrestored[..] else { panic!("{plan:#?}") };
        left.reason.clone()
    }

    pub(crate) fn is_done(&self) {
        let last = self.track.entries.iter().rfind(|entry| entry.position <= CUT);
        let undone = last.map(|entry| entry.name.clone()).into_iter().collect();
        assert_eq!(self.plan(), Plan { undone, ..Plan::default() });
    }
}

pub(crate) fn deletion(uid: &str, version: &str, replaced: bool) -> Write {
    Write::Delete { uid: uid.into(), resource_version: version.into(), replaced }
}
