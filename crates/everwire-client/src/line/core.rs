//! A line without IO: its wires, its course, its queue and its channels.

mod channels;
mod follow;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use everwire_channel::PublisherId;
use http::Request;

pub(crate) use self::channels::Taken;
pub use self::channels::Update;
use self::follow::Follow;
use super::command::{Command, Snapshot};
use super::course::{Course, Effect, Event, Moment, Stage, WireEvent};
use super::ending::Ending;
use super::outbox::{Outbox, Ticket};
use super::reading;
use super::wire::{Carrier, Happened, Lane, Opening, Told};
use super::{AskError, LineStatus, Publication, SubscribeError};
use crate::decode::session::{Message, Reply};
use crate::{LineOptions, LineWire, ServerUrl};

/// One line, as a program sees it and as its transports do.
///
/// ```text
///  program    ─▶ subscribe, ask, take … ─┐          ┌─▶ poll_act()     what the shell does
///  transports ─▶ handle ─────────────────┼─▶ Core ──┼─▶ poll_answer()  of publications and questions
///  clock      ─▶ handle_timeout ─────────┘          ├─▶ poll_ready()   which readings have updates
///                                                   └─▶ wake_at()      the next deadline
/// ```
pub(crate) struct Core {
    options: LineOptions,
    url: ServerUrl,
    publisher: PublisherId,
    /// How chance falls, from 0 up to 1.
    chance: Chance,
    key_prefix: String,
    last_key: u64,
    token: Option<String>,
    course: Course,
    wires: HashMap<u64, Carrier>,
    outbox: Outbox,
    follows: HashMap<ReadingId, Follow>,
    by_name: HashMap<String, ReadingId>,
    last_reading: u64,
    /// When to subscribe again where the server refused for now.
    retries: BTreeSet<(Instant, ReadingId)>,
    /// What was sent on this line and not answered, by number.
    asked: HashMap<u64, Asked>,
    last_id: u64,
    /// Commands that go out together, since over HTTP each sending is a request.
    outgoing: Vec<String>,
    /// How many subscriptions of a channel were asked for on this line, and neither began nor were refused.
    unbegun: HashMap<String, u32>,
    acts: VecDeque<Act>,
    ready: VecDeque<ReadingId>,
    /// Readings of which much waits to be taken.
    pressed: HashSet<ReadingId>,
    /// There are none of these any more, and the shell does not know.
    relieved: bool,
    /// Messages of no channel that could not be read.
    unreadable: u64,
}

pub(crate) type Chance = Box<dyn FnMut() -> f64 + Send>;

/// What the shell does.
#[derive(Debug)]
pub(crate) enum Act {
    /// Open this wire and send its first request.
    Open {
        serial: u64,
        wire: LineWire,
        request: Request<Bytes>,
    },
    /// Send a request on a lane of a wire.
    Request {
        serial: u64,
        lane: Lane,
        request: Request<Bytes>,
    },
    /// Send a text message on a WebSocket.
    Text { serial: u64, text: String },
    /// Let go of a wire, and send a last request on a connection of its own.
    Close {
        serial: u64,
        code: u16,
        farewell: Option<Request<Bytes>>,
    },
    /// Ask the program for a token.
    FetchToken,
}

/// Names a reading of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ReadingId(u64);

/// What a command was about that the line itself sent.
#[derive(Debug)]
enum Asked {
    Ticket(Ticket),
    Subscribe(ReadingId, String),
    Unsubscribe,
    Members(ReadingId),
    Authenticate,
}

impl Core {
    /// A line to a server, which starts at once. `secret` makes keys of publications that nobody can guess.
    pub fn new(
        url: ServerUrl,
        mut options: LineOptions,
        with_token: bool,
        publisher: PublisherId,
        key_prefix: String,
        chance: Chance,
        now: Instant,
    ) -> Self {
        if options.wires.is_empty() {
            options.wires = LineWire::ALL.to_vec();
        }
        let mut core = Self {
            course: Course::new(&options, with_token, now),
            options,
            url,
            publisher,
            chance,
            key_prefix,
            last_key: 0,
            token: None,
            wires: HashMap::new(),
            outbox: Outbox::default(),
            follows: HashMap::new(),
            by_name: HashMap::new(),
            last_reading: 0,
            retries: BTreeSet::new(),
            asked: HashMap::new(),
            last_id: 0,
            outgoing: Vec::new(),
            unbegun: HashMap::new(),
            acts: VecDeque::new(),
            ready: VecDeque::new(),
            pressed: HashSet::new(),
            relieved: false,
            unreadable: 0,
        };
        core.step(Event::Start, now);
        core
    }

    /// Publishes, under a key of this line if the publication has none.
    pub fn publish(&mut self, channel: &str, publication: &Publication, now: Instant) -> Ticket {
        let key = publication.key.clone().unwrap_or_else(|| {
            self.last_key += 1;
            format!("{}-{}", self.key_prefix, self.last_key)
        });
        match Command::publish(channel, publication, &key) {
            Ok(command) => self.ask(command, now),
            Err(error) => self.outbox.refuse(error),
        }
    }

    /// Sends a command that has to be answered once.
    pub fn ask(&mut self, command: Command, now: Instant) -> Ticket {
        if let Stage::Closed(error) = &self.course.stage {
            let error = error.clone().map_or(AskError::Closed, AskError::Line);
            return self.outbox.refuse(error);
        }
        let ticket = self.outbox.add(command, &self.options, now);
        self.flush(now);
        ticket
    }

    /// Nobody waits for this answer any more.
    pub fn forget(&mut self, ticket: Ticket) {
        self.outbox.forget(ticket);
    }

    /// The platform tells that the network came back.
    pub fn wake(&mut self, now: Instant) {
        self.step(Event::Wake, now);
    }

    /// The program ends the line.
    pub fn close(&mut self, now: Instant) {
        self.step(Event::Close, now);
    }

    /// A token was fetched, with how long it lives if that is known, or could not be.
    pub fn handle_token(
        &mut self,
        token: Result<(String, Option<Duration>), String>,
        now: Instant,
    ) {
        match token {
            Ok((token, lifetime)) => {
                self.token = Some(token);
                self.step(Event::Token { lifetime }, now);
            }
            Err(reason) => self.step(Event::TokenFailed { reason }, now),
        }
    }

    /// Something happened on the transport of a wire.
    pub fn handle(&mut self, serial: u64, happened: Happened, now: Instant) {
        let Some(carrier) = self.wires.get_mut(&serial) else {
            return;
        };
        let told = carrier.handle(happened);
        self.on_told(serial, told, now);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.outbox.handle_timeout(&self.options, now);
        while let Some((at, id)) = self.retries.first().copied()
            && at <= now
        {
            self.retries.remove(&(at, id));
            if let Some(follow) = self.follows.get_mut(&id) {
                follow.retry_at = None;
            }
            self.settle(id, now);
        }
        self.flush(now);
        self.step(Event::Tick, now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn wake_at(&self) -> Option<Instant> {
        let retry = self.retries.first().map(|(at, _)| *at);
        [self.course.wake_at(), self.outbox.wake_at(), retry]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next thing to do.
    pub fn poll_act(&mut self) -> Option<Act> {
        self.relieved = false;
        if self.acts.is_empty()
            && !self.outgoing.is_empty()
            && let Stage::Open(open) = &self.course.stage
        {
            let commands = std::mem::take(&mut self.outgoing);
            self.send(open.serial, commands);
        }
        self.acts.pop_front()
    }

    /// Whether the shell has something to do.
    pub fn has_news(&self) -> bool {
        !self.acts.is_empty() || !self.outgoing.is_empty() || self.relieved
    }

    /// Whether much waits to be taken somewhere. If the shell brings no more for a moment, who takes it may
    /// catch up, and the channel need not be left.
    pub fn is_pressed(&self) -> bool {
        !self.pressed.is_empty()
    }

    /// The next answer: the `ok` of a reply as JSON.
    pub fn poll_answer(&mut self) -> Option<(Ticket, Result<String, AskError>)> {
        self.outbox.poll_answer()
    }

    /// The next reading with something to take.
    pub fn poll_ready(&mut self) -> Option<ReadingId> {
        self.ready.pop_front()
    }

    /// How many messages of no channel could not be read.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    pub fn status(&self) -> LineStatus {
        match &self.course.stage {
            Stage::Authorizing { .. } | Stage::Connecting { .. } => LineStatus::Connecting,
            Stage::Open(open) => LineStatus::Open {
                wire: open.wire,
                reason: open.reason.clone(),
            },
            Stage::Waiting { until, reason, .. } => LineStatus::Waiting {
                until: *until,
                reason: reason.clone(),
            },
            Stage::Closed(error) => LineStatus::Closed(error.clone()),
        }
    }

    fn step(&mut self, event: Event, now: Instant) {
        let at = Moment {
            now,
            roll: (self.chance)(),
            options: &self.options,
        };
        let course = Course {
            facts: self.course.facts.clone(),
            stage: Stage::Closed(None),
        };
        let course = std::mem::replace(&mut self.course, course);
        let (course, effects) = course.step(event, &at);
        self.course = course;
        for effect in effects {
            self.carry_out(effect, now);
        }
    }

    fn carry_out(&mut self, effect: Effect, now: Instant) {
        match effect {
            Effect::Open { wire, serial } => {
                let opening = Opening {
                    url: self.url.clone(),
                    publisher: self.publisher.clone(),
                    token: self.token.clone(),
                    poll: self.options.heartbeat,
                    message_bytes_max: self.options.message_bytes_max,
                };
                let (carrier, request) = Carrier::open(wire, &opening);
                self.wires.insert(serial, carrier);
                self.acts.push_back(Act::Open {
                    serial,
                    wire,
                    request,
                });
            }
            Effect::Close { serial, code } => {
                if let Some(carrier) = self.wires.remove(&serial) {
                    let farewell = carrier.farewell();
                    self.acts.push_back(Act::Close {
                        serial,
                        code,
                        farewell,
                    });
                }
            }
            Effect::Ping { serial } if self.is_current(serial) => {
                self.command(Command::ping().numbered(PING), now);
            }
            // On trial beside the line.
            Effect::Ping { serial } => self.send(serial, vec![Command::ping().numbered(PING)]),
            Effect::FetchToken => self.acts.push_back(Act::FetchToken),
            Effect::Authenticate => {
                let token = self.token.as_deref().unwrap_or_default();
                let command = Command::authenticate(token);
                self.ask_for(Asked::Authenticate, &command, now);
            }
            Effect::Suspend => {
                self.outgoing.clear();
                self.asked.clear();
                self.unbegun.clear();
                self.outbox.suspend();
                for id in self.all_readings() {
                    self.read(id, reading::Event::Lost, now);
                }
            }
            Effect::Resume => {
                for id in self.all_readings() {
                    self.settle(id, now);
                }
                self.flush(now);
                // Something has to be answered, or nothing would tell that the way up is open.
                if self.outgoing.is_empty() {
                    self.command(Command::ping().numbered(PING), now);
                }
            }
            Effect::Finish => {
                let error = match &self.course.stage {
                    Stage::Closed(error) => error.clone(),
                    _ => None,
                };
                self.outgoing.clear();
                for id in self.all_readings() {
                    self.end(id, error.clone().map(SubscribeError::Line));
                }
                self.outbox.fail(error.as_ref());
            }
        }
    }

    fn on_told(&mut self, serial: u64, told: Vec<Told>, now: Instant) {
        for told in told {
            // What one message sets off may be the end of its wire.
            if !self.wires.contains_key(&serial) {
                return;
            }
            match told {
                Told::Heard => self.step(Event::Wire(serial, WireEvent::Heard), now),
                Told::Message(message) => self.on_message(serial, message, now),
                Told::Request(lane, request) => self.acts.push_back(Act::Request {
                    serial,
                    lane,
                    request,
                }),
                Told::Text(text) => self.acts.push_back(Act::Text { serial, text }),
                Told::Ended(ending) => {
                    self.wires.remove(&serial);
                    self.acts.push_back(Act::Close {
                        serial,
                        code: 1000,
                        farewell: None,
                    });
                    if ending == Ending::Oversized && self.is_current(serial) {
                        self.outbox.drop_longest();
                    }
                    self.step(Event::Wire(serial, WireEvent::Ended(ending)), now);
                }
            }
        }
    }

    fn on_message(&mut self, serial: u64, message: Message, now: Instant) {
        let is_current = self.is_current(serial);
        let (channel, event) = match message {
            Message::Welcome(welcome) => {
                let heartbeat = welcome.heartbeat();
                return self.step(Event::Wire(serial, WireEvent::Welcome { heartbeat }), now);
            }
            Message::Drain(after) => {
                return self.step(Event::Wire(serial, WireEvent::Drain { after }), now);
            }
            Message::Reply(reply) => {
                if is_current {
                    self.on_reply(reply, now);
                }
                let more = !self.asked.is_empty();
                return self.step(Event::Wire(serial, WireEvent::Answered { more }), now);
            }
            Message::Ping => return,
            Message::Entry { channel, entry } => {
                if let Some(id) = self.by_name.get(&channel).copied()
                    && is_current
                {
                    self.on_entry(id, entry, now);
                }
                return;
            }
            Message::Unreadable {
                channel,
                unreadable,
            } => {
                let channel = channel.unwrap_or_default();
                match self.by_name.get(&channel).copied() {
                    Some(id) if is_current => self.on_unreadable(id, unreadable, now),
                    _ => self.unreadable += 1,
                }
                return;
            }
            Message::Subscribed { channel, offset } => {
                if is_current {
                    self.on_subscribed(&channel, offset, now);
                }
                return;
            }
            Message::Gap { channel, gap, log } => (channel, reading::Event::Gap(gap, log)),
            Message::Presence { channel, change } => (channel, reading::Event::Change(change)),
            Message::Closed { channel } => {
                if let Some(id) = self.live(&channel, is_current) {
                    self.end(id, None);
                }
                return;
            }
            Message::Revoked { channel, detail } => {
                if let Some(id) = self.live(&channel, is_current) {
                    self.end(id, Some(SubscribeError::Revoked { detail }));
                }
                return;
            }
        };
        if let Some(id) = self.by_name.get(&channel).copied()
            && is_current
        {
            self.read(id, event, now);
        }
    }

    fn on_reply(&mut self, Reply { re, outcome }: Reply, now: Instant) {
        match (self.asked.remove(&re), outcome) {
            (Some(Asked::Ticket(ticket)), outcome) => {
                let roll = (self.chance)();
                let outcome = outcome.as_deref().map_err(Clone::clone);
                (self.outbox).on_reply(ticket, outcome, &self.options, roll, now);
                // The reply may have made room in the window.
                self.flush(now);
            }
            (Some(Asked::Subscribe(id, channel)), outcome) => {
                self.on_joined((id, &channel), outcome, now);
            }
            (Some(Asked::Members(id)), outcome) => {
                let snapshot = outcome
                    .ok()
                    .and_then(|ok| serde_json::from_str::<Snapshot>(&ok).ok());
                self.read(id, reading::Event::Roster(snapshot), now);
            }
            (Some(Asked::Authenticate), Err(refused)) => {
                let reason = format!("the fresh token was refused: {}", refused.problem);
                self.step(Event::TokenRefused { reason }, now);
            }
            (Some(Asked::Authenticate), Ok(_)) | (Some(Asked::Unsubscribe) | None, _) => {}
        }
    }

    fn flush(&mut self, now: Instant) {
        while matches!(self.course.stage, Stage::Open(_))
            && let Some((ticket, command)) = self.outbox.poll_send(now)
        {
            self.ask_for(Asked::Ticket(ticket), &command, now);
        }
    }

    /// Sends a command whose reply is about this.
    fn ask_for(&mut self, asked: Asked, command: &Command, now: Instant) {
        self.last_id += 1;
        self.asked.insert(self.last_id, asked);
        self.command(command.numbered(self.last_id), now);
    }

    fn command(&mut self, text: String, now: Instant) {
        self.outgoing.push(text);
        self.step(Event::Asked, now);
    }

    fn send(&mut self, serial: u64, commands: Vec<String>) {
        let Some(carrier) = self.wires.get_mut(&serial) else {
            return;
        };
        for told in carrier.send(commands) {
            match told {
                Told::Request(lane, request) => self.acts.push_back(Act::Request {
                    serial,
                    lane,
                    request,
                }),
                Told::Text(text) => self.acts.push_back(Act::Text { serial, text }),
                Told::Message(_) | Told::Heard | Told::Ended(_) => {}
            }
        }
    }

    fn is_current(&self, serial: u64) -> bool {
        matches!(&self.course.stage, Stage::Open(open) if open.serial == serial)
    }
}

/// The number of pings, whose replies nobody waits for by number.
const PING: u64 = 0;

#[cfg(test)]
mod tests;
