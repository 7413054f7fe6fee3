//! Credentials: who asks, and what that may do.
//!
//! ```text
//!  request ─▶ Credential ─┬─ eyJ…      ─▶ remembered? ─▶ TokenKeys ─▶ claims ─┐
//!                         ├─ ewk_a_…   ─▶ ApiKeys ───────────────────────────┼─▶ Caller ─▶ permits(action, name)
//!                         └─ nothing   ─▶ anybody ───────────────────────────┘
//! ```
//!
//! Without IO: time is an argument, and so is what reads key files. What a caller may do is what anybody may, and what
//! its credential grants besides. A credential that is shown and wrong is refused, even where none would be needed: who
//! shows one relies on it. No message and no log holds a credential, or a part of its signature or secret.

mod api_key;
mod caller;
mod claims;
mod credential;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod jwks;
mod key_server;
mod key_servers;
mod refusal;
mod remembered;
mod revocation;
mod shown;
#[cfg(test)]
mod tests;
mod token;
mod token_key;
mod user_name;

use std::{io, path::Path, sync::Arc, time::Instant};

use everwire_wire::Problem;

pub use self::api_key::{GENERATED_BYTES, NewKey};
pub(crate) use self::caller::right_to_read;
pub use self::caller::{Caller, Known, Proof, Who};
pub(crate) use self::user_name::{NotVouched, claimed, vouched};
use self::{api_key::ApiKeys, remembered::Remembered, revocation::List, token::TokenKeys};
pub(crate) use self::{
    credential::Credential,
    jwks::DocumentError,
    key_servers::{Asked, Fetch, Fetching, KeyServers, Taken},
    refusal::{has_ended, not_taken, permit_duty, publishes_nowhere, was_revoked},
    revocation::Revocations,
    shown::Shown,
};
use crate::{
    clock::{self, Now},
    config::{Config, ConfigError},
};

/// Whatever credentials are checked with.
#[derive(Debug, Default)]
pub struct Authority {
    tokens: TokenKeys,
    keys: ApiKeys,
    /// The application says who callers are.
    asks_application: bool,
    remembered: Remembered,
    /// What the configuration takes back.
    revoked: List,
    /// What servers have taken back since the start.
    revocations: Arc<Revocations>,
}

/// Why a credential is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// Longer than any token that is taken.
    #[error("the token is longer than {bytes_max} bytes (tokens.token_bytes_max); put less in it")]
    TooLong {
        /// The limit.
        bytes_max: usize,
    },
    /// Neither a token nor an API key, to look at it.
    #[error(
        "the credential is neither a token, which is three parts of base64url between dots, nor an API key, which \
         begins with ewk_; send it as it was given to you"
    )]
    Malformed,
    /// The token's header is none that this server takes.
    #[error("the token's header {0}")]
    Header(&'static str),
    /// Which key it is signed with cannot be told, or it is not there.
    #[error("the token {0}")]
    Key(&'static str),
    /// Signed with a key that none of the key servers has.
    #[error(
        "the token is signed with a key (`kid` in its header) that is neither in tokens.keys nor at a key server of \
         tokens.jwks"
    )]
    UnknownKey,
    /// Signed with a key that is not known, and a key server that may know it does not answer.
    #[error(
        "the token cannot be checked now: it is signed with a key that is not known here yet, and a key server does not \
         answer; try again in a moment"
    )]
    KeysUnavailable,
    /// The key is for another algorithm.
    #[error(
        "the token says another algorithm than its key is for, which is {expected}; sign it with that one"
    )]
    Algorithm {
        /// The key's algorithm.
        expected: &'static str,
    },
    /// Not signed by the key, or changed since.
    #[error(
        "the token's signature is not that of its key; it was changed, cut, or signed with another key"
    )]
    Signature,
    /// The claims are not what they should be.
    #[error("the token's claims are not valid: {0}")]
    Claims(String),
    /// Its time is over.
    #[error("the token has expired {ago_s} s ago; get a fresh one")]
    Expired {
        /// For how long, in seconds.
        ago_s: u64,
    },
    /// Its time has not come.
    #[error(
        "the token is not valid for another {in_s} s (`nbf`); compare the clocks of its issuer and this server"
    )]
    TooEarly {
        /// For how long, in seconds.
        in_s: u64,
    },
    /// Valid for longer than any token may be.
    #[error(
        "the token is valid for {life_s} s, and at most {life_s_max} s are taken (tokens.life_s_max); issue one with an earlier `exp`"
    )]
    TooLongLived {
        /// From its `iat`, or now, to its `exp`.
        life_s: u64,
        /// The limit.
        life_s_max: u64,
    },
    /// It was taken, and its key is not one of this server's any more.
    #[error(
        "the token's key is not one of this server's any more; get a token that is signed with another"
    )]
    KeyRemoved,
    /// The application named its holder, and is not asked any more.
    #[error(
        "the application that vouched for this caller is not asked any more; show a credential"
    )]
    ApplicationRemoved,
    /// Taken back before its time was over.
    #[error("the token was revoked; get a fresh one")]
    Revoked,
    /// No such key, or not its secret.
    #[error(
        "the API key is not one of this server's; its `id` is unknown, or its secret was replaced"
    )]
    ApiKey,
}

impl Authority {
    /// What a configuration says about credentials, checked. `read` gets the content of a key's file.
    ///
    /// # Errors
    ///
    /// A key is not what it should be; the error tells which and what to do.
    pub fn new(
        config: &Config,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, ConfigError> {
        Self::default().succeeded_by(config, read)
    }

    /// The same, where this one holds until then: key servers that it trusts go on with the keys that they have given, and
    /// what was revoked is so.
    ///
    /// # Errors
    ///
    /// A key is not what it should be; the error tells which and what to do.
    pub(crate) fn succeeded_by(
        &self,
        config: &Config,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, ConfigError> {
        let known = self.tokens.servers();
        let servers = KeyServers::new(config, known, Instant::now())?;
        Ok(Self {
            tokens: TokenKeys::new(&config.tokens, servers, read)?,
            keys: ApiKeys::new(&config.keys)?,
            asks_application: config.webhooks.connect && !config.webhooks.url.is_empty(),
            remembered: Remembered::new(config.tokens.remembered_max),
            revoked: List::of(&config.tokens.revoked),
            revocations: self.revocations.clone(),
        })
    }

    /// Who shows this credential, a token or an API key, at this time.
    ///
    /// # Errors
    ///
    /// It is not one that this server takes, or not now.
    pub fn judge(&self, shown: &str, now_ms: u64) -> Result<Caller, CredentialError> {
        match self.recall(shown, now_ms) {
            Some(outcome) => outcome,
            None => self.verify(shown, now_ms),
        }
    }

    /// The same, for an answer to whoever showed it and can wait: for keys that are fetched since one is not known.
    /// `admit` is asked before a signature is checked.
    pub(crate) async fn caller(
        &self,
        shown: &str,
        admit: impl FnOnce() -> Result<(), Problem>,
    ) -> Result<Caller, Problem> {
        let Now { instant, unix_ms } = Now::read();
        let judged = match self.recall(shown, unix_ms) {
            Some(outcome) => outcome,
            None => {
                admit()?;
                self.verify(shown, unix_ms)
            }
        };
        let outcome = match judged {
            Err(error) => match self.key_is_fetched(&error, instant) {
                Some(fetching) => {
                    fetching.end().await;
                    self.judge(shown, clock::unix_ms())
                }
                None => Err(error),
            },
            outcome => outcome,
        };
        outcome.map_err(|error| not_taken(&error))
    }

    /// Who shows this credential, if that is known without checking a signature.
    fn recall(&self, shown: &str, now_ms: u64) -> Option<Result<Caller, CredentialError>> {
        match self.kind_of(shown) {
            Shown::ApiKey => return Some(self.keys.judge(shown).map(Caller::known)),
            // A foreign one that is not passed on is refused, with what is wrong with it.
            Shown::Token | Shown::Foreign => {}
        }
        if let Err(error) = self.tokens.check_length(shown) {
            return Some(Err(error));
        }
        // What was signed with a key that is good no more is checked once more.
        let generation = self.tokens.servers().generation();
        let known = self.remembered.find(shown, generation, now_ms)?;
        Some(self.unless_revoked(known))
    }

    /// Who shows this token, by its signature and its claims.
    fn verify(&self, token: &str, now_ms: u64) -> Result<Caller, CredentialError> {
        let generation = self.tokens.servers().generation();
        let known = self.tokens.verify(token, now_ms)?;
        self.unless_revoked(self.remembered.keep(token, generation, known))
    }

    fn unless_revoked(&self, known: Arc<Known>) -> Result<Caller, CredentialError> {
        match self.is_revoked(&known) {
            true => Err(CredentialError::Revoked),
            false => Ok(Caller::Known(known)),
        }
    }

    /// The same, for somebody who cannot wait, and is to ask again where that would have been of use.
    pub(crate) fn caller_at_once(&self, shown: &str, now: Now) -> Result<Caller, Problem> {
        self.judge(shown, now.unix_ms).map_err(|error| {
            match self.key_is_fetched(&error, now.instant) {
                Some(_) => not_taken(&CredentialError::KeysUnavailable),
                None => not_taken(&error),
            }
        })
    }

    /// What to wait for, where a key is not known that a key server may have.
    fn key_is_fetched(&self, error: &CredentialError, now: Instant) -> Option<Fetching> {
        match error {
            CredentialError::UnknownKey | CredentialError::KeysUnavailable => {
                self.tokens.servers().hasten(now)
            }
            _ => None,
        }
    }

    /// Whether what a caller has shown would be taken if it were shown now: its key, and the terms on which tokens are
    /// taken, may be others than when it was.
    ///
    /// # Errors
    ///
    /// It would not.
    pub(crate) fn check(&self, caller: &Caller, now_ms: u64) -> Result<(), CredentialError> {
        let Some(known) = caller.as_known() else {
            return Ok(());
        };
        match known.proof {
            Proof::ApiKey(sha256) => self.keys.by_digest(&sha256).map(drop),
            Proof::Application if self.asks_application => Ok(()),
            Proof::Application => Err(CredentialError::ApplicationRemoved),
            Proof::Key(_) | Proof::KeyServer(_) => {
                let issuer = self.tokens.issuer_by(known.proof);
                let issuer = issuer.ok_or(CredentialError::KeyRemoved)?;
                let told = known.told.as_ref();
                let ends = told.map(|told| told.check(self.tokens.settings(), issuer, now_ms));
                ends.transpose().map(drop)
            }
        }
    }

    /// Who has shown a credential before, with what that grants now.
    ///
    /// # Errors
    ///
    /// It would not be taken now.
    pub fn renew(&self, caller: &Caller, now_ms: u64) -> Result<Caller, CredentialError> {
        self.check(caller, now_ms)?;
        match caller.as_known().map(|known| known.proof) {
            Some(Proof::ApiKey(sha256)) => {
                let key = self.keys.by_digest(&sha256)?;
                Ok(Caller::known(key.known()))
            }
            None | Some(Proof::Key(_) | Proof::KeyServer(_) | Proof::Application) => {
                Ok(caller.clone())
            }
        }
    }

    /// Whether a credential that was taken still stands, where the configuration is the same: it may have been revoked,
    /// and a key server may have withdrawn its key.
    ///
    /// # Errors
    ///
    /// It does not, for this reason.
    pub(crate) fn stands(&self, known: &Known) -> Result<(), CredentialError> {
        let is_withdrawn = matches!(known.proof, Proof::KeyServer(_))
            && self.tokens.issuer_by(known.proof).is_none();
        match self.is_revoked(known) {
            true => Err(CredentialError::Revoked),
            false if is_withdrawn => Err(CredentialError::KeyRemoved),
            false => Ok(()),
        }
    }

    /// Whether a credential that was taken is not to be any more: it was revoked meanwhile.
    pub(crate) fn is_revoked(&self, known: &Known) -> bool {
        self.revoked.concerns(known) || self.revocations.concerns(known)
    }

    /// What servers take back.
    pub(crate) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// The key servers, for who fetches from them.
    pub(crate) fn key_servers(&self) -> &KeyServers {
        self.tokens.servers()
    }

    /// The kind of a credential, which decides by whom it is judged.
    pub(crate) fn kind_of(&self, shown: &str) -> Shown {
        Shown::of(shown, self.tokens.has_source_of_keys())
    }
}
