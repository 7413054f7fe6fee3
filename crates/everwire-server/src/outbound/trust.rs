//! Whose certificates are believed when the server asks somebody by `https`.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::config::{ConfigError, Outbound};

/// The authorities that the configuration adds to those of the system.
pub(super) struct Trust(Vec<CertificateDer<'static>>);

impl Trust {
    /// The authorities of `outbound.ca_file`.
    pub fn new(
        settings: &Outbound,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, ConfigError> {
        let path = &settings.ca_file;
        if path.as_os_str().is_empty() {
            return Ok(Self(Vec::new()));
        }
        let wrong = |problem: String| {
            ConfigError::value(
                "outbound.ca_file",
                format!("is {}, {problem}", path.display()),
            )
        };
        let pem = read(path).map_err(|error| wrong(format!("which cannot be read: {error}")))?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(format!("in which a certificate is not PEM: {error}")))?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots
                .add(certificate.clone())
                .map_err(|error| wrong(format!("in which a certificate is not valid: {error}")))?;
        }
        match roots.is_empty() {
            false => Ok(Self(certificates)),
            true => Err(wrong(
                "which holds no certificate; it is PEM, with `-----BEGIN CERTIFICATE-----`"
                    .to_owned(),
            )),
        }
    }

    /// What TLS is spoken with: these authorities, and those of the system.
    pub fn client_config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        // One that cannot be read is missing, and who needs it is told by the connection.
        for error in &system.errors {
            tracing::warn!(%error, "a certificate of the system's authorities cannot be read");
        }
        let all = system.certs.into_iter().chain(self.0.iter().cloned());
        let (taken, _) = roots.add_parsable_certificates(all);
        if taken == 0 {
            tracing::warn!(
                "this system knows no certificate authorities, so nothing can be asked by https; install them \
                 (ca-certificates), or set outbound.ca_file"
            );
        }
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows the versions of TLS that are safe")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}
