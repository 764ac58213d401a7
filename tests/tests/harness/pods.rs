//! Every image's fate is what a real kubelet reports.

use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, future::join_all};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{
    Api,
    api::ListParams,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use system_tests::{Cluster, TestNamespace, User, eventually};
use tokio::time::timeout;

#[tokio::test]
async fn ready_slow_and_unknown_images_become_ready_in_their_time() {
    let cluster = Cluster::shared().unwrap();
    let ns = TestNamespace::new(cluster, "ready and slow").await.unwrap();
    let images = [
        ("quick", "registry.example/ready:1", 2),
        ("unknown", "registry.example/whatever/web@sha256:00", 1),
        ("slow", "registry.example/slow:1", 1),
    ];
    for (name, image, replicas) in images {
        deploy(&ns, name, image, replicas).await;
    }
    for (name, ..) in images {
        rolled_out(cluster, &ns, name).await;
    }
    // By the pods' own times: this test may be kept waiting.
    let pods = pods(cluster, &ns).await.list(&ListParams::default()).await.unwrap();
    let (slow, others): (Vec<_>, Vec<_>) = pods.iter().partition(|pod| name(pod).starts_with("slow-"));
    assert_eq!((slow.len(), others.len()), (1, 3));
    let slow_at = ready_at(slow[0]);
    let took = slow_at.duration_since(slow[0].metadata.creation_timestamp.as_ref().unwrap().0);
    assert!(took >= SignedDuration::from_secs(6), "{took:?}");
    for pod in others {
        assert!(ready_at(pod) <= slow_at, "{} is Ready later than the slow one", name(pod));
    }
}

#[tokio::test]
async fn every_bad_image_goes_through_the_states_that_a_kubelet_reports() {
    let fates = FATES.iter().map(|(fate, end, expected)| async move {
        let seen = history(fate, expected.len(), *end).await;
        (seen != *expected).then(|| format!("{fate}: {seen:#?}"))
    });
    let surprises: Vec<_> = join_all(fates).await.into_iter().flatten().collect();
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[tokio::test]
async fn messages_read_as_a_kubelet_writes_them() {
    let cluster = Cluster::shared().unwrap();
    let ns = TestNamespace::new(cluster, "messages").await.unwrap();
    let mut changes = changes(cluster, &ns).await;
    for fate in ["missing", "crash", "no-command", "bad-config"] {
        deploy(&ns, fate, &format!("registry.example/{fate}:1"), 1).await;
    }
    let mut expected = vec![
        (
            "missing",
            "failed to resolve reference \"registry.example/missing:1\": registry.example/missing:1: not found",
        ),
        ("crash", "back-off 10s restarting failed container=c pod=crash-"),
        (
            "no-command",
            "unable to start container process: exec: \"/app\": stat /app: no such file or directory: unknown",
        ),
        ("bad-config", "secret \"settings\" not found"),
    ];
    let mut told = Vec::new();
    let hear = async {
        while !expected.is_empty() {
            let pod = changes.try_next().await.unwrap().unwrap();
            let Some(message) = waiting_message(&pod) else { continue };
            expected.retain(|(fate, words)| !(name(&pod).starts_with(fate) && message.contains(words)));
            told.push(message);
        }
    };
    let _ = timeout(PATIENCE, hear).await;
    assert_eq!(expected, [], "{told:#?}");
}

#[tokio::test]
async fn a_job_completes_and_a_crashing_job_fails() {
    let cluster = Cluster::shared().unwrap();
    let ns = TestNamespace::new(cluster, "jobs").await.unwrap();
    for (name, image) in [("good", "registry.example/ready:1"), ("bad", "registry.example/crash:1")] {
        let template =
            json!({ "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": image }] } });
        let job = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name },
            "spec": { "backoffLimit": 0, "template": template } });
        ns.apply(User::Admin, &job.to_string()).await.unwrap();
    }
    for (name, condition) in [("job/good", "condition=Complete"), ("job/bad", "condition=Failed")] {
        let wait = ["wait", name, "--for", condition, WAIT, "-n", ns.name()];
        cluster.kubectl().run(&wait).await.unwrap().success().unwrap();
    }
}

#[tokio::test]
async fn a_stateful_set_rolls_out_and_a_bad_pod_is_replaced_when_the_deployment_goes_back() {
    let cluster = Cluster::shared().unwrap();
    let ns = TestNamespace::new(cluster, "going back").await.unwrap();
    let set = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "db" },
        "spec": { "replicas": 2, "serviceName": "db", "selector": { "matchLabels": { "app": "db" } },
            "template": pod_template("db", "registry.example/ready:1") } });
    ns.apply(User::Admin, &set.to_string()).await.unwrap();
    deploy(&ns, "web", "registry.example/ready:1", 2).await;
    rolled_out(cluster, &ns, "web").await;
    deploy(&ns, "web", "registry.example/missing:2", 2).await;
    let pods = pods(cluster, &ns).await;
    let bad = async || Ok(pods.list(&ListParams::default()).await?.iter().find_map(waiting_message));
    eventually("the new image is missing", PATIENCE, bad).await.unwrap();

    deploy(&ns, "web", "registry.example/ready:1", 2).await;
    rolled_out(cluster, &ns, "web").await;
    let wait = ["rollout", "status", "statefulset/db", WAIT, "-n", ns.name()];
    cluster.kubectl().run(&wait).await.unwrap().success().unwrap();
    eventually("only good pods are left", PATIENCE, async || {
        let listed = pods.list(&ListParams::default()).await?;
        Ok((listed.items.len() == 4 && listed.iter().all(|pod| waiting_message(pod).is_none())).then_some(()))
    })
    .await
    .unwrap();
}

/// What the first container of a pod with this fate goes through, as a watch shows it: so many states, and at the end what
/// else comes.
async fn history(fate: &str, states: usize, end: End) -> Vec<String> {
    let cluster = Cluster::shared().unwrap();
    let ns = TestNamespace::new(cluster, fate).await.unwrap();
    let mut changes = changes(cluster, &ns).await;
    deploy(&ns, "it", &format!("registry.example/{fate}:1"), 1).await;
    let mut seen: Vec<String> = Vec::new();
    let mut see = async |most: usize| {
        while seen.len() < most {
            let pod = changes.try_next().await.unwrap().unwrap();
            let statuses = pod.status.unwrap().container_statuses.unwrap_or_default();
            let told = statuses.first().map(tell);
            seen.extend(told.filter(|told| seen.last() != Some(told)));
        }
    };
    let _ = timeout(PATIENCE, see(states)).await;
    if end == End::Stays {
        let _ = timeout(QUIET, see(usize::MAX)).await;
    }
    seen
}

/// The pods of the namespace as they change, from before there are any.
async fn changes(
    cluster: &Cluster,
    ns: &TestNamespace<'_>,
) -> impl Stream<Item = watcher::Result<Pod>> + Unpin {
    let mut events = watcher(pods(cluster, ns).await, watcher::Config::default()).boxed();
    while !matches!(events.try_next().await.unwrap(), Some(watcher::Event::InitDone)) {}
    events.applied_objects()
}

async fn pods(cluster: &Cluster, ns: &TestNamespace<'_>) -> Api<Pod> {
    Api::namespaced(cluster.client(User::Admin).await.unwrap(), ns.name())
}

/// Restart count, state, readiness and last state in a line.
fn tell(status: &ContainerStatus) -> String {
    let state = status.state.clone().unwrap_or_default();
    let state = match (state.running, state.waiting, state.terminated) {
        (Some(_), _, _) => "running".to_owned(),
        (_, Some(waiting), _) => waiting.reason.unwrap_or_default(),
        (_, _, Some(ended)) => format!("{} {}", ended.reason.unwrap_or_default(), ended.exit_code),
        _ => "nothing".to_owned(),
    };
    let ready = if status.ready { " ready" } else { "" };
    let last = status.last_state.clone().and_then(|last| last.terminated).map_or_else(String::new, |last| {
        format!(" after {} {}", last.reason.unwrap_or_default(), last.exit_code)
    });
    format!("{} {state}{ready}{last}", status.restart_count)
}

async fn deploy(ns: &TestNamespace<'_>, name: &str, image: &str, replicas: u32) {
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": name } },
            "template": pod_template(name, image) } });
    ns.apply(User::Admin, &deployment.to_string()).await.unwrap();
}

fn pod_template(app: &str, image: &str) -> serde_json::Value {
    json!({ "metadata": { "labels": { "app": app } }, "spec": { "containers": [{ "name": "c", "image": image }] } })
}

async fn rolled_out(cluster: &Cluster, ns: &TestNamespace<'_>, name: &str) {
    let deployment = format!("deployment/{name}");
    let wait = ["rollout", "status", &deployment, WAIT, "-n", ns.name()];
    cluster.kubectl().run(&wait).await.unwrap().success().unwrap();
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn ready_at(pod: &Pod) -> Timestamp {
    let conditions = pod.status.as_ref().unwrap().conditions.iter().flatten();
    let ready = conditions.into_iter().find(|it| it.type_ == "Ready" && it.status == "True");
    ready.unwrap().last_transition_time.as_ref().unwrap().0
}

fn waiting_message(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    status.state.as_ref()?.waiting.as_ref()?.message.clone()
}

/// Longer than anything lasts here.
const PATIENCE: Duration = Duration::from_mins(5);
/// The same, for kubectl.
const WAIT: &str = "--timeout=5m";
/// Longer than any state but the last one lasts with those that have a last one.
const QUIET: Duration = Duration::from_secs(8);

/// Whether a fate ends in the last state that is told of it.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Stays,
    GoesOn,
}

/// What is seen of each fate: restarts, state, readiness, last state.
const FATES: &[(&str, End, &[&str])] = &[
    ("never-ready", End::Stays, &["0 ContainerCreating", "0 running"]),
    ("bad-config", End::Stays, &["0 ContainerCreating", "0 CreateContainerConfigError"]),
    (
        "missing",
        End::GoesOn,
        &[
            "0 ContainerCreating",
            "0 ErrImagePull",
            "0 ImagePullBackOff",
            "0 ErrImagePull",
            "0 ImagePullBackOff",
        ],
    ),
    (
        "no-command",
        End::GoesOn,
        &[
            "0 ContainerCreating",
            "0 RunContainerError after StartError 128",
            "1 RunContainerError after StartError 128",
            "1 CrashLoopBackOff after StartError 128",
            "2 RunContainerError after StartError 128",
        ],
    ),
    (
        "crash",
        End::GoesOn,
        &[
            "0 ContainerCreating",
            "0 running ready",
            "0 Error 1",
            "1 running ready after Error 1",
            "1 Error 1 after Error 1",
            "1 CrashLoopBackOff after Error 1",
            "2 running ready after Error 1",
            "2 Error 1 after Error 1",
            "2 CrashLoopBackOff after Error 1",
            "3 running ready after Error 1",
            "3 Error 1 after Error 1",
        ],
    ),
    (
        "fails-later",
        End::GoesOn,
        &[
            "0 ContainerCreating",
            "0 running ready",
            "0 Error 1",
            "1 running ready after Error 1",
            "1 Error 1 after Error 1",
            "1 CrashLoopBackOff after Error 1",
            "2 running ready after Error 1",
            "2 Error 1 after Error 1",
        ],
    ),
];
