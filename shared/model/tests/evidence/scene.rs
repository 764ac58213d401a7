//! A failed upgrade, and what the watcher finds when it asks.

use std::time::Duration;

use backout_model::{
    evidence::{Evidence, Findings, LogOf, evidence, wanted},
    health::Live,
    names::{RecordName, ReleaseKey, ReleaseName},
    object::{ObjectKey, ObjectRef, Position},
    protocol::Observed,
    release::{Failure, Phase, Subject},
    rollback::Track,
    undo::{
        Body, Header, Operation, Record,
        chain::{Chain, Entry, Standing},
    },
};
use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::Time};
use serde_json::{Value, json};

pub(crate) const NOW: &str = "2026-01-01T00:10:00Z";

/// A release, and what can be read of it.
#[derive(Default)]
pub(crate) struct Scene {
    pub(crate) seen: Observed,
    pub(crate) found: Findings,
    records: u64,
}

pub(crate) fn reference(kind: &str, name: &str) -> ObjectRef {
    let group = if ["Deployment", "ReplicaSet"].contains(&kind) { "apps" } else { "" };
    let key = ObjectKey {
        group: group.to_owned(),
        resource: format!("{}s", kind.to_lowercase()),
        namespace: Some("shop".to_owned()),
        name: name.to_owned(),
    };
    ObjectRef { key, version: "v1".to_owned(), kind: kind.to_owned() }
}

#[expect(clippy::needless_pass_by_value, reason = "`json!` makes values")]
pub(crate) fn object(kind: &str, name: &str, content: Value) -> Value {
    let mut object =
        json!({"kind": kind, "metadata": {"name": name, "namespace": "shop", "uid": format!("{name}-uid")}});
    for (field, value) in content.as_object().unwrap() {
        object[field] = value.clone();
    }
    object
}

/// A Secret with this value.
pub(crate) fn secret(name: &str, value: &str) -> Value {
    object("Secret", name, json!({"data": {"password": ByteString(value.as_bytes().to_vec())}}))
}

/// A pod of Deployment `web` whose container crashes; what it says last, and further fields of its spec.
#[expect(clippy::needless_pass_by_value, reason = "`json!` makes values")]
pub(crate) fn crashing(name: &str, last_words: &str, spec: Value) -> Value {
    let ended = json!({"exitCode": 3, "reason": "Error", "message": last_words});
    let status = json!({"name": "app", "restartCount": 2, "ready": false,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}},
        "lastState": {"terminated": ended}});
    let mut pod = object(
        "Pod",
        name,
        json!({"spec": {"containers": [{"name": "app", "image": "web:2"}]},
        "status": {"phase": "Running", "containerStatuses": [status]}}),
    );
    pod["metadata"]["ownerReferences"] = json!([{"uid": "web-2-uid", "controller": true}]);
    for (field, value) in spec.as_object().unwrap() {
        pod["spec"]["containers"][0][field] = value.clone();
    }
    pod
}

pub(crate) fn log_of(pod: &str, previous: bool) -> LogOf {
    let [namespace, pod, container] = ["shop", pod, "app"].map(str::to_owned);
    LogOf { namespace, pod, container, previous }
}

impl Scene {
    /// Deployment `web` is to blame.
    pub(crate) fn new() -> Self {
        let mut scene = Self::default();
        let web = reference("Deployment", "web");
        scene.seen.status.phase = Some(Phase::RollingBack);
        scene.seen.status.revision = 2;
        scene.seen.status.opened_at = Some(Time("2026-01-01T00:00:00Z".parse().unwrap()));
        scene.seen.status.decided_at = Some(Time(NOW.parse().unwrap()));
        scene.seen.status.failure = Some(Failure {
            object: Subject::from(&web),
            reason: "Crashes".to_owned(),
            message: "container \"app\" crashed".to_owned(),
            evidence: Vec::new(),
        });
        scene.seen.cut = Position(u64::MAX);
        let set = json!({"metadata": {"uid": "web-2-uid", "ownerReferences": [{"uid": "web-uid", "controller": true}]}});
        scene.seen.replica_sets.push(set);
        let deployment = |image: &str| {
            object(
                "Deployment",
                "web",
                json!({"spec": {"template": {"spec": {"containers":
                [{"name": "app", "image": image}, {"name": "log", "image": "log:1"}]}}},
                "status": {"conditions": [{"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable",
                    "message": "no minimum availability", "lastTransitionTime": NOW}, {"type": "Progressing", "status": "True"}]}}),
            )
        };
        scene.wrote("Deployment", "web", &[(Some(deployment("web:1")), Some(deployment("web:2")))]);
        scene
    }

    /// The release wrote an object: its states before and after each write.
    pub(crate) fn wrote(&mut self, kind: &str, name: &str, writes: &[(Option<Value>, Option<Value>)]) {
        let object = reference(kind, name);
        let live = writes.last().and_then(|(_, after)| after.clone()).map_or(Live::Absent, Live::Present);
        let entries = writes
            .iter()
            .map(|(before, after)| self.record(&object, before.as_ref(), after.as_ref()))
            .collect::<Vec<_>>();
        let chain = Chain { standings: vec![Standing::Confirmed; entries.len()], ..Chain::default() };
        self.seen.tracks.push(Track { object, entries, chain, live });
    }

    fn record(&mut self, object: &ObjectRef, before: Option<&Value>, after: Option<&Value>) -> Entry {
        self.records += 1;
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&self.records.to_be_bytes());
        let name = RecordName::from_digest(&digest);
        let operation = match (before, after) {
            (None, _) => Operation::Create,
            (_, None) => Operation::Delete,
            _ => Operation::Update,
        };
        let header = Header {
            operation,
            object: object.clone(),
            generate_name: None,
            uid: None,
            resource_version: None,
            undo: None,
            replicas: None,
            release: release(),
            release_uid: None,
            revision: 2,
            begins: false,
            captured: false,
            user: "alice".to_owned(),
            tool: "kubectl".to_owned(),
            request: String::new(),
        };
        let body = Body { before: before.cloned(), after: after.cloned() };
        let record = Record { name: name.clone(), header: header.clone(), body };
        self.found.records.insert(name.clone(), Ok(record));
        Entry {
            name,
            position: Position(self.records),
            resource_version: String::new(),
            pieces: 0,
            created: NOW.parse().unwrap(),
            age: Duration::ZERO,
            header,
            owner: None,
            verified: None,
        }
    }

    /// A pod crashes, and its last instance had said this.
    pub(crate) fn crashes(&mut self, pod: Value, log: &str) {
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        self.seen.pods.push(pod);
        self.found.logs.insert(log_of(&name, true), Ok(log.to_owned()));
        self.found.events.entry("shop".to_owned()).or_insert_with(|| Ok(Vec::new()));
    }

    pub(crate) fn warns(&mut self, about: &str, message: &str, last: &str) {
        let event = json!({"type": "Warning", "reason": "BackOff", "message": message, "count": 3, "lastTimestamp": last,
            "involvedObject": {"kind": "Pod", "namespace": "shop", "name": about, "uid": format!("{about}-uid")}});
        let events = self.found.events.entry("shop".to_owned()).or_insert_with(|| Ok(Vec::new()));
        events.as_mut().unwrap().push(event);
    }

    pub(crate) fn evidence(&self) -> Evidence {
        evidence(&release(), &self.seen, &wanted(&self.seen), &self.found)
    }
}

fn release() -> ReleaseKey {
    ReleaseKey::new("shop", ReleaseName::from_mark("shop").unwrap())
}
