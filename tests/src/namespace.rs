//! A namespace of its own for each test, and what there is to know about it when the test fails.

use std::{collections::BTreeMap, path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use tokio::runtime::Builder;

use crate::{
    cluster::{Cluster, User, client_from},
    tools::Tool,
    wait::eventually,
};

/// A namespace that is deleted in the background, or described at length when its test panics.
pub struct TestNamespace<'a> {
    cluster: &'a Cluster,
    name: String,
    admin: PathBuf,
}

impl<'a> TestNamespace<'a> {
    /// A namespace that Backout leaves alone, named after the promise that is tested.
    pub async fn new(cluster: &'a Cluster, promise: &str) -> Result<Self> {
        Self::create(cluster, promise, &[], &[]).await
    }

    /// A namespace that opted in, with these annotations.
    pub async fn atomic(cluster: &'a Cluster, promise: &str, annotations: &[(&str, &str)]) -> Result<Self> {
        Self::create(cluster, promise, &[("backout.dev/atomic", "enabled")], annotations).await
    }

    /// A namespace with these labels and annotations.
    pub async fn create(
        cluster: &'a Cluster,
        promise: &str,
        labels: &[(&str, &str)],
        annotations: &[(&str, &str)],
    ) -> Result<Self> {
        let client = cluster.client(User::Admin).await?;
        let name = unique_name(promise);
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(owned(labels)),
                annotations: Some(owned(annotations)),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let created = Api::all(client.clone()).create(&PostParams::default(), &namespace).await;
        created.with_context(|| format!("cannot create namespace {name}"))?;
        // Bare pods are refused until their service account exists.
        let accounts: Api<ServiceAccount> = Api::namespaced(client, &name);
        eventually(format!("service account default in {name}"), Duration::from_secs(30), async || {
            Ok(accounts.get_opt("default").await?)
        })
        .await?;
        let admin = cluster.kubeconfig(User::Admin).await?;
        Ok(Self { cluster, name, admin })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes a person the administrator of this namespace.
    pub async fn grant(&self, person: &str) -> Result<()> {
        self.cluster.grant(person, "admin", &self.name).await
    }

    /// Applies manifests with the real `kubectl`; an error tells what it printed.
    pub async fn apply(&self, user: User<'_>, manifests: &str) -> Result<()> {
        let kubectl = self.cluster.kubectl().user(user).stdin(manifests);
        kubectl.run(&["apply", "-n", &self.name, "-f", "-"]).await?.success().map(drop)
    }

    /// Releases, events and pods of the namespace, for a person to read.
    pub async fn describe(&self) -> String {
        let mut text = vec![format!("=== namespace {}", self.name)];
        for what in [
            &["get", "releases.backout.dev", "-o", "yaml"][..],
            &["get", "all,configmaps", "-o", "wide"],
            &["get", "events", "--sort-by=.lastTimestamp"],
        ] {
            let kubectl: Tool<'_> = self.cluster.kubectl();
            let output = kubectl.run(&[what, &["-n", self.name.as_str()]].concat()).await;
            let told =
                output.map_or_else(|error| format!("{error:#}"), |output| output.stdout + &output.stderr);
            text.push(format!("--- kubectl {}\n{told}", what.join(" ")));
        }
        text.join("\n")
    }
}

impl Drop for TestNamespace<'_> {
    fn drop(&mut self) {
        // Drop cannot wait for async work on the test's own runtime.
        if thread::panicking() {
            let told = thread::scope(|scope| scope.spawn(|| block_on(self.describe())).join());
            let told = told.ok().flatten().unwrap_or_default();
            eprintln!("{told}\n{}", self.cluster.keep_for_inspection());
        } else {
            let (admin, name) = (self.admin.clone(), std::mem::take(&mut self.name));
            thread::spawn(move || block_on(delete(admin, name)));
        }
    }
}

async fn delete(admin: PathBuf, name: String) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client_from(&admin).await?);
    Ok(namespaces.delete(&name, &DeleteParams::background()).await.map(drop)?)
}

fn block_on<T>(work: impl Future<Output = T>) -> Option<T> {
    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    Some(runtime.block_on(work))
}

fn unique_name(promise: &str) -> String {
    let lower = promise.to_lowercase();
    let words: Vec<_> =
        lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    // Names of namespaces end at 63 characters: `t-`, a dash and eight digits come on top.
    let slug: String = words.join("-").chars().take(48).collect();
    format!("t-{}-{:08x}", slug.trim_end_matches('-'), rand::random::<u32>())
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}
