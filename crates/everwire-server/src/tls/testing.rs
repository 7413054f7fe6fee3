//! Authorities and what they issue, and both sides of a connection, for tests.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm,
};
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, RootCertStore,
    crypto::aws_lc_rs::default_provider, pki_types::ServerName,
};
use time::{Duration, OffsetDateTime};

use super::{Acceptor, Connection};
use crate::config::{CertificateFiles, Tls, TlsMode};

/// 2026-11-20, the day on which what is issued here becomes valid, and a day before which it is not.
pub(crate) const NOW_MS: u64 = 1_795_132_800_000;

/// An authority that signs what it is asked for.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
pub(crate) struct Issued {
    pub chain: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names and so many days.
    pub fn issue(&self, names: &[&str], days: i64) -> Issued {
        self.issue_with(names, days, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// The same with a key of another kind.
    pub fn issue_with(
        &self,
        names: &[&str],
        days: i64,
        kind: &'static SignatureAlgorithm,
    ) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        (params.not_before, params.not_after) =
            (now() - Duration::DAY, now() + Duration::days(days));
        let key = KeyPair::generate_for(kind).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// An authority below it, and its key.
    pub fn intermediate(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = authority(name).signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (now() - Duration::DAY, now() + Duration::days(3650));
    params
}

fn now() -> OffsetDateTime {
    let seconds = i64::try_from(NOW_MS / 1000).unwrap();
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

/// Both sides of a connection whose handshake is done. The client has what came behind it in its buffers.
pub(crate) fn pair() -> (Box<Connection>, ClientConnection) {
    static SIDES: LazyLock<(Acceptor, Arc<ClientConfig>)> = LazyLock::new(sides);
    let (acceptor, client) = &*SIDES;
    let mut ours = acceptor.accept().unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut theirs = ClientConnection::new(client.clone(), name).unwrap();
    while ours.is_handshaking() || theirs.is_handshaking() {
        let mut said = Vec::new();
        while theirs.write_tls(&mut said).unwrap() > 0 {}
        let received = ours.receive(&mut said, &mut |_| unreachable!("nothing was said yet"));
        received.unwrap();
        theirs.read_tls(&mut ours.outgoing()).unwrap();
        theirs.process_new_packets().unwrap();
        // One read takes what fits, which is all of a handshake.
        ours.advance_outgoing(ours.outgoing().len());
    }
    (Box::new(ours), theirs)
}

fn sides() -> (Acceptor, Arc<ClientConfig>) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let settings = Tls {
        mode: TlsMode::Only,
        certificates: vec![CertificateFiles {
            cert_file: "cert".into(),
            key_file: "key".into(),
        }],
        ..Tls::default()
    };
    let mut read = |path: &Path| match path.to_str() {
        Some("cert") => Ok(chain.clone().into_bytes()),
        _ => Ok(key.clone().into_bytes()),
    };
    let acceptor = Acceptor::new(&settings, &mut read, NOW_MS).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    (acceptor, Arc::new(client))
}

/// A client that sends records that no library would make.
pub(crate) struct Forger {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

impl Forger {
    /// Goes on where a client stands.
    pub fn new(client: ClientConnection) -> Self {
        let (sequence, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
            panic!("both sides like AES-256-GCM best");
        };
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap();
        Self {
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into().unwrap(),
            sequence,
        }
    }

    /// A record of a content type (RFC 8446, section 5.2).
    pub fn record(&mut self, content_type: u8, content: &[u8]) -> Vec<u8> {
        let mut inner = [content, &[content_type]].concat();
        let [high, low] = u16::try_from(inner.len() + AES_256_GCM.tag_len())
            .unwrap()
            .to_be_bytes();
        let head = [23, 3, 3, high, low];
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        self.sequence += 1;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(head), &mut inner)
            .unwrap();
        [&head[..], &inner].concat()
    }
}
