//! A session's client in the simulated world: what it asks for, and what it must hear.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use everwire_channel::{Epoch, Offset, PublisherId};
use everwire_wire::{Carrier, Problem, Transfer};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::super::world::{Appetite, World, chunk, frame};
use crate::{
    auth::Caller,
    session_id::SessionId,
    shard::{
        Commands, Mail, OpenLine, Pipe, Secret, SessionRequest, Takes, Wire, line::Seat,
        net::memory::Peer, session::Session,
    },
};

/// All lives of channels, and what was published in each.
#[derive(Default)]
pub struct Published(pub Vec<(Epoch, Entries)>);

/// By whom, and what.
pub type Entries = Vec<(String, Vec<u8>)>;

/// A session's client.
pub struct Client {
    link: Link,
    core: usize,
    carrier: Carrier,
    id: SessionId,
    publisher: String,
    unparsed: Vec<u8>,
    next_id: u64,
    /// What was asked and is not answered: a subscription to a channel, or its end.
    asked: BTreeMap<u64, Asked>,
    /// The answers to what was asked by requests.
    answers: VecDeque<oneshot::Receiver<Result<Bytes, Problem>>>,
    /// The channels that it reads, by the replies that it got.
    wants: BTreeMap<String, Want>,
    /// Where it is in each channel, by the messages that it got.
    reads: BTreeMap<String, Reading>,
    /// What it asked for and was not told to have begun, which a reply may tell before the messages do.
    to_begin: BTreeMap<String, VecDeque<Reading>>,
    /// It was told that the server stops.
    drained: bool,
    /// The wire's own end was heard: nothing may follow.
    ended: bool,
    pub has_left: bool,
}

/// What is between a client and its session.
enum Link {
    Socket(Peer),
    Pipe {
        pipe: Arc<Pipe>,
        unsaid: VecDeque<Bytes>,
        hungry: bool,
    },
}

pub enum Asked {
    Begin {
        channel: String,
        echo: bool,
        presence: bool,
    },
    End(String),
    Page,
}

/// A channel that is read.
#[derive(Clone, Copy, Debug)]
struct Want {
    life: usize,
    /// It is among those present.
    presence: bool,
}

struct Reading {
    life: usize,
    /// The last entry that was told or left out.
    sequence: u64,
    echo: bool,
    /// The last entry of the presence log.
    present: Option<u64>,
}

impl Client {
    pub fn new(world: &mut World, number: usize, room: usize) -> Self {
        let publisher = format!("publisher {number}");
        let core = number % 2;
        let id = SessionId(number as u64);
        let carrier = match number / 2 {
            0 => Carrier::WebSocket { window: None },
            1 => Carrier::Ndjson(Transfer::Chunked),
            _ if core == 0 => Carrier::WebSocket { window: None },
            _ => Carrier::Poll,
        };
        let request = SessionRequest {
            id,
            carrier,
            deflate: None,
            publisher: Some(PublisherId::new(&publisher).unwrap()),
            own: None,
            evidence: None,
            secret: (number / 2 == 1).then(|| Secret::random().unwrap()),
            caller: Caller::Anybody,
        };
        let link = match number / 2 {
            0 | 1 => {
                let (socket, peer) = world.cores[core].net.connect(room, usize::MAX);
                world.join_as(core, socket, Wire::Session(request));
                Link::Socket(peer)
            }
            _ => {
                let shard = world.cores[core].shard.mailbox.clone();
                let takes = match carrier {
                    Carrier::Poll => Takes::Messages,
                    _ => Takes::Bytes,
                };
                let pipe = Arc::new(Pipe::new(id, shard.clone(), takes));
                shard.post(Mail::Open(Box::new(OpenLine {
                    pipe: pipe.clone(),
                    opening: Bytes::new(),
                    wire: Wire::Session(request),
                    seat: world.seat(),
                })));
                Link::Pipe {
                    pipe,
                    unsaid: VecDeque::new(),
                    hungry: true,
                }
            }
        };
        Self {
            link,
            core,
            carrier,
            id,
            publisher,
            unparsed: Vec::new(),
            next_id: 0,
            asked: BTreeMap::new(),
            answers: VecDeque::new(),
            reads: BTreeMap::new(),
            to_begin: BTreeMap::new(),
            wants: BTreeMap::new(),
            drained: false,
            ended: false,
            has_left: false,
        }
    }

    pub fn subscribe(
        &mut self,
        world: &World,
        channel: usize,
        back: u64,
        echo: bool,
        presence: bool,
    ) {
        let channel = channel.to_string();
        let mut command =
            json!({"op": "subscribe", "channel": channel, "last": back, "echo": echo});
        if presence {
            command["presence"] = json!({"user": self.id.0.to_string()});
        }
        let asked = Asked::Begin {
            channel,
            echo,
            presence,
        };
        self.ask(world, command, asked);
    }

    pub fn unsubscribe(&mut self, world: &World, channel: usize) {
        let channel = channel.to_string();
        let command = json!({"op": "unsubscribe", "channel": channel});
        self.ask(world, command, Asked::End(channel));
    }

    /// Asks for all that a channel keeps.
    pub fn history(&mut self, world: &World, channel: usize) {
        let command = json!({"op": "history", "channel": channel.to_string()});
        self.ask(world, command, Asked::Page);
    }

    pub fn awaits_answers(&self) -> bool {
        !self.asked.is_empty()
    }

    fn ask(&mut self, world: &World, mut command: Value, asked: Asked) {
        if self.has_left {
            return;
        }
        self.next_id += 1;
        command["id"] = json!(self.next_id);
        self.asked.insert(self.next_id, asked);
        let mailbox = &world.cores[self.core].shard.mailbox;
        if !self.carrier.is_websocket() {
            let (answer, answered) = oneshot::channel();
            self.answers.push_back(answered);
            let commands = Commands {
                session: self.id,
                content: command.to_string().into(),
                answer,
            };
            return mailbox.post(Mail::Commands(commands));
        }
        // Padded, so that each takes the same form of a frame.
        let text = format!("{:128}", command.to_string());
        let mut bytes = vec![0x81, 0x80 | 126];
        bytes.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(text.as_bytes());
        match &mut self.link {
            Link::Socket(peer) => peer.say(&bytes),
            Link::Pipe { unsaid, .. } => unsaid.push_back(bytes.into()),
        }
        self.speak_out();
    }

    /// Says what could not be said so far.
    fn speak_out(&mut self) {
        if let Link::Pipe { pipe, unsaid, .. } = &mut self.link
            && pipe.poll_accepts(&Context::from_waker(Waker::noop())) == Poll::Ready(true)
            && let Some(bytes) = unsaid.pop_front()
        {
            pipe.give(bytes);
        }
    }

    pub fn eat(&mut self, appetite: Appetite) {
        match (&mut self.link, appetite) {
            (Link::Socket(peer), Appetite::All) => peer.take(usize::MAX, usize::MAX),
            (Link::Socket(peer), Appetite::Bytes { room, bite }) => peer.take(room, bite),
            // It takes what there is, or nothing.
            (Link::Pipe { hungry, .. }, appetite) => {
                *hungry = !matches!(appetite, Appetite::Bytes { room: ..100, .. });
            }
        }
    }

    /// It goes without a word.
    pub fn leave(&mut self) {
        self.has_left = true;
        match &self.link {
            Link::Socket(peer) => peer.end(),
            Link::Pipe { pipe, .. } => drop(pipe.abandon()),
        }
    }

    /// It ends its session by a request, if it can.
    pub fn delete(&mut self, world: &World) {
        if !self.carrier.is_websocket() {
            self.has_left = true;
            let mailbox = &world.cores[self.core].shard.mailbox;
            mailbox.post(Mail::Gone(self.id));
        }
    }

    pub fn hear(&mut self, published: &Published) {
        self.speak_out();
        while let Some(Ok(answer)) = self.answers.front_mut().map(oneshot::Receiver::try_recv) {
            self.answers.pop_front();
            let replies: Vec<Value> = serde_json::from_slice(&answer.unwrap()).unwrap();
            self.hear_message(&replies[0], published);
        }
        match &mut self.link {
            Link::Socket(peer) => self.unparsed.extend(peer.heard()),
            Link::Pipe { pipe, hungry, .. } => {
                let noop = Context::from_waker(Waker::noop());
                while *hungry && let Poll::Ready(Some(bytes)) = pipe.poll_take(&noop) {
                    self.unparsed.extend(bytes);
                }
            }
        }
        while let Some(told) = self.next_message() {
            self.hear_message(&told, published);
        }
    }

    fn next_message(&mut self) -> Option<Value> {
        let (text, length) = match self.carrier {
            Carrier::WebSocket { .. } => {
                let (opcode, payload, length) = frame(&self.unparsed)?;
                match opcode {
                    0x81 => (payload, length),
                    0x88 => (Vec::new(), length),
                    0x89 => (br#"{"ev":"ping"}"#.to_vec(), length),
                    _ => panic!("{opcode:x} is no frame of a session"),
                }
            }
            Carrier::Poll => {
                let mut values =
                    serde_json::Deserializer::from_slice(&self.unparsed).into_iter::<Value>();
                let value = values.next()?.expect("whole JSON");
                let length = values.byte_offset();
                assert_eq!(self.unparsed.get(length), Some(&b','), "messages are whole");
                (value.to_string().into_bytes(), length + 1)
            }
            Carrier::EventStream(_) | Carrier::Ndjson(_) => chunk(&self.unparsed)?,
        };
        assert!(!self.ended, "nothing follows the end");
        self.unparsed.drain(..length);
        match &text[..] {
            b"" => {
                self.ended = true;
                None
            }
            text => Some(serde_json::from_slice(text).expect("whole JSON")),
        }
    }

    fn hear_message(&mut self, told: &Value, published: &Published) {
        assert!(
            !self.drained || told.get("re").is_some(),
            "{told} follows the drain"
        );
        if let Some(id) = told.get("re") {
            return self.hear_reply(id.as_u64().unwrap(), told.get("ok"), published);
        }
        if told["ev"] == "ping" {
            return;
        }
        if told["ev"] == "drain" {
            self.drained = true;
            return;
        }
        let channel = told["channel"].as_str().unwrap();
        if told["ev"] == "subscribed" {
            let begun = self.to_begin.get_mut(channel).and_then(VecDeque::pop_front);
            let begun = begun.expect("it asked for the channel");
            assert_eq!(begun.sequence, sequence(&told["offset"]));
            self.reads.insert(channel.to_owned(), begun);
            return;
        }
        let reading = self.reads.get_mut(channel).expect("it reads the channel");
        if told["ev"] == "join" || told["ev"] == "leave" {
            let present = reading.present.as_mut().expect("it asked for presence");
            assert_eq!(sequence(&told["offset"]), *present + 1, "each of them once");
            *present += 1;
            return;
        }
        let entries = &published.0[reading.life].1;
        if told["ev"] == "gap" {
            let oldest = sequence(&told["oldest"]);
            assert!(oldest >= reading.sequence, "a gap goes on");
            reading.sequence = oldest;
            return;
        }
        reading.skip_own(entries, &self.publisher);
        let at = sequence(&told["offset"]);
        assert_eq!(published.life(&told["offset"]), reading.life);
        if told["ev"] == "closed" {
            assert_eq!(reading.sequence, at, "all was told before the end");
            assert_eq!(at, entries.len() as u64);
            if self
                .wants
                .get(channel)
                .is_some_and(|want| want.life == reading.life)
            {
                self.wants.remove(channel);
            }
            return;
        }
        assert_eq!(told["ev"], "entry");
        assert_eq!(at, reading.sequence + 1, "each entry once");
        let (_, payload) = &entries[reading.sequence as usize];
        assert_eq!(told["data"].as_str().unwrap().as_bytes(), payload);
        reading.sequence = at;
    }

    fn hear_reply(&mut self, id: u64, ok: Option<&Value>, published: &Published) {
        let asked = self.asked.remove(&id).expect("asked once");
        // Replies to requests overtake what the messages tell.
        let is_ordered = self.carrier.is_websocket();
        match (asked, ok) {
            (Asked::Page, ok) => assert!(ok.is_some(), "a page is there"),
            (
                Asked::Begin {
                    channel,
                    echo,
                    presence,
                },
                Some(ok),
            ) => {
                let life = published.life(&ok["offset"]);
                // To ask for what is read already is to begin anew.
                self.wants.insert(channel.clone(), Want { life, presence });
                let reading = Reading {
                    life,
                    sequence: sequence(&ok["offset"]),
                    echo,
                    present: presence.then(|| sequence(&ok["presence"]["offset"])),
                };
                match is_ordered {
                    true => drop(self.reads.insert(channel, reading)),
                    false => self.to_begin.entry(channel).or_default().push_back(reading),
                }
            }
            (Asked::End(channel), Some(_)) => {
                let before = self.wants.remove(&channel);
                assert!(before.is_some() || !is_ordered, "it was not read");
                if is_ordered {
                    self.reads.remove(&channel);
                }
            }
            (Asked::Begin { channel, .. }, None) => panic!("{channel} was refused"),
            (Asked::End(channel), None) => {
                assert!(!self.wants.contains_key(&channel) || !is_ordered);
            }
        }
    }

    /// Whether its shard has it read what it asked for, and nothing that it left.
    pub fn assert_reads(&self, world: &World) {
        let lines = &world.cores[self.core].shard.lines;
        let mut sessions = lines.iter().filter_map(|(_, line)| match &line.seat {
            Seat::Session(session) => Some(session),
            Seat::Feed { .. } | Seat::Alone(_) | Seat::Vacant => None,
        });
        let session: &Session<_> = sessions.find(|session| session.id == self.id).unwrap();
        let present = self.wants.values().filter(|want| want.presence).count();
        assert_eq!(
            (session.subscriptions.len(), session.memberships.len()),
            (self.wants.len() + present, present),
            "session {} reads {:?}",
            self.id,
            self.wants
        );
    }

    /// Whether it was told all there is.
    pub fn assert_content(&mut self, published: &Published) {
        assert!(self.unparsed.is_empty(), "a torn frame");
        assert!(self.asked.is_empty(), "a command was not answered");
        for (channel, want) in &self.wants {
            let reading = self.reads.get_mut(channel).expect("it began");
            let entries = &published.0[want.life].1;
            reading.skip_own(entries, &self.publisher);
            assert_eq!(
                (reading.life, reading.sequence),
                (want.life, entries.len() as u64),
                "channel {channel}"
            );
        }
    }

    /// Whether it was told that the server stops, and nothing after that.
    pub fn assert_drained(&self) {
        assert!(self.unparsed.is_empty(), "a torn frame");
        assert!(self.drained, "session {} was not told", self.id);
        match &self.link {
            Link::Socket(peer) => assert!(self.ended && peer.is_ended()),
            Link::Pipe { pipe, .. } => {
                let noop = Context::from_waker(Waker::noop());
                assert_eq!(pipe.poll_take(&noop), Poll::Ready(None));
            }
        }
    }

    /// Whether it is among those present on a channel.
    pub fn is_present(&self, channel: usize) -> bool {
        let want = self.wants.get(&channel.to_string());
        !self.has_left && want.is_some_and(|want| want.presence)
    }

    /// Where it is in a channel.
    pub fn sequence(&self, channel: &str) -> u64 {
        self.reads[channel].sequence
    }
}

impl Reading {
    /// Goes over what the reader said itself, if that is left out.
    fn skip_own(&mut self, entries: &[(String, Vec<u8>)], publisher: &str) {
        while !self.echo
            && let Some((by, _)) = entries.get(self.sequence as usize)
            && by == publisher
        {
            self.sequence += 1;
        }
    }
}

impl Published {
    /// Which life an offset is in.
    fn life(&self, token: &Value) -> usize {
        let epoch = offset(token).epoch;
        self.0
            .iter()
            .position(|(known, _)| *known == epoch)
            .unwrap()
    }
}

fn offset(token: &Value) -> Offset {
    token.as_str().unwrap().parse().unwrap()
}

fn sequence(token: &Value) -> u64 {
    offset(token).sequence
}
