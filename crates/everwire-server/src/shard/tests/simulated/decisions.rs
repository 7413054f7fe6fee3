//! What the application decides for lines: answers that come late, in any order, never, or when the line is gone.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use everwire_wire::Carrier;
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::{super::*, world::World};
use crate::{
    config::{self, Action, Webhooks},
    outbound::Outbound,
    shard::Secret,
    shard::net::memory::Peer,
    webhook::{Answer, Answers, Basis, Connection, Desk, Errand, Evidence, Kind, NoDecision},
};

/// The questions that are open, each to be answered when and how a test likes.
#[derive(Clone, Default)]
struct Questions(Arc<Mutex<VecDeque<Errand>>>);

impl Answers for Questions {
    fn answer(&self, errand: Errand, _: Connection) {
        self.0.lock().unwrap().push_back(errand);
    }
}

impl Questions {
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Takes one, whichever; tells its channel and what is published there.
    fn take(&self, which: usize) -> Option<(Errand, usize, u64)> {
        let errand = {
            let mut open = self.0.lock().unwrap();
            let at = which.checked_rem(open.len())?;
            open.remove(at)?
        };
        let content: Value = serde_json::from_str(&errand.question.content("", 0)).unwrap();
        let channel = content["channel"].as_str().unwrap().parse().unwrap();
        let number = content["entries"][0]["data"].as_str().unwrap();
        Some((errand, channel, number.parse().unwrap()))
    }
}

/// Lines that publish, each to a channel of its own.
struct Site {
    world: World,
    questions: Questions,
    lines: Vec<Line>,
    /// Where exchanges would run, if there were any.
    _workers: Runtime,
}

struct Line {
    peer: Peer,
    speech: Speech,
    said: u64,
    /// What the application let it publish.
    allowed: Vec<u64>,
    is_cut: bool,
    /// A raw WebSocket ends with what is refused.
    is_refused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Raw,
    Session,
    Requests(SessionId),
}

impl Site {
    fn new() -> Self {
        let mut config = World::config();
        config.channels.decide = vec![Action::Publish];
        config.webhooks.session_waiting_max = 1_000;
        let (mut world, questions, workers) = decided(config);
        let lines = (0..6)
            .map(|number| Line::open(&mut world, number))
            .collect();
        Self {
            world,
            questions,
            lines,
            _workers: workers,
        }
    }

    fn publish(&mut self, line: usize) {
        let number = self.lines[line].said;
        self.lines[line].said += 1;
        let speech = self.lines[line].speech;
        let command =
            json!({"op": "publish", "channel": line.to_string(), "data": number.to_string()});
        let say = |text: &str| self.lines[line].peer.say(&client_frame(text));
        match speech {
            Speech::Raw => say(&number.to_string()),
            Speech::Session => say(&command.to_string()),
            Speech::Requests(session) => {
                let (answer, _) = tokio::sync::oneshot::channel();
                let content = command.to_string().into();
                let mailbox = &self.world.cores[line % 2].shard.mailbox;
                mailbox.post(Mail::Commands(Commands {
                    session,
                    content,
                    answer,
                }));
            }
        }
    }

    /// Answers a question in one of three ways.
    fn answer(&mut self, which: usize, how: u32) {
        let Some((errand, line, number)) = self.questions.take(which) else {
            return;
        };
        let line = &mut self.lines[line];
        let parse = |content: &str| {
            let kind = Kind::Do(Action::Publish);
            Answer::parse(kind, content.as_bytes(), 0, 0).unwrap()
        };
        match how {
            0 => {
                line.allowed.push(number);
                return errand.close(Ok(parse(r#"{"allow":true}"#)));
            }
            1 => errand.close(Ok(parse(r#"{"allow":false}"#))),
            2 => errand.close(Err(NoDecision::Failed)),
            _ => drop(errand),
        }
        line.is_refused |= line.speech == Speech::Raw;
    }

    fn published(&self, line: usize) -> Vec<u64> {
        let entries = self.world.lives[line].entries.iter();
        let number = |entry: &Vec<u8>| String::from_utf8(entry.clone()).unwrap().parse().unwrap();
        entries.map(number).collect()
    }

    /// Has every question answered, and checks what came of it all.
    fn finish(mut self) {
        self.world.settle();
        while self.questions.len() > 0 {
            self.answer(0, 0);
            self.world.settle();
        }
        for (number, line) in self.lines.iter().enumerate() {
            let published = self.published(number);
            assert!(
                published.is_sorted(),
                "line {number} keeps its order: {published:?}"
            );
            match line.is_cut {
                // What was decided after its end is not published.
                true => assert!(
                    line.allowed.starts_with(&published),
                    "{published:?} of {:?}",
                    line.allowed
                ),
                false => assert_eq!(published, line.allowed, "line {number}, {:?}", line.speech),
            }
            line.peer.reset();
        }
        self.world.finish();
    }
}

impl Line {
    fn open(world: &mut World, number: usize) -> Self {
        world.create(&number.to_string());
        Self::open_again(world, number)
    }

    /// A line on the channel of an earlier one.
    fn open_again(world: &mut World, number: usize) -> Self {
        let channel = world.lives[number].channel.clone();
        let peer = [127, 0, 0, 1].into();
        let evidence = Evidence::of(&Webhooks::default(), peer, &HeaderMap::new(), false, None);
        let core = number % 2;
        let (socket, peer) = world.cores[core].net.connect(usize::MAX, usize::MAX);
        let request = |carrier, secret| SessionRequest {
            own: None,
            secret,
            evidence: Some(evidence.clone()),
            ..session(channel.clone(), carrier, 0)
        };
        let (speech, wire) = match number / 2 {
            0 => {
                let mut entries = entries(channel, RAW, 0);
                entries.publish = Publishing::Asked(Box::new(evidence.clone()));
                (Speech::Raw, Wire::Entries(entries))
            }
            1 => {
                let request = request(Carrier::WebSocket { window: None }, None);
                (Speech::Session, Wire::Session(request))
            }
            _ => {
                let secret = Secret::random().unwrap();
                let request = request(Carrier::Ndjson(Transfer::Chunked), Some(secret));
                (Speech::Requests(request.id), Wire::Session(request))
            }
        };
        world.join_as(core, socket, wire);
        Self {
            peer,
            speech,
            said: 0,
            allowed: Vec::new(),
            is_cut: false,
            is_refused: false,
        }
    }
}

/// A world where the application is asked, and the questions that it has not answered yet.
fn decided(config: Config) -> (World, Questions, Runtime) {
    let workers = Builder::new_current_thread().build().unwrap();
    let questions = Questions::default();
    let desk = Arc::new(Desk::new(
        Basis::new(&config, [0; 32]),
        Box::new(questions.clone()),
    ));
    let live = Live {
        desk: Some(desk.clone()),
        ..Live::without_credentials(config)
    };
    let world = World::of(live);
    let mut read = |_: &std::path::Path| unreachable!("no file is named");
    let outbound = Outbound::new(
        &config::Outbound::default(),
        workers.handle().clone(),
        Arc::default(),
        &mut read,
    );
    desk.connect(&outbound.unwrap(), &world.shared.metrics);
    (world, questions, workers)
}

/// A text frame of a client, masked with zeros.
fn client_frame(text: &str) -> Vec<u8> {
    let mut bytes = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    bytes.extend(text.as_bytes());
    assert!(text.len() < 126, "a short message");
    bytes
}

#[test]
fn one_publication_of_a_line_is_asked_about_at_a_time_and_other_lines_go_on() {
    let mut site = Site::new();
    for line in 0..6 {
        for _ in 0..10 {
            site.publish(line);
        }
    }
    site.world.settle();
    assert_eq!(site.questions.len(), 6, "one of each line");
    // The last line's answers come first.
    for number in 0..10 {
        site.answer(5, 0);
        site.world.settle();
        assert_eq!(site.published(5).len(), number + 1);
    }
    assert!(site.published(0).is_empty());
    site.finish();
}

#[test]
fn an_answer_that_comes_when_the_line_is_gone_is_for_no_other_line_of_its_number() {
    let mut site = Site::new();
    site.publish(2);
    site.world.settle();
    let (errand, ..) = site.questions.take(0).unwrap();
    let shard = &mut site.world.cores[0].shard;
    let parked = (shard.lines.iter()).find(|(key, _)| shard.is_parked(*key));
    let key = parked.unwrap().0;
    shard.close(key);
    shard.mailbox.wake(); // its number is free at the turn's end
    site.lines[2].is_cut = true;
    site.world.settle();
    // Another line has its number now, and waits for an answer of its own.
    let again = Line::open_again(&mut site.world, 2);
    site.lines[2] = again;
    site.publish(2);
    site.world.settle();
    assert!(
        site.world.cores[0].shard.is_parked(key),
        "the number is used again"
    );
    let content = br#"{"allow":true}"#;
    errand.close(Ok(
        Answer::parse(Kind::Do(Action::Publish), content, 0, 0).unwrap()
    ));
    site.world.settle();
    assert!(site.published(2).is_empty(), "its own answer has not come");
    site.finish();
}

/// However many requests come at once: a turn has a bound, and in each the lines of the shard are served.
#[test]
fn very_many_requests_for_a_session_hold_up_no_line() {
    let mut site = Site::new();
    site.world.settle();
    let Speech::Requests(session) = site.lines[4].speech else {
        panic!("the fifth is spoken for by requests")
    };
    let mut answers: Vec<_> = (0..500)
        .map(|_| {
            let (answer, answered) = tokio::sync::oneshot::channel();
            let mailbox = &site.world.cores[0].shard.mailbox;
            mailbox.post(Mail::Commands(Commands {
                session,
                content: json!({"op": "ping"}).to_string().into(),
                answer,
            }));
            answered
        })
        .collect();
    site.world.publish(0, &[10]);
    site.lines[0].peer.heard();
    let mut answered = Vec::new();
    while answered.iter().sum::<usize>() < answers.len() {
        assert!(site.world.turn(0), "there is more to do");
        answered.push(
            answers
                .iter_mut()
                .filter_map(|answer| answer.try_recv().ok())
                .count(),
        );
        let heard = site.lines[0].peer.heard();
        assert_eq!(heard.is_empty(), answered.len() > 1, "in the first turn");
    }
    assert_eq!(answered[..2], [REQUESTS, REQUESTS]);
    assert_eq!(answered.len(), 500_usize.div_ceil(REQUESTS));
    for line in &site.lines {
        line.peer.reset();
    }
    site.world.finish();
}

#[test]
fn whatever_is_answered_when_each_line_publishes_what_was_allowed_in_its_order() {
    for seed in 0..60 {
        let mut site = Site::new();
        fastrand::seed(seed);
        for _ in 0..300 {
            let line = fastrand::usize(..6);
            match fastrand::u32(..100) {
                0..45 => {
                    if !site.lines[line].is_refused {
                        site.publish(line);
                    }
                }
                45..70 => site.answer(fastrand::usize(..100), 0),
                70..76 => site.answer(fastrand::usize(..100), fastrand::u32(1..4)),
                76..78 => {
                    site.lines[line].peer.reset();
                    site.lines[line].is_cut = true;
                }
                78..80 => site.world.pass(1),
                _ => {
                    site.world.turn(line % 2);
                }
            }
        }
        site.finish();
    }
}

/// A session that reads `plain`, which anybody may, and whose commands about `d/a` the application has to judge.
struct Guest {
    world: World,
    questions: Questions,
    peer: Peer,
    heard: String,
    _workers: Runtime,
}

impl Guest {
    fn rules(toml: &str) -> Config {
        let decided = "{ match = \"d/**\", decide = [\"read\", \"publish\", \"presence\"] }";
        let toml = format!("webhooks.url = \"https://x/\"\nrules = [{decided}, {toml}]");
        Config {
            rules: Config::from_toml(&toml).unwrap().rules,
            ..World::config()
        }
    }

    fn new() -> Self {
        let open = "{ match = \"plain\", anonymous = [\"read\", \"presence\"] }";
        let (mut world, questions, workers) = decided(Self::rules(open));
        world.create("plain");
        world.create("d/a");
        let peer = [127, 0, 0, 1].into();
        let evidence = Evidence::of(&Webhooks::default(), peer, &HeaderMap::new(), false, None);
        let (socket, peer) = world.cores[0].net.connect(usize::MAX, usize::MAX);
        let channel = world.lives[0].channel.clone();
        let request = SessionRequest {
            evidence: Some(evidence),
            ..session(channel, Carrier::WebSocket { window: None }, 0)
        };
        world.join_as(0, socket, Wire::Session(request));
        world.settle();
        let mut guest = Self {
            world,
            questions,
            peer,
            heard: String::new(),
            _workers: workers,
        };
        // With its members, so that there are two logs to lose.
        guest.say(&json!({"op": "subscribe", "channel": "plain", "presence": true}));
        guest.world.settle();
        assert!(guest.hears("\"ok\":{"), "{}", guest.heard);
        guest
    }

    fn say(&self, command: &Value) {
        self.peer.say(&client_frame(&command.to_string()));
    }

    /// Has the oldest question allowed, if there is one.
    fn allow(&self) {
        let errand = self.questions.0.lock().unwrap().pop_front();
        if let Some(errand) = errand {
            let answer = Answer::parse(errand.question.kind, br#"{"allow":true}"#, 0, 0);
            errand.close(Ok(answer.unwrap()));
        }
    }

    fn reload(&self, config: Config) {
        let desk = self.world.shared.live.desk.clone();
        let live = Live {
            desk,
            ..Live::without_credentials(config)
        };
        self.world.shared.live.settings().replace(live);
        self.world.cores[0].shard.mailbox.wake();
    }

    fn hears(&mut self, text: &str) -> bool {
        let heard = self.peer.heard();
        self.heard.push_str(&String::from_utf8_lossy(&heard));
        self.heard.contains(text)
    }
}

/// A permission is for one action on one channel for one command: whatever a session waits for, it lends nothing to the
/// channels that it reads already.
#[test]
fn a_reload_takes_a_right_away_at_each_step_of_a_command_that_waits() {
    let about = |op: &str| json!({"op": op, "channel": "d/a"});
    let commands = [
        json!({"op": "subscribe", "channel": "d/a", "presence": {"user": "ada"}}),
        about("history"),
        about("presence"),
        json!({"op": "publish", "channel": "d/a", "data": "1"}),
    ];
    for command in commands {
        for step in 0..=6 {
            let mut guest = Guest::new();
            for done in 0..=6 {
                if done == step {
                    let shut = "{ match = \"plain\", anonymous = [] }";
                    guest.reload(Guest::rules(shut));
                }
                match done {
                    0 => guest.say(&command),
                    2 | 4 => guest.allow(),
                    _ => guest.world.settle(),
                }
            }
            guest.world.settle();
            assert!(
                guest.hears("\"ev\":\"revoked\",\"channel\":\"plain\""),
                "{command}, reloaded at step {step}: {}",
                guest.heard
            );
            guest.heard.clear();
            guest.world.publish(0, &[10]);
            guest.world.settle();
            assert!(
                !guest.hears("\"channel\":\"plain\""),
                "{command}, reloaded at step {step}: {}",
                guest.heard
            );
            let key = LineKey::at(0);
            let read = guest.world.cores[0].shard.session(key).unwrap();
            let expected = 2 * usize::from(command["op"] == "subscribe");
            assert_eq!(read.subscriptions.len(), expected, "{command}, step {step}");
            guest.peer.reset();
            guest.world.finish();
        }
    }
}

/// An answer counts as long as the application is to decide what it was asked.
#[test]
fn what_is_allowed_for_a_command_counts_only_while_the_application_decides_it() {
    for is_before in [true, false] {
        let mut guest = Guest::new();
        guest.say(&json!({"op": "subscribe", "channel": "d/a"}));
        guest.world.settle();
        let mut shut = Guest::rules("{ match = \"other\" }");
        shut.channels.anonymous.clear();
        shut.rules.clear();
        if is_before {
            guest.reload(shut);
            guest.allow();
            guest.world.settle();
            assert!(guest.hears("\"error\":{"), "{}", guest.heard);
        } else {
            guest.allow();
            guest.world.settle();
            guest.reload(shut);
            guest.world.settle();
            let revoked = "\"ev\":\"revoked\",\"channel\":\"d/a\"";
            assert!(guest.hears(revoked), "{}", guest.heard);
        }
        guest.peer.reset();
        guest.world.finish();
    }
}
