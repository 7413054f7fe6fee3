//! What a channel is made with.

use crate::content_type::ContentType;
use crate::expiry::Expiry;
use crate::offset::{Epoch, Mark};
use crate::recent::Bounds;
use crate::retention::Retention;

/// What a channel is made with. Start from [`Setup::new`].
#[derive(Debug, Clone)]
pub struct Setup {
    /// The life of the log, above each one before under this name.
    pub epoch: Epoch,
    /// The mark of entries appended in this run of the store.
    pub mark: Mark,
    /// The media type; `None` leaves it to who states one first. Default: `None`.
    pub content_type: Option<ContentType>,
    /// When the channel ends by itself. Default: `None`, never.
    pub expiry: Option<Expiry>,
    /// Whether it is closed from the start, and so empty for ever. For a channel that is created
    /// with its whole content, make it open and append with `close`. Default: `false`.
    pub closed: bool,
    /// True if a request asks for the channel as it is set up here, so that a later creation can only confirm it; false
    /// for a channel that a waiting reader makes. Default: `false`.
    pub created: bool,
    /// How much of its past the log keeps.
    pub retention: Retention,
    /// How much is remembered to recognise repeated appends.
    pub repeats: RepeatLimits,
}

/// How much a channel remembers to recognise repeated appends. The least recently used leaves
/// first; what is forgotten is treated as never seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepeatLimits {
    /// How many producers are remembered. Default: 1,024.
    pub producers_max: u32,
    /// How many idempotency keys are remembered. Default: 1,024.
    pub keys_max: u32,
    /// How long after its last accepted append a producer is remembered, in milliseconds. Default:
    /// 7 days, as the Durable Streams protocol recommends.
    pub producer_idle_max_ms: u64,
    /// How long after the first append with it a key is remembered, in milliseconds. Default: 24
    /// hours.
    pub key_age_max_ms: u64,
}

impl Setup {
    /// The defaults for one life of a channel.
    pub fn new(epoch: Epoch, mark: Mark) -> Self {
        Self {
            epoch,
            mark,
            content_type: None,
            expiry: None,
            closed: false,
            created: false,
            retention: Retention::default(),
            repeats: RepeatLimits::default(),
        }
    }
}

impl RepeatLimits {
    pub(super) fn of_producers(&self) -> Bounds {
        Bounds {
            count_max: self.producers_max,
            idle_max_ms: self.producer_idle_max_ms,
        }
    }

    pub(super) fn of_keys(&self) -> Bounds {
        Bounds {
            count_max: self.keys_max,
            idle_max_ms: self.key_age_max_ms,
        }
    }
}

impl Default for RepeatLimits {
    fn default() -> Self {
        Self {
            producers_max: 1024,
            keys_max: 1024,
            producer_idle_max_ms: 7 * DAY_MS,
            key_age_max_ms: DAY_MS,
        }
    }
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
