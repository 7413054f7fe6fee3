//! The receiving half of a connection (RFC 6455, sections 5 and 6.2; RFC 7692, section 6.2).
//!
//! ```text
//!  bytes ─▶ [ head ] ─▶ [ payload, unmasked in place ] ─┬─ a whole message ──────────▶ Event
//!              ▲               │                        └─ a piece: inflate, check ─▶ message so far
//!              └───────────────┘ control frames pass between the pieces of a message
//! ```
//!
//! Invariants: between messages nothing is on the heap, unless the peer's compression context must be
//! kept. Memory follows what has arrived, never what a head announces. Whatever is wrong is told at
//! the byte that makes it wrong.

use crate::close;
use crate::deflate::{InflateError, Inflater};
use crate::frame::{ControlKind, FrameHead, FrameKind, HEAD_BYTES_MAX, MessageKind};
use crate::mask::{MaskingKey, mask, rotate};
use crate::utf8::Utf8Check;
use crate::{CloseCode, ContextTakeover, Failure, Rules, Scratch};

/// The receiving half of one connection.
///
/// While [`is_idle`](Self::is_idle) it holds nothing: it may be dropped, and the next bytes given to a
/// new one.
#[derive(Debug, Default)]
pub struct Inbound {
    state: State,
    /// The message whose first frame has begun and whose last has not ended.
    message: Option<Partial>,
    /// The peer's compression context, between two messages that share it.
    inflater: Option<Box<Inflater>>,
}

/// What arrived. The payloads live in the bytes given, or in the scratch, until the callback returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message; the payload of a text message is valid UTF-8.
    Message(MessageKind, &'a [u8]),
    /// A Ping: answer with a Pong of the same payload (RFC 6455, section 5.5.2).
    Ping(&'a [u8]),
    /// A Pong: an answer, or a heartbeat that nobody asked for.
    Pong(&'a [u8]),
    /// A Close frame, with its code and reason if it told them. Nothing follows it. Unless a Close was
    /// sent before, answer with one (RFC 6455, section 5.5.1).
    Close(Option<(CloseCode, &'a str)>),
}

#[derive(Debug)]
enum State {
    /// Between two frames, or inside a head: the bytes of the head so far.
    Head {
        bytes: [u8; HEAD_BYTES_MAX],
        len: u8,
    },
    /// Inside the payload of a data frame of `message`.
    Data {
        mask: Option<MaskingKey>,
        remaining: u64,
        fin: bool,
    },
    /// Inside the payload of a control frame; `payload` is what arrived, unmasked.
    Control {
        kind: ControlKind,
        mask: Option<MaskingKey>,
        remaining: u8,
        payload: Vec<u8>,
    },
    /// A Close frame or a failure was met: the rest is ignored (section 1.4 and 7.1.7).
    Finished,
}

/// A message that has begun.
#[derive(Debug)]
struct Partial {
    kind: MessageKind,
    /// What arrived of it, inflated.
    content: Vec<u8>,
    utf8: Utf8Check,
    coding: Coding,
}

#[derive(Debug)]
enum Coding {
    Plain,
    /// Compressed. The decompressor comes with the first byte, so that a mere head costs nothing.
    Deflate(ContextTakeover, Option<Box<Inflater>>),
}

impl Inbound {
    /// A connection that has received nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes `bytes` as they came, in pieces of any size, and calls `on_event` for each event in
    /// order. The bytes are unmasked in place. A whole message in one uncompressed frame inside
    /// `bytes` is given as a slice of them.
    ///
    /// After an error or [`Event::Close`] further bytes are ignored.
    ///
    /// # Errors
    ///
    /// The connection must be failed, as [`Failure`] tells. Events before the offence were given.
    pub fn handle_bytes(
        &mut self,
        rules: &Rules,
        scratch: &mut Scratch,
        bytes: &mut [u8],
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Failure> {
        let outcome = self.take_frames(rules, scratch, bytes, on_event);
        match &mut self.message {
            Some(message) if outcome.is_ok() => message.park(scratch),
            _ => {}
        }
        if outcome.is_err() {
            *self = Self {
                state: State::Finished,
                message: None,
                inflater: None,
            };
        }
        outcome
    }

    /// Whether nothing has to be remembered: at a message boundary, without the peer's compression
    /// context, and not closed or failed.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head { len: 0, .. })
            && self.message.is_none()
            && self.inflater.is_none()
    }

    /// Bytes that it keeps on the heap, about.
    pub fn bytes_kept(&self) -> usize {
        let message = self.message.as_ref();
        let inflates = |message: &Partial| matches!(message.coding, Coding::Deflate(_, Some(_)));
        let inflaters =
            usize::from(self.inflater.is_some()) + usize::from(message.is_some_and(inflates));
        message.map_or(0, |message| message.content.capacity()) + inflaters * Inflater::BYTES
    }

    /// Whether a Close frame or a failure ended what can be received.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    fn take_frames(
        &mut self,
        rules: &Rules,
        scratch: &mut Scratch,
        mut bytes: &mut [u8],
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Failure> {
        loop {
            match &mut self.state {
                State::Head { bytes: head, len } => {
                    if bytes.is_empty() {
                        return Ok(());
                    }
                    // A head in one piece is read where it lies, the rare cut one is put together.
                    let had = usize::from(*len);
                    let decoded = if had == 0 {
                        FrameHead::decode(bytes, rules.role)?
                    } else {
                        let more = bytes.len().min(HEAD_BYTES_MAX - had);
                        head[had..had + more].copy_from_slice(&bytes[..more]);
                        FrameHead::decode(&head[..had + more], rules.role)?
                    };
                    let Some((frame, head_len)) = decoded else {
                        // A head of the largest size is always decoded, so what is here fits.
                        head[had..had + bytes.len()].copy_from_slice(bytes);
                        *len = (had + bytes.len()) as u8;
                        return Ok(());
                    };
                    bytes = &mut bytes[head_len - had..];
                    // After a cut head the state is not that of a new frame, so such a message takes the long way.
                    match self.whole_message(&frame, rules, bytes.len()) {
                        Some((kind, len)) if had == 0 => {
                            let (payload, rest) = bytes.split_at_mut(len);
                            bytes = rest;
                            if let Some(key) = frame.mask {
                                mask(key, 0, payload);
                            }
                            kind.check(payload)?;
                            on_event(Event::Message(kind, payload));
                        }
                        Some(_) | None => self.state = self.on_head(frame, rules)?,
                    }
                }
                State::Data {
                    mask: key,
                    remaining,
                    fin,
                } => {
                    let (piece, rest) = split(bytes, *remaining);
                    bytes = rest;
                    unmask(key, piece);
                    *remaining -= piece.len() as u64;
                    let message = self.message.as_mut().expect("a data frame has a message");
                    message.push(piece, rules, &mut self.inflater, scratch)?;
                    if *remaining > 0 {
                        return Ok(());
                    }
                    if *fin {
                        let message = self.message.take().expect("a data frame has a message");
                        if let Some(kept) = message.finish(rules, scratch, on_event)? {
                            self.inflater = Some(kept);
                        }
                    }
                    self.state = State::default();
                }
                State::Control {
                    kind,
                    mask: key,
                    remaining,
                    payload,
                } => {
                    let (piece, rest) = split(bytes, u64::from(*remaining));
                    bytes = rest;
                    unmask(key, piece);
                    *remaining -= piece.len() as u8;
                    if *remaining > 0 {
                        payload.extend_from_slice(piece);
                        return Ok(());
                    }
                    let kind = *kind;
                    if payload.is_empty() {
                        on_event(Event::of_control(kind, piece)?);
                    } else {
                        payload.extend_from_slice(piece);
                        on_event(Event::of_control(kind, payload)?);
                    }
                    self.state = match kind {
                        ControlKind::Close => State::Finished,
                        ControlKind::Ping | ControlKind::Pong => State::default(),
                    };
                }
                State::Finished => {
                    // What was begun will not be ended: give its memory back.
                    (self.message, self.inflater) = (None, None);
                    return Ok(());
                }
            }
        }
    }

    /// The kind and length of a message that lies whole in the next `available` bytes, uncompressed and
    /// in one frame. Nearly all do, and need no memory of what came before.
    fn whole_message(
        &self,
        head: &FrameHead,
        rules: &Rules,
        available: usize,
    ) -> Option<(MessageKind, usize)> {
        let FrameKind::First {
            kind,
            compressed: false,
            fin: true,
        } = head.kind
        else {
            return None;
        };
        let len = usize::try_from(head.payload_len).ok()?;
        let fits = len <= available.min(rules.message_bytes_max);
        (fits && self.message.is_none()).then_some((kind, len))
    }

    /// Judges a head in its place among the frames before it, and says what its payload is.
    fn on_head(&mut self, head: FrameHead, rules: &Rules) -> Result<State, Failure> {
        let FrameHead {
            kind,
            mask,
            payload_len,
        } = head;
        let fin = match kind {
            FrameKind::Control(kind) => {
                let remaining = payload_len as u8;
                return Ok(State::Control {
                    kind,
                    mask,
                    remaining,
                    payload: Vec::new(),
                });
            }
            FrameKind::First { .. } if self.message.is_some() => {
                return Err(Failure::MessageInterleaved);
            }
            FrameKind::First {
                kind,
                compressed,
                fin,
            } => {
                let coding = Coding::of(compressed, rules)?;
                self.message = Some(Partial::new(kind, coding));
                fin
            }
            FrameKind::Continuation { fin } => fin,
        };
        let Some(message) = &self.message else {
            return Err(Failure::UnexpectedContinuation);
        };
        // How much a compressed frame will become, no head can tell.
        let room = rules
            .message_bytes_max
            .saturating_sub(message.content.len()) as u64;
        if matches!(message.coding, Coding::Plain) && payload_len > room {
            return Err(too_big(rules));
        }
        Ok(State::Data {
            mask,
            remaining: payload_len,
            fin,
        })
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Head {
            bytes: [0; HEAD_BYTES_MAX],
            len: 0,
        }
    }
}

impl<'a> Event<'a> {
    fn of_control(kind: ControlKind, payload: &'a [u8]) -> Result<Self, Failure> {
        Ok(match kind {
            ControlKind::Close => Self::Close(close::decode(payload)?),
            ControlKind::Ping => Self::Ping(payload),
            ControlKind::Pong => Self::Pong(payload),
        })
    }
}

impl Partial {
    fn new(kind: MessageKind, coding: Coding) -> Self {
        Self {
            kind,
            content: Vec::new(),
            utf8: Utf8Check::default(),
            coding,
        }
    }

    /// Adds a piece of the payload.
    fn push(
        &mut self,
        piece: &[u8],
        rules: &Rules,
        kept: &mut Option<Box<Inflater>>,
        scratch: &mut Scratch,
    ) -> Result<(), Failure> {
        if piece.is_empty() {
            return Ok(());
        }
        if self.content.capacity() == 0 {
            self.content = scratch.take_content();
        }
        let start = self.content.len();
        let inflated = match &mut self.coding {
            Coding::Plain => {
                self.content.extend_from_slice(piece);
                Ok(())
            }
            Coding::Deflate(_, inflater) => inflater
                .get_or_insert_with(|| kept.take().unwrap_or_else(|| scratch.take_inflater()))
                .inflate(piece, &mut self.content, rules.message_bytes_max),
        };
        // The text first: what came before a fault of the compression is judged before it, so that the
        // outcome does not depend on where the pieces are cut.
        if self.kind == MessageKind::Text {
            let text = &self.content[start..];
            self.utf8.push(text).map_err(|_| Failure::TextNotUtf8)?;
        }
        inflated.map_err(|error| inflate_failure(error, rules))
    }

    /// Gives the message, and what the next one needs of the compression context.
    fn finish(
        mut self,
        rules: &Rules,
        scratch: &mut Scratch,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<Box<Inflater>>, Failure> {
        let mut kept = None;
        // A compressed message without any payload is not what section 7.2.3.6 asks for, but there is
        // nothing in it to misread.
        if let Coding::Deflate(takeover, Some(mut inflater)) = self.coding {
            inflater
                .finish(takeover, &mut self.content, rules.message_bytes_max)
                .map_err(|error| inflate_failure(error, rules))?;
            match takeover {
                ContextTakeover::No => scratch.give_inflater(inflater),
                ContextTakeover::Yes => kept = Some(inflater),
            }
        }
        if self.kind == MessageKind::Text {
            self.utf8.finish().map_err(|_| Failure::TextNotUtf8)?;
        }
        on_event(Event::Message(self.kind, &self.content));
        scratch.give_content(self.content);
        Ok(kept)
    }

    /// The bytes ended inside the message: keep what arrived, and leave a roomy buffer to others.
    fn park(&mut self, scratch: &mut Scratch) {
        if self.content.capacity() > 2 * self.content.len() {
            let parked = self.content.as_slice().to_vec();
            scratch.give_content(std::mem::replace(&mut self.content, parked));
        }
    }
}

impl Coding {
    fn of(compressed: bool, rules: &Rules) -> Result<Self, Failure> {
        match (compressed, rules.deflate) {
            (false, _) => Ok(Self::Plain),
            (true, Some(deflate)) => Ok(Self::Deflate(deflate.inbound_takeover(rules.role), None)),
            (true, None) => Err(Failure::ReservedBit),
        }
    }
}

impl MessageKind {
    /// Checks a message that arrived in one piece.
    fn check(self, payload: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Text => simdutf8::basic::from_utf8(payload)
                .map(|_| ())
                .map_err(|_| Failure::TextNotUtf8),
            Self::Binary => Ok(()),
        }
    }
}

/// The part of `bytes` that belongs to a payload of which `remaining` bytes are missing, and the rest.
fn split(bytes: &mut [u8], remaining: u64) -> (&mut [u8], &mut [u8]) {
    let len = usize::try_from(remaining).map_or(bytes.len(), |len| len.min(bytes.len()));
    bytes.split_at_mut(len)
}

/// Unmasks a piece, and turns the key to the piece that follows.
fn unmask(key: &mut Option<MaskingKey>, piece: &mut [u8]) {
    if let Some(key) = key {
        mask(*key, 0, piece);
        *key = rotate(*key, piece.len());
    }
}

fn inflate_failure(error: InflateError, rules: &Rules) -> Failure {
    match error {
        InflateError::Invalid => Failure::DeflateInvalid,
        InflateError::TooBig => too_big(rules),
    }
}

fn too_big(rules: &Rules) -> Failure {
    Failure::MessageTooBig {
        bytes_max: rules.message_bytes_max,
    }
}
