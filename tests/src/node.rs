//! A real node on the cluster's machine: containerd and a kubelet, and real containers.
//!
//! # Flow
//! A script is the first process of a mount and a PID namespace of the node's own. There it hides the fixed places of
//! containerd and the kubelet behind empty ones, starts containerd, gives it the images, and runs the kubelet.
//!
//! # Guarantees
//! Whatever ends the test ends every container: the guard kills the script, and the kernel all that is left in its
//! namespaces, mounts included. A bridge and empty control groups outlive that: they go when the node is dropped, or
//! before the next one starts.
//!
//! # Assumptions
//! Root. The pods' network is nobody else's, and neither temporary folders nor the cache lie in `/run`, `/var/lib` or
//! `/var/log`.

mod image;
mod leftovers;
mod registry;
pub(crate) mod requirements;
mod services;
mod settings;

use std::{
    fs::{self, File},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;

use self::leftovers::Leftovers;
pub use self::{leftovers::remains, registry::Registry, requirements::missing, services::Services};
use crate::{
    cluster::{Cluster, User, is_usable},
    components::{Component, Components},
    images::Image,
    process::{Process, Spec},
    wait::eventually,
};

/// Its name: also where the API server finds its kubelet.
pub const NAME: &str = "localhost";

/// An image with a program that does what its first argument says: `pause`, `serve [AFTER [LIFE]]`, `crash [FOLDER TIMES]`,
/// `end` or `hog`.
pub const IMAGE: &str = "local/app:1";

/// A running node. Dropping it ends it, with all its containers.
pub struct Node {
    // Declared first: it ends before what it leaves behind is removed, and then others may start one.
    process: Process,
    leftovers: Leftovers,
    alone: File,
}

impl Node {
    /// Joins a node to a cluster that was started for one, and waits until pods can run there. Waits for another test's
    /// node to end first.
    pub async fn join(cluster: &Cluster) -> Result<Self> {
        Self::join_with(cluster, &[]).await
    }

    /// The same with these images, besides [`IMAGE`].
    pub async fn join_with(cluster: &Cluster, images: &[Image]) -> Result<Self> {
        let missing = missing();
        ensure!(missing.is_empty(), "a real node needs {}", missing.join(", "));
        let components = tokio::task::spawn_blocking(|| Components::build(&[Component::Kubelet]))
            .await
            .context("building the kubelet was interrupted")??;
        let kubeconfig = cluster.kubeconfig(User::Node(NAME)).await?;
        let dir = cluster.dir().join("node");
        let lock = cluster.dir().with_file_name("node.lock");
        let authority = cluster.authority().ca();
        let (alone, leftovers) = tokio::task::spawn_blocking({
            let (dir, images) = (dir.clone(), images.to_vec());
            move || {
                fs::create_dir_all(&dir)?;
                settings::write(&dir, &authority)?;
                image::pack(&dir)?;
                for image in &images {
                    let name = image.archive.file_name().context("an archive has a name")?;
                    fs::copy(&image.archive, dir.join("images").join(name))?;
                }
                leftovers::claim(&lock)
            }
        })
        .await
        .context("the preparation was interrupted")??;
        let spec = Spec::new("node", "unshare".as_ref(), cluster.logs().join("node.log"))
            .args(["--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", include_str!("node/node.sh"), "node"])
            .args([&dir, &components.path(Component::Kubelet), &kubeconfig])
            .args([leftovers::BRIDGE, settings::GATEWAY, NAME])
            .env("PATH", requirements::search_path());
        let node = Self { process: Process::spawn(spec)?, leftovers, alone };
        node.usable(cluster).await?;
        Ok(node)
    }

    /// Its first process, with which it ends.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it, and says what is left of it before others may start theirs.
    pub fn end(self) -> Vec<String> {
        drop((self.process, self.leftovers));
        let remains = remains();
        drop(self.alone);
        remains
    }

    async fn usable(&self, cluster: &Cluster) -> Result<()> {
        let nodes: Api<NodeObject> = Api::all(cluster.client(User::Admin).await?);
        let usable = eventually("the node is ready", PATIENCE, async || {
            let is_there = nodes.get_opt(NAME).await?.is_some_and(|node| is_usable(&node));
            // Either way the waiting is over.
            Ok((is_there || self.process.exit().is_some()).then_some(()))
        });
        let waited = usable.await;
        let alive = self.process.exit().is_none();
        if alive && waited.is_ok() {
            return Ok(());
        }
        let end = self.process.log_tail(15);
        waited.and_then(|()| anyhow::bail!("it ended")).with_context(|| format!("no real node:\n{end}"))
    }
}

/// On a busy machine containerd alone may take half a minute.
const PATIENCE: Duration = Duration::from_mins(3);
