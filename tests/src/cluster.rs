//! One Kubernetes cluster on loopback addresses: etcd, the control plane, and simulated nodes.

mod control_plane;
mod etcd;
mod ports;
mod second;
mod shared;
mod users;
mod workdir;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::sync::Mutex;

pub(crate) use control_plane::is_usable;
pub use ports::free_port;
pub use users::User;
pub(crate) use users::{client_from, grant, wait_allowed};
pub(crate) use workdir::WorkDir;

use crate::{
    certs::Authority,
    components::{Component, Components},
    process::Process,
    tools::Tool,
};

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many simulated nodes it has.
    pub nodes: usize,
    /// Whether a real node is to join: then the API server can show who it is, and asks kubelets for logs by their names.
    pub real_node: bool,
    /// Further arguments of the API server.
    pub apiserver_args: Vec<String>,
    /// Further arguments of etcd.
    pub etcd_args: Vec<String>,
    /// Whether data and logs stay when the cluster is dropped.
    pub keep: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 2,
            real_node: false,
            apiserver_args: Vec::new(),
            etcd_args: Vec::new(),
            keep: std::env::var_os("BACKOUT_KEEP_LOGS").is_some(),
        }
    }
}

/// A running cluster. Dropping it ends all its processes and removes its folder.
pub struct Cluster {
    // Declared before the folder: processes end before their files go.
    kwok: Process,
    scheduler: Process,
    controller_manager: Process,
    apiserver: Process,
    etcd: Process,
    authority: Authority,
    components: Components,
    apiserver_port: u16,
    etcd_port: u16,
    /// Held while a kubeconfig and its certificate are written.
    minting: Mutex<()>,
    dir: WorkDir,
}

impl Cluster {
    /// Starts a cluster and waits until its nodes are ready. Builds missing components first.
    pub async fn start(options: Options) -> Result<Self> {
        let components = tokio::task::spawn_blocking(|| Components::build(Component::CLUSTER))
            .await
            .context("building the components was interrupted")??;
        control_plane::start(&options, components).await
    }

    /// The cluster of this test binary, started at the first call and ended with the binary.
    pub fn shared() -> Result<&'static Self> {
        shared::cluster()
    }

    /// The database. Kill and restart it as you like: it keeps its port and data.
    pub fn etcd(&self) -> &Process {
        &self.etcd
    }

    /// The API server. Kill and restart it as you like: it keeps its port.
    pub fn apiserver(&self) -> &Process {
        &self.apiserver
    }

    /// The controllers of Deployments, Jobs and all other built-in kinds.
    pub fn controller_manager(&self) -> &Process {
        &self.controller_manager
    }

    /// The scheduler.
    pub fn scheduler(&self) -> &Process {
        &self.scheduler
    }

    /// The simulator of nodes and their pods.
    pub fn kwok(&self) -> &Process {
        &self.kwok
    }

    /// Where the API server listens.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.apiserver_port)
    }

    /// The authority that signed the API server's certificate, and signs what else the test needs.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The built executables.
    pub fn components(&self) -> &Components {
        &self.components
    }

    /// The cluster's folder, for whatever belongs to it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The folder of the logs.
    pub fn logs(&self) -> PathBuf {
        self.dir.logs()
    }

    /// The API server's audit log.
    pub fn audit_log(&self) -> PathBuf {
        self.dir.logs().join("audit.jsonl")
    }

    /// The real `kubectl`, as the administrator unless told otherwise.
    pub fn kubectl(&self) -> Tool<'_> {
        Tool::new(self, Component::Kubectl)
    }

    /// The real `helm`, as the administrator unless told otherwise.
    pub fn helm(&self) -> Tool<'_> {
        Tool::new(self, Component::Helm)
    }

    /// Waits until the API server serves; after a restart, say.
    pub async fn wait_ready(&self) -> Result<()> {
        let client = self.client(User::Admin).await?;
        control_plane::ready(&client, &[&self.etcd, &self.apiserver]).await
    }

    /// Ends everything in order; dropping does the same without the order.
    pub async fn stop(self) -> Result<()> {
        for process in [&self.kwok, &self.scheduler, &self.controller_manager, &self.apiserver, &self.etcd] {
            process.terminate().await?;
        }
        Ok(())
    }

    /// Keeps the logs for a person to read, and returns the last lines of each.
    pub fn keep_for_inspection(&self) -> String {
        self.dir.keep();
        let tails = self.dir.log_tails(15);
        format!("all logs are kept in {}\n{tails}", self.dir.logs().display())
    }
}
