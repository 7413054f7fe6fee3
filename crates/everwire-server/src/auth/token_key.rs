//! A key that tokens are checked with, and for which one algorithm.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;
use jsonwebtoken::{Algorithm as Method, DecodingKey, crypto};

use super::{CredentialError, Proof};
use crate::config::{Algorithm, ConfigError, TokenKey};

/// A key that tokens are checked with.
pub(super) struct Key {
    /// Its name, which tokens give in their header.
    pub kid: Option<String>,
    /// By what tokens that it has signed are good.
    pub proof: Proof,
    /// The one algorithm that it is used with.
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

impl Key {
    /// A key of the configuration, the one of this number there.
    pub fn new(
        index: usize,
        said: &TokenKey,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, ConfigError> {
        let at = |name: &str| format!("tokens.keys[{index}].{name}");
        let mut content = |name: &str, path: &PathBuf| {
            read(path).map_err(|error| {
                let problem = format!("is {}, which cannot be read: {error}", path.display());
                ConfigError::value(at(name), problem)
            })
        };
        if said.kid.as_deref() == Some("") {
            return Err(ConfigError::value(
                at("kid"),
                "is empty; leave it out for a key without a name",
            ));
        }
        let TokenKey {
            secret,
            secret_file,
            public_key,
            public_key_file,
            ..
        } = said;
        let (name, bytes) = match (secret, secret_file, public_key, public_key_file) {
            (Some(secret), None, None, None) => ("secret", secret.reveal().as_bytes().to_vec()),
            (None, Some(path), None, None) => {
                let mut bytes = content("secret_file", path)?;
                for end in [b'\n', b'\r'] {
                    if bytes.last() == Some(&end) {
                        bytes.pop();
                    }
                }
                ("secret_file", bytes)
            }
            (None, None, Some(pem), None) => ("public_key", pem.as_bytes().to_vec()),
            (None, None, None, Some(path)) => {
                ("public_key_file", content("public_key_file", path)?)
            }
            _ => {
                let problem = match said.alg {
                    Algorithm::Hs256 => {
                        "needs exactly one of `secret` and `secret_file`, for HS256"
                    }
                    Algorithm::Rs256 | Algorithm::Es256 | Algorithm::EdDsa => {
                        "needs exactly one of `public_key` and `public_key_file`, for this `alg`"
                    }
                };
                return Err(ConfigError::value(format!("tokens.keys[{index}]"), problem));
            }
        };
        let is_secret = name.starts_with("secret");
        let key = match (said.alg, is_secret) {
            (Algorithm::Hs256, true) => shared_secret(&bytes),
            (Algorithm::Hs256, false) => {
                Err("is for RS256, ES256 and EdDSA; HS256 is checked with the secret that it was signed with".to_owned())
            }
            (_, true) => Err(format!(
                "is for HS256; {} is checked with the public key, in `public_key` or `public_key_file`",
                said.alg.name()
            )),
            (algorithm, false) => public_key_of(algorithm, &bytes),
        };
        Ok(Self {
            proof: Proof::Key(digest_of(said, &bytes)),
            kid: said.kid.clone(),
            algorithm: said.alg,
            key: key.map_err(|problem| ConfigError::value(at(name), problem))?,
        })
    }

    /// Whether the signature of a message is by this key, where the header of the message says this algorithm.
    pub fn check(&self, alg: &str, message: &str, signature: &str) -> Result<(), CredentialError> {
        let expected = self.algorithm.name();
        if alg != expected {
            return Err(CredentialError::Algorithm { expected });
        }
        match crypto::verify(
            signature,
            message.as_bytes(),
            &self.key,
            method(self.algorithm),
        ) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(CredentialError::Signature),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Tells a key from any other that the configuration may have in its place.
fn digest_of(said: &TokenKey, key: &[u8]) -> [u8; 32] {
    let mut digest = digest::Context::new(&digest::SHA256);
    let kid = said.kid.as_deref();
    for part in [
        kid.unwrap_or("").as_bytes(),
        said.alg.name().as_bytes(),
        key,
    ] {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest = digest.finish();
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn shared_secret(bytes: &[u8]) -> Result<DecodingKey, String> {
    // A key has to be as long as the hash (RFC 7518, section 3.2): whoever holds one token can try secrets at home.
    const BYTES_MIN: usize = 32;
    match bytes.len() {
        BYTES_MIN.. => Ok(DecodingKey::from_secret(bytes)),
        length => Err(format!(
            "has {length} bytes and needs at least {BYTES_MIN}; `openssl rand -hex 32` makes a good one"
        )),
    }
}

/// A public key as PEM: the type, the curve and the size have to be the algorithm's. The library takes more than that
/// for a key, a private one among them, and would refuse only the tokens.
fn public_key_of(algorithm: Algorithm, pem: &[u8]) -> Result<DecodingKey, String> {
    let text = String::from_utf8_lossy(pem);
    if text.contains("PRIVATE KEY-----") {
        return Err(
            "is a private key, which this server must not have; `openssl pkey -in KEY -pubout` prints its public half"
                .to_owned(),
        );
    }
    if !text.contains("-----BEGIN PUBLIC KEY-----")
        && !text.contains("-----BEGIN RSA PUBLIC KEY-----")
    {
        return Err(
            "is no public key as PEM; it begins with `-----BEGIN PUBLIC KEY-----`".to_owned(),
        );
    }
    let (key, fits): (_, fn(usize) -> bool) = match algorithm {
        Algorithm::Rs256 => (DecodingKey::from_rsa_pem(pem), |bytes| {
            bytes >= RSA_BYTES_MIN
        }),
        Algorithm::Es256 => (DecodingKey::from_ec_pem(pem), |bytes| bytes == P256_BYTES),
        Algorithm::EdDsa => (DecodingKey::from_ed_pem(pem), |bytes| {
            bytes == ED25519_BYTES
        }),
        Algorithm::Hs256 => return Err("is no secret".to_owned()),
    };
    let fits = |key: &DecodingKey| key.try_get_as_bytes().is_ok_and(|bytes| fits(bytes.len()));
    key.ok().filter(fits).ok_or_else(|| {
        let wanted = match algorithm {
            Algorithm::Rs256 => "an RSA key of at least 2048 bits",
            Algorithm::Es256 => "an elliptic-curve key on P-256 (prime256v1)",
            Algorithm::EdDsa => "an Ed25519 key",
            Algorithm::Hs256 => "a secret",
        };
        format!("is no key for {}, which needs {wanted}", algorithm.name())
    })
}

/// A modulus of 2048 bits alone.
const RSA_BYTES_MIN: usize = 256;
/// A point of P-256, uncompressed.
const P256_BYTES: usize = 65;
const ED25519_BYTES: usize = 32;

fn method(algorithm: Algorithm) -> Method {
    match algorithm {
        Algorithm::Hs256 => Method::HS256,
        Algorithm::Rs256 => Method::RS256,
        Algorithm::Es256 => Method::ES256,
        Algorithm::EdDsa => Method::EdDSA,
    }
}
