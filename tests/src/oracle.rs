//! What Backout promises of its own writes, checked against the API server's audit log.
//!
//! # Guarantees
//! A write of the watcher is *accounted for* if it concerns a Secret of the undo log, a Release, an Event, or an object
//! of its namespace that a deployer wrote before it in the same interval, by the log itself; or if it deletes a pod of
//! such a workload, or takes one out of it, and deletes that when its time is over; or if it stores the evidence about
//! a failed revision in a Secret of the Release, or deletes one that it stored. An interval begins where the watcher
//! reported that the one before was committed or rolled back; what was written during a rollback counts to both.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use backout_model::{evidence::stored, lease, names};
use serde_json::{Value, json};

use crate::{
    audit::Write,
    backout::NAMESPACE,
    cluster::{Cluster, User},
};

/// The watcher's service account.
pub const WATCHER: User<'static> = User::ServiceAccount { ns: NAMESPACE, name: "backout-watcher" };

/// What the watcher wrote, and what of it breaks a promise.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// By namespace, each write to something else than Releases, Events, evidence and the undo log.
    pub restores: BTreeMap<String, Vec<String>>,
    /// By namespace, the Secrets with evidence that were stored; with the mark ` late` those after the first restore of
    /// the same interval.
    pub evidence: BTreeMap<String, Vec<String>>,
    /// A sentence for each write that is not accounted for, or lacks its precondition.
    pub violations: Vec<String>,
}

/// Goes through all writes so far; `deployers` are the users whose writes are releases.
pub async fn witness(cluster: &Cluster, deployers: &[&str]) -> Result<Witness> {
    let mut court = Court::default();
    for write in cluster.writes().await?.committed().0 {
        if write.user == WATCHER.name() {
            court.watcher(&write);
        } else if deployers.contains(&write.user.as_str()) {
            let revision = court.revision(&write.namespace);
            revision.written.insert(key(&write));
            revision.written_late.insert(key(&write));
        }
    }
    Ok(court.witness)
}

/// Group, resource and name.
type Key = (String, String, String);

#[derive(Default)]
struct Revision {
    written: BTreeSet<Key>,
    /// What of it was written since a rollback began: it may be of the next interval.
    written_late: BTreeSet<Key>,
    restores: Vec<String>,
}

#[derive(Default)]
struct Court {
    witness: Witness,
    /// By namespace.
    revisions: BTreeMap<String, Revision>,
    /// The last revision that ended, and how, by namespace and name of the Release.
    ended: BTreeMap<(String, String), (Option<u64>, String)>,
    /// The last revision whose rollback began, by namespace and name of the Release.
    rolling: BTreeMap<(String, String), Option<u64>>,
    /// The pods that were set aside, by namespace and name.
    aside: BTreeSet<(String, String)>,
}

impl Court {
    fn revision(&mut self, ns: &str) -> &mut Revision {
        self.revisions.entry(ns.to_owned()).or_default()
    }

    fn watcher(&mut self, write: &Write) {
        match (write.group.as_str(), write.resource.as_str()) {
            ("", "secrets") if write.namespace == NAMESPACE => self.log(write),
            ("", "secrets") if is_diff(write) => {}
            ("", "secrets") if self.is_evidence(write) => self.evidence(write),
            ("backout.dev", "releases") => self.release(write),
            ("coordination.k8s.io", "leases")
                if write.namespace == NAMESPACE && write.name == lease::NAME => {}
            ("", "pods") if self.is_aside(write) => {}
            ("" | "events.k8s.io", "events") => {}
            _ => self.restore(write),
        }
    }

    /// The log is only ever annotated and collected: heads by compare-and-swap, their pieces after them.
    fn log(&mut self, write: &Write) {
        // What healthy revisions changed is kept, and goes when no history names it.
        let is_pack = write.name.starts_with("p-");
        if is_pack && ["create", "delete"].contains(&write.verb.as_str()) {
            return;
        }
        let piece = write.name.matches('-').count() > 1;
        if write.verb == "delete" && !piece && at(write, "/preconditions/resourceVersion").is_none() {
            self.violation(write, "collects a record without a precondition");
        }
        // Of a write that no webhook is shown.
        let header = at(write, "/metadata/annotations/backout.dev~1header").unwrap_or_default();
        let captures = write.verb == "create" && header.contains("\"captured\":true");
        if !["delete", "patch"].contains(&write.verb.as_str()) && !captures {
            self.violation(write, "writes a record");
        }
    }

    /// A Secret of a Release that holds nothing but evidence; or the deletion of one that was such a Secret.
    fn is_evidence(&self, write: &Write) -> bool {
        let Some(secret) = write.request.as_ref().filter(|_| write.verb == "create") else {
            let stored = self.witness.evidence.get(&write.namespace).into_iter().flatten();
            let is_known = stored.map(|name| name.trim_end_matches(LATE)).any(|name| name == write.name);
            return write.verb == "delete" && is_known;
        };
        let label = |key| secret["metadata"]["labels"][key].as_str().unwrap_or_default();
        let owners = secret["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        let release = label(names::RELEASE);
        let is_owned = matches!(&owners[..], [owner] if owner["kind"] == "Release"
            && owner["apiVersion"] == "backout.dev/v1alpha1" && owner["name"] == release && owner["uid"].is_string());
        let keys: Vec<_> = secret["data"].as_object().into_iter().flat_map(|data| data.keys()).collect();
        let name = label(names::REVISION).parse().map(|revision| stored::name(release, revision));
        secret["type"] == names::EVIDENCE_TYPE
            && secret["immutable"] == json!(true)
            && is_owned
            && keys == [stored::KEY]
            && name.ok().as_ref() == Some(&write.name)
    }

    /// A pod that is taken out of its workload, to be kept; or the deletion of one that was.
    fn is_aside(&mut self, write: &Write) -> bool {
        let pod = (write.namespace.clone(), write.name.clone());
        if write.verb == "delete" {
            return compares(write) && self.aside.contains(&pod);
        }
        let operations = write.request.as_ref().and_then(Value::as_array);
        let sets = |path: &str, op: &str| {
            operations.into_iter().flatten().any(|it| it["path"] == path && it["op"] == op)
        };
        let labels = operations.into_iter().flatten().find(|it| it["path"] == "/metadata/labels");
        let marks = labels.is_some_and(|it| it["value"][names::ASIDE].is_string());
        let is_it = write.verb == "patch" && marks && sets("/metadata/uid", "test") && compares(write);
        if is_it {
            self.aside.insert(pod);
        }
        is_it
    }

    fn evidence(&mut self, write: &Write) {
        if write.verb == "delete" && !compares(write) {
            self.violation(write, "deletes evidence without a precondition");
        }
        if write.verb == "create" {
            let is_late = !self.revision(&write.namespace).restores.is_empty();
            let name = format!("{}{}", write.name, if is_late { LATE } else { "" });
            self.witness.evidence.entry(write.namespace.clone()).or_default().push(name);
        }
    }

    fn release(&mut self, write: &Write) {
        if write.verb == "create" && write.subresource.is_empty() {
            return;
        }
        if write.subresource != "status" || at(write, "/metadata/resourceVersion").is_none() {
            self.violation(write, "writes more of a Release than its status, or without comparing");
        }
        let phase = at(write, "/status/phase").unwrap_or_default().to_owned();
        let key = (write.namespace.clone(), write.name.clone());
        let number = write.request.as_ref().and_then(|it| it.pointer("/status/revision")?.as_u64());
        if phase == "RollingBack" && self.rolling.insert(key.clone(), number) != Some(number) {
            self.revision(&write.namespace).written_late.clear();
        }
        if !["Healthy", "RolledBack", "Held", "Notified"].contains(&phase.as_str()) {
            return;
        }
        let end = (number, phase.clone());
        if self.ended.insert(key, end.clone()) == Some(end) {
            return;
        }
        let revision = self.revision(&write.namespace);
        let restores = std::mem::take(&mut revision.restores);
        match phase.as_str() {
            "Healthy" => revision.written.clear(),
            "RolledBack" => revision.written = std::mem::take(&mut revision.written_late),
            _ => {}
        }
        // A rollback that came to a halt says why.
        let is_halted =
            phase == "Held" && write.request.as_ref().is_some_and(|it| it["status"]["held"].is_object());
        if phase != "RolledBack" && !is_halted && !restores.is_empty() {
            let writes = restores.join(", ");
            self.violation(write, &format!("reports {phase} after it had written {writes}"));
        }
    }

    fn restore(&mut self, write: &Write) {
        let told = tell(write);
        self.witness.restores.entry(write.namespace.clone()).or_default().push(told.clone());
        let revision = self.revision(&write.namespace);
        revision.restores.push(told);
        // The log does not tell the names that the server made, or those in a collection that was deleted.
        let nameless = (write.group.clone(), write.resource.clone(), String::new());
        let is_written = [key(write), nameless].iter().any(|key| revision.written.contains(key));
        if !is_written && !frees_a_pod(&revision.written, write) {
            self.violation(write, UNWRITTEN);
        }
        if !compares(write) {
            self.violation(write, "does not name the uid and resourceVersion that it was decided on");
        }
    }

    fn violation(&mut self, write: &Write, what: &str) {
        self.witness.violations.push(format!("{} {what}", tell(write)));
    }
}

/// The end of the sentence about a write to an object of which the audit log has no deployer's write.
pub const UNWRITTEN: &str = "touches an object that no deployer wrote in this interval";

const LATE: &str = " late";

/// Whether the write can only hit the very state that it was decided on.
fn compares(write: &Write) -> bool {
    let names_both = |parent: &str| {
        ["uid", "resourceVersion"].iter().all(|field| at(write, &format!("{parent}/{field}")).is_some())
    };
    match write.verb.as_str() {
        "delete" => names_both("/preconditions"),
        "update" => names_both("/metadata"),
        "patch" => write.request.as_ref().and_then(Value::as_array).is_some_and(|operations| {
            operations.iter().any(|operation| {
                operation["path"] == "/metadata/resourceVersion" && operation["value"].is_string()
            })
        }),
        verb => verb == "create",
    }
}

/// What a revision changed, told for who asked, in place of what was told last.
fn is_diff(write: &Write) -> bool {
    let is_typed = write.request.as_ref().is_some_and(|it| it["type"] == names::DIFF_TYPE);
    write.name.starts_with("backout-diff-")
        && match write.verb.as_str() {
            "create" => is_typed,
            verb => verb == "delete" && compares(write),
        }
}

fn frees_a_pod(written: &BTreeSet<Key>, write: &Write) -> bool {
    let of = write.name.rsplit_once('-').map(|(workload, _)| workload.to_owned()).unwrap_or_default();
    write.resource == "pods"
        && write.verb == "delete"
        && ["statefulsets", "daemonsets"]
            .iter()
            .any(|workloads| written.contains(&("apps".to_owned(), (*workloads).to_owned(), of.clone())))
}

fn at<'a>(write: &'a Write, pointer: &str) -> Option<&'a str> {
    write.request.as_ref()?.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}

fn key(write: &Write) -> Key {
    (write.group.clone(), write.resource.clone(), write.name.clone())
}

fn tell(write: &Write) -> String {
    let Write { verb, resource, namespace, name, at, .. } = write;
    format!("{verb} {resource} {namespace}/{name} at {at}")
}
