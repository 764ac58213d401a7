//! Every image's fate is what a real kubelet reports.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, future::join_all};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{
    Api,
    api::ListParams,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use system_tests::{Cluster, TestNamespace, User, eventually};

#[tokio::test]
async fn ready_slow_and_unknown_images_become_ready_in_their_time() {
    let cluster = Cluster::shared().unwrap();
    let ns = TestNamespace::new(cluster, "ready and slow").await.unwrap();
    let start = Instant::now();
    deploy(&ns, "quick", "registry.example/ready:1", 2).await;
    deploy(&ns, "unknown", "registry.example/whatever/web@sha256:00", 1).await;
    deploy(&ns, "slow", "registry.example/slow:1", 1).await;
    rolled_out(cluster, &ns, "quick").await;
    rolled_out(cluster, &ns, "unknown").await;
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
    rolled_out(cluster, &ns, "slow").await;
    assert!(start.elapsed() > Duration::from_secs(7), "{:?}", start.elapsed());
}

#[tokio::test]
async fn every_bad_image_goes_through_the_states_that_a_kubelet_reports() {
    let fates = FATES.iter().map(|(fate, seconds, expected)| async move {
        let seen = history(fate, Duration::from_secs(*seconds)).await;
        (seen != *expected).then(|| format!("{fate}: {seen:#?}"))
    });
    let surprises: Vec<_> = join_all(fates).await.into_iter().flatten().collect();
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[tokio::test]
async fn messages_read_as_a_kubelet_writes_them() {
    let cluster = Cluster::shared().unwrap();
    let ns = TestNamespace::new(cluster, "messages").await.unwrap();
    for fate in ["missing", "crash", "no-command", "bad-config"] {
        deploy(&ns, fate, &format!("registry.example/{fate}:1"), 1).await;
    }
    let pods: Api<Pod> = Api::namespaced(cluster.client(User::Admin).await.unwrap(), ns.name());
    let expected = [
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
    for (fate, message) in expected {
        let what = format!("{fate} says {message}");
        eventually(what, Duration::from_secs(30), async || {
            let listed = pods.list(&ListParams::default()).await?;
            let told = listed.iter().filter(|pod| name(pod).starts_with(fate)).filter_map(waiting_message);
            Ok(told.into_iter().find(|told| told.contains(message)))
        })
        .await
        .unwrap();
    }
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
        let wait = ["wait", name, "--for", condition, "--timeout=30s", "-n", ns.name()];
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
    let pods: Api<Pod> = Api::namespaced(cluster.client(User::Admin).await.unwrap(), ns.name());
    let bad = async || Ok(pods.list(&ListParams::default()).await?.iter().find_map(waiting_message));
    eventually("the new image is missing", Duration::from_secs(20), bad).await.unwrap();

    deploy(&ns, "web", "registry.example/ready:1", 2).await;
    rolled_out(cluster, &ns, "web").await;
    let wait = ["rollout", "status", "statefulset/db", "--timeout=30s", "-n", ns.name()];
    cluster.kubectl().run(&wait).await.unwrap().success().unwrap();
    eventually("only good pods are left", Duration::from_secs(10), async || {
        let listed = pods.list(&ListParams::default()).await?;
        Ok((listed.items.len() == 4 && listed.iter().all(|pod| waiting_message(pod).is_none())).then_some(()))
    })
    .await
    .unwrap();
}

/// What the first container of a pod with this fate goes through, as a watch shows it.
async fn history(fate: &str, duration: Duration) -> Vec<String> {
    let cluster = Cluster::shared().unwrap();
    let ns = TestNamespace::new(cluster, fate).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(cluster.client(User::Admin).await.unwrap(), ns.name());
    deploy(&ns, "it", &format!("registry.example/{fate}:1"), 1).await;
    let mut seen: Vec<String> = Vec::new();
    let mut changes = watcher(pods, watcher::Config::default()).applied_objects().boxed();
    let watch = async {
        while let Some(pod) = changes.try_next().await.unwrap() {
            let statuses = pod.status.unwrap().container_statuses.unwrap_or_default();
            let told = statuses.first().map(tell);
            seen.extend(told.filter(|told| seen.last() != Some(told)));
        }
    };
    let _ = tokio::time::timeout(duration, watch).await;
    seen
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
    let wait = ["rollout", "status", &deployment, "--timeout=30s", "-n", ns.name()];
    cluster.kubectl().run(&wait).await.unwrap().success().unwrap();
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn waiting_message(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    status.state.as_ref()?.waiting.as_ref()?.message.clone()
}

/// What is seen of each fate within this many seconds: restarts, state, readiness, last state.
const FATES: &[(&str, u64, &[&str])] = &[
    ("never-ready", 10, &["0 ContainerCreating", "0 running"]),
    ("bad-config", 10, &["0 ContainerCreating", "0 CreateContainerConfigError"]),
    (
        "missing",
        45,
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
        24,
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
        45,
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
        24,
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
