//! When the upgrade's pods first showed that something is wrong.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::{Api, ResourceExt as _, api::ListParams};
use system_tests::{User, stories::Home};
use tokio::time::sleep;

use super::manifest::UPGRADED;

#[derive(Clone, Copy, Default)]
struct Seen {
    in_pod: Option<Timestamp>,
    in_events: Option<Timestamp>,
}

/// Looks out while `work` goes on. An Event counts where no pod ever shows anything itself.
pub(crate) async fn first_while<T>(
    home: &Home<'_>,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, Option<Timestamp>)> {
    let client = home.stage.cluster.client(User::Admin).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &home.name);
    let events: Api<Event> = Api::namespaced(client, &home.name);
    let seen = Mutex::new(Seen::default());
    let look = async {
        loop {
            // An answer that failed is asked for again.
            let _ = look_once(&pods, &events, &seen).await;
            sleep(BETWEEN_LOOKS).await;
        }
    };
    let done = tokio::select! {
        done = work => done?,
        () = look => bail!("the look-out ended"),
    };
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((done, seen.in_pod.or(seen.in_events)))
}

async fn look_once(pods: &Api<Pod>, events: &Api<Event>, seen: &Mutex<Seen>) -> Result<()> {
    let now = Some(Timestamp::now());
    let current = *seen.lock().unwrap();
    if current.in_pod.is_some() {
        return Ok(());
    }
    let mut upgraded = pods.list(&ListParams::default().labels(UPGRADED)).await?.items;
    // What ends because it was put back shows nothing.
    upgraded.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    if upgraded.iter().any(is_unwell) {
        seen.lock().unwrap().in_pod = now;
    } else if current.in_events.is_none() {
        let warnings = events.list(&ListParams::default().fields("type=Warning")).await?;
        let concerns = |event: &Event| {
            let name = event.involved_object.name.as_deref();
            upgraded.iter().any(|pod| name == Some(pod.name_any().as_str()))
        };
        if warnings.iter().any(concerns) {
            seen.lock().unwrap().in_events = now;
        }
    }
    Ok(())
}

fn is_unwell(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let mut conditions = status.conditions.iter().flatten();
    let has_no_node =
        conditions.any(|it| it.type_ == "PodScheduled" && it.reason.as_deref() == Some("Unschedulable"));
    let mut containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    has_no_node || status.phase.as_deref() == Some("Failed") || containers.any(has_failed)
}

/// No container of the cases is meant to end.
fn has_failed(container: &ContainerStatus) -> bool {
    let state = container.state.as_ref();
    let waits_for = state.and_then(|state| state.waiting.as_ref()?.reason.as_deref());
    container.restart_count > 0
        || state.is_some_and(|state| state.terminated.is_some())
        || waits_for.is_some_and(|reason| !["ContainerCreating", "PodInitializing"].contains(&reason))
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
