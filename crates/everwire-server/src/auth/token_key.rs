//! A key that tokens are checked with, and for which one algorithm.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::{digest, signature};
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
                let problem = match said.alg.is_symmetric() {
                    true => "needs exactly one of `secret` and `secret_file`, for this `alg`",
                    false => {
                        "needs exactly one of `public_key` and `public_key_file`, for this `alg`"
                    }
                };
                return Err(ConfigError::value(format!("tokens.keys[{index}]"), problem));
            }
        };
        let is_secret = name.starts_with("secret");
        let key = match (said.alg.is_symmetric(), is_secret) {
            (true, true) => shared_secret(said.alg, &bytes),
            (true, false) => Err(format!(
                "is for RS256, PS256, ES256, ES384 and EdDSA; {} is checked with the secret that it was signed with",
                said.alg.name()
            )),
            (false, true) => Err(format!(
                "is for HS256 and HS512; {} is checked with the public key, in `public_key` or `public_key_file`",
                said.alg.name()
            )),
            (false, false) => public_key_of(said.alg, &bytes),
        };
        Ok(Self {
            proof: Proof::Key(digest_of("", said.kid.as_deref(), said.alg, &bytes)),
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

/// Tells a key from any other that its source, the configuration or a key server, may have in its place.
pub(super) fn digest_of(
    source: &str,
    kid: Option<&str>,
    algorithm: Algorithm,
    key: &[u8],
) -> [u8; 32] {
    let mut digest = digest::Context::new(&digest::SHA256);
    for part in [
        source.as_bytes(),
        kid.unwrap_or("").as_bytes(),
        algorithm.name().as_bytes(),
        key,
    ] {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let digest = digest.finish();
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn shared_secret(algorithm: Algorithm, bytes: &[u8]) -> Result<DecodingKey, String> {
    // A key has to be as long as the hash (RFC 7518, section 3.2): whoever holds one token can try secrets at home.
    let bytes_min = match algorithm {
        Algorithm::Hs512 => 64,
        _ => 32,
    };
    match bytes.len() {
        length if length >= bytes_min => Ok(DecodingKey::from_secret(bytes)),
        length => Err(format!(
            "has {length} bytes and needs at least {bytes_min}; `openssl rand -hex {bytes_min}` makes a good one"
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
    let (key, fits): (_, fn(&[u8]) -> bool) = match algorithm {
        Algorithm::Rs256 | Algorithm::Ps256 => (DecodingKey::from_rsa_pem(pem), |key| {
            key.len() >= RSA_BYTES_MIN
        }),
        Algorithm::Es256 => (DecodingKey::from_ec_pem(pem), |key| {
            key.len() == P256_BYTES && is_point(&signature::ECDSA_P256_SHA256_FIXED, key)
        }),
        Algorithm::Es384 => (DecodingKey::from_ec_pem(pem), |key| {
            key.len() == P384_BYTES && is_point(&signature::ECDSA_P384_SHA384_FIXED, key)
        }),
        Algorithm::EdDsa => (DecodingKey::from_ed_pem(pem), |key| {
            key.try_into().is_ok_and(|key| !is_of_small_order(key))
        }),
        Algorithm::Hs256 | Algorithm::Hs512 => return Err("is no secret".to_owned()),
    };
    let fits = |key: &DecodingKey| key.try_get_as_bytes().is_ok_and(fits);
    key.ok().filter(fits).ok_or_else(|| {
        let wanted = match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => "an RSA key of at least 2048 bits",
            Algorithm::Es256 => "an elliptic-curve key on P-256 (prime256v1)",
            Algorithm::Es384 => "an elliptic-curve key on P-384 (secp384r1)",
            Algorithm::EdDsa => "an Ed25519 key, of the order that every generated one has",
            Algorithm::Hs256 | Algorithm::Hs512 => "a secret",
        };
        format!("is no key for {}, which needs {wanted}", algorithm.name())
    })
}

/// Whether this is a point of a curve, and not its identity.
pub(super) fn is_point(curve: &'static signature::EcdsaVerificationAlgorithm, key: &[u8]) -> bool {
    signature::ParsedPublicKey::new(curve, key).is_ok()
}

/// Whether a key on Ed25519 is one of the eight points of small order, in any of their encodings: for those anybody can
/// make signatures that are good. No generated key is one.
pub(super) fn is_of_small_order(key: &[u8; ED25519_BYTES]) -> bool {
    let mut y = *key;
    y[ED25519_BYTES - 1] &= 0x7f; // without the sign of x
    SMALL_ORDER.contains(&y)
}

/// The second coordinates of the points of small order, in bytes from the lowest: 0, 1 and -1 (orders 4, 1 and 2), the
/// two of order 8, and the encodings of 0 and 1 beyond the prime. The other coordinate is told by its sign.
const SMALL_ORDER: [[u8; ED25519_BYTES]; 7] = [
    [0; 32],
    little(1, 0, 0),
    little(0xec, 0xff, 0x7f),
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    little(0xed, 0xff, 0x7f),
    little(0xee, 0xff, 0x7f),
];

/// A number by its lowest byte, those between, and its highest one.
const fn little(lowest: u8, between: u8, highest: u8) -> [u8; ED25519_BYTES] {
    let mut bytes = [between; ED25519_BYTES];
    bytes[0] = lowest;
    bytes[ED25519_BYTES - 1] = highest;
    bytes
}

/// A modulus of 2048 bits alone.
const RSA_BYTES_MIN: usize = 256;
/// A point of P-256, uncompressed.
const P256_BYTES: usize = 65;
/// A point of P-384, uncompressed.
const P384_BYTES: usize = 97;
const ED25519_BYTES: usize = 32;

fn method(algorithm: Algorithm) -> Method {
    match algorithm {
        Algorithm::Hs256 => Method::HS256,
        Algorithm::Hs512 => Method::HS512,
        Algorithm::Rs256 => Method::RS256,
        Algorithm::Ps256 => Method::PS256,
        Algorithm::Es256 => Method::ES256,
        Algorithm::Es384 => Method::ES384,
        Algorithm::EdDsa => Method::EdDSA,
    }
}
