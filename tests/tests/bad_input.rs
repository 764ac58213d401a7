//! Bad input, each with its answer, and nobody else the worse for it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod bad_input {
    mod flood;
    mod garbage;
    mod refused;
    mod reviews;
    mod settings;
}

use std::time::Duration;

use anyhow::Result;
use backout_model::release::{Phase, Release, ReleaseStatus};
use kube::Api;
use system_tests::{Cluster, User, eventually};

/// The status of the namespace's own release once its first revision is healthy; fails if that takes too long.
async fn healthy(cluster: &Cluster, ns: &str) -> Result<ReleaseStatus> {
    let releases: Api<Release> = Api::namespaced(cluster.client(User::Admin).await?, ns);
    eventually(format!("{ns} is healthy"), USUAL, async || {
        let status = releases.get(ns).await?.status.unwrap_or_default();
        let healthy = status.phase == Some(Phase::Healthy);
        if healthy { Ok(Some(status)) } else { Err(anyhow::anyhow!("{status:#?}")) }
    })
    .await
}

/// Settle 5 s and soak 10 s, their seconds rounded up, and half as much again for a busy machine.
const USUAL: Duration = Duration::from_secs(30);
