//! Lines that have something of their own to send: a head, replies, or entries that they read from the log
//! because they are new, slow, or came with an old offset.
//!
//! ```text
//!  out ─▶ [rest of the entry it is inside of] ─▶ replies ─▶ entries from the log … ─▶ back to the feed's tail
//! ```
//!
//! A slow line keeps no queue. While its socket takes nothing it holds a sequence, and either the few bytes
//! that are left of an entry it is inside of or, for a larger entry, that entry and how far it got: it is
//! encoded once more when the socket takes bytes again, even if retention has let go of it meanwhile.

use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use everwire_channel::{Gap, Read as LogRead};
use everwire_websocket::{CloseCode, encode_close};
use everwire_wire::{Notice, Standing, StreamCursor, codes};

use super::{
    BEHIND, Behind, FeedKey, Key, LineKey, Net, Seat, Shard, Side, SubscriberKey, Then,
    feed::{Departure, source},
    inbound::Until,
    large,
    line::Role,
    session::Speech,
    timers::Timer,
};

/// Entries are read from the log in batches of about so many encoded bytes.
pub(super) const BATCH_BYTES: usize = 64 * 1024;

/// Batches that one line may send before others have their turn.
const BATCHES: usize = 4;

/// What became of a write.
pub(super) enum Sent {
    All,
    Part,
    Broken,
}

/// Whether a line goes on that reads from the log.
pub(super) enum Going {
    /// It does, until it had its share.
    On,
    /// It does, and was sent nothing.
    OnAtOnce,
    /// Its socket takes no more, others have their turn first, or it is closed.
    Stops,
}

/// What a line that reads from the log comes upon.
pub(super) enum Next {
    /// This many bytes of entries are in the scratch buffer.
    Entries,
    /// A large entry, which is encoded once for all.
    Large,
    /// It has all that the feed's tail was made from.
    AtTail,
    /// It has more: the tail is full, and gets there when the others have had theirs.
    AheadOfTail,
    Gap(Gap),
}

impl<N: Net> Shard<N> {
    /// What is kept for a line besides its slot; made when it is missing.
    pub(super) fn side(&mut self, key: LineKey) -> &mut Side {
        self.sides.entry(key).or_default()
    }

    /// A walk found that a line's socket takes no more: the line leaves the tail where it stands.
    pub(super) fn on_blocked(&mut self, key: LineKey) {
        let Some(Seat::Feed { feed, index }) = self.lines.get(key).map(|line| &line.seat) else {
            return;
        };
        let (feed_key, index) = (*feed, *index);
        let feed = &mut self.feeds[feed_key];
        let subscriber = &mut feed.subscribers[index.index()];
        let position = std::mem::replace(&mut subscriber.position, BEHIND);
        let Departure { rest, behind } = feed.depart(position);
        self.shared.metrics.line_fell_behind();
        let side = self.side(key);
        side.out.extend_from_slice(&rest);
        side.behind = behind;
        match behind {
            Some(behind) => self.hold_departed(key, feed_key, behind, position),
            // The rest tells it the end.
            None => {
                side.then = Then::Linger;
                self.unseat(key, Role::Lingering);
            }
        }
        self.block(key);
    }

    /// Holds the entry that a line is inside of, if it is inside of one and there is room.
    pub(super) fn hold_entry(&mut self, key: LineKey, feed: FeedKey, behind: Behind) {
        let mut entry = None;
        let bytes_max = self.shared.live.config.limits.kept_bytes_max;
        if behind.skip > 0 {
            let state = self.feeds[feed].channel.lock();
            if let LogRead::Entries(mut entries) = state.core().log().after(behind.sequence) {
                entry = entries
                    .next()
                    .and_then(|(_, entry)| self.held.hold(entry, bytes_max));
            }
        }
        self.side(key).inside = entry;
    }

    /// Sends what a line has of its own, until it is done, its socket takes no more, or it had its share.
    pub(super) fn send_side(&mut self, key: LineKey) {
        let mut batches = BATCHES;
        loop {
            let Some(side) = self.sides.get_mut(&key) else {
                return;
            };
            if side.blocked_since.is_some() {
                return;
            }
            if !side.out.is_empty() {
                let mut out = std::mem::take(&mut side.out);
                match self.write(key, &mut out) {
                    Sent::All => {}
                    Sent::Part => {
                        self.side(key).out = out;
                        return self.block(key);
                    }
                    Sent::Broken => return self.close(key),
                }
                continue;
            }
            if !side.shared.is_empty() {
                let mut shared = std::mem::take(&mut side.shared);
                match self.write(key, &mut shared) {
                    Sent::All => {}
                    Sent::Part => {
                        self.side(key).shared = shared;
                        return self.block(key);
                    }
                    Sent::Broken => return self.close(key),
                }
                continue;
            }
            match side.then {
                Then::Stay => {}
                Then::Close => {
                    self.say_end(key);
                    return self.close(key);
                }
                Then::Linger => return self.linger(key),
                Then::Return => return self.give_back(key),
            }
            let Some(behind) = side.behind.or_else(|| side.next_late()) else {
                break;
            };
            if batches == 0 {
                self.ask_again(key);
                return;
            }
            let going = match behind.skip {
                0 if !side.late.is_empty() => self.send_late(key, behind),
                _ => self.send_behind(key, behind),
            };
            match going {
                Going::On => batches -= 1,
                Going::OnAtOnce => {}
                Going::Stops => return,
            }
        }
        self.settle(key);
    }

    /// Sends bytes that may only go out between two entries: a pong, a reply.
    pub(super) fn reply(&mut self, key: LineKey, bytes: &[u8]) {
        match self.lines.get(key).map(|line| &line.seat) {
            Some(Seat::Feed { .. } | Seat::Session(_) | Seat::Alone(_)) => {}
            Some(Seat::Vacant) | None => return,
        }
        let side = self.sides.get(&key);
        let mut rest = bytes;
        // Nearly always nothing is before it and the socket takes it all, so that nothing is kept for it.
        if side.is_none_or(|side| side.has_nothing_to_say()) {
            match self.write(key, &mut rest) {
                Sent::All => return self.settle(key),
                Sent::Part => {
                    self.leave_tail(key);
                    self.side(key).out.extend_from_slice(rest);
                    return self.block(key);
                }
                Sent::Broken => return self.close(key),
            }
        }
        self.side(key).push_reply(rest);
        self.send_side(key);
    }

    /// Forgets a line's side once it holds nothing.
    pub(super) fn settle(&mut self, key: LineKey) {
        if self.sides.get(&key).is_some_and(|side| side.is_idle()) {
            self.sides.remove(&key);
        }
    }

    /// The socket takes bytes again.
    pub(super) fn on_writable(&mut self, key: LineKey) {
        let Some(side) = self.sides.get_mut(&key) else {
            return;
        };
        if side.blocked_since.take().is_none() {
            return;
        }
        side.outbound_room = None;
        let unread = std::mem::take(&mut side.unread);
        // Its peer acknowledged bytes, so it is there; a line with a backlog is sent no pings to answer.
        let second = self.second();
        if let Some(line) = self.lines.get_mut(key) {
            line.heard_s = second;
        }
        self.wait_for_room(key, false);
        self.send_side(key);
        if unread {
            self.on_readable(key, Until::Empty);
        }
    }

    /// Says a last thing and closes the line. First it gets what there is for it, as long as its socket takes it.
    pub(super) fn say_last(&mut self, key: LineKey, goodbye: &[u8]) {
        self.leave_tail(key);
        // What a session has not got it asks for when it comes back.
        let reads_on = !self.speaks_in_messages(key);
        if reads_on {
            self.leave_tails(key);
        }
        let side = self.side(key);
        if side.farewell.is_some() || side.then != Then::Stay {
            // It is ending already.
            return;
        }
        side.farewell = Some(Bytes::copy_from_slice(goodbye));
        let reads_on = reads_on && side.blocked_since.is_none();
        let goes_on = match side.behind {
            Some(behind) => behind.skip > 0 || reads_on,
            None => reads_on && !side.late.is_empty(),
        };
        if !goes_on {
            self.part(key);
        }
        self.send_side(key);
    }

    /// Says a last thing and closes the line, as soon as it is between two entries: nothing more is read for it.
    pub(super) fn say_at_boundary(&mut self, key: LineKey, goodbye: &[u8]) {
        self.leave_tail(key);
        let side = self.side(key);
        if side.then != Then::Stay {
            return;
        }
        side.farewell = Some(Bytes::copy_from_slice(goodbye));
        if side.behind.is_none_or(|behind| behind.skip == 0) {
            self.part(key);
        }
        self.send_side(key);
    }

    /// Has a line that waits in its feed's tail read from the log. A session leaves its tails when it is met.
    pub(super) fn leave_tail(&mut self, key: LineKey) {
        let Some(Seat::Feed { feed, index }) = self.lines.get(key).map(|line| &line.seat) else {
            return;
        };
        let feed = &mut self.feeds[*feed];
        let subscriber = &mut feed.subscribers[index.index()];
        if subscriber.position != BEHIND {
            let place = feed.tail.place(subscriber.position);
            debug_assert_eq!(place.skip, 0, "a line inside an entry is behind");
            subscriber.position = BEHIND;
            self.side(key).behind = Some(Behind::at(place.sequence, 0));
        }
    }

    /// Nothing more is read for a line, which is between two entries: its last words are next.
    fn part(&mut self, key: LineKey) {
        self.unseat(key, Role::Lingering);
        let side = self.side(key);
        side.behind = None;
        (side.inside, side.encoding) = (None, None);
        side.late.clear();
        let farewell = side.farewell.take().unwrap_or_default();
        side.out.extend_from_slice(&farewell);
        side.then = Then::Linger;
    }

    /// Fails a WebSocket line with a close code, or ends another line as its framing does.
    pub(super) fn fail(&mut self, key: LineKey, code: CloseCode, reason: &str) {
        let Some(line) = self.lines.get(key) else {
            return;
        };
        let websocket = match &line.seat {
            Seat::Feed { feed, .. } => self.feeds[*feed].framing.is_websocket(),
            Seat::Session(session) => session.speech.framing().is_websocket(),
            Seat::Alone(alone) => matches!(alone.role, Role::Echo),
            Seat::Vacant => return,
        };
        self.shared.metrics.line_failed(code);
        let mut goodbye = BytesMut::new();
        if websocket {
            encode_close(Some((code, reason)), &mut goodbye);
            self.end_socket(key, &goodbye, Then::Linger);
        } else {
            // Without its last chunk the body is seen to be cut, which is the truth.
            self.close(key);
        }
    }

    /// Sends one batch from the log.
    pub(super) fn send_behind(&mut self, key: LineKey, behind: Behind) -> Going {
        let Some((feed_key, index)) = self.place_of_reading(key) else {
            self.side(key).behind = None;
            return Going::OnAtOnce;
        };
        let mut batch = std::mem::take(&mut self.scratch);
        batch.clear();
        let mut ends = Vec::new();
        match self.encode_behind(key, feed_key, behind, &mut batch, &mut ends) {
            Next::AtTail => {
                self.rejoin(key, feed_key, index, behind);
                self.scratch = batch;
                Going::OnAtOnce
            }
            Next::AheadOfTail => {
                self.scratch = batch;
                self.side(key).take_turns();
                self.ask_again(key);
                Going::Stops
            }
            Next::Gap(gap) => {
                self.scratch = batch;
                match self.meet_gap(key, feed_key, behind, &gap) {
                    true => Going::On,
                    false => Going::Stops,
                }
            }
            Next::Large => {
                self.scratch = batch;
                self.send_large(key, feed_key, behind)
            }
            Next::Entries => {
                self.note_speech(key);
                let total = batch.len();
                batch.advance(behind.skip);
                let sent = self.write(key, &mut batch);
                let before = behind;
                let (behind, rest) = before.advance(&ends, total - batch.len());
                let side = self.side(key);
                side.out.extend_from_slice(&batch[..rest]);
                side.behind = Some(behind);
                self.between_entries(key, feed_key, &sent, before.skip > 0);
                let still_inside = before.skip > 0 && behind.sequence == before.sequence;
                if !still_inside && (before.skip > 0 || behind.skip > 0) {
                    self.hold_entry(key, feed_key, behind);
                }
                self.scratch = batch;
                self.after_batch(key, &sent)
            }
        }
    }

    /// Does what had to wait for a boundary between entries, if a line is at one now, after `sent`.
    pub(super) fn between_entries(
        &mut self,
        key: LineKey,
        feed: FeedKey,
        sent: &Sent,
        was_inside: bool,
    ) {
        let is_session = self.session(key).is_some();
        // It is slow: its socket is full, or was inside this very entry.
        let slow = matches!(sent, Sent::Part) || was_inside;
        let ends = slow || self.speaks_in_messages(key);
        let side = self.side(key);
        if side.behind.is_none_or(|behind| behind.skip > 0) {
            return;
        }
        let replies = std::mem::take(&mut side.replies);
        side.out.extend_from_slice(&replies);
        if ends && side.farewell.is_some() {
            self.part(key);
        } else if is_session {
            self.let_go_if_left(key, feed);
            self.side(key).take_turns();
        }
    }

    /// What follows when a batch was written.
    pub(super) fn after_batch(&mut self, key: LineKey, sent: &Sent) -> Going {
        match sent {
            Sent::All => return Going::On,
            Sent::Part => self.block(key),
            Sent::Broken => self.close(key),
        }
        Going::Stops
    }

    /// Encodes what follows a line's place, up to where its feed's tail begins to be written. `ends` gets each
    /// entry's sequence and where its encoding ends.
    pub(super) fn encode_behind(
        &mut self,
        key: LineKey,
        feed_key: FeedKey,
        behind: Behind,
        batch: &mut BytesMut,
        ends: &mut Vec<(u64, usize)>,
    ) -> Next {
        let side = self.sides.get(&key);
        if behind.skip > 0 && side.is_some_and(|side| side.encoding.is_some()) {
            return Next::Large;
        }
        let feed = &self.feeds[feed_key];
        let head = feed.tail.sequence();
        if behind.sequence > head {
            return Next::AheadOfTail;
        }
        if behind.sequence == head && behind.skip == 0 {
            return Next::AtTail;
        }
        let state = feed.channel.lock();
        let log = state.core().log();
        let inside = self.sides.get(&key).and_then(|side| side.inside.as_deref());
        let (held, entries) = match (log.after(behind.sequence), inside) {
            (LogRead::Entries(entries), _) => (None, Some(entries)),
            // The log has let go of it, this line has not.
            (LogRead::Gap(_), Some(held)) => (Some((behind.sequence + 1, held.entry())), None),
            (LogRead::Gap(gap), None) => return Next::Gap(gap),
            (LogRead::CaughtUp, _) => return Next::AtTail,
        };
        let entries = held.into_iter().chain(entries.into_iter().flatten());
        let source = source(&feed.channel, &state);
        let newest = log.head_sequence();
        let cursor = StreamCursor::answer(self.now_ms, behind.cursor, fastrand::u64(..));
        // Who is to part does so at the end of the entry that it is inside of.
        let side = self.sides.get(&key);
        let parts = behind.skip > 0 && side.is_some_and(|side| side.farewell.is_some());
        let (skipped, is_left) = match self.lines.get(key).map(|line| &line.seat) {
            Some(Seat::Session(session)) => {
                let subscription = session.subscription(feed_key);
                let is_left = subscription.is_some_and(|read| read.wish.is_left);
                (session.skipped(feed_key), is_left)
            }
            _ => (None, false),
        };
        for (sequence, entry) in entries.take_while(|(sequence, _)| *sequence <= head) {
            let offset = log.offset_of(sequence, entry);
            let standing = Standing {
                up_to_date: sequence == newest,
                cursor,
            };
            // What was begun is finished, whatever was asked for since.
            let is_begun = behind.skip > 0 && ends.is_empty();
            if is_begun || skipped.is_none() || entry.publisher() != skipped {
                if large::is_large(entry) {
                    match ends.is_empty() {
                        true => return Next::Large,
                        false => break,
                    }
                }
                feed.framing.encode_entry(
                    &source,
                    &offset,
                    entry,
                    standing,
                    &mut self.deflaters,
                    batch,
                );
            }
            ends.push((sequence, batch.len()));
            if batch.len() >= BATCH_BYTES || is_left || parts {
                break;
            }
        }
        Next::Entries
    }

    /// A line has caught up: it takes its place at the end of the feed's tail, unless it has something to hear
    /// first, or nothing any more afterwards.
    fn rejoin(&mut self, key: LineKey, feed: FeedKey, index: SubscriberKey, behind: Behind) {
        if self
            .sides
            .get(&key)
            .is_some_and(|side| side.farewell.is_some())
        {
            return self.part(key);
        }
        let feed_key = feed;
        let feed = &mut self.feeds[feed];
        let mut notice = BytesMut::new();
        let state = feed.channel.lock();
        let head = state.core().log().head();
        let source = source(&feed.channel, &state);
        if feed.ended {
            let end = Notice::Closed(&head);
            feed.framing.encode_notice(&source, end, &mut notice);
            drop(state);
            if let Some(Speech::Messages(_)) = self.session(key).map(|session| session.speech) {
                self.side(key).out.extend_from_slice(&notice);
                return self.on_channel_end(key, feed_key);
            }
            self.side(key).farewell = Some(notice.freeze());
            return self.part(key);
        }
        let up_to_date = head.sequence == feed.tail.sequence();
        if up_to_date && !behind.told && feed.framing.tells_up_to_date() {
            let cursor = StreamCursor::answer(self.now_ms, behind.cursor, fastrand::u64(..));
            let told = Notice::UpToDate(&head, cursor);
            feed.framing.encode_notice(&source, told, &mut notice);
            drop(state);
            // Not in the tail before this is out: the walk would write into its middle.
            let side = self.side(key);
            side.out.extend_from_slice(&notice);
            side.behind = Some(Behind {
                told: true,
                ..behind
            });
            return;
        }
        drop(state);
        feed.subscribers[index.index()].position = feed.tail.end();
        self.side(key).behind = None;
    }

    /// Entries are gone that a line needed. True if it may go on at once.
    fn meet_gap(&mut self, key: LineKey, feed: FeedKey, behind: Behind, gap: &Gap) -> bool {
        let feed_key = feed;
        let feed = &self.feeds[feed_key];
        self.shared.metrics.gap_told();
        if behind.skip > 0 {
            // It was gone before it could be held, so what was begun cannot be finished: the line can only be cut.
            self.close(key);
            return false;
        }
        let line = &self.lines[key];
        let wish = match &line.seat {
            Seat::Session(session) => session.subscription(feed_key).map(|read| read.wish),
            Seat::Feed { .. } | Seat::Alone(_) | Seat::Vacant => None,
        };
        let fail = wish.map_or(line.rights.fail_on_gap, |wish| wish.fail_on_gap);
        if fail || !feed.framing.tells_gaps() {
            self.fail(key, codes::GAP, &gap_reason(gap));
            return false;
        }
        let mut notice = BytesMut::new();
        let state = feed.channel.lock();
        feed.framing.encode_notice(
            &source(&feed.channel, &state),
            Notice::Gap(gap),
            &mut notice,
        );
        drop(state);
        let side = self.side(key);
        side.out.extend_from_slice(&notice);
        side.behind = Some(Behind {
            sequence: gap.oldest.sequence,
            ..behind
        });
        true
    }

    /// Writes until all is out or the socket takes no more; what was sent is gone from `bytes`.
    pub(super) fn write(&mut self, key: LineKey, bytes: &mut impl Buf) -> Sent {
        let (mut sends, mut sent_bytes) = (0, 0);
        let sent = loop {
            if !bytes.has_remaining() {
                break Sent::All;
            }
            let Some(sent) = self.send(key, &[IoSlice::new(bytes.chunk())]) else {
                break Sent::Broken;
            };
            sends += 1;
            match sent {
                Ok(count) => {
                    sent_bytes += count as u64;
                    bytes.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Sent::Part,
                Err(error) => {
                    self.count_exhausted(&error);
                    break Sent::Broken;
                }
            }
        };
        self.shared.metrics.sent(sends, sent_bytes);
        sent
    }

    /// Waits until the socket takes bytes again, but not for ever, and not with more than there is room for.
    pub(super) fn block(&mut self, key: LineKey) {
        let now = self.now;
        let side = self.side(key);
        side.blocked_since = Some(now);
        let bytes = side.out.len() + side.replies.len();
        // What it has taken before is among these.
        side.outbound_room = None;
        match self.room_for(key, bytes) {
            Ok(room) => self.side(key).outbound_room = room,
            Err(problem) => {
                problem
                    .limit
                    .inspect(|limit| self.shared.metrics.limit_met(limit));
                return self.close(key);
            }
        }
        let line = &mut self.lines[key];
        let armed = std::mem::replace(&mut line.stall_armed, true);
        self.wait_for_room(key, true);
        if !armed {
            self.arm_line(
                key,
                self.shared.live.config.limits.write_stall_ms,
                Timer::stall,
            );
        }
    }
}

/// What the close code of a gap is told with.
fn gap_reason(gap: &Gap) -> String {
    format!("entries are gone; the oldest kept are after {}", gap.oldest)
}
