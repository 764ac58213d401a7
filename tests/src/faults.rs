//! What can go wrong between a deployer and Backout, done on purpose.
//!
//! Processes are paused, killed and restarted through their [`Process`](crate::Process) handles; here is what speaks to the webhook as an
//! API server would, or as one never would.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use http::Request;
use http_body_util::Full;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub use crate::exchange::Answer;
use crate::{certs::Pair, exchange};

/// Speaks to the webhook directly, without an API server in between.
#[derive(Clone)]
pub struct AdmissionClient {
    address: SocketAddr,
    tls: TlsConnector,
}

impl AdmissionClient {
    /// A client that trusts this authority, and shows this certificate if there is one.
    pub fn new(port: u16, authority: &Path, certificate: Option<&Pair>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match certificate {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let chain = vec![CertificateDer::from_pem_file(&pair.cert)?];
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&pair.key)?)?
            }
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self { address, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// An open connection after the handshake, to be used slowly, half, or not at all.
    pub async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let handshake = async {
            let stream = TcpStream::connect(self.address).await?;
            anyhow::Ok(self.tls.connect(ServerName::try_from("localhost")?, stream).await?)
        };
        let stream = timeout(PATIENCE, handshake).await.context("no handshake in time")?;
        stream.with_context(|| format!("cannot connect to https://{}", self.address))
    }

    /// Posts an `AdmissionReview` as the API server does.
    pub async fn review(&self, path: &str, review: &Value) -> Result<Answer> {
        self.post(path, "application/json", serde_json::to_vec(review)?).await
    }

    /// Posts any bytes as a body.
    pub async fn post(&self, path: &str, content_type: &str, body: Vec<u8>) -> Result<Answer> {
        let request = Request::post(path)
            .header("host", self.address.to_string())
            .header("content-type", content_type)
            .body(Full::from(body))?;
        exchange::send(self.connect().await?, request).await
    }

    /// Writes any bytes, well-formed HTTP or not, and returns all that comes back until the server closes.
    pub async fn raw(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let mut stream = self.connect().await?;
        stream.write_all(bytes).await?;
        let mut answer = Vec::new();
        // A server that just hangs up sends no proper end of the TLS stream: what came before it counts.
        let _ =
            timeout(PATIENCE, stream.read_to_end(&mut answer)).await.context("the server does not close")?;
        Ok(answer)
    }
}

/// What the API server would send for a write of alice's with kubectl, of a kind whose plural ends in an `s`.
pub fn review(operation: &str, ns: &str, object: Option<&Value>, old: Option<&Value>) -> Value {
    let present = object.or(old).unwrap_or(&Value::Null);
    let [api_version, kind] = ["apiVersion", "kind"].map(|field| present[field].as_str().unwrap_or_default());
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": format!("{:032x}", rand::random::<u128>()),
        "operation": operation, "name": present["metadata"]["name"], "namespace": ns, "dryRun": false,
        "kind": { "group": group, "version": version, "kind": kind },
        "resource": { "group": group, "version": version, "resource": format!("{}s", kind.to_lowercase()) },
        "userInfo": { "username": "alice", "groups": ["system:authenticated"] },
        "options": { "fieldManager": "kubectl" },
        "object": object, "oldObject": old,
    }})
}

/// Longer than any of the webhook's own limits.
const PATIENCE: Duration = Duration::from_mins(1);
