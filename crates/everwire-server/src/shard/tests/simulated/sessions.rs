//! Random sessions on two shards: they begin and cease to read channels while others publish, and take what they are
//! sent in bites of any size. Each sees each entry of a channel that it reads once and in order, or one gap.

mod client;

use everwire_wire::{Carrier, Framing};
use proptest::prelude::*;

use self::client::{Client, Published};
use super::world::{Appetite, RETAINED, State, World};
use crate::shard::{Mail, tests::append_as};

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
        presence: bool,
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
    /// A session is ended by a request.
    Delete {
        session: usize,
    },
    /// A channel ends, and another begins under its name.
    Replace {
        channel: usize,
    },
}

const CHANNELS: usize = 3;
/// Two by a WebSocket, two by ndjson, one by a WebSocket through a pipe, one by polls.
const SESSIONS: usize = 6;

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![24 => 0usize..60, 8 => 100usize..3_000, 4 => 4_000usize..30_000, 1 => 64_000usize..140_000];
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
        8 => (0..SESSIONS, 0..CHANNELS, 0u64..30, any::<bool>(), any::<bool>())
            .prop_map(|(session, channel, back, echo, presence)| {
                Step::Subscribe { session, channel, back, echo, presence }
            }),
        4 => (0..SESSIONS, 0..CHANNELS)
            .prop_map(|(session, channel)| Step::Unsubscribe { session, channel }),
        8 => (0..SESSIONS, appetite).prop_map(|(session, appetite)| Step::Eat { session, appetite }),
        16 => (0usize..2).prop_map(Step::Turn),
        1 => (0..SESSIONS).prop_map(|session| Step::Leave { session }),
        1 => (0..SESSIONS).prop_map(|session| Step::Delete { session }),
        2 => (0..CHANNELS).prop_map(|channel| Step::Replace { channel }),
    ]
}

fn play(steps: Vec<Step>, is_drained: bool) {
    let mut world = World::new();
    let mut published = Published::default();
    // Which life each channel is in.
    let mut lives: Vec<usize> = (0..CHANNELS)
        .map(|channel| begin(&mut world, &mut published, channel))
        .collect();
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
                    say(&mut world, &mut published, lives[channel], size, &by);
                }
            }
            Step::Subscribe {
                session,
                channel,
                back,
                echo,
                presence,
            } => clients[session].subscribe(&world, channel, back, echo, presence),
            Step::Unsubscribe { session, channel } => clients[session].unsubscribe(&world, channel),
            Step::Eat { session, appetite } => clients[session].eat(appetite),
            Step::Turn(core) => {
                world.turn(core);
            }
            Step::Leave { session } => clients[session].leave(),
            Step::Delete { session } => clients[session].delete(&world),
            Step::Replace { channel } => {
                world.delete(lives[channel]);
                lives[channel] = begin(&mut world, &mut published, channel);
            }
        }
        for client in &mut clients {
            client.hear(&published);
        }
    }
    if is_drained {
        for core in &world.cores {
            core.shard.mailbox.post(Mail::Drain);
        }
    }
    // What was not said for want of room is said when there is some. A pipe takes little in each round.
    for _ in 0..400 {
        for client in &mut clients {
            client.eat(Appetite::All);
            client.hear(&published);
        }
        world.settle();
    }
    for client in clients.iter_mut().filter(|client| !client.has_left) {
        client.hear(&published);
        if is_drained {
            client.assert_drained();
        } else {
            client.assert_content(&published);
            client.assert_reads(&world);
        }
    }
    if !is_drained {
        for channel in 0..CHANNELS {
            let present = clients.iter().filter(|client| client.is_present(channel));
            assert_eq!(world.members(&channel.to_string()), present.count());
        }
    }
    clients.iter_mut().for_each(Client::leave);
    world.finish();
}

/// A new life of a channel.
fn begin(world: &mut World, published: &mut Published, channel: usize) -> usize {
    let life = world.create(&channel.to_string());
    let head = world.lives[life].channel.lock().core().log().head();
    published.0.push((head.epoch, Vec::new()));
    life
}

fn say(world: &mut World, published: &mut Published, life: usize, size: usize, by: &str) {
    let entries = &mut published.0[life].1;
    let payload = vec![b'a' + (entries.len() % 26) as u8; size];
    append_as(&world.lives[life].channel, &payload, by);
    entries.push((by.to_owned(), payload));
    world.look();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn each_session_sees_each_entry_of_what_it_reads_once(
        steps in prop::collection::vec(step(), 1..120),
        is_drained in prop::bool::weighted(0.2),
    ) {
        play(steps, is_drained);
    }
}

/// A channel in which much is said does not keep a slow session from hearing another.
#[test]
fn a_busy_channel_starves_no_other_of_its_line() {
    let mut world = World::new();
    let mut published = Published::default();
    let [busy, quiet] = [0, 1].map(|channel| begin(&mut world, &mut published, channel));
    let mut client = Client::new(&mut world, 0, 1_000);
    for channel in [0, 1] {
        client.subscribe(&world, channel, 0, true, false);
    }
    world.settle();
    client.hear(&published);
    // It takes less than the busy channel has for it.
    for _ in 0..RETAINED - 1 {
        say(&mut world, &mut published, busy, 20_000, "somebody");
    }
    say(&mut world, &mut published, quiet, 10, "somebody");
    world.settle();
    for taken in 0.. {
        assert!(
            taken < 12,
            "the quiet channel is not heard before the busy one"
        );
        client.eat(Appetite::Bytes {
            room: 20_000,
            bite: usize::MAX,
        });
        world.settle();
        client.hear(&published);
        if client.sequence("1") == 1 {
            break;
        }
    }
    assert!(client.sequence("0") < RETAINED - 1);
    client.eat(Appetite::All);
    world.settle();
    client.hear(&published);
    client.assert_content(&published);
    client.leave();
    world.finish();
}

/// A line may be sent the end of one channel and block inside an entry of another, in one call.
#[test]
fn an_end_that_was_told_as_the_line_blocked_is_not_forgotten() {
    let mut world = World::new();
    let mut published = Published::default();
    let [ending, other] = [0, 1].map(|channel| begin(&mut world, &mut published, channel));
    let mut client = Client::new(&mut world, 0, 1_000);
    for channel in [0, 1] {
        client.subscribe(&world, channel, 0, true, true);
    }
    world.settle();
    client.hear(&published);
    say(&mut world, &mut published, other, 20_000, "somebody");
    world.delete(ending);
    world.settle();
    client.eat(Appetite::All);
    world.settle();
    client.hear(&published);
    client.assert_content(&published);
    client.assert_reads(&world);
    assert_eq!(world.members("0"), 0);
    client.leave();
    world.finish();
}

/// A few bytes may ask for much: what is answered first has to be taken before more is looked for.
#[test]
fn whoever_asks_for_much_is_answered_as_it_takes_the_answers() {
    let mut world = World::new();
    let mut published = Published::default();
    let life = begin(&mut world, &mut published, 0);
    for _ in 0..RETAINED {
        say(&mut world, &mut published, life, 20_000, "somebody");
    }
    // A socket, and a WebSocket that writes into a pipe.
    for number in [0, 4] {
        let mut client = Client::new(&mut world, number, 0);
        client.eat(Appetite::Bytes { room: 0, bite: 1 });
        for _ in 0..100 {
            client.history(&world, 0);
        }
        let mut rounds = 0;
        while client.awaits_answers() {
            world.settle();
            assert!(world.bytes_to_say() < 8 << 20, "answers pile up");
            client.eat(Appetite::All);
            client.hear(&published);
            rounds += 1;
            assert!(rounds < 2000, "an answer does not come");
        }
        client.leave();
    }
    world.finish();
}

/// Only an answer tells that a peer is there: into the buffers of one that is gone, a few entries go for a long time.
#[test]
fn a_websocket_that_answers_nothing_is_ended_though_entries_flow() {
    let session = Framing::Session(Carrier::WebSocket { window: None });
    for framing in [Framing::Raw { window: None }, session] {
        let mut world = World::new();
        let life = world.create("0");
        let reader = world.join(0, life, framing, 0, Appetite::All);
        world.readers[reader].deaf = true;
        for _ in 0..20 {
            world.pass(5);
            world.publish(life, &[10]);
        }
        assert_ne!(world.readers[reader].state, State::Open, "{framing:?}");
        world.finish();
    }
}

/// Whoever takes a long reply slowly is there, though it is asked nothing meanwhile.
#[test]
fn a_long_reply_may_be_taken_slowly() {
    let mut world = World::new();
    let mut published = Published::default();
    let life = begin(&mut world, &mut published, 0);
    for _ in 0..RETAINED {
        say(&mut world, &mut published, life, 20_000, "somebody");
    }
    let mut client = Client::new(&mut world, 0, 1_000);
    client.history(&world, 0);
    for _ in 0..RETAINED + 2 {
        world.pass(10);
        client.eat(Appetite::Bytes {
            room: 20_000,
            bite: usize::MAX,
        });
        client.hear(&published);
    }
    assert!(!client.awaits_answers());
    client.assert_reads(&world);
    client.leave();
    world.finish();
}

/// Its pipe is full, and nobody will take what is in it.
#[test]
fn whoever_goes_while_it_is_behind_is_gone() {
    // A WebSocket that writes into a pipe, and a session by polls.
    for (number, is_deleted) in [(4, false), (5, false), (5, true)] {
        let mut world = World::new();
        let mut published = Published::default();
        let life = begin(&mut world, &mut published, 0);
        let mut client = Client::new(&mut world, number, 0);
        client.subscribe(&world, 0, 0, true, false);
        world.settle();
        client.eat(Appetite::Bytes { room: 0, bite: 1 });
        for _ in 0..RETAINED {
            say(&mut world, &mut published, life, 3_000, "somebody");
            world.settle();
        }
        match is_deleted {
            true => client.delete(&world),
            false => client.leave(),
        }
        world.settle();
        assert_eq!(world.shared.census.lines(), 0, "session {number}");
        world.finish();
    }
}
