//! Records without a Release: either it is still to be created, or it is gone for good.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use backout_model::{
    names::{self, ReleaseKey},
    protocol::Spent,
    release::{Release, ReleaseSpec},
};
use backout_runtime::api::{Class, deadline};
use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client, ResourceExt as _,
    api::{PartialObjectMeta, PostParams},
    runtime::reflector::{ObjectRef, Store},
};
use tokio::sync::Notify;

use crate::{
    controller::release_of,
    records::{self, Log},
};

/// What was missed is found again after so long.
const PERIOD: Duration = Duration::from_secs(5);
const CALL: Duration = Duration::from_secs(10);
const PARALLEL: usize = 16;
/// Caches are far less than this behind: what looks orphaned for longer is.
const ORPHANED_FOR: SignedDuration = SignedDuration::from_mins(2);

/// Brings releases into being when their first record appears, and removes what no release will ever need.
pub(crate) struct Sweep {
    pub(crate) client: Client,
    pub(crate) log: Log,
    pub(crate) records: Store<PartialObjectMeta<Secret>>,
    pub(crate) releases: Store<PartialObjectMeta<Release>>,
    pub(crate) namespaces: Store<PartialObjectMeta<Namespace>>,
}

impl Sweep {
    /// Runs forever: at every new record, and now and then.
    pub(crate) async fn run(&self, new_record: Arc<Notify>) {
        let caches = async {
            tokio::try_join!(
                self.records.wait_until_ready(),
                self.releases.wait_until_ready(),
                self.namespaces.wait_until_ready()
            )
        };
        if caches.await.is_err() {
            return std::future::pending().await;
        }
        loop {
            self.once().await;
            let _either = tokio::time::timeout(PERIOD, new_record.notified()).await;
        }
    }

    async fn once(&self) {
        let mut missing: BTreeMap<ReleaseKey, Vec<Arc<PartialObjectMeta<Secret>>>> = BTreeMap::new();
        for record in self.records.state() {
            if let Some(key) = release_of(&record)
                && self.releases.get(&ObjectRef::new(key.name.as_str()).within(&key.namespace)).is_none()
            {
                missing.entry(key).or_default().push(record);
            }
        }
        stream::iter(missing)
            .for_each_concurrent(PARALLEL, |(key, records)| async move { self.adopt(key, records).await })
            .await;
    }

    /// `records` are of a release that does not exist.
    async fn adopt(&self, key: ReleaseKey, records: Vec<Arc<PartialObjectMeta<Secret>>>) {
        let awaited = |record: &&Arc<PartialObjectMeta<Secret>>| {
            records::header(record).is_ok_and(|header| header.release_uid.is_none())
        };
        if self.is_opted_in(&key.namespace) && records.iter().any(|record| awaited(&record)) {
            self.create(&key).await;
            return;
        }
        let now = Timestamp::now();
        for record in records {
            let age = record.creation_timestamp().map(|created| now.duration_since(created.0));
            if age.is_some_and(|age| age > ORPHANED_FOR)
                && let Err(error) = self.log.collect(&spent(&record)).await
            {
                tracing::warn!(release = %key, %error, "a record without a Release could not be collected");
            }
        }
    }

    fn is_opted_in(&self, namespace: &str) -> bool {
        let namespace = self.namespaces.get(&ObjectRef::new(namespace));
        namespace.is_some_and(|namespace| {
            namespace.metadata.deletion_timestamp.is_none()
                && namespace.labels().get(names::ATOMIC).is_some_and(|value| value == names::ATOMIC_ENABLED)
        })
    }

    async fn create(&self, key: &ReleaseKey) {
        let releases: Api<Release> = Api::namespaced(self.client.clone(), &key.namespace);
        let release = Release::new(key.name.as_str(), ReleaseSpec::default());
        let params =
            PostParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match deadline(CALL, format!("POST Release {key}"), releases.create(&params, &release)).await {
            Ok(_) => tracing::info!(release = %key, "first seen"),
            Err(error) if error.is(Class::AlreadyExists) => {}
            Err(error) => tracing::warn!(release = %key, %error, "the Release could not be created"),
        }
    }
}

fn spent(record: &PartialObjectMeta<Secret>) -> Spent {
    Spent {
        name: record.name_any(),
        resource_version: record.resource_version().unwrap_or_default(),
        pieces: record
            .annotations()
            .get(names::PIECES)
            .and_then(|text| text.parse().ok())
            .unwrap_or_default(),
    }
}
