//! One channel that is read: where it stands, and what waits to be taken.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Taken, Update};
use crate::line::reading::Reading;
use crate::{Offset, SubscribeError, SubscribeOptions};

/// A reading, for as long as somebody may take from it.
#[derive(Debug)]
pub(super) struct Follow {
    pub name: String,
    pub options: SubscribeOptions,
    pub reading: Reading,
    /// Where reading began, once it did.
    pub began: Option<Offset>,
    pub queue: VecDeque<Update>,
    /// Too much waits; the channel is left until less does.
    full: bool,
    /// How often in a row the server refused for now.
    pub refusals: u32,
    pub retry_at: Option<Instant>,
    /// Why nothing follows, to be told once.
    pub error: Option<SubscribeError>,
}

impl Follow {
    pub fn new(name: &str, options: SubscribeOptions) -> Self {
        let with_presence = options.presence.is_some();
        Self {
            name: name.to_owned(),
            reading: Reading::new(options.start.clone(), with_presence),
            options,
            began: None,
            queue: VecDeque::new(),
            full: false,
            refusals: 0,
            retry_at: None,
            error: None,
        }
    }

    pub fn take(&mut self) -> Taken {
        match self.queue.pop_front() {
            Some(update) => Taken::Update(update),
            None if self.reading.is_ended() => Taken::Ended(self.error.take()),
            None => Taken::Pending,
        }
    }

    pub fn is_wanted(&self) -> bool {
        !self.full && self.retry_at.is_none()
    }

    /// More waits than half of what may; a little patience may spare leaving the channel.
    pub fn is_pressed(&self) -> bool {
        !self.full && !self.reading.is_ended() && self.queue.len() > self.options.waiting_max / 2
    }

    /// Whether the queue became full, or empty enough.
    pub fn judge_fullness(&mut self) -> bool {
        let most = self.options.waiting_max.max(1);
        let waiting = self.queue.len() + self.reading.held();
        let full = waiting >= most || (self.full && waiting > most / 2);
        std::mem::replace(&mut self.full, full) != full
    }
}
