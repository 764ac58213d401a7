//! The shipped manifests, changed only where processes on this machine stand for pods.

use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use serde_json::{Value, json};

use crate::cluster::{Cluster, User, wait_allowed};

/// Applies the manifests so that the webhook is called at this local port, and trusted by this authority, if any; and
/// waits until the accounts have their rights: what they ask for sooner is forbidden.
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
    apply(cluster, &rest).await?;
    let client = cluster.client(User::Admin).await?;
    for (account, right) in rights(&rest) {
        wait_allowed(&client, &account, &right).await?;
    }
    Ok(())
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

/// For each rule that is bound to a service account, something that it allows.
fn rights(objects: &[Value]) -> Vec<(String, ResourceAttributes)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut rights = Vec::new();
    for binding in objects.iter().filter(|it| it["roleRef"].is_object()) {
        let reference = &binding["roleRef"];
        let is_role =
            |it: &&Value| it["kind"] == reference["kind"] && it["metadata"]["name"] == reference["name"];
        let rules = objects.iter().find(is_role).map(|role| list(&role["rules"])).unwrap_or_default();
        for subject in list(&binding["subjects"]).iter().filter(|it| it["kind"] == "ServiceAccount") {
            let [ns, name] = ["namespace", "name"].map(|field| subject[field].as_str().unwrap_or_default());
            let account = User::ServiceAccount { ns, name }.name();
            rights.extend(rules.iter().map(|rule| {
                let resource = rule["resources"][0].as_str().unwrap_or_default();
                let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                let right = ResourceAttributes {
                    group: text(&rule["apiGroups"][0]),
                    name: text(&rule["resourceNames"][0]),
                    namespace: text(&binding["metadata"]["namespace"]),
                    resource: Some(resource.to_owned()),
                    subresource: Some(subresource.to_owned()),
                    verb: text(&rule["verbs"][0]),
                    ..ResourceAttributes::default()
                };
                (account.clone(), right)
            }));
        }
    }
    rights
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

    #[test]
    fn each_rule_of_an_account_is_asked_for_where_its_binding_gives_it() {
        let rule = json!({"apiGroups": ["g"], "resources": ["things/status", "x"], "verbs": ["get", "list"]});
        let own =
            json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["s"], "verbs": ["update"]});
        let account = json!({"kind": "ServiceAccount", "name": "a", "namespace": "system"});
        let bound = |kind: &str, metadata: Value| {
            json!({"kind": format!("{kind}Binding"), "metadata": metadata, "subjects": [account],
                "roleRef": {"kind": kind, "name": "r"}})
        };
        let objects = [
            json!({"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": [rule]}),
            json!({"kind": "Role", "metadata": {"name": "r", "namespace": "n"}, "rules": [own]}),
            json!({"kind": "ClusterRole", "metadata": {"name": "of nobody"}, "rules": [rule]}),
            bound("ClusterRole", json!({"name": "r"})),
            bound("Role", json!({"name": "r", "namespace": "n"})),
        ];
        let rights = rights(&objects).into_iter().map(|(account, right)| {
            assert_eq!(account, "system:serviceaccount:system:a");
            json!(right)
        });
        let everywhere = json!({"group": "g", "resource": "things", "subresource": "status", "verb": "get"});
        let there = json!({"group": "", "resource": "secrets", "subresource": "", "name": "s", "namespace": "n",
            "verb": "update"});
        assert_eq!(rights.collect::<Vec<_>>(), [everywhere, there]);
    }
}
