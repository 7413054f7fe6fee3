//! A session is met: it is sent what its feeds have for it.

use std::io::{self, IoSlice};

use everwire_websocket::CloseCode;

use super::{
    super::{
        BEHIND, Behind, FeedKey, Key, LineKey, Net, Seat, Shard, SubscriberKey, Then,
        feed::{Departure, SLICES_MAX},
        line::Role,
    },
    Late, Speech, Wish,
};

/// What one session has to be sent from its tails, in the order in which it is.
#[derive(Default)]
pub(crate) struct Parts(Vec<Part>);

/// A stretch of a feed's tail.
#[derive(Clone, Copy, Debug)]
struct Part {
    feed: FeedKey,
    index: SubscriberKey,
    /// How far the session has got.
    from: u64,
    to: u64,
    /// Left out, since its own publisher said it.
    is_skipped: bool,
}

/// Why a session was not sent everything.
enum Stopped {
    Blocked,
    Broken,
}

impl<N: Net> Shard<N> {
    /// The walk over a feed has met a session that stands at `index` there. If other feeds walk too, it is sent
    /// what they have for it as well: one call for all.
    pub(in super::super) fn deliver(&mut self, key: LineKey, feed: FeedKey, index: SubscriberKey) {
        let side = self.sides.get(&key);
        if side.is_some_and(|side| !side.has_nothing_to_say()) {
            self.leave_tails(key);
            return self.send_side(key);
        }
        let mut parts = std::mem::take(&mut self.parts);
        self.gather(key, feed, index, &mut parts.0);
        let stopped = self.send_parts(key, &mut parts.0);
        for part in &parts.0 {
            self.feeds[part.feed].subscribers[part.index.index()].position = part.from;
        }
        match stopped {
            None => {}
            Some(Stopped::Blocked) => self.on_session_blocked(key, &parts.0),
            Some(Stopped::Broken) => self.close(key),
        }
        for part in &parts.0 {
            // It may have gone with the end of another channel, or with the session.
            if let Some(ended) = self.feeds.get(part.feed)
                && ended.ended
                && part.from == ended.tail.end()
            {
                self.on_channel_end(key, part.feed);
            }
        }
        parts.0.clear();
        self.parts = parts;
    }

    fn gather(&self, key: LineKey, feed: FeedKey, index: SubscriberKey, parts: &mut Vec<Part>) {
        let Some(session) = self.session(key) else {
            return;
        };
        let mut add = |feed_key: FeedKey, index: SubscriberKey, wish: &dyn Fn() -> Wish| {
            let feed = &self.feeds[feed_key];
            let position = feed.subscribers[index.index()].position;
            if position == BEHIND {
                return;
            }
            // Looked for only where somebody has said who it is.
            let publisher = session.publisher.as_ref().filter(|_| feed.is_signed());
            let skipped = publisher.filter(|_| wish().skips_own);
            feed.stretches(position, skipped, |range, is_sent| {
                parts.push(Part {
                    feed: feed_key,
                    index,
                    from: range.start,
                    to: range.end,
                    is_skipped: !is_sent,
                });
            });
        };
        let is_at = |feed: FeedKey, index: SubscriberKey| {
            let subscribers = self.feeds.get(feed).map(|feed| &feed.subscribers);
            let found = subscribers.and_then(|subscribers| subscribers.get(index.index()));
            found.is_some_and(|found| found.line == key && found.socket.is_none())
        };
        // Nearly always one feed walks, and nothing has moved since it met the session.
        if self.walking.is_empty() && is_at(feed, index) {
            let wish = || session.subscription(feed).map(|read| read.wish);
            return add(feed, index, &|| wish().unwrap_or_default());
        }
        for subscription in &session.subscriptions {
            add(subscription.feed, subscription.index, &|| subscription.wish);
        }
    }

    /// Sends parts until all are sent or no more go out; each tells how far it got.
    fn send_parts(&mut self, key: LineKey, parts: &mut [Part]) -> Option<Stopped> {
        let (mut sends, mut bytes_sent) = (0, 0);
        let mut first = 0;
        let stopped = loop {
            while let Some(part) = parts.get_mut(first)
                && (part.is_skipped || part.from == part.to)
            {
                part.from = part.to;
                first += 1;
            }
            if first == parts.len() {
                break None;
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for part in parts[first..].iter().filter(|part| !part.is_skipped) {
                let tail = &self.feeds[part.feed].tail;
                let (filled, is_whole) = tail.between(part.from..part.to, &mut slices[count..]);
                count += filled;
                if !is_whole {
                    break;
                }
            }
            let offered: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            sends += 1;
            let mut left = match self.send(key, &slices[..count]) {
                Some(Ok(sent)) => sent as u64,
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    break Some(Stopped::Blocked);
                }
                Some(Err(error)) => {
                    self.count_exhausted(&error);
                    break Some(Stopped::Broken);
                }
                None => break Some(Stopped::Broken),
            };
            bytes_sent += left;
            let is_full = left < offered as u64;
            // Over what is left out too: what comes after it may be out already.
            for part in &mut parts[first..] {
                let took = match part.is_skipped {
                    true => part.to - part.from,
                    false => left.min(part.to - part.from),
                };
                part.from += took;
                if !part.is_skipped {
                    left -= took;
                }
                if part.from < part.to {
                    break;
                }
            }
            if is_full {
                break Some(Stopped::Blocked);
            }
        };
        self.shared.metrics.sent(sends, bytes_sent);
        self.note_speech(key);
        stopped
    }

    /// A session's outlet takes no more: it leaves its tails where it stands. It is inside an entry of one feed
    /// at most.
    fn on_session_blocked(&mut self, key: LineKey, parts: &[Part]) {
        self.shared.metrics.line_fell_behind();
        let mut told_all = None;
        for (at, part) in parts.iter().enumerate() {
            // Of the stretches of one feed, the first that is not out tells where it stands.
            let is_first = !parts[..at]
                .iter()
                .any(|other| other.feed == part.feed && other.from < other.to);
            if part.from == part.to || !is_first {
                continue;
            }
            let feed = &mut self.feeds[part.feed];
            feed.subscribers[part.index.index()].position = BEHIND;
            let Departure { rest, behind } = feed.depart(part.from);
            let side = self.side(key);
            side.out.extend_from_slice(&rest);
            let feed = part.feed;
            match behind {
                Some(behind) if behind.skip > 0 => {
                    side.behind = Some(behind);
                    side.reads = Some(feed);
                    self.hold_departed(key, feed, behind, part.from);
                }
                Some(behind) => side.late.push_back(Late { feed, behind }),
                None => told_all = Some(feed),
            }
        }
        self.block(key);
        if let Some(feed) = told_all {
            self.on_channel_end(key, feed);
        }
    }

    /// Has a session read from the log what its tails have for it.
    pub(in super::super) fn leave_tails(&mut self, key: LineKey) {
        let Some(session) = self.session(key) else {
            return;
        };
        let mut late = Vec::new();
        for subscription in &session.subscriptions {
            let feed = &self.feeds[subscription.feed];
            let position = feed.subscribers[subscription.index.index()].position;
            if position != BEHIND && position < feed.tail.end() {
                let place = feed.tail.place(position);
                debug_assert_eq!(place.skip, 0, "a session inside an entry is behind");
                late.push((*subscription, place.sequence));
            }
        }
        for (subscription, sequence) in late {
            let feed = &mut self.feeds[subscription.feed];
            feed.subscribers[subscription.index.index()].position = BEHIND;
            self.read_from_log(key, subscription.feed, Behind::at(sequence, 0));
        }
    }

    /// Has a line read from the log, from a boundary between entries.
    pub(in super::super) fn read_from_log(&mut self, key: LineKey, feed: FeedKey, behind: Behind) {
        let is_session = self.session(key).is_some();
        let side = self.side(key);
        match is_session {
            true => side.late.push_back(Late { feed, behind }),
            false => side.behind = Some(behind),
        }
    }

    /// Where a line stands that reads from the log: the feed, and its place there.
    pub(in super::super) fn place_of_reading(
        &self,
        key: LineKey,
    ) -> Option<(FeedKey, SubscriberKey)> {
        match &self.lines.get(key)?.seat {
            Seat::Feed { feed, index } => Some((*feed, *index)),
            Seat::Session(session) => {
                let feed = self.sides.get(&key)?.reads?;
                let subscription = session.subscription(feed)?;
                Some((feed, subscription.index))
            }
            Seat::Alone(_) | Seat::Vacant => None,
        }
    }

    /// A line is sent something. Tells whether it is a session.
    pub(in super::super) fn note_speech(&mut self, key: LineKey) -> bool {
        let elapsed_ms = self.elapsed_ms;
        let session = self.session_mut(key);
        session.is_some_and(|session| {
            session.spoke_ms = elapsed_ms;
            true
        })
    }

    /// A session was told the end of a channel: it reads the others.
    pub(in super::super) fn on_channel_end(&mut self, key: LineKey, feed: FeedKey) {
        let Some(session) = self.session(key) else {
            return;
        };
        match session.speech {
            Speech::Plain(_) => {
                self.unseat(key, Role::Lingering);
                self.side(key).then = Then::Linger;
                self.send_side(key);
            }
            Speech::Messages(_) => {
                let ends_with_last = session.own.is_some();
                let name = self.feeds[feed].channel.name().clone();
                self.drop_subscription(key, feed);
                // Nobody is in a channel that is no more.
                self.leave_presence(key, &name);
                let is_last = self
                    .session(key)
                    .is_some_and(|session| session.subscriptions.is_empty());
                if ends_with_last && is_last {
                    self.close_session(key, CloseCode::NORMAL, "the channel is closed");
                }
            }
        }
    }
}
