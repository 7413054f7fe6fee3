//! Who a server under TLS is, and clients who believe it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use everwire_server::config::{CertificateFiles, Tls, TlsMode};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, RootCertStore,
    client::WantsClientCert,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

/// An authority, its certificate, and a folder for what it issues.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    folder: PathBuf,
}

/// The one that all believe.
pub static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("root"));

/// TLS only, with a certificate for `localhost`.
pub fn settings() -> Tls {
    static OWN: LazyLock<CertificateFiles> =
        LazyLock::new(|| AUTHORITY.issue("own", &["localhost"]));
    Tls {
        mode: TlsMode::Only,
        certificates: vec![OWN.clone()],
        ..Tls::default()
    }
}

/// A client of `localhost` that believes the authority.
pub fn client() -> ClientConnection {
    static CLIENT: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| Arc::new(anonymous()));
    client_of(&CLIENT, "localhost")
}

/// The authority that all believe.
pub fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let pem = AUTHORITY.pem.as_bytes();
    let authority = CertificateDer::from_pem_slice(pem).unwrap();
    roots.add(authority).unwrap();
    roots
}

/// A client of a host.
pub fn client_of(config: &Arc<ClientConfig>, name: &'static str) -> ClientConnection {
    ClientConnection::new(config.clone(), ServerName::try_from(name).unwrap()).unwrap()
}

/// How one speaks that shows no certificate.
pub fn anonymous() -> ClientConfig {
    client_config(ConfigBuilder::<ClientConfig, WantsClientCert>::with_no_client_auth)
}

/// How a client speaks that believes the authority.
pub fn client_config(
    finish: impl FnOnce(ConfigBuilder<ClientConfig, WantsClientCert>) -> ClientConfig,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots());
    finish(builder)
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "{name}-{}-{:x}",
            std::process::id(),
            fastrand::u64(..)
        ));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("authority.pem"), &pem).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            pem,
            folder,
        }
    }

    /// The file of its own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// A certificate for these names, and its key, in files that are called this.
    pub fn issue(&self, file: &str, names: &[&str]) -> CertificateFiles {
        let (chain, key) = self.make(names);
        let [cert_file, key_file] =
            ["pem", "key"].map(|kind| self.folder.join(format!("{file}.{kind}")));
        fs::write(&cert_file, chain).unwrap();
        fs::write(&key_file, key).unwrap();
        CertificateFiles {
            cert_file,
            key_file,
        }
    }

    /// The same for a client to show.
    pub fn issue_client(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let (chain, key) = self.make(&["client"]);
        let chain = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        (vec![chain], key)
    }

    fn make(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}
