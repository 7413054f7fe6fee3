//! The settings: one typed tree, from which the sample file, the environment and the flags are made.
//!
//! ```text
//!  defaults ◀─ everwire.toml ◀─ EVERWIRE_LIMITS__MESSAGE_BYTES_MAX ◀─ --limits.message-bytes-max
//! ```
//!
//! Each setting's comment is its documentation everywhere: in the API, in `everwire config`, in `--help` and in
//! the manual's page `docs/configuration.md`.

use std::borrow::Cow;

use self::place::{place_at, place_of};
use self::spelling::in_words;

mod acme;
mod address;
mod credential;
mod document;
mod fixed;
mod host;
mod listen;
mod metrics_access;
mod network;
mod object;
mod origin;
mod place;
mod prefix;
mod proxy;
mod revoked;
mod rule;
mod spelling;
mod tls;
mod tree;
mod url;
mod useless;
mod webhooks;

pub use acme::{Acme, Challenge, Domain};
pub(crate) use address::{Address, ClearText};
pub use credential::{Algorithm, ApiKey, Duty, Grant, Jwks, Secret, TokenKey};
pub use document::{Setting, settings, to_documented_toml, to_markdown};
pub(crate) use host::Asked as AskedHost;
pub use host::Host;
pub use listen::Listen;
pub(crate) use listen::Place;
pub use metrics_access::MetricsAccess;
pub use network::Network;
pub(crate) use object::{Object, is_there, objects, some_objects};
pub(crate) use origin::PageOrigin;
#[cfg(test)]
pub(crate) use prefix::OWN_SEGMENTS;
pub use proxy::{ProxyFields, ProxyProtocol};
pub use revoked::Revoked;
pub(crate) use revoked::{REVOCABLE_ID_BYTES_MAX, Said as RevokedSaid};
pub use rule::{Action, Create, Rule, Rules};
pub use spelling::{UnknownVariable, unknown_variables};
pub use tls::{CertificateFiles, ClientAuth, TlsMode, TlsVersion};
pub use tree::{
    Channels, Config, Echo, Events, Health, Http, Limits, Logs, Metrics, Outbound, Presence,
    Reload, SessionLimits, Stop, Tls, Tokens,
};
pub use url::Url;
pub use webhooks::Webhooks;

/// Why a configuration is not valid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is no TOML, or has a field that is unknown or of the wrong type.
    #[error("{place}: {problem}")]
    Syntax {
        /// Line and column, or the setting's path.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// A value is of the right type and makes no sense.
    #[error("{}`{setting}` {problem}", place.as_ref().map_or(String::new(), |place| format!("{place}: ")))]
    Value {
        /// Line and column, if it is known that it is written in a file.
        place: Option<String>,
        /// The setting's path, such as `limits.lines_max`.
        setting: Cow<'static, str>,
        /// What is wrong with it and what to write instead.
        problem: String,
    },
}

impl ConfigError {
    /// What the parser says, without the line that it would quote: there may be a secret in it.
    fn of_parser(error: &toml::de::Error, text: &str) -> Self {
        let place = match error.span() {
            Some(span) => place_at(text, span.start),
            None => {
                let mut error = error.clone();
                error.set_input(None);
                // With its keys, which only its whole text tells.
                let whole = error.to_string();
                match whole.rsplit_once("\nin `") {
                    Some((_, keys)) => keys.trim_end().trim_end_matches('`').to_owned(),
                    None => "the configuration".to_owned(),
                }
            }
        };
        let problem = in_words(&error.message().trim_end().replace('\n', " "));
        Self::Syntax { place, problem }
    }

    /// The same error, telling where in the text of a file the setting is written.
    #[must_use]
    pub fn in_text(mut self, text: &str) -> Self {
        if let Self::Value { place, setting, .. } = &mut self {
            *place = place_of(text, setting);
        }
        self
    }

    /// The setting that makes no sense, as its path, if it is about one.
    pub fn setting(&self) -> Option<&str> {
        match self {
            Self::Syntax { .. } => None,
            Self::Value { setting, .. } => Some(setting),
        }
    }

    pub(crate) fn value(setting: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        Self::Value {
            place: None,
            setting: setting.into(),
            problem: problem.into(),
        }
    }
}
