//! API keys, by which servers show who they are: `ewk_<id>_<secret>`.
//!
//! The configuration holds the SHA-256 of each, so who reads it has no key. One round of a fast hash is right here,
//! where a password would need a slow one: the secret is 256 bits from the system's randomness, and nobody tries that
//! many. Both digests are compared in constant time; the `id` before is no secret, and finds the digest.

use std::fmt::Write;

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};

use super::{CredentialError, Known, Proof, Who};
use crate::config::{ApiKey, ConfigError, Duty, Grant};

/// All API keys.
#[derive(Debug, Default)]
pub(super) struct ApiKeys(Vec<Key>);

#[derive(Debug)]
pub(super) struct Key {
    id: String,
    sha256: [u8; DIGEST_BYTES],
    grants: Vec<Grant>,
    can: Vec<Duty>,
}

/// An API key that was just made. It is shown once.
pub struct NewKey {
    /// The key itself, for whoever is to use it.
    pub key: String,
    /// What the configuration holds of it.
    pub sha256: String,
}

/// How much randomness an API key is made from.
pub const GENERATED_BYTES: usize = 32;

const PREFIX: &str = "ewk_";
const DIGEST_BYTES: usize = 32;
const ID_BYTES_MAX: usize = 32;

/// Whether it is meant to be an API key.
pub(super) fn is_one(shown: &str) -> bool {
    shown.starts_with(PREFIX)
}

impl NewKey {
    /// Makes a key.
    ///
    /// # Errors
    ///
    /// The `id` is not well formed; the message continues a sentence that begins with it.
    pub fn new(id: &str, random: [u8; GENERATED_BYTES]) -> Result<Self, String> {
        check_id(id)?;
        let key = format!("{PREFIX}{id}_{}", hex(&random));
        let sha256 = hex(&sha256(&key));
        Ok(Self { key, sha256 })
    }
}

impl ApiKeys {
    pub fn new(said: &[ApiKey]) -> Result<Self, ConfigError> {
        let key = |(index, said): (usize, &ApiKey)| {
            let at = |name| format!("keys[{index}].{name}");
            check_id(&said.id).map_err(|problem| ConfigError::value(at("id"), problem))?;
            let sha256 = digest_of(&said.sha256).ok_or_else(|| {
                let problem = "is not 64 hexadecimal digits; `everwire key` prints the line, or `printf %s KEY | sha256sum`";
                ConfigError::value(at("sha256"), problem)
            })?;
            Ok(Key {
                id: said.id.clone(),
                sha256,
                grants: said.channels.clone(),
                can: said.can.clone(),
            })
        };
        said.iter()
            .enumerate()
            .map(key)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whose key this is.
    pub fn judge(&self, shown: &str) -> Result<Known, CredentialError> {
        let rest = shown
            .strip_prefix(PREFIX)
            .ok_or(CredentialError::Malformed)?;
        let (id, _) = rest.split_once('_').ok_or(CredentialError::ApiKey)?;
        let digest = sha256(shown);
        let is_it =
            |key: &&Key| key.id == id && verify_slices_are_equal(&key.sha256, &digest).is_ok();
        let key = self.0.iter().find(is_it).ok_or(CredentialError::ApiKey)?;
        Ok(key.known())
    }

    /// The key with this digest, for somebody who has shown it before.
    pub fn by_digest(&self, sha256: &[u8; DIGEST_BYTES]) -> Result<&Key, CredentialError> {
        let key = self.0.iter().find(|key| key.sha256 == *sha256);
        key.ok_or(CredentialError::ApiKey)
    }
}

impl Key {
    /// Its holder.
    pub fn known(&self) -> Known {
        Known {
            proof: Proof::ApiKey(self.sha256),
            who: Who::Server(self.id.clone()),
            grants: self.grants.clone(),
            told: None,
            can: self.can.clone(),
            ends_ms: None,
        }
    }
}

fn check_id(id: &str) -> Result<(), String> {
    let is_fine = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    match (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_fine) {
        true => Ok(()),
        false => Err(format!(
            "is {id:?}; use 1 to {ID_BYTES_MAX} characters of a-z, 0-9 and -"
        )),
    }
}

fn sha256(key: &str) -> [u8; DIGEST_BYTES] {
    let digest = digest::digest(&digest::SHA256, key.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn digest_of(text: &str) -> Option<[u8; DIGEST_BYTES]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |all, digit| all << 4 | digit))
        .collect();
    (digits.len() == 2 * DIGEST_BYTES).then(|| bytes.try_into().ok())?
}
