//! What the application decides for a session: a command that it has to judge waits for that, and what came after it
//! waits behind it.
//!
//! ```text
//!  command ─▶ ask_for ─┬─ nothing to ask, or all is answered ─▶ carried out
//!                      └─ asked ─▶ parked ─ ─ mail: decided ─ ─▶ the same command again, with the answer
//! ```
//!
//! An answer is about one thing on one channel, and belongs to the command that was asked about: it travels with that
//! command, and is an argument of all that carries it out. A session keeps none, so that a timer, a reload or a
//! revocation that comes meanwhile judges it by its own rights alone.
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
        LineKey, Mail, Net, Shard,
        room::Share,
        timers::{End, LineRef, Timer},
    },
    Speech,
    command::payload_of,
    input::Heard,
    remote::{Commands, Request},
};
use crate::{
    auth::Caller,
    config::Action,
    payload_type::PayloadType,
    publish::{Admitted, RawMessage, event_name, may_not},
    webhook::{Allowed, Decision, Desk, Evidence, Proposal, Question, ReplyTo},
};

/// What the application has to do with a session.
pub(crate) struct Asks {
    evidence: Evidence,
    /// What waits for the next answer.
    parked: Option<Waiting>,
    /// Requests behind the one that waits.
    queue: VecDeque<(Commands, Option<Share>)>,
    /// What the session has because the application said so.
    lent: Vec<Lent>,
}

/// A command that waits, and for what.
struct Waiting {
    subject: Subject,
    /// What was answered about it before.
    answers: Answers,
    parked: Parked,
    _room: Option<Share>,
}

/// What one answer is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// Who the caller is.
    Connect,
    /// Whether this may be done on this channel.
    Do(Action, ChannelName),
}

/// What the application answered about one command.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    given: Vec<(Subject, Result<Arc<Allowed>, Problem>)>,
    /// The append for which it was asked, which was charged before.
    admitted: Option<Admitted>,
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
    /// Until when.
    end: Option<End>,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It was carried out or refused.
    Answered,
    /// Nothing: the application was asked this first.
    Waits(Subject),
}

impl Answers {
    /// Nothing was asked.
    pub const NONE: Self = Self {
        given: Vec::new(),
        admitted: None,
    };

    /// Whether nothing was asked.
    pub(super) fn is_none(&self) -> bool {
        self.given.is_empty()
    }

    /// The append that was charged before the application was asked, once.
    pub(super) fn take_admitted(&mut self) -> Option<Admitted> {
        self.admitted.take()
    }

    /// What goes with the permission to do this on this channel.
    pub(super) fn allowed(&self, action: Action, name: &ChannelName) -> Option<&Arc<Allowed>> {
        let (_, answer) = self.given.iter().find(|(subject, _)| match subject {
            Subject::Do(asked, channel) => *asked == action && channel == name,
            Subject::Connect => false,
        })?;
        answer.as_ref().ok()
    }

    /// What was said of who shows the credential that the command brings.
    pub(super) fn introduced(&self) -> Option<&Arc<Allowed>> {
        let mut answers = self.given.iter();
        let (_, answer) = answers.find(|(subject, _)| *subject == Subject::Connect)?;
        answer.as_ref().ok()
    }

    /// What was answered to this, if it was asked.
    fn answered(&self, subject: &Subject) -> Option<Result<Done, Problem>> {
        let (_, answer) = (self.given.iter()).find(|(asked, _)| asked == subject)?;
        Some(answer.clone().map(|_| Done::Answered))
    }
}

impl Asks {
    /// Nothing was asked yet.
    pub fn new(evidence: Evidence) -> Self {
        Self {
            evidence,
            parked: None,
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
        answers: &mut Answers,
    ) -> Result<Done, Problem> {
        if self.asks(key).is_none() {
            return Ok(Done::Answered);
        }
        match operation {
            Operation::Subscribe(subscribe) => {
                let name = self.channel_name(key, subscribe.channel.clone())?;
                let done = self.ask_to(key, Action::Read, &name, answers)?;
                match &subscribe.presence {
                    Some(_) if done == Done::Answered => {
                        self.ask_to(key, Action::Presence, &name, answers)
                    }
                    Some(_) | None => Ok(done),
                }
            }
            Operation::History { channel, .. } => {
                let name = self.channel_name(key, channel.clone())?;
                self.ask_to(key, Action::Read, &name, answers)
            }
            Operation::Presence { channel } => {
                let name = self.channel_name(key, channel.clone())?;
                self.ask_to(key, Action::Presence, &name, answers)
            }
            Operation::Publish(publish) => self.ask_to_publish(key, publish, answers),
            Operation::Authenticate { token } => self.ask_who(key, token, answers),
            Operation::Unsubscribe { .. } | Operation::Ping => Ok(Done::Answered),
        }
    }

    fn ask_to(
        &mut self,
        key: LineKey,
        action: Action,
        name: &ChannelName,
        answers: &mut Answers,
    ) -> Result<Done, Problem> {
        let subject = Subject::Do(action, name.clone());
        if let Some(answered) = answers.answered(&subject) {
            return answered;
        }
        match self.has_to_ask(key, action, name) {
            Some((desk, evidence, caller)) => {
                let question = Question::permit(action, &evidence, &caller, name);
                self.ask(key, &desk, question, subject, answers)
            }
            None => Ok(Done::Answered),
        }
    }

    fn ask_to_publish(
        &mut self,
        key: LineKey,
        publish: &Publish<'_>,
        answers: &mut Answers,
    ) -> Result<Done, Problem> {
        let name = &self.channel_name(key, publish.channel.clone())?;
        let subject = Subject::Do(Action::Publish, name.clone());
        if let Some(answered) = answers.answered(&subject) {
            return answered;
        }
        let Some((desk, evidence, caller)) = self.has_to_ask(key, Action::Publish, name) else {
            return Ok(Done::Answered);
        };
        let shared = self.shared.clone();
        let publisher = shared.publisher(self.account(key)?, self.now_ms);
        answers.admitted = Some(publisher.admit(name)?);
        let found = self.shared.hub.find(name, self.now_ms);
        let known = PayloadType::stated_for(found.as_ref());
        let (payload, payload_type) = payload_of(publish.data, known)?;
        let session = self.session(key);
        let entry = Draft {
            payload,
            kind: payload_type.own_kind(),
            event: publish.event.as_deref().map(event_name).transpose()?,
            publisher: session.and_then(|session| session.publisher.clone()),
        };
        let proposal = Proposal {
            content_type: Some(payload_type.media_type()),
            entries: &[entry],
            close: false,
        };
        let question = Question::publish(desk.settings(), &evidence, &caller, name, proposal)?;
        self.ask(key, &desk, question, subject, answers)
    }

    /// Asks who shows a credential that this server does not know.
    fn ask_who(
        &mut self,
        key: LineKey,
        token: &str,
        answers: &mut Answers,
    ) -> Result<Done, Problem> {
        if let Some(answered) = answers.answered(&Subject::Connect) {
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
        let question = Question::connect(&evidence);
        self.ask(key, &desk, question, Subject::Connect, answers)
    }

    /// Publishes a message of a raw WebSocket, or asks whether it may be.
    pub(super) fn on_asked_message(
        &mut self,
        key: LineKey,
        kind: MessageKind,
        payload: &[u8],
        answers: &mut Answers,
    ) -> Result<Done, Problem> {
        let Some(session) = self.session(key) else {
            return Ok(Done::Answered);
        };
        let Some(read) = session.subscriptions.first() else {
            return Ok(Done::Answered);
        };
        let channel = self.feeds[read.feed].channel.clone();
        if !self.lines[key].rights.publish {
            return Err(may_not(channel.name()));
        }
        let shared = self.shared.clone();
        let publisher = shared.publisher(self.account(key)?, self.now_ms);
        let payload = Bytes::copy_from_slice(payload);
        let message = RawMessage::of(&channel, session.publisher.as_ref(), kind, payload)?;
        let subject = Subject::Do(Action::Publish, channel.name().clone());
        if answers.answered(&subject).is_none()
            && let Some((desk, evidence, caller)) =
                self.has_to_ask(key, Action::Publish, channel.name())
        {
            answers.admitted = Some(publisher.admit(channel.name())?);
            let question = message.question(desk.settings(), (&evidence, &caller), &channel)?;
            let done = self.ask(key, &desk, question, subject.clone(), answers)?;
            if let Done::Waits(_) = done {
                return Ok(done);
            }
        }
        answers.answered(&subject).transpose()?;
        let allowed = answers.allowed(Action::Publish, channel.name());
        let message = match allowed {
            Some(allowed) => message.replaced_by(allowed)?,
            None => message,
        };
        self.permit(key, Action::Publish, channel.name(), answers)?;
        let admitted = match answers.take_admitted() {
            Some(admitted) => admitted,
            None => publisher.admit(channel.name())?,
        };
        publisher
            .raw_message(&channel, message, admitted)
            .map(|()| Done::Answered)
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

    fn ask(
        &mut self,
        key: LineKey,
        desk: &Arc<Desk>,
        question: Question,
        subject: Subject,
        answers: &mut Answers,
    ) -> Result<Done, Problem> {
        let (mailbox, line) = (self.mailbox.clone(), self.line_ref(key));
        let leave = move |decision| mailbox.post(Mail::Decided(line, decision));
        let reply_to = ReplyTo::Elsewhere(Box::new(leave));
        match desk.ask(question, self.account(key)?, reply_to) {
            Some(decision) => {
                let answer = decision.permission(self.now_ms);
                answers.given.push((subject, answer.clone()));
                answer.map(|_| Done::Answered)
            }
            None => Ok(Done::Waits(subject)),
        }
    }

    /// Has a command wait for what was asked about it.
    pub(super) fn set_aside(
        &mut self,
        key: LineKey,
        (subject, answers): (Subject, Answers),
        parked: Parked,
        room: Option<Share>,
    ) {
        if let Some(asks) = self.asks_mut(key) {
            asks.parked = Some(Waiting {
                subject,
                answers,
                parked,
                _room: room,
            });
        }
    }

    /// Whether a command waits for an answer.
    pub(in super::super) fn is_parked(&self, key: LineKey) -> bool {
        self.asks(key).is_some_and(|asks| asks.parked.is_some())
    }

    /// Puts a request behind the one that waits.
    pub(super) fn queue(&mut self, key: LineKey, commands: Commands) {
        let desk = self.shared.live.desk.clone();
        let waiting_max = desk.map_or(0, |desk| desk.settings().session_waiting_max);
        let room = self.room_for(key, commands.content.bytes.len());
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
        let Some(waiting) = asks.parked.take() else {
            return;
        };
        let Waiting {
            subject,
            mut answers,
            parked,
            _room,
        } = waiting;
        answers.given.push((subject, decision.permission(now_ms)));
        match parked {
            Parked::Messages(heard) => self.hear_parked(key, heard, answers),
            Parked::Request(request) => self.request_parked(key, request, answers),
        }
    }

    /// Remembers until when a session has what it has just begun to read.
    pub(super) fn lend(&mut self, key: LineKey, name: &ChannelName, answers: &Answers) {
        self.give_back_lent(key, name);
        for action in [Action::Read, Action::Presence] {
            if let Some(allowed) = answers.allowed(action, name) {
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
        let end = ends_ms.map(|ends_ms| self.end_at(ends_ms));
        if let Some(asks) = self.asks_mut(key) {
            asks.lent.push(Lent {
                name: name.clone(),
                action,
                end,
            });
            if let Some(end) = end {
                self.arm_end(key, end, Timer::lent);
            }
        }
    }

    pub(super) fn give_back_lent(&mut self, key: LineKey, name: &ChannelName) {
        if let Some(asks) = self.asks_mut(key) {
            asks.lent.retain(|lent| lent.name != *name);
        }
    }

    /// Whether a session has this because the application said so, and that is still to decide it.
    pub(super) fn is_lent(&self, key: LineKey, action: Action, name: &ChannelName) -> bool {
        let is_it = |lent: &Lent| lent.action == action && lent.name == *name;
        let asks = self.asks(key);
        asks.is_some_and(|asks| asks.lent.iter().any(is_it))
            && self.shared.live.rules.is_decided(action, name)
    }

    /// Something that was lent may be over.
    pub(in super::super) fn on_lent(&mut self, key: LineKey) {
        let Some(Speech::Messages(carrier)) = self.session(key).map(|session| session.speech)
        else {
            return;
        };
        let lent = self.asks(key).map_or(&[][..], |asks| &asks.lent);
        let is_over = |lent: &&Lent| lent.end.is_some_and(|end| self.has_come(end));
        let over: Vec<ChannelName> = lent
            .iter()
            .filter(is_over)
            .map(|lent| lent.name.clone())
            .collect();
        let mut notices = BytesMut::new();
        for name in over {
            // Who had both has lost both with the first.
            let has_it = [Action::Read, Action::Presence]
                .into_iter()
                .any(|action| self.is_lent(key, action, &name));
            self.give_back_lent(key, &name);
            if has_it {
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
