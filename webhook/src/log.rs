//! The undo log: records become Secrets.

use std::{future::Future, time::Duration};

use backout_model::undo::codec::Encoded;
use backout_runtime::api::{ApiError, Class, deadline};
use futures::future::try_join_all;
use http::{HeaderValue, header};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, Resource,
    core::{PartialObjectMeta, Request, params::PostParams},
};
use tokio::time::{Instant, sleep};

/// Under which the records are written.
const FIELD_MANAGER: &str = "backout-webhook";

/// Before a second attempt.
const PAUSE: Duration = Duration::from_millis(50);

/// The shortest time worth another attempt: a loaded API server needs some of it.
const ATTEMPT: Duration = Duration::from_millis(300);

/// The answer need not carry the record back to us.
const METADATA_ONLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

/// The undo log of one cluster.
#[derive(Clone)]
pub struct Log {
    client: Client,
    namespace: String,
}

impl Log {
    /// The log in `namespace`.
    pub fn new(client: Client, namespace: String) -> Self {
        Self { client, namespace }
    }

    /// The namespace of the records.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Makes a record durable: first its pieces, then the head, which makes it exist. Returns how many bytes were
    /// sent. A record that is there already has this very content, for its name is the content's digest.
    pub async fn append(&self, encoded: &Encoded, until: Instant) -> Result<usize, ApiError> {
        let pieces = encoded.pieces.iter().map(|piece| self.create(piece, until));
        let pieces: usize = try_join_all(pieces).await?.into_iter().sum();
        Ok(pieces + self.create(&encoded.head, until).await?)
    }

    async fn create(&self, secret: &Secret, until: Instant) -> Result<usize, ApiError> {
        let operation =
            format!("CREATE secret {}/{}", self.namespace, secret.metadata.name.as_deref().unwrap_or("?"));
        let body = serde_json::to_vec(secret)
            .map_err(|e| ApiError::new(operation.clone(), kube::Error::SerdeError(e)))?;
        let size = body.len();
        let created =
            retrying(until, || deadline(attempt(until), operation.clone(), self.post(body.clone()))).await;
        match created {
            Err(error) if !error.is(Class::AlreadyExists) => Err(error),
            _ => Ok(size),
        }
    }

    async fn post(&self, body: Vec<u8>) -> kube::Result<()> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let mut request = Request::new(Secret::url_path(&(), Some(&self.namespace)))
            .create(&params, body)
            .map_err(kube::Error::BuildRequest)?;
        request.headers_mut().insert(header::ACCEPT, METADATA_ONLY);
        self.client.request::<PartialObjectMeta<Secret>>(request).await.map(drop)
    }
}

/// Tries again what may pass, as long as there is time: creating a record twice does no harm.
async fn retrying<T, F>(until: Instant, mut call: impl FnMut() -> F) -> Result<T, ApiError>
where
    F: Future<Output = Result<T, ApiError>>,
{
    loop {
        match call().await {
            Err(error) if error.may_pass() && Instant::now() + PAUSE + ATTEMPT < until => sleep(PAUSE).await,
            outcome => return outcome,
        }
    }
}

/// Half of what is left, so that a connection that died unnoticed does not cost all of it.
fn attempt(until: Instant) -> Duration {
    let left = until.saturating_duration_since(Instant::now());
    (left / 2).max(ATTEMPT).min(left)
}
