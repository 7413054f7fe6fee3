//! What a line tells the reader's plan, the same over every wire.

use std::time::Duration;

use everwire_websocket::{ConnectionEvent, Ending, Failure, MessageKind};

use crate::decode::one_of_many;
use crate::decode::session::{self, LogKind, Message};
use crate::{Cause, Entry, Gap, Offset, ReadError, Unreadable};

/// Something that a line told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Signal {
    /// The stream is open. It starts after this offset, if the server tells.
    Opened(Option<Offset>),
    /// A sign of life that says nothing else.
    Alive,
    /// An entry of a stream.
    Entry(Entry),
    /// The same, as the text it is on a stream whose head did not tell the type of the entries: what text stands for
    /// is not known.
    Untyped(Entry),
    /// Something that cannot be read.
    Unreadable(Unreadable),
    /// Entries are gone.
    Gap(Gap),
    /// The reconnection time of an event stream.
    Retry(Duration),
    /// The server stops; it asks to come back after this time.
    Drain(Duration),
    /// The channel is closed, and nothing follows.
    Closed,
    /// The whole answer to a poll.
    Page(Page),
    /// The server answered with an error.
    Refused(Refusal),
    /// The line is over.
    Ended(Cause),
    /// The line is over, and another would be no better.
    Failed(ReadError),
}

impl From<ConnectionEvent> for Signal {
    fn from(event: ConnectionEvent) -> Self {
        match event {
            ConnectionEvent::Message(MessageKind::Text, text) => {
                let signal = session::decode(&text).map(Signal::from);
                one_of_many(signal).unwrap_or_else(Signal::from)
            }
            ConnectionEvent::Message(MessageKind::Binary, _) => Signal::Ended(Cause::Malformed(
                "a session's messages are text, and this one is binary".into(),
            )),
            ConnectionEvent::Ping(_) | ConnectionEvent::Pong(_) => Signal::Alive,
            ConnectionEvent::Ended(Ending::Closed(Some((code, reason)))) => {
                let reason = reason.chars().filter(|char| !char.is_control()).collect();
                Signal::Ended(Cause::Closed {
                    code: code.as_u16(),
                    reason,
                })
            }
            ConnectionEvent::Ended(Ending::Closed(None)) => Signal::Ended(Cause::Ended),
            ConnectionEvent::Ended(Ending::Failed(Failure::MessageTooBig { bytes_max })) => {
                Signal::Failed(ReadError::TooLarge { bytes_max })
            }
            ConnectionEvent::Ended(Ending::Failed(failure)) => {
                Signal::Ended(Cause::Malformed(failure.to_string()))
            }
            ConnectionEvent::Ended(Ending::Lost | Ending::TimedOut) => {
                Signal::Ended(Cause::Lost("it ended without a close frame".into()))
            }
        }
    }
}

impl From<Message> for Signal {
    /// What a message says to who reads the one channel of this line.
    fn from(message: Message) -> Self {
        match message {
            Message::Welcome(welcome) => Self::Opened(welcome.offset),
            Message::Entry { entry, .. } => Self::Entry(entry),
            Message::Unreadable { unreadable, .. } => Self::Unreadable(unreadable),
            Message::Gap {
                gap,
                log: LogKind::Entries,
                ..
            } => Self::Gap(gap),
            Message::Closed { .. } => Self::Closed,
            Message::Drain(after) => Self::Drain(after),
            Message::Gap {
                log: LogKind::Presence,
                ..
            }
            | Message::Reply(_)
            | Message::Subscribed { .. }
            | Message::Presence { .. }
            | Message::Revoked { .. }
            | Message::Ping => Self::Alive,
        }
    }
}

/// The whole answer to a poll.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Page {
    /// All that it holds; only the last can have an offset.
    pub entries: Vec<Entry>,
    /// The position after it; an answer that nothing changed tells none.
    pub next: Option<Offset>,
    /// Nothing more was there when it was made.
    pub up_to_date: bool,
    /// The channel is closed, and this is its end.
    pub closed: bool,
    /// To be sent back with the next long poll.
    pub cursor: Option<String>,
    /// To be sent back with the next plain request.
    pub etag: Option<String>,
}

/// An error response.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub status: u16,
    /// What the server says about it.
    pub detail: String,
    /// The value of `Retry-After`.
    pub retry_after: Option<Duration>,
    /// What an answer of 410 says about the entries that are kept.
    pub gap: Option<Gap>,
    /// The problem's name, where the server itself answered and nothing between.
    pub problem: Option<String>,
}

impl Refusal {
    /// Whether the same request may succeed later.
    pub fn is_for_now(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500 | 502..=504)
    }
}
