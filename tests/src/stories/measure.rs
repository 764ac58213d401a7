//! When something failed, and when it was restored: by the pods and by the API server's audit log, where that can be read.

use std::{sync::Mutex, time::Duration};

use anyhow::{Context, Result};
use backout_model::release::Release;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use tokio::time::sleep;

use super::Home;
use crate::{Cluster, Site, User, audit::Write};

/// The watcher's service account.
const WATCHER: User<'static> = User::ServiceAccount { ns: "backout-system", name: "backout-watcher" };

/// Watches for the first pod that fails while `work` goes on.
pub(super) async fn with_first_failure<T, C: Site>(
    home: &Home<'_, C>,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, Option<Timestamp>)> {
    let first = Mutex::new(None);
    let pods: Api<Pod> = Api::namespaced(home.stage.cluster.client(User::Admin).await?, &home.name);
    let look = async {
        loop {
            if let Ok(list) = pods.list(&ListParams::default()).await
                && list.items.iter().any(is_failing)
            {
                if let Ok(mut first) = first.lock() {
                    *first = Some(Timestamp::now());
                }
                std::future::pending::<()>().await;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let done = tokio::select! {
        done = work => done?,
        () = look => anyhow::bail!("the look-out ended"),
    };
    let first = first.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok((done, first))
}

fn is_failing(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().any(|container| {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
        let ended = container.state.as_ref().and_then(|state| state.terminated.as_ref());
        reason.starts_with("Err")
            || reason.ends_with("Error")
            || reason.ends_with("BackOff")
            || ended.is_some()
    })
}

/// What the watcher wrote in the namespace, but for Releases, Events and evidence.
pub async fn restoring_writes(home: &Home<'_>) -> Result<Vec<Write>> {
    restoring(home.stage.cluster, &home.name).await
}

/// The same, where one can know.
pub(super) async fn audited<C: Site>(home: &Home<'_, C>) -> Result<Option<Vec<Write>>> {
    match home.stage.cluster.audited() {
        Some(cluster) => restoring(cluster, &home.name).await.map(Some),
        None => Ok(None),
    }
}

async fn restoring(cluster: &Cluster, ns: &str) -> Result<Vec<Write>> {
    let writes = cluster.writes().await?.by(WATCHER).within(ns).committed();
    let told =
        |write: &Write| ["releases", "events"].contains(&write.resource.as_str()) || write.is_evidence();
    Ok(writes.only(|write| !told(write)).0)
}

/// The whole seconds from the verdict to the end of the rollback, as the Release tells them.
pub(super) fn told(release: &Release) -> Option<i64> {
    let past = release.status.as_ref()?.history.first()?;
    let (decided, ended) = (past.decided_at.as_ref()?, past.ended_at.as_ref()?);
    Some(ended.0.duration_since(decided.0).as_secs())
}

/// The seconds from `failure` to the first restoring write, and from there to the last.
pub(super) fn seconds(writes: &[Write], failure: Option<Timestamp>) -> Result<(Option<f64>, Option<f64>)> {
    let times: Vec<Timestamp> = writes
        .iter()
        .map(|write| write.at.parse().with_context(|| format!("no time: {}", write.at)))
        .collect::<Result<_>>()?;
    let after = |time: &&Timestamp| failure.is_none_or(|failure| **time >= failure);
    let (first, last) = (times.iter().filter(after).min(), times.iter().filter(after).max());
    let between = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64();
    Ok((
        failure.zip(first.copied()).map(|(from, to)| between(from, to)),
        first.copied().zip(last.copied()).map(|(from, to)| between(from, to)),
    ))
}
