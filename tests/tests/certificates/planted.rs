//! Certificates of the test's own, and what is read of those that are there.

use std::time::Duration;

use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_mins(1);

/// An authority that was made an hour and a half ago for two hours, and has signed a leaf at the same time.
pub(crate) struct Planted {
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Planted {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let params = due(params);
        Self { authority: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Its certificate.
    pub(crate) fn pem(&self) -> String {
        self.authority.pem()
    }

    /// The authority's Secret.
    pub(crate) fn secret(&self, name: &str) -> Value {
        let entries = [("ca.crt", self.pem()), ("ca.key", self.authority.key().serialize_pem())];
        secret(name, "Opaque", &entries)
    }

    /// The serving Secret.
    pub(crate) fn leaf(&self, name: &str) -> Value {
        let names = ["", ".backout-system", ".backout-system.svc", ".backout-system.svc.cluster.local"];
        let mut names: Vec<_> = names.iter().map(|rest| format!("backout-webhook{rest}")).collect();
        names.push("127.0.0.1".to_owned());
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = due(params).signed_by(&key, &self.authority).unwrap();
        let entries =
            [("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem()), ("ca.crt", self.pem())];
        secret(name, "kubernetes.io/tls", &entries)
    }
}

fn due(mut params: CertificateParams) -> CertificateParams {
    // The default begins long ago.
    let now = rcgen::date_time_ymd(1970, 1, 1) + std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    (params.not_before, params.not_after) = (now - 90 * MINUTE, now + 30 * MINUTE);
    params
}

fn secret(name: &str, kind: &str, entries: &[(&str, String)]) -> Value {
    let data: serde_json::Map<_, _> = entries
        .iter()
        .map(|(key, text)| ((*key).to_owned(), json!(ByteString(text.clone().into_bytes()))))
        .collect();
    json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name}, "data": data})
}

/// The certificates of a file.
pub(crate) fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().unwrap_or_default()
}
