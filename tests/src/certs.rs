//! Keys and certificates of one cluster: one authority, servers, clients.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// The certificate authority of one cluster, and the folder with everything it signed.
pub struct Authority {
    dir: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// The PEM files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The PEM files of a key pair.
#[derive(Clone, Debug)]
pub struct TokenKey {
    /// The public key.
    pub public: PathBuf,
    /// The private key.
    pub private: PathBuf,
}

impl Authority {
    /// Creates an authority that keeps its files in `dir`.
    pub fn create(dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "backout-test-ca");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::write(dir.join("ca.crt"), issuer.pem())?;
        Ok(Self { dir, issuer })
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// The authority's certificate in PEM.
    pub fn ca_pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server's certificate for these names and addresses.
    pub fn server(&self, name: &str, alternative_names: &[&str]) -> Result<Pair> {
        let names: Vec<_> = alternative_names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name);
        self.sign(&file_name(name), params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A server's certificate whose time is over.
    pub fn expired_server(&self, name: &str, alternative_names: &[&str]) -> Result<Pair> {
        let names: Vec<_> = alternative_names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
        self.sign(&file_name(name), params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The certificate of a user, in a group if one is given, as Kubernetes reads it.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Pair> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        self.sign(&format!("user-{}", file_name(user)), params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A bare key pair, to sign service account tokens with.
    pub fn token_key(&self) -> Result<TokenKey> {
        let (public, private) = (self.dir.join("tokens.pub"), self.dir.join("tokens.key"));
        let key = KeyPair::generate()?;
        fs::write(&public, key.public_key_pem())?;
        write_private(&private, &key.serialize_pem())?;
        Ok(TokenKey { public, private })
    }

    fn sign(
        &self,
        file: &str,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Pair> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer).with_context(|| format!("cannot sign {file}"))?;
        let pair =
            Pair { cert: self.dir.join(format!("{file}.crt")), key: self.dir.join(format!("{file}.key")) };
        fs::write(&pair.cert, cert.pem())?;
        write_private(&pair.key, &key.serialize_pem())?;
        Ok(pair)
    }
}

/// Users such as `system:kube-scheduler` as file names.
pub(crate) fn file_name(user: &str) -> String {
    user.replace([':', '/'], "-")
}

pub(crate) fn write_private(path: &Path, content: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file.write_all(content.as_bytes())?)
}
