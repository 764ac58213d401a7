//! Makes keys and certificates: ECDSA with P-256, which every API server and all of ring can do.

use std::{collections::BTreeSet, time::Duration};

use backout_model::certificates::Validity;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls_pki_types::CertificateDer;

use super::read::Held;

/// A certificate and its key, PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// An authority. It can sign nothing but leaves.
pub(super) fn authority(validity: &Validity) -> Result<Pair, rcgen::Error> {
    let mut params = valid(CertificateParams::default(), validity);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Two that overlap have different names, for people and for those who look issuers up by name.
    params
        .distinguished_name
        .push(DnType::CommonName, format!("backout-webhook-ca until {}", validity.until));
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// A leaf for these names and addresses.
pub(super) fn leaf(names: &BTreeSet<String>, validity: &Validity, by: &Held) -> Result<Pair, rcgen::Error> {
    let mut params = valid(CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?, validity);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.distinguished_name.push(DnType::CommonName, "backout-webhook");
    let issuer = CertificateDer::from(by.certificate.der.as_slice());
    let issuer = Issuer::from_ca_cert_der(&issuer, KeyPair::from_pem(&by.key)?)?;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn valid(mut params: CertificateParams, validity: &Validity) -> CertificateParams {
    params.distinguished_name = rcgen::DistinguishedName::new();
    let at = |time: Timestamp| {
        date_time_ymd(1970, 1, 1) + Duration::from_secs(time.as_second().try_into().unwrap_or_default())
    };
    (params.not_before, params.not_after) = (at(validity.from), at(validity.until));
    params
}
