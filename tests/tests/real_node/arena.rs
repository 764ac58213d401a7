//! The cluster with a real node that the tests of this binary share, or why there is none.

use std::{
    env,
    sync::{Arc, Weak},
};

use anyhow::Result;
use http::StatusCode;
use system_tests::{
    Backout, BackoutOptions, Cluster, Node, Options, demo,
    node::{self, Registry},
    skip,
    stories::{Quiet, Stage},
};
use tokio::sync::Mutex;

use super::cases::CASES;

/// Everything that a case needs. Ended with the last test: what a node leaves on the machine goes only when it is dropped.
pub(crate) struct Arena {
    backout: Backout,
    // Before the cluster, in whose folder it has its files.
    _node: Node,
    pub(crate) cluster: Cluster,
    pub(crate) registries: Registries,
    suffix: String,
}

/// Registries by what they answer.
pub(crate) struct Registries {
    pub(crate) without_it: Registry,
    pub(crate) closed: Registry,
    pub(crate) busy: Registry,
}

static ARENA: Mutex<Weak<Arena>> = Mutex::const_new(Weak::new());

impl Arena {
    /// The running one, or a new one.
    pub(crate) async fn shared() -> Result<Arc<Self>> {
        let mut running = ARENA.lock().await;
        if let Some(arena) = running.upgrade() {
            return Ok(arena);
        }
        let arena = Arc::new(Self::start().await?);
        *running = Arc::downgrade(&arena);
        Ok(arena)
    }

    async fn start() -> Result<Self> {
        let cluster = Cluster::start(Options { nodes: 0, real_node: true, ..Options::default() }).await?;
        let node = Node::join(&cluster).await?;
        let watcher_args = Vec::new();
        let backout =
            Backout::install(&cluster, BackoutOptions { watcher_args, ..BackoutOptions::default() });
        let backout = backout.await?;
        demo::definitions(&cluster).await?;
        let registries = Registries {
            without_it: Registry::answering(StatusCode::NOT_FOUND)?,
            closed: Registry::answering(StatusCode::UNAUTHORIZED)?,
            busy: Registry::answering(StatusCode::TOO_MANY_REQUESTS)?,
        };
        let suffix = format!("-{:08x}", rand::random::<u32>());
        Ok(Self { backout, _node: node, cluster, registries, suffix })
    }

    pub(crate) fn stage(&self) -> Stage<'_> {
        Stage {
            cluster: &self.cluster,
            backout: Some(&self.backout),
            tell: &Quiet,
            suffix: self.suffix.clone(),
        }
    }
}

/// Which cases are wanted.
pub(crate) enum Wanted {
    All,
    Only(Vec<String>),
}

impl Wanted {
    pub(crate) fn includes(&self, case: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|name| name == case),
        }
    }
}

const WHAT: &str = "NOTHING WAS TRIED ON A REAL NODE";

/// What was asked for; nothing, and a loud word why, where it was not or cannot be.
pub(crate) fn wanted() -> Option<Wanted> {
    let asked = env::var("BACKOUT_REAL_NODE").unwrap_or_default();
    let missing = node::missing();
    if asked.is_empty() || asked == "0" {
        skip(WHAT, "it is run by: BACKOUT_REAL_NODE=1 cargo test -p system-tests --test real_node");
        None
    } else if !missing.is_empty() {
        let missing = missing.join(", ");
        let why = format!(
            "BACKOUT_REAL_NODE is set, but this machine lacks {missing}.\n\
             On Debian, as root: apt-get install containerd runc containernetworking-plugins iproute2"
        );
        skip(WHAT, &why);
        None
    } else if asked == "1" {
        Some(Wanted::All)
    } else {
        let names: Vec<_> = asked.split(',').map(str::to_owned).collect();
        let is_case = |name: &&String| CASES.iter().any(|case| case.name == name.as_str());
        let unknown = names.iter().find(|name| !is_case(name));
        assert!(unknown.is_none(), "BACKOUT_REAL_NODE names a case that there is not: {unknown:?}");
        Some(Wanted::Only(names))
    }
}
