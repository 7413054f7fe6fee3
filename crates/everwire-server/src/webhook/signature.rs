//! How a question shows that this server asks it.
//!
//! ```text
//!  Everwire-Signature: t=1790000000,hs256=5257a8…,ed25519=9e4a…
//!                        └ seconds    └ over "1790000000." and the content, in hexadecimal digits
//! ```
//!
//! The time is signed too, so that what somebody has seen cannot be sent again later.

use std::{fmt, io, path::Path};

use aws_lc_rs::{digest, hmac};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};

use crate::config::{ConfigError, Webhooks};

/// What questions are signed with: a secret, a private key, or both.
pub(crate) struct Signer {
    secret: Option<hmac::Key>,
    key: Option<EncodingKey>,
    digest: [u8; 32],
}

/// A shorter secret could be guessed by who has seen one question (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;

impl Signer {
    /// The settings' secret and private key. `read` gets the content of a file.
    pub fn new(
        settings: &Webhooks,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, ConfigError> {
        let mut content = |setting: &'static str, path: &Path| {
            read(path).map_err(|error| {
                let problem = format!("names {}, which cannot be read: {error}", path.display());
                ConfigError::value(setting, problem)
            })
        };
        let said = settings.secret.reveal();
        let is_file = !settings.secret_file.as_os_str().is_empty();
        let secret = match (said, is_file) {
            ("", false) => None,
            ("", true) => {
                let mut bytes = content("webhooks.secret_file", &settings.secret_file)?;
                while bytes.pop_if(|last| matches!(last, b'\n' | b'\r')).is_some() {}
                Some(("webhooks.secret_file", bytes))
            }
            (said, false) => Some(("webhooks.secret", said.as_bytes().to_vec())),
            (_, true) => {
                let problem = "is given beside webhooks.secret; leave one of them out";
                return Err(ConfigError::value("webhooks.secret_file", problem));
            }
        };
        let secret = match secret {
            Some((setting, bytes)) if bytes.len() < SECRET_BYTES_MIN => {
                let problem = format!(
                    "has {} bytes, and needs {SECRET_BYTES_MIN}; `openssl rand -hex 32` makes one",
                    bytes.len()
                );
                return Err(ConfigError::value(setting, problem));
            }
            secret => secret.map(|(_, bytes)| bytes),
        };
        let mut digest = digest::Context::new(&digest::SHA256);
        for part in [secret.as_deref().unwrap_or_default(), b"\0"] {
            digest.update(part);
        }
        let secret = secret.map(|bytes| hmac::Key::new(hmac::HMAC_SHA256, &bytes));
        let key = match settings.private_key_file.as_os_str().is_empty() {
            true => None,
            false => {
                let setting = "webhooks.private_key_file";
                let pem = content(setting, &settings.private_key_file)?;
                digest.update(&pem);
                let key = EncodingKey::from_ed_pem(&pem).ok();
                // A key of another kind is found out by its first signature.
                let key = key.filter(|key| ed25519(key, b"").is_some());
                let problem =
                    "holds no private key of Ed25519 as PEM; `everwire key --webhook` makes one";
                Some(key.ok_or_else(|| ConfigError::value(setting, problem))?)
            }
        };
        if secret.is_none() && key.is_none() {
            let problem = "is set, and nothing to sign questions with: your application could not tell them from a \
                           stranger's; set webhooks.secret, or webhooks.private_key_file";
            return Err(ConfigError::value("webhooks.url", problem));
        }
        let digest = digest.finish();
        Ok(Self {
            secret,
            key,
            digest: digest.as_ref().try_into().expect("SHA-256 has 32 bytes"),
        })
    }

    /// Tells the secret and the key from others.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The value of the field `Everwire-Signature`, for a content that is sent at this time.
    pub fn sign(&self, content: &[u8], unix_s: u64) -> String {
        let signed = [format!("{unix_s}.").as_bytes(), content].concat();
        let mut value = format!("t={unix_s}");
        if let Some(secret) = &self.secret {
            value.push_str(",hs256=");
            push_hex(hmac::sign(secret, &signed).as_ref(), &mut value);
        }
        if let Some(signature) = self.key.as_ref().and_then(|key| ed25519(key, &signed)) {
            value.push_str(",ed25519=");
            push_hex(&signature, &mut value);
        }
        value
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(not shown)")
    }
}

fn ed25519(key: &EncodingKey, message: &[u8]) -> Option<Vec<u8>> {
    let signature = crypto::sign(message, key, Algorithm::EdDSA).ok()?;
    BASE64_URL_SAFE_NO_PAD.decode(signature).ok()
}

fn push_hex(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        out.push_str(&format!("{byte:02x}"));
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use base64::prelude::BASE64_STANDARD;

    use super::*;
    use crate::webhook::{KeyPair, SEED_BYTES};

    const SECRET: &str = "a secret of more than 32 bytes, just so";

    fn signer(settings: &Webhooks, file: &[u8]) -> Result<Signer, String> {
        let mut read = |_: &Path| Ok(file.to_vec());
        Signer::new(settings, &mut read).map_err(|error| error.to_string())
    }

    fn with_secret(secret: &str) -> Webhooks {
        Webhooks {
            secret: secret.into(),
            ..Webhooks::default()
        }
    }

    fn with_key() -> Webhooks {
        Webhooks {
            private_key_file: "webhook.pem".into(),
            ..Webhooks::default()
        }
    }

    /// What `openssl dgst -sha256 -hmac` says.
    #[test]
    fn a_secret_signs_the_time_and_the_content() {
        let signature = signer(&with_secret(SECRET), b"")
            .unwrap()
            .sign(b"{}", 1_790_000_000);
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let tag = signature.strip_prefix("t=1790000000,hs256=").unwrap();
        let tag: Vec<u8> = (0..tag.len() / 2)
            .map(|at| u8::from_str_radix(&tag[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        hmac::verify(&key, b"1790000000.{}", &tag).unwrap();
    }

    #[test]
    fn a_private_key_signs_so_that_its_public_key_verifies() {
        let pair = KeyPair::new([7; SEED_BYTES]).unwrap();
        let signer = signer(&with_key(), pair.private.as_bytes()).unwrap();
        let signature = signer.sign(b"{}", 17);
        let hex = signature.strip_prefix("t=17,ed25519=").unwrap();
        let bytes: Vec<u8> = (0..64)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let line = pair.public.lines().nth(1).unwrap();
        let public = BASE64_STANDARD.decode(line).unwrap();
        let public = UnparsedPublicKey::new(&ED25519, &public[12..]); // after the algorithm
        public.verify(b"17.{}", &bytes).unwrap();
        assert!(
            public.verify(b"18.{}", &bytes).is_err(),
            "the time is signed"
        );
    }

    #[test]
    fn what_cannot_sign_is_told_with_its_setting_and_without_its_text() {
        let both = Webhooks {
            secret_file: "secret".into(),
            ..with_secret(SECRET)
        };
        let file = Webhooks {
            secret_file: "secret".into(),
            ..Webhooks::default()
        };
        for (settings, content, expected) in [
            (Webhooks::default(), &b""[..], "webhooks.private_key_file"),
            (with_secret("short"), b"", "`webhooks.secret` has 5 bytes"),
            (
                file.clone(),
                b"short\n",
                "`webhooks.secret_file` has 5 bytes",
            ),
            (both, b"", "leave one of them out"),
            (with_key(), b"secret", "everwire key --webhook"),
        ] {
            let error = signer(&settings, content).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(signer(&file, format!("{SECRET}\r\n").as_bytes()).is_ok());
    }
}
