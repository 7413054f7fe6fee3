//! What a line tells the reader's plan, the same over every wire.

use std::time::Duration;

use crate::{Cause, Entry, Gap, Offset, ReadError};

/// Something that a line told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Signal {
    /// The stream is open. It starts after this offset, if the server tells.
    Opened(Option<Offset>),
    /// A sign of life that says nothing else.
    Alive,
    /// An entry of a stream.
    Entry(Entry),
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
}

impl Refusal {
    /// Whether the same request may succeed later.
    pub fn is_for_now(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500 | 502..=504)
    }
}
