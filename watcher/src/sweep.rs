//! Records without a Release: either it is still to be created, or it is gone for good.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use backout_model::{
    names::{self, ReleaseKey},
    protocol::Spent,
    release::{Release, ReleaseSpec},
};
use backout_runtime::api::{ApiError, Class, deadline};
use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client, ResourceExt as _,
    api::PartialObjectMeta,
    runtime::reflector::{ObjectRef, Store},
};
use tokio::sync::Notify;

use crate::{
    context::Context,
    packs, params,
    records::{self, Log, release_of},
};

/// What was missed is found again after so long.
const PERIOD: Duration = Duration::from_secs(5);
const CALL: Duration = Duration::from_secs(10);
const PARALLEL: usize = 16;
/// Caches are far less than this behind: what looks orphaned for longer is.
const ORPHANED_FOR: SignedDuration = SignedDuration::from_mins(2);
/// No write takes as long from its first piece to its head.
const HEADLESS_FOR: Duration = Duration::from_mins(2);
/// How often pieces without a head, and packs, are looked for: both are rare. A pack is named by the history far sooner, or
/// never.
const PIECES_PERIOD: Duration = Duration::from_mins(10);

/// Brings releases into being when their first record appears, and removes what no release will ever need.
pub(crate) struct Sweep {
    pub(crate) client: Client,
    pub(crate) log: Log,
    pub(crate) records: Store<PartialObjectMeta<Secret>>,
    pub(crate) releases: Store<PartialObjectMeta<Release>>,
    pub(crate) namespaces: Store<PartialObjectMeta<Namespace>>,
    pub(crate) context: Arc<Context>,
}

type Head = Arc<PartialObjectMeta<Secret>>;

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
        let births = async {
            loop {
                self.once().await;
                let _either = tokio::time::timeout(PERIOD, new_record.notified()).await;
            }
        };
        // Beside it: no new release has to wait for that.
        let leftovers = async {
            let (mut headless, mut unnamed) = (HashMap::new(), HashSet::new());
            loop {
                self.packs(&mut unnamed).await;
                if let Err(error) = self.pieces(&mut headless).await {
                    tracing::warn!(%error, "pieces of records that never were could not be collected");
                }
                tokio::time::sleep(PIECES_PERIOD).await;
            }
        };
        tokio::join!(births, leftovers);
    }

    /// Packs that no history names any more.
    async fn packs(&self, unnamed: &mut HashSet<String>) {
        match packs::collect(&self.context, unnamed).await {
            Ok(bytes) => self.context.metrics.kept_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX)),
            Err(error) => tracing::warn!(%error, "packs that nobody needs any more could not be collected"),
        }
    }

    async fn once(&self) {
        let mut missing: BTreeMap<ReleaseKey, Vec<Head>> = BTreeMap::new();
        let log = self.records.state().into_iter();
        let log: Vec<_> = log.filter_map(|record| Some((release_of(&record)?, record))).collect();
        self.count(&log);
        for (key, record) in log {
            if !self.exists(&key) {
                missing.entry(key).or_default().push(record);
            }
        }
        self.context.standings.retain(|key| self.exists(key));
        self.context.memories.retain(|key| self.exists(key) || missing.contains_key(key));
        let (awaiting, others): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|(key, records)| self.is_awaited(key, records));
        stream::iter(awaiting)
            .for_each_concurrent(PARALLEL, |(key, _)| async move { self.create(&key).await })
            .await;
        let forgotten = stream::iter(others)
            .for_each_concurrent(PARALLEL, |(key, records)| async move { self.forget(key, records).await });
        // No new release has to wait for the records of one that is gone: what is left goes the next time.
        let _in_time_or_not = tokio::time::timeout(PERIOD, forgotten).await;
    }

    fn count(&self, log: &[(ReleaseKey, Head)]) {
        let counted = log.iter().filter_map(|(key, head)| {
            let created = head.creation_timestamp().map(|created| created.0.as_second());
            Some((key, records::position(head)?, created?))
        });
        let counted: Vec<_> = counted.collect();
        self.context.standings.count(&counted, &self.context.metrics);
    }

    fn exists(&self, key: &ReleaseKey) -> bool {
        self.releases.get(&ObjectRef::new(key.name.as_str()).within(&key.namespace)).is_some()
    }

    /// Whether some of `records`, of a release that does not exist, are of one that is to be.
    fn is_awaited(&self, key: &ReleaseKey, records: &[Head]) -> bool {
        let is_new = |record: &Head| {
            records::header(record).is_ok_and(|header| records::owner(record, &header).is_none())
                && !self.context.memories.knows(key, &record.name_any())
        };
        self.is_opted_in(&key.namespace) && records.iter().any(is_new)
    }

    /// Collects records of a release that is gone.
    async fn forget(&self, key: ReleaseKey, records: Vec<Head>) {
        let now = Timestamp::now();
        let old = |record: &Head| {
            let age = record.creation_timestamp().map(|created| now.duration_since(created.0));
            age.is_some_and(|age| age > ORPHANED_FOR)
        };
        let orphaned: Vec<_> = records.into_iter().filter(old).collect();
        if orphaned.is_empty() || !self.is_gone(&key).await {
            return;
        }
        if !self.is_opted_in(&key.namespace) && !self.has_left(&key.namespace).await {
            return;
        }
        for record in orphaned {
            let collected = self.log.collect(&spent(&record)).await;
            self.context.metrics.collected(&collected);
            if let Err(error) = collected {
                tracing::warn!(release = %key, %error, "a record without a Release could not be collected");
            }
        }
    }

    /// Whether the namespace is gone, or does not opt in any more, as the server itself says.
    async fn has_left(&self, namespace: &str) -> bool {
        let found = self.context.cluster.namespace(namespace).await;
        found.is_ok_and(|found| !found.is_some_and(|found| opts_in(&found)))
    }

    /// Asks the server itself: a cache that has lost a Release must not cost its records.
    async fn is_gone(&self, key: &ReleaseKey) -> bool {
        let releases: Api<PartialObjectMeta<Release>> = Api::namespaced(self.client.clone(), &key.namespace);
        let call = releases.get_metadata_opt(key.name.as_str());
        matches!(deadline(CALL, format!("GET Release {key}"), call).await, Ok(None))
    }

    /// Pieces are stored before the head and collected after it: a crash may leave some without.
    ///
    /// Their age is by when they were first seen without: the server's clock may differ from ours.
    async fn pieces(&self, headless: &mut HashMap<String, Instant>) -> Result<(), ApiError> {
        let now = Instant::now();
        let pieces = self.log.parts(names::PART_PIECE).await?;
        headless.retain(|name, _| pieces.iter().any(|piece| piece.name_any() == *name));
        for piece in pieces {
            let name = piece.name_any();
            let head = name.rsplit_once('-').map_or("", |(head, _)| head);
            let has_head = self.records.find(|record| record.name_any() == head).is_some();
            if has_head {
                headless.remove(&name);
            } else if headless.entry(name.clone()).or_insert(now).elapsed() >= HEADLESS_FOR
                && !self.log.has(head).await?
            {
                self.log.remove(piece).await?;
            }
        }
        Ok(())
    }

    fn is_opted_in(&self, namespace: &str) -> bool {
        let namespace = self.namespaces.get(&ObjectRef::new(namespace));
        namespace.is_some_and(|namespace| opts_in(&namespace))
    }

    async fn create(&self, key: &ReleaseKey) {
        let releases: Api<Release> = Api::namespaced(self.client.clone(), &key.namespace);
        let release = Release::new(key.name.as_str(), ReleaseSpec::default());
        match deadline(CALL, format!("POST Release {key}"), releases.create(&params::post(), &release)).await
        {
            Ok(_) => tracing::info!(release = %key, "first seen"),
            Err(error) if error.is(Class::AlreadyExists) => {}
            Err(error) => tracing::warn!(release = %key, %error, "the Release could not be created"),
        }
    }
}

/// Whether the namespace has opted in, and is to stay.
pub(crate) fn opts_in(namespace: &PartialObjectMeta<Namespace>) -> bool {
    namespace.metadata.deletion_timestamp.is_none()
        && namespace.labels().get(names::ATOMIC).is_some_and(|value| value == names::ATOMIC_ENABLED)
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
