//! A key that questions are signed with, and the one by which the application checks that.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    error::Unspecified,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine, prelude::BASE64_STANDARD};

/// Bytes of randomness in a key pair.
pub const SEED_BYTES: usize = 32;

/// A key pair of Ed25519 (RFC 8032), as PEM.
pub struct KeyPair {
    /// For the server, `webhooks.private_key_file`.
    pub private: String,
    /// For the application.
    pub public: String,
}

impl KeyPair {
    /// The key pair of these random bytes.
    ///
    /// # Errors
    ///
    /// The library for cryptography refuses, for no reason that it would tell.
    pub fn new(random: [u8; SEED_BYTES]) -> Result<Self, Unspecified> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&random)?;
        let private = pair.to_pkcs8v1()?;
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())?;
        Ok(Self {
            private: pem("PRIVATE KEY", private.as_ref()),
            public: pem("PUBLIC KEY", public.as_ref()),
        })
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").finish_non_exhaustive()
    }
}

/// Both keys fit into one line of 64 characters (RFC 7468, section 2).
fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}
