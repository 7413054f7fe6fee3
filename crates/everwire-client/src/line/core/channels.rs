//! The channels of a line: what is read, what waits to be taken, and when a channel is left for a while.

use std::time::Instant;

use serde_json::Value;

use super::follow::Follow;
use super::{Asked, Core, ReadingId};
use crate::decode::session::{Change, Movement};
use crate::line::command::{Command, Members};
use crate::line::course::{Event, Stage};
use crate::line::reading::{self, Reading};
use crate::line::{AlreadySubscribed, SubscribeError};
use crate::{Entry, Gap, LineWire, Start, SubscribeOptions};

/// What a subscription yields.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Update {
    /// An entry. Its offset is always known.
    Entry(Entry),
    /// Entries that this subscription still needed are gone; the next entry is the oldest one kept.
    Gap(Gap),
    /// Who is there, in place of what was known. The first word about presence, and told anew
    /// where joins and leaves were missed.
    Members(Members),
    /// A user came, or brings other info.
    Join {
        /// The user's name.
        user: String,
        /// What the user tells about itself.
        info: Option<Value>,
    },
    /// A user left with its last session.
    Leave {
        /// The user's name.
        user: String,
    },
}

/// What there is to take of a reading.
#[derive(Debug, PartialEq)]
pub(crate) enum Taken {
    Update(Update),
    /// Nothing yet.
    Pending,
    /// Nothing follows; an error is told once.
    Ended(Option<SubscribeError>),
}

impl Core {
    /// Begins to read a channel.
    pub fn subscribe(
        &mut self,
        name: &str,
        options: SubscribeOptions,
        now: Instant,
    ) -> Result<ReadingId, AlreadySubscribed> {
        if self.by_name.contains_key(name) {
            return Err(AlreadySubscribed);
        }
        self.last_reading += 1;
        let id = ReadingId(self.last_reading);
        self.follows.insert(id, Follow::new(name, options));
        if let Stage::Closed(error) = &self.course.stage {
            let error = error.clone().map(SubscribeError::Line);
            self.end(id, error);
        } else {
            self.by_name.insert(name.to_owned(), id);
            self.settle(id, now);
        }
        Ok(id)
    }

    /// Nobody takes from this reading any more.
    pub fn unsubscribe(&mut self, id: ReadingId, now: Instant) {
        let open = matches!(self.course.stage, Stage::Open(_));
        let wanted = false;
        self.read(id, reading::Event::Settle { wanted, open }, now);
        self.end(id, None);
        self.relieve(id);
        self.follows.remove(&id);
    }

    /// Takes the next update of a reading.
    pub fn take(&mut self, id: ReadingId, now: Instant) -> Taken {
        let Some(follow) = self.follows.get_mut(&id) else {
            return Taken::Ended(None);
        };
        let taken = follow.take();
        self.judge_fullness(id, now);
        taken
    }

    /// The reading that an end of this channel is about: not one that waits for its turn after another was left.
    pub(super) fn live(&self, channel: &str, is_current: bool) -> Option<ReadingId> {
        let is_ours = is_current && !self.departing.contains(channel);
        is_ours
            .then(|| self.by_name.get(channel).copied())
            .flatten()
    }

    /// An entry came on the open line.
    pub(super) fn on_entry(&mut self, id: ReadingId, entry: Entry, now: Instant) {
        let Some(offset) = entry.offset.clone() else {
            return;
        };
        let mut entry = Some(entry);
        for effect in self.step_reading(id, reading::Event::Entry(offset)) {
            match (effect, entry.take()) {
                (reading::Effect::Deliver, Some(entry)) => {
                    self.deliver(id, Update::Entry(entry), now);
                }
                (effect, kept) => {
                    entry = kept;
                    self.carry_out_reading(id, effect, now);
                }
            }
        }
    }

    /// Something happened to a reading.
    pub(super) fn read(&mut self, id: ReadingId, event: reading::Event, now: Instant) {
        for effect in self.step_reading(id, event) {
            self.carry_out_reading(id, effect, now);
        }
        self.judge_fullness(id, now);
    }

    fn step_reading(&mut self, id: ReadingId, event: reading::Event) -> Vec<reading::Effect> {
        let Some(follow) = self.follows.get_mut(&id) else {
            return vec![];
        };
        let placeholder = Reading::new(Start::Now, false);
        let reading = std::mem::replace(&mut follow.reading, placeholder);
        let (reading, effects) = reading.step(event);
        follow.reading = reading;
        effects
    }

    fn carry_out_reading(&mut self, id: ReadingId, effect: reading::Effect, now: Instant) {
        match effect {
            reading::Effect::Subscribe => self.join(id, now),
            reading::Effect::Unsubscribe => self.depart(id, now),
            // Done where the entry is.
            reading::Effect::Deliver => {}
            reading::Effect::TellGap(gap) => self.deliver(id, Update::Gap(gap), now),
            reading::Effect::TellMembers(members) => {
                self.deliver(id, Update::Members(members), now);
            }
            reading::Effect::TellChange(Change { user, movement, .. }) => {
                let update = match movement {
                    Movement::Join { info } => Update::Join { user, info },
                    Movement::Leave => Update::Leave { user },
                };
                self.deliver(id, update, now);
            }
            reading::Effect::AskMembers => {
                if let Some(follow) = self.follows.get(&id) {
                    let command = Command::members(&follow.name);
                    self.ask_for(Asked::Members(id), &command, now);
                }
            }
        }
    }

    fn deliver(&mut self, id: ReadingId, update: Update, now: Instant) {
        if let Some(follow) = self.follows.get_mut(&id) {
            if follow.queue.is_empty() {
                self.ready.push_back(id);
            }
            follow.queue.push_back(update);
        }
        self.judge_fullness(id, now);
    }

    /// A full queue makes the channel be left, not the memory grow: the log keeps what will be read later.
    fn judge_fullness(&mut self, id: ReadingId, now: Instant) {
        let Some(follow) = self.follows.get_mut(&id) else {
            return;
        };
        let is_news = follow.judge_fullness();
        match follow.is_pressed() {
            true => drop(self.pressed.insert(id)),
            false => self.relieve(id),
        }
        if is_news {
            self.settle(id, now);
        }
    }

    /// Whether a channel is wanted, or can be had, may have changed.
    pub(super) fn settle(&mut self, id: ReadingId, now: Instant) {
        let is_open = matches!(self.course.stage, Stage::Open(_));
        if let Some(follow) = self.follows.get(&id) {
            let wanted = follow.is_wanted();
            // The entries of who left before must not be taken for ours.
            let open = is_open && !(wanted && self.departing.contains(&follow.name));
            for effect in self.step_reading(id, reading::Event::Settle { wanted, open }) {
                self.carry_out_reading(id, effect, now);
            }
        }
    }

    fn relieve(&mut self, id: ReadingId) {
        self.relieved |= self.pressed.remove(&id) && self.pressed.is_empty();
    }

    fn join(&mut self, id: ReadingId, now: Instant) {
        let Some(follow) = self.follows.get(&id) else {
            return;
        };
        // Over HTTP a reply may overtake entries of the subscription before, which would push the cursor too far.
        // A new session has no past.
        let is_websocket =
            matches!(&self.course.stage, Stage::Open(open) if open.wire == LineWire::WebSocket);
        if self.left.contains(&follow.name) && !is_websocket {
            return self.step(Event::Renew, now);
        }
        let reading = &follow.reading;
        let command = Command::subscribe(
            &follow.name,
            &reading.start,
            &follow.options,
            reading.presence_after(),
        );
        self.ask_for(Asked::Subscribe(id), &command, now);
    }

    fn depart(&mut self, id: ReadingId, now: Instant) {
        let Some(follow) = self.follows.get(&id) else {
            return;
        };
        let name = follow.name.clone();
        let command = Command::unsubscribe(&name);
        self.left.insert(name.clone());
        self.departing.insert(name.clone());
        self.ask_for(Asked::Unsubscribe(name), &command, now);
    }

    /// Nothing follows on this reading.
    pub(super) fn end(&mut self, id: ReadingId, error: Option<SubscribeError>) {
        let Some(follow) = self.follows.get_mut(&id) else {
            return;
        };
        follow.error = error;
        if let Some(at) = follow.retry_at.take() {
            self.retries.remove(&(at, id));
        }
        if self.by_name.get(&follow.name) == Some(&id) {
            self.by_name.remove(&follow.name);
        }
        self.step_reading(id, reading::Event::End);
        self.ready.push_back(id);
    }

    /// Every reading that has not ended.
    pub(super) fn all_readings(&self) -> Vec<ReadingId> {
        let mut all: Vec<_> = self.by_name.values().copied().collect();
        all.sort_unstable();
        all
    }
}
