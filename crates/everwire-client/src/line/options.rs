//! How a line and its subscriptions behave.

use std::time::Duration;

use crate::{Backoff, Info, LineWire, Start};

/// How a line behaves. Made with [`Default`], then changed field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineOptions {
    /// The wires that may be used, best first; none means all. Default: all.
    pub wires: Vec<LineWire>,
    /// The wire to try first, as [`Line::status`](crate::Line::status) told it when the program ran last.
    /// Default: the best.
    pub first_wire: Option<LineWire>,
    /// Who this line is as a publisher, at most 255 bytes. Lines of the same publisher leave each other's
    /// entries out where [`SubscribeOptions::echo`] is false. Default: random.
    pub publisher: Option<String>,
    /// How long a wire may take to prove that it carries messages both ways. It grows to four times as much
    /// with failed attempts, since a slow network is none that swallows. Default: 5 s.
    pub prove: Duration,
    /// How long a reply may take on a proven wire, and a token to be fetched. Default: 10 s.
    pub reply: Duration,
    /// The server's heartbeat, if it does not tell. Silence of twice that means a dead line. Default: 25 s,
    /// below the 30 s after which some proxies cut.
    pub heartbeat: Duration,
    /// A line that lived this long was good, and the next attempt counts as the first. Default: 10 s.
    pub stable: Duration,
    /// The waits between attempts that fail.
    pub backoff: Backoff,
    /// How long to stay on a lesser wire before the best one is tried beside it; doubles up to an hour.
    /// Default: 60 s.
    pub try_better: Duration,
    /// How long before its end a token is replaced. Default: 30 s, which is three slow replies.
    pub refresh: Duration,
    /// Commands (mostly publications) that may wait for their reply. Default: 1000.
    pub queue_max: usize,
    /// Bytes of commands that may wait for their reply. Default: 1 MiB.
    pub queue_bytes_max: usize,
    /// How long a command may wait for its reply. Default: 10 minutes, well within the day for which servers
    /// remember keys.
    pub queue_time: Duration,
    /// The largest message that is read, in bytes; a larger one ends the line with
    /// [`LineError::TooLarge`](crate::LineError::TooLarge). Default: 16 MiB, which holds the largest entry of
    /// a server with its default settings in any encoding.
    pub message_bytes_max: usize,
}

impl Default for LineOptions {
    fn default() -> Self {
        Self {
            wires: LineWire::ALL.to_vec(),
            first_wire: None,
            publisher: None,
            prove: Duration::from_secs(5),
            reply: Duration::from_secs(10),
            heartbeat: Duration::from_secs(25),
            stable: Duration::from_secs(10),
            backoff: Backoff::default(),
            try_better: Duration::from_secs(60),
            refresh: Duration::from_secs(30),
            queue_max: 1000,
            queue_bytes_max: 1024 * 1024,
            queue_time: Duration::from_secs(600),
            message_bytes_max: 16 * 1024 * 1024,
        }
    }
}

/// How a channel is read on a line. Made with [`Default`], then changed field by field.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscribeOptions {
    /// Where to start. Default: now.
    pub start: Start,
    /// Whether to get what this line itself publishes. Default: true.
    pub echo: bool,
    /// Hear who is there, and be there. Default: neither.
    pub presence: Option<Presence>,
    /// Updates that may wait to be taken. Beyond that the channel is left, and resumed when half of them were
    /// taken: a slow reader costs neither memory nor entries. Default: 1000.
    pub waiting_max: usize,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self {
            start: Start::Now,
            echo: true,
            presence: None,
            waiting_max: 1000,
        }
    }
}

/// How a subscription takes part in its channel's presence.
#[derive(Clone, Debug, PartialEq)]
pub struct Presence {
    /// The name to be shown by. While no credential vouches for it, it is shown as `~name`. Default: one that
    /// the server makes up.
    pub user: Option<String>,
    /// What others are told about this user. Default: nothing.
    pub info: Option<Info>,
    /// Whether to be a member; false is to watch only. Default: true.
    pub join: bool,
}

impl Default for Presence {
    fn default() -> Self {
        Self {
            user: None,
            info: None,
            join: true,
        }
    }
}
