//! Anything that can happen, in any order, against a naive model: each reader gets each entry once, in order and
//! intact, or is told of a gap; and at the end nothing is kept for anybody.

use everwire_wire::{Carrier, Framing, Transfer};
use proptest::prelude::*;

use super::world::{Appetite, State, World};
use crate::shard::tests::RAW;

/// One thing that happens. Numbers name whatever there is, modulo how many there are.
#[derive(Clone, Debug)]
enum Step {
    Publish {
        life: usize,
        sizes: Vec<usize>,
    },
    /// Another thread publishes while the next bytes are sent.
    PublishMidSend {
        core: usize,
        life: usize,
        sizes: Vec<usize>,
    },
    Join {
        count: usize,
        core: usize,
        life: usize,
        wire: usize,
        back: u64,
        appetite: Appetite,
    },
    ComeBack {
        reader: usize,
        appetite: Appetite,
    },
    Eat {
        reader: usize,
        appetite: Appetite,
    },
    Ping {
        reader: usize,
        later: usize,
    },
    Say {
        reader: usize,
        later: usize,
    },
    Deafen {
        reader: usize,
    },
    Leave {
        reader: usize,
        manner: Manner,
    },
    Delete {
        life: usize,
    },
    /// The queues give so many events at a time.
    Batch(usize),
    Turn(usize),
    Pass {
        seconds: u64,
    },
}

/// How a reader leaves.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Close,
    End,
    Reset,
}

const WIRES: [Framing; 3] = [
    RAW,
    Framing::Session(Carrier::WebSocket { window: None }),
    Framing::Ndjson(Transfer::Chunked),
];

const CHANNELS: [&str; 2] = ["a", "b"];

fn step() -> impl Strategy<Value = Step> {
    let any_one = any::<prop::sample::Index>;
    let number = move || any_one().prop_map(|index| index.index(1 << 16));
    prop_oneof![
        12 => (number(), sizes()).prop_map(|(life, sizes)| Step::Publish { life, sizes }),
        3 => (0usize..2, number(), sizes())
            .prop_map(|(core, life, sizes)| Step::PublishMidSend { core, life, sizes }),
        8 => (prop_oneof![9 => Just(1), 1 => 60usize..90], 0usize..2, number(), 0usize..3, 0u64..40, appetite())
            .prop_map(|(count, core, life, wire, back, appetite)| {
                Step::Join { count, core, life, wire, back, appetite }
            }),
        3 => (number(), appetite()).prop_map(|(reader, appetite)| Step::ComeBack { reader, appetite }),
        8 => (number(), appetite()).prop_map(|(reader, appetite)| Step::Eat { reader, appetite }),
        4 => (number(), 0usize..8).prop_map(|(reader, later)| Step::Ping { reader, later }),
        1 => (number(), 0usize..20).prop_map(|(reader, later)| Step::Say { reader, later }),
        1 => number().prop_map(|reader| Step::Deafen { reader }),
        3 => (number(), prop_oneof![Just(Manner::Close), Just(Manner::End), Just(Manner::Reset)])
            .prop_map(|(reader, manner)| Step::Leave { reader, manner }),
        1 => number().prop_map(|life| Step::Delete { life }),
        1 => (1usize..4).prop_map(Step::Batch),
        20 => (0usize..2).prop_map(Step::Turn),
        2 => (1u64..60).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

/// Payloads that fit in anything, that are more than is kept of an entry for a slow line, and in between.
fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![24 => 0usize..60, 8 => 100usize..3_000, 4 => 4_000usize..30_000, 1 => 64_000usize..140_000];
    prop::collection::vec(size, 1..7)
}

/// Everything, some bytes in small bites, or much in large ones.
fn appetite() -> impl Strategy<Value = Appetite> {
    let some = prop_oneof![
        (0usize..40, 1usize..20),
        (
            100usize..10_000,
            prop_oneof![300usize..3_000, Just(usize::MAX)]
        ),
    ];
    prop_oneof![
        Just(Appetite::All),
        some.prop_map(|(room, bite)| Appetite::Bytes { room, bite }),
    ]
}

/// Does these steps, and has everybody get everything in the end.
fn play(mut world: World, steps: Vec<Step>) {
    let mut living: Vec<usize> = CHANNELS.iter().map(|name| world.create(name)).collect();
    for step in steps {
        let readers = world.readers.len().max(1);
        let channel = |life: usize| life % CHANNELS.len();
        match step {
            Step::Publish { life, sizes } => world.publish(living[channel(life)], &sizes),
            Step::PublishMidSend { core, life, sizes } => {
                world.publish_mid_send(core, living[channel(life)], &sizes);
            }
            Step::Join {
                count,
                core,
                life,
                wire,
                back,
                appetite,
            } => {
                let life = living[channel(life)];
                let head = world.lives[life].entries.len() as u64;
                for _ in 0..count {
                    let from = head.saturating_sub(back);
                    world.join(core, life, WIRES[wire], from, appetite);
                }
            }
            Step::Delete { life } => {
                let channel = channel(life);
                world.delete(living[channel]);
                living[channel] = world.create(CHANNELS[channel]);
            }
            Step::Batch(events) => world
                .cores
                .iter()
                .for_each(|core| core.net.set_batch(events)),
            Step::Turn(core) => drop(world.turn(core)),
            Step::Pass { seconds } => world.pass(seconds),
            _ if world.readers.is_empty() => {}
            Step::ComeBack { reader, appetite } => world.come_back(reader % readers, appetite),
            Step::Eat { reader, appetite } => world.readers[reader % readers].eat(appetite),
            Step::Ping { reader, later } => world.readers[reader % readers].ping(later),
            Step::Say { reader, later } => world.readers[reader % readers].publish(later),
            Step::Deafen { reader } => world.readers[reader % readers].deaf = true,
            Step::Leave { reader, manner } => leave(&mut world, reader % readers, manner),
        }
    }
    world.finish();
}

fn leave(world: &mut World, reader: usize, manner: Manner) {
    let reader = &mut world.readers[reader];
    if reader.state != State::Open {
        return;
    }
    match manner {
        Manner::Close => reader.close(),
        Manner::End => reader.peer.end(),
        Manner::Reset => reader.peer.reset(),
    }
    reader.state = State::Left;
}

proptest! {
    #[test]
    fn each_reader_gets_each_entry_once_or_is_told_of_a_gap(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        play(World::new(), steps);
    }
}

proptest! {
    // Each reader costs a handshake.
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 64 } else { 256 }))]

    /// Records come in pieces of any size there and back, and what a socket has not taken of one goes before all else.
    #[test]
    fn under_tls_too(steps in prop::collection::vec(step(), 1..120)) {
        let few = |step: &Step| !matches!(step, Step::Join { count: 2.., .. });
        play(World::under_tls(), steps.into_iter().filter(few).collect());
    }
}

proptest! {
    /// A stream of HTTP/2 has no socket: its line speaks through a pipe, and everything else is the same.
    #[test]
    fn through_pipes_too(steps in prop::collection::vec(step(), 1..120)) {
        play(World::through_pipes(), steps);
    }
}
