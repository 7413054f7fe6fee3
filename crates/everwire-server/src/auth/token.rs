//! Tokens: JSON Web Tokens (RFC 7519) in their compact form, signed (RFC 7515).
//!
//! ```text
//!  base64url({"alg":"HS256","kid":"a"}) . base64url({"sub":"ada","exp":…,"channels":[…]}) . base64url(signature)
//!             └── chooses one of our keys     └── read only when the signature is right
//! ```
//!
//! The key decides by which algorithm a token is checked; what the header says has to be the same. So no token can have
//! a public key taken for a secret, or ask for `none`. Keys and addresses in the header (`jwk`, `jku`, `x5u`) are never
//! looked at, and `kid` is compared with names that are known, never used as a path.

use std::{
    borrow::Cow,
    fmt, io,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm as Method, DecodingKey, crypto};
use serde::{Deserialize, de::IgnoredAny};

use super::{CredentialError, Known, claims::Claims};
use crate::config::{Algorithm, ConfigError, TokenKey, Tokens};

/// The keys that tokens are checked with, and the terms on which they are taken.
#[derive(Debug, Default)]
pub(super) struct TokenKeys {
    keys: Vec<Key>,
    settings: Tokens,
}

struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// The header of a token, as far as it is looked at.
#[derive(Deserialize)]
struct Header<'t> {
    #[serde(borrow)]
    alg: Cow<'t, str>,
    #[serde(borrow)]
    kid: Option<Cow<'t, str>>,
    crit: Option<IgnoredAny>,
}

impl<'t> Header<'t> {
    fn parse(json: &'t [u8]) -> Option<Self> {
        // Left to itself, serde takes an array for the members in their order.
        let is_object = json.trim_ascii_start().starts_with(b"{");
        is_object.then(|| serde_json::from_slice(json).ok())?
    }
}

impl TokenKeys {
    pub fn new(
        settings: &Tokens,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, ConfigError> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, said) in settings.keys.iter().enumerate() {
            let key = Key::new(index, said, read)?;
            if keys.iter().any(|other| other.kid == key.kid) {
                let problem = match &key.kid {
                    Some(kid) => format!("is `{kid}` as in an earlier key; give each a name of its own"),
                    None => "is missing as in an earlier key; give each a name, which tokens say in their header".to_owned(),
                };
                return Err(ConfigError::value(
                    format!("tokens.keys[{index}].kid"),
                    problem,
                ));
            }
            keys.push(key);
        }
        let settings = Tokens {
            keys: Vec::new(), // whose secrets are in `keys` now
            ..settings.clone()
        };
        Ok(Self { keys, settings })
    }

    /// Refuses what is not even read.
    pub fn check_length(&self, token: &str) -> Result<(), CredentialError> {
        let bytes_max = self.settings.token_bytes_max;
        match token.len() <= bytes_max {
            true => Ok(()),
            false => Err(CredentialError::TooLong { bytes_max }),
        }
    }

    /// Checks a token at this time, in Unix milliseconds.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Known, CredentialError> {
        let parts = token.rsplit_once('.');
        let (message, signature) = parts.ok_or(CredentialError::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(CredentialError::Malformed)?;
        if claims.contains('.') {
            return Err(CredentialError::Malformed);
        }
        let header = decode(header)?;
        let header = Header::parse(&header).ok_or(CredentialError::Header(
            "is not a JSON object with `alg`, each member once",
        ))?;
        if header.crit.is_some() {
            // What has to be understood and is not makes a token void (RFC 7515, section 4.1.11).
            return Err(CredentialError::Header(
                "has `crit`, and this server knows no extension that it could ask for",
            ));
        }
        let key = self.key(header.kid.as_deref())?;
        if header.alg != key.algorithm.name() {
            return Err(CredentialError::Algorithm {
                expected: key.algorithm.name(),
            });
        }
        match crypto::verify(
            signature,
            message.as_bytes(),
            &key.key,
            method(key.algorithm),
        ) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(CredentialError::Signature),
        }
        Claims::parse(&decode(claims)?)?.check(&self.settings, now_ms)
    }

    /// The key that a header names. One that names none means the only one, or that without a name.
    fn key(&self, kid: Option<&str>) -> Result<&Key, CredentialError> {
        let named = self.keys.iter().find(|key| key.kid.as_deref() == kid);
        match (named, kid, &self.keys[..]) {
            (Some(key), _, _) => Ok(key),
            (None, None, [only]) => Ok(only),
            (None, _, []) => Err(CredentialError::Key(
                "cannot be checked: this server has no keys for tokens; list them as tokens.keys",
            )),
            (None, Some(_), _) => Err(CredentialError::Key(
                "is signed with a key (`kid` in its header) that this server does not know; list it in tokens.keys",
            )),
            (None, None, _) => Err(CredentialError::Key(
                "does not say which key it is signed with, and this server has several; put `kid` in its header",
            )),
        }
    }
}

impl Key {
    fn new(
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
            kid: said.kid.clone(),
            algorithm: said.alg,
            key: key.map_err(|problem| ConfigError::value(at(name), problem))?,
        })
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

fn decode(part: &str) -> Result<Vec<u8>, CredentialError> {
    BASE64_URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| CredentialError::Malformed)
}
