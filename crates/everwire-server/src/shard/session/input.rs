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
    /// together.
    pub(in super::super) fn on_session_input(&mut self, key: LineKey, bytes: &mut [u8]) {
        let deflate = self.lines[key as usize].deflate;
        let rules = self.rules(deflate, self.shared.config.limits.message_bytes_max);
        let (mut replies, mut controls) = (BytesMut::new(), BytesMut::new());
        let mut texts = BytesMut::new();
        let mut messages = Vec::new();
        let on_message = &mut |kind, payload: &[u8], _: &mut BytesMut| {
            texts.extend_from_slice(payload);
            messages.push((kind, payload.len()));
        };
        let outcome = self.decode(key, &rules, bytes, &mut controls, on_message);
        for (kind, length) in messages {
            let text = texts.split_to(length);
            if let Err(problem) = self.on_session_message(key, kind, &text, &mut replies) {
                let code = problem.kind.close_code();
                self.shared.metrics.line_failed(code);
                encode_close(Some((code, &problem.detail)), &mut replies);
                return self.end_socket(key, &replies, Then::Linger);
            }
        }
        // After a Close frame nothing is sent (RFC 6455, section 5.5.1), so what it came after is answered first.
        replies.unsplit(controls);
        self.after_input(key, outcome, replies);
        // What a command asked to read.
        self.send_side(key);
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
        let is_blocked = self
            .sides
            .get(&key)
            .is_some_and(|side| side.blocked_since.is_some() && side.then == Then::Stay);
        if is_blocked && let Some(session) = self.session_mut(key) {
            // Who takes nothing is not listened to either, so that replies do not pile up.
            session.waiting.push(input);
            return;
        }
        match self.session(key).map(|session| session.speech) {
            Some(Speech::Messages(Carrier::WebSocket { .. })) => {
                self.on_input(key, &mut BytesMut::from(input.bytes));
            }
            Some(Speech::Messages(_) | Speech::Plain(_)) | None => {}
        }
        drop(input.permit);
    }
}
