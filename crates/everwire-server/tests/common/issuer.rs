//! Whoever signs tokens, well or badly.

use std::sync::LazyLock;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair, RsaKeyPair,
    },
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use everwire_server::config::{Algorithm, Config, TokenKey};
use jsonwebtoken::{Algorithm as Method, EncodingKey, crypto};
use serde_json::{Value, json};

/// A key, by which tokens are signed and checked.
pub struct Issuer {
    pub kid: &'static str,
    pub algorithm: Algorithm,
    /// What the server has: the secret, or the public key as PEM.
    pub shared: String,
    /// The public key as a point of its curve; empty for those that are not on one.
    pub point: Vec<u8>,
    signing: EncodingKey,
    method: Method,
}

/// One of each kind, made once for all tests of a file.
pub static ISSUERS: LazyLock<[Issuer; 7]> = LazyLock::new(|| {
    let secret = "a secret of more than 32 bytes, just so";
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let rsa_private = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&rsa).unwrap();
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let ed = Ed25519KeyPair::generate().unwrap();
    let ec384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let long = "a secret of more than 64 bytes, which is what HS512 asks for, no less";
    let private = |der: &[u8]| pem("PRIVATE KEY", der);
    let [rsa_pem, ec_pem, ed_pem, ec384_pem] = [
        private(rsa_private.as_ref()),
        private(ec.to_pkcs8v1().unwrap().as_ref()),
        private(ed.to_pkcs8v1().unwrap().as_ref()),
        private(ec384.to_pkcs8v1().unwrap().as_ref()),
    ];
    [
        Issuer {
            kid: "shared",
            algorithm: Algorithm::Hs256,
            shared: secret.to_owned(),
            point: Vec::new(),
            signing: EncodingKey::from_secret(secret.as_bytes()),
            method: Method::HS256,
        },
        Issuer {
            kid: "rsa",
            algorithm: Algorithm::Rs256,
            shared: public(rsa.public_key()),
            point: Vec::new(),
            signing: EncodingKey::from_rsa_pem(rsa_pem.as_bytes()).unwrap(),
            method: Method::RS256,
        },
        Issuer {
            kid: "p256",
            algorithm: Algorithm::Es256,
            shared: public(ec.public_key()),
            point: ec.public_key().as_ref().to_vec(),
            signing: EncodingKey::from_ec_pem(ec_pem.as_bytes()).unwrap(),
            method: Method::ES256,
        },
        Issuer {
            kid: "ed25519",
            algorithm: Algorithm::EdDsa,
            shared: public(ed.public_key()),
            point: ed.public_key().as_ref().to_vec(),
            signing: EncodingKey::from_ed_pem(ed_pem.as_bytes()).unwrap(),
            method: Method::EdDSA,
        },
        Issuer {
            kid: "shared512",
            algorithm: Algorithm::Hs512,
            shared: long.to_owned(),
            point: Vec::new(),
            signing: EncodingKey::from_secret(long.as_bytes()),
            method: Method::HS512,
        },
        Issuer {
            kid: "pss",
            algorithm: Algorithm::Ps256,
            shared: public(rsa.public_key()),
            point: Vec::new(),
            signing: EncodingKey::from_rsa_pem(rsa_pem.as_bytes()).unwrap(),
            method: Method::PS256,
        },
        Issuer {
            kid: "p384",
            algorithm: Algorithm::Es384,
            shared: public(ec384.public_key()),
            point: ec384.public_key().as_ref().to_vec(),
            signing: EncodingKey::from_ec_pem(ec384_pem.as_bytes()).unwrap(),
            method: Method::ES384,
        },
    ]
});

impl Issuer {
    /// The one with a shared secret.
    pub fn shared() -> &'static Self {
        &ISSUERS[0]
    }

    /// As the server's configuration has it.
    pub fn key(&self) -> TokenKey {
        let is_secret = self.algorithm.is_symmetric();
        TokenKey {
            kid: Some(self.kid.to_owned()),
            alg: self.algorithm,
            secret: is_secret.then(|| self.shared.as_str().into()),
            secret_file: None,
            public_key: (!is_secret).then(|| self.shared.clone()),
            public_key_file: None,
        }
    }

    /// A good token with these claims besides an end in an hour.
    pub fn token(&self, claims: Value) -> String {
        let header = json!({"alg": self.algorithm.name(), "kid": self.kid});
        self.signed(&header.to_string(), &with_end(claims).to_string())
    }

    /// Whatever header and claims, signed.
    pub fn signed(&self, header: &str, claims: &str) -> String {
        let message = message(header, claims);
        let signature = crypto::sign(message.as_bytes(), &self.signing, self.method).unwrap();
        format!("{message}.{signature}")
    }
}

/// Has a server take tokens of every issuer, and grant nothing to others.
pub fn trust_all(config: &mut Config) {
    config.dev = false;
    config.tokens.keys = ISSUERS.iter().map(Issuer::key).collect();
}

/// The signed part of a token.
pub fn message(header: &str, claims: &str) -> String {
    let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{claims}")
}

/// Claims with an end in an hour, unless they have one.
pub fn with_end(mut claims: Value) -> Value {
    if claims.get("exp").is_none() {
        claims["exp"] = json!(now_s() + 3600);
    }
    claims
}

pub fn now_s() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_secs()
}

fn public<'k>(key: &impl AsDer<PublicKeyX509Der<'k>>) -> String {
    pem("PUBLIC KEY", key.as_der().unwrap().as_ref())
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}
