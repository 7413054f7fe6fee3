//! Random sessions on two shards: they begin and cease to read channels while others publish, and take what they are
//! sent in bites of any size. Each sees each entry of a channel that it reads once and in order, or one gap.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use everwire_channel::{Offset, PublisherId};
use everwire_wire::{Carrier, Problem, Transfer};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::world::{Appetite, RETAINED, World, chunk, frame};
use crate::{
    hub::Mail,
    session_id::SessionId,
    sessions::Secret,
    shard::{Commands, SessionRequest, Wire, line::Seat, net::memory::Peer, tests::append_as},
};

#[derive(Clone, Debug)]
enum Step {
    /// Somebody publishes entries of these sizes, or a session's publisher does.
    Publish {
        channel: usize,
        sizes: Vec<usize>,
        publisher: usize,
    },
    Subscribe {
        session: usize,
        channel: usize,
        back: u64,
        echo: bool,
    },
    Unsubscribe {
        session: usize,
        channel: usize,
    },
    Eat {
        session: usize,
        appetite: Appetite,
    },
    Turn(usize),
    Leave {
        session: usize,
    },
}

const CHANNELS: usize = 3;
const SESSIONS: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![6 => 0usize..60, 2 => 100usize..3_000, 1 => 4_000usize..30_000];
    let some = prop_oneof![
        (0usize..40, 1usize..20),
        (
            100usize..10_000,
            prop_oneof![300usize..3_000, Just(usize::MAX)]
        ),
    ];
    let appetite = prop_oneof![
        Just(Appetite::All),
        some.prop_map(|(room, bite)| Appetite::Bytes { room, bite }),
    ];
    prop_oneof![
        12 => (0..CHANNELS, prop::collection::vec(size, 1..5), 0..SESSIONS + 2)
            .prop_map(|(channel, sizes, publisher)| Step::Publish { channel, sizes, publisher }),
        8 => (0..SESSIONS, 0..CHANNELS, 0u64..30, any::<bool>())
            .prop_map(|(session, channel, back, echo)| Step::Subscribe { session, channel, back, echo }),
        4 => (0..SESSIONS, 0..CHANNELS)
            .prop_map(|(session, channel)| Step::Unsubscribe { session, channel }),
        8 => (0..SESSIONS, appetite).prop_map(|(session, appetite)| Step::Eat { session, appetite }),
        16 => (0usize..2).prop_map(Step::Turn),
        1 => (0..SESSIONS).prop_map(|session| Step::Leave { session }),
    ]
}

/// A session's client.
struct Client {
    peer: Peer,
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
    wants: BTreeSet<String>,
    /// Where it is in each channel, by the messages that it got.
    reads: BTreeMap<String, Reading>,
    /// What it asked for and was not told to have begun, which a reply may tell before the messages do.
    to_begin: BTreeMap<String, VecDeque<Reading>>,
    has_left: bool,
}

enum Asked {
    Begin { channel: String, echo: bool },
    End(String),
}

struct Reading {
    /// The last entry that was told or left out.
    sequence: u64,
    echo: bool,
}

/// Entries of a channel as they were published: by whom, and what.
type Published = Vec<Vec<(String, Vec<u8>)>>;

impl Client {
    fn new(world: &mut World, number: usize, room: usize) -> Self {
        let publisher = format!("publisher {number}");
        let core = number % 2;
        let id = SessionId(number as u64);
        let (carrier, secret) = match number / 2 % 2 {
            0 => (Carrier::WebSocket { window: None }, None),
            _ => (
                Carrier::Ndjson(Transfer::Chunked),
                Some(Secret::random().unwrap()),
            ),
        };
        let (socket, peer) = world.cores[core].net.connect(room, usize::MAX);
        let request = SessionRequest {
            id,
            carrier,
            deflate: None,
            publisher: Some(PublisherId::new(&publisher).unwrap()),
            peer: [127, 0, 0, 1].into(),
            own: None,
            secret,
        };
        world.join_as(core, socket, Wire::Session(request));
        Self {
            peer,
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
            wants: BTreeSet::new(),
            has_left: false,
        }
    }

    fn ask(&mut self, world: &World, mut command: Value, asked: Asked) {
        if self.has_left {
            return;
        }
        self.next_id += 1;
        command["id"] = json!(self.next_id);
        self.asked.insert(self.next_id, asked);
        if !self.carrier.is_websocket() {
            let (answer, answered) = oneshot::channel();
            self.answers.push_back(answered);
            let commands = Commands {
                session: self.id,
                content: command.to_string().into(),
                answer,
            };
            return world.cores[self.core]
                .shard
                .mailbox
                .post(Mail::Commands(commands));
        }
        // Padded, so that each takes the same form of a frame.
        let text = format!("{:128}", command.to_string());
        let mut bytes = vec![
            0x81,
            0x80 | 126,
            (text.len() >> 8) as u8,
            text.len() as u8,
            0,
            0,
            0,
            0,
        ];
        bytes.extend(text.as_bytes());
        self.peer.say(&bytes);
    }

    fn hear(&mut self, published: &Published) {
        while let Some(Ok(answer)) = self.answers.front_mut().map(oneshot::Receiver::try_recv) {
            self.answers.pop_front();
            let replies: Vec<Value> = serde_json::from_slice(&answer.unwrap()).unwrap();
            self.hear_message(&replies[0], published);
        }
        self.unparsed.extend(self.peer.heard());
        if !self.carrier.is_websocket() {
            while let Some((text, length)) = chunk(&self.unparsed) {
                self.unparsed.drain(..length);
                if text != b"{}\n" {
                    let told = serde_json::from_slice(&text).expect("whole JSON");
                    self.hear_message(&told, published);
                }
            }
            return;
        }
        while let Some((opcode, payload, length)) = frame(&self.unparsed) {
            self.unparsed.drain(..length);
            if opcode == 0x81 {
                self.hear_message(
                    &serde_json::from_slice(&payload).expect("whole JSON"),
                    published,
                );
            } else {
                assert_eq!(opcode, 0x89, "nothing but pings");
            }
        }
    }

    fn hear_message(&mut self, told: &Value, published: &Published) {
        if let Some(id) = told.get("re") {
            let asked = self
                .asked
                .remove(&id.as_u64().unwrap())
                .expect("asked once");
            let ok = told.get("ok");
            match (asked, ok) {
                (Asked::Begin { channel, echo }, Some(ok)) => {
                    // To ask for what is read already is to begin anew.
                    self.wants.insert(channel.clone());
                    let sequence = sequence(&ok["offset"]);
                    let reading = Reading { sequence, echo };
                    match self.carrier.is_websocket() {
                        true => drop(self.reads.insert(channel, reading)),
                        false => self.to_begin.entry(channel).or_default().push_back(reading),
                    }
                }
                (Asked::End(channel), Some(_)) => {
                    assert!(self.wants.remove(&channel), "it was not read");
                    if self.carrier.is_websocket() {
                        self.reads.remove(&channel);
                    }
                }
                (Asked::Begin { channel, .. }, None) => panic!("{channel} was refused"),
                (Asked::End(channel), None) => assert!(!self.wants.contains(&channel)),
            }
            return;
        }
        if told["ev"] == "ping" {
            return;
        }
        let channel = told["channel"].as_str().unwrap();
        let entries = &published[channel.parse::<usize>().unwrap()];
        if told["ev"] == "subscribed" {
            let begun = self.to_begin.get_mut(channel).and_then(VecDeque::pop_front);
            let begun = begun.expect("it asked for the channel");
            assert_eq!(begun.sequence, sequence(&told["offset"]));
            self.reads.insert(channel.to_owned(), begun);
            return;
        }
        let reading = self.reads.get_mut(channel).expect("it reads the channel");
        if told["ev"] == "gap" {
            let oldest = sequence(&told["oldest"]);
            assert!(oldest >= reading.sequence, "a gap goes on");
            reading.sequence = oldest;
            return;
        }
        assert_eq!(told["ev"], "entry");
        let at = sequence(&told["offset"]);
        reading.skip_own(entries, &self.publisher);
        assert_eq!(at, reading.sequence + 1, "each entry once");
        let (_, payload) = &entries[reading.sequence as usize];
        assert_eq!(told["data"].as_str().unwrap().as_bytes(), payload);
        reading.sequence = at;
    }

    /// Whether its shard has it read what it asked for, and nothing that it left.
    fn assert_reads(&self, world: &World) {
        let lines = &world.cores[self.core].shard.lines;
        let mut sessions = lines.iter().filter_map(|(_, line)| match &line.seat {
            Seat::Session(session) => Some(session),
            Seat::Feed { .. } | Seat::Alone(_) | Seat::Vacant => None,
        });
        let session = sessions.find(|session| session.id == self.id).unwrap();
        assert_eq!(session.subscriptions.len(), self.wants.len());
    }

    fn assert_content(&mut self, published: &Published) {
        assert!(self.unparsed.is_empty(), "a torn frame");
        assert!(self.asked.is_empty(), "a command was not answered");
        for channel in &self.wants {
            let reading = self.reads.get_mut(channel).expect("it began");
            let entries = &published[channel.parse::<usize>().unwrap()];
            reading.skip_own(entries, &self.publisher);
            assert_eq!(reading.sequence, entries.len() as u64, "channel {channel}");
        }
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

fn sequence(token: &Value) -> u64 {
    let offset: Offset = token.as_str().unwrap().parse().unwrap();
    offset.sequence
}

fn play(steps: Vec<Step>) {
    let mut world = World::new();
    for channel in 0..CHANNELS {
        world.create(&channel.to_string());
    }
    let mut published: Published = vec![Vec::new(); CHANNELS];
    let mut clients: Vec<Client> = (0..SESSIONS)
        .map(|number| Client::new(&mut world, number, 5_000))
        .collect();
    for step in steps {
        match step {
            Step::Publish {
                channel,
                sizes,
                publisher,
            } => {
                let by = format!("publisher {publisher}");
                for size in sizes {
                    let payload = vec![b'a' + (published[channel].len() % 26) as u8; size];
                    append_as(&world.lives[channel].channel, &payload, &by);
                    published[channel].push((by.clone(), payload));
                    world.look();
                }
            }
            Step::Subscribe {
                session,
                channel,
                back,
                echo,
            } => {
                let channel = channel.to_string();
                let command =
                    json!({"op": "subscribe", "channel": channel, "last": back, "echo": echo});
                clients[session].ask(&world, command, Asked::Begin { channel, echo });
            }
            Step::Unsubscribe { session, channel } => {
                let channel = channel.to_string();
                let command = json!({"op": "unsubscribe", "channel": channel});
                clients[session].ask(&world, command, Asked::End(channel));
            }
            Step::Eat { session, appetite } => eat(&clients[session].peer, appetite),
            Step::Turn(core) => {
                world.turn(core);
            }
            Step::Leave { session } => {
                clients[session].has_left = true;
                clients[session].peer.end();
            }
        }
        clients
            .iter_mut()
            .for_each(|client| client.hear(&published));
    }
    for client in &clients {
        eat(&client.peer, Appetite::All);
    }
    world.settle();
    for client in &mut clients {
        client.hear(&published);
        if !client.has_left {
            client.assert_content(&published);
            client.assert_reads(&world);
        }
        client.peer.end();
    }
    world.finish();
}

fn eat(peer: &Peer, appetite: Appetite) {
    match appetite {
        Appetite::All => peer.take(usize::MAX, usize::MAX),
        Appetite::Bytes { room, bite } => peer.take(room, bite),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn each_session_sees_each_entry_of_what_it_reads_once(steps in prop::collection::vec(step(), 1..120)) {
        play(steps);
    }
}

/// A channel in which much is said does not keep a slow session from hearing another.
#[test]
fn a_busy_channel_starves_no_other_of_its_line() {
    let mut world = World::new();
    world.create("0");
    world.create("1");
    let mut published: Published = vec![Vec::new(); 2];
    let mut client = Client::new(&mut world, 0, 1_000);
    for channel in ["0", "1"] {
        let command = json!({"op": "subscribe", "channel": channel});
        let channel = channel.to_owned();
        client.ask(
            &world,
            command,
            Asked::Begin {
                channel,
                echo: true,
            },
        );
    }
    world.settle();
    client.hear(&published);
    let mut say = |world: &mut World, channel: usize, size: usize| {
        let payload = vec![b'x'; size];
        append_as(&world.lives[channel].channel, &payload, "somebody");
        world.look();
        published[channel].push(("somebody".to_owned(), payload));
        published.clone()
    };
    // It takes less than the busy channel has for it.
    for _ in 0..RETAINED - 1 {
        say(&mut world, 0, 20_000);
    }
    let published = say(&mut world, 1, 10);
    world.settle();
    let quiet = |client: &Client| client.reads["1"].sequence;
    for taken in 0.. {
        assert!(
            taken < 12,
            "the quiet channel is not heard before the busy one"
        );
        client.peer.take(20_000, usize::MAX);
        world.settle();
        client.hear(&published);
        if quiet(&client) == 1 {
            break;
        }
    }
    assert!(client.reads["0"].sequence < RETAINED - 1);
    client.peer.take(usize::MAX, usize::MAX);
    world.settle();
    client.hear(&published);
    client.assert_content(&published);
    client.peer.end();
    world.finish();
}
