//! The three places in the cluster: two Secrets and the webhook's configuration.

use std::{collections::BTreeMap, time::Duration};

use backout_model::certificates::{Configuration, Fingerprint, Observed};
use backout_runtime::api::{ApiError, deadline};
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::MutatingWebhookConfiguration, core::v1::Secret},
};
use kube::{Api, Client, ResourceExt as _, api::ObjectMeta};
use serde_json::{Value, json};

use super::{
    Error, Names,
    make::Pair,
    read::{self, Certificate, Held},
};
use crate::params;

/// The server itself gives up after 34 s.
const CALL: Duration = Duration::from_secs(10);

/// Keys of the authority's Secret: the newest authority, and the one before it.
const AUTHORITIES: [[&str; 2]; 2] = [["ca.crt", "ca.key"], ["previous.crt", "previous.key"]];
/// Keys of the serving Secret.
const LEAF: [&str; 2] = ["tls.crt", "tls.key"];
/// Key of the serving Secret: whom its readers are to trust.
const BUNDLE: &str = "ca.crt";

/// The way to the three places.
pub(super) struct Places {
    secrets: Api<Secret>,
    configurations: Api<MutatingWebhookConfiguration>,
    names: Names,
}

/// What they hold.
pub(super) struct Content {
    configuration: Option<MutatingWebhookConfiguration>,
    serving: Option<Secret>,
    authority: Option<Secret>,
    /// Of the authority's Secret, newest first.
    pub(super) authorities: Vec<Held>,
    /// All that somebody may be signed by.
    pub(super) known: BTreeMap<Fingerprint, Certificate>,
}

impl Places {
    pub(super) fn new(client: Client, names: Names) -> Self {
        let secrets = Api::namespaced(client.clone(), &names.namespace);
        Self { secrets, configurations: Api::all(client), names }
    }

    /// All three, one after the other: a bundle never shows an authority that the Secret does not show yet.
    pub(super) async fn read(&self) -> Result<Content, ApiError> {
        let name = &self.names.configuration;
        let call = self.configurations.get_opt(name);
        let configuration = deadline(CALL, format!("GET MutatingWebhookConfiguration {name}"), call).await?;
        let serving = self.secret(&self.names.serving).await?;
        let authority = self.secret(&self.names.authority).await?;
        let held = AUTHORITIES.iter().filter_map(|[certificate, key]| {
            let authority = authority.as_ref();
            Held::read(value(authority, certificate)?, value(authority, key).unwrap_or_default())
        });
        let mut content = Content {
            authorities: held.collect(),
            known: BTreeMap::new(),
            configuration,
            serving,
            authority,
        };
        content.known = content.certificates().map(|known| (known.id.clone(), known)).collect();
        Ok(content)
    }

    async fn secret(&self, name: &str) -> Result<Option<Secret>, ApiError> {
        deadline(CALL, format!("GET Secret {name}"), self.secrets.get_opt(name)).await
    }

    /// The authority's Secret holds these.
    pub(super) async fn keep_authorities(
        &self,
        content: &Content,
        newest: &Pair,
        previous: Option<&Held>,
    ) -> Result<(), ApiError> {
        let pairs = [
            Some((newest.certificate.clone(), newest.key.clone())),
            previous.map(|held| (held.certificate.pem(), held.key.clone())),
        ];
        let entries = AUTHORITIES.iter().zip(pairs).filter_map(|(keys, pair)| Some((keys, pair?)));
        let data = entries.flat_map(|([certificate, key], pair)| [(*certificate, pair.0), (*key, pair.1)]);
        self.put(&self.names.authority, "Opaque", content.authority.as_ref(), data).await
    }

    /// The serving Secret holds this leaf, and beside it whom to trust.
    pub(super) async fn serve(&self, content: &Content, leaf: &Pair) -> Result<(), ApiError> {
        let bundle = content.authorities.iter().map(|held| held.certificate.pem()).collect();
        let [certificate, key] = LEAF;
        let data = [(certificate, leaf.certificate.clone()), (key, leaf.key.clone()), (BUNDLE, bundle)];
        self.put(&self.names.serving, "kubernetes.io/tls", content.serving.as_ref(), data.into_iter()).await
    }

    /// Creates the Secret, or replaces its data if it is still as it was read.
    async fn put(
        &self,
        name: &str,
        kind: &str,
        found: Option<&Secret>,
        data: impl Iterator<Item = (&'static str, String)>,
    ) -> Result<(), ApiError> {
        let params = params::post();
        let data = data.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect();
        if let Some(found) = found {
            let secret = Secret { data: Some(data), ..found.clone() };
            let call = self.secrets.replace(name, &params, &secret);
            return deadline(CALL, format!("PUT Secret {name}"), call).await.map(drop);
        }
        let labels = BTreeMap::from([("app.kubernetes.io/part-of".to_owned(), "backout".to_owned())]);
        let metadata =
            ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
        let secret = Secret { metadata, type_: Some(kind.to_owned()), data: Some(data), ..Secret::default() };
        deadline(CALL, format!("POST Secret {name}"), self.secrets.create(&params, &secret)).await.map(drop)
    }

    /// Every entry of the configuration trusts these, if it is still as it was read.
    pub(super) async fn trust(&self, content: &Content, trusted: &[&Certificate]) -> Result<(), ApiError> {
        let Some(configuration) = &content.configuration else { return Ok(()) };
        let bundle =
            ByteString(trusted.iter().map(|authority| authority.pem()).collect::<String>().into_bytes());
        let entries = configuration.webhooks.iter().flatten().enumerate();
        let mut operations: Vec<Value> = entries
            .map(|(number, _)| {
                json!({"op": "add", "path": format!("/webhooks/{number}/clientConfig/caBundle"), "value": bundle})
            })
            .collect();
        // etcd compares it; a `test` would be answered by a cache.
        let version = configuration.resource_version();
        operations.push(json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version}));
        let operation = format!("PATCH MutatingWebhookConfiguration {}", self.names.configuration);
        let patch = params::operations(Value::Array(operations));
        let patch = patch.map_err(|error| ApiError::new(operation.clone(), error))?;
        let params = params::patch();
        let call = self.configurations.patch(&self.names.configuration, &params, &patch);
        deadline(CALL, operation, call).await.map(drop)
    }
}

impl Content {
    /// An authority of the Secret.
    pub(super) fn held(&self, id: &Fingerprint) -> Result<&Held, Error> {
        self.authorities.iter().find(|held| held.certificate.id == *id).ok_or_else(|| Error::Lost(id.clone()))
    }

    /// What there is, seen this very moment.
    pub(super) fn observed(&self) -> Observed {
        let [certificate, key] = LEAF.map(|key| value(self.serving.as_ref(), key).unwrap_or_default());
        let configuration = self.configuration.as_ref().map(|_| Configuration {
            bundles: self
                .bundles()
                .map(|bundle| Some(bundle?.iter().map(|known| known.id.clone()).collect()))
                .collect(),
            seen_for: Duration::ZERO,
        });
        Observed {
            authorities: self.authorities.iter().map(Held::authority).collect(),
            leaf: read::leaf(certificate, key, self.known.values()),
            leaf_seen_for: Duration::ZERO,
            configuration,
            known: self.known.iter().map(|(id, known)| (id.clone(), known.validity)).collect(),
        }
    }

    /// Changes with every change of a bundle.
    pub(super) fn bundles_version(&self) -> Option<String> {
        let configuration = self.configuration.as_ref()?;
        Some(format!("{}/{}", configuration.uid()?, configuration.metadata.generation?))
    }

    /// Changes with the leaf.
    pub(super) fn leaf_version(&self) -> Option<Fingerprint> {
        value(self.serving.as_ref(), LEAF[0]).map(Fingerprint::of)
    }

    /// The bundle of each entry of the configuration; `None` if it is absent or garbled.
    fn bundles(&self) -> impl Iterator<Item = Option<Vec<Certificate>>> {
        let entries =
            self.configuration.iter().flat_map(|configuration| configuration.webhooks.iter().flatten());
        entries.map(|entry| Certificate::all(&entry.client_config.ca_bundle.as_ref()?.0))
    }

    /// All that somebody may be signed by.
    fn certificates(&self) -> impl Iterator<Item = Certificate> {
        let held = self.authorities.iter().map(|held| held.certificate.clone());
        let beside = value(self.serving.as_ref(), BUNDLE).and_then(Certificate::all);
        held.chain(self.bundles().flatten().flatten()).chain(beside.into_iter().flatten())
    }
}

fn value<'a>(secret: Option<&'a Secret>, key: &str) -> Option<&'a [u8]> {
    secret?.data.as_ref()?.get(key).map(|value| value.0.as_slice())
}
