//! A document of public keys, as a key server publishes it: a JWK Set (RFC 7517, section 5).
//!
//! ```text
//!  {"keys":[{"kty":"EC","crv":"P-256","kid":"2026-11","use":"sig","x":"…","y":"…"}, …]}
//!             └── decides the one algorithm that the key is for, with `alg` if that is there
//! ```
//!
//! A key that is of no use here is left out with the reason, as RFC 7517 asks for; that the others are good is not its
//! fault. A document in which something could be taken for two things, or which is too large, is refused as a whole.

use std::borrow::Cow;

use aws_lc_rs::{rsa::PublicKeyComponents, signature};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Proof,
    token_key::{Key, digest_of, is_of_small_order, is_point},
};
use crate::config::{Algorithm, Object, is_there};

/// The keys of a document that tokens can be checked with.
#[derive(Debug)]
pub(crate) struct KeySet {
    pub(super) keys: Vec<Key>,
    /// Those that were left out, by the name that they have or their place, and why.
    pub(super) left_out: Vec<(String, &'static str)>,
}

/// Why a document is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DocumentError {
    /// Not a JWK Set.
    #[error("it is no JWK Set, a JSON object with the list `keys`: {0}")]
    Malformed(String),
    /// More keys than are taken.
    #[error("it has {keys} keys, and at most {keys_max} are taken (tokens.jwks_keys_max)")]
    TooMany {
        /// How many there are.
        keys: usize,
        /// The limit.
        keys_max: usize,
    },
    /// Which key a token is signed with could not be told.
    #[error("two of its keys have the same `kid`, {0:?}; each needs a name of its own")]
    Twice(String),
    /// No key is of use.
    #[error("none of its keys can be used here: {0}")]
    Nothing(String),
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `keys`")]
struct Document<'d> {
    #[serde(borrow)]
    keys: Vec<&'d RawValue>,
}

/// One key, as far as it is looked at. A member that is there twice is an error of the parser.
#[derive(Deserialize)]
#[serde(expecting = "an object of strings")]
struct Said<'d> {
    #[serde(borrow)]
    kty: Cow<'d, str>,
    #[serde(borrow)]
    kid: Option<Cow<'d, str>>,
    #[serde(borrow, rename = "use")]
    usage: Option<Cow<'d, str>>,
    #[serde(borrow)]
    key_ops: Option<Vec<Cow<'d, str>>>,
    #[serde(borrow)]
    alg: Option<Cow<'d, str>>,
    #[serde(borrow)]
    crv: Option<Cow<'d, str>>,
    #[serde(borrow)]
    n: Option<Cow<'d, str>>,
    #[serde(borrow)]
    e: Option<Cow<'d, str>>,
    #[serde(borrow)]
    x: Option<Cow<'d, str>>,
    #[serde(borrow)]
    y: Option<Cow<'d, str>>,
    /// It is there, be it as `null`.
    #[serde(default, deserialize_with = "is_there")]
    d: bool,
}

impl KeySet {
    /// Reads the document of a server, by its address.
    pub fn parse(json: &[u8], keys_max: usize, server: &str) -> Result<Self, DocumentError> {
        let Object::<Document<'_>>(document) = serde_json::from_slice(json)
            .map_err(|error| DocumentError::Malformed(error.to_string()))?;
        if document.keys.len() > keys_max {
            return Err(DocumentError::TooMany {
                keys: document.keys.len(),
                keys_max,
            });
        }
        let mut set = Self {
            keys: Vec::new(),
            left_out: Vec::new(),
        };
        for (index, json) in document.keys.iter().enumerate() {
            let (name, key) = read(json.get(), server);
            match key {
                Ok(key) if set.keys.iter().any(|other| other.kid == key.kid) => {
                    return Err(DocumentError::Twice(name.unwrap_or_default()));
                }
                Ok(key) => set.keys.push(key),
                Err(reason) => {
                    let name = name.unwrap_or_else(|| format!("keys[{index}]"));
                    set.left_out.push((name, reason));
                }
            }
        }
        match set.keys.is_empty() {
            false => Ok(set),
            true => Err(DocumentError::Nothing(set.reasons())),
        }
    }

    /// The key of this name, or the only one where none is named.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<&Key> {
        let named = self.keys.iter().find(|key| key.kid.as_deref() == kid);
        match (named, kid, &self.keys[..]) {
            (Some(key), _, _) => Some(key),
            (None, None, [only]) => Some(only),
            (None, _, _) => None,
        }
    }

    /// Why keys were left out, in one line.
    pub fn reasons(&self) -> String {
        const TOLD_MAX: usize = 5;
        let mut told: Vec<String> = (self.left_out.iter())
            .take(TOLD_MAX)
            .map(|(name, reason)| format!("{name:?} {reason}"))
            .collect();
        if told.is_empty() {
            told.push("there are none".to_owned());
        }
        let untold = self.left_out.len().saturating_sub(TOLD_MAX);
        if untold > 0 {
            told.push(format!("and {untold} more"));
        }
        told.join(", ")
    }
}

/// One key of a document and its name, or why it is of no use.
fn read(json: &str, server: &str) -> (Option<String>, Result<Key, &'static str>) {
    if !json.starts_with('{') {
        return (None, Err("is no object"));
    }
    let Ok(said) = serde_json::from_str::<Said<'_>>(json) else {
        return (
            None,
            Err("is no object with `kty`, each member once and a string"),
        );
    };
    // No longer than a name is of use in a log, or for comparing.
    const KID_BYTES_MAX: usize = 256;
    let kid = said.kid.as_deref().map(str::to_owned);
    match &kid {
        Some(kid) if kid.len() > KID_BYTES_MAX => (None, Err("has a `kid` of over 256 bytes")),
        Some(_) | None => (kid.clone(), said.key(kid, server)),
    }
}

impl Said<'_> {
    fn key(&self, kid: Option<String>, server: &str) -> Result<Key, &'static str> {
        if self.d {
            return Err(
                "is a private key, which whoever reads this document can sign with; replace it",
            );
        }
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err("is not for signatures (`use`)");
        }
        if (self.key_ops.as_ref()).is_some_and(|all| !all.iter().any(|one| one == "verify")) {
            return Err("is not for checking signatures (`key_ops`)");
        }
        // What the kind leaves open is decided here, once, for each key: RSA is for RS256 unless it says to be for PS256.
        let says = |alg| self.alg.as_deref() == Some(alg);
        let (algorithm, key) = match (&*self.kty, self.crv.as_deref()) {
            ("oct", _) => return Err("is a shared secret, which is none where it is published"),
            ("RSA", _) if says("PS256") => (Algorithm::Ps256, self.rsa()),
            ("RSA", _) => (Algorithm::Rs256, self.rsa()),
            ("EC", Some("P-256")) => (
                Algorithm::Es256,
                self.ec::<32>(&signature::ECDSA_P256_SHA256_FIXED),
            ),
            ("EC", Some("P-384")) => (
                Algorithm::Es384,
                self.ec::<48>(&signature::ECDSA_P384_SHA384_FIXED),
            ),
            ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, self.ed25519()),
            ("EC" | "OKP", _) => {
                return Err("is on another curve than P-256, P-384 and Ed25519 (`crv`)");
            }
            _ => return Err("is of a kind that is not known here (`kty`)"),
        };
        let is_its_own = match self.alg.as_deref() {
            None => true,
            Some("Ed25519") => algorithm == Algorithm::EdDsa, // RFC 9864, section 2.2
            Some(alg) => alg == algorithm.name(),
        };
        if !is_its_own {
            return Err(
                "is for another algorithm than RS256, PS256, ES256, ES384 and EdDSA, or not for its own (`alg`)",
            );
        }
        let (key, bytes) = key?;
        Ok(Key {
            proof: Proof::KeyServer(digest_of(server, kid.as_deref(), algorithm, &bytes)),
            kid,
            algorithm,
            key,
        })
    }

    fn rsa(&self) -> Result<(DecodingKey, Vec<u8>), &'static str> {
        const BITS_MIN: usize = 2048;
        const BITS_MAX: usize = 8192;
        let (n, e) = (number(&self.n)?, number(&self.e)?);
        let bits = match n.first() {
            None => 0,
            Some(first) => n.len() * 8 - first.leading_zeros() as usize,
        };
        match bits {
            ..BITS_MIN => return Err("is an RSA key of fewer than 2048 bits, which can be broken"),
            BITS_MIN..=BITS_MAX => {}
            _ => return Err("is an RSA key of more than 8192 bits, which takes long to check"),
        }
        // One that is even or 1 makes signatures that anybody can make; a long one takes long to check.
        const EXPONENT_BYTES_MAX: usize = 4;
        let is_odd = e.last().is_some_and(|last| last % 2 == 1);
        if !is_odd || e == [1] || e.len() > EXPONENT_BYTES_MAX {
            return Err("is no RSA key with an exponent as they are used");
        }
        let components = PublicKeyComponents { n: &n, e: &e };
        match components.to_parsed_public_key(&signature::RSA_PKCS1_2048_8192_SHA256) {
            Ok(_) => Ok((
                DecodingKey::from_rsa_raw_components(&n, &e),
                [&n[..], &e].concat(),
            )),
            Err(_) => Err("is no RSA key"),
        }
    }

    /// A point on a curve whose coordinates have so many bytes.
    fn ec<const N: usize>(
        &self,
        curve: &'static signature::EcdsaVerificationAlgorithm,
    ) -> Result<(DecodingKey, Vec<u8>), &'static str> {
        let (x, y) = (coordinate::<N>(&self.x)?, coordinate::<N>(&self.y)?);
        let point = [&[UNCOMPRESSED][..], &x, &y].concat();
        match is_point(curve, &point) {
            true => Ok((DecodingKey::from_ec_der(&point), point)),
            false => Err("is no point on its curve"),
        }
    }

    fn ed25519(&self) -> Result<(DecodingKey, Vec<u8>), &'static str> {
        let x = coordinate::<32>(&self.x)?;
        if is_of_small_order(&x) {
            return Err("is a key of small order, for which anybody can sign");
        }
        match signature::ParsedPublicKey::new(&signature::ED25519, &x[..]) {
            Ok(_) => Ok((DecodingKey::from_ed_der(&x), x.to_vec())),
            Err(_) => Err("is no key on Ed25519"),
        }
    }
}

/// How a point of a curve begins that is given by both its coordinates (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;

fn bytes(member: &Option<Cow<'_, str>>) -> Result<Vec<u8>, &'static str> {
    let text = member.as_deref().ok_or("lacks a part of its key")?;
    BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| "has a part that is not base64url")
}

/// A number without zeros before it, which some write and RFC 7518 (section 2) does not.
fn number(member: &Option<Cow<'_, str>>) -> Result<Vec<u8>, &'static str> {
    let mut bytes = bytes(member)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    Ok(bytes)
}

/// A coordinate of so many bytes, with its zeros (RFC 7518, section 6.2.1.2).
fn coordinate<const N: usize>(member: &Option<Cow<'_, str>>) -> Result<[u8; N], &'static str> {
    let bytes = bytes(member)?;
    bytes
        .try_into()
        .map_err(|_| "has a coordinate that is not as long as its curve's")
}

#[cfg(test)]
mod tests;
