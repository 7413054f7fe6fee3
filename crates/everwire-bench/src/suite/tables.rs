//! How samples become the rows of the report.

use super::{Compared, Idle};
use crate::{
    report::{Cell, Column, Table},
    scenario::{
        connecting::Connected,
        fanout::{Delivered, Fanout},
        publishing::{Published, Publishing},
    },
    statistics::{median, spread},
};

/// Idle lines.
pub(super) fn idle(measured: &[Idle]) -> Table {
    let rows = measured.iter().map(
        |Idle {
             wire,
             lines,
             server,
             floor,
         }| {
            vec![
                Cell::Text(wire.name()),
                Cell::Count(*lines as u64),
                Cell::figure(*server, 0),
                Cell::figure(*floor, 0),
            ]
        },
    );
    Table {
        key: "idle",
        title: "Memory of an idle line, bytes of the program (the kernel's socket comes on top)"
            .to_owned(),
        columns: columns(&[
            ("wire", "wire"),
            ("lines", "lines"),
            ("bytes_per_line", "bytes/line"),
            ("floor_bytes_per_line", "floor"),
        ]),
        rows: rows.collect(),
    }
}

/// Deliveries to many readers.
pub(super) fn fanout(measured: &[Compared<Fanout, Delivered>]) -> Table {
    let rows = measured.iter().map(|compared| {
        let Compared {
            load,
            server,
            floor,
        } = compared;
        let cost = |sample: &Delivered| sample.cpu_per_million;
        let mut row = vec![
            Cell::Text(load.wire.name()),
            Cell::Count(load.readers as u64),
            Cell::Count(load.in_flight as u64),
            Cell::Text(load.publisher.name()),
            Cell::figure(median(server.iter().map(|sample| sample.per_second)), 0),
            Cell::figure(median(floor.iter().map(|sample| sample.per_second)), 0),
            Cell::figure(median(server.iter().map(cost)), 3),
            Cell::figure(
                median(server.iter().map(|sample| sample.user_share * 100.0)),
                0,
            ),
            Cell::figure(median(floor.iter().map(cost)), 3),
        ];
        row.extend(compared.ratio(cost));
        row
    });
    Table {
        key: "fanout",
        title: "Deliveries of one channel; CPU in seconds per million deliveries (in flight: until the \
                last reader has it)"
            .to_owned(),
        columns: columns(&[
            ("wire", "wire"),
            ("readers", "readers"),
            ("in_flight", "in flight"),
            ("publisher", "publisher"),
            ("deliveries_per_s", "deliveries/s"),
            ("floor_deliveries_per_s", "floor"),
            ("cpu_s_per_million", "CPU-s/M"),
            ("user_percent", "user %"),
            ("floor_cpu_s_per_million", "floor"),
            RATIO,
            SPREAD,
        ]),
        rows: rows.collect(),
    }
}

/// Accepting entries over HTTP.
pub(super) fn publish(measured: &[Compared<Publishing, Published>]) -> Table {
    let rows = measured.iter().map(|compared| {
        let Compared {
            load,
            server,
            floor,
        } = compared;
        let cost = |sample: &Published| sample.cpu_us;
        let mut row = vec![
            Cell::Count(load.connections as u64),
            Cell::Count(load.pipelined as u64),
            Cell::Count(load.readers as u64),
            Cell::figure(median(server.iter().map(|sample| sample.per_second)), 0),
            Cell::figure(median(floor.iter().map(|sample| sample.per_second)), 0),
            Cell::figure(median(server.iter().map(cost)), 2),
            Cell::figure(median(floor.iter().map(cost)), 2),
        ];
        row.extend(compared.ratio(cost));
        row
    });
    Table {
        key: "publish",
        title: "Publishing over kept HTTP connections; CPU in microseconds for each entry"
            .to_owned(),
        columns: columns(&[
            ("connections", "connections"),
            ("pipelined", "pipelined"),
            ("readers", "readers"),
            ("publishes_per_s", "publishes/s"),
            ("floor_publishes_per_s", "floor"),
            ("cpu_us", "CPU µs"),
            ("floor_cpu_us", "floor"),
            RATIO,
            SPREAD,
        ]),
        rows: rows.collect(),
    }
}

/// Connecting and losing WebSockets.
pub(super) fn connect(measured: &[Compared<(), Connected>]) -> Table {
    let rows = measured.iter().map(|compared| {
        let Compared { server, floor, .. } = compared;
        let cost = |sample: &Connected| sample.cpu_us;
        let mut row = vec![
            Cell::Text("websocket"),
            Cell::figure(median(server.iter().map(|sample| sample.per_second)), 0),
            Cell::figure(median(floor.iter().map(|sample| sample.per_second)), 0),
            Cell::figure(median(server.iter().map(cost)), 2),
            Cell::figure(median(floor.iter().map(cost)), 2),
        ];
        row.extend(compared.ratio(cost));
        row
    });
    Table {
        key: "connect",
        title: "Connecting and closing; CPU in microseconds for each line".to_owned(),
        columns: columns(&[
            ("wire", "wire"),
            ("connects_per_s", "connects/s"),
            ("floor_connects_per_s", "floor"),
            ("cpu_us", "CPU µs"),
            ("floor_cpu_us", "floor"),
            RATIO,
            SPREAD,
        ]),
        rows: rows.collect(),
    }
}

const RATIO: (&str, &str) = ("cpu_ratio", "ratio");
const SPREAD: (&str, &str) = ("cpu_ratio_spread_percent", "± %");

impl<L, S> Compared<L, S> {
    /// What the server costs for one of the floor, and how far the rounds lie apart in that.
    fn ratio(&self, cost: impl Fn(&S) -> f64) -> [Cell; 2] {
        let rounds = self.server.iter().zip(&self.floor);
        let ratios: Vec<f64> = rounds
            .map(|(server, floor)| cost(server) / cost(floor))
            .collect();
        let apart = spread(ratios.iter().copied()).map(|spread| spread * 50.0);
        [Cell::figure(median(ratios), 3), Cell::figure(apart, 0)]
    }
}

fn columns(columns: &[(&'static str, &'static str)]) -> Vec<Column> {
    columns
        .iter()
        .map(|&(key, title)| Column { key, title })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scenario::fanout::Publisher, wire::Wire};

    fn delivered(cpu_per_million: f64) -> Delivered {
        Delivered {
            per_second: 1e6 / cpu_per_million,
            cpu_per_million,
            user_share: 0.05,
        }
    }

    fn compared(server: &[f64], floor: &[f64]) -> Compared<Fanout, Delivered> {
        let publisher = Publisher::WebSocket;
        Compared {
            load: Fanout {
                wire: Wire::WebSocket,
                readers: 10,
                in_flight: 8,
                publisher,
            },
            server: server.iter().copied().map(delivered).collect(),
            floor: floor.iter().copied().map(delivered).collect(),
        }
    }

    fn cell(table: &Table, key: &str) -> Cell {
        let at = table
            .columns
            .iter()
            .position(|column| column.key == key)
            .unwrap();
        table.rows[0][at].clone()
    }

    /// The second round was disturbed for both: its ratio is like the others'.
    #[test]
    fn ratios_are_taken_within_a_round() {
        let table = fanout(&[compared(&[1.0, 4.0, 1.2], &[2.0, 8.0, 2.0])]);
        assert_eq!(
            cell(&table, "cpu_ratio"),
            Cell::Figure {
                value: 0.5,
                decimals: 3
            }
        );
        let Cell::Figure { value, .. } = cell(&table, "cpu_ratio_spread_percent") else {
            panic!("three rounds have a spread");
        };
        assert!(
            (value - 10.0).abs() < 1e-9,
            "0.5 to 0.6 is {value} % around the median"
        );
        assert_eq!(
            cell(&table, "user_percent"),
            Cell::Figure {
                value: 5.0,
                decimals: 0
            }
        );
    }

    #[test]
    fn the_floor_alone_has_no_ratio() {
        let table = fanout(&[compared(&[], &[2.0])]);
        assert_eq!(cell(&table, "cpu_ratio"), Cell::Missing);
        assert_eq!(cell(&table, "cpu_s_per_million"), Cell::Missing);
        assert_eq!(
            cell(&table, "floor_cpu_s_per_million"),
            Cell::Figure {
                value: 2.0,
                decimals: 3
            }
        );
    }

    #[test]
    fn every_row_fills_every_column() {
        let lines = Idle {
            wire: Wire::Ndjson,
            lines: 10,
            server: Some(1.0),
            floor: None,
        };
        let publishing = Publishing {
            connections: 8,
            pipelined: 1,
            readers: 0,
        };
        let tables = [
            idle(&[lines]),
            fanout(&[compared(&[1.0], &[1.0])]),
            publish(&[Compared::new(publishing)]),
            connect(&[Compared::new(())]),
        ];
        for table in tables {
            assert_eq!(table.rows[0].len(), table.columns.len(), "{}", table.key);
        }
    }
}
