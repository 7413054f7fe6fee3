//! Where a line stands, for programs to show.

use std::time::Instant;

use crate::{LineError, LineWire};

/// Where a line stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum LineStatus {
    /// A wire is being opened, or a token fetched.
    Connecting,
    /// Messages flow.
    Open {
        /// Over this wire.
        wire: LineWire,
        /// Why it is this one.
        reason: String,
    },
    /// The line is down, and comes back by itself.
    Waiting {
        /// When the next attempt is made.
        until: Instant,
        /// Why the last one ended.
        reason: String,
    },
    /// The line is over; without an error if the program asked for it.
    Closed(Option<LineError>),
}
