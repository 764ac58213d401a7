//! The real clients.

use system_tests::{Cluster, Exit, TestNamespace, User};

#[tokio::test]
async fn kubectl_and_the_server_run_with_the_pinned_version() {
    let cluster = Cluster::shared().unwrap();
    let output = cluster.kubectl().run(&["version"]).await.unwrap().success().unwrap();
    assert!(output.stdout.contains("Client Version: v1.34.4"), "{output:?}");
    assert!(output.stdout.contains("Server Version: v1.34.4"), "{output:?}");
}

#[tokio::test]
async fn helm_runs_with_the_pinned_version_and_installs_a_chart() {
    let cluster = Cluster::shared().unwrap();
    let output = cluster.helm().run(&["version", "--short"]).await.unwrap().success().unwrap();
    assert!(output.stdout.contains("v4.0.5"), "{output:?}");

    let ns = TestNamespace::new(cluster, "helm installs a chart").await.unwrap();
    let chart = tempfile::tempdir().unwrap();
    std::fs::create_dir(chart.path().join("templates")).unwrap();
    let about = "apiVersion: v2\nname: shop\nversion: 1.0.0\nkubeVersion: '>= 1.34.0'\n";
    std::fs::write(chart.path().join("Chart.yaml"), about).unwrap();
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}'}\ndata: {a: '{{ .Values.a }}'}\n";
    std::fs::write(chart.path().join("templates/map.yaml"), template).unwrap();
    let chart = chart.path().to_str().unwrap();
    let install = ["upgrade", "--install", "shop", chart, "-n", ns.name(), "--set", "a=b"];
    cluster.helm().run(&install).await.unwrap().success().unwrap();
    let get = ["get", "configmap", "shop", "-n", ns.name(), "-o", "jsonpath={.data.a}"];
    assert_eq!(cluster.kubectl().run(&get).await.unwrap().stdout, "b");
}

#[tokio::test]
async fn a_client_can_be_killed_in_the_middle_of_its_work() {
    let cluster = Cluster::shared().unwrap();
    let waiting = ["wait", "--for=create", "configmap/never", "--timeout=60s"];
    let client = cluster.kubectl().start(&waiting).await.unwrap();
    assert_eq!(client.exit(), None);
    client.kill9().await.unwrap();
    assert_eq!(client.exit(), Some(Exit::Signal(9)));
}

#[tokio::test]
async fn a_person_may_do_only_what_was_granted() {
    let cluster = Cluster::shared().unwrap();
    let mine = TestNamespace::new(cluster, "granted").await.unwrap();
    let other = TestNamespace::new(cluster, "not granted").await.unwrap();
    mine.grant("alice").await.unwrap();
    let alice = User::Named("alice");
    mine.apply(alice, CONFIG_MAP).await.unwrap();
    let refused = other.apply(alice, CONFIG_MAP).await.unwrap_err().to_string();
    assert!(refused.contains("User \"alice\" cannot"), "{refused}");
}

#[tokio::test]
async fn a_service_account_is_known_by_its_token() {
    let cluster = Cluster::shared().unwrap();
    let ns = TestNamespace::new(cluster, "service account").await.unwrap();
    let account = User::ServiceAccount { ns: ns.name(), name: "default" };
    let output = cluster.kubectl().user(account).run(&["auth", "whoami"]).await.unwrap().success().unwrap();
    assert!(output.stdout.contains(&account.name()), "{output:?}");
}

#[tokio::test]
async fn the_audit_log_tells_who_wrote_what() {
    let cluster = Cluster::shared().unwrap();
    let ns = TestNamespace::new(cluster, "audit").await.unwrap();
    ns.grant("audrey").await.unwrap();
    let audrey = User::Named("audrey");
    ns.apply(audrey, CONFIG_MAP).await.unwrap();
    let label = ["label", "configmap", "settings", "a=b", "--dry-run=server", "-n", ns.name()];
    cluster.kubectl().user(audrey).run(&label).await.unwrap().success().unwrap();
    let delete = ["delete", "configmap", "settings", "-n", ns.name()];
    cluster.kubectl().user(audrey).run(&delete).await.unwrap().success().unwrap();

    let writes = cluster.writes().await.unwrap().by(audrey).within(ns.name()).to("configmaps");
    let told: Vec<_> =
        writes.0.iter().map(|w| (w.verb.as_str(), w.name.as_str(), w.code, w.committed())).collect();
    assert_eq!(
        told,
        [
            ("create", "settings", 201, true),
            ("patch", "settings", 200, false),
            ("delete", "settings", 200, true)
        ]
    );
    assert_eq!(writes.0[0].request.as_ref().unwrap()["data"]["key"], "value");
}

const CONFIG_MAP: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {key: value}}";
