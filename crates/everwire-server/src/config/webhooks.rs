//! The settings of webhooks.

use std::{borrow::Cow, path::PathBuf};

use http::HeaderName;
use serde::{Deserialize, Serialize};

use super::{
    ConfigError,
    address::Address,
    credential::Secret,
    document::{Documented, SettingDoc},
    rule::Rule,
    tree::{Config, Outbound, settings},
    url::Url,
};

settings! {
/// Webhooks: your application decides who a caller is, and what it may read and publish, where neither a credential
/// nor a rule says so. It is asked by a signed `POST` for each decision (docs/webhooks.md). Without an answer nothing is
/// allowed.
pub struct Webhooks {
    /// The address that is asked, such as `https://app.example.org/everwire`; empty means that nobody is asked.
    pub url: String = String::new(),
    /// Whether it is asked who a caller is that shows no credential of this server's own, when it opens a session or a
    /// WebSocket, or wants what not everybody may. What channels it decides about is said by `channels.decide`.
    pub connect: bool = false,
    /// Fields of a caller's request that are passed on, such as `cookie`. `cookie` is, from pages whose cookies count as
    /// for `tokens.cookie`. With `authorization`, a credential that is none of this server's own is passed on instead
    /// of being refused, wherever it was shown.
    pub headers: Vec<String> = Vec::new(),
    /// A secret of at least 32 bytes that questions are signed with, by HMAC with SHA-256. Here or in `secret_file`.
    pub secret: Secret = Secret::default(),
    /// A file that holds the secret; a line break at its end does not count.
    pub secret_file: PathBuf = PathBuf::new(),
    /// A file that holds a private key of Ed25519 as PEM, with which questions are signed so that the application needs
    /// no secret. `everwire key --webhook` makes one. With a secret beside it, both sign.
    pub private_key_file: PathBuf = PathBuf::new(),
    /// Whether the payloads of publications are part of the question, or only their sizes.
    pub send_data: bool = true,
    /// Most bytes of payloads in one question, if they are sent; a larger publication is answered with 413.
    pub data_bytes_max: usize = 64 * 1024,
    /// Longest answer, in bytes; a longer one is none.
    pub answer_bytes_max: usize = 128 * 1024,
    /// Longest time from a question to its answer, in milliseconds, with all attempts; after that there is none.
    pub time_ms_max: u64 = 3_000,
    /// Most attempts at one question. It is asked again only if the application cannot have heard it: no connection, or
    /// a gateway's 502, 503 or 504. Whether something may be read is also asked again if the connection ended.
    pub attempts_max: u32 = 3,
    /// Most callers that wait for answers at once; further ones are answered with 503.
    pub waiting_max: usize = 1_000,
    /// Most of them that are one user's, one API key's or one address's, so that nobody else is refused for what one
    /// caller asks; further ones of it are answered with 429. 0, the default, is a sixteenth of `waiting_max`.
    pub waiting_per_caller_max: usize = 0,
    /// Most commands that one session may have waiting behind one that is being decided, over HTTP; further requests are
    /// answered with 429. A WebSocket is not read meanwhile.
    pub session_waiting_max: usize = 16,
    /// After how many failures in a row the application is left alone for a while, at least 1: no connection, no answer
    /// in the time that it had, a gateway's 502, 503 or 504. Until then whatever it decides is answered with 503 at once.
    /// But for connections, one caller's failures count once: after so many of its own, it alone is refused.
    pub breaker_failures: u32 = 5,
    /// For how long it is left alone, in milliseconds; then one question finds out whether it is back.
    pub breaker_rest_ms: u64 = 5_000,
    /// Most answers that are remembered, each for as long as it says by `cache_s`.
    pub cached_max: usize = 10_000,
    /// Longest time for which an answer is remembered, in seconds, whatever it says.
    pub cache_s_max: u64 = 3_600,
}
}

impl Webhooks {
    /// Whether they make sense, and ask for nothing that cannot be had.
    pub(super) fn check(&self, config: &Config) -> Result<(), ConfigError> {
        for name in &self.headers {
            if HeaderName::try_from(name).is_err() {
                let problem = format!("has `{name}`, which is not the name of a field");
                return Err(ConfigError::value("webhooks.headers", problem));
            }
        }
        for (setting, value) in [
            ("webhooks.time_ms_max", self.time_ms_max),
            ("webhooks.attempts_max", self.attempts_max.into()),
            ("webhooks.waiting_max", self.waiting_max as u64),
            ("webhooks.breaker_failures", self.breaker_failures.into()),
        ] {
            if value == 0 {
                return Err(ConfigError::value(setting, "must be at least 1"));
            }
        }
        if self.address(&config.outbound)?.is_some() {
            return Ok(());
        }
        let decides = |rule: &Rule| {
            rule.decide
                .as_ref()
                .is_some_and(|decide| !decide.is_empty())
        };
        let setting = match config.rules.iter().position(decides) {
            Some(index) => Cow::from(format!("rules[{index}].decide")),
            None if !config.channels.decide.is_empty() => "channels.decide".into(),
            None if self.connect => "webhooks.connect".into(),
            None => return Ok(()),
        };
        let problem =
            "has your application decide, and there is no address to ask it at; set webhooks.url";
        Err(ConfigError::value(setting, problem))
    }

    /// The address of the application, if it is asked.
    ///
    /// # Errors
    ///
    /// It is none, or may not be asked in clear text.
    pub(crate) fn address(&self, outbound: &Outbound) -> Result<Option<Address>, ConfigError> {
        if self.url.is_empty() {
            return Ok(None);
        }
        let wrong = |problem: String| ConfigError::value("webhooks.url", problem);
        let url = Url::parse(&self.url).map_err(|problem| wrong(problem.to_owned()))?;
        Address::of(&url, outbound.clear_text())
            .map(Some)
            .map_err(|exposed| wrong(format!("is {url}; {}", outbound.told(exposed))))
    }

    /// How many questions of one caller wait at most.
    pub(crate) fn waiting_per_caller_max(&self) -> usize {
        match self.waiting_per_caller_max {
            0 => (self.waiting_max / 16).max(1),
            max => max,
        }
    }

    /// Whether this field of a request is passed on.
    pub fn passes_on(&self, name: &HeaderName) -> bool {
        !self.url.is_empty()
            && self
                .headers
                .iter()
                .any(|listed| listed.eq_ignore_ascii_case(name.as_str()))
    }
}
