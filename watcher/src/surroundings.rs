//! What is around the objects of a release that tells how they are: pods, Events, nodes. Read only for what the release
//! holds, and only while it is judged.

use std::collections::BTreeSet;

use backout_model::{
    health::Live,
    names,
    object::{Image, ObjectRef},
    protocol::Observed,
    rollback::Track,
    undo::Operation,
};
use backout_runtime::api::Class;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::{context::Context, observe::PARALLEL};

/// Events that tell why pods do not start, or are not made. Of restarts and probes the pods themselves tell.
const TROUBLE: &str = "type=Warning,reason!=BackOff,reason!=Unhealthy,reason!=FailedScheduling";
/// What autoscalers tell of pods that have no node.
const SCALERS: [&str; 3] = ["reason=TriggeredScaleUp", "reason=NotTriggerScaleUp", "reason=Nominated"];
/// How many nodes and storage classes are read for one release: of more nothing is known, which excuses nobody.
const MOST: usize = 32;

/// Looks around the objects of a release.
pub(crate) async fn look(context: &Context, observed: &mut Observed, judging: bool) {
    for namespace in with_pods(&observed.tracks) {
        pods(context, observed, &namespace, judging).await;
    }
    if judging {
        observed.nodes = nodes(context, observed).await;
        observed.storage_classes = storage_classes(context, &observed.tracks).await;
        observed.going = going(context, &observed.tracks).await;
    }
}

/// The namespaces in which pods tell how an object of the release is.
fn with_pods(tracks: &[Track]) -> BTreeSet<String> {
    let tells = |object: &ObjectRef| match (object.key.group.as_str(), object.key.resource.as_str()) {
        ("apps" | "batch", _) => true,
        ("", "secrets") => !object.key.name.starts_with(names::HELM_SECRET_PREFIX),
        ("", resource) => {
            matches!(resource, "pods" | "replicationcontrollers" | "configmaps" | "persistentvolumeclaims")
        }
        _ => false,
    };
    let telling = tracks.iter().filter(|track| tells(&track.object));
    telling.filter_map(|track| track.object.key.namespace.clone()).collect()
}

async fn pods(context: &Context, observed: &mut Observed, namespace: &str, judging: bool) {
    let events = async {
        if judging {
            context.cluster.all("/api/v1", namespace, "events", TROUBLE).await
        } else {
            Ok(Vec::new())
        }
    };
    let (pods, replica_sets, events) = tokio::join!(
        context.cluster.all("/api/v1", namespace, "pods", ""),
        context.cluster.all("/apis/apps/v1", namespace, "replicasets", ""),
        events,
    );
    // Events make a verdict come sooner, and no verdict rests on one alone.
    observed.events.extend(events.unwrap_or_default());
    match (pods, replica_sets) {
        (Ok(pods), Ok(replica_sets)) => {
            if judging && pods.iter().any(is_unschedulable) {
                for scaler in SCALERS {
                    let told = context.cluster.all("/api/v1", namespace, "events", scaler).await;
                    observed.events.extend(told.unwrap_or_default());
                }
            }
            observed.pods.extend(pods);
            observed.replica_sets.extend(replica_sets);
        }
        (Err(error), _) | (_, Err(error)) => observed.blind = Some(error.to_string()),
    }
}

fn is_unschedulable(pod: &Value) -> bool {
    condition(pod, "PodScheduled").is_some_and(|it| it.get("reason").is_some_and(|it| it == "Unschedulable"))
}

fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition.get("type").is_some_and(|it| it == type_))
}

/// The nodes on which a pod of a DaemonSet of the release is not ready, or on its way out.
async fn nodes(context: &Context, observed: &Observed) -> Vec<Value> {
    let daemon_sets: BTreeSet<_> = observed
        .tracks
        .iter()
        .filter(|track| track.object.kind == "DaemonSet")
        .filter_map(|track| match &track.live {
            Live::Present(live) => Image(live).uid(),
            _ => None,
        })
        .collect();
    let is_ready = |pod: &Value| {
        condition(pod, "Ready").is_some_and(|it| it.get("status").is_some_and(|it| it == "True"))
            && !Image(pod).is_terminating()
    };
    let names: BTreeSet<_> = observed
        .pods
        .iter()
        .filter(|pod| Image(pod).controller().is_some_and(|owner| daemon_sets.contains(owner)))
        .filter(|pod| !is_ready(pod))
        .filter_map(|pod| pod.pointer("/spec/nodeName")?.as_str())
        .collect();
    named(context, "/api/v1/nodes", names, |name| Some(json!({"metadata": {"name": name}}))).await
}

/// The storage classes of claims without a volume.
async fn storage_classes(context: &Context, tracks: &[Track]) -> Vec<Value> {
    let names: BTreeSet<_> = tracks
        .iter()
        .filter(|track| track.object.kind == "PersistentVolumeClaim")
        .filter_map(|track| match &track.live {
            Live::Present(live) if live.pointer("/status/phase").is_none_or(|it| it != "Bound") => {
                live.pointer("/spec/storageClassName")?.as_str()
            }
            _ => None,
        })
        .filter(|name| !name.is_empty())
        .collect();
    named(context, "/apis/storage.k8s.io/v1/storageclasses", names, |_| None).await
}

/// Objects outside of namespaces by their names; `gone` stands for one that is not there.
async fn named(
    context: &Context,
    path: &str,
    names: BTreeSet<&str>,
    gone: fn(&str) -> Option<Value>,
) -> Vec<Value> {
    let paths = names.into_iter().take(MOST).map(|name| (name.to_owned(), format!("{path}/{name}")));
    stream::iter(paths.collect::<Vec<_>>())
        .map(|(name, path)| async move {
            match context.cluster.get::<Value>(&path).await {
                Ok(found) => Some(found),
                Err(error) if error.is(Class::NotFound) => gone(&name),
                Err(_) => None,
            }
        })
        .buffered(PARALLEL)
        .filter_map(|found| async move { found })
        .collect()
        .await
}

/// The namespaces that are being deleted, of those in which something is not there or on its way out.
async fn going(context: &Context, tracks: &[Track]) -> BTreeSet<String> {
    let is_leaving = |track: &&Track| match &track.live {
        Live::Absent => track.effective().last().is_some_and(|it| it.header.operation != Operation::Delete),
        Live::Present(live) => Image(live).is_terminating(),
        Live::Unreadable(_) => false,
    };
    let namespaces: BTreeSet<_> =
        tracks.iter().filter(is_leaving).filter_map(|track| track.object.key.namespace.clone()).collect();
    let mut going = BTreeSet::new();
    for name in namespaces {
        let found = context.cluster.namespace(&name).await;
        if found.is_ok_and(|it| it.is_some_and(|it| it.metadata.deletion_timestamp.is_some())) {
            going.insert(name);
        }
    }
    going
}
