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
use jiff::SignedDuration;
use kube::Api;
use system_tests::{Cluster, User, eventually};

/// The status of the namespace's own release once its first revision is healthy.
async fn healthy(cluster: &Cluster, ns: &str) -> Result<ReleaseStatus> {
    let releases: Api<Release> = Api::namespaced(cluster.client(User::Admin).await?, ns);
    eventually(format!("{ns} is healthy"), PATIENCE, async || {
        let status = releases.get(ns).await?.status.unwrap_or_default();
        let healthy = status.phase == Some(Phase::Healthy);
        if healthy { Ok(Some(status)) } else { Err(anyhow::anyhow!("{status:#?}")) }
    })
    .await
}

/// How long a healthy revision takes at most.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long the first revision took.
fn took(status: &ReleaseStatus) -> SignedDuration {
    let past = &status.history[0];
    past.ended_at.as_ref().unwrap().0.duration_since(past.opened_at.as_ref().unwrap().0)
}
