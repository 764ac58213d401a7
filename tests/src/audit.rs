//! The API server's audit log: an independent witness of who wrote what.
//!
//! # Guarantees
//! [`Cluster::writes`] contains every write whose response arrived before the call; of events, leases, reviews, bindings
//! and pods' statuses only the metadata is. Of reads only those of Backout's two accounts are logged, and only that they
//! were: [`Cluster::asked`] has them.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use backout_model::names;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::DeleteParams};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    cluster::{Cluster, User},
    wait::eventually,
};

/// One write as the API server saw it.
#[derive(Clone, Debug)]
pub struct Write {
    /// create, update, patch, delete or deletecollection.
    pub verb: String,
    /// The user's name.
    pub user: String,
    /// The client program, as it calls itself.
    pub user_agent: String,
    /// The API group, empty for the core.
    pub group: String,
    /// The plural resource.
    pub resource: String,
    /// The subresource, empty for the object itself.
    pub subresource: String,
    /// The namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// The name, empty where the server makes one.
    pub name: String,
    /// The uid the request named: in its object, or as a precondition.
    pub uid: Option<String>,
    /// The HTTP status of the answer.
    pub code: u16,
    /// Whether nothing was to be stored.
    pub dry_run: bool,
    /// The request's body, where it was logged.
    pub request: Option<Value>,
    /// When it arrived.
    pub at: String,
}

impl Write {
    /// Whether it changed what is stored.
    pub fn committed(&self) -> bool {
        !self.dry_run && (200..300).contains(&self.code)
    }

    /// Whether it stores evidence.
    pub fn is_evidence(&self) -> bool {
        self.verb == "create" && self.request.as_ref().is_some_and(|it| it["type"] == names::EVIDENCE_TYPE)
    }
}

/// Writes in the order of the log.
#[derive(Clone, Debug, Default)]
pub struct Writes(pub Vec<Write>);

impl Writes {
    /// Those of one user.
    #[must_use]
    pub fn by(self, user: User<'_>) -> Self {
        let name = user.name();
        self.only(|write| write.user == name)
    }

    /// Those in one namespace.
    #[must_use]
    pub fn within(self, ns: &str) -> Self {
        self.only(|write| write.namespace == ns)
    }

    /// Those that changed what is stored.
    #[must_use]
    pub fn committed(self) -> Self {
        self.only(Write::committed)
    }

    /// Those to one resource, such as `deployments`.
    #[must_use]
    pub fn to(self, resource: &str) -> Self {
        self.only(|write| write.resource == resource)
    }

    /// Those for which `keep` holds.
    #[must_use]
    pub fn only(mut self, keep: impl Fn(&Write) -> bool) -> Self {
        self.0.retain(keep);
        self
    }
}

/// One request as it was authorized, a write or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The verb that was authorized, such as `watch`.
    pub verb: String,
    /// The API group, empty for the core.
    pub group: String,
    /// The resource with its subresource, such as `pods/log`; the path where it is none.
    pub resource: String,
    /// The namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// The name, empty for all of them.
    pub name: String,
    /// Whether the account has no right to it. Admission may answer 403 too, as for a namespace that terminates.
    pub is_forbidden: bool,
}

impl Cluster {
    /// Every request of this user so far, with watches that still run.
    pub async fn asked(&self, user: User<'_>) -> Result<Vec<Asked>> {
        let name = user.name();
        // A watch is logged when it begins, and once more when it ends.
        let mut asked = BTreeMap::new();
        for line in self.audited().await?.lines() {
            let event = read(line)?;
            if event.user.username == name {
                let path = event.request_uri.split('?').next().unwrap_or_default();
                let object = event.object_ref;
                let resource = match (object.resource.as_str(), object.subresource.as_str()) {
                    ("", _) => path.to_owned(),
                    (resource, "") => resource.to_owned(),
                    (resource, subresource) => format!("{resource}/{subresource}"),
                };
                let it = Asked {
                    verb: event.verb,
                    group: object.api_group,
                    resource,
                    namespace: object.namespace,
                    name: object.name,
                    is_forbidden: event.annotations.decision == "forbid",
                };
                asked.insert(event.audit_id, it);
            }
        }
        Ok(asked.into_values().collect())
    }

    /// Every write so far.
    pub async fn writes(&self) -> Result<Writes> {
        let mut writes = Vec::new();
        for line in self.audited().await?.lines() {
            writes.extend(parse(line)?);
        }
        Ok(Writes(writes).only(|write| !write.name.starts_with("audit-marker-")))
    }

    /// The log so far, in complete lines.
    async fn audited(&self) -> Result<String> {
        let marker = format!("audit-marker-{:016x}", rand::random::<u64>());
        let nowhere: Api<ConfigMap> = Api::namespaced(self.client(User::Admin).await?, "kube-system");
        // Refused with 404, but logged: what was answered before it is logged too, give or take a moment.
        let _ = nowhere.delete(&marker, &DeleteParams::default()).await;
        let log = eventually("the audit log is written", Duration::from_mins(1), async || {
            let log = tokio::fs::read_to_string(self.audit_log()).await?;
            Ok(log.contains(&marker).then_some(log))
        })
        .await?;
        sleep(Duration::from_millis(20)).await;
        let later = tokio::fs::read_to_string(self.audit_log()).await.unwrap_or(log);
        Ok(later.rsplit_once('\n').map_or_else(String::new, |(lines, _)| lines.to_owned()))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: String,
    verb: String,
    user: EventUser,
    #[serde(default)]
    user_agent: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    object_ref: Reference,
    #[serde(default)]
    response_status: Status,
    #[serde(default)]
    annotations: Annotations,
    request_object: Option<Value>,
    request_received_timestamp: String,
}

#[derive(Deserialize)]
struct EventUser {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reference {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    uid: Option<String>,
}

/// What the API server noted of a request.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "authorization.k8s.io/decision")]
    decision: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

fn read(line: &str) -> Result<Event> {
    serde_json::from_str(line).with_context(|| format!("not an audit event: {line}"))
}

fn parse(line: &str) -> Result<Option<Write>> {
    let event = read(line)?;
    let is_over = event.stage == "ResponseComplete" || event.stage == "Panic";
    if !is_over || ["get", "list", "watch"].contains(&event.verb.as_str()) {
        return Ok(None);
    }
    let requested = |pointer| event.request_object.as_ref()?.pointer(pointer)?.as_str().map(str::to_owned);
    let uid = requested("/preconditions/uid").or_else(|| requested("/metadata/uid"));
    let object = event.object_ref;
    Ok(Some(Write {
        verb: event.verb,
        user: event.user.username,
        user_agent: event.user_agent,
        group: object.api_group,
        resource: object.resource,
        subresource: object.subresource,
        namespace: object.namespace,
        name: object.name,
        uid: uid.or(object.uid),
        code: event.response_status.code,
        dry_run: event.request_uri.contains("dryRun=All"),
        request: event.request_object,
        at: event.request_received_timestamp,
    }))
}
