//! The ways from the API server to webhooks: to Backout's through a proxy, and to others beside it.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::ConfigMap},
};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use system_tests::{
    Cluster, User, eventually,
    proxy::{Call, Fate, Proxy, Reply},
    stories::{Home, Stage},
};
use tokio::sync::Mutex;

/// The label of namespaces whose writes go another way than the installed one.
const THROUGH: &str = "test.backout.dev/through";

/// A namespace that opted in, for which the webhook is called through these proxies: each for the writes that its CEL
/// expression selects, within so many seconds.
pub(crate) async fn home_through<'a>(
    stage: &'a Stage<'a>,
    name: &str,
    ways: &[(&Proxy, &str)],
    timeout: u32,
) -> Home<'a> {
    let configurations = configurations(stage.cluster).await;
    let installed = keep_off(&configurations).await;
    let home = stage.bystander(name).await.unwrap();
    home.admin(&["label", "namespace", &home.name, &format!("{THROUGH}=proxy")])
        .await
        .unwrap()
        .success()
        .unwrap();
    for (index, (proxy, condition)) in ways.iter().enumerate() {
        let mut copy = serde_json::to_value(&installed).unwrap();
        copy["metadata"] = json!({ "name": format!("zz-backout-{index}-{}", home.name) });
        let webhook = &mut copy["webhooks"][0];
        webhook["clientConfig"]["url"] = format!("{}/admit", proxy.url()).into();
        webhook["namespaceSelector"] = only(&home.name);
        webhook["timeoutSeconds"] = timeout.into();
        let condition = json!({ "name": "this-way", "expression": condition });
        webhook["matchConditions"].as_array_mut().unwrap().push(condition);
        let copy: MutatingWebhookConfiguration = serde_json::from_value(copy).unwrap();
        configurations.create(&PostParams::default(), &copy).await.unwrap();
        // Until it opts in these writes are nobody's: they are answered by the proxy.
        proxy.rule(|call| Fate::Reply(allow(call, None)));
    }
    let called = async || ways.iter().all(|(proxy, _)| !proxy.journal().is_empty());
    probe(&home, called).await;
    for (proxy, _) in ways {
        proxy.pass();
    }
    let opt_in = "backout.dev/atomic=enabled";
    home.admin(&["label", "namespace", &home.name, opt_in]).await.unwrap().success().unwrap();
    home
}

/// Lets the API server wait for the webhook as long as it can: the machine may be busy with something else.
pub(crate) async fn be_patient(cluster: &Cluster) -> anyhow::Result<()> {
    let patch = json!([{ "op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 30 }]);
    let patch = Patch::<()>::Json(serde_json::from_value(patch)?);
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(cluster.client(User::Admin).await?);
    configurations.patch("zz-backout", &PatchParams::default(), &patch).await?;
    Ok(())
}

/// The installed configuration, which leaves those namespaces alone from now on.
async fn keep_off(configurations: &Api<MutatingWebhookConfiguration>) -> MutatingWebhookConfiguration {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let _turn = ONE_AT_A_TIME.lock().await;
    let installed = configurations.get("zz-backout").await.unwrap();
    if serde_json::to_string(&installed).unwrap().contains(THROUGH) {
        return installed;
    }
    let expression = json!({ "key": THROUGH, "operator": "DoesNotExist" });
    let place = "/webhooks/0/namespaceSelector/matchExpressions/-";
    let patch = serde_json::from_value(json!([{ "op": "add", "path": place, "value": expression }])).unwrap();
    configurations.patch("zz-backout", &PatchParams::default(), &Patch::<()>::Json(patch)).await.unwrap()
}

/// One more mutating webhook for ConfigMaps of the namespace, which is called in the order of the names: Backout's is
/// `zz-backout`. What it does is the proxy's rule.
pub(crate) async fn beside(home: &Home<'_>, name: &str, proxy: &Proxy, reinvocation: &str) {
    let configurations = configurations(home.stage.cluster).await;
    let authority = home.stage.cluster.authority().ca_pem();
    let configuration: MutatingWebhookConfiguration = serde_json::from_value(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": format!("{name}-{}", home.name) },
        "webhooks": [{
            "name": "beside.test.backout.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "timeoutSeconds": 30, "failurePolicy": "Fail", "reinvocationPolicy": reinvocation,
            "namespaceSelector": only(&home.name),
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                "operations": ["CREATE", "UPDATE", "DELETE"], "scope": "Namespaced" }],
            "clientConfig": { "url": format!("{}/beside", proxy.url()),
                "caBundle": ByteString(authority.into_bytes()) },
        }],
    }))
    .unwrap();
    configurations.create(&PostParams::default(), &configuration).await.unwrap();
    probe(home, async || !proxy.journal().is_empty()).await;
}

/// Writes as somebody who is no deployer until the API server knows the configuration.
async fn probe(home: &Home<'_>, called: impl AsyncFn() -> bool) {
    let client = home.stage.cluster.client(User::Admin).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client, &home.name);
    let mut number = 0;
    eventually("the API server calls the webhook", Duration::from_secs(30), async || {
        for _ in 0..2 {
            number += 1;
            let name = Some(format!("probe-{number}"));
            let map =
                ConfigMap { metadata: ObjectMeta { name, ..ObjectMeta::default() }, ..ConfigMap::default() };
            maps.create(&PostParams::default(), &map).await?;
        }
        Ok(called().await.then_some(()))
    })
    .await
    .unwrap();
    for number in 1..=number {
        maps.delete(&format!("probe-{number}"), &DeleteParams::default()).await.unwrap();
    }
}

async fn configurations(cluster: &Cluster) -> Api<MutatingWebhookConfiguration> {
    Api::all(cluster.client(User::Admin).await.unwrap())
}

fn only(namespace: &str) -> Value {
    json!({ "matchLabels": { "kubernetes.io/metadata.name": namespace } })
}

/// The `AdmissionRequest` that the API server asks about.
pub(crate) fn request(call: &Call) -> Value {
    let mut review: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    review["request"].take()
}

/// The answer of a webhook that has nothing against it, and this patch if there is one.
pub(crate) fn allow(call: &Call, patch: Option<&Value>) -> Reply {
    answer(&request(call)["uid"], patch)
}

pub(crate) fn answer(uid: &Value, patch: Option<&Value>) -> Reply {
    let mut response = json!({ "uid": uid, "allowed": true });
    if let Some(patch) = patch {
        response["patchType"] = "JSONPatch".into();
        response["patch"] = json!(ByteString(patch.to_string().into_bytes()));
    }
    let review =
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
    json_body(StatusCode::OK, review.to_string())
}

pub(crate) fn json_body(code: StatusCode, body: impl Into<String>) -> Reply {
    Reply::body(code, body.into()).header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
}
