//! Tables of samples that a test has made up.

use std::time::Duration;

use super::*;
use crate::{scenario::latency::Delays, suite::loads};

fn sample(cpu_us: f64) -> Work {
    Work {
        per_second: 1e6 / cpu_us,
        cpu_us,
        user_share: 0.05,
        line_bytes: 132.0,
    }
}

/// Rounds of server and floor, which are as many as the longer list has.
fn compared<L: Load<Sample = Work>>(load: L, server: &[f64], floor: &[f64]) -> Compared<L> {
    let at = |samples: &[f64], round: usize| samples.get(round).copied().map(sample);
    let rounds = (0..server.len().max(floor.len())).map(|round| Round {
        server: at(server, round),
        floor: at(floor, round),
        hyper: at(floor, round),
        rivals: Vec::new(),
    });
    Compared {
        load,
        rounds: rounds.collect(),
        faults: Default::default(),
    }
}

fn load(wire: Wire) -> Fanout {
    Fanout {
        wire,
        readers: 10,
        in_flight: 8,
        publisher: Publisher::WebSocket,
        payload_bytes: 128,
    }
}

fn cell<'a>(table: &'a Table, key: &str) -> &'a Cell {
    let at = table.columns.iter().position(|column| column.key == key);
    &table.rows[0][at.unwrap_or_else(|| panic!("{} has a column {key}", table.key))]
}

fn figure(table: &Table, key: &str) -> Option<f64> {
    match cell(table, key) {
        Cell::Figure { value, .. } => Some(*value),
        Cell::Missing => None,
        other => panic!("{key} is {other:?}"),
    }
}

/// The second round was disturbed for both: its ratio is like the others'.
#[test]
fn ratios_are_taken_within_a_round() {
    let measured = compared(load(Wire::WebSocket), &[1.0, 4.0, 1.2], &[2.0, 8.0, 2.0]);
    let table = fanout(&[measured]);
    assert_eq!(figure(&table, "cpu_ratio"), Some(0.5));
    let apart = figure(&table, "cpu_ratio_spread_percent").unwrap();
    assert!(
        (apart - 10.0).abs() < 1e-9,
        "0.5 to 0.6 is {apart} % around the median"
    );
    assert_eq!(figure(&table, "user_percent"), Some(5.0));
    assert_eq!(cell(&table, "met"), &Cell::text("no"));
}

#[test]
fn the_floor_alone_has_no_ratio() {
    let table = fanout(&[compared(load(Wire::WebSocket), &[], &[2.0])]);
    assert_eq!(figure(&table, "cpu_ratio"), None);
    assert_eq!(figure(&table, "cpu_us"), None);
    assert_eq!(figure(&table, "floor_cpu_us"), Some(2.0));
    assert_eq!(cell(&table, "met"), &Cell::Missing);
}

/// Each has a floor that sends as many bytes, so what is left is what the wire itself costs.
#[test]
fn a_wire_is_compared_with_websockets_by_their_ratios() {
    let streams = [
        compared(load(Wire::WebSocket), &[1.0], &[10.0]),
        compared(load(Wire::EventStream), &[1.2], &[11.0]),
    ];
    let table = wires(&streams, &[]);
    assert_eq!(table.rows.len(), 1);
    let of_websocket = figure(&table, "of_websocket").unwrap();
    assert!((of_websocket - 12.0 / 11.0).abs() < 1e-9, "{of_websocket}");
    assert_eq!(cell(&table, "met"), &Cell::text("no"));
    let alone = wires(&streams[1..], &[]);
    assert_eq!(figure(&alone, "of_websocket"), None);
}

#[test]
fn several_in_a_send_are_compared_with_one() {
    let joinings = loads::joinings(128);
    let costs = [4.0, 1.0, 0.5, 0.4];
    let measured = joinings.into_iter().zip(costs);
    let measured: Vec<_> = measured
        .map(|(load, cost)| compared(load, &[], &[cost]))
        .collect();
    let table = joined(&measured);
    let of_one = table.rows.iter().map(|row| row.last().unwrap().clone());
    let expected = [1.0, 0.25, 0.125, 0.1].map(|ratio| Cell::figure(Some(ratio), 3));
    assert_eq!(of_one.collect::<Vec<_>>(), expected);
}

#[test]
fn a_neighbour_is_told_by_what_it_adds() {
    let delays = |p99_us: u64| Delays {
        p50: Duration::from_micros(100),
        p99: Duration::from_micros(p99_us),
        max: Duration::from_micros(p99_us),
        late_share: 0.0,
    };
    let beside = |rise_us: u64| Beside {
        alone: delays(500),
        beside: delays(500 + rise_us),
    };
    for (rise_us, met) in [(2_900_u64, "yes"), (3_100, "no")] {
        let round = Round {
            floor: Some(beside(80_000)),
            hyper: None,
            server: Some(beside(rise_us)),
            rivals: Vec::new(),
        };
        let table = neighbour(&[Compared {
            faults: Default::default(),
            load: loads::neighbours(100, 128)[0],
            rounds: vec![round],
        }]);
        assert_eq!(cell(&table, "met"), &Cell::text(met), "{rise_us} µs");
    }
}

#[test]
fn every_row_fills_every_column() {
    fn unmeasured<L: Load>(loads: Vec<L>) -> Vec<Compared<L>> {
        loads.into_iter().map(Compared::new).collect()
    }
    let fanouts = unmeasured(loads::fanouts(&[128, 1024]));
    let tables = [
        fanout(&fanouts),
        wires(&fanouts, &unmeasured(loads::polls(128))),
        joined(&unmeasured(loads::joinings(128))),
        channels(&unmeasured(loads::channels(128))),
        latency(&unmeasured(loads::latencies(128))),
        neighbour(&unmeasured(loads::neighbours(10, 128))),
        publish(
            &unmeasured(loads::publishings(128)),
            &unmeasured(loads::batches(128)),
        ),
        echo(&unmeasured(loads::echoes(128))),
        connect(&unmeasured(vec![Connecting])),
        idle(&unmeasured(loads::idle(10))),
        sessions::fanout(&unmeasured(loads::session_fanouts(128))),
        sessions::memory(&unmeasured(loads::session_memories())),
        sessions::storm(&unmeasured(vec![loads::storm(128)])),
    ];
    for table in tables {
        assert!(!table.rows.is_empty(), "{}", table.key);
        for row in &table.rows {
            assert_eq!(row.len(), table.columns.len(), "{}", table.key);
        }
    }
}
