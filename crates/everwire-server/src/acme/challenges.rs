//! What the authority is shown when it looks whether a name leads here.
//!
//! ```text
//!  http-01      GET /.well-known/acme-challenge/{token}  ─▶ the key authorization       RFC 8555, section 8.3
//!  tls-alpn-01  a handshake of the protocol acme-tls/1   ─▶ a certificate with its digest  RFC 8737, section 3
//! ```

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, SanType};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use crate::{config::Domain, tls::Certificates};

/// The challenges that are open, by which the authority asks for them.
#[derive(Default)]
pub(crate) struct Challenges {
    /// Key authorizations by their tokens.
    http: RwLock<HashMap<String, String>>,
}

/// Answers one challenge for as long as it lives.
pub(crate) enum Answer {
    Http {
        challenges: Arc<Challenges>,
        token: String,
    },
    Tls {
        certificates: Arc<Certificates>,
        server_name: String,
    },
}

impl Challenges {
    /// The key authorization for a token, if its challenge is open.
    pub fn key_authorization(&self, token: &str) -> Option<String> {
        let http = self.http.read().unwrap_or_else(PoisonError::into_inner);
        http.get(token).cloned()
    }
}

impl Answer {
    /// Answers by `http-01` from now on.
    pub fn http(challenges: &Arc<Challenges>, token: &str, key_authorization: &str) -> Self {
        let mut http = challenges
            .http
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        http.insert(token.to_owned(), key_authorization.to_owned());
        Self::Http {
            challenges: challenges.clone(),
            token: token.to_owned(),
        }
    }

    /// Answers by `tls-alpn-01` from now on, with the digest of the key authorization.
    ///
    /// # Errors
    ///
    /// No certificate can be made for this name.
    pub fn tls(
        certificates: &Arc<Certificates>,
        domain: &Domain,
        digest: &[u8],
    ) -> Result<Self, rcgen::Error> {
        let server_name = domain.server_name();
        certificates.begin_challenge(&server_name, &Arc::new(certificate(domain, digest)?));
        Ok(Self::Tls {
            certificates: certificates.clone(),
            server_name,
        })
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        match self {
            Self::Http { challenges, token } => {
                let http = challenges.http.write();
                http.unwrap_or_else(PoisonError::into_inner).remove(token);
            }
            Self::Tls {
                certificates,
                server_name,
            } => certificates.end_challenge(server_name),
        }
    }
}

/// RFC 8737, section 3: signed by itself, for this one name, with the digest in a critical extension.
fn certificate(domain: &Domain, digest: &[u8]) -> Result<CertifiedKey, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![match domain {
        Domain::Name(name) => SanType::DnsName(name.as_str().try_into()?),
        Domain::Address(address) => SanType::IpAddress(*address),
    }];
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = aws_lc_rs::sign::any_ecdsa_type(&key)
        .map_err(|_| rcgen::Error::KeyGenerationUnavailable)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

#[cfg(test)]
mod tests {
    use x509_parser::{certificate::X509Certificate, prelude::FromDer};

    use super::*;

    #[test]
    fn a_token_is_answered_while_its_challenge_is_open() {
        let challenges = Arc::new(Challenges::default());
        let answer = Answer::http(&challenges, "token", "token.thumbprint");
        let asked = |token| challenges.key_authorization(token);
        assert_eq!(asked("token").as_deref(), Some("token.thumbprint"));
        assert_eq!(asked("toke"), None);
        drop(answer);
        assert_eq!(asked("token"), None);
    }

    /// RFC 8737, section 3: "The acmeIdentifier extension … MUST be marked as critical", with OID 1.3.6.1.5.5.7.1.31 and
    /// the digest as an octet string.
    #[test]
    fn a_challenge_certificate_holds_the_digest_and_its_one_name() {
        let digest = [7; 32];
        for name in ["live.example.org", "192.0.2.1"] {
            let key = certificate(&name.parse().unwrap(), &digest).unwrap();
            let (_, certificate) = X509Certificate::from_der(&key.cert[0]).unwrap();
            let extension = certificate
                .iter_extensions()
                .find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
                .unwrap();
            assert!(extension.critical);
            assert_eq!(extension.value, [&[4, 32][..], &digest].concat());
            let names = certificate.subject_alternative_name().unwrap().unwrap();
            assert_eq!(names.value.general_names.len(), 1);
            let public = key.key.public_key().unwrap();
            assert_eq!(certificate.public_key().raw, public.as_ref());
        }
    }
}
