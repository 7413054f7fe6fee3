//! The channels of a line: what is read, what waits to be taken, and when a channel is left for a while.

use std::time::Instant;

use super::follow::Follow;
use super::{Asked, Core, ReadingId};
use crate::decode::session::{Change, Movement, Refused};
use crate::line::command::{Command, Members, Subscribed};
use crate::line::course::Stage;
use crate::line::reading::{self, Reading};
use crate::line::{AlreadySubscribed, SubscribeError};
use crate::{Entry, Gap, Info, LineWire, Offset, Problem, Start, SubscribeOptions, Unreadable};

/// What a subscription yields.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Update {
    /// An entry. Its offset is always known.
    Entry(Entry),
    /// Something came of this channel that cannot be read. The subscription goes on after it.
    Unreadable(Unreadable),
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
        info: Option<Info>,
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

    /// Where a reading began: before anything that was ever taken from it.
    pub fn began(&self, id: ReadingId) -> Option<Offset> {
        self.follows.get(&id)?.began.clone()
    }

    /// The reading that an end of this channel is about: not one that another was left for, and that has not begun.
    pub(super) fn live(&self, channel: &str, is_current: bool) -> Option<ReadingId> {
        let id = self.by_name.get(channel).copied().filter(|_| is_current)?;
        self.follows[&id].reading.is_live().then_some(id)
    }

    /// An entry came on the open line.
    pub(super) fn on_entry(&mut self, id: ReadingId, entry: Entry, now: Instant) {
        if let Some(offset) = entry.offset.clone() {
            self.pass(id, offset, Update::Entry(entry), now);
        }
    }

    /// Something that cannot be read came on the open line. It is told in its place, and passed over: it would come
    /// again with each resumption.
    pub(super) fn on_unreadable(&mut self, id: ReadingId, unreadable: Unreadable, now: Instant) {
        match unreadable.offset.clone() {
            Some(offset) => self.pass(id, offset, Update::Unreadable(unreadable), now),
            None if self.follows[&id].reading.is_live() => {
                self.deliver(id, Update::Unreadable(unreadable), now);
            }
            None => {}
        }
    }

    /// Moves the reading past an entry at this offset, and delivers what is told of it.
    fn pass(&mut self, id: ReadingId, offset: Offset, update: Update, now: Instant) {
        let mut update = Some(update);
        for effect in self.step_reading(id, reading::Event::Entry(offset)) {
            match (effect, update.take()) {
                (reading::Effect::Deliver, Some(update)) => self.deliver(id, update, now),
                (effect, kept) => {
                    update = kept;
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
            let open = is_open;
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
        let reading = &follow.reading;
        let command = Command::subscribe(
            &follow.name,
            &reading.start,
            &follow.options,
            reading.presence_after(),
        );
        *self.unbegun.entry(follow.name.clone()).or_default() += 1;
        let about = Asked::Subscribe(id, follow.name.clone());
        self.ask_for(about, &command, now);
    }

    fn depart(&mut self, id: ReadingId, now: Instant) {
        if let Some(follow) = self.follows.get(&id) {
            let command = Command::unsubscribe(&follow.name);
            self.ask_for(Asked::Unsubscribe, &command, now);
        }
    }

    /// The reply to a `subscribe` came.
    pub(super) fn on_joined(
        &mut self,
        (id, channel): (ReadingId, &str),
        outcome: Result<String, Refused>,
        now: Instant,
    ) {
        let outcome = match outcome.map(|ok| serde_json::from_str::<Subscribed>(&ok)) {
            Ok(Ok(Subscribed { offset, presence })) => {
                // Elsewhere the reply comes by another way than what it lets begin, and `subscribed` says the same in
                // its place.
                if self.is_websocket() {
                    self.on_subscribed(channel, offset, now);
                }
                Ok(presence)
            }
            Ok(Err(error)) => Err(Refused {
                problem: Problem {
                    kind: "unreadable".into(),
                    detail: format!("its reply cannot be read: {error}"),
                },
                again_after: None,
            }),
            Err(refused) => {
                self.account_for(channel);
                Err(refused)
            }
        };
        // Of one that was left since, nothing more is wanted.
        let Some(follow) = self.follows.get_mut(&id) else {
            return;
        };
        match outcome {
            Ok(presence) => {
                follow.refusals = 0;
                if let Some(snapshot) = presence {
                    self.read(id, reading::Event::Roster(Some(snapshot)), now);
                }
            }
            Err(Refused {
                problem,
                again_after: None,
            }) => self.end(id, Some(SubscribeError::Refused(problem))),
            Err(Refused {
                again_after: Some(after),
                ..
            }) => {
                let wait = (self.options.backoff).wait(follow.refusals, (self.chance)());
                follow.refusals += 1;
                let at = now + after + wait;
                follow.retry_at = Some(at);
                self.retries.insert((at, id));
                self.read(id, reading::Event::Lost, now);
            }
        }
    }

    /// A subscription of this channel begins. One that was left before that may begin late, and is not what is
    /// asked for now.
    pub(super) fn on_subscribed(&mut self, channel: &str, offset: Offset, now: Instant) {
        if self.account_for(channel)
            && let Some(id) = self.by_name.get(channel).copied()
        {
            if let Some(follow) = self.follows.get_mut(&id) {
                follow.began.get_or_insert_with(|| offset.clone());
            }
            self.read(id, reading::Event::Began(offset), now);
        }
    }

    /// A subscription began or was refused; whether it was the last one that was asked for.
    fn account_for(&mut self, channel: &str) -> bool {
        let Some(unbegun) = self.unbegun.get_mut(channel) else {
            return true;
        };
        *unbegun = unbegun.saturating_sub(1);
        *unbegun == 0
    }

    fn is_websocket(&self) -> bool {
        matches!(&self.course.stage, Stage::Open(open) if open.wire == LineWire::WebSocket)
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
