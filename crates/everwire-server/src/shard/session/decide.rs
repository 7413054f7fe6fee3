//! What the application decides for a session: a command that it has to judge waits for that, and what came after it
//! waits behind it.
//!
//! ```text
//!  command ─▶ ask_for ─┬─ nothing to ask, or all is answered ─▶ carried out
//!                      └─ asked ─▶ parked ─ ─ mail: decided ─ ─▶ the same command again
//! ```
//!
//! So what one line publishes keeps its order, however long each decision takes, and no other line waits: the shard goes
//! on. One command of a session waits at a time. Behind it a WebSocket is not read, and requests stand in a queue that
//! is bounded. What is decided for a line that is gone meanwhile is dropped, and with it the command.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Bytes, BytesMut};
use everwire_channel::{ChannelName, Draft};
use everwire_websocket::MessageKind;
use everwire_wire::{Operation, Problem, ProblemKind, Publish};

use super::{
    super::{
        LineKey, Net, Shard,
        room::{NoRoom, Share},
        timers::{LineRef, Timer},
    },
    Speech,
    command::payload_of,
    input::Heard,
    remote::{Commands, Request},
};
use crate::{
    auth::{Caller, has_ended},
    config::Action,
    publish::{RawMessage, event_name, may_not},
    webhook::{Allowed, Decision, Desk, Evidence, Kind, Proposal, Question, ReplyTo},
};

/// What the application has to do with a session.
pub(crate) struct Asks {
    evidence: Evidence,
    /// What it answered about the command that is being carried out.
    answers: Vec<(Kind, Result<Arc<Allowed>, Problem>)>,
    /// What waits for the next answer.
    parked: Option<(Kind, Parked, Option<Share>)>,
    /// What it was asked last, until that is parked.
    asked: Option<Kind>,
    /// Requests behind the one that waits.
    queue: VecDeque<(Commands, Option<Share>)>,
    /// What the session has because the application said so.
    lent: Vec<Lent>,
}

/// What waits for an answer.
pub(crate) enum Parked {
    /// What came in on a WebSocket.
    Messages(Heard),
    /// What came in by a request.
    Request(Request),
}

/// A channel that a session reads because the application said so.
struct Lent {
    name: ChannelName,
    action: Action,
    /// Until when, in Unix milliseconds.
    ends_ms: Option<u64>,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It was carried out or refused.
    Answered,
    /// Nothing: the application was asked first.
    Waits,
}

impl Asks {
    /// Nothing was asked yet.
    pub fn new(evidence: Evidence) -> Self {
        Self {
            evidence,
            answers: Vec::new(),
            parked: None,
            asked: None,
            queue: VecDeque::new(),
            lent: Vec::new(),
        }
    }

    /// From now on the application is shown this credential.
    pub(super) fn show_token(&mut self, token: &str) {
        self.evidence.show_token(token);
    }
}

impl<N: Net> Shard<N> {
    /// Asks the application whatever has to be known for a command.
    pub(super) fn ask_for(
        &mut self,
        key: LineKey,
        operation: &Operation<'_>,
    ) -> Result<Done, Problem> {
        if self.asks(key).is_none() {
            return Ok(Done::Answered);
        }
        match operation {
            Operation::Subscribe(subscribe) => {
                let name = self.channel_name(key, subscribe.channel.clone())?;
                let done = self.ask_to(key, Action::Read, &name)?;
                match &subscribe.presence {
                    Some(_) if done == Done::Answered => self.ask_to(key, Action::Presence, &name),
                    Some(_) | None => Ok(done),
                }
            }
            Operation::History { channel, .. } => {
                let name = self.channel_name(key, channel.clone())?;
                self.ask_to(key, Action::Read, &name)
            }
            Operation::Presence { channel } => {
                let name = self.channel_name(key, channel.clone())?;
                self.ask_to(key, Action::Presence, &name)
            }
            Operation::Publish(publish) => self.ask_to_publish(key, publish),
            Operation::Authenticate { token } => self.ask_who(key, token),
            Operation::Unsubscribe { .. } | Operation::Ping => Ok(Done::Answered),
        }
    }

    /// What the application allowed for the command that is being carried out.
    pub(super) fn answer_to(&self, key: LineKey, kind: Kind) -> Option<Arc<Allowed>> {
        let mut answers = self.asks(key)?.answers.iter();
        let (_, answer) = answers.find(|(answered, _)| *answered == kind)?;
        answer.as_ref().ok().cloned()
    }

    /// The command was carried out, or will not be.
    pub(super) fn forget_answers(&mut self, key: LineKey) {
        if let Some(asks) = self.asks_mut(key) {
            asks.answers.clear();
        }
    }

    fn ask_to(
        &mut self,
        key: LineKey,
        action: Action,
        name: &ChannelName,
    ) -> Result<Done, Problem> {
        let kind = Kind::Do(action);
        if let Some(answered) = self.answered(key, kind) {
            return answered;
        }
        match self.has_to_ask(key, action, name) {
            Some((desk, evidence, caller)) => self.ask(
                key,
                &desk,
                Question::permit(action, &evidence, &caller, name),
            ),
            None => Ok(Done::Answered),
        }
    }

    fn ask_to_publish(&mut self, key: LineKey, publish: &Publish<'_>) -> Result<Done, Problem> {
        if let Some(answered) = self.answered(key, Kind::Do(Action::Publish)) {
            return answered;
        }
        let name = &self.channel_name(key, publish.channel.clone())?;
        let Some((desk, evidence, caller)) = self.has_to_ask(key, Action::Publish, name) else {
            return Ok(Done::Answered);
        };
        let shared = self.shared.clone();
        let publisher = shared.publisher(self.account(key)?, self.now_ms);
        publisher.admit()?;
        publisher.admit_to(name)?;
        let found = self.shared.hub.find(name, self.now_ms);
        let known = found.and_then(|channel| channel.lock().core().content_type().cloned());
        let (payload, content_type) = payload_of(publish.data, known)?;
        let session = self.session(key);
        let entry = Draft {
            payload,
            event: publish.event.as_deref().map(event_name).transpose()?,
            publisher: session.and_then(|session| session.publisher.clone()),
        };
        let proposal = Proposal {
            content_type: Some(&content_type),
            entries: &[entry],
            close: false,
        };
        let question = Question::publish(desk.settings(), &evidence, &caller, name, proposal)?;
        self.ask(key, &desk, question)
    }

    /// Asks who shows a credential that this server does not know.
    fn ask_who(&mut self, key: LineKey, token: &str) -> Result<Done, Problem> {
        if let Some(answered) = self.answered(key, Kind::Connect) {
            return answered;
        }
        let (Some(desk), Some(asks)) = (self.shared.live.desk.clone(), self.asks(key)) else {
            return Ok(Done::Answered);
        };
        let kind = self.shared.live.authority.kind_of(token);
        if !desk.settings().connect || !kind.is_passed_on(Some(desk.settings())) {
            return Ok(Done::Answered);
        }
        let mut evidence = asks.evidence.clone();
        evidence.show_token(token);
        self.ask(key, &desk, Question::connect(&evidence))
    }

    /// Publishes a message of a raw WebSocket, or asks whether it may be.
    pub(super) fn on_asked_message(
        &mut self,
        key: LineKey,
        kind: MessageKind,
        payload: &[u8],
    ) -> Result<Done, Problem> {
        let Some(session) = self.session(key) else {
            return Ok(Done::Answered);
        };
        let Some(read) = session.subscriptions.first() else {
            return Ok(Done::Answered);
        };
        let channel = self.feeds[read.feed as usize].channel.clone();
        if !self.lines[key as usize].rights.publish {
            return Err(may_not(channel.name()));
        }
        let shared = self.shared.clone();
        let publisher = shared.publisher(self.account(key)?, self.now_ms);
        let payload = Bytes::copy_from_slice(payload);
        let message = RawMessage::of(&channel, session.publisher.as_ref(), kind, payload)?;
        let publish = Kind::Do(Action::Publish);
        if self.answered(key, publish).is_none()
            && let Some((desk, evidence, caller)) =
                self.has_to_ask(key, Action::Publish, channel.name())
        {
            publisher.admit()?;
            publisher.admit_to(channel.name())?;
            let question = message.question(desk.settings(), (&evidence, &caller), &channel)?;
            if self.ask(key, &desk, question)? == Done::Waits {
                return Ok(Done::Waits);
            }
        }
        let answered = self.answered(key, publish);
        let allowed = self.answer_to(key, publish);
        self.forget_answers(key);
        answered.transpose()?;
        let message = match allowed {
            Some(allowed) => message.replaced_by(&allowed)?,
            // The rules are others now.
            None => {
                let session = self.session(key).ok_or_else(has_ended)?;
                let rules = &self.shared.live.rules;
                session
                    .caller
                    .permit(rules, Action::Publish, channel.name())?;
                message
            }
        };
        publisher
            .raw_message(&channel, message)
            .map(|()| Done::Answered)
    }

    /// What was answered to this about the command that is being carried out, if it was asked.
    fn answered(&self, key: LineKey, kind: Kind) -> Option<Result<Done, Problem>> {
        let mut answers = self.asks(key)?.answers.iter();
        let (_, answer) = answers.find(|(answered, _)| *answered == kind)?;
        Some(answer.clone().map(|_| Done::Answered))
    }

    /// What is needed to ask about this, if the application decides it for this session.
    fn has_to_ask(
        &self,
        key: LineKey,
        action: Action,
        name: &ChannelName,
    ) -> Option<(Arc<Desk>, Evidence, Caller)> {
        let desk = self.shared.live.desk.as_ref()?;
        let rules = &self.shared.live.rules;
        let caller = &self.session(key)?.caller;
        let has_to = rules.is_decided(action, name)
            && !caller.has_ended(self.now_ms)
            && !caller.permits(rules, action, name);
        let evidence = &self.asks(key)?.evidence;
        has_to.then(|| (desk.clone(), evidence.clone(), caller.clone()))
    }

    fn ask(&mut self, key: LineKey, desk: &Arc<Desk>, question: Question) -> Result<Done, Problem> {
        let kind = question.kind;
        let reply_to = ReplyTo::Line(self.mailbox.clone(), self.line_ref(key));
        let decided = desk.ask(question, reply_to);
        let now_ms = self.now_ms;
        let Some(asks) = self.asks_mut(key) else {
            return Ok(Done::Answered);
        };
        match decided {
            Some(decision) => {
                let answer = decision.permission(now_ms);
                asks.answers.push((kind, answer.clone()));
                answer.map(|_| Done::Answered)
            }
            None => {
                asks.asked = Some(kind);
                Ok(Done::Waits)
            }
        }
    }

    /// Has a command wait that was asked about.
    pub(super) fn set_aside(&mut self, key: LineKey, parked: Parked, room: Option<Share>) {
        if let Some(asks) = self.asks_mut(key)
            && let Some(kind) = asks.asked.take()
        {
            asks.parked = Some((kind, parked, room));
        }
    }

    /// The room for what waits, where it is more than a little.
    pub(super) fn room_for(&self, bytes: usize) -> Result<Option<Share>, Problem> {
        let bytes_max = self.shared.live.config.limits.kept_bytes_max;
        self.room.take(bytes, bytes_max).map_err(|NoRoom| {
            let detail = "no room for what waits for the application's decisions; send it again later, or in parts";
            Problem::new(ProblemKind::Overloaded, detail).at_limit("kept_bytes_max")
        })
    }

    /// Whether a command waits for an answer.
    pub(in super::super) fn is_parked(&self, key: LineKey) -> bool {
        self.asks(key).is_some_and(|asks| asks.parked.is_some())
    }

    /// Puts a request behind the one that waits.
    pub(super) fn queue(&mut self, key: LineKey, commands: Commands) {
        let desk = self.shared.live.desk.clone();
        let waiting_max = desk.map_or(0, |desk| desk.settings().session_waiting_max);
        let room = self.room_for(commands.content.len());
        let Some(asks) = self.asks_mut(key) else {
            return;
        };
        if asks.queue.len() < waiting_max {
            return match room {
                Ok(room) => asks.queue.push_back((commands, room)),
                Err(problem) => drop(commands.answer.send(Err(problem))),
            };
        }
        let detail = format!(
            "{waiting_max} requests of this session wait behind one that the application has to judge \
             (webhooks.session_waiting_max); wait for their answers"
        );
        let problem = Problem::new(ProblemKind::TooMany, detail).at_limit("session_waiting_max");
        let _ = commands.answer.send(Err(problem));
    }

    /// The request that has waited longest.
    pub(super) fn unqueue(&mut self, key: LineKey) -> Option<Commands> {
        let (commands, _room) = self.asks_mut(key)?.queue.pop_front()?;
        Some(commands)
    }

    /// The application has decided what a line waits for.
    pub(in super::super) fn on_decided(&mut self, line: LineRef, decision: Decision) {
        let now_ms = self.now_ms;
        let Some(key) = self.current(line) else {
            return;
        };
        let Some(asks) = self.asks_mut(key) else {
            return;
        };
        let Some((kind, parked, _room)) = asks.parked.take() else {
            return;
        };
        asks.answers.push((kind, decision.permission(now_ms)));
        match parked {
            Parked::Messages(heard) => self.hear_parked(key, heard),
            Parked::Request(request) => self.request_parked(key, request),
        }
    }

    /// Remembers until when a session has what it has just begun to read.
    pub(super) fn lend(&mut self, key: LineKey, name: &ChannelName) {
        self.give_back_lent(key, name);
        for action in [Action::Read, Action::Presence] {
            if let Some(allowed) = self.answer_to(key, Kind::Do(action)) {
                self.remember_lent(key, name, action, allowed.until_ms);
            }
        }
    }

    /// The same for the channel that its URL names, about which its request was asked.
    pub(super) fn lend_own(&mut self, key: LineKey, name: &ChannelName, ends_ms: Option<u64>) {
        let rules = &self.shared.live.rules;
        let is_lent = |action: &Action| {
            let session = self.session(key);
            rules.is_decided(*action, name)
                && session.is_some_and(|session| !session.caller.permits(rules, *action, name))
        };
        if is_lent(&Action::Read) {
            self.remember_lent(key, name, Action::Read, ends_ms);
        }
    }

    fn remember_lent(
        &mut self,
        key: LineKey,
        name: &ChannelName,
        action: Action,
        ends_ms: Option<u64>,
    ) {
        let now_ms = self.now_ms;
        if let Some(asks) = self.asks_mut(key) {
            asks.lent.push(Lent {
                name: name.clone(),
                action,
                ends_ms,
            });
            if let Some(ends_ms) = ends_ms {
                self.arm_line(key, ends_ms.saturating_sub(now_ms), Timer::lent);
            }
        }
    }

    pub(super) fn give_back_lent(&mut self, key: LineKey, name: &ChannelName) {
        if let Some(asks) = self.asks_mut(key) {
            asks.lent.retain(|lent| lent.name != *name);
        }
    }

    /// Whether a session has this because the application said so.
    pub(super) fn is_lent(&self, key: LineKey, action: Action, name: &ChannelName) -> bool {
        let is_it = |lent: &Lent| lent.action == action && lent.name == *name;
        self.asks(key)
            .is_some_and(|asks| asks.lent.iter().any(is_it))
    }

    /// Something that was lent may be over.
    pub(in super::super) fn on_lent(&mut self, key: LineKey) {
        let now_ms = self.now_ms;
        let Some(Speech::Messages(carrier)) = self.session(key).map(|session| session.speech)
        else {
            return;
        };
        let lent = self.asks(key).map_or(&[][..], |asks| &asks.lent);
        let is_over = |lent: &&Lent| lent.ends_ms.is_some_and(|ends_ms| ends_ms <= now_ms);
        let over: Vec<ChannelName> = lent
            .iter()
            .filter(is_over)
            .map(|lent| lent.name.clone())
            .collect();
        let mut notices = BytesMut::new();
        for name in over {
            // Who had both has lost both with the first.
            if self.is_lent(key, Action::Read, &name) || self.is_lent(key, Action::Presence, &name)
            {
                self.give_back_lent(key, &name);
                self.take_away(key, &name, (carrier, LENT_IS_OVER), &mut notices);
            }
        }
        if !notices.is_empty() {
            self.reply(key, &notices);
        }
    }

    fn asks(&self, key: LineKey) -> Option<&Asks> {
        self.session(key)?.asks.as_deref()
    }

    fn asks_mut(&mut self, key: LineKey) -> Option<&mut Asks> {
        self.session_mut(key)?.asks.as_deref_mut()
    }
}

/// Why a channel that the application let a session read is read no longer.
const LENT_IS_OVER: &str = "the time is over for which the application permitted it; subscribe again to have it asked again";
