//! Where stories play: on the harness's own cluster, or on one that somebody else runs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use anyhow::Result;
use kube::Client;

use crate::{
    cluster::{Cluster, User},
    components::{Component, Components},
    demo::Images,
    tools::Tool,
};

/// A cluster that one can talk to as whomever a story needs.
pub trait Site: Sync + Sized {
    /// The clients.
    fn components(&self) -> &Components;

    /// A folder for what clients write.
    fn dir(&self) -> &Path;

    /// What clients find in their environment besides what they all do.
    fn environment(&self) -> Vec<(&'static str, PathBuf)>;

    /// The path of a kubeconfig for this user, which knows of no other cluster.
    fn kubeconfig(&self, user: User<'_>) -> impl Future<Output = Result<PathBuf>> + Send;

    /// A new client, bound to the runtime of the caller.
    fn client(&self, user: User<'_>) -> impl Future<Output = Result<Client>> + Send;

    /// What is different from one cluster to the other.
    fn setting(&self) -> &Setting;

    /// The cluster whose audit log can be read; none where it is not ours to read.
    fn audited(&self) -> Option<&Cluster>;

    /// The real `kubectl`, as the administrator unless told otherwise.
    fn kubectl(&self) -> Tool<'_, Self> {
        Tool::new(self, Component::Kubectl)
    }

    /// The real `helm`, as the administrator unless told otherwise.
    fn helm(&self) -> Tool<'_, Self> {
        Tool::new(self, Component::Helm)
    }
}

/// What the stories have to go by on a cluster.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The folder of their files.
    pub files: PathBuf,
    /// What stands for the images that they name.
    pub images: Images,
    /// Labels of whatever is made that no namespace takes along.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the namespaces.
    pub annotations: BTreeMap<String, String>,
    /// How long a revision may take.
    pub patience: Duration,
    /// How long Helm may take to be told of a failure: less than it takes to notice by itself.
    pub sooner_than_helm: Duration,
    /// How long API servers may take to learn that a namespace opted in: they do not tell.
    pub notice: Duration,
}

impl Site for Cluster {
    fn components(&self) -> &Components {
        self.components()
    }

    fn dir(&self) -> &Path {
        self.dir()
    }

    fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![("HOME", self.dir().join("home"))]
    }

    async fn kubeconfig(&self, user: User<'_>) -> Result<PathBuf> {
        self.kubeconfig(user).await
    }

    async fn client(&self, user: User<'_>) -> Result<Client> {
        self.client(user).await
    }

    fn setting(&self) -> &Setting {
        &SIMULATED
    }

    fn audited(&self) -> Option<&Cluster> {
        Some(self)
    }
}

/// The stories' files as they are written.
pub(crate) fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("stories")
}

/// The nodes know the images, the watcher's flags are the harness's, and there is one API server.
static SIMULATED: LazyLock<Setting> = LazyLock::new(|| Setting {
    files: files(),
    images: Images::default(),
    labels: BTreeMap::new(),
    annotations: BTreeMap::new(),
    patience: Duration::from_secs(150),
    sooner_than_helm: Duration::from_mins(4),
    notice: Duration::ZERO,
});
