//! Lines in a world of their own, and what their users see.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant, UNIX_EPOCH};

use everwire_channel::PublisherId;
use serde_json::Value;

use super::network::Network;
use super::server::{Server, token};
use crate::line::core::{Act, Core, ReadingId, Taken, Update};
use crate::line::course::Stage;
use crate::line::credential;
use crate::line::outbox::Ticket;
use crate::{
    AskError, Data, LineError, LineOptions, LineWire, Publication, Start, SubscribeError,
    SubscribeOptions, Unreadable,
};

pub(super) struct World {
    pub now: Duration,
    pub server: Server,
    pub network: Network,
    /// How chance falls, for all lines.
    pub roll: f64,
    /// How many tokens were fetched.
    pub tokens: u32,
    /// The wires that lines ran over, in order.
    pub wires: Vec<LineWire>,
    /// What came of publications, in the order of their outcomes.
    pub outcomes: Vec<String>,
    /// The answers to questions.
    pub answers: HashMap<Ticket, Result<String, AskError>>,
    /// What users saw of channels.
    pub seen: BTreeMap<String, Seen>,
    lines: Vec<Line>,
    began: Instant,
}

/// What the user of a channel saw.
#[derive(Default)]
pub(super) struct Seen {
    pub entries: Vec<Value>,
    pub unreadable: Vec<Unreadable>,
    pub gaps: u32,
    pub presence: Vec<String>,
    pub ended: Option<String>,
}

struct Line {
    core: Core,
    token_life: Option<Duration>,
    serial: u64,
    readings: HashMap<String, ReadingId>,
    /// Channels of which everything is taken at once.
    taken: HashSet<String>,
    /// Where readings were left.
    left: HashMap<String, Start>,
    published: Vec<Ticket>,
}

impl World {
    pub fn new() -> Self {
        Self {
            now: Duration::ZERO,
            server: Server::new(),
            network: Network::default(),
            roll: 0.5,
            tokens: 0,
            wires: Vec::new(),
            outcomes: Vec::new(),
            answers: HashMap::new(),
            seen: BTreeMap::new(),
            lines: Vec::new(),
            began: Instant::now(),
        }
    }

    /// Opens a line; what others follows is about this one.
    pub fn connect(&mut self, mut options: LineOptions, token_life: Option<Duration>) {
        self.server.wants_token = token_life.is_some();
        // What a program remembers for its next visit.
        options.first_wire = options.first_wire.or(self.wires.last().copied());
        let publisher = format!("p{}", self.lines.len());
        let now = self.instant();
        let core = Core::new(
            "http://h".parse().unwrap(),
            options,
            token_life.is_some(),
            PublisherId::new(&publisher).unwrap(),
            publisher,
            Box::new(|| 0.5),
            now,
        );
        self.lines.push(Line {
            core,
            token_life,
            serial: 0,
            readings: HashMap::new(),
            taken: HashSet::new(),
            left: HashMap::new(),
            published: Vec::new(),
        });
        self.pump();
    }

    /// Reads a channel, and takes whatever comes at once.
    pub fn subscribe(&mut self, channel: &str, options: SubscribeOptions) {
        self.seen.entry(channel.to_owned()).or_default();
        self.line().taken.insert(channel.to_owned());
        self.hold(channel, options);
    }

    /// Reads a channel; updates wait until they are taken. One that was left is read on from there, as a program
    /// does that remembers the offset.
    pub fn hold(&mut self, channel: &str, mut options: SubscribeOptions) {
        let now = self.instant();
        let line = self.line();
        if let Some(start) = line.left.remove(channel) {
            options.start = start;
        }
        let id = line.core.subscribe(channel, options, now).unwrap();
        line.readings.insert(channel.to_owned(), id);
        self.pump();
    }

    /// Takes the next entry of a channel that is held.
    pub fn take(&mut self, channel: &str) -> Option<Value> {
        let now = self.instant();
        let line = self.line();
        let taken = line.core.take(line.readings[channel], now);
        self.pump();
        match taken {
            Taken::Update(Update::Entry(entry)) => Some(value(&entry.data)),
            Taken::Update(_) | Taken::Pending | Taken::Ended(_) => None,
        }
    }

    pub fn unsubscribe(&mut self, channel: &str) {
        let now = self.instant();
        let line = self.line();
        if let Some(id) = line.readings.remove(channel) {
            let start = line.core.follows[&id].reading.start.clone();
            line.left.insert(channel.to_owned(), start);
            line.core.unsubscribe(id, now);
        }
        self.pump();
    }

    pub fn publish(&mut self, channel: &str, data: &Value) {
        let now = self.instant();
        let publication = Publication::json(data).unwrap();
        let line = self.line();
        let ticket = line.core.publish(channel, &publication, now);
        line.published.push(ticket);
        self.pump();
    }

    /// Does something with the line.
    pub fn with<T>(&mut self, act: impl FnOnce(&mut Core, Instant) -> T) -> T {
        let now = self.instant();
        let result = act(&mut self.line().core, now);
        self.pump();
        result
    }

    /// Does something with the server, and sends on what came of it.
    pub fn serve<T>(&mut self, act: impl FnOnce(&mut Server) -> T) -> T {
        let result = act(&mut self.server);
        self.network.route(&mut self.server, self.now);
        result
    }

    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let wake_at = (0..self.lines.len())
                .filter_map(|line| Some((self.lines[line].core.wake_at()?, line)))
                .min()
                .map(|(at, line)| (at.saturating_duration_since(self.began), line));
            let next_at = self.network.next_at();
            // What has arrived comes before a deadline.
            match (next_at, wake_at) {
                (Some(next), wake) if next <= end && wake.is_none_or(|(at, _)| next <= at) => {
                    self.now = self.now.max(next);
                    for ((line, serial), happened) in
                        self.network.happen(&mut self.server, self.now)
                    {
                        let now = self.instant();
                        self.lines[line].core.handle(serial, happened, now);
                        self.pump();
                    }
                }
                (_, Some((at, line))) if at <= end => {
                    self.now = self.now.max(at);
                    let now = self.instant();
                    self.lines[line].core.handle_timeout(now);
                    self.pump();
                }
                _ => break,
            }
        }
        self.now = end;
    }

    pub fn state(&mut self) -> &'static str {
        match self.line().core.course.stage {
            Stage::Waiting { .. } => "waiting",
            Stage::Authorizing { .. } => "authorizing",
            Stage::Connecting { .. } => "connecting",
            Stage::Open(_) => "open",
            Stage::Closed(_) => "closed",
        }
    }

    pub fn log(&mut self, channel: &str) -> Vec<Value> {
        let log = self.server.log(channel);
        log.entries.iter().map(|(_, data)| data.clone()).collect()
    }

    /// The instant that it is now.
    pub fn instant(&self) -> Instant {
        self.began + self.now
    }

    fn line(&mut self) -> &mut Line {
        self.lines.last_mut().expect("a line was opened")
    }

    /// Carries out whatever lines have to say.
    fn pump(&mut self) {
        let now = self.instant();
        for index in 0..self.lines.len() {
            loop {
                let line = &mut self.lines[index];
                let roll = self.roll;
                line.core.chance = Box::new(move || roll);
                if let Stage::Open(open) = &line.core.course.stage
                    && open.serial != line.serial
                {
                    line.serial = open.serial;
                    self.wires.push(open.wire);
                }
                while let Some((ticket, answer)) = line.core.poll_answer() {
                    if line.published.contains(&ticket) {
                        self.outcomes
                            .push(answer.map_or_else(|error| code(&error), |_| "ok".into()));
                    } else {
                        self.answers.insert(ticket, answer);
                    }
                }
                while line.core.poll_ready().is_some() {}
                for (channel, id) in &line.readings {
                    if let Some(seen) = self.seen.get_mut(channel)
                        && line.taken.contains(channel)
                    {
                        while seen.take(line.core.take(*id, now)) {}
                    }
                }
                match line.core.poll_act() {
                    Some(Act::FetchToken) => {
                        self.tokens += 1;
                        let life = line.token_life.unwrap_or_default();
                        let token = token(self.now, self.now + life);
                        let lifetime = credential::lifetime(&token, UNIX_EPOCH + self.now);
                        line.core.handle_token(Ok((token, lifetime)), now);
                    }
                    Some(act) => self.network.act(index, act, &mut self.server, self.now),
                    None => break,
                }
            }
        }
        self.network.route(&mut self.server, self.now);
    }
}

impl Seen {
    /// Takes what a user takes; whether there may be more.
    fn take(&mut self, taken: Taken) -> bool {
        match taken {
            Taken::Update(update) => {
                match update {
                    Update::Entry(entry) => self.entries.push(value(&entry.data)),
                    Update::Unreadable(unreadable) => self.unreadable.push(unreadable),
                    Update::Gap(_) => self.gaps += 1,
                    Update::Members(members) => {
                        let users: Vec<_> = members
                            .listed
                            .iter()
                            .map(|member| format!("{}×{}", member.user, member.count))
                            .collect();
                        self.presence.push(format!("members: {}", users.join(", ")));
                    }
                    Update::Join { user, info } => {
                        let info = info.map_or(String::new(), |info| format!(" {info}"));
                        self.presence.push(format!("join: {user}{info}"));
                    }
                    Update::Leave { user } => self.presence.push(format!("leave: {user}")),
                }
                true
            }
            Taken::Pending => false,
            Taken::Ended(error) => {
                if self.ended.is_none() {
                    let ended = error.map_or("closed".into(), |error| why(&error));
                    self.ended = Some(ended);
                }
                false
            }
        }
    }
}

fn why(error: &SubscribeError) -> String {
    match error {
        SubscribeError::Refused(problem) | SubscribeError::Line(LineError::Refused(problem)) => {
            problem.kind.clone()
        }
        SubscribeError::Revoked { .. } => "revoked".into(),
        SubscribeError::Line(LineError::Closed { .. }) => "refused".into(),
        SubscribeError::Line(LineError::Unauthorized { .. }) => "unauthorized".into(),
        SubscribeError::Line(LineError::TooLarge { .. }) => "too-large".into(),
    }
}

fn code(error: &AskError) -> String {
    match error {
        AskError::Refused(_) => "refused",
        AskError::QueueFull { .. } => "queue-full",
        AskError::TimedOut { .. } => "timed-out",
        AskError::TooLarge => "too-large",
        AskError::Closed => "closed",
        AskError::Line(_) => "line",
        AskError::Unreadable(_) => "unreadable",
        AskError::NotJson(_) => "bad-data",
        AskError::Label(_) => "bad-label",
    }
    .into()
}

fn value(data: &Data) -> Value {
    match data {
        Data::Json(text) => serde_json::from_str(text).unwrap(),
        Data::Text(text) => Value::from(text.as_str()),
        Data::Binary(bytes) => Value::from(&bytes[..]),
    }
}
