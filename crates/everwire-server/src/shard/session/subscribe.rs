//! Which channels a session reads.

use std::sync::Arc;

use bytes::BytesMut;
use everwire_channel::ChannelName;

use super::{
    super::{
        BEHIND, Behind, Channel, FeedKey, LineKey, Net, Seat, Shard, Subscriber,
        join::{Entries, Publishing},
        line::Rights,
        outlet::Outlet,
        timers::Timer,
    },
    Asks, Expiry, Late, Session, Speech, Subscription, Wish,
};
use crate::session_id::SessionId;

impl<N: Net> Shard<N> {
    /// Gives a new line the seat of one that reads a single channel and needs more than a feed keeps: it is not sent
    /// what its own publisher says, or is under TLS.
    pub(in super::super) fn seat_plain(
        &mut self,
        key: LineKey,
        outlet: Outlet<N::Socket>,
        out: BytesMut,
        entries: &Entries,
    ) {
        let asks = match &entries.publish {
            Publishing::Asked(evidence) => Some(Box::new(Asks::new((**evidence).clone()))),
            Publishing::Never | Publishing::Granted => None,
        };
        let session = Session {
            outlet,
            id: SessionId(0),
            speech: Speech::Plain(entries.framing),
            subscriptions: Vec::new(),
            publisher: entries.publisher.clone(),
            caller: entries.caller.clone(), // what it may do is in the line's rights
            expiry: Expiry::default(),
            spoke_ms: 0,
            asked_ms: 0,
            own: None,
            is_remote: false,
            memberships: Vec::new(),
            asks,
            is_lent: entries.is_lent,
        };
        let line = &mut self.lines[key];
        line.deflate = entries.deflate;
        line.rights = Rights {
            publish: !matches!(entries.publish, Publishing::Never),
            fail_on_gap: entries.fail_on_gap,
        };
        line.seat = Seat::Session(Box::new(session));
        self.side(key).out = out;
        let wish = Wish {
            skips_own: true,
            fail_on_gap: entries.fail_on_gap,
            ..Wish::default()
        };
        self.add_subscription(key, &entries.channel, entries.sequence, wish);
        if let Some(late) = self.side(key).late.front_mut() {
            late.behind.cursor = entries.cursor;
            late.behind.told = false;
        }
        if let Some(lifetime_ms) = entries.lifetime_ms {
            self.arm_line(key, lifetime_ms, Timer::lifetime);
        }
        self.arm_expiry(key, entries.ends_ms());
        self.send_side(key);
    }

    /// Has a session read a channel from the entry after `sequence`. What there is, is sent by the next
    /// `send_side`.
    pub(super) fn add_subscription(
        &mut self,
        key: LineKey,
        channel: &Arc<Channel>,
        sequence: u64,
        wish: Wish,
    ) {
        let Some(session) = self.session(key) else {
            return;
        };
        let framing = session.speech.framing();
        let is_message = matches!(session.speech, Speech::Messages(_));
        let local = self.local_channel(channel);
        let feed_key = self.feed_of(local, framing);
        let feed = &self.feeds[feed_key];
        let is_ahead = sequence > feed.tail.sequence();
        // At the end of the tail there is nothing to be read first: what comes next is met by the walk.
        let is_at_end = sequence == feed.tail.sequence() && !feed.ended && is_message;
        let position = match is_at_end {
            true => feed.tail.end(),
            false => BEHIND,
        };
        let session = self.session_mut(key);
        let left = session.and_then(|session| session.subscription_mut(feed_key));
        if let Some(left) = left {
            // It is inside an entry of its last reading, and begins anew after that.
            left.wish = Wish {
                is_left: true,
                ..wish
            };
        } else {
            let index = self.feeds[feed_key].add(Subscriber {
                position,
                socket: None,
                line: key,
            });
            if let Some(session) = self.session_mut(key) {
                session.subscriptions.push(Subscription {
                    feed: feed_key,
                    index,
                    wish,
                });
            }
            if is_at_end {
                return;
            }
        }
        // It starts behind, at its own place in the log, like every line.
        self.side(key).late.push_back(Late {
            feed: feed_key,
            behind: Behind::at(sequence, 0),
        });
        if is_ahead {
            self.pull(local);
        }
    }

    /// The feed by which a session reads a channel of this name, if it does. That may be an earlier channel of the
    /// name, whose end the session has yet to be told: it reads one at a time, since its messages tell the name.
    pub(super) fn feed_of_session(&self, key: LineKey, name: &ChannelName) -> Option<FeedKey> {
        let reads = self.session(key)?.subscriptions.iter();
        let mut named = reads.filter(|read| self.feeds[read.feed].channel.name() == name);
        let goes_on =
            |read: &&Subscription| !read.wish.is_left || self.begins_again(key, read.feed);
        named.find(goes_on).map(|read| read.feed)
    }

    /// Has a session read from a feed no longer. If it is inside one of its entries, that is finished first.
    pub(super) fn drop_subscription(&mut self, key: LineKey, feed: FeedKey) {
        let side = self.sides.get_mut(&key);
        let may_go = side.is_none_or(|side| side.forget_late(feed));
        let Some(session) = self.session_mut(key) else {
            return;
        };
        let mut subscriptions = session.subscriptions.iter();
        let Some(at) = subscriptions.position(|read| read.feed == feed) else {
            return;
        };
        if !may_go {
            session.subscriptions[at].wish.is_left = true;
            return;
        }
        let subscription = session.subscriptions.swap_remove(at);
        drop(self.leave_feed(feed, subscription.index));
    }

    /// Between two entries: lets go of a feed that the session left while it was inside one.
    pub(in super::super) fn let_go_if_left(&mut self, key: LineKey, feed: FeedKey) {
        let begins_again = self.begins_again(key, feed);
        let session = self.session_mut(key);
        let subscription = session.and_then(|session| session.subscription_mut(feed));
        let Some(subscription) = subscription.filter(|read| read.wish.is_left) else {
            return;
        };
        subscription.wish.is_left = false;
        self.side(key).behind = None;
        if !begins_again {
            self.drop_subscription(key, feed);
        }
    }

    /// Whether a session that left a feed has asked for it again before it could let go.
    fn begins_again(&self, key: LineKey, feed: FeedKey) -> bool {
        let side = self.sides.get(&key);
        side.is_some_and(|side| side.late.iter().any(|late| late.feed == feed))
    }
}
