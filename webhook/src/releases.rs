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

/// How many Releases are read at a time: each may be as large as the server allows.
const PAGE: u32 = 50;
/// How much of what is wrong with a release is logged.
const LONGEST_ERROR: usize = 500;

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
        watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE),
    );
    let events = reflector::reflector(writer, watch.default_backoff().modify(slim));
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

/// Leaves out what no write is decided by: tenants may make many Releases, and fill them.
fn slim(DeserializeGuard(release): &mut Guarded) {
    let metadata = match release {
        Ok(release) => {
            release.spec.health = Vec::new();
            if let Some(status) = &mut release.status {
                status.history = Vec::new();
                status.conditions = Vec::new();
                status.objects = Vec::new();
                status.unrestored = Vec::new();
                status.confirmed = Vec::new();
                status.undone = Vec::new();
            }
            &mut release.metadata
        }
        Err(invalid) => {
            invalid.error.truncate(invalid.error.floor_char_boundary(LONGEST_ERROR));
            &mut invalid.metadata
        }
    };
    metadata.labels = None;
    metadata.annotations = None;
    metadata.managed_fields = None;
    metadata.owner_references = None;
    metadata.finalizers = None;
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

#[cfg(test)]
mod tests {
    use backout_model::release::{Fence, Phase, ReleaseStatus};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn of_a_release_only_that_is_kept_by_which_writes_are_decided() {
        let long = "x".repeat(1 << 20);
        let release: Release = serde_json::from_value(json!({
            "apiVersion": "backout.dev/v1alpha1", "kind": "Release",
            "metadata": {"name": "web", "namespace": "shop", "uid": "u", "labels": {"a": long}, "annotations": {"b": long}},
            "spec": {"deadline": "5m", "suspend": true, "onFailure": {"upgrade": "Hold"}},
        }))
        .unwrap();
        let fence = Fence { revision: 2, user: "alice".to_owned(), ..Fence::default() };
        let kept = ReleaseStatus {
            phase: Some(Phase::RolledBack),
            revision: 2,
            healthy_revision: Some(1),
            fence: Some(fence),
            ..ReleaseStatus::default()
        };
        let status = ReleaseStatus { confirmed: vec![long.clone()], undone: vec![long], ..kept.clone() };
        let mut guarded = DeserializeGuard(Ok(Release { status: Some(status), ..release.clone() }));
        slim(&mut guarded);
        let slimmed = guarded.0.unwrap();
        assert_eq!((&slimmed.status, &slimmed.spec), (&Some(kept), &release.spec));
        let metadata: Value = serde_json::to_value(&slimmed.metadata).unwrap();
        assert_eq!(metadata, json!({"name": "web", "namespace": "shop", "uid": "u"}));
    }
}
