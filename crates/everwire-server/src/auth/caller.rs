//! Who asks, and what that may do.

use std::{fmt, sync::Arc};

use everwire_channel::{ChannelName, UserName};
use everwire_wire::Problem;
use serde_json::value::RawValue;

use super::{claims::Told, refusal::not_granted};
use crate::config::{Action, Duty, Grant, Rules};

/// Who asks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Caller {
    /// Somebody who has shown nothing.
    #[default]
    Anybody,
    /// The holder of a credential.
    Known(Arc<Known>),
}

/// The holder of a credential that was checked.
#[derive(Debug)]
pub struct Known {
    /// By what the credential was found to be good.
    pub proof: Proof,
    /// Who that is.
    pub who: Who,
    /// What may be done besides what anybody may.
    pub grants: Vec<Grant>,
    /// What may be done that concerns no channel.
    pub can: Vec<Duty>,
    /// Until when, in Unix milliseconds, with the leeway of clocks; `None` is until it is revoked.
    pub ends_ms: Option<u64>,
    /// The claims that a token was taken for.
    pub told: Option<Box<Told>>,
}

/// By what a credential was found to be good, for when other keys hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// A key for tokens, by the SHA-256 of what the configuration says of it.
    Key([u8; 32]),
    /// A key of a key server, which withdraws it as it likes, by the SHA-256 of the server's address and the key.
    KeyServer([u8; 32]),
    /// An API key, by its SHA-256.
    ApiKey([u8; 32]),
    /// The operator's application said so.
    Application,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The digest of a weak secret would be a help to who guesses it.
        f.write_str(match self {
            Self::Key(_) => "Key",
            Self::KeyServer(_) => "KeyServer",
            Self::ApiKey(_) => "ApiKey",
            Self::Application => "Application",
        })
    }
}

/// Who holds a credential.
#[derive(Debug)]
pub enum Who {
    /// The holder of a token.
    Token {
        /// Who that is (`sub`), if the token says so.
        user: Option<UserName>,
        /// What is said of the user to others: any JSON value.
        info: Option<Box<RawValue>>,
        /// The token's own name (`jti`).
        id: Option<String>,
        /// When it was issued (`iat`), in Unix seconds.
        issued_s: Option<u64>,
    },
    /// A server, by the `id` of its API key.
    Server(String),
    /// Whom your application let in, by a webhook.
    Named {
        /// Who that is (`sub`), if it was said.
        user: Option<UserName>,
        /// What is said of the user to others: any JSON value.
        info: Option<Box<RawValue>>,
        /// When it did, in Unix seconds.
        decided_s: u64,
    },
}

/// What has to be permitted to read a channel, and on which name: a presence log is read by who may see who is there.
pub(crate) fn right_to_read(read: &ChannelName) -> (Action, ChannelName) {
    match read.presence_of().and_then(|of| ChannelName::new(of).ok()) {
        None => (Action::Read, read.clone()),
        Some(of) => (Action::Presence, of),
    }
}

impl Caller {
    pub(crate) fn known(known: Known) -> Self {
        Self::Known(Arc::new(known))
    }

    /// Whom the application let in.
    pub(crate) fn named(
        user: Option<UserName>,
        info: Option<Box<RawValue>>,
        grants: Vec<Grant>,
        ends_ms: Option<u64>,
        decided_s: u64,
    ) -> Self {
        Self::known(Known {
            proof: Proof::Application,
            who: Who::Named {
                user,
                info,
                decided_s,
            },
            grants,
            can: Vec::new(),
            ends_ms,
            told: None,
        })
    }

    /// Whether the caller may do this: because anybody may, or because its credential grants it.
    pub fn permits(&self, rules: &Rules, action: Action, name: &ChannelName) -> bool {
        rules.permits_anybody(action, name) || self.is_granted(action, name)
    }

    /// The same, or what to tell who may not.
    pub(crate) fn permit(
        &self,
        rules: &Rules,
        action: Action,
        name: &ChannelName,
    ) -> Result<(), Problem> {
        match self.permits(rules, action, name) {
            true => Ok(()),
            false => Err(not_granted(self, action, name)),
        }
    }

    /// Whether there may be a channel on which the caller may do this.
    pub fn may_ever(&self, rules: &Rules, action: Action) -> bool {
        let grants = self.as_known().map_or(&[][..], |known| &known.grants);
        rules.permit_anybody_somewhere(action)
            || grants.iter().any(|grant| grant.can.contains(&action))
    }

    /// Until when the caller is who it is, in Unix milliseconds; `None` is without an end.
    pub fn ends_ms(&self) -> Option<u64> {
        self.as_known()?.ends_ms
    }

    /// Whether its credential is not valid any more.
    pub fn has_ended(&self, now_ms: u64) -> bool {
        self.ends_ms().is_some_and(|ends_ms| ends_ms <= now_ms)
    }

    /// For how long it still is who it is, in milliseconds.
    pub fn left_ms(&self, now_ms: u64) -> Option<u64> {
        Some(self.ends_ms()?.saturating_sub(now_ms))
    }

    /// The user that a token or the application names.
    pub fn user(&self) -> Option<&UserName> {
        match &self.as_known()?.who {
            Who::Token { user, .. } | Who::Named { user, .. } => user.as_ref(),
            Who::Server(_) => None,
        }
    }

    /// What is said of the user to others.
    pub fn info(&self) -> Option<&RawValue> {
        match &self.as_known()?.who {
            Who::Token { info, .. } | Who::Named { info, .. } => info.as_deref(),
            Who::Server(_) => None,
        }
    }

    /// Whether another credential is the same caller's: nobody may become somebody, somebody stays who it is, and two
    /// without a name are never known to be the same.
    pub fn may_become(&self, other: &Self) -> bool {
        match (
            self.as_known().map(|known| &known.who),
            other.as_known().map(|known| &known.who),
        ) {
            (None, _) => true,
            (Some(_), None) => false,
            (
                Some(Who::Token { user, .. } | Who::Named { user, .. }),
                Some(Who::Token { user: other, .. } | Who::Named { user: other, .. }),
            ) => user.is_some() && user == other,
            (Some(Who::Server(id)), Some(Who::Server(other))) => id == other,
            (Some(Who::Token { .. } | Who::Named { .. } | Who::Server(_)), Some(_)) => false,
        }
    }

    /// What a credential was checked to say; nothing for anybody.
    pub fn as_known(&self) -> Option<&Known> {
        match self {
            Self::Anybody => None,
            Self::Known(known) => Some(known),
        }
    }

    fn is_granted(&self, action: Action, name: &ChannelName) -> bool {
        let grants = self.as_known().map_or(&[][..], |known| &known.grants);
        action.may_be_granted(name)
            && grants
                .iter()
                .any(|grant| grant.can.contains(&action) && grant.pattern.matches(name))
    }
}
