//! An API server that shows who it is, and a webhook that answers nobody else.

use std::fs;

use serde_json::json;
use system_tests::{
    Backout, BackoutOptions, Cluster, Options, TestNamespace, User,
    certs::{Authority, Pair},
    faults::{AdmissionClient, review},
};

#[tokio::test]
async fn with_a_client_authority_the_api_server_is_answered_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let callers = Authority::create(dir.path().join("callers")).unwrap();
    let known = callers.client("kube-apiserver", None).unwrap();
    let admission = dir.path().join("admission.yaml");
    fs::write(&admission, shows(dir.path(), &known)).unwrap();
    let apiserver_args = vec![format!("--admission-control-config-file={}", admission.display())];
    let cluster = Cluster::start(Options { apiserver_args, ..Options::default() }).await.unwrap();
    let webhook_args = vec!["--client-ca".to_owned(), callers.ca().display().to_string()];
    // Ends only once a write was recorded.
    let backout = Backout::install(&cluster, BackoutOptions { webhook_args, ..BackoutOptions::default() });
    let backout = backout.await.unwrap();

    let stranger = Authority::create(dir.path().join("strangers")).unwrap().client("kube-apiserver", None);
    let ns = TestNamespace::atomic(&cluster, "clients", &[]).await.unwrap();
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": ns.name()}});
    let asked = review("CREATE", ns.name(), Some(&map), None);
    let ask = async |certificate: Option<&Pair>| {
        let client = AdmissionClient::new(backout.webhook_port(), &cluster.authority().ca(), certificate)?;
        client.review("/admit", &asked).await
    };
    assert_eq!(ask(Some(&known)).await.unwrap().status, 200);
    assert_eq!(cluster.record_heads(ns.name()).await.unwrap().len(), 1);
    for certificate in [None, Some(&stranger.unwrap())] {
        let answer = ask(certificate).await;
        assert!(answer.is_err(), "{certificate:?}: {}", answer.unwrap().text());
    }
    assert_eq!(cluster.record_heads(ns.name()).await.unwrap().len(), 1);
    let create = ["create", "configmap", "b", "-n", ns.name()];
    cluster.kubectl().user(User::Admin).run(&create).await.unwrap().success().unwrap();
    assert_eq!(cluster.record_heads(ns.name()).await.unwrap().len(), 2);
}

/// The API server's configuration by which it shows this certificate to all webhooks.
fn shows(dir: &std::path::Path, certificate: &Pair) -> String {
    let kubeconfig = dir.join("kubeconfig.yaml");
    let user = json!({"client-certificate": certificate.cert, "client-key": certificate.key});
    let users = json!({"apiVersion": "v1", "kind": "Config", "users": [{"name": "*", "user": user}]});
    fs::write(&kubeconfig, users.to_string()).unwrap();
    let plugin = json!({"name": "MutatingAdmissionWebhook", "configuration": {
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": kubeconfig}});
    json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": [plugin]})
        .to_string()
}
