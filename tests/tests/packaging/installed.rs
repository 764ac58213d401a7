//! What a cluster makes of what is shipped.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use system_tests::{Cluster, eventually};
use tokio::sync::OnceCell;

use crate::{ONLY_WITH_CERT_MANAGER, Rendered, helm, named, rendered, shipped};

const NAMESPACE: &str = "backout-system";
const PATIENCE: Duration = Duration::from_mins(2);

/// The shared cluster, with the namespaces that have to be there: Backout's, as it is shipped, and that of the example.
async fn ground() -> &'static Cluster {
    static MADE: OnceCell<()> = OnceCell::const_new();
    let cluster = Cluster::shared().unwrap();
    let make = async || {
        kubectl(cluster, &["apply", "--server-side", "-f", &shipped("base/namespace.yaml")]).await;
        kubectl(cluster, &["create", "namespace", "shop"]).await;
    };
    MADE.get_or_init(make).await;
    cluster
}

async fn kubectl(cluster: &Cluster, args: &[&str]) -> String {
    cluster.kubectl().run(args).await.unwrap().success().unwrap().stdout
}

#[tokio::test]
async fn the_server_takes_each_object_as_it_is() {
    let cluster = ground().await;
    for Rendered { folder, kustomized, templated } in rendered(cluster).await {
        for objects in [kustomized, templated] {
            let mut objects = objects.clone();
            objects.retain(|object| !ONLY_WITH_CERT_MANAGER.contains(&object["kind"].as_str().unwrap()));
            let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
            // Unknown fields are errors, as are those that are there twice.
            let args =
                "apply --server-side --force-conflicts --dry-run=server --validate=strict -o name -f -";
            let applied =
                cluster.kubectl().stdin(list).run(&args.split(' ').collect::<Vec<_>>()).await.unwrap();
            assert!(applied.status.success(), "{folder}: {}", applied.stderr);
            assert_eq!(applied.stdout.lines().count(), objects.len(), "{folder}");
            // A warning of Pod Security, or of what is deprecated, would be there.
            assert_eq!(applied.stderr, "", "{folder}");
        }
    }
}

#[tokio::test]
async fn helm_installs_and_upgrades_it_and_leaves_what_holds_data() {
    let cluster = ground().await;
    let wait = ["--wait", "--timeout=3m"];
    let refused = privileged_pod(cluster).await;
    assert!(refused.contains("violates PodSecurity \"restricted:latest\""), "{refused}");

    let installed = helm(cluster, "install", &[], &wait).await.success().unwrap();
    assert!(installed.stdout.contains("kubectl label namespace NAMESPACE backout.dev/atomic=enabled"));
    assert_eq!(ready(cluster).await, [("backout-watcher", 2), ("backout-webhook", 2)].map(owned));
    assert_eq!(rolebindings_in_shop(cluster).await, "");
    assert_eq!(webhooks(cluster).await, ["record.backout.dev", "cluster.record.backout.dev"]);
    assert_eq!(flow_schema_of(cluster, "backout-watcher").await, "backout");
    assert_eq!(flow_schema_of(cluster, "other").await, "service-accounts");
    trust(cluster).await;
    own_objects_can_be_mended(cluster).await;
    let release = json!({"apiVersion": "backout.dev/v1alpha1", "kind": "Release", "metadata": {"name": "kept"}, "spec": {}});
    let release = cluster.kubectl().stdin(release.to_string());
    release.run(&["apply", "-n", "shop", "-f", "-"]).await.unwrap().success().unwrap();

    let upgraded = helm(cluster, "upgrade", &["ha", "namespaced"], &wait).await.success().unwrap();
    assert!(upgraded.stdout.contains("kubectl label namespace shop"), "{}", upgraded.stdout);
    assert_eq!(ready(cluster).await, [("backout-watcher", 2), ("backout-webhook", 3)].map(owned));
    assert_eq!(
        rolebindings_in_shop(cluster).await,
        "rolebinding.rbac.authorization.k8s.io/backout-watcher\n"
    );
    assert_eq!(webhooks(cluster).await, ["record.backout.dev"]);
    assert_eq!(webhooks_by_node(cluster).await, [1, 2]);
    assert!(is_trusted(cluster).await, "the upgrade took back what the watcher had written");
    assert!(!watcher_may(cluster, "list", "secrets", "default").await);
    assert!(watcher_may(cluster, "delete", "deployments.apps", "shop").await);

    // From an upgrade that gives up what was there before, back to all of it.
    helm(cluster, "upgrade", &[], &["--reset-values", "--wait", "--timeout=3m"]).await.success().unwrap();
    assert_eq!(rolebindings_in_shop(cluster).await, "");
    assert_eq!(webhooks(cluster).await.len(), 2);
    assert!(watcher_may(cluster, "list", "secrets", "default").await);

    let uninstall = ["uninstall", "backout", "--namespace", NAMESPACE, "--wait", "--timeout=3m"];
    cluster.helm().run(&uninstall).await.unwrap().success().unwrap();
    let left = [
        "customresourcedefinition.apiextensions.k8s.io/releases.backout.dev".to_owned(),
        format!("namespace/{NAMESPACE}"),
    ];
    eventually("all else is gone", PATIENCE, async || Ok((labelled(cluster).await == left).then_some(())))
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
    kubectl(cluster, &["get", "release", "kept", "-n", "shop"]).await;

    // What is left is taken over again, and can be deleted: nothing holds it.
    helm(cluster, "install", &[], &wait).await.success().unwrap();
    cluster.helm().run(&uninstall).await.unwrap().success().unwrap();
    kubectl(cluster, &["delete", "crd", "releases.backout.dev", "--timeout=60s"]).await;
}

/// What the server says to a pod that the namespace is not to admit.
async fn privileged_pod(cluster: &Cluster) -> String {
    let container = json!({"name": "c", "image": "c", "securityContext": {"privileged": true}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "privileged", "namespace": NAMESPACE},
        "spec": {"containers": [container]}});
    let output = cluster.kubectl().stdin(pod.to_string()).run(&["create", "-f", "-"]).await.unwrap();
    assert!(!output.status.success());
    output.stderr
}

/// The Deployments, and how many of their pods run and are ready.
async fn ready(cluster: &Cluster) -> Vec<(String, u64)> {
    let deployments = items(cluster, &["get", "deployments", "-n", NAMESPACE]).await;
    let ready = |deployment: &Value| {
        let name = deployment["metadata"]["name"].as_str().unwrap().to_owned();
        (name, deployment["status"]["readyReplicas"].as_u64().unwrap_or_default())
    };
    deployments.iter().map(ready).collect()
}

fn owned((name, count): (&str, u64)) -> (String, u64) {
    (name.to_owned(), count)
}

async fn webhooks(cluster: &Cluster) -> Vec<String> {
    let configurations = items(cluster, &["get", "mutatingwebhookconfigurations"]).await;
    let webhooks = configurations.iter().flat_map(|it| it["webhooks"].as_array().unwrap());
    webhooks.map(|webhook| webhook["name"].as_str().unwrap().to_owned()).collect()
}

/// Nobody answers for the webhook: what bears a mark is refused, but for what is Backout's own.
async fn own_objects_can_be_mended(cluster: &Cluster) {
    let marks =
        ["kustomize.toolkit.fluxcd.io/name=platform", "kustomize.toolkit.fluxcd.io/namespace=flux-system"];
    kubectl(cluster, &["create", "clusterrole", "other", "--verb=get", "--resource=pods"]).await;
    eventually("a marked object is refused", PATIENCE, async || {
        let other = [&["label", "--overwrite", "clusterrole", "other"], &marks[..]].concat();
        let refused = cluster.kubectl().run(&other).await?;
        kubectl(cluster, &["get", "clusterrole", "other"]).await;
        Ok(refused.stderr.contains("failed calling webhook \"cluster.record.backout.dev\"").then_some(()))
    })
    .await
    .unwrap();
    let own = ["label", "clusterrole/backout-view", "customresourcedefinition/releases.backout.dev"];
    kubectl(cluster, &[&own, &marks[..]].concat()).await;
}

/// Stands for the watcher, which tells the API server whom to trust as the webhook.
async fn trust(cluster: &Cluster) {
    let bundle = k8s_openapi::ByteString(cluster.authority().ca_pem().into_bytes());
    let place = |number| format!("/webhooks/{number}/clientConfig/caBundle");
    let patch = json!([0, 1].map(|number| json!({"op": "add", "path": place(number), "value": bundle})));
    let configuration = "mutatingwebhookconfiguration/zz-backout";
    let patch = ["patch", configuration, "--type=json", "--field-manager=backout", "-p", &patch.to_string()];
    kubectl(cluster, &patch).await;
}

async fn is_trusted(cluster: &Cluster) -> bool {
    let configurations = items(cluster, &["get", "mutatingwebhookconfigurations"]).await;
    let mut webhooks = configurations.iter().flat_map(|it| it["webhooks"].as_array().unwrap());
    webhooks.all(|webhook| webhook["clientConfig"]["caBundle"].is_string())
}

/// How many webhooks there are on a node, in ascending order.
async fn webhooks_by_node(cluster: &Cluster) -> Vec<usize> {
    let label = "app.kubernetes.io/name=backout-webhook";
    let pods = items(cluster, &["get", "pods", "-n", NAMESPACE, "-l", label]).await;
    let mut nodes: BTreeMap<String, usize> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
        *nodes.entry(pod["spec"]["nodeName"].to_string()).or_default() += 1;
    }
    let mut counts: Vec<_> = nodes.into_values().collect();
    counts.sort_unstable();
    counts
}

/// The name of the `FlowSchema` by which the API server queues this account of Backout's namespace.
async fn flow_schema_of(cluster: &Cluster, account: &str) -> String {
    let schemas = items(cluster, &["get", "flowschemas"]).await;
    // With its groups, which a token would bring along.
    let args = format!(
        "get --raw /version -v=8 --as=system:serviceaccount:{NAMESPACE}:{account} \
         --as-group=system:serviceaccounts --as-group=system:authenticated"
    );
    let answer = cluster.kubectl().run(&args.split(' ').collect::<Vec<_>>()).await.unwrap();
    let queued = |schema: &&Value| answer.stderr.contains(schema["metadata"]["uid"].as_str().unwrap());
    let schema = schemas.iter().find(queued).unwrap_or_else(|| panic!("{}", answer.stderr));
    schema["metadata"]["name"].as_str().unwrap().to_owned()
}

async fn rolebindings_in_shop(cluster: &Cluster) -> String {
    kubectl(cluster, &["get", "rolebindings", "-n", "shop", "-o", "name"]).await
}

async fn watcher_may(cluster: &Cluster, verb: &str, resource: &str, namespace: &str) -> bool {
    let watcher = format!("--as=system:serviceaccount:{NAMESPACE}:backout-watcher");
    let args = ["auth", "can-i", verb, resource, "-n", namespace, &watcher];
    // "no" is a failure of the client.
    cluster.kubectl().run(&args).await.unwrap().stdout.starts_with("yes")
}

/// Everything in the cluster that bears the chart's label, but for Events.
async fn labelled(cluster: &Cluster) -> Vec<String> {
    let kinds = kubectl(cluster, &["api-resources", "--verbs=list", "-o", "name"]).await;
    let kinds: Vec<_> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    let selector = "app.kubernetes.io/part-of=backout";
    let get = ["get", &kinds.join(","), "--all-namespaces", "--selector", selector, "-o", "name"];
    let mut found: Vec<_> = kubectl(cluster, &get).await.lines().map(str::to_owned).collect();
    found.sort();
    found
}

async fn items(cluster: &Cluster, args: &[&str]) -> Vec<Value> {
    let list = kubectl(cluster, &[args, &["-o", "json"]].concat()).await;
    let mut list: Value = serde_json::from_str(&list).unwrap();
    let mut items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
    items.sort_by_key(named);
    items
}
