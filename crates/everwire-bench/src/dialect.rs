//! How the load client speaks to a subject: the requests and messages of its protocol.

use std::{net::SocketAddr, ops::Range, sync::Arc};

use anyhow::{Context, Result};

use crate::{
    decode::DecodeError,
    ledger::{Ledger, Violation},
    response,
    rival::{Finder, Rival},
    session::{self, Identity, Message},
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
    /// What messages mean.
    pub speech: Speech,
    /// What stands around a payload in a message that publishes it, where that can be done.
    pub envelope: Option<Envelope>,
    /// How a long poll goes on after an answer.
    pub next_poll: NextPoll,
}

/// What the messages of a line mean.
#[derive(Clone, Debug)]
pub enum Speech {
    /// They hold payloads of one channel.
    Payloads {
        /// Finds them in a message.
        finder: Finder,
        /// A part of the message that confirms the subscription; without it, the response head
        /// does.
        confirmation: Option<Vec<u8>>,
    },
    /// They are a session's, which is at rest when so many have confirmed what was asked.
    Session {
        /// A reply to each command of the greeting or, where there are none, the welcome.
        confirmations: usize,
    },
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
            speech: Speech::Payloads {
                finder: Finder::Whole,
                confirmation: None,
            },
            envelope: (wire == Wire::WebSocket).then(Envelope::default),
            next_poll: match wire {
                Wire::LongPoll => NextPoll::Offset,
                Wire::WebSocket | Wire::EventStream | Wire::Ndjson => NextPoll::Never,
            },
        }
    }

    /// A session that begins with `commands` as `greeting` has them.
    pub fn session(host: SocketAddr, greeting: Vec<u8>, commands: usize) -> Self {
        Self {
            greeting,
            speech: Speech::Session {
                confirmations: commands,
            },
            ..Self::plain(Wire::WebSocket, session::open_request(host))
        }
    }

    /// A session over an event stream, which asks for channels by requests, once it knows who it is.
    pub fn session_stream(host: SocketAddr) -> Self {
        Self {
            speech: Speech::Session { confirmations: 1 },
            ..Self::plain(Wire::EventStream, session::open_stream_request(host))
        }
    }

    /// Messages that have to confirm the subscription.
    pub fn confirmations(&self) -> usize {
        match &self.speech {
            Speech::Payloads { confirmation, .. } => usize::from(confirmation.is_some()),
            Speech::Session { confirmations } => *confirmations,
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

    /// The line of `readers` got `message`, whose payloads are checked against the ledger; so many
    /// confirmations are still `awaited`. Returns who it is, when it is told.
    ///
    /// # Errors
    /// If a payload in it is not what a reader must see next, or it must not come at all.
    pub fn hear(
        &self,
        message: &[u8],
        readers: &Range<usize>,
        awaited: &mut usize,
        ledger: &mut Ledger,
    ) -> Result<Option<Identity>, DecodeError> {
        match &self.speech {
            Speech::Payloads {
                confirmation: Some(part),
                ..
            } if *awaited > 0 => {
                *awaited -= usize::from(memchr::memmem::find(message, part).is_some());
            }
            Speech::Payloads { finder, .. } => {
                deliver(finder, message, readers.start, ledger)?;
            }
            Speech::Session { .. } => match Message::parse(message)? {
                Message::Entry {
                    channel,
                    offset,
                    payload,
                } => ledger.deliver_to_session(readers.clone(), channel, offset, payload)?,
                // What is published is answered too, and not awaited.
                Message::Done => *awaited = awaited.saturating_sub(1),
                Message::Welcome(identity) => {
                    *awaited = awaited.saturating_sub(1);
                    return Ok(Some(identity));
                }
                Message::Other => {}
            },
        }
        Ok(None)
    }
}

fn deliver(
    finder: &Finder,
    message: &[u8],
    reader: usize,
    ledger: &mut Ledger,
) -> Result<(), Violation> {
    let mut rest = Some(message);
    while let Some((payload, after)) = rest.and_then(|rest| finder.find(rest, ledger.payloads())) {
        ledger.deliver(reader, payload)?;
        rest = after;
    }
    Ok(())
}
