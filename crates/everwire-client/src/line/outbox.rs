//! Commands that have to be answered once: publications, and questions about a channel.
//!
//! They wait here while the line is down, and are sent again, unchanged, when it was lost before the answer. A
//! publication carries a key, by which the server knows a repeat.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::{AskError, command::Command};
use crate::decode::session::Refused;
use crate::{LineError, LineOptions};

/// The queue of one line.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// In the order in which they came, which is that of their deadlines.
    items: BTreeMap<Ticket, Item>,
    bytes: usize,
    /// How many are on their way.
    in_flight: usize,
    /// What the server refused for now holds back the others, to keep their order.
    not_before: Option<Instant>,
    last: u64,
    answers: VecDeque<(Ticket, Result<String, AskError>)>,
}

/// Names a command that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
struct Item {
    command: Command,
    deadline: Instant,
    way: Way,
    /// How often the server refused it for now.
    refused: u32,
}

/// How far a command came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Fresh,
    /// On its way on the present line.
    Sent,
    /// It was on its way, so that it may have been carried out.
    SentBefore,
}

impl Outbox {
    /// Puts a command in; its answer comes from [`poll_answer`](Self::poll_answer).
    pub fn add(&mut self, command: Command, options: &LineOptions, now: Instant) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        let waiting = self.items.len();
        let bytes = self.bytes + command.bytes();
        if waiting >= options.queue_max || bytes > options.queue_bytes_max {
            let full = AskError::QueueFull { waiting };
            self.answers.push_back((ticket, Err(full)));
            return ticket;
        }
        self.bytes = bytes;
        let item = Item {
            command,
            deadline: now + options.queue_time,
            way: Way::Fresh,
            refused: 0,
        };
        self.items.insert(ticket, item);
        ticket
    }

    /// Refuses a command at once.
    pub fn refuse(&mut self, error: AskError) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        self.answers.push_back((ticket, Err(error)));
        ticket
    }

    /// Nobody waits for the answer any more; what was not sent is not sent.
    pub fn forget(&mut self, ticket: Ticket) {
        if self
            .items
            .get(&ticket)
            .is_some_and(|item| item.way == Way::Fresh)
        {
            self.remove(ticket);
        }
    }

    /// The next command to send, as far as the window allows.
    pub fn poll_send(&mut self, now: Instant) -> Option<(Ticket, Command)> {
        if self.in_flight >= WINDOW || self.items.len() == self.in_flight {
            return None;
        }
        if self.not_before.is_some_and(|time| now < time) {
            return None;
        }
        let mut waiting = self
            .items
            .iter_mut()
            .filter(|(_, item)| item.way != Way::Sent);
        let (ticket, item) = waiting.next()?;
        item.way = Way::Sent;
        self.in_flight += 1;
        Some((*ticket, item.command.clone()))
    }

    /// The server answered.
    pub fn on_reply(
        &mut self,
        ticket: Ticket,
        outcome: Result<&str, Refused>,
        options: &LineOptions,
        roll: f64,
        now: Instant,
    ) {
        let Some(item) = self.items.get_mut(&ticket) else {
            return;
        };
        let answer = match outcome {
            Ok(ok) => Ok(ok.to_owned()),
            Err(Refused {
                again_after: Some(after),
                ..
            }) => {
                item.way = Way::SentBefore;
                self.in_flight -= 1;
                let wait = after + options.backoff.wait(item.refused, roll);
                item.refused += 1;
                self.not_before = Some(now + wait);
                return;
            }
            Err(Refused { problem, .. }) => Err(AskError::Refused(problem)),
        };
        self.remove(ticket);
        self.answers.push_back((ticket, answer));
    }

    /// The line was lost: what has no answer goes out again on the next.
    pub fn suspend(&mut self) {
        for item in self.items.values_mut().filter(|item| item.way == Way::Sent) {
            item.way = Way::SentBefore;
        }
        self.in_flight = 0;
    }

    /// The server refused to read a message for its size: that was the longest one on its way.
    pub fn drop_longest(&mut self) {
        let sent = self.items.iter().filter(|(_, item)| item.way == Way::Sent);
        if let Some(ticket) = sent
            .max_by_key(|(_, item)| item.command.bytes())
            .map(|(ticket, _)| *ticket)
        {
            self.remove(ticket);
            self.answers.push_back((ticket, Err(AskError::TooLarge)));
        }
    }

    /// Time passed: gives up what waited too long.
    pub fn handle_timeout(&mut self, options: &LineOptions, now: Instant) {
        self.not_before = self.not_before.filter(|time| now < *time);
        while let Some((&ticket, item)) = self.items.first_key_value()
            && item.deadline <= now
        {
            let error = AskError::TimedOut {
                after: options.queue_time,
                was_sent: item.way != Way::Fresh,
            };
            self.remove(ticket);
            self.answers.push_back((ticket, Err(error)));
        }
    }

    /// The line is over.
    pub fn fail(&mut self, error: Option<&LineError>) {
        for ticket in std::mem::take(&mut self.items).into_keys() {
            let error = error.cloned().map_or(AskError::Closed, AskError::Line);
            self.answers.push_back((ticket, Err(error)));
        }
        self.bytes = 0;
        self.in_flight = 0;
    }

    /// The next answer; the `ok` of a reply as text.
    pub fn poll_answer(&mut self) -> Option<(Ticket, Result<String, AskError>)> {
        self.answers.pop_front()
    }

    /// When there is something to do because of time alone.
    pub fn wake_at(&self) -> Option<Instant> {
        let deadline = self.items.first_key_value().map(|(_, item)| item.deadline);
        [deadline, self.not_before].into_iter().flatten().min()
    }

    fn remove(&mut self, ticket: Ticket) {
        if let Some(item) = self.items.remove(&ticket) {
            self.bytes -= item.command.bytes();
            if item.way == Way::Sent {
                self.in_flight -= 1;
            }
        }
    }
}

/// Commands on their way at once: enough to fill a long path, few enough to be repeated quickly.
pub(crate) const WINDOW: usize = 64;
