//! What is known of releases: from a cache for hints, from the API server where it matters.

use std::{future::Future, sync::Arc, time::Duration};

use backout_model::{names::ReleaseKey, release::Release};
use backout_runtime::{
    api::{ApiError, WATCH_SECONDS, deadline},
    readiness::Gate,
    telemetry::Chain,
};
use futures::StreamExt;
use kube::{
    Api, Client,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store},
        watcher::{self, Event},
    },
};
use tokio::time::{Instant, sleep_until};

use crate::metrics::Metrics;

/// Between two looks at a fence that is about to come down.
const LOOK: Duration = Duration::from_millis(200);

/// Malformed releases are kept, so that they are known to be there.
type Guarded = DeserializeGuard<Release>;

/// The releases of the cluster.
#[derive(Clone)]
pub struct Releases {
    client: Client,
    cache: Store<Guarded>,
}

/// Follows all releases; the future does so for as long as it runs, and opens `gate` when all are known.
pub fn follow(client: Client, gate: Gate, metrics: Metrics) -> (Releases, impl Future<Output = ()>) {
    let (cache, writer) = reflector::store::<Guarded>();
    let watch = watcher::watcher(
        Api::<Guarded>::all(client.clone()),
        watcher::Config::default().timeout(WATCH_SECONDS),
    );
    let events = reflector::reflector(writer, watch.default_backoff());
    let task = async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::InitDone) => gate.open(),
                Ok(
                    Event::Apply(DeserializeGuard(Err(invalid)))
                    | Event::InitApply(DeserializeGuard(Err(invalid))),
                ) => {
                    metrics.unreadable_releases.inc();
                    let kube::api::ObjectMeta { namespace, name, .. } = invalid.metadata;
                    let release = format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
                    tracing::warn!(release, error = invalid.error, "a release cannot be read");
                }
                Ok(_) => {}
                Err(error) => {
                    metrics.watch_interruptions.inc();
                    gate.waits(Chain(&error).to_string());
                    tracing::warn!(error = %Chain(&error), "the watch of releases failed; trying again");
                }
            }
        }
    };
    (Releases { client, cache }, task)
}

/// What the cache holds of one release.
pub struct Cached(Option<Arc<Guarded>>);

impl Cached {
    /// The release, if it is there and can be read.
    pub fn release(&self) -> Option<&Release> {
        self.0.as_ref()?.0.as_ref().ok()
    }
}

impl Releases {
    /// The release as the cache knows it.
    pub fn cached(&self, key: &ReleaseKey) -> Cached {
        Cached(self.cache.get(&ObjectRef::new(key.name.as_str()).within(&key.namespace)))
    }

    /// The release as it is now.
    pub async fn live(&self, key: &ReleaseKey, until: Instant) -> Result<Option<Release>, ApiError> {
        let api = Api::<Guarded>::namespaced(self.client.clone(), &key.namespace);
        let limit = until.saturating_duration_since(Instant::now());
        let found = deadline(limit, format!("GET release {key}"), api.get_opt(key.name.as_str())).await?;
        Ok(found.and_then(|DeserializeGuard(release)| release.ok()))
    }

    /// Waits until the release has no fence; false if it still has one when the time is over.
    pub async fn fence_is_down(&self, key: &ReleaseKey, until: Instant) -> bool {
        loop {
            if let Ok(release) = self.live(key, until).await
                && release.and_then(|release| release.status?.fence).is_none()
            {
                return true;
            }
            let next = Instant::now() + LOOK;
            if next >= until {
                return false;
            }
            sleep_until(next).await;
        }
    }
}
