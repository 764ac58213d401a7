//! What certificates say.

use std::{collections::BTreeSet, net::IpAddr};

use backout_model::certificates::{Authority, Fingerprint, Leaf, Validity};
use backout_runtime::tls;
use jiff::Timestamp;
use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{KeyPair, PublicKeyData as _};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::make::Pair;

/// A certificate that others may be signed with.
#[derive(Clone)]
pub(super) struct Certificate {
    pub(super) id: Fingerprint,
    pub(super) validity: Validity,
    pub(super) der: Vec<u8>,
}

impl Certificate {
    /// All of a bundle; `None` if there is none in it, or one that cannot be read.
    pub(super) fn all(pem: &[u8]) -> Option<Vec<Self>> {
        let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
        let all: Vec<_> = all.iter().map(|der| Self::read(der)).collect::<Option<_>>()?;
        (!all.is_empty()).then_some(all)
    }

    fn read(der: &[u8]) -> Option<Self> {
        let validity = validity(&parse(der)?)?;
        Some(Self { id: Fingerprint::of(der), validity, der: der.to_vec() })
    }

    pub(super) fn pem(&self) -> String {
        let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
        pem::encode_config(&Pem::new("CERTIFICATE", self.der.as_slice()), config)
    }

    fn has_signed(&self, certificate: &X509Certificate<'_>) -> bool {
        parse(&self.der).is_some_and(|issuer| {
            issuer.subject().as_raw() == certificate.issuer().as_raw()
                && certificate.verify_signature(Some(issuer.public_key())).is_ok()
        })
    }
}

/// An authority with what is given out as its key.
pub(super) struct Held {
    pub(super) certificate: Certificate,
    pub(super) key: String,
}

impl Held {
    /// The first certificate of a file, and the key; `None` if it cannot be read or is no authority's.
    pub(super) fn read(certificate: &[u8], key: &[u8]) -> Option<Self> {
        let certificate = Certificate::all(certificate)?.into_iter().next()?;
        let key = String::from_utf8_lossy(key).into_owned();
        parse(&certificate.der)?.is_ca().then_some(Self { certificate, key })
    }

    pub(super) fn authority(&self) -> Authority {
        let public = KeyPair::from_pem(&self.key).map(|key| key.subject_public_key_info());
        let own = parse(&self.certificate.der).map(|certificate| certificate.public_key().raw.to_vec());
        Authority {
            id: self.certificate.id.clone(),
            validity: self.certificate.validity,
            can_sign: public.ok().is_some_and(|public| Some(public) == own),
        }
    }

    pub(super) fn pair(&self) -> Pair {
        Pair { certificate: self.certificate.pem(), key: self.key.clone() }
    }
}

/// What a webhook with these files would serve with; `None` if it cannot be read.
pub(super) fn leaf<'a>(
    certificate: &[u8],
    key: &[u8],
    mut known: impl Iterator<Item = &'a Certificate>,
) -> Option<Leaf> {
    let first = CertificateDer::pem_slice_iter(certificate).next()?.ok()?;
    let read = parse(&first)?;
    Some(Leaf {
        validity: validity(&read)?,
        names: names(&read),
        issuer: known.find(|known| known.has_signed(&read)).map(|issuer| issuer.id.clone()),
        is_usable: tls::check(certificate, key).is_ok(),
    })
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der)
        .ok()
        .filter(|(rest, _)| rest.is_empty())
        .map(|(_, certificate)| certificate)
}

fn validity(certificate: &X509Certificate<'_>) -> Option<Validity> {
    let validity = certificate.validity();
    let [from, until] =
        [&validity.not_before, &validity.not_after].map(|time| Timestamp::from_second(time.timestamp()));
    Some(Validity { from: from.ok()?, until: until.ok()? })
}

fn names(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.iter().flat_map(|extension| &extension.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        })
        .collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::make::{self, Pair},
        *,
    };

    const NAMES: [&str; 3] = ["127.0.0.1", "::1", "backout-webhook.backout-system.svc"];

    fn a_month() -> Validity {
        Validity::lasting(Duration::from_hours(720), "2026-01-01T00:00:00Z".parse().unwrap())
    }

    fn held(pair: &Pair) -> Held {
        Held::read(pair.certificate.as_bytes(), pair.key.as_bytes()).unwrap()
    }

    fn made(by: &Held) -> Pair {
        make::leaf(&NAMES.map(str::to_owned).into(), &a_month(), by).unwrap()
    }

    fn read(leaf: &Pair, known: &[&Certificate]) -> Option<Leaf> {
        super::leaf(leaf.certificate.as_bytes(), leaf.key.as_bytes(), known.iter().copied())
    }

    #[test]
    fn what_is_made_reads_back_as_it_was_wanted() {
        let authorities = [(); 2].map(|()| held(&make::authority(&a_month()).unwrap()));
        let [ours, other] = &authorities;
        assert!(ours.authority().can_sign);
        assert_eq!(ours.authority().validity, a_month());
        assert_ne!(ours.authority().id, other.authority().id);

        let leaf = read(&made(ours), &[&other.certificate, &ours.certificate]).unwrap();
        assert_eq!((leaf.validity, leaf.issuer), (a_month(), Some(ours.certificate.id.clone())));
        assert_eq!(leaf.names, NAMES.map(str::to_owned).into());
        assert!(leaf.is_usable);
        assert_eq!(read(&made(ours), &[&other.certificate]).unwrap().issuer, None);
    }

    #[test]
    fn a_bundle_keeps_all_its_certificates_and_their_order() {
        let authorities = [(); 2].map(|()| held(&make::authority(&a_month()).unwrap()).certificate);
        let bundle: String = authorities.iter().map(Certificate::pem).collect();
        let read = Certificate::all(bundle.as_bytes()).unwrap();
        assert_eq!(
            read.iter().map(|it| &it.id).collect::<Vec<_>>(),
            authorities.iter().map(|it| &it.id).collect::<Vec<_>>()
        );
        assert_eq!(read.iter().map(Certificate::pem).collect::<String>(), bundle);
        let cut = &bundle[..bundle.len() - 60];
        for garbled in ["", "nonsense", cut, &bundle.replacen("MII", "AAA", 1)] {
            assert!(Certificate::all(garbled.as_bytes()).is_none(), "{garbled}");
        }
    }

    #[test]
    fn a_key_of_another_certificate_makes_neither_an_authority_nor_a_leaf() {
        let [ours, other] = [(); 2].map(|()| make::authority(&a_month()).unwrap());
        let mixed = Held::read(ours.certificate.as_bytes(), other.key.as_bytes()).unwrap();
        assert!(!mixed.authority().can_sign);
        let ours = held(&ours);
        let [one, another] = [(); 2].map(|()| made(&ours));
        let mixed = Pair { certificate: one.certificate.clone(), key: another.key };
        assert!(!read(&mixed, &[&ours.certificate]).unwrap().is_usable);
        // A leaf is no authority.
        assert!(Held::read(one.certificate.as_bytes(), one.key.as_bytes()).is_none());
    }
}
