//! Tables of samples that a test has made up.

use super::*;
use crate::{
    rival::FaultKind,
    scenario::{Work, fanout::Publisher},
    wire::Wire,
};

fn rival(name: &str, says: &str) -> Arc<Rival> {
    let description = format!(
        "name = '{name}'\n[running]\naddress = '127.0.0.1:1'\npid_file = 'x'\n\
         [websocket]\npath = '/'\n{says}\n"
    );
    Arc::new(Rival::parse(&description, std::path::PathBuf::new()).unwrap())
}

fn sample(cpu_us: f64) -> Work {
    Work {
        per_second: 1e6 / cpu_us,
        cpu_us,
        user_share: 0.05,
        line_bytes: 132.0,
    }
}

fn compared(publisher: Publisher, rounds: &[[f64; 4]]) -> Compared<Fanout> {
    let rounds = rounds.iter().map(|&[floor, server, first, second]| Round {
        floor: Some(sample(floor)),
        hyper: None,
        server: Some(sample(server)),
        rivals: vec![Some(sample(first)), Some(sample(second))],
    });
    Compared {
        load: Fanout {
            wire: Wire::WebSocket,
            readers: 10,
            in_flight: 8,
            publisher,
            payload_bytes: 128,
        },
        rounds: rounds.collect(),
        faults: BTreeMap::new(),
    }
}

fn cells(table: &Table, row: usize) -> BTreeMap<&str, &Cell> {
    let columns = table.columns.iter().map(|column| column.key.as_ref());
    columns.zip(&table.rows[row]).collect()
}

/// The second round was disturbed for all: its ratios are like the others'.
#[test]
fn each_rival_has_its_own_cost_and_ratio() {
    let rivals = [
        rival("one", "publish = '{data}'"),
        rival("two", "publish = '{data}'"),
    ];
    let rounds = [
        [2.0, 1.0, 4.0, 8.0],
        [8.0, 4.0, 16.0, 32.0],
        [2.0, 1.0, 4.0, 8.0],
    ];
    let beside = Beside { rivals: &rivals };
    let table = beside.fanout(&[compared(Publisher::WebSocket, &rounds)], &[]);
    let cells = cells(&table, 0);
    for (key, value) in [
        ("floor", 2.0),
        ("everwire", 1.0),
        ("everwire_ratio", 0.5),
        ("one", 4.0),
        ("one_ratio", 2.0),
        ("two", 8.0),
        ("two_ratio", 4.0),
    ] {
        assert_eq!(cells[key], &Cell::figure(Some(value), 2), "{key}");
    }
}

#[test]
fn a_fault_stands_in_the_place_of_the_ratio() {
    let rivals = [
        rival("one", "publish = '{data}'"),
        rival("two", "publish = '{data}'"),
    ];
    let mut measured = compared(Publisher::WebSocket, &[[2.0, 1.0, 4.0, 8.0]]);
    let fault = Fault {
        kind: FaultKind::Doubled,
        story: "it came twice".to_owned(),
    };
    measured.faults.insert(0, fault.clone());
    let table = Beside { rivals: &rivals }.fanout(&[measured], &[]);
    let cells = cells(&table, 0);
    assert_eq!(cells["one"], &Cell::Missing);
    assert_eq!(cells["one_ratio"], &Cell::text("doubled"));
    assert_eq!(cells["two_ratio"], &Cell::figure(Some(4.0), 2));

    let mut notes = Notes::default();
    notes.add("one", "this", &fault);
    notes.add("one", "that", &fault);
    assert_eq!(notes.lines(), ["one, this; that: it came twice"]);
}

#[test]
fn what_no_rival_can_do_has_no_row() {
    let rounds = [[2.0, 1.0, 4.0, 8.0]];
    let measured =
        || [Publisher::WebSocket, Publisher::Http].map(|publisher| compared(publisher, &rounds));
    let over_http = "[publish]\npath = '/'\nbody = '{data}'";
    for (rivals, rows) in [
        (vec![], 0),
        (vec![rival("one", "publish = '{data}'")], 1),
        (vec![rival("one", over_http)], 1),
        (
            vec![rival("one", over_http), rival("two", "publish = '{data}'")],
            2,
        ),
    ] {
        let table = Beside { rivals: &rivals }.fanout(&measured(), &[]);
        assert_eq!(table.rows.len(), rows, "{rivals:?}");
        for row in &table.rows {
            assert_eq!(row.len(), table.columns.len());
        }
    }
}
