//! The undo log as an administrator reads it.

use anyhow::{Context, Result};
use backout_model::{
    names::{self, RecordName},
    object::Position,
    undo::{Header, Record, codec},
};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt, api::ListParams};

use crate::{
    backout::NAMESPACE,
    cluster::{Cluster, User},
};

/// One undo record with the Secret that is its head.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The head.
    pub head: Secret,
    /// What it says.
    pub record: Record,
}

impl Logged {
    /// What is known without the images.
    pub fn header(&self) -> &Header {
        &self.record.header
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.record.name.as_str()
    }
}

impl Cluster {
    /// The heads of all records of releases in this namespace.
    pub async fn record_heads(&self, ns: &str) -> Result<Vec<Secret>> {
        let secrets: Api<Secret> = Api::namespaced(self.client(User::Admin).await?, NAMESPACE);
        let selector = format!("{}={},{}={ns}", names::PART, names::PART_HEAD, names::RELEASE_NAMESPACE);
        Ok(secrets.list(&ListParams::default().labels(&selector)).await?.items)
    }

    /// All records of releases in this namespace, in log order. They go when their revision is decided: give the
    /// namespace a long `backout.dev/settle` to look at them in peace.
    pub async fn records(&self, ns: &str) -> Result<Vec<Logged>> {
        let secrets: Api<Secret> = Api::namespaced(self.client(User::Admin).await?, NAMESPACE);
        let mut records = Vec::new();
        for head in self.record_heads(ns).await? {
            let name = RecordName::parse(&head.name_any()).context("the name of a head is no record's")?;
            let mut body = body(&head);
            for index in 0..codec::pieces(head.annotations())? {
                body.extend(self::body(&secrets.get(&name.piece(index)).await?));
            }
            let record = codec::decode(&name, head.annotations(), &body)?;
            records.push(Logged { head, record });
        }
        records.sort_by_key(|logged| {
            // What the watcher notes on a record moves its resourceVersion.
            let noted = logged.head.annotations().get(names::POSITION).cloned();
            noted.or_else(|| logged.head.resource_version()).as_deref().and_then(Position::parse)
        });
        Ok(records)
    }
}

fn body(secret: &Secret) -> Vec<u8> {
    let body = secret.data.as_ref().and_then(|data| data.get(codec::BODY));
    body.map(|bytes| bytes.0.clone()).unwrap_or_default()
}
