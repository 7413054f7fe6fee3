//! What a reader yields.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::http::NoResponse;
use crate::{Offset, Wire};

/// What happened on a channel, or on the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item {
    /// An entry.
    Entry(Entry),
    /// Entries that this reader still needed are gone; the next entry is the oldest one kept.
    Gap(Gap),
    /// Something came that is no entry that can be read. The reader goes on after it.
    Unreadable(Unreadable),
    /// The channel is closed and all of it was read. The last item.
    Closed,
    /// The reader is connected, for the first time, again, or over another wire.
    Connected(Wire),
    /// The connection is gone; the reader resumes by itself.
    Disconnected {
        /// Why.
        cause: Cause,
        /// When the next attempt is made.
        retry_in: Duration,
    },
}

/// One appended item of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The position after this entry. `None` over [`Wire::LongPoll`] and [`Wire::Polling`] where other
    /// entries came in the same answer after this one.
    pub offset: Option<Offset>,
    /// When it was appended, in Unix milliseconds; the wires that carry a JSON object for each entry tell it
    /// ([`Wire::WebSocket`], [`Wire::Ndjson`]).
    pub time_ms: Option<u64>,
    /// The event's name, if it has one and the wire tells it, as all but the polls do.
    pub event: Option<String>,
    /// What was published.
    pub data: Data,
}

/// What was published.
///
/// Over [`Wire::LongPoll`] and [`Wire::Polling`] a channel that holds no JSON has no mark between two
/// entries: what came in one answer is one `Data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// JSON, as text, and all that its grammar allows (RFC 8259). Over [`Wire::WebSocket`] and [`Wire::Ndjson`] a
    /// text channel's entry and a JSON string look the same, and both are [`Data::Text`], but for a string that no
    /// text can hold: half of a surrogate pair, such as `"\ud83d"`, stays JSON.
    Json(String),
    /// Text. Over [`Wire::EventStream`] each line break in it is a line feed.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

/// Entries are gone, by retention or since the log started anew.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Gap {
    /// The position before the oldest entry that is kept.
    pub oldest: Offset,
    /// The position after the newest entry.
    pub newest: Offset,
}

/// Something that came in the place of an entry, and cannot be read: of a broken server, or one that is newer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// The position after it, if that can be read.
    pub offset: Option<Offset>,
    /// What is wrong with it.
    pub problem: String,
}

/// Why a connection is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The server could not be reached.
    Unreachable(String),
    /// The connection broke.
    Lost(String),
    /// The server ended the stream.
    Ended,
    /// Nothing was heard for too long.
    Silent,
    /// The server stops, and says when to come back.
    Draining,
    /// The server refuses for now.
    Refused {
        /// The status code.
        status: u16,
        /// What the server says about it.
        detail: String,
    },
    /// The server closed the WebSocket.
    Closed {
        /// The close code (RFC 6455, section 7.4).
        code: u16,
        /// What the server says about it.
        reason: String,
    },
    /// What came is not what this wire is made of: a proxy's page, or a broken server.
    Malformed(String),
    /// No credential could be had to show.
    NoCredential(String),
    /// [`Reader::cut`](crate::Reader::cut) was called.
    Cut,
}

impl Data {
    /// The bytes that were published.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Json(text) | Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// Reads JSON into a type.
    ///
    /// # Errors
    ///
    /// It is no JSON, or not of this type.
    pub fn to_json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(self.as_bytes())
    }
}

impl From<NoResponse> for Cause {
    fn from(no_response: NoResponse) -> Self {
        match no_response {
            NoResponse::Unreachable(error) => Self::Unreachable(error),
            NoResponse::Lost(error) => Self::Lost(error),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => write!(f, "the server cannot be reached: {error}"),
            Self::Lost(error) => write!(f, "the connection broke: {error}"),
            Self::Ended => f.write_str("the server ended the stream"),
            Self::Silent => f.write_str("nothing was heard for too long"),
            Self::Draining => f.write_str("the server is stopping"),
            Self::Refused { status, detail } => write!(f, "the server answered {status}: {detail}"),
            Self::Closed { code, reason } => {
                write!(f, "the server closed with code {code}: {reason}")
            }
            Self::Malformed(problem) => {
                write!(f, "the answer is not what this wire carries: {problem}")
            }
            Self::NoCredential(error) => f.write_str(error),
            Self::Cut => f.write_str("cut on request"),
        }
    }
}

/// Why a reader gives up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The server refuses, and would again.
    #[error("the server answered {status}: {detail}")]
    Refused {
        /// The status code.
        status: u16,
        /// What the server says: what happened, why, and what to do.
        detail: String,
    },
    /// The server closed the WebSocket with a code that asks not to come back unchanged.
    #[error("the server closed the line with code {code}: {reason}")]
    Closed {
        /// The close code: 4400–4403 or 4410.
        code: u16,
        /// What the server says about it.
        reason: String,
    },
    /// An entry is larger than [`ReaderOptions::entry_bytes_max`](crate::ReaderOptions::entry_bytes_max).
    #[error(
        "the server sent more than {bytes_max} bytes as one entry or answer; raise entry_bytes_max to read it"
    )]
    TooLarge {
        /// The limit, in bytes.
        bytes_max: usize,
    },
}
