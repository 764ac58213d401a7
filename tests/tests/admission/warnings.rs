//! What a deployer reads in the terminal.

use std::time::Duration;

use backout_model::release::{Phase, Release};
use kube::Api;
use serde_json::json;
use system_tests::{Backout, TestNamespace, User, eventually};

use super::super::{ALICE, kubectl};

#[tokio::test]
async fn the_first_write_of_a_revision_is_warned_and_the_others_are_not() {
    let (cluster, _) = Backout::shared().unwrap();
    let open = [("backout.dev/settle", "10m"), ("backout.dev/soak", "1s")];
    let ns = TestNamespace::atomic(cluster, "warnings", &open).await.unwrap();
    ns.grant("alice").await.unwrap();
    // The grant is a write of the administrator's to this namespace, and so revision 1.
    ended(&ns, 1).await;

    let warnings = apply(&ns, "first").await;
    assert_eq!(warnings.len(), 1, "one for ten objects: {warnings:#?}");
    let name = ns.name();
    let told = [
        format!(
            "Warning: backout: this is revision 2 of release {name}; if it does not become healthy it is rolled back."
        ),
        format!("kubectl -n {name} get release {name}"),
    ];
    assert!(told.iter().all(|told| warnings[0].contains(told)), "{warnings:#?}");
    assert_eq!(apply(&ns, "second").await, Vec::<String>::new(), "still revision 2");
    ended(&ns, 2).await;

    let warnings = apply(&ns, "third").await;
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("this is revision 3 of release"), "{warnings:#?}");
    ended(&ns, 3).await;
}

/// The Release comes into being while its first revision is being written.
#[tokio::test]
async fn the_first_writes_in_a_namespace_are_warned_once() {
    let (cluster, _) = Backout::shared().unwrap();
    let ns = TestNamespace::atomic(cluster, "first warning", &[("backout.dev/settle", "10m")]).await.unwrap();
    let client = cluster.client(User::Admin).await.unwrap();
    // kubectl would print equal warnings only once.
    let mut warnings = Vec::new();
    for number in 0..30 {
        let body =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("a{number}")}});
        let path = format!("/api/v1/namespaces/{}/configmaps", ns.name());
        let request = http::Request::post(path).header("content-type", "application/json");
        let answer = client.send(request.body(body.to_string().into_bytes().into()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 201);
        let told = answer.headers().get_all("warning").iter().map(|told| told.to_str().unwrap().to_owned());
        warnings.extend(told.map(|told| (number, told)));
    }
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert_eq!(warnings[0].0, 0);
    assert!(warnings[0].1.contains("this is revision 1 of release"), "{warnings:#?}");
}

/// What kubectl prints besides what it does, for ten objects.
async fn apply(ns: &TestNamespace<'_>, value: &str) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let manifests: Vec<_> = (0..10).map(|number| map(&format!("a{number}"), value)).collect();
    std::fs::write(file.path(), manifests.join("\n---\n")).unwrap();
    let args = ["apply", "-f", file.path().to_str().unwrap()];
    let output = kubectl(ns, ALICE, &args).await.success().unwrap();
    output.stderr.lines().map(str::to_owned).collect()
}

fn map(name: &str, value: &str) -> String {
    format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}, data: {{key: {value}}}}}")
}

async fn settle(ns: &TestNamespace<'_>, settle: &str) {
    let annotation = format!("backout.dev/settle={settle}");
    let annotate = ["annotate", "namespace", ns.name(), "--overwrite", &annotation];
    kubectl(ns, User::Admin, &annotate).await.success().unwrap();
}

/// Lets a revision end; the next one stays open, however long its writes take.
async fn ended(ns: &TestNamespace<'_>, revision: u64) {
    settle(ns, "2s").await;
    let (cluster, _) = Backout::shared().unwrap();
    let releases: Api<Release> = Api::namespaced(cluster.client(User::Admin).await.unwrap(), ns.name());
    eventually(format!("revision {revision} is healthy"), Duration::from_secs(30), async || {
        let status = releases.get(ns.name()).await?.status.unwrap_or_default();
        Ok((status.phase == Some(Phase::Healthy) && status.revision == revision).then_some(()))
    })
    .await
    .unwrap();
    settle(ns, "10m").await;
}
