//! An installation of its own, beside the one of the whole cluster.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::MutatingWebhookConfiguration,
        core::v1::{ConfigMap, Secret},
    },
};
use kube::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use system_tests::{
    Backout, BackoutOptions, Cluster, Process, TestNamespace, User, backout::NAMESPACE, eventually,
    mount::Mount,
};

use super::{
    super::{PATIENCE, ground},
    planted::{Planted, certificates},
};

/// Trust takes so long to arrive here, and leaves: what the webhook takes at most to read its files again, and more.
pub(crate) const TRUST_DELAY: Duration = Duration::from_secs(3);
pub(crate) const RELOAD_DELAY: Duration = Duration::from_secs(25);

pub(crate) struct Site {
    pub(crate) cluster: &'static Cluster,
    pub(crate) backout: &'static Backout,
    pub(crate) client: Client,
    pub(crate) namespace: TestNamespace<'static>,
    /// Of the configuration; the Secrets' names begin with it.
    pub(crate) name: String,
    replicas: Vec<Replica>,
    watchers: Vec<Arc<Process>>,
}

struct Replica {
    process: Process,
    port: u16,
    _mount: Mount,
}

impl Site {
    /// A webhook configuration that trusts nobody and leads nowhere, for a namespace of its own.
    pub(crate) async fn new(promise: &str) -> Self {
        let (cluster, backout) = ground().await;
        let namespace = TestNamespace::new(cluster, promise).await.unwrap();
        let client = cluster.client(User::Admin).await.unwrap();
        let name = format!("zz-{:08x}", rand::random::<u32>());
        let site =
            Self { cluster, backout, client, namespace, name, replicas: Vec::new(), watchers: Vec::new() };
        let installed = site.configurations().get("zz-backout").await.unwrap();
        let mut copy = serde_json::to_value(installed).unwrap();
        copy["metadata"] = json!({"name": site.name});
        for webhook in copy["webhooks"].as_array_mut().unwrap() {
            webhook["clientConfig"] = json!({"url": "https://127.0.0.1:1/admit"});
            webhook["timeoutSeconds"] = 30.into();
            webhook["namespaceSelector"] =
                json!({"matchLabels": {"kubernetes.io/metadata.name": site.namespace.name()}});
            // Dry runs are called for, too: nothing is stored, and no log grows.
            let conditions = webhook["matchConditions"].as_array_mut().unwrap();
            conditions.retain(|condition| condition["name"] != "not-a-dry-run");
        }
        let copy: MutatingWebhookConfiguration = serde_json::from_value(copy).unwrap();
        site.configurations().create(&PostParams::default(), &copy).await.unwrap();
        site
    }

    /// What was made long ago is there, and about to end.
    pub(crate) async fn plant(&self, planted: &Planted) {
        self.put(planted.secret(&self.authority())).await;
        self.put(planted.leaf(&self.serving())).await;
        self.set_bundles(planted.pem().as_bytes()).await;
    }

    /// A Secret is this, whatever it was.
    pub(crate) async fn put(&self, secret: Value) {
        let name = secret["metadata"]["name"].as_str().unwrap().to_owned();
        let secret: Secret = serde_json::from_value(secret).unwrap();
        if self.secrets().get_opt(&name).await.unwrap().is_some() {
            self.secrets().replace(&name, &PostParams::default(), &secret).await.unwrap();
        } else {
            self.secrets().create(&PostParams::default(), &secret).await.unwrap();
        }
    }

    pub(crate) async fn garble(&self, secret: &str, key: &str) {
        let patch = json!({"data": {key: ByteString(b"nonsense".to_vec())}});
        let patch = Patch::Merge(&patch);
        self.secrets().patch(secret, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) fn serving(&self) -> String {
        format!("{}-tls", self.name)
    }

    pub(crate) fn authority(&self) -> String {
        format!("{}-ca", self.name)
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) fn configurations(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }

    pub(crate) fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), self.namespace.name())
    }

    /// How a watcher of this installation is started.
    pub(crate) fn options(&self) -> BackoutOptions {
        let delays = [TRUST_DELAY, RELOAD_DELAY].map(|delay| format!("{}s", delay.as_secs()));
        let [serving, authority] = [self.serving(), self.authority()];
        let args = [
            ["--webhook-configuration", &self.name],
            ["--webhook-secret", &serving],
            ["--authority-secret", &authority],
            ["--webhook-name", "127.0.0.1"],
            ["--trust-delay", &delays[0]],
            ["--reload-delay", &delays[1]],
        ];
        BackoutOptions {
            manage_certificates: true,
            watcher_args: args.iter().flatten().map(|&arg| arg.to_owned()).collect(),
            ..self.backout.options().clone()
        }
    }

    /// One more watcher of this installation, which has done what it can at once.
    pub(crate) async fn watcher(&mut self, options: &BackoutOptions) -> Arc<Process> {
        let name = format!("watcher-{}-{}", self.name, self.watchers.len());
        let (watcher, _) = self.backout.watcher_like(self.cluster, &name, options).await.unwrap();
        self.watchers.push(Arc::new(watcher));
        Arc::clone(&self.watchers[self.watchers.len() - 1])
    }

    /// A replica of the webhook, which gets a changed certificate after `lag`. The first one is called.
    pub(crate) async fn replica(&mut self, lag: Duration) {
        let mount = Mount::start(self.cluster, NAMESPACE, &self.serving(), lag).await.unwrap();
        let options = BackoutOptions { webhook_certificate: Some(mount.pair()), ..self.options() };
        let name = format!("webhook-{}-{}", self.name, self.replicas.len());
        let (process, port) = self.backout.webhook_like(self.cluster, &name, &options).await.unwrap();
        if self.replicas.is_empty() {
            self.set_entries("url", &json!(format!("https://127.0.0.1:{port}/admit"))).await;
        }
        self.replicas.push(Replica { process, port, _mount: mount });
    }

    pub(crate) fn webhook(&self) -> &Process {
        &self.replicas[0].process
    }

    pub(crate) fn ports(&self) -> Vec<u16> {
        self.replicas.iter().map(|replica| replica.port).collect()
    }

    pub(crate) async fn set_bundles(&self, bundle: &[u8]) {
        self.set_entries("caBundle", &json!(ByteString(bundle.to_vec()))).await;
    }

    async fn set_entries(&self, field: &str, value: &Value) {
        let operations = [0, 1].map(|entry| {
            json!({"op": "add", "path": format!("/webhooks/{entry}/clientConfig/{field}"), "value": value})
        });
        let patch = Patch::<()>::Json(serde_json::from_value(json!(operations)).unwrap());
        self.configurations().patch(&self.name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// The bundle of each entry.
    pub(crate) async fn bundles(&self) -> Vec<Vec<CertificateDer<'static>>> {
        let configuration = self.configurations().get(&self.name).await.unwrap();
        let entries = configuration.webhooks.unwrap().into_iter();
        entries
            .map(|entry| certificates(&entry.client_config.ca_bundle.unwrap_or(ByteString(Vec::new())).0))
            .collect()
    }

    /// What a Secret holds; nothing if it is not there.
    pub(crate) async fn data(&self, secret: &str) -> BTreeMap<String, Vec<u8>> {
        let found = self.secrets().get_opt(secret).await.unwrap();
        let data = found.and_then(|secret| secret.data).unwrap_or_default();
        data.into_iter().map(|(key, value)| (key, value.0)).collect()
    }

    pub(crate) async fn delete(&self, secret: &str) {
        self.secrets().delete(secret, &DeleteParams::default()).await.unwrap();
    }

    /// What the API server itself says of a write that the webhook is asked for, and that is not stored.
    pub(crate) async fn write(&self) -> kube::Result<ConfigMap> {
        write(&self.maps(), true).await
    }

    /// Waits until the API server calls the webhook: a stored write leaves the undo pointer.
    pub(crate) async fn is_called(&self) {
        eventually("the API server calls the webhook", PATIENCE, async || {
            let labels = write(&self.maps(), false).await?.metadata.labels.unwrap_or_default();
            Ok(labels.contains_key("backout.dev/undo").then_some(()))
        })
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.cluster.keep_for_inspection()));
    }

    /// Waits until one authority is left, which is not this one, and every bundle trusts it and nobody else.
    pub(crate) async fn has_succeeded(&self, old: &str) {
        eventually("the authority is another one, and nobody trusts the old one", PATIENCE, async || {
            let mut authority = self.data(&self.authority()).await;
            let newest = authority.remove("ca.crt").unwrap_or_default();
            let trusted = certificates(&newest);
            let alone = authority.len() == 1 && newest != old.as_bytes();
            Ok((alone && self.bundles().await.iter().all(|bundle| *bundle == trusted)).then_some(()))
        })
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.cluster.keep_for_inspection()));
    }
}

pub(crate) async fn write(maps: &Api<ConfigMap>, dry_run: bool) -> kube::Result<ConfigMap> {
    let generate_name = Some("map-".to_owned());
    let map =
        ConfigMap { metadata: ObjectMeta { generate_name, ..ObjectMeta::default() }, ..ConfigMap::default() };
    maps.create(&PostParams { dry_run, ..PostParams::default() }, &map).await
}
