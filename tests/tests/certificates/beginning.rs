//! From nothing.

use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::{Api, api::PostParams};
use serde_json::{Value, json};
use system_tests::{Cluster, TestNamespace, User, backout::NAMESPACE, eventually};

use super::super::{PATIENCE, ground};

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

/// What a folder of manifests says that is to be applied.
async fn rendered(cluster: &Cluster, folder: &str) -> Vec<Value> {
    let path = format!("{}/../manifests/{folder}", env!("CARGO_MANIFEST_DIR"));
    let text = cluster.kubectl().run(&["kustomize", &path]).await.unwrap().success().unwrap().stdout;
    serde_saphyr::from_multiple(&text).unwrap()
}

#[tokio::test]
async fn the_overlay_leaves_the_certificate_to_cert_manager_and_nothing_else() {
    let (cluster, _) = ground().await;
    let (mut base, mut overlay) =
        (rendered(cluster, "base").await, rendered(cluster, "overlays/cert-manager").await);
    let added: Vec<_> =
        overlay.extract_if(.., |object| object["apiVersion"] == "cert-manager.io/v1").collect();
    assert_eq!(added.len(), 4);
    assert!(added.iter().any(|object| object["spec"]["secretName"] == "backout-webhook-tls"), "{added:?}");
    for object in &mut base {
        match (object["kind"].as_str(), object["metadata"]["name"].as_str()) {
            (Some("Deployment"), Some("backout-watcher")) => {
                let args =
                    object["spec"]["template"]["spec"]["containers"][0]["args"].as_array_mut().unwrap();
                let flag = args.iter_mut().find(|arg| *arg == "--manage-certificates=true").unwrap();
                *flag = "--manage-certificates=false".into();
            }
            (Some("MutatingWebhookConfiguration"), _) => {
                let source = "backout-system/backout-webhook";
                object["metadata"]["annotations"]["cert-manager.io/inject-ca-from"] = source.into();
            }
            _ => {}
        }
    }
    assert_eq!(overlay, base);
}

#[tokio::test]
async fn the_certificate_needs_nothing_of_the_rule_that_lets_the_watcher_restore_anything() {
    let (cluster, _) = ground().await;
    let base = rendered(cluster, "base").await;
    let role = base
        .iter()
        .find(|object| object["kind"] == "ClusterRole" && object["metadata"]["name"] == "backout-watcher");
    let rules: Vec<_> = role.unwrap()["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule["apiGroups"] != json!(["*"]))
        .collect();
    let api = "rbac.authorization.k8s.io";
    let binding = |kind: &str, role_kind: &str, role: &str| {
        json!({"apiVersion": format!("{api}/v1"), "kind": kind, "metadata": {"name": "keeper", "namespace": NAMESPACE},
               "roleRef": {"apiGroup": api, "kind": role_kind, "name": role},
               "subjects": [{"apiGroup": api, "kind": "User", "name": "keeper"}]})
    };
    let items = json!([
        {"apiVersion": format!("{api}/v1"), "kind": "ClusterRole", "metadata": {"name": "keeper"}, "rules": rules},
        binding("ClusterRoleBinding", "ClusterRole", "keeper"),
        binding("RoleBinding", "Role", "backout-watcher"),
    ]);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    cluster.kubectl().stdin(list).run(&["apply", "-f", "-"]).await.unwrap().success().unwrap();

    let reviews: Api<SubjectAccessReview> = Api::all(cluster.client(User::Admin).await.unwrap());
    for (verb, resource, name, allowed) in [
        ("create", "secrets", "", true),
        ("watch", "secrets", "", true),
        ("get", "secrets", "backout-webhook-ca", true),
        ("update", "secrets", "backout-webhook-ca", true),
        ("update", "secrets", "backout-webhook-tls", true),
        ("update", "secrets", "another", false),
        ("get", "mutatingwebhookconfigurations", "zz-backout", true),
        ("watch", "mutatingwebhookconfigurations", "", true),
        ("patch", "mutatingwebhookconfigurations", "zz-backout", true),
        ("patch", "mutatingwebhookconfigurations", "another", false),
        ("update", "mutatingwebhookconfigurations", "zz-backout", false),
    ] {
        let (group, namespace) =
            if resource == "secrets" { ("", NAMESPACE) } else { ("admissionregistration.k8s.io", "") };
        let asked =
            json!({"group": group, "resource": resource, "namespace": namespace, "name": name, "verb": verb});
        let review = json!({"metadata": {}, "spec": {"user": "keeper", "resourceAttributes": asked}});
        let review: SubjectAccessReview = serde_json::from_value(review).unwrap();
        eventually(format!("keeper may {verb} {resource} {name}: {allowed}"), PATIENCE, async || {
            let answer = reviews.create(&PostParams::default(), &review).await?.status;
            Ok(answer.filter(|answer| answer.allowed == allowed).map(drop))
        })
        .await
        .unwrap();
    }
}
