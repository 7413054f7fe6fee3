//! Whose certificates are believed.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};

/// The authorities whose certificates are believed of a server at `https://`: those of the system, and perhaps some of
/// one's own. Cheap to clone.
#[derive(Clone, Default)]
pub struct Trust(Arc<Authorities>);

#[derive(Default)]
struct Authorities {
    own: Vec<CertificateDer<'static>>,
    /// Made for the first connection.
    config: OnceLock<Arc<ClientConfig>>,
}

/// Why a text names no authorities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the certificates of authorities cannot be used ({0}); they are PEM, with `-----BEGIN CERTIFICATE-----`"
)]
pub struct TrustError(String);

impl Trust {
    /// The authorities of the system.
    pub fn system() -> Self {
        Self::default()
    }

    /// The authorities of the system, and these besides: certificates as PEM, one or several.
    ///
    /// # Errors
    ///
    /// There is none, or one is not valid.
    pub fn and_pem(pem: &[u8]) -> Result<Self, TrustError> {
        let own: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| TrustError(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in &own {
            roots
                .add(certificate.clone())
                .map_err(|error| TrustError(error.to_string()))?;
        }
        match own.is_empty() {
            true => Err(TrustError("there is none".to_owned())),
            false => Ok(Self(Arc::new(Authorities {
                own,
                config: OnceLock::new(),
            }))),
        }
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let make = || {
            let mut roots = RootCertStore::empty();
            let system = rustls_native_certs::load_native_certs().certs;
            // One that cannot be read is missing; who needs it is told so by the connection.
            roots.add_parsable_certificates(system.into_iter().chain(self.0.own.iter().cloned()));
            let mut config =
                ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                    .with_safe_default_protocol_versions()
                    .unwrap_or_else(|_| unreachable!("the provider knows safe versions of TLS"))
                    .with_root_certificates(roots)
                    .with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Arc::new(config)
        };
        self.0.config.get_or_init(make).clone()
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.0.own == other.0.own
    }
}

impl Eq for Trust {}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust(the system and {} more)", self.0.own.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_authority_is_refused() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (pem, expected) in [
            ("", "there is none"),
            ("hello", "there is none"),
            (broken, "Encoding"),
        ] {
            let error = Trust::and_pem(pem.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{pem:?} gave {error}");
        }
    }
}
