//! Whatever the network does, each entry comes once and in order, and each publication is appended once. Chance
//! follows from a seed, which a failure names.

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use super::network::Fault;
use super::world::World;
use crate::line::core::Core;
use crate::{LineOptions, LineWire, Start, SubscribeOptions};

/// Enough to meet each fault in most states; `EVERWIRE_SEEDS` looks longer.
fn seeds() -> u64 {
    std::env::var("EVERWIRE_SEEDS").map_or(30, |seeds| seeds.parse().expect("a number"))
}

#[test]
fn entries_come_once_and_in_order_and_publications_are_appended_once() {
    for seed in 0..seeds() {
        live(seed, &LineWire::ALL);
        for wire in LineWire::ALL {
            live(seed, &[wire]);
        }
    }
}

fn live(seed: u64, wires: &[LineWire]) {
    let mut rng = Rng::with_seed(seed);
    let mut world = World::new();
    let options = LineOptions {
        wires: wires.to_vec(),
        ..LineOptions::default()
    };
    let token_life = rng.bool().then_some(Duration::from_secs(100));
    world.connect(options, token_life);
    let from_the_beginning = SubscribeOptions {
        start: Start::Beginning,
        waiting_max: 4,
        ..SubscribeOptions::default()
    };
    // One channel is taken at once; the other slowly, and left and come back to.
    world.subscribe("a", from_the_beginning.clone());
    world.hold("b", from_the_beginning.clone());
    let mut slow = Vec::new();
    let (mut published, mut appended) = (0, 0);
    for _ in 0..25 {
        let wire = wires[rng.usize(..wires.len())];
        world.network.faults.insert(wire, fault(&mut rng));
        world.roll = rng.f64();
        if rng.f64() < 0.7 {
            appended += 1;
            world.serve(|server| server.append("a", json!(appended), None));
        }
        if rng.f64() < 0.7 {
            for _ in 0..3 {
                appended += 1;
                world.serve(|server| server.append("b", json!(appended), None));
            }
        }
        if rng.bool() {
            published += 1;
            world.publish("c", &json!(published));
        }
        let happens = |rng: &mut Rng| rng.f64() < 0.1;
        if happens(&mut rng) {
            world.server.lose_replies = 1;
        }
        if happens(&mut rng) {
            world.serve(|server| server.restart(true));
        }
        if happens(&mut rng) {
            let after_ms = rng.u64(..5000);
            world.serve(|server| server.drain(after_ms));
        }
        if happens(&mut rng) {
            world.with(Core::wake);
        }
        if rng.bool() {
            slow.extend(world.take("b"));
        }
        if rng.f64() < 0.2 {
            // What waits is read again.
            while let Some(entry) = world.take("b") {
                slow.push(entry);
            }
            world.unsubscribe("b");
            world.hold("b", from_the_beginning.clone());
        }
        let ms = [1, 10, 1000, 30_000][rng.usize(..4)];
        world.advance(Duration::from_millis(ms));
    }
    world.network.faults.clear();
    for _ in 0..100 {
        world.advance(Duration::from_secs(10));
        while let Some(entry) = world.take("b") {
            slow.push(entry);
        }
    }
    let place = format!("seed {seed} over {wires:?}");
    assert_eq!(world.state(), "open", "{place}");
    let (a, b, c) = (world.log("a"), world.log("b"), world.log("c"));
    assert_eq!(world.seen["a"].entries, a, "{place}: entries");
    assert_eq!(slow, b, "{place}: entries that are taken slowly");
    assert_eq!(world.seen["a"].gaps, 0, "{place}: gaps");
    assert_eq!(world.outcomes, vec!["ok"; published], "{place}: outcomes");
    let once: BTreeSet<_> = c.iter().filter_map(Value::as_u64).collect();
    let wanted = (1..=published as u64).collect();
    assert_eq!(
        (c.len(), once),
        (published, wanted),
        "{place}: what was appended"
    );
}

fn fault(rng: &mut Rng) -> Fault {
    let refuse = |status| Fault::Refuse {
        status,
        problem: None,
        retry_after_s: None,
    };
    match rng.u32(..9) {
        0 | 1 => Fault::None,
        2 => refuse(None),
        3 => refuse(Some(502)),
        4 => Fault::Swallow,
        5 => Fault::SwallowUp,
        6 => Fault::Foreign,
        7 => Fault::Cut {
            bytes: rng.usize(..900),
        },
        _ => Fault::Delay {
            ms: rng.u64(..3000),
        },
    }
}
