//! What comes in on a line: messages to publish or send back, pings, the end.

use std::io;

use bytes::BytesMut;
use everwire_websocket::{
    Event, Failure, MessageKind, Role as Side, Rules, encode_close, encode_compressed_message,
    encode_message, encode_pong,
};
use everwire_wire::Problem;

use super::{
    FeedKey, LineKey, Net, Role, Seat, Shard, Then, poll::Poll, secured::Heard, session::Speech,
    timers::Timer,
};
use crate::publish;

/// Reads of one line before others have their turn.
const READS: usize = 4;

/// Once so much is known of what a client sends behind a parked long poll, the rest waits in its socket.
const UNREAD_BYTES_MAX: usize = 16 * 1024;

/// How long a poll waits on whose client has ended its side: long enough for what is about to come, and so long that a
/// client that always does so does not ask in a circle; and no longer, since it may be gone and holds a line's place.
const HALF_CLOSED_MS: u64 = 2_000;

/// How far to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// To a read that leaves room in the buffer: it took all there was, and what comes after it is an event.
    Room,
    /// Until the socket says so: its end, which was announced together with the data before it or while nobody
    /// looked, is found by a read only.
    Empty,
}

/// What kind of line something came in on.
enum Kind {
    /// A WebSocket of a channel.
    Socket {
        feed: FeedKey,
    },
    /// A session's WebSocket, or one whose messages the application judges.
    Session,
    Echo,
    /// A response stream, whose client has nothing to say.
    Stream,
    Poll,
    Lingering,
}

/// Why a line cannot go on with what came in.
pub(super) enum Breach {
    /// It is no WebSocket's.
    Failed(Failure),
    /// There is no room to wait for the rest of a message.
    NoRoom(Problem),
}

impl<N: Net> Shard<N> {
    /// There may be something to read.
    pub(super) fn on_readable(&mut self, key: LineKey, until: Until) {
        let mut buffer = std::mem::take(&mut self.read_buffer);
        if buffer.is_empty() {
            // Called from within a read of another line: this one has its turn after it.
            self.ask_again(key);
            return;
        }
        for round in 0..=READS {
            if let Some(side) = self.sides.get_mut(&key)
                && side.blocked_since.is_some()
                && side.then == Then::Stay
            {
                // Who takes nothing is not listened to either, so that replies do not pile up.
                side.unread = true;
                break;
            }
            if self.has_read_ahead(key) || !self.hear_rest(key) {
                break;
            }
            if round == READS {
                self.ask_again(key);
                break;
            }
            let Some(read) = self.read(key, &mut buffer) else {
                break;
            };
            match read {
                Ok(Heard { bytes: 0, .. }) => {
                    self.on_end_of_input(key);
                    break;
                }
                Ok(Heard { bytes, is_all }) => {
                    self.on_input(key, &mut buffer[..bytes]);
                    if is_all && until == Until::Room {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.close(key);
                    break;
                }
            }
        }
        self.read_buffer = buffer;
    }

    /// The peer says nothing more. Who polls may have said all that it had to say, and still read; or it is gone, which
    /// looks the same until something is sent. So it is given some time, and then an answer.
    fn on_end_of_input(&mut self, key: LineKey) {
        let role = match self.lines.get(key).map(|line| &line.seat) {
            Some(Seat::Alone(alone)) => Some(&alone.role),
            Some(Seat::Feed { .. } | Seat::Session(_) | Seat::Vacant) | None => None,
        };
        match role {
            Some(Role::Poll(_)) => self.arm_line(key, HALF_CLOSED_MS, Timer::poll),
            // Its answer is on the way, and whatever follows is HTTP's to decide.
            Some(Role::Answering { .. }) => {}
            Some(Role::Echo | Role::Lingering) | None => self.close(key),
        }
    }

    /// Whether enough is known of what follows a long poll. What is left is met when the socket is back in HTTP.
    fn has_read_ahead(&self, key: LineKey) -> bool {
        let Some(Seat::Alone(alone)) = self.lines.get(key).map(|line| &line.seat) else {
            return false;
        };
        match &alone.role {
            Role::Poll(Poll { unread, .. }) | Role::Answering { unread, .. } => {
                unread.len() >= UNREAD_BYTES_MAX
            }
            Role::Echo | Role::Lingering => false,
        }
    }

    /// Takes what a line's peer sent.
    pub(super) fn on_input(&mut self, key: LineKey, bytes: &mut [u8]) {
        self.judge_at_once(key);
        let second = self.second();
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        line.heard_s = second;
        let kind = match &mut line.seat {
            Seat::Feed { feed, .. } => match self.feeds[*feed].framing {
                framing if framing.is_websocket() => Kind::Socket { feed: *feed },
                _ => Kind::Stream,
            },
            Seat::Session(session) => match session.speech {
                Speech::Messages(carrier) if carrier.is_websocket() => Kind::Session,
                // Each of its messages may have to wait.
                Speech::Plain(framing) if framing.is_websocket() && session.asks.is_some() => {
                    Kind::Session
                }
                Speech::Plain(framing) if framing.is_websocket() => {
                    match session.subscriptions.first() {
                        Some(read) => Kind::Socket { feed: read.feed },
                        None => return,
                    }
                }
                Speech::Messages(_) | Speech::Plain(_) => Kind::Stream,
            },
            Seat::Alone(alone) => match &mut alone.role {
                Role::Echo => Kind::Echo,
                Role::Poll(poll) => {
                    poll.unread.extend_from_slice(bytes);
                    Kind::Poll
                }
                Role::Answering { unread, .. } => {
                    unread.extend_from_slice(bytes);
                    Kind::Poll
                }
                Role::Lingering => Kind::Lingering,
            },
            Seat::Vacant => return,
        };
        match kind {
            Kind::Socket { feed } => self.on_socket_input(key, feed, bytes),
            Kind::Session => self.on_session_input(key, bytes),
            Kind::Echo => self.on_echo_input(key, bytes),
            Kind::Stream | Kind::Poll | Kind::Lingering => {}
        }
    }

    fn on_socket_input(&mut self, key: LineKey, feed: FeedKey, bytes: &mut [u8]) {
        let line = &self.lines[key];
        let rules = self.rules(
            line.deflate,
            self.shared.live.config.limits.message_bytes_max,
        );
        let (shared, now_ms) = (self.shared.clone(), self.now_ms);
        let Some(seat) = &line.address else { return };
        let publisher = shared.publisher(seat.account, now_ms);
        let named = self
            .session(key)
            .and_then(|session| session.publisher.clone());
        let channel = self.feeds[feed].channel.clone();
        let may_publish = line.rights.publish;
        let mut replies = BytesMut::new();
        let mut refused = None;
        let mut on_message = |kind: MessageKind, payload: &[u8], replies: &mut BytesMut| {
            if refused.is_some() {
                return;
            }
            let published = publish::line_message(
                &publisher,
                &channel,
                named.as_ref(),
                may_publish,
                kind,
                payload,
            );
            refused = published.err().map(|problem| (problem, replies.len()));
        };
        let outcome = self.decode(key, &rules, bytes, &mut replies, &mut on_message);
        if let Some((problem, answered)) = refused {
            // What came after the message is not answered: a Close frame would be echoed before ours.
            replies.truncate(answered);
            let code = problem.kind.close_code();
            self.shared.metrics.line_refused(&problem);
            encode_close(Some((code, &problem.detail)), &mut replies);
            return self.end_socket(key, &replies, Then::Linger);
        }
        self.after_input(key, outcome, replies);
    }

    fn on_echo_input(&mut self, key: LineKey, bytes: &mut [u8]) {
        let deflate = self.lines[key].deflate;
        let rules = self.rules(deflate, self.shared.live.config.echo.message_bytes_max);
        let window = deflate.and_then(|deflate| deflate.outbound_window(Side::Server));
        let mut deflaters = std::mem::take(&mut self.deflaters);
        let mut replies = BytesMut::new();
        let outcome = self.decode(
            key,
            &rules,
            bytes,
            &mut replies,
            &mut |kind, payload, replies| match window {
                Some(window) => {
                    encode_compressed_message(kind, payload, deflaters.of(window), replies);
                }
                None => encode_message(kind, payload, replies),
            },
        );
        self.deflaters = deflaters;
        self.after_input(key, outcome, replies);
    }

    /// Decodes what came in. `on_message` gets each message, and may reply to it.
    pub(super) fn decode(
        &mut self,
        key: LineKey,
        rules: &Rules,
        bytes: &mut [u8],
        replies: &mut BytesMut,
        on_message: &mut dyn FnMut(MessageKind, &[u8], &mut BytesMut),
    ) -> Result<bool, Breach> {
        let mut inbound = self
            .sides
            .get_mut(&key)
            .map(|side| {
                side.inbound_room = None;
                std::mem::take(&mut side.inbound)
            })
            .unwrap_or_default();
        let mut closing = false;
        let outcome =
            inbound.handle_bytes(
                rules,
                &mut self.inflating,
                bytes,
                &mut |event| match event {
                    Event::Message(kind, payload) => on_message(kind, payload, replies),
                    Event::Ping(payload) => encode_pong(payload, replies),
                    Event::Pong(_) => {}
                    Event::Close(close) => {
                        // Whoever did not start the closing handshake echoes its code (RFC 6455, section 5.5.1).
                        closing = true;
                        encode_close(close.map(|(code, _)| (code, "")), replies);
                    }
                },
            );
        outcome.map_err(Breach::Failed)?;
        if !inbound.is_idle() && !closing {
            let room = self.room_for(key, inbound.bytes_kept());
            let room = room.map_err(Breach::NoRoom)?;
            let side = self.side(key);
            (side.inbound, side.inbound_room) = (inbound, room);
        }
        Ok(closing)
    }

    pub(super) fn after_input(
        &mut self,
        key: LineKey,
        outcome: Result<bool, Breach>,
        mut replies: BytesMut,
    ) {
        match outcome {
            Ok(false) if replies.is_empty() => self.settle(key),
            Ok(false) => self.reply(key, &replies),
            Ok(true) => self.end_socket(key, &replies, Then::Close),
            Err(breach) => {
                let (code, reason) = match breach {
                    Breach::Failed(failure) => {
                        let code = failure.close_code();
                        self.shared.metrics.line_failed(code);
                        (code, failure.reason())
                    }
                    Breach::NoRoom(problem) => {
                        self.shared.metrics.line_refused(&problem);
                        (problem.kind.close_code(), problem.detail)
                    }
                };
                encode_close(Some((code, &reason)), &mut replies);
                self.end_socket(key, &replies, Then::Linger);
            }
        }
    }

    /// Sends the last frames of a WebSocket, and ends it.
    pub(super) fn end_socket(&mut self, key: LineKey, replies: &[u8], then: Then) {
        if self
            .sides
            .get(&key)
            .and_then(|side| side.behind)
            .is_some_and(|behind| behind.skip > 0)
        {
            // Inside a large message: the Close frame would land in its middle.
            return self.close(key);
        }
        self.unseat(key, Role::Lingering);
        let side = self.side(key);
        side.behind = None;
        side.late.clear();
        side.out.extend_from_slice(replies);
        side.then = then;
        self.send_side(key);
    }

    pub(super) fn rules(
        &self,
        deflate: Option<everwire_websocket::Deflate>,
        message_bytes_max: usize,
    ) -> Rules {
        Rules {
            role: Side::Server,
            message_bytes_max,
            deflate,
        }
    }
}
