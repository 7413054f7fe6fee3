//! What a program does with a line, and what it sees.

use std::time::Duration;

use serde_json::{Value, json};

use super::network::Fault;
use super::world::World;
use crate::line::command::{Command, History};
use crate::line::core::{Core, Taken, Update};
use crate::line::wire::Happened;
use crate::{
    AlreadySubscribed, AskError, Data, LineOptions, LineWire, Presence, Start, SubscribeOptions,
};

const A_MOMENT: Duration = Duration::from_millis(10);

fn opened(wires: &[LineWire]) -> World {
    let mut world = World::new();
    let options = LineOptions {
        wires: wires.to_vec(),
        ..LineOptions::default()
    };
    world.connect(options, None);
    world.advance(A_MOMENT);
    world
}

fn from_the_beginning() -> SubscribeOptions {
    SubscribeOptions {
        start: Start::Beginning,
        ..SubscribeOptions::default()
    }
}

fn present(user: &str) -> SubscribeOptions {
    SubscribeOptions {
        presence: Some(Presence {
            user: Some(user.into()),
            ..Presence::default()
        }),
        ..SubscribeOptions::default()
    }
}

#[test]
fn a_slow_reader_has_its_channel_left_instead_of_filling_the_memory_and_misses_nothing() {
    for wire in LineWire::ALL {
        let mut world = opened(&[wire]);
        let options = SubscribeOptions {
            waiting_max: 10,
            ..from_the_beginning()
        };
        world.hold("busy", options);
        world.advance(A_MOMENT);
        for n in 0..200 {
            world.serve(|server| server.append("busy", json!(n), None));
            world.advance(Duration::from_millis(1));
        }
        let is_left = world
            .server
            .sessions
            .values()
            .all(|session| session.channels.is_empty());
        assert!(is_left, "over {wire} the channel was not left");
        let mut seen = Vec::new();
        while seen.len() < 200 {
            let taken = world.take("busy");
            if taken.is_none() {
                world.advance(A_MOMENT);
            }
            seen.extend(taken.and_then(|entry| entry.as_u64()));
            assert!(world.now < Duration::from_secs(60), "{wire}: {seen:?}");
        }
        assert_eq!(seen, (0..200).collect::<Vec<_>>(), "{wire}");
    }
}

#[test]
fn a_reader_of_whom_much_waits_is_told_so_that_it_can_be_waited_for() {
    let mut world = opened(&LineWire::ALL);
    let options = SubscribeOptions {
        waiting_max: 10,
        ..from_the_beginning()
    };
    world.hold("a", options);
    world.advance(A_MOMENT);
    for (append, expected) in [(5, false), (1, true), (3, true), (1, false)] {
        for _ in 0..append {
            world.serve(|server| server.append("a", json!(1), None));
        }
        world.advance(A_MOMENT);
        let is_pressed = world.with(|line, _| line.is_pressed());
        assert_eq!(is_pressed, expected, "{append} more");
    }
    // Full, its channel was left, and nobody waits for it.
    while world.take("a").is_some() {
        assert!(!world.with(|line, _| line.is_pressed()));
    }
}

#[test]
fn a_message_that_cannot_be_read_disturbs_no_channel_of_its_line() {
    let mut world = opened(&[LineWire::WebSocket]);
    for channel in ["a", "b"] {
        world.subscribe(channel, from_the_beginning());
    }
    world.advance(A_MOMENT);
    for (bad, of_line) in [
        (r#"{"ev":"entry","channel":"a","data":1}"#, 0),
        (r#"{"ev":"join","channel":"a"}"#, 0),
        (r#"{"ev":"entry","channel":"elsewhere","data":1}"#, 1),
        ("no JSON", 2),
    ] {
        world.with(|line, now| line.handle(1, Happened::Text(bad.into()), now));
        for channel in ["a", "b"] {
            world.serve(|server| server.append(channel, json!(bad), None));
        }
        world.advance(A_MOMENT);
        assert_eq!(world.with(|line, _| line.unreadable()), of_line, "{bad}");
    }
    for (channel, unreadable) in [("a", 2), ("b", 0)] {
        let seen = &world.seen[channel];
        assert_eq!(seen.entries.len(), 4, "{channel}");
        assert_eq!(seen.unreadable.len(), unreadable, "{channel}");
    }
    assert_eq!(
        world.server.sessions.len(),
        1,
        "the line was not opened again"
    );
}

#[test]
fn two_lines_see_each_other_come_and_go_over_every_wire() {
    for wire in LineWire::ALL {
        let mut world = opened(&[wire]);
        world.subscribe("lobby", present("ada"));
        world.advance(A_MOMENT);
        assert_eq!(world.seen["lobby"].presence, ["members: ~ada×1"], "{wire}");
        world.seen.get_mut("lobby").unwrap().presence.clear();
        // The user of the first line is the one who is seen.
        world.connect(LineOptions::default(), None);
        world.hold("lobby", present("bob"));
        world.advance(A_MOMENT);
        world.unsubscribe("lobby");
        world.advance(A_MOMENT);
        let expected = ["join: ~bob", "leave: ~bob"];
        assert_eq!(world.seen["lobby"].presence, expected, "{wire}");
    }
}

#[test]
fn presence_is_resumed_after_a_cut_and_a_hole_in_its_log_gets_a_snapshot() {
    for wire in LineWire::ALL {
        let mut world = opened(&[wire]);
        let watch = SubscribeOptions {
            presence: Some(Presence {
                join: false,
                ..Presence::default()
            }),
            ..SubscribeOptions::default()
        };
        world.subscribe("lobby", watch);
        world.connect(LineOptions::default(), None);
        world.hold("lobby", present("bob"));
        world.advance(A_MOMENT);
        assert_eq!(
            world.seen["lobby"].presence,
            ["members: ", "join: ~bob"],
            "{wire}"
        );
        world.seen.get_mut("lobby").unwrap().presence.clear();

        world.serve(|server| server.close_lines(1013));
        world.unsubscribe("lobby");
        world.advance(Duration::from_secs(5));
        assert_eq!(world.seen["lobby"].presence, ["leave: ~bob"], "{wire}");

        world.seen.get_mut("lobby").unwrap().presence.clear();
        world.serve(|server| server.lose_presence_log("lobby"));
        world.advance(A_MOMENT);
        assert_eq!(world.seen["lobby"].presence, ["members: "], "{wire}");
    }
}

#[test]
fn a_channel_without_echo_leaves_out_what_its_line_publishes() {
    for wire in LineWire::ALL {
        let mut world = opened(&[wire]);
        let options = SubscribeOptions {
            echo: false,
            ..SubscribeOptions::default()
        };
        world.subscribe("a", options);
        world.subscribe("b", SubscribeOptions::default());
        for channel in ["a", "b"] {
            world.publish(channel, &json!("mine"));
        }
        world.advance(A_MOMENT);
        for channel in ["a", "b"] {
            world.serve(|server| server.append(channel, json!("another's"), Some("p9")));
        }
        world.advance(A_MOMENT);
        assert_eq!(world.seen["a"].entries, ["another's"], "{wire}");
        assert_eq!(world.seen["b"].entries, ["mine", "another's"], "{wire}");
    }
}

#[test]
fn history_is_asked_for_once_the_line_is_open() {
    let mut world = World::new();
    world.server.up = false;
    world.serve(|server| server.append("a", json!({"n": 1}), None));
    world.connect(LineOptions::default(), None);
    let question = Command::history("a", &Start::Beginning, 100);
    let ticket = world.with(|line, now| line.ask(question, now));
    world.advance(Duration::from_secs(3));
    assert!(world.answers.is_empty());
    world.server.up = true;
    world.advance(Duration::from_secs(30));
    let answer = world.answers.remove(&ticket).unwrap().unwrap();
    let history = History::parse(&answer).unwrap();
    assert_eq!(history.entries[0].data, Data::Json(r#"{"n":1}"#.into()));
    assert!(history.up_to_date);
}

#[test]
fn a_message_that_is_too_large_for_the_server_fails_and_is_not_sent_for_ever() {
    for wire in LineWire::ALL {
        let mut world = opened(&[wire]);
        world.server.message_bytes_max = 1000;
        world.publish("a", &json!("small"));
        world.publish("a", &json!("large".repeat(1000)));
        world.advance(Duration::from_secs(10));
        let mut outcomes = world.outcomes.clone();
        outcomes.sort();
        assert_eq!(outcomes, ["ok", "too-large"], "{wire}");
        assert_eq!(world.log("a"), ["small"], "{wire}");
    }
}

#[test]
fn publications_that_waited_go_out_in_pieces_all_of_them_in_order() {
    for wire in LineWire::ALL {
        let mut world = World::new();
        world.server.up = false;
        let options = LineOptions {
            wires: vec![wire],
            ..LineOptions::default()
        };
        world.connect(options, None);
        let wanted: Vec<_> = (0..300).map(Value::from).collect();
        for data in &wanted {
            world.publish("a", data);
        }
        world.server.up = true;
        world.network.faults.insert(wire, Fault::Delay { ms: 100 });
        let mut most = 0;
        for _ in 0..60 {
            let before = world.log("a").len();
            world.advance(Duration::from_millis(100));
            most = most.max(world.log("a").len() - before);
        }
        assert_eq!(world.log("a"), wanted, "{wire}");
        assert!(most <= 64, "{most} at once over {wire}");
    }
}

#[test]
fn over_http_commands_keep_their_order_however_slow_each_request_is() {
    let mut world = opened(&[LineWire::EventStream]);
    let wanted: Vec<_> = (1..=5).map(Value::from).collect();
    for (n, data) in wanted.iter().enumerate() {
        let ms = 500 - 100 * n as u64;
        world
            .network
            .faults
            .insert(LineWire::EventStream, Fault::Delay { ms });
        world.publish("a", data);
        world.advance(Duration::from_millis(1));
    }
    world.advance(Duration::from_secs(3));
    assert_eq!(world.log("a"), wanted);
}

#[test]
fn a_channel_is_read_once_at_a_time_on_a_line_and_again_after_it_was_left() {
    for wire in LineWire::ALL {
        let mut world = opened(&[wire]);
        world.subscribe("a", from_the_beginning());
        let again = world.with(|line, now| line.subscribe("a", from_the_beginning(), now));
        assert_eq!(again, Err(AlreadySubscribed), "{wire}");
        world.serve(|server| server.append("a", json!(1), None));
        world.advance(A_MOMENT);
        // Left, and entries come before the server knows.
        world.with(|line, now| {
            let id = line.by_name["a"];
            line.unsubscribe(id, now);
        });
        world.serve(|server| server.append("a", json!(2), None));
        let id = world
            .with(|line, now| line.subscribe("a", SubscribeOptions::default(), now))
            .unwrap();
        world.advance(A_MOMENT);
        let taken = world.with(|line, now| line.take(id, now));
        assert_eq!(
            taken,
            Taken::Pending,
            "over {wire} an entry of the past was told"
        );
        world.serve(|server| server.append("a", json!(3), None));
        world.advance(A_MOMENT);
        match world.with(|line, now| line.take(id, now)) {
            Taken::Update(Update::Entry(entry)) => {
                assert_eq!(entry.data.as_bytes(), b"3", "{wire}");
            }
            taken => panic!("over {wire}: {taken:?}"),
        }
    }
}

#[test]
fn a_channel_that_is_joined_again_begins_with_its_last_subscription_however_late_the_first_one_does()
 {
    let second = Duration::from_secs(1);
    for wire in [LineWire::EventStream, LineWire::Ndjson] {
        let mut world = opened(&[wire]);
        world.network.faults.insert(wire, Fault::Delay { ms: 1000 });
        let join = |world: &mut World| {
            let options = SubscribeOptions::default();
            world
                .with(|line, now| line.subscribe("a", options, now))
                .unwrap()
        };
        let first = join(&mut world);
        world.advance(second + A_MOMENT);
        // The server reads the channel for us, and what it says of that is on its way.
        world.serve(|server| server.append("a", json!("past"), None));
        world.with(|line, now| line.unsubscribe(first, now));
        let second_one = join(&mut world);
        world.advance(3 * second);
        world.serve(|server| server.append("a", json!("new"), None));
        world.advance(2 * second);
        match world.with(|line, now| line.take(second_one, now)) {
            Taken::Update(Update::Entry(entry)) => {
                assert_eq!(entry.data, Data::Text("new".into()), "{wire}");
            }
            taken => panic!("over {wire}: {taken:?}"),
        }
    }
}

#[test]
fn a_subscription_that_is_refused_for_now_is_asked_for_again() {
    for wire in LineWire::ALL {
        let mut world = opened(&[wire]);
        world.server.refuse_subscriptions = 2;
        world.subscribe("a", SubscribeOptions::default());
        world.advance(Duration::from_secs(5));
        world.serve(|server| server.append("a", json!(1), None));
        world.advance(A_MOMENT);
        assert_eq!(world.seen["a"].entries, [1], "{wire}");
    }
}

#[test]
fn closing_a_line_ends_its_channels_and_what_waits() {
    let mut world = World::new();
    world.server.up = false;
    world.connect(LineOptions::default(), None);
    world.subscribe("a", SubscribeOptions::default());
    world.publish("a", &json!(1));
    world.with(Core::close);
    world.publish("a", &json!(2));
    world.subscribe("b", SubscribeOptions::default());
    assert_eq!(world.outcomes, ["closed", "closed"]);
    for channel in ["a", "b"] {
        assert_eq!(
            world.seen[channel].ended.as_deref(),
            Some("closed"),
            "{channel}"
        );
    }
    assert_eq!(world.with(|line, _| line.wake_at()), None);
}

#[test]
fn a_question_that_nobody_waits_for_is_not_sent() {
    let mut world = World::new();
    world.server.up = false;
    world.connect(LineOptions::default(), None);
    let ticket = world.with(|line, now| line.ask(Command::members("a"), now));
    world.with(|line, _| line.forget(ticket));
    world.server.up = true;
    world.advance(Duration::from_secs(30));
    assert_eq!(world.state(), "open");
    assert!(!world.answers.contains_key(&ticket));
}

#[test]
fn a_queue_that_is_full_in_bytes_takes_no_more() {
    let mut world = World::new();
    world.server.up = false;
    let options = LineOptions {
        queue_bytes_max: 150,
        ..LineOptions::default()
    };
    world.connect(options, None);
    world.publish("a", &json!("x".repeat(50)));
    world.publish("a", &json!("x".repeat(50)));
    assert_eq!(world.outcomes, ["queue-full"]);
    let ticket = world.with(|line, now| line.ask(Command::members("a"), now));
    assert!(!matches!(
        world.answers.get(&ticket),
        Some(Err(AskError::QueueFull { .. }))
    ));
}
