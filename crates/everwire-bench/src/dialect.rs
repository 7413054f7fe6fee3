//! How the load client speaks to a subject: the requests and messages of its protocol.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};

use crate::{
    ledger::{Ledger, Violation},
    response,
    rival::{Finder, Rival},
    wire::{self, Wire},
};

/// A protocol that subjects speak.
#[derive(Clone, Debug, Default)]
pub enum Dialect {
    /// Everwire's, which the floors understand as far as they need it.
    #[default]
    Everwire,
    /// What a description says.
    Rival {
        /// The description.
        rival: Arc<Rival>,
        /// What is appended to names of channels, since a server that runs on remembers them.
        channel_suffix: String,
    },
}

/// How one reader asks for a channel's entries, and how they come.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The wire.
    pub wire: Wire,
    /// The request head.
    pub request: Vec<u8>,
    /// Frames that follow the opening handshake of a WebSocket.
    pub greeting: Vec<u8>,
    /// A part of the message that confirms the subscription; without it, the response head does.
    pub confirmation: Option<Vec<u8>>,
    /// Finds the payload in a message.
    pub finder: Finder,
    /// What stands around a payload in a message that publishes it, where that can be done.
    pub envelope: Option<Envelope>,
    /// How a long poll goes on after an answer.
    pub next_poll: NextPoll,
}

/// How a long poll asks for what follows its last answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextPoll {
    /// It does not.
    Never,
    /// With the answer's `Stream-Next-Offset` in the place of its own offset.
    Offset,
    /// With further fields, each named with the field of the answer that holds its value.
    Fields(Vec<(String, String)>),
}

/// What stands around a payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Before it.
    pub before: Vec<u8>,
    /// After it.
    pub after: Vec<u8>,
}

impl Dialect {
    /// The request that creates `channel`, where the subject wants one.
    pub fn create_request(&self, host: SocketAddr, channel: &str) -> Option<Vec<u8>> {
        match self {
            Self::Everwire => Some(wire::create_request(host, channel)),
            Self::Rival {
                rival,
                channel_suffix,
            } => rival.create_request(host, &format!("{channel}{channel_suffix}")),
        }
    }

    /// How `channel` is read over `wire`.
    ///
    /// # Errors
    /// If the subject has no such wire.
    pub fn subscription(
        &self,
        wire: Wire,
        host: SocketAddr,
        channel: &str,
    ) -> Result<Subscription> {
        match self {
            Self::Everwire => Ok(Subscription::plain(wire, wire.request(host, channel))),
            Self::Rival {
                rival,
                channel_suffix,
            } => rival
                .subscription(wire, host, &format!("{channel}{channel_suffix}"))
                .with_context(|| {
                    format!("{} has no {} in its description", rival.name(), wire.name())
                }),
        }
    }

    /// What stands around a payload of `bytes` in a request that publishes it to `channel`.
    ///
    /// # Errors
    /// If the subject takes nothing over HTTP.
    pub fn publish_request(
        &self,
        host: SocketAddr,
        channel: &str,
        bytes: usize,
    ) -> Result<Envelope> {
        match self {
            Self::Everwire => Ok(Envelope {
                before: wire::publish_head(host, channel, bytes),
                after: Vec::new(),
            }),
            Self::Rival {
                rival,
                channel_suffix,
            } => rival
                .publish_request(host, &format!("{channel}{channel_suffix}"), bytes)
                .with_context(|| format!("{} has no [publish] in its description", rival.name())),
        }
    }
}

impl Subscription {
    /// Everwire's, where `request` asks for `wire` and nothing is said besides.
    pub fn plain(wire: Wire, request: Vec<u8>) -> Self {
        Self {
            wire,
            request,
            greeting: Vec::new(),
            confirmation: None,
            finder: Finder::Whole,
            envelope: (wire == Wire::WebSocket).then(Envelope::default),
            next_poll: match wire {
                Wire::LongPoll => NextPoll::Offset,
                Wire::WebSocket | Wire::EventStream | Wire::Ndjson => NextPoll::Never,
            },
        }
    }

    /// The poll that asks for what follows the answer with this `head`, if that tells.
    pub fn next_poll(&self, head: &[u8]) -> Option<Vec<u8>> {
        match &self.next_poll {
            NextPoll::Never => None,
            NextPoll::Offset => {
                let offset = response::field(head, "stream-next-offset")?;
                Some(wire::poll_from(&self.request, offset))
            }
            NextPoll::Fields(fields) => {
                let request = self.request.strip_suffix(b"\r\n")?;
                let mut request = request.to_vec();
                for (name, of_answer) in fields {
                    let value = response::field(head, of_answer)?;
                    request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
                }
                request.extend_from_slice(b"\r\n");
                Some(request)
            }
        }
    }

    /// Whether `message` says that the line is subscribed.
    pub fn is_confirmed_by(&self, message: &[u8]) -> bool {
        let confirmation = self.confirmation.as_deref().unwrap_or_default();
        memchr::memmem::find(message, confirmation).is_some()
    }

    /// Reader `reader` got `message`, which is checked against the ledger.
    ///
    /// # Errors
    /// If a payload in it is not what this reader must see next.
    pub fn deliver(
        &self,
        message: &[u8],
        reader: usize,
        ledger: &mut Ledger,
    ) -> Result<(), Violation> {
        let mut rest = Some(message);
        while let Some((payload, after)) =
            rest.and_then(|rest| self.finder.find(rest, ledger.payloads()))
        {
            ledger.deliver(reader, payload)?;
            rest = after;
        }
        Ok(())
    }
}
