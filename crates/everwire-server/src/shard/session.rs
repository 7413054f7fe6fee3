//! A session: a line that reads any number of channels, and is asked for them while it is open.
//!
//! ```text
//!             ┌─ feed of chat/lobby ── subscriber ─┐
//!  channels ──┼─ feed of scores ────── subscriber ─┼──▶ session ──▶ its socket, or a pipe
//!             └─ feed of …             subscriber ─┘       │
//!                                                          └── the feeds that it reads from the log, in turn
//! ```
//!
//! In a feed it stands like any line, but for the socket, which is its own. So an entry is encoded once for all
//! sessions of one carrier, and a session that is met is sent what all its feeds have for it in one call. A line
//! whose publisher is not to hear itself, or that is under TLS, is a session of one channel in that channel's framing.

mod authenticate;
mod command;
mod decide;
mod deliver;
mod input;
mod late;
mod member;
mod remote;
mod subscribe;

use std::sync::Arc;

use bytes::BytesMut;
use everwire_channel::PublisherId;
use everwire_websocket::{CloseCode, Deflate};
use everwire_wire::{Carrier, Framing, codes};

use self::{authenticate::Expiry, member::Membership};
pub(crate) use self::{decide::Asks, deliver::Parts, remote::Commands};
use super::{
    Behind, Channel, FeedKey, LineKey, Net, Remote, Seat, Secret, Shard, Speaker, SubscriberKey,
    Then,
    outlet::Outlet,
    timers::{NO_ANSWER, Timer},
};
use crate::{auth::Caller, session_id::SessionId, webhook::Evidence};

/// What a request for a session asks for.
pub(crate) struct SessionRequest {
    pub id: SessionId,
    pub carrier: Carrier,
    pub deflate: Option<Deflate>,
    /// Who it is as a publisher.
    pub publisher: Option<PublisherId>,
    /// Who that is.
    pub caller: Caller,
    /// What the application is shown of its request, if there is one that decides.
    pub evidence: Option<Evidence>,
    /// The channel that its URL names.
    pub own: Option<Own>,
    /// What requests prove by that they speak for it; none speak for a WebSocket.
    pub secret: Option<Secret>,
}

/// The channel that a session's URL names.
pub(crate) struct Own {
    pub channel: Arc<Channel>,
    /// Entries are sent from the one after this.
    pub sequence: u64,
    pub fail_on_gap: bool,
    /// Until when it may be read, in Unix milliseconds.
    pub ends_ms: Option<u64>,
}

/// A session, while nothing is in flight.
pub(crate) struct Session<S> {
    pub outlet: Outlet<S>,
    pub id: SessionId,
    pub speech: Speech,
    pub subscriptions: Vec<Subscription>,
    /// Who it is as a publisher.
    pub publisher: Option<PublisherId>,
    /// Who asks, and what that may do.
    pub caller: Caller,
    pub expiry: Expiry,
    /// When it was last sent something, in the shard's milliseconds.
    pub spoke_ms: u64,
    /// When it was last asked whether its peer is there.
    pub asked_ms: u64,
    /// What a command means that names no channel. The line ends with its last channel.
    pub own: Option<Arc<Channel>>,
    /// What concerns it may come as mail.
    pub is_remote: bool,
    /// The channels where it is among those present.
    pub memberships: Vec<Membership>,
    /// What the application has to do with it, if there is one that decides.
    pub asks: Option<Box<Asks>>,
    /// Of a line on a channel's URL: it reads because the application said so.
    pub is_lent: bool,
}

/// How a line with subscriptions of its own speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// In a session's messages.
    Messages(Carrier),
    /// As a line on a channel's URL.
    Plain(Framing),
}

/// One channel that a session reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub feed: FeedKey,
    /// Where the session stands among the feed's subscribers.
    pub index: SubscriberKey,
    pub wish: Wish,
}

/// How a session reads a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// What the session's own publisher says is left out.
    pub skips_own: bool,
    /// A gap ends the line instead of being told.
    pub fail_on_gap: bool,
    /// It ends at the next boundary between entries, in the middle of which it was left.
    pub is_left: bool,
}

/// A feed that a session reads from the log, always from a boundary between entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late {
    pub feed: FeedKey,
    pub behind: Behind,
}

impl Speech {
    pub fn framing(self) -> Framing {
        match self {
            Self::Messages(carrier) => Framing::Session(carrier),
            Self::Plain(framing) => framing,
        }
    }
}

impl<S> Session<S> {
    /// How it reads from a feed.
    pub fn subscription(&self, feed: FeedKey) -> Option<&Subscription> {
        self.subscriptions.iter().find(|read| read.feed == feed)
    }

    pub fn subscription_mut(&mut self, feed: FeedKey) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|read| read.feed == feed)
    }

    /// Whose entries are left out of what it reads from a feed.
    pub fn skipped(&self, feed: FeedKey) -> Option<&PublisherId> {
        let skips = self.subscription(feed)?.wish.skips_own;
        self.publisher.as_ref().filter(|_| skips)
    }
}

impl<N: Net> Shard<N> {
    /// Gives a new line the seat of a session.
    pub(super) fn seat_session(
        &mut self,
        key: LineKey,
        outlet: Outlet<N::Socket>,
        out: BytesMut,
        request: SessionRequest,
    ) {
        let SessionRequest {
            id,
            carrier,
            deflate,
            publisher,
            caller,
            evidence,
            own,
            secret,
        } = request;
        let is_remote = secret.is_some() || matches!(outlet, Outlet::Pipe(_));
        let session = Session {
            outlet,
            id,
            speech: Speech::Messages(carrier),
            subscriptions: Vec::new(),
            publisher,
            caller,
            expiry: Expiry::default(),
            spoke_ms: self.elapsed_ms,
            asked_ms: self.elapsed_ms,
            own: own.as_ref().map(|own| own.channel.clone()),
            is_remote,
            memberships: Vec::new(),
            asks: evidence.map(|evidence| Box::new(Asks::new(evidence))),
            is_lent: false, // each of its channels is judged
        };
        let line = &mut self.lines[key];
        line.deflate = deflate;
        line.seat = Seat::Session(Box::new(session));
        self.watch_expiry(key);
        if is_remote {
            self.remotes.insert(id, key);
        }
        if let (Some(secret), Some(speaker)) = (secret, self.speaker(key)) {
            let remote = Remote::new(self.mailbox.clone(), secret, speaker, None);
            self.shared.sessions.insert(id, remote);
        }
        self.shared.metrics.session_opened();
        if let Some(session) = self.session(key) {
            let lifecycle = &self.shared.lifecycle;
            lifecycle.connected(id, session.caller.user());
        }
        self.side(key).out = out;
        if let Some(own) = own {
            let wish = Wish {
                fail_on_gap: own.fail_on_gap,
                ..Wish::default()
            };
            self.add_subscription(key, &own.channel, own.sequence, wish);
            self.lend_own(key, own.channel.name(), own.ends_ms);
        }
        self.arm_line(key, self.shared.live.config.http.heartbeat_ms, Timer::beat);
        self.send_side(key);
    }

    /// Whom a session speaks for.
    fn speaker(&self, key: LineKey) -> Option<Speaker> {
        Some(Speaker {
            caller: self.session(key)?.caller.clone(),
            account: self.account(key).ok()?,
        })
    }

    /// An open session.
    pub(super) fn session(&self, key: LineKey) -> Option<&Session<N::Socket>> {
        match &self.lines.get(key)?.seat {
            Seat::Session(session) => Some(session),
            Seat::Feed { .. } | Seat::Alone(_) | Seat::Vacant => None,
        }
    }

    pub(super) fn session_mut(&mut self, key: LineKey) -> Option<&mut Session<N::Socket>> {
        match &mut self.lines.get_mut(key)?.seat {
            Seat::Session(session) => Some(session),
            Seat::Feed { .. } | Seat::Alone(_) | Seat::Vacant => None,
        }
    }

    /// Whether a line speaks in a session's messages.
    pub(super) fn speaks_in_messages(&self, key: LineKey) -> bool {
        let session = self.session(key);
        session.is_some_and(|session| matches!(session.speech, Speech::Messages(_)))
    }

    /// A session has lost its seat: it leaves its feeds, and nobody finds it any more. Its outlet is left.
    pub(super) fn dissolve(
        &mut self,
        key: LineKey,
        mut session: Session<N::Socket>,
    ) -> Outlet<N::Socket> {
        self.leave_all(&session);
        for subscription in std::mem::take(&mut session.subscriptions) {
            drop(self.leave_feed(subscription.feed, subscription.index));
        }
        if session.is_remote {
            self.shared.sessions.remove(session.id);
        }
        // What is still in a pipe leaves it while the line lingers.
        if !matches!(session.outlet, Outlet::Pipe(_)) {
            self.remotes.remove(&session.id);
        }
        if let Speech::Messages(_) = session.speech {
            self.shared.metrics.session_closed();
            let lifecycle = &self.shared.lifecycle;
            lifecycle.disconnected(session.id, session.caller.user());
        }
        if let Some(side) = self.sides.get_mut(&key) {
            side.late.clear();
        }
        session.outlet
    }

    /// Shows a session that the line is alive if nothing else did, and sees whether its peer is.
    pub(super) fn on_beat(&mut self, key: LineKey) {
        let heartbeat_ms = self.shared.live.config.http.heartbeat_ms;
        let elapsed_ms = self.elapsed_ms;
        let now = self.now;
        let Some(session) = self.session_mut(key) else {
            return;
        };
        let Speech::Messages(carrier) = session.speech else {
            return;
        };
        let id = session.id;
        self.renew_members(key);
        if carrier == Carrier::Poll {
            let gap_ms = self.shared.live.config.sessions.poll_gap_ms;
            let remote = self.shared.sessions.find(id);
            let silent = remote.and_then(|remote| {
                let polls = remote.polls.as_ref()?;
                Some(polls.answers().silent_for(now))
            });
            let silent_ms = silent.map_or(u64::MAX, |silent| silent.as_millis() as u64);
            if silent_ms >= gap_ms {
                return self.close(key);
            }
            return self.arm_line(key, (gap_ms - silent_ms).min(heartbeat_ms), Timer::beat);
        }
        let side = self.sides.get(&key);
        let is_free = side.is_none_or(|side| side.has_nothing_to_say());
        // A line with a backlog is sent nothing to answer; the time for that is kept by another timer.
        if is_free && carrier.is_websocket() && self.is_silent(key) {
            return self.fail(key, codes::HEARTBEAT_MISSED, NO_ANSWER);
        }
        let Some(session) = self.session_mut(key) else {
            return;
        };
        let is_silent = session.spoke_ms + heartbeat_ms <= elapsed_ms;
        // A WebSocket is asked even when entries flow: only an answer tells that the peer is there.
        let is_asked = carrier.is_websocket() && session.asked_ms + heartbeat_ms <= elapsed_ms;
        if is_silent {
            session.spoke_ms = elapsed_ms;
        }
        if is_silent || is_asked {
            session.asked_ms = elapsed_ms;
        }
        let next_ms = match carrier.is_websocket() {
            true => session.spoke_ms.min(session.asked_ms) + heartbeat_ms,
            false => session.spoke_ms + heartbeat_ms,
        };
        if is_free && (is_silent || is_asked) {
            let mut beat = BytesMut::new();
            carrier.encode_heartbeat(is_silent, &mut beat);
            self.reply(key, &beat);
        }
        if self.session(key).is_some() {
            self.arm_line(key, next_ms - elapsed_ms, Timer::beat);
        }
    }

    /// Ends a session with a close code, or as its carrier does.
    pub(super) fn close_session(&mut self, key: LineKey, code: CloseCode, reason: &str) {
        let Some(session) = self.session(key) else {
            return;
        };
        let Speech::Messages(carrier) = session.speech else {
            return self.close(key);
        };
        let mut goodbye = BytesMut::new();
        carrier.encode_close(code, reason, &mut goodbye);
        self.end_socket(key, &goodbye, Then::Linger);
    }
}
