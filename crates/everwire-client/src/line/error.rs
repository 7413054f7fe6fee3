//! What can go wrong with a line, one type for each thing that a program attempts.

use std::time::Duration;

use everwire_channel::LabelError;

use crate::Problem;

/// Why a line is over, other than by the program's own wish.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The server refuses the line, and would again.
    #[error("the server refused the line: {0}")]
    Refused(Problem),
    /// The server closed the line with a code that asks not to come back unchanged.
    #[error(
        "the server closed the line with code {code}: {reason}; correct the cause and connect anew"
    )]
    Closed {
        /// The close code: 4400–4403 or 4410.
        code: u16,
        /// What the server says about it.
        reason: String,
    },
    /// The server wants a credential, or another one.
    #[error("the server wants another credential ({detail}); give a token that is valid")]
    Unauthorized {
        /// What the server says.
        detail: String,
    },
    /// A message is larger than [`LineOptions::message_bytes_max`](crate::LineOptions::message_bytes_max).
    #[error(
        "the server sent a message of more than {bytes_max} bytes; raise message_bytes_max to read it"
    )]
    TooLarge {
        /// The limit, in bytes.
        bytes_max: usize,
    },
}

/// Why a channel cannot be read, or not any longer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The server refuses.
    #[error("the server refused to let the channel be read: {0}")]
    Refused(Problem),
    /// The permission was taken back.
    #[error("the channel may not be read any longer: {detail}")]
    Revoked {
        /// What the server says.
        detail: String,
    },
    /// The line is over.
    #[error(transparent)]
    Line(#[from] LineError),
}

/// Why a subscription cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this channel is being read on this line already; share what that subscription yields, or open another line"
)]
pub struct AlreadySubscribed;

/// Why a publication, or a question about a channel, is not known to be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The server refuses, and would again.
    #[error("the server refused: {0}")]
    Refused(Problem),
    /// Too much waits already.
    #[error(
        "it was not sent, since {waiting} commands wait already; await some, or raise queue_max or queue_bytes_max"
    )]
    QueueFull {
        /// How many wait.
        waiting: usize,
    },
    /// No reply came in time.
    #[error("no reply came within {} s and it {}", after.as_secs(), sent(*.was_sent))]
    TimedOut {
        /// How long it waited.
        after: Duration,
        /// Whether it was sent at least once, so that it may have been carried out.
        was_sent: bool,
    },
    /// The message is larger than the server takes.
    #[error("the message is larger than the server takes; publish it in parts")]
    TooLarge,
    /// The line was closed by the program.
    #[error("the line was closed before the reply; connect anew")]
    Closed,
    /// The line is over.
    #[error(transparent)]
    Line(#[from] LineError),
    /// The reply holds not what was asked for.
    #[error("the server's reply cannot be read: {0}")]
    Unreadable(String),
    /// What was to be published as JSON is none.
    #[error("the data is not JSON, so it was not published: {0}")]
    NotJson(String),
    /// The event's name or the key breaks a rule.
    #[error(transparent)]
    Label(#[from] LabelError),
}

fn sent(was_sent: bool) -> &'static str {
    match was_sent {
        true => "may have been carried out; repeat it with the same key to be sure",
        false => "was never sent; try again",
    }
}
