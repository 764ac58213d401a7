//! From nothing.

use jiff::Timestamp;
use system_tests::{TestNamespace, User, backout::NAMESPACE};

use super::super::ground;

const HOUR: f64 = 3600.0;

#[tokio::test]
async fn a_webhook_that_gets_its_certificate_from_the_watcher_is_called_and_records() {
    let (cluster, _) = ground().await;
    let namespace = TestNamespace::atomic(cluster, "from nothing", &[]).await.unwrap();
    namespace.grant("alice").await.unwrap();
    let kubectl = cluster.kubectl().user(User::Named("alice"));
    let create =
        ["create", "configmap", "first", "-n", namespace.name(), "-o", "jsonpath={.metadata.labels}"];
    let labels = kubectl.run(&create).await.unwrap().success().unwrap().stdout;
    assert!(labels.contains("backout.dev/undo"), "{labels}");

    // Only the watcher can read the authority's key: the pods mount the other Secret.
    for (secret, keys) in
        [("backout-webhook-tls", "ca.crt tls.crt tls.key "), ("backout-webhook-ca", "ca.crt ca.key ")]
    {
        let template = "go-template={{range $key, $_ := .data}}{{$key}} {{end}}";
        let get = ["get", "secret", secret, "-n", NAMESPACE, "-o", template];
        assert_eq!(cluster.kubectl().run(&get).await.unwrap().success().unwrap().stdout, keys, "{secret}");
        let webhook = User::ServiceAccount { ns: NAMESPACE, name: "backout-webhook" };
        assert!(!cluster.kubectl().user(webhook).run(&get).await.unwrap().status.success(), "{secret}");
    }
}

#[tokio::test]
async fn the_metric_tells_when_the_certificates_end() {
    let (_, backout) = ground().await;
    let metrics = backout.watcher_metrics().await.unwrap();
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let now = Timestamp::now().as_second() as f64;
    for (certificate, hours) in [("leaf", 720.0), ("ca", 8760.0)] {
        let labels = [("certificate", certificate)];
        let left = metrics.sum("backout_certificate_expiry_timestamp_seconds", &labels) - now;
        assert!((left - hours * HOUR).abs() < HOUR, "{certificate} ends in {left} s");
    }
}
