//! The API server's audit log: an independent witness of who wrote what.
//!
//! # Guarantees
//! [`Cluster::writes`] contains every write whose response arrived before the call. Reads are never logged; of events,
//! leases, reviews, bindings and pods' statuses only the metadata is.

use std::time::Duration;

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

impl Cluster {
    /// Every write so far.
    pub async fn writes(&self) -> Result<Writes> {
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
        let complete_lines = later.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let mut writes = Vec::new();
        for line in complete_lines.lines() {
            writes.extend(parse(line)?);
        }
        Ok(Writes(writes).only(|write| !write.name.starts_with("audit-marker-")))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
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

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

fn parse(line: &str) -> Result<Option<Write>> {
    let event: Event = serde_json::from_str(line).with_context(|| format!("not an audit event: {line}"))?;
    if event.stage != "ResponseComplete" && event.stage != "Panic" {
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
