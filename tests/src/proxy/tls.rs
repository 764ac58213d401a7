//! TLS on both sides, with certificates of the cluster's authority.

use std::{path::Path, sync::Arc};

use anyhow::Result;
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::CryptoProvider};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::certs::Pair;

pub(super) fn acceptor(pair: &Pair) -> Result<TlsAcceptor> {
    let chain = vec![CertificateDer::from_pem_file(&pair.cert)?];
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&pair.key)?)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

pub(super) fn connector(authority: &Path) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
