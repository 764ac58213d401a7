//! The server's certificate: loaded before the port is bound, and again whenever its files change.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use prometheus::{IntCounterVec, Registry};
use rustls::{RootCertStore, ServerConfig, crypto::CryptoProvider, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{metrics, telemetry::Chain};

/// How often the files are read again. By content: mounted Secrets change by swapping links, which file events miss.
const POLL: Duration = Duration::from_secs(10);

/// Makes ring the cryptography of the whole process, clients included. Once, first thing in `main`.
pub fn install_crypto() {
    // An error means that it is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Whether a server can use this chain and this key, both PEM: they can be read, and fit together.
pub fn check(certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
    let contents = Contents { certificate: certificate.to_vec(), key: key.to_vec(), client_ca: None };
    let files = Files { certificate: "the certificate".into(), key: "the key".into(), client_ca: None };
    contents.config(&files).map(drop)
}

/// Where the certificate lies.
#[derive(Clone, Debug)]
pub struct Files {
    /// The chain, PEM, leaf first.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Authorities, PEM; if given, clients must bring a certificate signed by one of them.
    pub client_ca: Option<PathBuf>,
}

/// What TLS the server speaks at the moment.
pub struct Tls {
    files: Files,
    current: ArcSwap<InUse>,
    reloads: IntCounterVec,
}

impl Tls {
    /// Reads the files; a certificate and key that do not fit together are an error.
    pub fn load(files: Files, registry: &Registry) -> Result<Self, TlsError> {
        let contents = Contents::read(&files)?;
        let config = contents.config(&files)?;
        let name = "backout_tls_certificate_reloads_total";
        let help = "Changes of the certificate's files, by outcome.";
        let reloads = metrics::counters(registry, name, help, &[("outcome", &["changed", "failed"])])?;
        Ok(Self { files, current: ArcSwap::from_pointee(InUse { contents, config }), reloads })
    }

    /// An acceptor with the certificate of this moment.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.load().config))
    }

    /// Follows the files until `token` is cancelled.
    pub async fn follow(&self, token: CancellationToken) {
        while token.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
            self.refresh();
        }
    }

    /// Reads the files again. While they are unreadable or do not fit together, the last good ones stay in use.
    pub fn refresh(&self) {
        match Contents::read(&self.files).and_then(|contents| self.replace(contents)) {
            Ok(false) => {}
            Ok(true) => {
                self.reloads.with_label_values(&["changed"]).inc();
                tracing::info!(file = %self.files.certificate.display(), "new certificate in use");
            }
            Err(error) => {
                self.reloads.with_label_values(&["failed"]).inc();
                tracing::warn!(error = %Chain(&error), "certificate not reloaded; the last good one stays in use");
            }
        }
    }

    fn replace(&self, contents: Contents) -> Result<bool, TlsError> {
        if self.current.load().contents == contents {
            return Ok(false);
        }
        self.current.store(Arc::new(InUse { config: contents.config(&self.files)?, contents }));
        Ok(true)
    }
}

struct InUse {
    contents: Contents,
    config: Arc<ServerConfig>,
}

#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    fn read(files: &Files) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
        };
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
        })
    }

    fn config(&self, files: &Files) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = certificates(&self.certificate, &files.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|e| TlsError::pem(&files.key, e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match (&self.client_ca, &files.client_ca) {
            (Some(pem), Some(path)) => builder.with_client_cert_verifier(verifier(pem, path, provider)?),
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| TlsError::pem(path, e))?;
    if chain.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned() });
    }
    Ok(chain)
}

fn verifier(
    pem: &[u8],
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(pem, path)? {
        roots.add(authority)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|source| TlsError::ClientCa { path: path.to_owned(), source })
}

/// Why the certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no PEM of the expected kind.
    #[error("{} is not the PEM that is expected there", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<rustls_pki_types::pem::Error>,
    },
    /// The file holds no certificate.
    #[error("{} holds no certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The authorities cannot verify anybody.
    #[error("{} cannot serve to verify clients", path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::server::VerifierBuilderError,
    },
    /// Certificate and key do not fit, or are of a kind that is not supported.
    #[error("certificate and key cannot be used")]
    Rustls(#[from] rustls::Error),
    /// The metrics exist already.
    #[error("the metrics of TLS cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

impl TlsError {
    fn pem(path: &Path, source: rustls_pki_types::pem::Error) -> Self {
        Self::Pem { path: path.to_owned(), source: Box::new(source) }
    }
}
