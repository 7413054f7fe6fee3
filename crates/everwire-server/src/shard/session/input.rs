//! What a session's client sends over the session's own WebSocket.

use bytes::{Bytes, BytesMut};
use everwire_websocket::{MessageKind, encode_close};
use everwire_wire::{Carrier, Problem, ProblemKind};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    super::{LineKey, Net, Shard, Then},
    Speech,
};

/// What came in beside a pipe. Only so much may be on its way as there are permits.
#[derive(Debug)]
pub(crate) struct Input {
    pub bytes: Bytes,
    pub permit: OwnedSemaphorePermit,
}

impl<N: Net> Shard<N> {
    /// Takes what came in on a session's WebSocket: commands, which are carried out in their order and answered
    /// together. A few bytes may ask for pages of history: what comes after much of an answer waits until that is
    /// out, and the other lines have had their turn.
    pub(in super::super) fn on_session_input(&mut self, key: LineKey, bytes: &mut [u8]) {
        let deflate = self.lines[key as usize].deflate;
        let rules = self.rules(deflate, self.shared.live.config.limits.message_bytes_max);
        let mut replies = BytesMut::new();
        let (mut texts, mut messages) = (BytesMut::new(), Vec::new());
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at_mut(rest.len().min(PIECE_BYTES));
            rest = after;
            let mut controls = BytesMut::new();
            let on_message = &mut |kind, payload: &[u8], _: &mut BytesMut| {
                texts.extend_from_slice(payload);
                messages.push((kind, payload.len()));
            };
            let outcome = self.decode(key, &rules, piece, &mut controls, on_message);
            for (kind, length) in messages.drain(..) {
                let text = texts.split_to(length);
                if let Err(problem) = self.on_session_message(key, kind, &text, &mut replies) {
                    let code = problem.kind.close_code();
                    self.shared.metrics.line_refused(&problem);
                    encode_close(Some((code, &problem.detail)), &mut replies);
                    return self.end_socket(key, &replies, Then::Linger);
                }
            }
            // After a Close frame nothing is sent (RFC 6455, section 5.5.1), so what it came after is answered first.
            replies.extend_from_slice(&controls);
            if !matches!(outcome, Ok(false)) {
                return self.after_input(key, outcome, replies);
            }
            if replies.len() >= REPLIES_BYTES && !rest.is_empty() {
                self.side(key).unheard.extend_from_slice(rest);
                self.ask_again(key);
                break;
            }
        }
        self.after_input(key, Ok(false), replies);
        // What a command asked to read.
        self.send_side(key);
    }

    /// Takes what came in and had to wait. False if some of it still has to.
    pub(in super::super) fn hear_rest(&mut self, key: LineKey) -> bool {
        if let Some(side) = self.sides.get_mut(&key)
            && !side.unheard.is_empty()
        {
            let mut bytes = std::mem::take(&mut side.unheard);
            self.on_input(key, &mut bytes);
        }
        let side = self.sides.get(&key);
        side.is_none_or(|side| side.unheard.is_empty())
    }

    fn on_session_message(
        &mut self,
        key: LineKey,
        kind: MessageKind,
        payload: &[u8],
        replies: &mut BytesMut,
    ) -> Result<(), Problem> {
        let Some(Speech::Messages(carrier)) = self.session(key).map(|session| session.speech)
        else {
            return Ok(());
        };
        let (MessageKind::Text, Ok(text)) = (kind, std::str::from_utf8(payload)) else {
            let detail = "a session's messages are JSON objects, as text";
            return Err(Problem::new(ProblemKind::BadRequest, detail));
        };
        let mut reply = BytesMut::new();
        let mut notices = BytesMut::new();
        self.command(key, text, &mut reply, &mut notices)?;
        carrier.text(&reply, replies);
        replies.extend_from_slice(&notices);
        Ok(())
    }

    /// Takes what came in on a session's WebSocket that has no socket of its own.
    pub(super) fn on_piped_input(&mut self, key: LineKey, input: Input) {
        if let Some(session) = self.session_mut(key)
            && let Speech::Messages(Carrier::WebSocket { .. }) = session.speech
        {
            session.waiting.push_back(input);
            self.hear_waiting(key);
        }
    }

    /// Takes what came in beside a pipe, as long as its session is listened to.
    pub(in super::super) fn hear_waiting(&mut self, key: LineKey) {
        let has_some = |shard: &Self| {
            let session = shard.session(key);
            session.is_some_and(|session| !session.waiting.is_empty())
        };
        while has_some(self)
            && self.is_listened_to(key)
            && let Some(session) = self.session_mut(key)
            && let Some(Input { bytes, permit }) = session.waiting.pop_front()
        {
            self.on_input(key, &mut BytesMut::from(bytes));
            drop(permit);
        }
    }

    /// Who takes nothing is not listened to either, so that replies do not pile up.
    fn is_listened_to(&self, key: LineKey) -> bool {
        let side = self.sides.get(&key);
        side.is_none_or(|side| side.blocked_since.is_none() && side.unheard.is_empty())
    }
}

/// So much of what came in is taken at once: a few commands.
const PIECE_BYTES: usize = 256;

/// Once replies have so many bytes, they are sent before more commands are carried out.
const REPLIES_BYTES: usize = 64 * 1024;
