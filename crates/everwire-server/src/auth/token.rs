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

use std::{borrow::Cow, io, path::Path};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{CredentialError, KeyServers, Known, Proof, claims::Claims, token_key::Key};
use crate::config::{ConfigError, Object, Tokens, is_there};

/// The keys that tokens are checked with, and the terms on which they are taken.
#[derive(Debug, Default)]
pub(super) struct TokenKeys {
    keys: Vec<Key>,
    servers: KeyServers,
    settings: Tokens,
}

/// The header of a token, as far as it is looked at.
#[derive(Deserialize)]
struct Header<'t> {
    #[serde(borrow)]
    alg: Cow<'t, str>,
    #[serde(borrow)]
    kid: Option<Cow<'t, str>>,
    /// It is there, be it as `null`.
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

impl<'t> Header<'t> {
    fn parse(json: &'t [u8]) -> Option<Self> {
        let Object(header) = serde_json::from_slice(json).ok()?;
        Some(header)
    }
}

impl TokenKeys {
    pub fn new(
        settings: &Tokens,
        servers: KeyServers,
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
        Ok(Self {
            keys,
            servers,
            settings,
        })
    }

    /// Tells whether tokens are checked here: by keys of the configuration, or by those of key servers, even of one that
    /// has given none yet.
    pub fn has_source_of_keys(&self) -> bool {
        !self.keys.is_empty() || !self.servers.is_empty()
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
        if header.crit {
            // What has to be understood and is not makes a token void (RFC 7515, section 4.1.11).
            return Err(CredentialError::Header(
                "has `crit`, and this server knows no extension that it could ask for",
            ));
        }
        let by = |key: &Key| key.check(&header.alg, message, signature);
        let (issuer, proof) = self.issuer_of_key(header.kid.as_deref(), &by)?;
        Claims::parse(&decode(claims)?)?.check(&self.settings, issuer, proof, now_ms)
    }

    /// Who has to have issued what is signed with a key; nothing if it is none of this server's (any more).
    pub fn issuer_by(&self, proof: Proof) -> Option<&str> {
        let own_issuer = self.settings.issuer.as_str();
        match proof {
            Proof::Key(_) => {
                let is_there = self.keys.iter().any(|key| key.proof == proof);
                is_there.then_some(own_issuer)
            }
            Proof::KeyServer(_) => {
                let issuer = self.servers.issuer_by(proof)?;
                Some(issuer.unwrap_or(own_issuer))
            }
            Proof::ApiKey(_) | Proof::Application => None,
        }
    }

    /// The terms on which tokens are taken.
    pub fn settings(&self) -> &Tokens {
        &self.settings
    }

    /// The key servers, for who fetches from them.
    pub fn servers(&self) -> &KeyServers {
        &self.servers
    }

    /// Who has to have issued a token, by the key that it is signed with, and what proves it good. Two sources may have
    /// keys of the same name: then the signature tells which it was.
    fn issuer_of_key(
        &self,
        kid: Option<&str>,
        by: &dyn Fn(&Key) -> Result<(), CredentialError>,
    ) -> Result<(&str, Proof), CredentialError> {
        let own_issuer = self.settings.issuer.as_str();
        let mut error = match self.key(kid) {
            Ok(key) => match by(key) {
                Ok(()) => return Ok((own_issuer, key.proof)),
                Err(error) => Some(error),
            },
            Err(error) if self.servers.is_empty() => return Err(error),
            Err(_) => None,
        };
        for (keys, issuer) in self.servers.keys() {
            match keys.find(kid).map(|key| by(key).map(|()| key.proof)) {
                None => {}
                Some(Ok(proof)) => return Ok((issuer.unwrap_or(own_issuer), proof)),
                Some(Err(wrong)) => error = error.or(Some(wrong)),
            }
        }
        Err(error.unwrap_or(match self.servers.is_one_down() {
            true => CredentialError::KeysUnavailable,
            false => CredentialError::UnknownKey,
        }))
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

fn decode(part: &str) -> Result<Vec<u8>, CredentialError> {
    BASE64_URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| CredentialError::Malformed)
}
