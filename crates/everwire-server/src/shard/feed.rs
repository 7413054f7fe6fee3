//! A feed: the readers of one channel in one framing on one shard, and the tail that they share.
//!
//! ```text
//!  subscribers  ┌──┬──┬──┬──┬──┬──┬──┐   the walk is an elevator: it goes round the array, and each line
//!               └──┴──┴▲─┴──┴──┴──┴──┘   takes all that is new when it is met. New entries reset how many
//!                    place               lines are left to meet, never the place.
//! ```
//!
//! A line whose socket takes no more leaves the tail at once and goes on from the log by itself, so the tail
//! is kept for the length of a walk and nobody's slowness holds it.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    ops::Range,
    sync::Arc,
};

use everwire_channel::{ContentKind, PublisherId};
use everwire_wire::{Deflaters, Framing, Notice, Source, Standing, StreamCursor, Tail};

use crate::hub::{Channel, State};

use super::{
    behind::{Behind, REST_BYTES_MAX},
    keys::{Key, LineKey, LocalKey, SubscriberKey},
    net::Net,
};

/// A reader in a feed. The walk touches nothing else.
pub(crate) struct Subscriber<S> {
    /// The position in the tail up to which it was sent everything, or [`BEHIND`].
    pub position: u64,
    /// The line's socket; a session keeps its own.
    pub socket: Option<S>,
    pub line: LineKey,
}

/// The position of a subscriber that reads from the log by itself.
pub(crate) const BEHIND: u64 = u64::MAX;

/// The readers of one channel in one framing.
pub(crate) struct Feed<S> {
    pub channel: Arc<Channel>,
    /// The shard's number of the channel.
    pub local: LocalKey,
    pub framing: Framing,
    pub tail: Tail,
    pub subscribers: Vec<Subscriber<S>>,
    /// The end was encoded: whoever is at the tail's end was told all.
    pub ended: bool,
    /// Whether entries were encoded since the last heartbeat was due.
    pub spoke: bool,
    /// Tells this feed from an earlier one of the same number, for timers.
    pub generation: u32,
    /// Queued for the walk.
    pub queued: bool,
    /// The entries in the tail whose publisher is known.
    signed: VecDeque<Signed>,
    place: usize,
    left: usize,
    lap: Lap,
}

/// The current round over all subscribers, after which what was there at its start is no longer needed.
struct Lap {
    /// The tail's end when the round began.
    end: u64,
    /// No line has changed its index since.
    whole: bool,
}

/// An entry in the tail whose publisher is known.
struct Signed {
    /// Where its encoding is.
    range: Range<u64>,
    publisher: PublisherId,
}

/// What a walk came upon; the shard deals with these lines one by one.
#[derive(Default)]
pub(crate) struct Met {
    /// The socket takes no more.
    pub blocked: Vec<LineKey>,
    /// The connection is broken.
    pub broken: Vec<LineKey>,
    /// Was sent everything, in a feed that has ended.
    pub finished: Vec<LineKey>,
    /// Sessions that have something to be sent, which they are when the walk pauses, and their places here.
    pub sessions: Vec<(LineKey, SubscriberKey)>,
    /// System calls made.
    pub sends: u64,
    /// Bytes sent.
    pub bytes: u64,
}

/// What a line takes along that leaves the tail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Departure {
    /// The rest of the entry or notice that it is inside of, if that is small.
    pub rest: Vec<u8>,
    /// Where it reads on in the log; nowhere if the rest tells it the channel's end.
    pub behind: Option<Behind>,
}

/// What a look at the log found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulled {
    /// Everything there was is in the tail now.
    All,
    /// The tail is full; the rest is pulled when it was walked.
    More,
    /// The log no longer holds what follows the tail: every reader has to find out for itself.
    Lost,
}

impl<S> Feed<S> {
    /// A feed that starts at the log's head.
    pub fn new(
        channel: Arc<Channel>,
        local: LocalKey,
        framing: Framing,
        generation: u32,
        state: &State,
    ) -> Self {
        Self {
            tail: Tail::new(state.core().log().head_sequence()),
            ended: state.is_ended(),
            channel,
            local,
            framing,
            subscribers: Vec::new(),
            spoke: false,
            generation,
            queued: false,
            signed: VecDeque::new(),
            place: 0,
            left: 0,
            lap: Lap {
                end: 0,
                whole: true,
            },
        }
    }

    /// Encodes what the log has beyond the tail, and the end if there is one.
    pub fn pull(&mut self, state: &State, deflaters: &mut Deflaters, now_ms: u64) -> Pulled {
        let log = state.core().log();
        let source = source(&self.channel, state);
        let before = self.tail.end();
        let head = log.head();
        if self.is_left() {
            // Nobody would be sent it. They read on to here from the log, and then to the end, if there is one.
            self.restart(head.sequence);
            self.ended = state.is_ended();
            return Pulled::All;
        }
        let cursor = StreamCursor::at(now_ms);
        let mut pulled = Pulled::All;
        match log.after(self.tail.sequence()) {
            everwire_channel::Read::Gap(_) => return Pulled::Lost,
            everwire_channel::Read::CaughtUp => {}
            everwire_channel::Read::Entries(entries) => {
                for (sequence, entry) in entries {
                    if self.tail.len() >= TAIL_BYTES_MAX {
                        pulled = Pulled::More;
                        break;
                    }
                    let offset = log.offset_of(sequence, entry);
                    let standing = Standing {
                        up_to_date: sequence == head.sequence,
                        cursor,
                    };
                    let start = self.tail.end();
                    self.tail.push_entry(sequence, |out| {
                        self.framing
                            .encode_entry(&source, &offset, entry, standing, deflaters, out);
                    });
                    if let Some(publisher) = entry.publisher() {
                        self.signed.push_back(Signed {
                            range: start..self.tail.end(),
                            publisher: publisher.clone(),
                        });
                    }
                }
            }
        }
        if pulled == Pulled::All && state.is_ended() && !self.ended {
            self.ended = true;
            self.tail.push_notice(|out| {
                self.framing
                    .encode_notice(&source, Notice::Closed(&head), out);
            });
        }
        self.tail.seal();
        if self.tail.end() > before {
            self.left = self.subscribers.len();
            self.spoke = true;
        }
        pulled
    }

    /// Whether all lines read from the log by themselves.
    fn is_left(&self) -> bool {
        self.subscribers
            .iter()
            .all(|subscriber| subscriber.position == BEHIND)
    }

    /// Begins a new tail at `head`, for lines that are all behind. Positions count from zero again, so nothing
    /// that was counted in the old tail may outlive it.
    pub fn restart(&mut self, head: u64) {
        debug_assert!(self.is_left());
        self.tail = Tail::new(head);
        self.signed.clear();
        self.left = 0;
        self.lap = Lap {
            end: 0,
            whole: true,
        };
    }

    /// Shows all lines that they are alive.
    pub fn push_heartbeat(&mut self) {
        self.tail
            .push_notice(|out| self.framing.encode_heartbeat(out));
        self.tail.seal();
        self.left = self.subscribers.len();
    }

    /// Whether some line is still to be met.
    pub fn is_walking(&self) -> bool {
        self.left > 0
    }

    /// Sends to lines until the budget of system calls is used up or every line was met.
    pub fn walk(&mut self, net: &impl Net<Socket = S>, budget: &mut usize, met: &mut Met) {
        let end = self.tail.end();
        while self.left > 0 && *budget > 0 {
            if self.place >= self.subscribers.len() {
                // What sessions of this round still have to be sent may not go before they were.
                if !met.sessions.is_empty() {
                    return;
                }
                self.place = 0;
                // A line that blocked in this very call has not left the tail yet: it may need what the others
                // of its round have had.
                if self.lap.whole && met.blocked.is_empty() {
                    self.release(self.lap.end);
                }
                self.lap = Lap { end, whole: true };
            }
            let subscriber = &mut self.subscribers[self.place];
            self.place += 1;
            self.left -= 1;
            if subscriber.position == BEHIND {
                continue;
            }
            let Some(socket) = &subscriber.socket else {
                if subscriber.position < end {
                    *budget -= 1;
                    met.sessions
                        .push((subscriber.line, SubscriberKey::at(self.place - 1)));
                }
                continue;
            };
            while subscriber.position < end {
                *budget = budget.saturating_sub(1);
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let (count, bytes) = self.tail.after(subscriber.position, &mut slices);
                met.sends += 1;
                match net.send(socket, &slices[..count]) {
                    Ok(sent) => {
                        met.bytes += sent as u64;
                        subscriber.position += sent as u64;
                        if sent < bytes {
                            met.blocked.push(subscriber.line);
                            break;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        met.blocked.push(subscriber.line);
                        break;
                    }
                    Err(_) => {
                        met.broken.push(subscriber.line);
                        break;
                    }
                }
            }
            if self.ended && subscriber.position == end {
                met.finished.push(subscriber.line);
            }
        }
    }

    /// What a line takes along that leaves the tail at `position`, and where it goes on.
    pub fn depart(&self, position: u64) -> Departure {
        let place = self.tail.place(position);
        if place.rest > REST_BYTES_MAX {
            return Departure {
                rest: Vec::new(),
                behind: Some(Behind::at(place.sequence, place.skip)),
            };
        }
        let mut rest = Vec::new();
        self.tail.rest(position, &mut rest);
        // With its rest kept, the entry counts as sent. The rest of a notice leaves the entry before it as it was.
        let after = position + rest.len() as u64;
        let behind = Behind::at(self.tail.place(after).sequence, 0);
        // The end is told once: whoever has begun to hear it has nothing else to read.
        let told_all = self.ended && after == self.tail.end();
        Departure {
            rest,
            behind: (!told_all).then_some(behind),
        }
    }

    /// Gives the tail's bytes back once every line was met.
    pub fn release_if_walked(&mut self) {
        if self.left == 0 {
            self.release(self.tail.end());
            self.lap = Lap {
                end: self.tail.end(),
                whole: true,
            };
        }
    }

    /// Whether the publisher of an entry in the tail is known.
    pub fn is_signed(&self) -> bool {
        !self.signed.is_empty()
    }

    /// What a session that stands at `position` has still to be sent, without what `skipped` published: where each
    /// stretch is, and whether it is sent or left out.
    pub fn stretches(
        &self,
        position: u64,
        skipped: Option<&PublisherId>,
        mut stretch: impl FnMut(Range<u64>, bool),
    ) {
        let mut at = position;
        if let Some(skipped) = skipped {
            let first = self.signed.partition_point(|entry| entry.range.start < at);
            for entry in self.signed.range(first..) {
                if entry.publisher == *skipped {
                    if at < entry.range.start {
                        stretch(at..entry.range.start, true);
                    }
                    stretch(entry.range.clone(), false);
                    at = entry.range.end;
                }
            }
        }
        if at < self.tail.end() {
            stretch(at..self.tail.end(), true);
        }
    }

    fn release(&mut self, position: u64) {
        self.tail.release(position);
        while self
            .signed
            .front()
            .is_some_and(|entry| entry.range.end <= position)
        {
            self.signed.pop_front();
        }
        if self.signed.is_empty() {
            self.signed.shrink_to(0);
        }
    }

    /// Adds a line, which stands where it is told.
    pub fn add(&mut self, subscriber: Subscriber<S>) -> SubscriberKey {
        if self.left > 0 {
            // The new line stands in the round, so the round is one step longer.
            self.left += 1;
        }
        self.subscribers.push(subscriber);
        SubscriberKey::at(self.subscribers.len() - 1)
    }

    /// Removes the line at `index`. Returns it and the line that now has that index, if another moved there.
    pub fn remove(&mut self, index: SubscriberKey) -> (Subscriber<S>, Option<LineKey>) {
        let removed = self.subscribers.swap_remove(index.index());
        if self.left > 0 {
            // A line that was still to be met may have moved behind the walk: go round once more.
            self.left = self.subscribers.len();
            self.lap.whole = false;
        }
        let moved = self
            .subscribers
            .get(index.index())
            .map(|subscriber| subscriber.line);
        (removed, moved)
    }
}

/// What an encoder must know of a channel. The kind of a channel that has no entry yet does not matter.
pub(crate) fn source<'a>(channel: &'a Channel, state: &State) -> Source<'a> {
    let kind = state
        .core()
        .content_type()
        .map_or(ContentKind::Binary, everwire_channel::ContentType::kind);
    Source {
        name: channel.name(),
        kind,
    }
}

/// Encoded bytes that a feed keeps at most (and one entry more); what comes then waits in the log.
const TAIL_BYTES_MAX: usize = 1024 * 1024;

/// Pieces that go out in one system call.
pub(super) const SLICES_MAX: usize = 16;
