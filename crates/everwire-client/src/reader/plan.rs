//! What a reader does next: when to ask, for what, when to give up, and what to tell the caller.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::ask::{Ask, Form};
use crate::backoff::ASKED_WAIT_MAX;
use crate::credential::REFUSALS_MAX;
use crate::signal::{Page, Refusal, Signal};
use crate::{Cause, Entry, Gap, Item, Offset, ReadError, ReaderOptions, Start, Unreadable, Wire};

/// The course of one reader, without IO.
///
/// ```text
///  signals of the line ─▶ handle ──────────┐        ┌─▶ step       ask, listen, or wait until
///  clock               ─▶ handle_timeout ──┼▶ Plan ─┼─▶ poll_item  what the caller is told
///  caller              ─▶ switch, cut ─────┘        └─▶ (Ended)    closed, or given up
///
///  Ready ─ask─▶ Asking ─opened─▶ Listening ─lost─▶ Waiting ─time─▶ Ready …
/// ```
///
/// Invariant: `position` follows the last entry told. Whatever is asked next is asked from there, over
/// whatever wire, so each entry is told once, in order, or one gap.
#[derive(Debug)]
pub(crate) struct Plan {
    options: ReaderOptions,
    wire: Wire,
    position: Start,
    state: State,
    items: VecDeque<Item>,
    /// Attempts in a row that came to nothing.
    failed: u32,
    /// Since when the caller knows that we are connected.
    connected: Option<Instant>,
    /// A poll over this wire has met the tail since it was connected.
    caught_up: bool,
    /// What the last poll told for the next one.
    cursor: Option<String>,
    etag: Option<String>,
    /// The reconnection time that an event stream told.
    retry: Option<Duration>,
    /// The stream was opened anew to learn the type of its entries.
    asked_for_type: bool,
    /// Another credential can be had when one is refused.
    renews: bool,
    /// Credentials that were refused in a row.
    refusals: u32,
    rng: Rng,
}

/// Where the reader stands in its course.
#[derive(Debug)]
enum State {
    Ready,
    Asking {
        asked: Ask,
        since: Instant,
    },
    /// Something of the answer arrived.
    Listening {
        asked: Ask,
        since: Instant,
        heard: Instant,
    },
    Waiting {
        until: Instant,
    },
    /// Nothing follows; an error is told once.
    Ended(Option<ReadError>),
}

/// What the shell does next.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Ask this, on a new line.
    Ask(Ask),
    /// Hand over the next signal of the line, or call `handle_timeout` at this time.
    Listen(Instant),
    /// Leave the line, if there is one, and do nothing until this time.
    Wait(Instant),
    /// Nothing more comes.
    Ended(Option<ReadError>),
}

impl Plan {
    pub fn new(options: ReaderOptions, wire: Wire, start: Start, seed: u64) -> Self {
        Self {
            options,
            wire,
            position: start,
            state: State::Ready,
            items: VecDeque::new(),
            failed: 0,
            connected: None,
            caught_up: false,
            cursor: None,
            etag: None,
            retry: None,
            asked_for_type: false,
            renews: false,
            refusals: 0,
            rng: Rng::with_seed(seed),
        }
    }

    /// Whether another credential can be had when one is refused.
    pub fn set_renews(&mut self, renews: bool) {
        self.renews = renews;
    }

    /// What to do now.
    pub fn step(&mut self, now: Instant) -> Step {
        match &mut self.state {
            State::Waiting { until } if *until > now => Step::Wait(*until),
            State::Ready | State::Waiting { .. } => {
                let asked = self.next_ask();
                self.state = State::Asking {
                    asked: asked.clone(),
                    since: now,
                };
                Step::Ask(asked)
            }
            State::Asking { asked, since } => {
                Step::Listen(*since + self.options.patience(&asked.form))
            }
            State::Listening { heard, .. } => Step::Listen(*heard + self.options.silence),
            State::Ended(error) => Step::Ended(error.take()),
        }
    }

    /// The next thing to tell the caller.
    pub fn poll_item(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// The line told something.
    pub fn handle(&mut self, signal: Signal, now: Instant) {
        let asked = match &mut self.state {
            State::Asking { asked, since } => {
                let (asked, since) = (asked.clone(), *since);
                self.state = State::Listening {
                    asked: asked.clone(),
                    since,
                    heard: now,
                };
                asked
            }
            State::Listening { asked, heard, .. } => {
                *heard = now;
                asked.clone()
            }
            State::Ready | State::Waiting { .. } | State::Ended(_) => return,
        };
        match signal {
            Signal::Opened(at) => self.on_opened(at, now),
            // It was worth more than a mere connection.
            Signal::Alive => self.failed = 0,
            Signal::Retry(time) => self.retry = Some(time.min(ASKED_WAIT_MAX)),
            Signal::Entry(entry) => {
                self.asked_for_type = false;
                self.on_entry(entry, now);
            }
            Signal::Untyped(entry) => self.on_untyped(entry, now),
            Signal::Unreadable(unreadable) => self.on_unreadable(unreadable, now),
            Signal::Gap(gap) => self.on_gap(gap, now),
            Signal::Drain(after) => self.lose(
                Cause::Draining,
                Wait::Exactly(after.min(ASKED_WAIT_MAX)),
                now,
            ),
            Signal::Closed => self.on_closed(),
            Signal::Page(page) => self.on_page(page, &asked, now),
            Signal::Refused(refusal) => self.on_refused(refusal, &asked, now),
            Signal::Ended(cause) => self.on_ended(cause, now),
            Signal::Failed(error) => self.state = State::Ended(Some(error)),
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let until = match &self.state {
            State::Asking { asked, since } => *since + self.options.patience(&asked.form),
            State::Listening { heard, .. } => *heard + self.options.silence,
            State::Ready | State::Waiting { .. } | State::Ended(_) => return,
        };
        if until <= now {
            self.lose(Cause::Silent, Wait::Jitter, now);
        }
    }

    /// For so long nobody listened, since the caller was busy with what it got: that is no silence of the
    /// server.
    pub fn excuse(&mut self, absence: Duration) {
        match &mut self.state {
            State::Listening { heard, .. } => *heard += absence,
            State::Ready | State::Asking { .. } | State::Waiting { .. } | State::Ended(_) => {}
        }
    }

    /// The caller wants another wire. The line is left at once; what was told stays told.
    pub fn switch(&mut self, wire: Wire) {
        self.wire = wire;
        self.leave();
        match self.state {
            State::Ended(_) => {}
            State::Ready
            | State::Asking { .. }
            | State::Listening { .. }
            | State::Waiting { .. } => {
                self.state = State::Ready;
            }
        }
    }

    /// The caller cut the line.
    pub fn cut(&mut self, now: Instant) {
        match self.state {
            State::Asking { .. } | State::Listening { .. } => {
                self.lose(Cause::Cut, Wait::Jitter, now);
            }
            State::Ready | State::Waiting { .. } | State::Ended(_) => {}
        }
    }

    pub fn wire(&self) -> Wire {
        self.wire
    }

    fn next_ask(&self) -> Ask {
        let start = self.position.clone();
        let catch_up = || Form::CatchUp {
            etag: self.etag.clone(),
        };
        let form = match (self.wire, &start) {
            // The welcome tells which offset `now` is.
            (Wire::WebSocket, _) => Form::WebSocket,
            // Nothing on these wires tells it before the first entry. A connection that is cut until then
            // would lose what came meanwhile, so `now` is made an offset first.
            (Wire::EventStream | Wire::Ndjson, Start::Now) => catch_up(),
            (Wire::EventStream, _) => Form::EventStream,
            (Wire::Ndjson, _) => Form::Ndjson,
            (Wire::LongPoll, _) if self.caught_up => Form::LongPoll {
                cursor: self.cursor.clone(),
            },
            (Wire::LongPoll | Wire::Polling, _) => catch_up(),
        };
        Ask { start, form }
    }

    fn on_opened(&mut self, at: Option<Offset>, now: Instant) {
        match (&self.position, at) {
            // Where it differs from an offset of ours a gap was met, and the notice of it follows. A line that
            // is cut before that must not leave the gap behind.
            (Start::After(_), _) | (_, None) => {}
            (Start::Beginning | Start::Now | Start::Last(_), Some(at)) => {
                self.position = Start::After(at);
            }
        }
        self.announce(now);
    }

    fn on_entry(&mut self, entry: Entry, now: Instant) {
        if self.pass(entry.offset.as_ref(), now) {
            self.announce(now);
            self.items.push_back(Item::Entry(entry));
        }
    }

    /// Something came that cannot be read. On a line that is open it is passed over, since it would come again with
    /// each connection; one that begins with it is not from a server of ours.
    fn on_unreadable(&mut self, unreadable: Unreadable, now: Instant) {
        if self.connected.is_none() {
            self.lose(Cause::Malformed(unreadable.problem), Wait::Jitter, now);
        } else if self.pass(unreadable.offset.as_ref(), now) {
            self.items.push_back(Item::Unreadable(unreadable));
        }
    }

    /// Moves the position to an entry that came; whether that is where it belongs.
    fn pass(&mut self, offset: Option<&Offset>, now: Instant) -> bool {
        if let Some(offset) = offset {
            if self.is_behind(offset) {
                self.lose(
                    Cause::Malformed(format!("entry {offset} came out of order")),
                    Wait::Jitter,
                    now,
                );
                return false;
            }
            self.position = Start::After(offset.clone());
        }
        self.failed = 0;
        true
    }

    /// The channel has got its type since this stream was opened, and only the head of another tells it. Nothing is
    /// told until then, so the entry comes again.
    fn on_untyped(&mut self, entry: Entry, now: Instant) {
        if self.asked_for_type {
            // A server that tells no types.
            return self.on_entry(entry, now);
        }
        self.asked_for_type = true;
        self.state = State::Ready;
    }

    fn on_gap(&mut self, gap: Gap, now: Instant) {
        if self.position == Start::After(gap.oldest.clone()) {
            // Told again about the position that it gave us itself: a broken server or cache.
            return self.lose(
                Cause::Malformed(format!("a gap at {} came twice", gap.oldest)),
                Wait::Jitter,
                now,
            );
        }
        self.position = Start::After(gap.oldest.clone());
        self.failed = 0;
        self.announce(now);
        self.items.push_back(Item::Gap(gap));
    }

    fn on_page(&mut self, page: Page, asked: &Ask, now: Instant) {
        let Page {
            entries,
            next,
            up_to_date,
            closed,
            cursor,
            etag,
        } = page;
        let is_empty = entries.is_empty();
        match next {
            Some(next) if !is_empty && self.is_behind(&next) => {
                return self.lose(
                    Cause::Malformed(format!("an answer up to {next} came out of order")),
                    Wait::Jitter,
                    now,
                );
            }
            // A cache may answer with an older tail; the position never moves back.
            Some(next) if !self.is_behind(&next) => self.position = Start::After(next),
            Some(_) | None => {}
        }
        self.failed = 0;
        self.announce(now);
        self.items.extend(entries.into_iter().map(Item::Entry));
        if closed {
            return self.on_closed();
        }
        self.caught_up |= up_to_date;
        self.cursor = cursor.or(self.cursor.take());
        // A tag belongs to the request target, which names the position: with that it stays.
        self.etag = if is_empty {
            etag.or(self.etag.take())
        } else {
            None
        };
        let next_at = match (self.wire, &asked.form) {
            (Wire::WebSocket | Wire::EventStream | Wire::Ndjson, _) => now,
            (Wire::Polling, _) if up_to_date || is_empty => now + self.options.poll_interval,
            (Wire::Polling, _) => now,
            // Empty answers that come at once, as from a server that stops, must not become a storm.
            (Wire::LongPoll, Form::LongPoll { .. }) if is_empty => {
                self.asked_at(now) + EMPTY_ANSWER_INTERVAL
            }
            (Wire::LongPoll, _) => now,
        };
        self.state = State::Waiting { until: next_at };
    }

    fn on_refused(&mut self, refusal: Refusal, asked: &Ask, now: Instant) {
        let is_for_now = refusal.is_for_now();
        let Refusal {
            status,
            detail,
            retry_after,
            gap,
            problem: _,
        } = refusal;
        match (status, gap, &asked.form, &asked.start) {
            (_, Some(gap), ..) => {
                self.on_gap(gap, now);
                if let State::Listening { .. } = self.state {
                    self.state = State::Ready;
                }
            }
            // A plain request does not make a channel, as a live read may. The entries that this reader got are
            // gone with the channel, perhaps since a server that keeps none was started anew: that is told as
            // a gap as soon as there is a channel again.
            (404, None, Form::CatchUp { .. }, Start::After(_)) if self.wire == Wire::Polling => {
                self.lose(Cause::Refused { status, detail }, Wait::Jitter, now);
            }
            (404, None, Form::CatchUp { .. }, _) => {
                // All that such a channel will hold comes after now.
                if self.position == Start::Now {
                    self.position = Start::Beginning;
                }
                let page = Page {
                    up_to_date: true,
                    ..Page::default()
                };
                self.on_page(page, asked, now);
            }
            (401, ..) if self.may_renew() => {
                self.lose(Cause::Refused { status, detail }, Wait::Jitter, now);
            }
            _ if is_for_now => {
                let wait = retry_after.map_or(Wait::Jitter, Wait::AtLeast);
                self.lose(Cause::Refused { status, detail }, wait, now);
            }
            _ => self.state = State::Ended(Some(ReadError::Refused { status, detail })),
        }
    }

    fn on_ended(&mut self, cause: Cause, now: Instant) {
        match (cause, self.retry) {
            // Everything else on a WebSocket that ends this way was told before.
            (Cause::Closed { code: 1000, .. }, _) => self.on_closed(),
            (cause @ Cause::Closed { code: 4401, .. }, _) if self.may_renew() => {
                self.lose(cause, Wait::Jitter, now);
            }
            (
                Cause::Closed {
                    code: code @ (4400..=4403 | 4410),
                    reason,
                },
                _,
            ) => {
                self.state = State::Ended(Some(ReadError::Closed { code, reason }));
            }
            // A server that stops tells each of its readers a time of its own, and ends the stream.
            (Cause::Ended, Some(retry)) => self.lose(Cause::Ended, Wait::Exactly(retry), now),
            (cause, _) => self.lose(cause, Wait::Jitter, now),
        }
    }

    /// Whether to come back with another credential, after one was refused.
    fn may_renew(&mut self) -> bool {
        self.refusals += 1;
        self.renews && self.refusals < REFUSALS_MAX
    }

    fn on_closed(&mut self) {
        self.items.push_back(Item::Closed);
        self.state = State::Ended(None);
    }

    fn announce(&mut self, now: Instant) {
        self.refusals = 0;
        if self.connected.is_none() {
            self.connected = Some(now);
            self.items.push_back(Item::Connected(self.wire));
        }
    }

    /// The line is gone; another will be asked for.
    fn lose(&mut self, cause: Cause, wait: Wait, now: Instant) {
        if self
            .connected
            .is_some_and(|since| now.saturating_duration_since(since) >= STABLE)
        {
            self.failed = 0;
        }
        let retry_in = match wait {
            Wait::Exactly(time) => time,
            Wait::Jitter => self.options.backoff.wait(self.failed, self.rng.f64()),
            // Whoever is told the same time must not come in the same moment.
            Wait::AtLeast(time) => time + self.options.backoff.wait(0, self.rng.f64()),
        };
        self.failed = self.failed.saturating_add(1);
        self.leave();
        self.items.push_back(Item::Disconnected { cause, retry_in });
        self.state = State::Waiting {
            until: now + retry_in,
        };
    }

    /// Forgets what belongs to the line.
    fn leave(&mut self) {
        self.connected = None;
        self.caught_up = false;
        self.cursor = None;
        self.etag = None;
        self.retry = None;
    }

    fn is_behind(&self, offset: &Offset) -> bool {
        matches!(&self.position, Start::After(position) if offset <= position)
    }

    fn asked_at(&self, now: Instant) -> Instant {
        match &self.state {
            State::Asking { since, .. } | State::Listening { since, .. } => *since,
            State::Ready | State::Waiting { .. } | State::Ended(_) => now,
        }
    }
}

/// How long to wait before the next attempt.
#[derive(Clone, Copy)]
enum Wait {
    /// By our own backoff.
    Jitter,
    /// As the server chose for us alone.
    Exactly(Duration),
    /// As the server tells everybody.
    AtLeast(Duration),
}

/// A line that lived this long counts as success, even if nothing happened on it.
const STABLE: Duration = Duration::from_secs(5);

/// Empty answers to long polls are asked for no more often than this.
const EMPTY_ANSWER_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
