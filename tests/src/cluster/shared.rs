//! The one cluster that all tests of a binary share.

use std::{sync::OnceLock, thread};

use anyhow::{Result, anyhow};
use tokio::runtime::{Builder, Runtime};

use super::{Cluster, Options};

/// Starts the cluster on a thread of its own: tests come and go with their runtimes, this one stays.
pub(super) fn cluster() -> Result<&'static Cluster> {
    let started = SHARED.get_or_init(|| {
        let joined = thread::spawn(start).join().unwrap_or_else(|_| Err(anyhow!("starting it panicked")));
        joined.map_err(|error| format!("{error:#}"))
    });
    match started {
        Ok((cluster, _)) => Ok(cluster),
        Err(error) => Err(anyhow!("the shared cluster did not start: {error}")),
    }
}

fn start() -> Result<(Cluster, Runtime)> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let cluster = runtime.block_on(Cluster::start(Options::default()))?;
    Ok((cluster, runtime))
}

/// Never dropped: the guards end the processes, and the next start removes the folder.
static SHARED: OnceLock<Result<(Cluster, Runtime), String>> = OnceLock::new();
