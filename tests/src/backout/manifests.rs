//! The shipped manifests, changed only where processes on this machine stand for pods.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// Applies the manifests so that the webhook is called at this local port, and trusted by this authority, if any.
pub(super) async fn install(
    cluster: &Cluster,
    kustomization: &Path,
    webhook_port: u16,
    authority: Option<&str>,
) -> Result<()> {
    let path = kustomization.to_str().context("the path of the manifests is not UTF-8")?;
    let rendered = cluster.kubectl().run(&["kustomize", path]).await?.success()?.stdout;
    let mut objects: Vec<Value> =
        serde_saphyr::from_multiple(&rendered).context("kustomize printed no YAML")?;
    for object in &mut objects {
        adapt(object, webhook_port, authority);
    }
    // The namespace and the definitions first: the rest lies in the one and may be of the others.
    let (first, rest): (Vec<_>, Vec<_>) =
        objects.into_iter().partition(|object| FIRST.contains(&object["kind"].as_str().unwrap_or_default()));
    apply(cluster, &first).await?;
    let definitions = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"];
    cluster.kubectl().run(&definitions).await?.success()?;
    apply(cluster, &rest).await
}

async fn apply(cluster: &Cluster, objects: &[Value]) -> Result<()> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let kubectl = cluster.kubectl().stdin(list.to_string());
    let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    kubectl.run(&arguments).await?.success().map(drop).context("cannot apply the manifests")
}

fn adapt(object: &mut Value, webhook_port: u16, authority: Option<&str>) {
    match object["kind"].as_str() {
        // The binaries run as processes of the test instead.
        Some("Deployment") => object["spec"]["replicas"] = json!(0),
        Some("MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
            for webhook in object["webhooks"].as_array_mut().into_iter().flatten() {
                let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap_or("/admit").to_owned();
                webhook["clientConfig"] = json!({"url": format!("https://127.0.0.1:{webhook_port}{path}")});
                if let Some(authority) = authority {
                    let bundle = k8s_openapi::ByteString(authority.as_bytes().to_vec());
                    webhook["clientConfig"]["caBundle"] = json!(bundle);
                }
            }
        }
        _ => {}
    }
}

const FIRST: &[&str] = &["Namespace", "CustomResourceDefinition"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_replicas_and_the_webhooks_address_are_changed() {
        let mut deployment = json!({"kind": "Deployment", "spec": {"replicas": 2, "template": {}}});
        adapt(&mut deployment, 7, Some("pem"));
        assert_eq!(deployment, json!({"kind": "Deployment", "spec": {"replicas": 0, "template": {}}}));

        let service = json!({"name": "backout-webhook", "namespace": "backout-system", "path": "/admit"});
        let mut configuration = json!({
            "kind": "MutatingWebhookConfiguration",
            "webhooks": [{"name": "a", "clientConfig": {"service": service}, "timeoutSeconds": 5}],
        });
        adapt(&mut configuration, 7, Some("pem"));
        let url = json!({"url": "https://127.0.0.1:7/admit", "caBundle": "cGVt"});
        assert_eq!(
            configuration["webhooks"],
            json!([{"name": "a", "clientConfig": url, "timeoutSeconds": 5}])
        );
    }
}
