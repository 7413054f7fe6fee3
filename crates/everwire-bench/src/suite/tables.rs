//! How samples become the rows of the report.

pub(super) mod sessions;

use super::{
    compared::{Compared, Round},
    goal::Goal,
};
use crate::{
    report::{Cell, Column, Table},
    scenario::{
        Load, Work,
        channels::Channels,
        connecting::Connecting,
        echo::Echo,
        fanout::{Fanout, Publisher},
        idle::Idle,
        joining::Joining,
        latency::Latency,
        neighbour::{Beside, Neighbour},
        publishing::{Publishing, UnderWay},
    },
    wire::Wire,
};

type Heads = &'static [(&'static str, &'static str)];

/// Deliveries to many readers over WebSockets.
pub(super) fn fanout(measured: &[Compared<Fanout>]) -> Table {
    let websockets = measured
        .iter()
        .filter(|compared| compared.load.wire == Wire::WebSocket);
    let rows = websockets.map(|compared| {
        let load = &compared.load;
        let goal = match (load.in_flight, load.publisher) {
            (1, _) => Some(Goal::OfFloor(1.02)),
            (8, Publisher::WebSocket) => Some(Goal::OfFloor(0.14)),
            (8, Publisher::Http) => Some(Goal::OfFloor(0.16)),
            _ => None,
        };
        let mut row = vec![
            Cell::Count(load.readers as u64),
            Cell::Count(load.payload_bytes as u64),
            Cell::Count(load.in_flight as u64),
            Cell::text(load.publisher.name()),
        ];
        row.extend(work(compared));
        row.extend(Goal::cells(goal, |goal| reached(compared, goal)));
        row
    });
    Table {
        key: "fanout",
        title: "WebSocket fan-out, for each delivery".to_owned(),
        columns: columns(&[
            &[
                ("readers", "readers"),
                ("payload_bytes", "bytes"),
                ("in_flight", "in flight"),
                ("publisher", "publisher"),
            ],
            WORK,
            GOAL,
        ]),
        rows: rows.collect(),
    }
}

/// Deliveries over the other wires. Those of `streams` that are WebSockets are what the rest is
/// compared with.
pub(super) fn wires(streams: &[Compared<Fanout>], polls: &[Compared<Fanout>]) -> Table {
    let others = streams
        .iter()
        .filter(|compared| compared.load.wire != Wire::WebSocket);
    let rows = others.chain(polls).map(|compared| {
        let load = compared.load;
        let on_websocket = Fanout {
            wire: Wire::WebSocket,
            ..load
        };
        let websocket = streams
            .iter()
            .find(|compared| compared.load == on_websocket);
        let goal = match load.wire {
            Wire::LongPoll => Goal::OfFloor(3.0),
            Wire::WebSocket | Wire::EventStream | Wire::Ndjson => Goal::OfWebSocket(1.05),
        };
        // Both beside a floor that sends as many bytes, in the same round.
        let of_websocket =
            websocket
                .filter(|_| load.wire != Wire::LongPoll)
                .and_then(|websocket| {
                    let rounds = compared.rounds.iter().zip(&websocket.rounds);
                    let ratios = rounds.filter_map(|(ours, theirs)| {
                        Some(ours.of_floor(cpu_us)? / theirs.of_floor(cpu_us)?)
                    });
                    crate::statistics::median(ratios)
                });
        let line_bytes = |work: Option<&Work>| Some(work?.line_bytes);
        let mut row = vec![
            Cell::text(load.wire.name()),
            Cell::Count(load.readers as u64),
            Cell::Count(load.in_flight as u64),
            Cell::figure(
                compared.median(|round| line_bytes(round.server.as_ref())),
                0,
            ),
            Cell::figure(compared.median(|round| line_bytes(round.floor.as_ref())), 0),
        ];
        row.extend(work(compared));
        row.push(Cell::figure(of_websocket, 2));
        row.extend(Goal::cells(Some(goal), |goal| match goal {
            Goal::OfWebSocket(_) => of_websocket,
            _ => reached(compared, goal),
        }));
        row
    });
    Table {
        key: "wires",
        title: "Other wires, for each delivery".to_owned(),
        columns: columns(&[
            &[
                ("wire", "wire"),
                ("readers", "readers"),
                ("in_flight", "in flight"),
                ("line_bytes", "bytes on the line"),
                ("floor_line_bytes", "floor's"),
            ],
            WORK,
            &[("of_websocket", "of websocket")],
            GOAL,
        ]),
        rows: rows.collect(),
    }
}

/// What the floor gains by several entries in a send.
pub(super) fn joined(measured: &[Compared<Joining>]) -> Table {
    let floor = |round: &Round<Work>| round.floor;
    let rows = measured.iter().map(|compared| {
        let load = &compared.load;
        let is_base = |one: &&Compared<Joining>| {
            let one = &one.load;
            one.joined == 1 && one.readers == load.readers
        };
        let of_one = measured.iter().find(is_base).and_then(|one| {
            let rounds = compared.rounds.iter().zip(&one.rounds);
            let ratios =
                rounds.filter_map(|(joined, one)| Some(floor(joined)?.cpu_us / floor(one)?.cpu_us));
            crate::statistics::median(ratios)
        });
        vec![
            Cell::Count(load.joined as u64),
            Cell::Count(load.readers as u64),
            Cell::Count(load.payload_bytes as u64),
            Cell::figure(compared.median(|round| Some(floor(round)?.per_second)), 0),
            Cell::figure(compared.median(|round| Some(floor(round)?.cpu_us)), 2),
            Cell::figure(of_one, 3),
        ]
    });
    Table {
        key: "joined",
        title: "What the kernel gives: the floor with several entries in a send, for each delivery"
            .to_owned(),
        columns: columns(&[&[
            ("joined", "in a send"),
            ("readers", "readers"),
            ("payload_bytes", "bytes"),
            ("floor_per_s", "floor, a second"),
            ("floor_cpu_us", "floor, µs"),
            ("of_one", "of one in a send"),
        ]]),
        rows: rows.collect(),
    }
}

/// Deliveries of many small channels.
pub(super) fn channels(measured: &[Compared<Channels>]) -> Table {
    let rows = measured.iter().map(|compared| {
        let load = &compared.load;
        let mut row = vec![
            Cell::Count(load.channels as u64),
            Cell::Count(load.readers as u64),
            Cell::Count(load.connections as u64),
        ];
        row.extend(work(compared));
        let goal = Some(Goal::OfFloor(1.05));
        row.extend(Goal::cells(goal, |goal| reached(compared, goal)));
        row
    });
    Table {
        key: "channels",
        title: "Many channels, WebSocket readers, HTTP publishers, for each delivery".to_owned(),
        columns: columns(&[
            &[
                ("channels", "channels"),
                ("readers", "readers each"),
                ("connections", "publishers"),
            ],
            WORK,
            GOAL,
        ]),
        rows: rows.collect(),
    }
}

/// How long deliveries take at a steady pace.
pub(super) fn latency(measured: &[Compared<Latency>]) -> Table {
    let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    let rows = measured.iter().map(|compared| {
        let load = &compared.load;
        let ratio = |round: &Round<_>| {
            round.of_floor(|delays: &crate::scenario::latency::Delays| ms(delays.p99))
        };
        let mut row = vec![
            Cell::Count(load.readers as u64),
            Cell::Count(u64::from(load.rate)),
            Cell::figure(compared.median(|round| Some(ms(round.server?.p50))), 2),
            Cell::figure(compared.median(|round| Some(ms(round.server?.p99))), 2),
            Cell::figure(compared.median(|round| Some(ms(round.floor?.p50))), 2),
            Cell::figure(compared.median(|round| Some(ms(round.floor?.p99))), 2),
            Cell::figure(compared.median(ratio), 2),
            Cell::figure(compared.apart(ratio), 0),
            Cell::figure(
                compared.median(|round| Some(round.server?.late_share * 100.0)),
                1,
            ),
            Cell::figure(
                compared.median(|round| Some(round.floor?.late_share * 100.0)),
                1,
            ),
        ];
        let goal = Some(Goal::OfFloor(1.05));
        row.extend(Goal::cells(goal, |_| compared.median(ratio)));
        row
    });
    Table {
        key: "latency",
        title: "Latency at a steady pace, from before the write to each reader, in milliseconds"
            .to_owned(),
        columns: columns(&[
            &[
                ("readers", "readers"),
                ("rate", "entries a second"),
                ("p50_ms", "p50"),
                ("p99_ms", "p99"),
                ("floor_p50_ms", "floor, p50"),
                ("floor_p99_ms", "floor, p99"),
                ("p99_ratio", "p99, ratio"),
                ("p99_ratio_spread_percent", "± %"),
                ("late_percent", "late starts, %"),
                ("floor_late_percent", "floor's"),
            ],
            GOAL,
        ]),
        rows: rows.collect(),
    }
}

/// How long deliveries take beside a large channel.
pub(super) fn neighbour(measured: &[Compared<Neighbour>]) -> Table {
    let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    let rows = measured.iter().map(|compared| {
        let load = &compared.load;
        let rise = |beside: Option<Beside>| Some(beside?.rise_ms());
        let mut row = vec![
            Cell::Count(load.readers as u64),
            Cell::Count(u64::from(load.rate)),
            Cell::Count(load.beside as u64),
            Cell::figure(
                compared.median(|round| Some(ms(round.server?.alone.p99))),
                2,
            ),
            Cell::figure(
                compared.median(|round| Some(ms(round.server?.beside.p99))),
                2,
            ),
            Cell::figure(compared.median(|round| rise(round.server)), 2),
            Cell::figure(compared.median(|round| rise(round.floor)), 0),
            Cell::figure(
                compared.median(|round| Some(round.server?.beside.late_share * 100.0)),
                1,
            ),
        ];
        let goal = Some(Goal::RiseMs(3.0));
        row.extend(Goal::cells(goal, |_| {
            compared.median(|round| rise(round.server))
        }));
        row
    });
    Table {
        key: "neighbour",
        title: "A small channel beside a large one under load, p99 in milliseconds".to_owned(),
        columns: columns(&[
            &[
                ("readers", "readers"),
                ("rate", "entries a second"),
                ("beside", "readers beside"),
                ("alone_p99_ms", "alone"),
                ("beside_p99_ms", "beside"),
                ("rise_ms", "rise"),
                ("floor_rise_ms", "floor's rise"),
                ("late_percent", "late starts, %"),
            ],
            GOAL,
        ]),
        rows: rows.collect(),
    }
}

/// Accepting entries over HTTP.
pub(super) fn publish(
    requests: &[Compared<Publishing>],
    batches: &[Compared<Publishing>],
) -> Table {
    let rows = requests.iter().chain(batches).map(|compared| {
        let load = &compared.load;
        let goal = match (load.under_way, load.readers) {
            (UnderWay::Requests(1), 0) => Goal::OfHyper(1.1),
            (UnderWay::Requests(1), _) => Goal::OfHyper(1.25),
            (UnderWay::Requests(_), _) => Goal::Us(2.0),
            (UnderWay::Batch(_), _) => Goal::Us(0.5),
        };
        let mut row = vec![
            Cell::Count(load.connections as u64),
            Cell::Count(load.under_way.pipelined() as u64),
            Cell::Count(load.under_way.entries() as u64),
            Cell::Count(load.readers as u64),
        ];
        row.extend(work(compared));
        let of_hyper = |round: &Round<Work>| round.of_hyper(cpu_us);
        row.push(Cell::figure(
            compared.median(|round| Some(round.hyper?.cpu_us)),
            2,
        ));
        row.push(Cell::figure(compared.median(of_hyper), 2));
        row.extend(Goal::cells(Some(goal), |goal| reached(compared, goal)));
        row
    });
    Table {
        key: "publish",
        title: "Publishing over kept HTTP connections, for each entry".to_owned(),
        columns: columns(&[
            &[
                ("connections", "connections"),
                ("pipelined", "pipelined"),
                ("entries", "entries each"),
                ("readers", "readers"),
            ],
            WORK,
            &[("hyper_cpu_us", "hyper, µs"), ("hyper_ratio", "of hyper")],
            GOAL,
        ]),
        rows: rows.collect(),
    }
}

/// WebSocket messages that come back.
pub(super) fn echo(measured: &[Compared<Echo>]) -> Table {
    let rows = measured.iter().map(|compared| {
        let load = &compared.load;
        // In so large a message it is the bytes that cost, and how fast those are is only told.
        let goal = match (load.messages, load.payload_bytes) {
            (_, 65_536..) => None,
            (1, _) => Some(Goal::OfFloor(1.03)),
            _ => Some(Goal::OfFloor(1.05)),
        };
        let bytes = load.payload_bytes as f64;
        let mut row = vec![
            Cell::Count(load.connections as u64),
            Cell::Count(load.messages as u64),
            Cell::Count(load.payload_bytes as u64),
        ];
        row.extend(work(compared));
        row.push(Cell::figure(
            compared.median(|round| Some(round.server?.per_second * bytes / 1e9)),
            2,
        ));
        row.push(Cell::figure(
            compared.median(|round| Some(bytes / round.server?.cpu_us / 1e3)),
            2,
        ));
        row.extend(Goal::cells(goal, |goal| reached(compared, goal)));
        row
    });
    Table {
        key: "echo",
        title: "WebSocket echo, for each message".to_owned(),
        columns: columns(&[
            &[
                ("connections", "connections"),
                ("messages", "in a write"),
                ("payload_bytes", "bytes"),
            ],
            WORK,
            &[("gb_per_s", "GB/s"), ("gb_per_cpu_s", "GB a CPU second")],
            GOAL,
        ]),
        rows: rows.collect(),
    }
}

/// Connecting and losing WebSockets.
pub(super) fn connect(measured: &[Compared<Connecting>]) -> Table {
    let rows = measured.iter().map(|compared| {
        let mut row = vec![Cell::text("websocket")];
        row.extend(work(compared));
        let goal = Some(Goal::OfFloor(1.35));
        row.extend(Goal::cells(goal, |goal| reached(compared, goal)));
        row
    });
    Table {
        key: "connect",
        title: "Connecting and closing, for each line".to_owned(),
        columns: columns(&[&[("wire", "wire")], WORK, GOAL]),
        rows: rows.collect(),
    }
}

/// Idle lines.
pub(super) fn idle(measured: &[Compared<Idle>]) -> Table {
    let rows = measured.iter().map(|compared| {
        let load = &compared.load;
        let goal = match load.wire {
            Wire::LongPoll => Goal::Bytes(300.0),
            Wire::WebSocket | Wire::EventStream | Wire::Ndjson => Goal::Bytes(200.0),
        };
        let bytes = compared.median(|round| round.server);
        let mut row = vec![
            Cell::text(load.wire.name()),
            Cell::Count(load.lines as u64),
            Cell::figure(bytes, 0),
            Cell::figure(compared.median(|round| round.floor), 0),
        ];
        row.extend(Goal::cells(Some(goal), |_| bytes));
        row
    });
    Table {
        key: "idle",
        title: "Memory of an idle line in user space, in bytes".to_owned(),
        columns: columns(&[
            &[
                ("wire", "wire"),
                ("lines", "lines"),
                ("bytes_per_line", "bytes a line"),
                ("floor_bytes_per_line", "floor"),
            ],
            GOAL,
        ]),
        rows: rows.collect(),
    }
}

const WORK: Heads = &[
    ("per_s", "a second"),
    ("cpu_us", "µs"),
    ("user_percent", "user %"),
    ("floor_cpu_us", "floor, µs"),
    ("cpu_ratio", "ratio"),
    ("cpu_ratio_spread_percent", "± %"),
];
const GOAL: Heads = &[("target", "target"), ("met", "met")];

/// The cells of [`WORK`].
fn work<L: Load<Sample = Work>>(compared: &Compared<L>) -> [Cell; 6] {
    work_of(compared, |work| *work)
}

/// The same, of samples that hold work.
fn work_of<L: Load>(compared: &Compared<L>, of: impl Fn(&L::Sample) -> Work) -> [Cell; 6] {
    let ratio = |round: &Round<L::Sample>| round.of_floor(|sample| of(sample).cpu_us);
    let server = |figure: fn(Work) -> f64| {
        compared.median(|round| round.server.as_ref().map(|sample| figure(of(sample))))
    };
    let floor = compared.median(|round| round.floor.as_ref().map(|sample| of(sample).cpu_us));
    [
        Cell::figure(server(|work| work.per_second), 0),
        Cell::figure(server(|work| work.cpu_us), 2),
        Cell::figure(server(|work| work.user_share * 100.0), 0),
        Cell::figure(floor, 2),
        Cell::figure(compared.median(ratio), 3),
        Cell::figure(compared.apart(ratio), 0),
    ]
}

/// The figure that `goal` is about, where it is about work.
fn reached<L: Load<Sample = Work>>(compared: &Compared<L>, goal: Goal) -> Option<f64> {
    match goal {
        Goal::OfFloor(_) => compared.median(|round| round.of_floor(cpu_us)),
        Goal::OfHyper(_) => compared.median(|round| round.of_hyper(cpu_us)),
        Goal::Us(_) => compared.median(|round| Some(round.server?.cpu_us)),
        Goal::OfWebSocket(_) | Goal::Bytes(_) | Goal::RiseMs(_) => None,
    }
}

fn cpu_us(work: &Work) -> f64 {
    work.cpu_us
}

fn columns(heads: &[Heads]) -> Vec<Column> {
    let heads = heads.iter().copied().flatten();
    heads.map(|&(key, title)| Column::new(key, title)).collect()
}

#[cfg(test)]
mod tests;
