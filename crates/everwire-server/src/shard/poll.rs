//! Parked long polls: a connection that waits for one answer, and goes back to HTTP with it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use tokio::sync::oneshot;

use super::{Channel, Key, LineKey, LocalKey, Net, PollKey, Role, Seat, Shard, Then};
use crate::{
    answer::{AnswerTerms, Encoded, PollShape, encode_answer, live_answer, name_refusal},
    auth::Caller,
    census::Visit,
    hub::State,
    rate::Account,
};

/// What a long poll asks for.
pub(crate) struct PollRequest {
    pub channel: Arc<Channel>,
    pub shape: PollShape,
    /// For whom its answer is held.
    pub account: Account,
    /// Who asks, whose right to it may end.
    pub caller: Caller,
    /// It may because the application said so.
    pub is_lent: bool,
    /// How long it may wait, in milliseconds.
    pub wait_ms: u64,
    pub answer_to: AnswerTo,
    /// How the request is named in its answer, where each is.
    pub request_id: Option<HeaderValue>,
}

/// Where a poll's answer goes.
pub(crate) enum AnswerTo {
    /// Out on a connection of HTTP/1.1.
    Connection {
        /// Whether it takes another request after the answer.
        keep_alive: bool,
    },
    /// To whoever serves a stream of HTTP/2.
    Stream(oneshot::Sender<http::Response<Bytes>>),
}

/// What a poll is answered with. Polls of the same shape share its content.
pub(super) enum Answer {
    /// As HTTP/1.1 has it.
    Encoded(Encoded),
    Whole(http::Response<Bytes>),
}

/// A parked long poll.
pub(crate) struct Poll {
    /// The shard's number of the channel.
    pub local: LocalKey,
    /// Where it stands among the channel's polls.
    pub index: PollKey,
    pub request: PollRequest,
    /// Its connection, which is counted as one while it waits. That of a stream is counted where it is served.
    pub visit: Option<Visit>,
    /// What the client sent after its request.
    pub unread: BytesMut,
}

/// Why a poll is answered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// Something changed; there may be nothing for this poll.
    Change,
    /// It waited long enough, or the server stops.
    TimeOut,
}

/// The answer to a poll, or `None` if it goes on waiting.
pub(crate) fn poll_answer(
    request: &PollShape,
    state: &State,
    occasion: Occasion,
    terms: &AnswerTerms<'_>,
    now_ms: u64,
) -> Option<http::Response<Bytes>> {
    let waiting = !request.has_entries(state) && !state.is_ended();
    if waiting && occasion == Occasion::Change {
        return None;
    }
    Some(live_answer(request, state, terms, now_ms))
}

impl<N: Net> Shard<N> {
    /// The answers that the polls of a channel have now.
    pub(super) fn poll_answers(
        &mut self,
        local: LocalKey,
        state: &State,
    ) -> Vec<(LineKey, Answer)> {
        // Nearly all polls of a channel have the same shape, so their answer is made once.
        let mut last: Option<Made> = None;
        let mut answers = Vec::new();
        for key in &self.locals[local].polls {
            let Some(poll) = self.poll(*key) else {
                continue;
            };
            let shape = &poll.request.shape;
            let made = match last.take_if(|made| made.shape == *shape) {
                Some(made) => Some(made),
                None => self.make_answer(poll, state, Occasion::Change),
            };
            if let Some(mut made) = made {
                answers.push((*key, made.answer(&poll.request)));
                last = Some(made);
            }
        }
        answers
    }

    /// The answer that one poll has now.
    pub(super) fn poll_answer_now(&self, key: LineKey, state: &State) -> Option<Answer> {
        let poll = self.poll(key)?;
        let mut made = self.make_answer(poll, state, Occasion::Change)?;
        Some(made.answer(&poll.request))
    }

    /// Answers a poll. A connection goes back to HTTP once the answer is out.
    pub(super) fn answer_poll(&mut self, key: LineKey, answer: Answer) {
        let Some(Seat::Alone(alone)) = self.lines.get_mut(key).map(|line| &mut line.seat) else {
            return;
        };
        let role = std::mem::replace(&mut alone.role, Role::Lingering);
        let Role::Poll(poll) = role else {
            alone.role = role;
            return;
        };
        match (poll.request.answer_to, answer) {
            (AnswerTo::Connection { keep_alive }, Answer::Encoded(answer)) => {
                let (unread, visit) = (poll.unread, poll.visit);
                alone.role = Role::Answering { unread, visit };
                self.leave_polls(poll.local, poll.index);
                let side = self.side(key);
                side.out.extend_from_slice(&answer.head);
                side.shared = answer.rest;
                side.then = match keep_alive {
                    true => Then::Return,
                    false => Then::Linger,
                };
                self.send_side(key);
            }
            (AnswerTo::Stream(waits), Answer::Whole(response)) => {
                self.leave_polls(poll.local, poll.index);
                self.close(key);
                // Whoever waited may be gone.
                drop(waits.send(response));
            }
            (AnswerTo::Connection { .. } | AnswerTo::Stream(_), _) => {
                unreachable!("an answer is made for where it goes")
            }
        }
    }

    /// Answers a poll that has waited long enough.
    pub(super) fn end_poll(&mut self, key: LineKey) {
        let Some(poll) = self.poll(key) else { return };
        let channel = poll.request.channel.clone();
        let made = self.make_answer(poll, &channel.lock(), Occasion::TimeOut);
        if let Some(mut made) = made {
            let answer = made.answer(&poll.request);
            self.answer_poll(key, answer);
        }
    }

    /// Removes a poll from its channel.
    pub(super) fn leave_polls(&mut self, local: LocalKey, index: PollKey) {
        let polls = &mut self.locals[local].polls;
        polls.swap_remove(index.index());
        if let Some(moved) = polls.get(index.index()).copied()
            && let Some(Seat::Alone(alone)) = self.lines.get_mut(moved).map(|line| &mut line.seat)
            && let Role::Poll(poll) = &mut alone.role
        {
            poll.index = index;
        }
        self.leave_channel(local);
    }

    fn poll(&self, key: LineKey) -> Option<&Poll> {
        match &self.lines.get(key)?.seat {
            Seat::Alone(alone) => match &alone.role {
                Role::Poll(poll) => Some(poll),
                Role::Answering { .. } | Role::Echo | Role::Lingering => None,
            },
            Seat::Feed { .. } | Seat::Session(_) | Seat::Vacant => None,
        }
    }

    fn make_answer(&self, poll: &Poll, state: &State, occasion: Occasion) -> Option<Made> {
        let terms = self.shared.answer_terms(poll.request.account);
        let shape = &poll.request.shape;
        let response = poll_answer(shape, state, occasion, &terms, self.now_ms)?;
        Some(Made {
            shape: shape.clone(),
            response,
            encoded: None,
            is_stopping: self.is_stopping(),
        })
    }
}

/// An answer that was made.
struct Made {
    shape: PollShape,
    response: http::Response<Bytes>,
    /// As HTTP/1.1 has it, for connections that go on or for those that end.
    encoded: Option<(bool, Encoded)>,
    is_stopping: bool,
}

impl Made {
    /// The same for one more poll of this shape.
    fn answer(&mut self, request: &PollRequest) -> Answer {
        let keep_alive = match request.answer_to {
            AnswerTo::Connection { keep_alive } => Some(keep_alive && !self.is_stopping),
            AnswerTo::Stream(_) => None,
        };
        if request.request_id.is_some() || self.response.status().as_u16() >= 400 {
            let mut response = self.response.clone();
            name_refusal(
                request.request_id.clone(),
                "the end of a poll",
                &mut response,
            );
            return match keep_alive {
                Some(keep_alive) => Answer::Encoded(encode_answer(response, keep_alive)),
                None => Answer::Whole(response),
            };
        }
        let Some(keep_alive) = keep_alive else {
            return Answer::Whole(self.response.clone());
        };
        let encoded = match self
            .encoded
            .take_if(|(for_more, _)| *for_more == keep_alive)
        {
            Some((_, encoded)) => encoded,
            None => encode_answer(self.response.clone(), keep_alive),
        };
        self.encoded = Some((keep_alive, encoded.clone()));
        Answer::Encoded(encoded)
    }
}
