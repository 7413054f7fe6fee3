//! What credentials are checked with: keys of tokens, API keys, and what they grant.

use std::{fmt, path::PathBuf};

use everwire_channel::Pattern;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    rule::{Action, read_pattern, write_pattern},
    url::Url,
};

/// What a credential lets its holder do on the channels that match a pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `match` and `can`")]
pub struct Grant {
    /// Which channels, as in a rule: `*` is one segment, `**` as the last segment one or more.
    #[serde(
        rename = "match",
        serialize_with = "write_pattern",
        deserialize_with = "read_pattern"
    )]
    pub pattern: Pattern,
    /// What may be done there.
    pub can: Vec<Action>,
}

/// A key that tokens are signed with: `secret` or `secret_file` for HS256 and HS512, `public_key` or `public_key_file`
/// for the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKey {
    /// Its name, which a token gives in its header. One key may have none: it is for tokens that give none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The one algorithm that it is used with.
    pub alg: Algorithm,
    /// The secret of HS256 or HS512, as text of at least 32 or 64 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// A file that holds the secret; a line break at its end does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// The public key of RS256, PS256, ES256, ES384 or EdDSA, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// A file that holds the public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_file: Option<PathBuf>,
}

/// A server that publishes the keys that tokens are signed with, as a JWK Set (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwks {
    /// Where the document is.
    pub url: Url,
    /// Who has to have issued a token that is signed with these keys (its claim `iss`), instead of `tokens.issuer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// How a token is signed. Symmetric and asymmetric ones never share a key: who could choose between them would pass
/// a public key for a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret.
    #[serde(rename = "HS256")]
    Hs256,
    /// HMAC with SHA-512 and a shared secret.
    #[serde(rename = "HS512")]
    Hs512,
    /// RSASSA-PKCS1-v1_5 with SHA-256 and a key of 2048 to 8192 bits.
    #[serde(rename = "RS256")]
    Rs256,
    /// RSASSA-PSS with SHA-256 and a key of 2048 to 8192 bits.
    #[serde(rename = "PS256")]
    Ps256,
    /// ECDSA with SHA-256 and a key on P-256.
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA with SHA-384 and a key on P-384.
    #[serde(rename = "ES384")]
    Es384,
    /// EdDSA with a key on Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// A key by which a server shows who it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Its name in the key, `ewk_<id>_<secret>`: 1 to 32 characters of `a-z`, `0-9` and `-`. Two entries may share
    /// it while a secret is replaced.
    pub id: String,
    /// The SHA-256 of the whole key, in hexadecimal digits. The key itself is kept nowhere.
    pub sha256: String,
    /// What it grants on channels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Grant>,
    /// What else may be done with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub can: Vec<Duty>,
}

/// What a server may do that concerns no channel. Nobody is granted it but the holder of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duty {
    /// Take tokens back before their time is over, and see which were.
    Revoke,
}

/// A text that is never shown; empty where there is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

/// What is written in a secret's place.
const NOT_SHOWN: &str = "(not shown)";

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NOT_SHOWN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { NOT_SHOWN })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // An error of the parser's own would show what it found instead of a string.
        match String::deserialize(deserializer) {
            Ok(text) if text == NOT_SHOWN => Err(serde::de::Error::custom(
                "the secret was left out when this configuration was printed; write it here, or its file in `secret_file`",
            )),
            Ok(text) => Ok(Self(text)),
            Err(_) => Err(serde::de::Error::custom("a secret is a string in quotes")),
        }
    }
}

impl Duty {
    /// The duty's name in settings and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
        }
    }
}

impl Algorithm {
    /// Whether whoever checks a token can sign one too.
    pub fn is_symmetric(self) -> bool {
        match self {
            Self::Hs256 | Self::Hs512 => true,
            Self::Rs256 | Self::Ps256 | Self::Es256 | Self::Es384 | Self::EdDsa => false,
        }
    }

    /// Its name in the header of a token (RFC 7518, section 3.1; RFC 8037).
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, to_documented_toml};

    const SECRET: &str = "a secret of more than 32 bytes, just so";

    fn config() -> Config {
        let text = format!("[[tokens.keys]]\nalg = \"HS256\"\nsecret = \"{SECRET}\"\n");
        Config::from_toml(&text).unwrap()
    }

    #[test]
    fn a_secret_is_read_and_never_shown() {
        let config = config();
        assert_eq!(
            config.tokens.keys[0].secret.as_ref().unwrap().reveal(),
            SECRET
        );
        for shown in [format!("{config:?}"), to_documented_toml(&config)] {
            assert!(!shown.contains(SECRET), "{shown}");
            assert!(shown.contains(NOT_SHOWN), "{shown}");
        }
    }

    #[test]
    fn a_configuration_that_was_printed_without_its_secret_is_told_from_one_with_it() {
        let printed = to_documented_toml(&config());
        let error = Config::from_toml(&printed).unwrap_err().to_string();
        assert!(error.contains("was left out"), "{error}");
    }

    #[test]
    fn no_error_about_a_configuration_shows_what_stands_in_it() {
        for text in [
            format!("[[tokens.keys]]\nalg = \"HS256\"\nsecert = \"{SECRET}\"\n"),
            format!("[[tokens.keys]]\nalg = \"HS256\"\nsecret = [\"{SECRET}\"]\n"),
            format!("[[tokens.keys]]\nalg = \"HS256\"\nsecret = \"{SECRET}\n"),
            format!("tokens.keys = [{{ secret = \"{SECRET}\" alg }}]\n"),
            "[[tokens.keys]]\nalg = \"HS256\"\nsecret = 4711471147114711\n".to_owned(),
        ] {
            let error = Config::from_toml(&text).unwrap_err();
            for shown in [error.to_string(), format!("{error:?}")] {
                assert!(!shown.contains(SECRET), "{text} gave {shown}");
                assert!(!shown.contains("4711"), "{text} gave {shown}");
            }
            assert!(error.to_string().contains("line "), "{text} gave {error}");
        }
    }
}
