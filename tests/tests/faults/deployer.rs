//! Alice as a program that writes many objects side by side.

use anyhow::Result;
use backout_model::release::Phase;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use system_tests::{
    Cluster, User,
    stories::{Home, Snapshot},
};

use super::super::{ends, is_collected, set};

/// How many writes she makes side by side.
const PARALLEL: usize = 16;

/// Applies objects in one namespace as one field manager.
pub(crate) struct Deployer {
    maps: Api<ConfigMap>,
    deployments: Api<Deployment>,
    params: PatchParams,
}

impl Deployer {
    /// Alice in this namespace.
    pub(crate) async fn of(home: &Home<'_>) -> Self {
        Self::new(home.stage.cluster, &home.name, "alice").await
    }

    /// A person in this namespace.
    pub(crate) async fn new(cluster: &Cluster, ns: &str, person: &str) -> Self {
        let client = cluster.client(User::Named(person)).await.unwrap();
        Self {
            maps: Api::namespaced(client.clone(), ns),
            deployments: Api::namespaced(client, ns),
            params: PatchParams::apply("deployer").force(),
        }
    }

    /// One ConfigMap.
    pub(crate) async fn map(&self, name: &str, value: &str) -> kube::Result<ConfigMap> {
        patiently(async || self.try_map(name, value).await).await
    }

    /// One ConfigMap, tried once.
    pub(crate) async fn try_map(&self, name: &str, value: &str) -> kube::Result<ConfigMap> {
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name },
            "data": { "value": value, "constant": "the same" } });
        self.maps.patch(name, &self.params, &Patch::Apply(&map)).await
    }

    /// So many ConfigMaps, `map-000` and so on.
    pub(crate) async fn maps(&self, count: usize, value: &str) -> Result<()> {
        let writes = stream::iter(
            (0..count).map(|number| async move { self.map(&map_name(number), value).await.map(drop) }),
        );
        Ok(writes.buffer_unordered(PARALLEL).try_collect().await?)
    }

    /// The Deployment `web` with this image.
    pub(crate) async fn web(&self, image: &str) -> kube::Result<Deployment> {
        let labels = json!({ "app": "web" });
        let template = json!({ "metadata": { "labels": labels },
            "spec": { "containers": [{ "name": "web", "image": format!("registry.example/{image}") }] } });
        let web = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": { "replicas": 2, "selector": { "matchLabels": labels }, "template": template } });
        patiently(async || self.deployments.patch("web", &self.params, &Patch::Apply(&web)).await).await
    }

    pub(crate) async fn delete_map(&self, name: &str) -> kube::Result<()> {
        patiently(async || self.try_delete_map(name).await).await
    }

    pub(crate) async fn try_delete_map(&self, name: &str) -> kube::Result<()> {
        self.maps.delete(name, &DeleteParams::default()).await.map(drop)
    }
}

/// On a machine that is busy with something else a call may come too late: then once more.
async fn patiently<T>(write: impl AsyncFn() -> kube::Result<T>) -> kube::Result<T> {
    let mut tries = 0;
    loop {
        tries += 1;
        match write().await {
            Err(error) if tries < 5 && is_busy(&error) => {}
            outcome => return outcome,
        }
    }
}

/// Whether a webhook or the log did not answer in time.
pub(crate) fn is_busy(error: &kube::Error) -> bool {
    const BUSY: [&str; 3] = ["deadline exceeded", "no answer within", "status code 408"];
    matches!(error, kube::Error::Api(status) if status.code == 500
        && BUSY.iter().any(|words| status.message.contains(words)))
}

pub(crate) fn map_name(number: usize) -> String {
    format!("map-{number:03}")
}

/// The first revision, with so many ConfigMaps, is healthy, and its records are gone; what it looks like.
pub(crate) async fn healthy(home: &Home<'_>, maps: usize) -> Snapshot {
    set(home, &[("settle", "2s"), ("soak", "1s")]).await;
    let deployer = Deployer::of(home).await;
    deployer.web("ready:1").await.unwrap();
    deployer.maps(maps, "ready:1").await.unwrap();
    ends(home, 1, Phase::Healthy).await;
    is_collected(home).await;
    Snapshot::take(home).await.unwrap()
}
