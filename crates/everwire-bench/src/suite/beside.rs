//! Rivals beside Everwire: what each load costs them, against the same floor in the same rounds.

use std::{collections::BTreeMap, sync::Arc};

use super::compared::{Compared, Round};
use crate::{
    report::{Cell, Column, Table},
    rival::{Fault, Rival},
    scenario::{
        Load, channels::Channels, connecting::Connecting, fanout::Fanout, idle::Idle,
        latency::Latency, neighbour::Neighbour, publishing::Publishing,
    },
};

type Heads = &'static [(&'static str, &'static str)];

/// Makes the tables that put rivals beside Everwire; without rivals they have no rows.
pub(super) struct Beside<'a> {
    /// The rivals, in the order of a round's samples.
    pub rivals: &'a [Arc<Rival>],
}

/// A table without its rows.
struct Frame {
    key: &'static str,
    title: &'static str,
    /// The columns that tell the loads apart.
    load: Heads,
    /// Digits after the point of a cost.
    decimals: usize,
}

impl Beside<'_> {
    /// Deliveries of one channel.
    pub fn fanout(&self, live: &[Compared<Fanout>], polls: &[Compared<Fanout>]) -> Table {
        let frame = Frame {
            key: "fanout_beside",
            title: "Beside others: fan-out, CPU in microseconds for each delivery",
            load: &[
                ("wire", "wire"),
                ("readers", "readers"),
                ("payload_bytes", "bytes"),
                ("in_flight", "in flight"),
                ("publisher", "publisher"),
            ],
            decimals: 2,
        };
        let load = |load: &Fanout| {
            vec![
                Cell::text(load.wire.name()),
                Cell::Count(load.readers as u64),
                Cell::Count(load.payload_bytes as u64),
                Cell::Count(load.in_flight as u64),
                Cell::text(load.publisher.name()),
            ]
        };
        self.table(&frame, live.iter().chain(polls), load, |work| work.cpu_us)
    }

    /// Deliveries of many small channels.
    pub fn channels(&self, measured: &[Compared<Channels>]) -> Table {
        let frame = Frame {
            key: "channels_beside",
            title: "Beside others: many channels, CPU in microseconds for each delivery",
            load: &[
                ("channels", "channels"),
                ("readers", "readers each"),
                ("connections", "publishers"),
            ],
            decimals: 2,
        };
        let load = |load: &Channels| {
            vec![
                Cell::Count(load.channels as u64),
                Cell::Count(load.readers as u64),
                Cell::Count(load.connections as u64),
            ]
        };
        self.table(&frame, measured, load, |work| work.cpu_us)
    }

    /// How long deliveries take at a steady pace.
    pub fn latency(&self, measured: &[Compared<Latency>]) -> Table {
        let frame = Frame {
            key: "latency_beside",
            title: "Beside others: latency at a steady pace, p99 in milliseconds",
            load: &[("readers", "readers"), ("rate", "entries a second")],
            decimals: 2,
        };
        let load = |load: &Latency| {
            vec![
                Cell::Count(load.readers as u64),
                Cell::Count(u64::from(load.rate)),
            ]
        };
        let p99 = |delays: &<Latency as Load>::Sample| delays.p99.as_secs_f64() * 1e3;
        self.table(&frame, measured, load, p99)
    }

    /// How long they take beside a large channel.
    pub fn neighbour(&self, measured: &[Compared<Neighbour>]) -> Table {
        let frame = Frame {
            key: "neighbour_beside",
            title: "Beside others: a small channel beside a large one, p99 in milliseconds",
            load: &[
                ("readers", "readers"),
                ("rate", "entries a second"),
                ("beside", "readers beside"),
            ],
            decimals: 2,
        };
        let load = |load: &Neighbour| {
            vec![
                Cell::Count(load.readers as u64),
                Cell::Count(u64::from(load.rate)),
                Cell::Count(load.beside as u64),
            ]
        };
        let p99 = |sample: &<Neighbour as Load>::Sample| sample.beside.p99.as_secs_f64() * 1e3;
        self.table(&frame, measured, load, p99)
    }

    /// Accepting entries over HTTP.
    pub fn publish(&self, measured: &[Compared<Publishing>]) -> Table {
        let frame = Frame {
            key: "publish_beside",
            title: "Beside others: publishing over kept HTTP connections, CPU in microseconds for each entry",
            load: &[
                ("connections", "connections"),
                ("pipelined", "pipelined"),
                ("readers", "readers"),
            ],
            decimals: 2,
        };
        let load = |load: &Publishing| {
            vec![
                Cell::Count(load.connections as u64),
                Cell::Count(load.under_way.pipelined() as u64),
                Cell::Count(load.readers as u64),
            ]
        };
        self.table(&frame, measured, load, |work| work.cpu_us)
    }

    /// Connecting and losing WebSockets.
    pub fn connect(&self, measured: &[Compared<Connecting>]) -> Table {
        let frame = Frame {
            key: "connect_beside",
            title: "Beside others: connecting and closing, CPU in microseconds for each line",
            load: &[("wire", "wire")],
            decimals: 2,
        };
        let load = |_: &Connecting| vec![Cell::text("websocket")];
        self.table(&frame, measured, load, |work| work.cpu_us)
    }

    /// Idle lines.
    pub fn idle(&self, measured: &[Compared<Idle>]) -> Table {
        let frame = Frame {
            key: "idle_beside",
            title: "Beside others: memory of an idle line, bytes of the program",
            load: &[("wire", "wire"), ("lines", "lines")],
            decimals: 0,
        };
        let load = |load: &Idle| vec![Cell::text(load.wire.name()), Cell::Count(load.lines as u64)];
        self.table(&frame, measured, load, |bytes| *bytes)
    }

    /// The rows that some rival has a part in.
    fn table<'m, L: Load + 'm>(
        &self,
        frame: &Frame,
        measured: impl IntoIterator<Item = &'m Compared<L>>,
        load: impl Fn(&L) -> Vec<Cell>,
        cost: impl Fn(&L::Sample) -> f64,
    ) -> Table {
        let decimals = frame.decimals;
        let figures =
            |compared: &Compared<L>, of: &Of<'_, L::Sample>, ratio: &Of<'_, L::Sample>| {
                [
                    Cell::figure(compared.median(of), decimals),
                    Cell::figure(compared.median(ratio), 2),
                ]
            };
        let is_known =
            |compared: &&Compared<L>| self.rivals.iter().any(|rival| compared.load.suits(rival));
        let rows = measured.into_iter().filter(is_known).map(|compared| {
            let mut row = load(&compared.load);
            let floor = compared.median(|round| round.floor.as_ref().map(&cost));
            row.push(Cell::figure(floor, decimals));
            row.extend(figures(
                compared,
                &|round| round.server.as_ref().map(&cost),
                &|round| round.of_floor(&cost),
            ));
            for at in 0..self.rivals.len() {
                row.extend(match compared.faults.get(&at) {
                    // Figures of a server that loses entries mean nothing.
                    Some(fault) => [Cell::Missing, Cell::text(fault.kind.name())],
                    None => figures(
                        compared,
                        &|round| round.rivals.get(at)?.as_ref().map(&cost),
                        &|round| round.rival_of_floor(at, &cost),
                    ),
                });
            }
            row
        });
        Table {
            key: frame.key,
            title: frame.title.to_owned(),
            rows: rows.collect(),
            columns: self.columns(frame.load),
        }
    }

    fn columns(&self, load: Heads) -> Vec<Column> {
        let load = load.iter().map(|&(key, title)| Column::new(key, title));
        let mut columns: Vec<Column> = load.collect();
        columns.push(Column::new("floor", "floor"));
        let rivals = self.rivals.iter().map(|rival| rival.name());
        for name in ["everwire"].into_iter().chain(rivals) {
            columns.push(Column::new(name.to_owned(), name.to_owned()));
            columns.push(Column::new(format!("{name}_ratio"), "ratio"));
        }
        columns
    }
}

/// What a table sees in a round.
type Of<'a, S> = dyn Fn(&Round<S>) -> Option<f64> + 'a;

/// The stories of faults, each told once.
#[derive(Default)]
pub(super) struct Notes {
    /// The loads, by rival and story.
    told: BTreeMap<(String, String), Vec<String>>,
}

impl Notes {
    /// `rival` has `fault` at `load`.
    pub fn add(&mut self, rival: &str, load: &str, fault: &Fault) {
        let key = (rival.to_owned(), fault.story.clone());
        self.told.entry(key).or_default().push(load.to_owned());
    }

    /// A line for each story.
    pub fn lines(self) -> Vec<String> {
        let told = self.told.into_iter();
        told.map(|((rival, story), loads)| format!("{rival}, {}: {story}", loads.join("; ")))
            .collect()
    }
}

#[cfg(test)]
mod tests;
