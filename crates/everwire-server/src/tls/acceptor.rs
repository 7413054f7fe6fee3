//! How TLS is spoken here: the settings as rustls wants them, which can be replaced while connections are open.

use std::{io, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use rustls::{
    Error, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{Ticketer, default_provider},
    },
    pki_types::{CertificateDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};

use tokio::sync::watch;

use super::{
    admission::{Admission, Authorities, Door, Security},
    certificate::Certificate,
    certificates::{ACME_PROTOCOL, Certificates, Source},
    connection::Connection,
};
use crate::config::{Challenge, ClientAuth, ConfigError, Tls, TlsMode, TlsVersion};

/// Takes connections. Its terms are one snapshot, which a connection keeps to its end.
pub(crate) struct Acceptor {
    provider: Arc<CryptoProvider>,
    certificates: Arc<Certificates>,
    terms: ArcSwap<Terms>,
    /// Told when they are replaced.
    replaced: watch::Sender<()>,
}

/// On which terms connections are taken.
struct Terms {
    door: Door,
    config: Arc<ServerConfig>,
}

/// Terms that are not applied yet, and the certificates that go with them.
pub(crate) struct Prepared {
    terms: Terms,
    certificates: Vec<Certificate>,
}

impl Acceptor {
    /// Reads the files that the settings name, and judges certificates at this time, in Unix milliseconds.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or is not what it should be.
    pub fn new(
        settings: &Tls,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
        now_ms: u64,
    ) -> Result<Self, ConfigError> {
        let provider = Arc::new(default_provider());
        let certificates: Arc<Certificates> = Arc::default();
        let prepared = prepare(settings, &provider, &certificates, read, now_ms)?;
        certificates.replace(Source::Files, &prepared.certificates);
        Ok(Self {
            provider,
            certificates,
            terms: ArcSwap::from_pointee(prepared.terms),
            replaced: watch::Sender::new(()),
        })
    }

    /// The same for other settings, without effect until that is [applied](Self::apply).
    ///
    /// # Errors
    ///
    /// As for the first.
    pub fn prepare(
        &self,
        settings: &Tls,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
        now_ms: u64,
    ) -> Result<Prepared, ConfigError> {
        prepare(settings, &self.provider, &self.certificates, read, now_ms)
    }

    /// Takes connections on these terms from now on.
    pub fn apply(&self, prepared: Prepared) {
        self.certificates
            .replace(Source::Files, &prepared.certificates);
        self.terms.store(Arc::new(prepared.terms));
        self.replaced.send_replace(());
    }

    /// Told when other terms hold.
    pub fn replacements(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// How far a connection is served that is so secured; `challenge` is how a certificate authority makes sure of this
    /// server's names, if one does.
    pub fn admit(&self, security: Security, challenge: Option<Challenge>) -> Admission {
        self.terms.load().door.admit(security, challenge)
    }

    /// Whether there is TLS to be spoken.
    pub fn speaks_tls(&self) -> bool {
        self.terms.load().door.mode != TlsMode::Off
    }

    /// What is shown to clients.
    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// A connection before its handshake.
    ///
    /// # Errors
    ///
    /// What is configured does not fit together, which is a fault.
    pub fn accept(&self) -> Result<Connection, Error> {
        let terms = self.terms.load();
        Connection::new(terms.config.clone(), terms.door.authorities)
    }
}

fn prepare(
    settings: &Tls,
    provider: &Arc<CryptoProvider>,
    certificates: &Arc<Certificates>,
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    now_ms: u64,
) -> Result<Prepared, ConfigError> {
    let own = read_certificates(settings, provider, read, now_ms)?;
    let (verifier, authorities) = client_verifier(settings, provider, read)?.unzip();
    Ok(Prepared {
        certificates: own,
        terms: Terms {
            door: Door {
                mode: settings.mode,
                client_auth: settings.client_auth,
                authorities,
            },
            config: Arc::new(server_config(settings, provider, certificates, verifier)),
        },
    })
}

/// No TLS.
impl Default for Acceptor {
    fn default() -> Self {
        let none = Self::new(&Tls::default(), &mut |_| Ok(Vec::new()), 0);
        none.expect("nothing is asked for")
    }
}

fn read_certificates(
    settings: &Tls,
    provider: &CryptoProvider,
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    now_ms: u64,
) -> Result<Vec<Certificate>, ConfigError> {
    let mut certificates = Vec::new();
    if settings.mode == TlsMode::Off {
        return Ok(certificates);
    }
    for (index, files) in settings.certificates.iter().enumerate() {
        let [chain, key] = [
            ("cert_file", &files.cert_file),
            ("key_file", &files.key_file),
        ]
        .map(|(field, path)| {
            read(path).map_err(|error| {
                ConfigError::value(
                    format!("tls.certificates[{index}].{field}"),
                    format!("is {}, which cannot be read: {error}", path.display()),
                )
            })
        });
        let (chain, key) = (chain?, key?);
        let certificate =
            Certificate::from_pem(&chain, &key, provider, now_ms).map_err(|error| {
                let (chain, key) = (files.cert_file.display(), files.key_file.display());
                ConfigError::value(
                    format!("tls.certificates[{index}]"),
                    format!("is {chain} and {key}, which {error}"),
                )
            })?;
        certificates.push(certificate);
    }
    Ok(certificates)
}

fn server_config(
    settings: &Tls,
    provider: &Arc<CryptoProvider>,
    certificates: &Arc<Certificates>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> ServerConfig {
    const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    let versions = match settings.min_version {
        TlsVersion::V1_2 => BOTH,
        TlsVersion::V1_3 => &BOTH[..1],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .expect("the provider knows both versions of TLS");
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certificates.clone());
    // The last one is taken by nobody but who asks for nothing else.
    config.alpn_protocols = [b"h2", &b"http/1.1"[..], ACME_PROTOCOL]
        .map(<[u8]>::to_vec)
        .into();
    // Early data could be played again by whoever recorded it (RFC 8446, section 8).
    config.max_early_data_size = 0;
    // A client's tickets hold what is needed to resume; nothing is kept here but keys, which change every six hours
    // and with each reload, so that nobody resumes who would not be let in now.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    match Ticketer::new() {
        Ok(ticketer) => config.ticketer = ticketer,
        Err(error) => {
            tracing::error!(%error, "no keys for tickets could be made: clients cannot resume, and shake hands in full");
        }
    }
    config
}

/// Judges certificates of clients, by these authorities.
type Judge = (Arc<dyn ClientCertVerifier>, Authorities);

/// The judge of the certificates of clients, if they are asked for any.
fn client_verifier(
    settings: &Tls,
    provider: &Arc<CryptoProvider>,
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
) -> Result<Option<Judge>, ConfigError> {
    if settings.mode == TlsMode::Off || settings.client_auth == ClientAuth::Off {
        return Ok(None);
    }
    let path = &settings.client_ca_file;
    let wrong = |problem: String| {
        ConfigError::value(
            "tls.client_ca_file",
            format!("is {}, {problem}", path.display()),
        )
    };
    let pem = read(path).map_err(|error| wrong(format!("which cannot be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| {
            wrong("in which a certificate is no valid PEM; copy it anew".to_owned())
        })?;
        roots
            .add(certificate)
            .map_err(|error| wrong(format!("in which a certificate is not valid: {error}")))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = match settings.client_auth {
        ClientAuth::Optional => verifier.allow_unauthenticated().build(),
        ClientAuth::Off | ClientAuth::Required => verifier.build(),
    };
    let verifier = verifier.map_err(|_| {
        wrong(
            "which holds no certificate; it is PEM, with `-----BEGIN CERTIFICATE-----`".to_owned(),
        )
    })?;
    let digest = digest::digest(&digest::SHA256, &pem);
    let (digest, _) = digest.as_ref().split_first_chunk().expect("32 bytes");
    Ok(Some((verifier, Authorities(*digest))))
}
