//! What a token is signed with.

use anyhow::{Context, anyhow, bail};
use everwire_server::{
    Config,
    config::{Algorithm, TokenKey},
};
use jsonwebtoken::{Algorithm as Method, EncodingKey, Header};
use serde_json::Value;

use super::read;

/// A key that signs, and its name.
pub struct Signing {
    key: EncodingKey,
    method: Method,
    kid: Option<String>,
}

impl Signing {
    /// With a shared secret, as its file holds it.
    ///
    /// # Errors
    ///
    /// It is too short for a server.
    pub fn by_secret(file: &[u8], kid: Option<&str>) -> anyhow::Result<Self> {
        let text = file.strip_suffix(b"\n").unwrap_or(file);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.len() < SECRET_BYTES_MIN {
            bail!(
                "the secret has {} bytes, and servers ask for at least {SECRET_BYTES_MIN}; `openssl rand -hex 32` makes a good one",
                text.len()
            );
        }
        Ok(Self {
            key: EncodingKey::from_secret(text),
            method: Method::HS256,
            kid: kid.map(str::to_owned),
        })
    }

    /// With a private key as PEM, by the algorithm that it is for.
    ///
    /// # Errors
    ///
    /// It is none, or of a kind that is not used for tokens.
    pub fn by_private_key(pem: &[u8], kid: Option<&str>) -> anyhow::Result<Self> {
        let text = String::from_utf8_lossy(pem);
        if !text.contains("PRIVATE KEY-----") {
            bail!("is no private key as PEM, which begins with `-----BEGIN PRIVATE KEY-----`");
        }
        if text.contains("BEGIN EC PRIVATE KEY") {
            bail!(
                "is in an old form; `openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW` brings it into the new one"
            );
        }
        let kinds: [(_, ReadPem); 3] = [
            (Method::EdDSA, EncodingKey::from_ed_pem),
            (Method::ES256, EncodingKey::from_ec_pem),
            (Method::RS256, EncodingKey::from_rsa_pem),
        ];
        let found = kinds
            .into_iter()
            .find_map(|(method, read)| Some((method, read(pem).ok()?)));
        let (method, key) = found.context("is neither Ed25519, nor P-256, nor RSA")?;
        Ok(Self {
            key,
            method,
            kid: kid.map(str::to_owned),
        })
    }

    /// With the secret of a server's configuration: that of this name, or the only one.
    ///
    /// # Errors
    ///
    /// It has none, or several.
    pub fn by_configuration(config: &Config, kid: Option<&str>) -> anyhow::Result<Self> {
        let is_secret = |key: &&TokenKey| key.alg.is_symmetric();
        let is_named = |key: &&TokenKey| kid.is_none() || key.kid.as_deref() == kid;
        let keys: Vec<_> = config
            .tokens
            .keys
            .iter()
            .filter(is_secret)
            .filter(is_named)
            .collect();
        let key = match &keys[..] {
            [key] => key,
            [] => bail!(
                "the configuration has no secret{} to sign with; a server has only the public half of other keys: name \
                 the private one with --private-key-file",
                kid.map_or(String::new(), |kid| format!(" named {kid}"))
            ),
            [..] => bail!("the configuration has several secrets; say which with --kid"),
        };
        let bytes = match (&key.secret, &key.secret_file) {
            (Some(secret), None) => secret.reveal().as_bytes().to_vec(),
            (None, Some(path)) => read(path)?,
            _ => bail!("the key in the configuration needs exactly one of secret and secret_file"),
        };
        let mut signing = Self::by_secret(&bytes, key.kid.as_deref())?;
        if key.alg == Algorithm::Hs512 {
            signing.method = Method::HS512;
        }
        Ok(signing)
    }

    /// A token with these claims.
    ///
    /// # Errors
    ///
    /// The key does not sign: it is on another curve, for example.
    pub fn sign(&self, claims: &Value) -> anyhow::Result<String> {
        let mut header = Header::new(self.method);
        header.kid.clone_from(&self.kid);
        jsonwebtoken::encode(&header, claims, &self.key).map_err(|_| {
            anyhow!("the private key does not sign: it has to be Ed25519, P-256, or RSA of 2048 bits or more")
        })
    }
}

type ReadPem = fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>;

const SECRET_BYTES_MIN: usize = 32;
