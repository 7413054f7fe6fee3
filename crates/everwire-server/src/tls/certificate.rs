//! A certificate with its chain and its key, judged as a whole before anybody is shown it.

use std::{fmt, sync::Arc};

use rustls::{
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

/// A certificate that can be shown: it is valid now, its chain is in order, and the key is its own.
#[derive(Clone)]
pub(crate) struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    ends_ms: u64,
}

/// Why a certificate cannot be used. Each continues a sentence that begins with the files it came from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateError {
    /// There is none in the text.
    #[error(
        "hold no certificate; the file of the certificate is PEM, with a part that begins with -----BEGIN CERTIFICATE-----"
    )]
    Missing,
    /// A part of the PEM text is broken.
    #[error("are broken: {part} is no valid PEM; copy the file anew")]
    Pem {
        /// Which part.
        part: &'static str,
    },
    /// A certificate is none.
    #[error(
        "are broken: certificate {position} of the chain is no X.509 certificate; copy the file anew"
    )]
    Syntax {
        /// Counted from 1.
        position: usize,
    },
    /// Certificates do not stand one after the other.
    #[error(
        "are out of order: certificate {position} of the chain is not that of the issuer of the one before it; \
         put the server's own certificate first, then its issuer's, and so on"
    )]
    Order {
        /// Counted from 1.
        position: usize,
    },
    /// The first certificate is an authority's.
    #[error(
        "begin with the certificate of an authority, which no client takes for a server's; put the server's own \
         certificate first"
    )]
    Authority,
    /// A certificate of the chain has ended.
    #[error(
        "cannot be used any more: certificate {position} of the chain expired at {at}; renew it"
    )]
    Expired {
        /// Counted from 1.
        position: usize,
        /// When.
        at: String,
    },
    /// A certificate of the chain is not valid yet.
    #[error(
        "cannot be used yet: certificate {position} of the chain is valid from {at} on; wait, or look at this \
         machine's clock"
    )]
    Early {
        /// Counted from 1.
        position: usize,
        /// When.
        at: String,
    },
    /// There is no key in the text.
    #[error(
        "hold no private key; the file of the key is PEM, with a part that begins with -----BEGIN PRIVATE KEY-----"
    )]
    NoKey,
    /// The key is encrypted.
    #[error(
        "hold a key that is encrypted with a passphrase; write it without one: openssl pkey -in KEY -out PLAIN_KEY"
    )]
    EncryptedKey,
    /// The key is of no use for TLS.
    #[error(
        "hold a key that cannot be used; it must be RSA (2048 bits or more), ECDSA (P-256, P-384, P-521) or Ed25519"
    )]
    Key,
    /// The key is another certificate's.
    #[error(
        "do not belong together: the key is not that of the first certificate; take the two files that were made \
         together"
    )]
    Mismatch,
}

impl Certificate {
    /// Reads a chain and its key, both PEM, and judges them at this time, in Unix milliseconds.
    pub fn from_pem(
        chain: &[u8],
        key: &[u8],
        provider: &CryptoProvider,
        now_ms: u64,
    ) -> Result<Self, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| CertificateError::Pem {
                part: "the certificate",
            })?;
        let key = match PrivateKeyDer::from_pem_slice(key) {
            Ok(key) => key,
            // Not known to the reader, so that it finds none.
            Err(pem::Error::NoItemsFound) if is_encrypted(key) => {
                return Err(CertificateError::EncryptedKey);
            }
            Err(pem::Error::NoItemsFound) => return Err(CertificateError::NoKey),
            Err(_) => return Err(CertificateError::Pem { part: "the key" }),
        };
        Self::new(chain, key, provider, now_ms)
    }

    /// Judges a chain and its key at this time, in Unix milliseconds.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
        now_ms: u64,
    ) -> Result<Self, CertificateError> {
        let (names, ends_ms) = judge(&chain, now_ms)?;
        let key = provider
            .key_provider
            .load_private_key(key)
            .map_err(|_| CertificateError::Key)?;
        let key = CertifiedKey::new(chain, key);
        if key.keys_match().is_err() {
            return Err(CertificateError::Mismatch);
        }
        Ok(Self {
            key: Arc::new(key),
            names,
            ends_ms,
        })
    }

    /// What handshakes are signed with.
    pub fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// The host names that it is for, in lower case; the first label of one may be `*`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// When the first certificate of the chain ends, in Unix milliseconds.
    pub fn ends_ms(&self) -> u64 {
        self.ends_ms
    }
}

/// Without the key, and without the chain's bytes.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("ends_ms", &self.ends_ms)
            .finish_non_exhaustive()
    }
}

/// The names of the first certificate, and when the first of all ends.
fn judge(
    chain: &[CertificateDer<'_>],
    now_ms: u64,
) -> Result<(Vec<String>, u64), CertificateError> {
    let now_s = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    let mut ends_s = i64::MAX;
    let mut chain_parsed: Vec<X509Certificate<'_>> = Vec::new();
    for (index, der) in chain.iter().enumerate() {
        let position = index + 1;
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| CertificateError::Syntax { position })?;
        if let Some(before) = chain_parsed.last()
            && before.issuer().as_raw() != certificate.subject().as_raw()
        {
            return Err(CertificateError::Order { position });
        }
        chain_parsed.push(certificate);
    }
    let own = chain_parsed.first().ok_or(CertificateError::Missing)?;
    // A certificate that signed itself is its own authority, whatever it says: what is made by hand for a test.
    if own.is_ca() && own.issuer() != own.subject() {
        return Err(CertificateError::Authority);
    }
    for (index, certificate) in chain_parsed.iter().enumerate() {
        let position = index + 1;
        let validity = certificate.validity();
        let [from_s, until_s] = [validity.not_before, validity.not_after].map(|at| at.timestamp());
        if now_s > until_s {
            let at = date(until_s);
            return Err(CertificateError::Expired { position, at });
        }
        if now_s < from_s {
            let at = date(from_s);
            return Err(CertificateError::Early { position, at });
        }
        ends_s = ends_s.min(until_s);
    }
    let ends_ms = u64::try_from(ends_s).unwrap_or(0).saturating_mul(1000);
    Ok((names(own), ends_ms))
}

/// The host names in a certificate's `subjectAltName`: browsers look at nothing else (RFC 9525, section 6.3).
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extensions = certificate.extensions().iter();
    let found = extensions.filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    found
        .flatten()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

fn is_encrypted(key: &[u8]) -> bool {
    const LABEL: &[u8] = b"BEGIN ENCRYPTED PRIVATE KEY";
    key.windows(LABEL.len()).any(|window| window == LABEL)
}

fn date(unix_s: i64) -> String {
    let date = OffsetDateTime::from_unix_timestamp(unix_s).ok();
    let date = date.and_then(|date| date.format(&Rfc3339).ok());
    date.unwrap_or_else(|| "a time that cannot be written".to_owned())
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;
    use crate::tls::testing::{Authority, NOW_MS};

    fn read(chain: &str, key: &str, now_ms: u64) -> Result<Certificate, CertificateError> {
        Certificate::from_pem(
            chain.as_bytes(),
            key.as_bytes(),
            &default_provider(),
            now_ms,
        )
    }

    #[test]
    fn a_certificate_tells_its_names_and_its_end() {
        let authority = Authority::new("root");
        let own = authority.issue(&["Example.org", "*.example.org"], 90);
        let found = read(&own.chain, &own.key, NOW_MS).unwrap();
        assert_eq!(found.names(), ["example.org", "*.example.org"]);
        assert_eq!(found.ends_ms(), NOW_MS + 90 * 24 * 3600 * 1000);
        let shown = format!("{found:?}");
        assert!(
            shown.contains("example.org") && shown.len() < 120,
            "{shown}"
        );
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_exactly() {
        let authority = Authority::new("root");
        let own = authority.issue(&["a.example"], 90);
        let other = authority.issue(&["b.example"], 90);
        let (chain, key) = (&own.chain, &own.key);
        let day_ms = 24 * 3600 * 1000;
        let turned = format!("{}{chain}", authority.pem());
        let doubled = format!("{chain}{}", other.chain);
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let broken = chain.replacen("MII", "!!!", 1);
        let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for (name, chain, key, now_ms, expected) in [
            ("none", "", &key[..], NOW_MS, "hold no certificate"),
            ("its key", key, key, NOW_MS, "hold no certificate"),
            ("no key", chain, "", NOW_MS, "hold no private key"),
            (
                "a chain for a key",
                chain,
                chain,
                NOW_MS,
                "hold no private key",
            ),
            (
                "an encrypted key",
                chain,
                encrypted,
                NOW_MS,
                "with a passphrase",
            ),
            (
                "broken PEM",
                &broken,
                key,
                NOW_MS,
                "the certificate is no valid PEM",
            ),
            (
                "no certificate",
                no_certificate,
                key,
                NOW_MS,
                "certificate 1 of the chain is no X.509",
            ),
            (
                "a key that is none",
                chain,
                no_key,
                NOW_MS,
                "cannot be used; it must be RSA",
            ),
            (
                "another's key",
                chain,
                &other.key,
                NOW_MS,
                "do not belong together",
            ),
            (
                "a chain upside down",
                &turned,
                key,
                NOW_MS,
                "certificate 2 of the chain is not that of the issuer",
            ),
            (
                "two of one level",
                &doubled,
                key,
                NOW_MS,
                "certificate 2 of the chain is not that of the issuer",
            ),
            (
                "expired",
                chain,
                key,
                NOW_MS + 91 * day_ms,
                "expired at 2027-02-18T00:00:00Z",
            ),
            (
                "too early",
                chain,
                key,
                NOW_MS - 2 * day_ms,
                "valid from 2026-11-19T00:00:00Z on",
            ),
        ] {
            let said = read(chain, key, now_ms).unwrap_err().to_string();
            assert!(said.contains(expected), "{name}: {said}");
            assert!(
                !said.contains("MII") && !said.contains("AAAA"),
                "{name}: {said}"
            );
        }
    }

    #[test]
    fn an_authority_is_no_server() {
        let root = Authority::new("root");
        let (between, key) = root.intermediate("between");
        let said = read(&between, &key, NOW_MS).unwrap_err();
        assert_eq!(said, CertificateError::Authority);
    }
}
