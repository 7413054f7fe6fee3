//! A certificate as the authority issued it, with its key: what is kept, and what is read from it.

use std::net::IpAddr;

use instant_acme::CertificateIdentifier;
use rustls::pki_types::{CertificateDer, Der, pem::PemObject};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

use super::schedule::Validity;
use crate::config::Domain;

/// A certificate with its key.
#[derive(Clone)]
pub(crate) struct Issued {
    /// The key, then the chain, as PEM.
    pem: String,
    validity: Validity,
    names: Vec<Domain>,
    id: Option<CertificateIdentifier<'static>>,
}

impl Issued {
    /// From a key and a chain, both PEM.
    pub fn new(key_pem: &str, chain_pem: &str) -> Option<Self> {
        Self::read(format!("{}\n{chain_pem}", key_pem.trim_end()))
    }

    /// From what was kept; nothing if it is no certificate.
    pub fn read(pem: String) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let validity = certificate.validity();
        let second = |at: i64| u64::try_from(at).unwrap_or(0);
        let validity = Validity {
            not_before_s: second(validity.not_before.timestamp()),
            not_after_s: second(validity.not_after.timestamp()),
        };
        let (names, id) = (names(&certificate), id(&certificate));
        Some(Self {
            pem,
            validity,
            names,
            id,
        })
    }

    /// The key and the chain, as they are kept.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// From when to when.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// How the authority calls it when it is asked about its renewal (RFC 9773, section 4.1).
    pub fn id(&self) -> Option<&CertificateIdentifier<'static>> {
        self.id.as_ref()
    }

    /// Whether it is for all of these.
    pub fn covers(&self, domains: &[Domain]) -> bool {
        domains.iter().all(|domain| self.names.contains(domain))
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<Domain> {
    let names =
        certificate
            .iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                _ => None,
            });
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(Domain::Name(name.to_ascii_lowercase())),
        GeneralName::IPAddress(octets) => address(octets).map(Domain::Address),
        _ => None,
    };
    names.into_iter().flatten().filter_map(name).collect()
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

fn id(certificate: &X509Certificate<'_>) -> Option<CertificateIdentifier<'static>> {
    let key =
        certificate
            .iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(authority) => {
                    authority.key_identifier.as_ref()
                }
                _ => None,
            })?;
    let serial = Der::from_slice(certificate.raw_serial());
    Some(CertificateIdentifier::new(Der::from_slice(key.0), serial).into_owned())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;

    use super::*;

    fn issued(names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        params.not_after = OffsetDateTime::from_unix_timestamp(1_800_086_399).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Issued::new(&key.serialize_pem(), &certificate.pem()).unwrap()
    }

    #[test]
    fn a_certificate_tells_from_when_to_when_it_is_valid() {
        let expected = Validity {
            not_before_s: 1_800_000_000,
            not_after_s: 1_800_086_399,
        };
        assert_eq!(issued(&["a.example"]).validity(), expected);
    }

    #[test]
    fn a_certificate_covers_what_it_names_and_nothing_else() {
        let certificate = issued(&["a.example", "B.example", "192.0.2.1", "2001:db8::1"]);
        for (names, expected) in [
            (&["a.example"][..], true),
            (&["b.example", "A.example"], true),
            (&["192.0.2.1", "2001:db8::1"], true),
            (&["a.example", "c.example"], false),
            (&["192.0.2.2"], false),
            (&["x.a.example"], false),
        ] {
            let domains: Vec<Domain> = names.iter().map(|name| name.parse().unwrap()).collect();
            assert_eq!(certificate.covers(&domains), expected, "{names:?}");
        }
    }

    #[test]
    fn what_was_kept_is_read_back_and_anything_else_is_nothing() {
        let certificate = issued(&["a.example"]);
        let back = Issued::read(certificate.pem().to_owned()).unwrap();
        assert_eq!(back.validity(), certificate.validity());
        for text in [
            "",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert!(Issued::read(text.to_owned()).is_none(), "{text:?}");
        }
    }

    /// The example of RFC 9773, section 4.1, with its certificate from appendix A.
    #[test]
    fn a_certificate_is_called_by_its_authority_and_its_serial_number() {
        let pem = "-----BEGIN CERTIFICATE-----\n\
            MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt\n\
            cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS\n\
            BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu\n\
            7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf\n\
            qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B\n\
            yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb\n\
            +FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK\n\
            -----END CERTIFICATE-----\n";
        let certificate = Issued::read(pem.to_owned()).unwrap();
        let id = certificate.id().unwrap().to_string();
        assert_eq!(id, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
    }
}
