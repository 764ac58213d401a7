//! What a release reaches outside of its own namespace, and who may let it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod reach {
    mod admission_configurations;
    mod cluster_scoped;
    mod two_namespaces;
}

use std::time::Duration;

use backout_model::release::{Phase, ReleaseStatus};
use serde_json::{Value, json};
use system_tests::{
    Backout, BackoutOptions, User, eventually,
    stories::{Home, Quiet, Stage},
};

const PATIENCE: Duration = Duration::from_mins(2);

async fn stage() -> Stage<'static> {
    // Admission configurations are privilege, and restored only where that is asked for.
    let mut options = BackoutOptions::default();
    options.watcher_args.push("--restore-rbac".to_owned());
    let (cluster, backout) = Backout::shared_with(options).unwrap();
    Stage { cluster, backout: Some(backout), tell: &Quiet, suffix: format!("-{:08x}", rand::random::<u32>()) }
}

/// A namespace in which a revision is decided soon.
async fn home<'a>(stage: &'a Stage<'a>, name: &str) -> Home<'a> {
    let home = stage.home(name).await.unwrap();
    let annotations = ["backout.dev/settle=5s", "backout.dev/soak=2s"];
    home.admin(&[&["annotate", "namespace", &home.name], &annotations[..]].concat()).await.unwrap();
    home
}

/// Alice may do everything with these kinds, each with its group, everywhere.
async fn grant(home: &Home<'_>, kinds: &[(&str, &str)]) {
    let may_all =
        |(group, kind): &(&str, &str)| json!({"apiGroups": [group], "resources": [kind], "verbs": ["*"]});
    let rules: Vec<_> = kinds.iter().map(may_all).collect();
    let metadata = json!({"name": format!("reach-{}", home.name)});
    let api_version = "rbac.authorization.k8s.io/v1";
    let role =
        json!({"apiVersion": api_version, "kind": "ClusterRole", "metadata": metadata, "rules": rules});
    let binding = json!({"apiVersion": api_version, "kind": "ClusterRoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": metadata["name"]},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [role, binding]}).to_string();
    let kubectl = home.stage.cluster.kubectl().stdin(list);
    kubectl.run(&["apply", "-f", "-"]).await.unwrap().success().unwrap();
    let (group, kind) = kinds[0];
    eventually("alice may", PATIENCE, async || {
        let may = home.kubectl(&["auth", "can-i", "create", &format!("{kind}.{group}")]).await?;
        Ok(may.stdout.starts_with("yes").then_some(()))
    })
    .await
    .unwrap();
}

/// The labels that place an object in the release of this namespace.
fn mark(home: &Home<'_>) -> Value {
    json!({"backout.dev/release-name": home.name, "backout.dev/release-namespace": home.name})
}

/// Alice applies these objects.
async fn apply(home: &Home<'_>, objects: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let kubectl = home.stage.cluster.kubectl().user(User::Named("alice")).stdin(list.to_string());
    kubectl.run(&["apply", "-f", "-"]).await.unwrap().success().unwrap();
}

/// A Job that keeps a revision open for as long as it runs: however long the writes of a test take.
fn brake(home: &Home<'_>) -> Value {
    let container = json!({"name": "c", "image": "registry.example/never-ready"});
    let pod = json!({"spec": {"restartPolicy": "Never", "containers": [container]}});
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "brake", "namespace": home.name},
           "spec": {"backoffLimit": 0, "template": pod}})
}

/// The Job fails, and the revision with it.
async fn fail(home: &Home<'_>) {
    let get = ["get", "pods", "-l", "job-name=brake", "--field-selector=status.phase=Running", "-o", "name"];
    let pod = eventually("the pod runs", PATIENCE, async || {
        let printed = home.admin(&get).await?.success()?.stdout;
        Ok(Some(printed.trim().to_owned()).filter(|pod| !pod.is_empty()))
    })
    .await
    .unwrap();
    let ended = json!({"name": "c", "image": "x", "imageID": "x", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 1, "reason": "Error"}}});
    let status = json!({"status": {"phase": "Failed", "containerStatuses": [ended]}}).to_string();
    let patch = ["patch", &pod, "--subresource=status", "--type=merge", "-p", &status];
    home.admin(&patch).await.unwrap().success().unwrap();
}

async fn ended(home: &Home<'_>, revision: u64, phase: Phase) -> ReleaseStatus {
    let release = home.end_of(&home.name, revision, PATIENCE).await.unwrap();
    let status = release.status.unwrap();
    assert_eq!(status.phase, Some(phase), "{status:#?}");
    status
}

/// An object as the server has it, without what it counts up; null if it is gone.
async fn object(home: &Home<'_>, what: &str) -> Value {
    let get = ["get", what, "-o", "json", "--ignore-not-found", "--show-managed-fields"];
    let printed = home.admin(&get).await.unwrap().success().unwrap().stdout;
    if printed.is_empty() {
        return Value::Null;
    }
    let mut object: Value = serde_json::from_str(&printed).unwrap();
    object.as_object_mut().unwrap().remove("status");
    for field in ["resourceVersion", "generation", "uid", "creationTimestamp"] {
        object["metadata"].as_object_mut().unwrap().remove(field);
    }
    for entry in object["metadata"]["managedFields"].as_array_mut().unwrap() {
        entry.as_object_mut().unwrap().remove("time");
    }
    object
}

fn label<'a>(object: &'a Value, name: &str) -> &'a str {
    object["metadata"]["labels"][name].as_str().unwrap_or_default()
}
