//! How a reader behaves.

use std::time::Duration;

use super::ask::Form;
use crate::Backoff;

/// How a reader behaves. Made with [`Default`], then changed field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderOptions {
    /// The waits between attempts that fail.
    pub backoff: Backoff,
    /// The longest that a server may take to open a line or to answer a plain request. Default: 10 s.
    pub open_timeout: Duration,
    /// After how much silence an open line is taken for dead. Default: 60 s, which is two heartbeats of a
    /// server with its default settings, and some patience. It has to be longer than the server's limit for
    /// long polls.
    pub silence: Duration,
    /// The time between two requests of [`Wire::Polling`](crate::Wire::Polling) that find nothing new.
    /// Default: 2 s.
    pub poll_interval: Duration,
    /// The largest entry or answer that is read, in bytes as they are on the wire; a larger one ends the
    /// reader with [`ReadError::TooLarge`](crate::ReadError::TooLarge). Default: 16 MiB, which holds the
    /// largest entry of a server with its default settings in any encoding.
    pub entry_bytes_max: usize,
}

impl ReaderOptions {
    /// How long an answer of this form may take to begin.
    pub(super) fn patience(&self, form: &Form) -> Duration {
        match form {
            // Answered when there is something.
            Form::LongPoll { .. } => self.silence,
            Form::WebSocket | Form::EventStream | Form::Ndjson | Form::CatchUp { .. } => {
                self.open_timeout
            }
        }
    }
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            open_timeout: Duration::from_secs(10),
            silence: Duration::from_secs(60),
            poll_interval: Duration::from_secs(2),
            entry_bytes_max: 16 * 1024 * 1024,
        }
    }
}
