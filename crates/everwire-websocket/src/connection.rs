//! A whole connection after the opening handshake (RFC 6455, sections 5 to 7).

mod outgoing;

pub use outgoing::MaskingKeys;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};

use self::outgoing::Outgoing;
use crate::frame::ControlKind;
use crate::{
    CloseCode, Deflate, Event, Failure, Inbound, Level, MessageKind, Role, Rules, Scratch,
};

/// One WebSocket connection after the opening handshake, for shells that want one object.
///
/// ```text
///  bytes ─▶ handle_bytes ───┐              ┌─▶ outgoing()    bytes for the transport
///  clock ─▶ handle_timeout ─┼▶ Connection ─┼─▶ poll_event()  messages, pings, the end
///  app   ─▶ send, close ────┘              └─▶ wake_at()     the next deadline
/// ```
///
/// After `handle_bytes` and `handle_eof`, drain [`poll_event`](Self::poll_event): it is there that
/// frames are read, a little at a time, so that a small read that inflates to a lot is never in memory
/// as a whole. Pings are answered and the closing handshake is kept without the caller's help; a Close
/// frame is answered once the events before it were taken, so that replies to them come first.
///
/// ```
/// use std::time::Instant;
/// use bytes::BytesMut;
/// use everwire_websocket::{Connection, ConnectionEvent, ConnectionOptions, MessageKind};
///
/// let now = Instant::now();
/// let options = ConnectionOptions::default();
/// let mut server = Connection::server(options, now);
/// let mut client = Connection::client(options, Box::new(|| [1, 2, 3, 4]), now);
/// client.send(MessageKind::Text, b"hello")?;
///
/// let mut transport = BytesMut::from(client.outgoing());
/// client.advance_outgoing(transport.len());
/// server.handle_bytes(&mut transport, now);
/// let message = ConnectionEvent::Message(MessageKind::Text, "hello".into());
/// assert_eq!(server.poll_event(), Some(message));
/// # Ok::<_, everwire_websocket::NotOpen>(())
/// ```
pub struct Connection {
    rules: Rules,
    inbound: Inbound,
    scratch: Scratch,
    /// What arrived and was not read as frames yet.
    unread: BytesMut,
    /// The latest time that the caller told.
    now: Instant,
    /// The transport gives no more bytes than `unread`.
    eof: bool,
    events: VecDeque<ConnectionEvent>,
    /// What is to be done when `events` were taken, so that the replies to them come first.
    last: Option<Last>,
    outgoing: Outgoing,
    state: State,
    close_timeout: Duration,
}

/// How a connection behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// Largest message accepted, in bytes after inflation. Default: 1 MiB.
    pub message_bytes_max: usize,
    /// What the opening handshake settled about compression. Default: none.
    pub deflate: Option<Deflate>,
    /// How hard to compress. Default: [`Level::FASTEST`].
    pub level: Level,
    /// Smallest message that is compressed, in bytes; below, the saving is not worth the work.
    /// Default: 128.
    pub compress_bytes_min: usize,
    /// Bytes waiting for the transport above which [`Connection::can_send`] says no, and of several
    /// Pings only the last is answered. Default: 64 KiB.
    pub outgoing_bytes_max: usize,
    /// How long the peer may take to end the closing handshake. Default: 10 seconds.
    pub close_timeout: Duration,
}

/// What happened on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// A message; the payload of a text message is valid UTF-8.
    Message(MessageKind, Bytes),
    /// A Ping, which is answered already.
    Ping(Bytes),
    /// A Pong.
    Pong(Bytes),
    /// No further message will arrive or can be sent. The last event, and there is always one.
    Ended(Ending),
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With the peer's Close frame, be it the first or the answer to ours; code and reason are the
    /// peer's.
    Closed(Option<(CloseCode, String)>),
    /// The peer broke the protocol, and was told so.
    Failed(Failure),
    /// The transport ended without a Close frame.
    Lost,
    /// The peer did not answer our Close frame in time.
    TimedOut,
}

/// The connection is closing or closed; nothing can be sent any more.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the connection is closing or closed and sends nothing more; open a new one")]
pub struct NotOpen;

/// What ends the reading of frames.
#[derive(Clone, Debug)]
enum Last {
    /// The peer's Close frame, with its code and reason.
    Close(Option<(CloseCode, String)>),
    Failure(Failure),
}

/// Where the connection stands in the closing handshake (RFC 6455, section 7.1).
#[derive(Clone, Copy, Debug)]
enum State {
    Open,
    /// We sent Close and wait for the peer's.
    Closing {
        deadline: Instant,
    },
    /// Nothing more will be sent or read; once all is written, the transport is to be closed.
    Flushing {
        deadline: Instant,
    },
    /// As before, but the server closes the transport first (section 7.1.1), and we are the client.
    AwaitingEof {
        deadline: Instant,
    },
    Closed,
}

impl Connection {
    /// The server's side, opened `now`.
    pub fn server(options: ConnectionOptions, now: Instant) -> Self {
        Self::new(Role::Server, options, None, now)
    }

    /// The client's side, opened `now`. `keys` gives the masking keys, which must be random: an attacker who can
    /// guess them controls the bytes on the wire (RFC 6455, section 10.3).
    pub fn client(options: ConnectionOptions, keys: MaskingKeys, now: Instant) -> Self {
        Self::new(Role::Client, options, Some(keys), now)
    }

    fn new(
        role: Role,
        options: ConnectionOptions,
        keys: Option<MaskingKeys>,
        now: Instant,
    ) -> Self {
        let ConnectionOptions {
            message_bytes_max,
            deflate,
            ..
        } = options;
        Self {
            rules: Rules {
                role,
                message_bytes_max,
                deflate,
            },
            inbound: Inbound::new(),
            scratch: Scratch::default(),
            unread: BytesMut::new(),
            now,
            eof: false,
            events: VecDeque::new(),
            last: None,
            outgoing: Outgoing::new(keys, options),
            state: State::Open,
            close_timeout: options.close_timeout,
        }
    }

    /// Takes all of `bytes`, which came from the transport. They are read in
    /// [`poll_event`](Self::poll_event), or ignored after the end.
    pub fn handle_bytes(&mut self, bytes: &mut BytesMut, now: Instant) {
        self.now = now;
        if self.is_receiving() {
            self.unread.unsplit(bytes.split());
        } else {
            bytes.clear();
        }
    }

    /// The transport will give no more bytes. What came before is still read in
    /// [`poll_event`](Self::poll_event).
    pub fn handle_eof(&mut self) {
        self.eof = true;
        if let State::AwaitingEof { deadline } = self.state {
            self.state = self.flushing(deadline);
        }
    }

    /// Time passed; call it when [`wake_at`](Self::wake_at) is reached. Earlier calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Closing { deadline } if deadline <= now => {
                self.end(Ending::TimedOut, State::Closed);
            }
            State::Flushing { deadline } | State::AwaitingEof { deadline } if deadline <= now => {
                self.state = State::Closed;
            }
            State::Open
            | State::Closing { .. }
            | State::Flushing { .. }
            | State::AwaitingEof { .. }
            | State::Closed => {}
        }
    }

    /// The next event; `None` until there are more bytes.
    pub fn poll_event(&mut self) -> Option<ConnectionEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            match self.last.take() {
                Some(Last::Close(received)) => self.on_close(received),
                Some(Last::Failure(failure)) => self.on_failure(failure),
                None if !self.unread.is_empty() => self.read_frames(),
                None if self.eof && self.is_receiving() => self.end(Ending::Lost, State::Closed),
                None => return None,
            }
        }
    }

    /// Queues a message, compressed where that was negotiated and pays.
    ///
    /// # Errors
    ///
    /// The connection is closing or closed.
    pub fn send(&mut self, kind: MessageKind, payload: &[u8]) -> Result<(), NotOpen> {
        self.require_open()?;
        self.outgoing.message(kind, payload, &self.rules);
        Ok(())
    }

    /// Queues frames that were encoded before, once for many connections.
    ///
    /// # Errors
    ///
    /// The connection is closing or closed.
    ///
    /// # Panics
    ///
    /// On a client's connection, whose frames are masked one by one.
    pub fn send_encoded(&mut self, frames: &[u8]) -> Result<(), NotOpen> {
        assert_eq!(
            self.rules.role,
            Role::Server,
            "a client's frames are masked one by one"
        );
        self.require_open()?;
        self.outgoing.bytes.extend_from_slice(frames);
        Ok(())
    }

    /// Queues a Ping.
    ///
    /// # Errors
    ///
    /// The connection is closing or closed.
    ///
    /// # Panics
    ///
    /// If `payload` has more than 125 bytes.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), NotOpen> {
        self.require_open()?;
        self.outgoing.control(ControlKind::Ping, payload);
        Ok(())
    }

    /// Starts the closing handshake. A reason of more than 123 bytes is cut. Does nothing if the
    /// connection is closing already.
    pub fn close(&mut self, close: Option<(CloseCode, &str)>, now: Instant) {
        if matches!(self.state, State::Open) {
            self.now = now;
            self.outgoing.close(close);
            self.state = State::Closing {
                deadline: now + self.close_timeout,
            };
        }
    }

    /// The bytes that wait for the transport.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing.bytes
    }

    /// The transport took the first `len` of the [`outgoing`](Self::outgoing) bytes.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn advance_outgoing(&mut self, len: usize) {
        self.outgoing.bytes.advance(len);
        match self.state {
            State::Open => self.outgoing.answer_owed_ping(),
            State::Flushing { .. } if !self.wants_write() => self.state = State::Closed,
            State::Closing { .. }
            | State::Flushing { .. }
            | State::AwaitingEof { .. }
            | State::Closed => {}
        }
    }

    /// Whether there are bytes for the transport.
    pub fn wants_write(&self) -> bool {
        !self.outgoing.bytes.is_empty()
    }

    /// Whether the connection is open and little waits for the transport. [`send`](Self::send) works
    /// without, but then nothing bounds what waits.
    pub fn can_send(&self) -> bool {
        matches!(self.state, State::Open) && self.outgoing.has_room()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None`: nothing is due.
    pub fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Closing { deadline }
            | State::Flushing { deadline }
            | State::AwaitingEof { deadline } => Some(deadline),
            State::Open | State::Closed => None,
        }
    }

    /// Whether the transport is to be closed now. Events may still wait in
    /// [`poll_event`](Self::poll_event).
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Reads a part of what arrived.
    fn read_frames(&mut self) {
        let len = self.unread.len().min(PIECE_BYTES);
        let Self {
            inbound,
            scratch,
            rules,
            events,
            outgoing,
            state,
            last,
            unread,
            ..
        } = self;
        let piece = &mut unread[..len];
        let outcome = inbound.handle_bytes(rules, scratch, piece, &mut |event| match event {
            Event::Message(kind, payload) => {
                events.push_back(ConnectionEvent::Message(
                    kind,
                    Bytes::copy_from_slice(payload),
                ));
            }
            Event::Ping(payload) => {
                if matches!(state, State::Open) {
                    outgoing.answer_ping(payload);
                }
                events.push_back(ConnectionEvent::Ping(Bytes::copy_from_slice(payload)));
            }
            Event::Pong(payload) => {
                events.push_back(ConnectionEvent::Pong(Bytes::copy_from_slice(payload)));
            }
            Event::Close(received) => {
                let received = received.map(|(code, reason)| (code, reason.to_owned()));
                *last = Some(Last::Close(received));
            }
        });
        self.unread.advance(len);
        if let Err(failure) = outcome {
            self.last = Some(Last::Failure(failure));
        }
    }

    /// The peer sent Close: whoever did not start the closing handshake echoes the code (RFC 6455,
    /// section 5.5.1).
    fn on_close(&mut self, received: Option<(CloseCode, String)>) {
        let deadline = match self.state {
            State::Open => {
                self.outgoing
                    .close(received.as_ref().map(|(code, _)| (*code, "")));
                self.now + self.close_timeout
            }
            State::Closing { deadline } => deadline,
            State::Flushing { .. } | State::AwaitingEof { .. } | State::Closed => return,
        };
        let next = match self.rules.role {
            Role::Client if !self.eof => State::AwaitingEof { deadline },
            Role::Client | Role::Server => self.flushing(deadline),
        };
        self.end(Ending::Closed(received), next);
    }

    /// "Fail the WebSocket connection" (section 7.1.7): say why, unless we sent Close, and go.
    fn on_failure(&mut self, failure: Failure) {
        let deadline = match self.state {
            State::Open => {
                self.outgoing
                    .close(Some((failure.close_code(), &failure.reason())));
                self.now + self.close_timeout
            }
            State::Closing { deadline } => deadline,
            State::Flushing { .. } | State::AwaitingEof { .. } | State::Closed => return,
        };
        self.end(Ending::Failed(failure), self.flushing(deadline));
    }

    fn end(&mut self, ending: Ending, next: State) {
        self.events.push_back(ConnectionEvent::Ended(ending));
        self.unread.clear();
        self.state = next;
    }

    /// The state in which only writing is left to do.
    fn flushing(&self, deadline: Instant) -> State {
        match self.wants_write() {
            true => State::Flushing { deadline },
            false => State::Closed,
        }
    }

    /// Whether frames may still come.
    fn is_receiving(&self) -> bool {
        match self.state {
            State::Open | State::Closing { .. } => true,
            State::Flushing { .. } | State::AwaitingEof { .. } | State::Closed => false,
        }
    }

    fn require_open(&self) -> Result<(), NotOpen> {
        match self.state {
            State::Open => Ok(()),
            State::Closing { .. }
            | State::Flushing { .. }
            | State::AwaitingEof { .. }
            | State::Closed => Err(NotOpen),
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("rules", &self.rules)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            message_bytes_max: 1024 * 1024,
            deflate: None,
            level: Level::FASTEST,
            compress_bytes_min: 128,
            outgoing_bytes_max: 64 * 1024,
            close_timeout: Duration::from_secs(10),
        }
    }
}

/// How much is read as frames between two looks at the events, in bytes. DEFLATE makes at most a
/// thousand times as much of it.
const PIECE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContextTakeover, Deflater, WindowBits, encode_compressed_message};

    /// A read of 32 KiB, which inflates to 30 MiB, is never in memory as a whole.
    #[test]
    fn what_a_small_read_inflates_to_is_made_bit_by_bit() {
        let level = Level::new(9).expect("a level");
        let mut deflater = Deflater::new(WindowBits::MAX, level, ContextTakeover::No);
        let (mut bytes, zeros) = (BytesMut::new(), vec![0; 1 << 20]);
        for _ in 0..30 {
            encode_compressed_message(MessageKind::Binary, &zeros, &mut deflater, &mut bytes);
        }
        assert!(bytes.len() < 32 * 1024);
        let options = ConnectionOptions {
            deflate: Some(Deflate::default()),
            ..ConnectionOptions::default()
        };
        let mut client = Connection::client(options, Box::new(|| [0; 4]), Instant::now());
        client.handle_bytes(&mut bytes, Instant::now());
        let mut received = 0;
        while client.poll_event().is_some() {
            received += 1;
            assert!(
                client.events.len() < 5,
                "{} messages wait",
                client.events.len()
            );
        }
        assert_eq!(received, 30);
    }
}
