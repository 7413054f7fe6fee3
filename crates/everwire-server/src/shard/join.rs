//! How a connection becomes a line: HTTP hands over its socket, what was read beyond the request, and what
//! was asked for.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use everwire_channel::PublisherId;
use everwire_websocket::Deflate;
use everwire_wire::Framing;

use super::{
    BEHIND, Behind, Channel, Feed, FeedKey, Key, Line, LineKey, Local, LocalKey, Net, Pipe,
    PollKey, Seat, Shard, Side, Subscriber, Then,
    line::{Alone, Rights, Role},
    outlet::{Outlet, PipeEnd},
    poll::{Poll, PollRequest},
    session::SessionRequest,
    timers::Timer,
};
use crate::{
    auth::Caller,
    census::{self, Stay, Visit},
    clock::Now,
    rate::Account,
    session_id::SessionId,
    webhook::Evidence,
};

/// What a request that stays open asks for. Whoever drives it, a shard or a stream of HTTP/2, answers with
/// the response's head, then what opens the body, then entries.
pub(crate) struct LineRequest {
    pub response: http::Response<()>,
    /// Who pays for what comes in on it.
    pub account: Account,
    /// What comes before entries: a preamble, a welcome, a gap notice.
    pub opening: Bytes,
    pub wire: Wire,
}

/// Which wire.
pub(crate) enum Wire {
    /// Sends messages back.
    Echo { deflate: Option<Deflate> },
    /// A stream of entries.
    Entries(Entries),
    /// A session, over whatever carries its messages.
    Session(SessionRequest),
    /// One answer, as soon as there is one.
    Poll(PollRequest),
    /// Nothing follows the opening, which tells why.
    Ended,
}

impl Wire {
    /// The id of a line over it, where its shard knows it by one: a session's own, or a random number.
    pub fn id(&self) -> SessionId {
        match self {
            Self::Session(session) => session.id,
            Self::Echo { .. } | Self::Entries(_) | Self::Poll(_) | Self::Ended => {
                SessionId(fastrand::u64(..))
            }
        }
    }

    /// What a line over it is counted as.
    pub fn stay(&self) -> Stay {
        match self {
            Self::Poll(_) => Stay::Poll,
            Self::Echo { .. } | Self::Entries(_) | Self::Session(_) | Self::Ended => Stay::Open,
        }
    }
}

/// A line that is to be opened with a pipe instead of a socket.
pub(crate) struct OpenLine {
    pub pipe: Arc<Pipe>,
    /// What it is sent first.
    pub opening: Bytes,
    pub wire: Wire,
    /// Its place in the count of lines.
    pub seat: census::Seat,
}

impl std::fmt::Debug for OpenLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenLine")
            .field("line", &self.pipe.line())
            .finish_non_exhaustive()
    }
}

/// A stream of entries.
pub(crate) struct Entries {
    pub channel: Arc<Channel>,
    pub framing: Framing,
    /// Entries are sent from the one after this.
    pub sequence: u64,
    pub deflate: Option<Deflate>,
    pub publish: Publishing,
    pub fail_on_gap: bool,
    /// The cursor that a Durable Streams reader came with.
    pub cursor: Option<u64>,
    /// How long the stream may live, in milliseconds.
    pub lifetime_ms: Option<u64>,
    /// It may be because the application said so.
    pub is_lent: bool,
    /// Until when the application lets it be, in Unix milliseconds.
    pub until_ms: Option<u64>,
    /// Who reads, whose right to it may end.
    pub caller: Caller,
    /// Who the reader is as a publisher, whose entries it is not sent.
    pub publisher: Option<PublisherId>,
}

/// Whether what comes in on a line may be published.
pub(crate) enum Publishing {
    /// It may not.
    Never,
    /// It may.
    Granted,
    /// If the application says so.
    Asked(Box<Evidence>),
}

impl Entries {
    /// When the right to it ends, in Unix milliseconds.
    pub fn ends_ms(&self) -> Option<u64> {
        [self.caller.ends_ms(), self.until_ms]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Publishing {
    /// Whether it may without being asked for.
    pub fn is_granted(&self) -> bool {
        matches!(self, Self::Granted)
    }
}

impl<N: Net> Shard<N> {
    /// Takes over a connection, which is a line from now on; that of a poll comes back. `head` is the response's head as HTTP/1.1 has it; a parked poll has none yet.
    pub fn join(
        &mut self,
        mut outlet: Outlet<N::Socket>,
        unread: &[u8],
        head: &[u8],
        request: LineRequest,
        (address, visit): (census::Seat, Visit),
        now: Now,
    ) -> io::Result<()> {
        self.set_clock(now);
        let key = self.lines.vacant_key();
        if let Err(error) = outlet.watch(&self.net, key) {
            self.shared.census.leave(address);
            return Err(error);
        }
        self.insert_line(address);
        let mut out = BytesMut::with_capacity(head.len() + request.opening.len());
        out.extend_from_slice(head);
        out.extend_from_slice(&request.opening);
        self.seat(key, outlet, out, request.wire, Some(visit));
        if !unread.is_empty() {
            self.on_input(key, &mut BytesMut::from(unread));
        }
        self.look_at_newcomer(key);
        // The wheel may have to wake the shard earlier, and lines may be ready to go on.
        self.mailbox.wake();
        Ok(())
    }

    /// Takes over a line that has a pipe.
    pub(super) fn join_piped(&mut self, open: OpenLine) {
        let OpenLine {
            pipe,
            opening,
            wire,
            seat,
        } = open;
        let key = self.insert_line(seat);
        self.remotes.insert(pipe.line(), key);
        let outlet = Outlet::Pipe(PipeEnd(pipe));
        self.seat(key, outlet, BytesMut::from(opening), wire, None);
        self.look_at_newcomer(key);
    }

    /// Gives a new line its seat, and sends what it is sent first.
    fn seat(
        &mut self,
        key: LineKey,
        outlet: Outlet<N::Socket>,
        out: BytesMut,
        wire: Wire,
        visit: Option<Visit>,
    ) {
        match wire {
            Wire::Echo { deflate } => {
                self.lines[key].deflate = deflate;
                self.seat_alone(key, outlet, Role::Echo);
                self.sides.insert(
                    key,
                    Box::new(Side {
                        out,
                        ..Side::default()
                    }),
                );
                self.send_side(key);
            }
            Wire::Entries(entries) => match outlet {
                Outlet::Socket(socket)
                    if entries.publisher.is_none()
                        && !matches!(entries.publish, Publishing::Asked(_)) =>
                {
                    self.join_feed(key, socket, out, &entries);
                }
                // What a feed keeps of each reader is as small as a number; all that needs more is a session.
                outlet => self.seat_plain(key, outlet, out, &entries),
            },
            Wire::Session(session) => self.seat_session(key, outlet, out, session),
            Wire::Poll(poll) => self.park(key, outlet, poll, visit),
            Wire::Ended => {
                self.seat_alone(key, outlet, Role::Lingering);
                self.sides.insert(
                    key,
                    Box::new(Side {
                        out,
                        then: Then::Linger,
                        ..Side::default()
                    }),
                );
                self.send_side(key);
            }
        }
    }

    /// A line has come that was let in a moment ago.
    fn look_at_newcomer(&mut self, key: LineKey) {
        // Taken back after the request was judged: those who were here were looked at.
        self.end_if_revoked(key);
        self.judge_newcomer(key);
        // Asked for before the order to stop, or let in by a rule that does not know of it.
        if let Some(draining) = &mut self.draining {
            draining.push(key);
        }
    }

    /// A new line, which has no seat yet.
    pub(super) fn insert_line(&mut self, address: census::Seat) -> LineKey {
        self.generation = self.generation.wrapping_add(1);
        let line = Line {
            seat: Seat::Vacant,
            heard_s: self.second(),
            generation: self.generation,
            address: Some(address),
            deflate: None,
            rights: Rights::default(),
            asks_again: false,
            stall_armed: false,
        };
        self.lines.insert(line)
    }

    fn join_feed(&mut self, key: LineKey, socket: N::Socket, out: BytesMut, entries: &Entries) {
        let local = self.local_channel(&entries.channel);
        let feed_key = self.feed_of(local, entries.framing);
        let subscriber = Subscriber {
            position: BEHIND,
            socket: Some(socket),
            line: key,
        };
        let index = self.feeds[feed_key].add(subscriber);
        let line = &mut self.lines[key];
        line.seat = Seat::Feed {
            feed: feed_key,
            index,
        };
        line.deflate = entries.deflate;
        line.rights = Rights {
            publish: entries.publish.is_granted(),
            fail_on_gap: entries.fail_on_gap,
        };
        // Every line starts behind, at its own place in the log; one at the head joins the tail at once. So
        // whatever is published from now on, by this very line even, reaches it.
        let behind = Behind {
            sequence: entries.sequence,
            skip: 0,
            cursor: entries.cursor,
            told: false,
        };
        self.sides.insert(
            key,
            Box::new(Side {
                out,
                behind: Some(behind),
                ..Side::default()
            }),
        );
        if let Some(lifetime_ms) = entries.lifetime_ms {
            self.arm_line(key, lifetime_ms, Timer::lifetime);
        }
        self.arm_expiry(key, entries.ends_ms());
        self.remember_caller(key, &entries.caller);
        if entries.is_lent {
            self.lent.insert(key);
        }
        if entries.sequence > self.feeds[feed_key].tail.sequence() {
            self.pull(local);
        }
        self.send_side(key);
    }

    fn park(
        &mut self,
        key: LineKey,
        outlet: Outlet<N::Socket>,
        request: PollRequest,
        visit: Option<Visit>,
    ) {
        let local = self.local_channel(&request.channel);
        let polls = &mut self.locals[local].polls;
        let index = PollKey::at(polls.len());
        polls.push(key);
        let wait_ms = request.wait_ms;
        let channel = request.channel.clone();
        self.seat_alone(
            key,
            outlet,
            Role::Poll(Poll {
                local,
                index,
                request,
                visit,
                unread: BytesMut::new(),
            }),
        );
        self.arm_line(key, wait_ms, Timer::poll);
        // Something may have come between the look that found nothing and this watch.
        let answer = self.poll_answer_now(key, &channel.lock());
        if let Some(answer) = answer {
            self.answer_poll(key, answer);
        }
    }

    fn seat_alone(&mut self, key: LineKey, outlet: Outlet<N::Socket>, role: Role) {
        self.lines[key].seat = Seat::Alone(Box::new(Alone { outlet, role }));
    }

    /// The shard's number of a channel, which it watches from now on.
    pub(super) fn local_channel(&mut self, channel: &Arc<Channel>) -> LocalKey {
        let address = Arc::as_ptr(channel);
        if let Some(key) = self.local_by_channel.get(&address) {
            return *key;
        }
        let local = Local {
            channel: channel.clone(),
            feeds: Vec::new(),
            polls: Vec::new(),
        };
        let key = self.locals.insert(local);
        self.local_by_channel.insert(address, key);
        channel.lock().watch(self.mailbox.clone(), key.into());
        key
    }

    /// The feed of a channel in a framing; a new one starts at the log's head.
    pub(super) fn feed_of(&mut self, local: LocalKey, framing: Framing) -> FeedKey {
        let feeds = &self.locals[local].feeds;
        if let Some(key) = feeds
            .iter()
            .find(|key| self.feeds[**key].framing == framing)
        {
            return *key;
        }
        self.generation = self.generation.wrapping_add(1);
        let channel = self.locals[local].channel.clone();
        // The channel is watched already: what comes after this look is told.
        let state = channel.lock();
        let feed = Feed::new(channel.clone(), local, framing, self.generation, &state);
        drop(state);
        let key = self.feeds.insert(feed);
        self.locals[local].feeds.push(key);
        // Who speaks in messages is alive as a whole, not in each of its channels.
        if !matches!(framing, Framing::Session(_)) {
            self.arm_heartbeat(key);
        }
        key
    }

    /// Gives a connection back to HTTP.
    pub(super) fn give_back(&mut self, key: LineKey) {
        self.sides.remove(&key);
        let line = &mut self.lines[key];
        if let Some(address) = line.address.take() {
            self.shared.census.leave(address);
        }
        let Seat::Alone(alone) = std::mem::replace(&mut line.seat, Seat::Vacant) else {
            return;
        };
        self.vacant.push(key);
        let mut outlet = alone.outlet;
        if outlet.unwatch(&self.net).is_err() {
            return;
        }
        if let Role::Answering {
            unread,
            visit: Some(visit),
        } = alone.role
        {
            let unread = unread.freeze();
            self.returned.push(super::Returned {
                outlet,
                unread,
                visit,
            });
        }
    }
}
