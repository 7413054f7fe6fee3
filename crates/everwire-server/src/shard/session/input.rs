//! What a session's client sends over the session's own WebSocket.

use std::collections::VecDeque;

use bytes::BytesMut;
use everwire_websocket::{MessageKind, encode_close};
use everwire_wire::{Problem, ProblemKind};

use super::{
    super::{LineKey, Net, Shard, Then, inbound::Breach},
    Speech,
    decide::{Answers, Done, Parked},
};

/// Messages that came in together, and what came in after them.
pub(crate) struct Heard {
    /// The one that was being carried out.
    current: Option<(MessageKind, BytesMut)>,
    /// The messages, one after the other.
    texts: BytesMut,
    messages: VecDeque<(MessageKind, usize)>,
    /// The replies to control frames.
    controls: BytesMut,
    outcome: Result<bool, Breach>,
}

impl Default for Heard {
    fn default() -> Self {
        Self {
            current: None,
            texts: BytesMut::new(),
            messages: VecDeque::new(),
            controls: BytesMut::new(),
            outcome: Ok(false),
        }
    }
}

impl Heard {
    fn next(&mut self) -> Option<(MessageKind, BytesMut)> {
        if self.current.is_some() {
            return self.current.take();
        }
        let (kind, length) = self.messages.pop_front()?;
        Some((kind, self.texts.split_to(length)))
    }
}

impl<N: Net> Shard<N> {
    /// Takes what came in on a session's WebSocket: commands, which are carried out in their order and answered
    /// together. A few bytes may ask for pages of history: what comes after much of an answer waits until that is
    /// out, and the other lines have had their turn.
    pub(in super::super) fn on_session_input(&mut self, key: LineKey, bytes: &mut [u8]) {
        let deflate = self.lines[key].deflate;
        let rules = self.rules(deflate, self.shared.live.config.limits.message_bytes_max);
        let mut replies = BytesMut::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.is_parked(key) || replies.len() >= REPLIES_BYTES {
                self.side(key).unheard.extend_from_slice(rest);
                if !self.is_parked(key) {
                    self.ask_again(key);
                }
                break;
            }
            let (piece, after) = rest.split_at_mut(rest.len().min(PIECE_BYTES));
            rest = after;
            let mut heard = Heard::default();
            let on_message = &mut |kind, payload: &[u8], _: &mut BytesMut| {
                heard.texts.extend_from_slice(payload);
                heard.messages.push_back((kind, payload.len()));
            };
            let mut controls = BytesMut::new();
            heard.outcome = self.decode(key, &rules, piece, &mut controls, on_message);
            heard.controls = controls;
            if !self.hear(key, heard, Answers::NONE, &mut replies) {
                return;
            }
        }
        self.after_input(key, Ok(false), replies);
        // What a command asked to read.
        self.send_side(key);
    }

    /// Takes messages in their order, the first with what was answered about it. One that the application has to judge
    /// waits, and what came after it waits with it. False if the line has ended.
    fn hear(
        &mut self,
        key: LineKey,
        mut heard: Heard,
        mut answers: Answers,
        replies: &mut BytesMut,
    ) -> bool {
        while let Some((kind, text)) = heard.next() {
            let mut answers = std::mem::take(&mut answers);
            let heard_out = match self.on_session_message(key, kind, &text, &mut answers, replies) {
                Ok(Done::Answered) => Ok(()),
                Ok(Done::Waits(subject)) => {
                    match self.room_for(key, heard.texts.len() + text.len()) {
                        Ok(room) => {
                            heard.current = Some((kind, text));
                            self.set_aside(key, (subject, answers), Parked::Messages(heard), room);
                            return true;
                        }
                        Err(problem) => Err(problem),
                    }
                }
                Err(problem) => Err(problem),
            };
            if let Err(problem) = heard_out {
                let code = problem.kind.close_code();
                self.shared.metrics.line_refused(&problem);
                encode_close(Some((code, &problem.detail)), replies);
                self.end_socket(key, replies, Then::Linger);
                return false;
            }
        }
        // After a Close frame nothing is sent (RFC 6455, section 5.5.1), so what it came after is answered first.
        replies.extend_from_slice(&heard.controls);
        match heard.outcome {
            Ok(false) => true,
            outcome => {
                self.after_input(key, outcome, std::mem::take(replies));
                false
            }
        }
    }

    /// Goes on with messages that had to wait.
    pub(super) fn hear_parked(&mut self, key: LineKey, heard: Heard, answers: Answers) {
        let mut replies = BytesMut::new();
        if !self.hear(key, heard, answers, &mut replies) {
            return;
        }
        self.after_input(key, Ok(false), replies);
        self.send_side(key);
        if !self.is_parked(key) {
            // There may be more that nobody has read since.
            self.ask_again(key);
        }
    }

    /// Takes what came in and had to wait. False if some of it still has to.
    pub(in super::super) fn hear_rest(&mut self, key: LineKey) -> bool {
        if self.is_parked(key) {
            return false;
        }
        if let Some(side) = self.sides.get_mut(&key)
            && !side.unheard.is_empty()
        {
            let mut bytes = std::mem::take(&mut side.unheard);
            self.on_input(key, &mut bytes);
        }
        let side = self.sides.get(&key);
        side.is_none_or(|side| side.unheard.is_empty()) && !self.is_parked(key)
    }

    fn on_session_message(
        &mut self,
        key: LineKey,
        kind: MessageKind,
        payload: &[u8],
        answers: &mut Answers,
        replies: &mut BytesMut,
    ) -> Result<Done, Problem> {
        let carrier = match self.session(key).map(|session| session.speech) {
            Some(Speech::Messages(carrier)) => carrier,
            Some(Speech::Plain(_)) => return self.on_asked_message(key, kind, payload, answers),
            None => return Ok(Done::Answered),
        };
        let (MessageKind::Text, Ok(text)) = (kind, std::str::from_utf8(payload)) else {
            let detail = "a session's messages are JSON objects, as text";
            return Err(Problem::new(ProblemKind::BadRequest, detail));
        };
        let mut reply = BytesMut::new();
        let mut notices = BytesMut::new();
        let done = self.command(key, text, answers, &mut reply, &mut notices)?;
        if done == Done::Answered {
            carrier.text(&reply, replies);
            replies.extend_from_slice(&notices);
        }
        Ok(done)
    }
}

/// So much of what came in is taken at once: a few commands.
const PIECE_BYTES: usize = 256;

/// Once replies have so many bytes, they are sent before more commands are carried out.
const REPLIES_BYTES: usize = 64 * 1024;
