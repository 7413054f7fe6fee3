//! What can go wrong between two things that happen at once, one test for each.

use everwire_wire::{Carrier, Framing};

use super::world::{Appetite, World};
use crate::shard::{SLICE, tests::RAW};

/// More readers than a shard sends to in one turn.
const CROWD: usize = SLICE + 10;

/// A world in which a crowd reads one channel, and has had some of an entry's walk.
fn in_mid_walk(sizes: &[usize]) -> World {
    let mut world = World::new();
    world.create("c");
    for _ in 0..CROWD {
        world.join(0, 0, RAW, 0, Appetite::All);
    }
    world.settle();
    world.publish(0, sizes);
    world.turn(0);
    assert_eq!(heard(&world), 0, "a long walk begins one turn later");
    world.turn(0);
    assert_eq!(heard(&world), SLICE, "the rest is met in the next turn");
    world
}

/// How many readers have all that was published.
fn heard(world: &World) -> usize {
    let all = world.lives[0].entries.len() as u64;
    let has_all = |reader: &&super::world::Reader| reader.sequence == all;
    world.readers.iter().filter(has_all).count()
}

/// Several publishers answer to the same delivery, one after the other: each line takes all of theirs at once.
#[test]
fn a_long_walk_begins_when_those_who_publish_at_the_same_time_were_heard() {
    let mut world = World::new();
    world.create("c");
    for _ in 0..CROWD {
        world.join(0, 0, RAW, 0, Appetite::All);
    }
    world.settle();
    world.publish(0, &[10]);
    world.turn(0);
    world.publish(0, &[10]);
    world.turn(0);
    assert_eq!(heard(&world), SLICE, "each line that was met has both");
    world.settle();
    assert_eq!(heard(&world), CROWD);
    world.finish();
}

/// Lines stand in different pieces of the tail while it grows and gives its oldest piece back.
#[test]
fn a_walk_goes_on_over_what_is_published_meanwhile() {
    let mut world = in_mid_walk(&[10]);
    for size in [2_000, 70_000, 3, 5] {
        world.publish(0, &[size, size]);
        world.turn(0);
    }
    world.settle();
    assert_eq!(heard(&world), CROWD);
    world.finish();
}

/// The last line takes the place of the one that left; the walk has passed that place.
#[test]
fn a_line_that_moves_behind_the_walk_is_met_all_the_same() {
    for left in [0, 7, SLICE - 1] {
        let mut world = in_mid_walk(&[10]);
        world.readers[left].peer.reset();
        world.readers[left].state = super::world::State::Left;
        world.settle();
        assert_eq!(heard(&world), CROWD, "after line {left} left");
        world.finish();
    }
}

/// Somebody publishes as soon as the first byte of the answer is out: a reader that sees its answer may do so itself.
#[test]
fn what_is_published_while_the_answer_is_sent_reaches_the_line() {
    for others in [0, 1] {
        let mut world = World::new();
        world.create("c");
        for _ in 0..others {
            world.join(0, 0, RAW, 0, Appetite::All);
        }
        world.publish_mid_send(0, 0, &[10]);
        world.join(0, 0, RAW, 0, Appetite::All);
        world.settle();
        assert_eq!(heard(&world), others + 1, "beside {others} others");
        world.finish();
    }
}

/// No lock is held while bytes are sent, and what comes then is not forgotten.
#[test]
fn what_is_published_in_the_middle_of_a_walk_reaches_all() {
    let mut world = in_mid_walk(&[10]);
    world.publish_mid_send(0, 0, &[10, 5_000]);
    world.settle();
    assert_eq!(heard(&world), CROWD);
    world.finish();
}

/// The queue gives fewer events than there are; nothing tells of the others once more.
#[test]
fn a_shard_does_not_sleep_on_a_full_batch_of_events() {
    let mut world = World::new();
    world.create("c");
    for _ in 0..5 {
        world.join(0, 0, RAW, 0, Appetite::All);
    }
    world.settle();
    world.cores[0].net.set_batch(2);
    for reader in &mut world.readers {
        reader.ping(0);
    }
    world.finish();
}

/// Pongs wait for the end of the entry that a line is inside of, however few bytes it takes at a time.
#[test]
fn a_pong_never_lands_in_an_entry() {
    for framing in [RAW, Framing::Session(Carrier::WebSocket { window: None })] {
        let mut world = World::new();
        world.create("c");
        let bites = Appetite::Bytes {
            room: 1_000,
            bite: 600,
        };
        let slow = world.join(0, 0, framing, 0, bites);
        for size in [100, 9_000, 300, 5_000] {
            world.publish(0, &[size]);
            for _ in 0..12 {
                world.readers[slow].ping(0);
                world.settle();
                world.readers[slow].eat(bites);
                world.settle();
            }
        }
        world.finish();
    }
}

/// A line ends and its number is given to another, while events, timers and turns of the first are still to come.
#[test]
fn what_was_meant_for_a_line_does_not_reach_the_next_of_its_number() {
    let mut world = World::new();
    world.create("c");
    let hungry = Appetite::Bytes {
        room: 100,
        bite: 100,
    };
    for _ in 0..3 {
        world.join(0, 0, RAW, 0, hungry);
    }
    world.publish(0, &[50_000]);
    world.settle();
    for reader in 0..3 {
        // Readable, writable and at its end at once.
        world.readers[reader].ping(3);
        world.readers[reader].eat(Appetite::All);
        world.readers[reader].peer.reset();
        world.readers[reader].state = super::world::State::Left;
    }
    world.settle();
    let head = world.lives[0].entries.len() as u64;
    for _ in 0..3 {
        world.join(0, 0, RAW, head, Appetite::All);
    }
    assert_eq!(
        world.cores[0].shard.lines.len(),
        3,
        "the numbers are used again"
    );
    // Beyond the stall timers of the first lines.
    world.pass(40);
    world.publish(0, &[10]);
    world.finish();
}
