//! Rows about sessions.

use super::{GOAL, Goal, Heads, WORK, columns, work_of};
use crate::{
    report::{Cell, Table},
    scenario::session::{
        fanout::{Delivery, Flow, SessionFanout},
        memory::{Addition, Footprint, SessionMemory},
        storm::{Storm, Weathered},
    },
    suite::compared::{Compared, Round},
};

/// Deliveries to sessions.
pub fn fanout(measured: &[Compared<SessionFanout>]) -> Table {
    let rows = measured.iter().map(|compared| {
        let load = &compared.load;
        let (channels, in_flight, goal) = match load.flow {
            Flow::Window(1) => (1, 1, Some(Goal::OfFloor(1.05))),
            Flow::Window(8) => (1, 8, Some(Goal::OfFloor(0.15))),
            Flow::Window(in_flight) => (1, in_flight, None),
            Flow::Burst(channels) => (channels, channels, Some(Goal::OfFloor(0.15))),
        };
        let line_bytes = |delivery: &Option<Delivery>| Some(delivery.as_ref()?.work.line_bytes);
        let mut row = vec![
            Cell::text(load.wire.name()),
            Cell::Count(load.readers as u64),
            Cell::Count(channels as u64),
            Cell::Count(in_flight as u64),
            Cell::figure(compared.median(|round| line_bytes(&round.server)), 0),
            Cell::figure(compared.median(|round| line_bytes(&round.floor)), 0),
            Cell::figure(compared.median(|round| round.server?.sends), 3),
        ];
        row.extend(work_of(compared, |delivery| delivery.work));
        row.extend(Goal::cells(goal, |_| {
            compared.median(|round| round.of_floor(|delivery| delivery.work.cpu_us))
        }));
        row
    });
    Table {
        key: "sessions",
        title: "Sessions, for each delivery".to_owned(),
        columns: columns(&[
            &[
                ("wire", "wire"),
                ("sessions", "sessions"),
                ("channels", "channels"),
                ("in_flight", "in flight"),
                ("line_bytes", "bytes on the line"),
                ("floor_line_bytes", "floor's"),
                ("sends", "sends"),
            ],
            WORK,
            GOAL,
        ]),
        rows: rows.collect(),
    }
}

/// Sessions that wait: a row for the session, and one for what it adds.
pub fn memory(measured: &[Compared<SessionMemory>]) -> Table {
    let rows = measured.iter().flat_map(|compared| {
        let load = &compared.load;
        let (addition, goal) = match load.addition {
            Addition::Subscriptions(_) => ("further subscription", Goal::Bytes(100.0)),
            Addition::Membership => ("further one as a member", Goal::Bytes(1500.0)),
        };
        type Figure = fn(&Footprint) -> f64;
        let figures: [(_, _, Figure); 2] = [
            (
                "session with a subscription",
                Goal::Bytes(1500.0),
                |footprint| footprint.session,
            ),
            (addition, goal, |footprint| footprint.addition),
        ];
        figures.map(|(what, goal, figure)| {
            let bytes = compared.median(|round| round.server.as_ref().map(figure));
            let mut row = vec![
                Cell::text(what),
                Cell::Count(load.sessions as u64),
                Cell::Count(load.channels as u64),
                Cell::figure(bytes, 0),
            ];
            row.extend(Goal::cells(Some(goal), |_| bytes));
            row
        })
    });
    Table {
        key: "session_memory",
        title: "Memory of a waiting session in user space, in bytes".to_owned(),
        columns: columns(&[
            &[
                ("of", "of each"),
                ("sessions", "sessions"),
                ("channels", "channels"),
                ("bytes", "bytes"),
            ],
            GOAL,
        ]),
        rows: rows.collect(),
    }
}

/// All sessions come back at once.
pub fn storm(measured: &[Compared<Storm>]) -> Table {
    const DELAYS: Heads = &[
        ("alone_p99_ms", "alone, p99"),
        ("away_p99_ms", "away, p99"),
        ("away_max_ms", "max"),
        ("returning_p50_ms", "returning, p50"),
        ("returning_p99_ms", "p99"),
        ("returning_max_ms", "max"),
        ("late_percent", "late starts, %"),
    ];
    let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    let rows = measured.iter().map(|compared| {
        let load = &compared.load;
        let of = |figure: fn(&Weathered) -> f64, decimals| {
            let median = compared.median(|round| round.server.as_ref().map(figure));
            Cell::figure(median, decimals)
        };
        let rise = |round: &Round<Weathered>| {
            let Weathered {
                alone,
                away,
                returning,
                ..
            } = round.server.as_ref()?;
            Some(ms(away.p99.max(returning.p99)) - ms(alone.p99))
        };
        let cpu_us = |weathered: &Weathered| weathered.cpu.total().as_secs_f64() * 1e6;
        let each = compared.median(|round| {
            let cpu_us = round.server.as_ref().map(cpu_us)?;
            Some(cpu_us / load.sessions as f64)
        });
        let sends = compared.median(|round| {
            let weathered = round.server.as_ref()?;
            Some(weathered.sends / load.sessions as f64)
        });
        let ms_of = |figure: fn(&Weathered) -> std::time::Duration| {
            let median = compared.median(|round| round.server.as_ref().map(figure).map(ms));
            Cell::figure(median, 2)
        };
        let mut row = vec![
            Cell::Count(load.sessions as u64),
            Cell::Count(load.each as u64),
            Cell::Count((load.each * load.missed) as u64),
            of(|weathered| weathered.back.as_secs_f64(), 2),
            of(|weathered| weathered.cpu.total().as_secs_f64(), 2),
            of(|weathered| weathered.cpu.user_share() * 100.0, 0),
            Cell::figure(each, 0),
            Cell::figure(sends, 1),
            ms_of(|weathered| weathered.alone.p99),
            ms_of(|weathered| weathered.away.p99),
            ms_of(|weathered| weathered.away.max),
            ms_of(|weathered| weathered.returning.p50),
            ms_of(|weathered| weathered.returning.p99),
            ms_of(|weathered| weathered.returning.max),
            of(
                |weathered| {
                    weathered
                        .away
                        .late_share
                        .max(weathered.returning.late_share)
                        * 100.0
                },
                1,
            ),
        ];
        row.extend(Goal::cells(Some(Goal::RiseMs(10.0)), |_| {
            compared.median(rise)
        }));
        row
    });
    Table {
        key: "storm",
        title:
            "All sessions come back at once, beside a small channel; its latency in milliseconds"
                .to_owned(),
        columns: columns(&[
            &[
                ("sessions", "sessions"),
                ("channels", "channels each"),
                ("missed", "missed each"),
                ("back_s", "s until current"),
                ("cpu_s", "CPU, s"),
                ("user_percent", "user %"),
                ("cpu_us_each", "µs each"),
                ("sends_each", "sends each"),
            ],
            DELAYS,
            GOAL,
        ]),
        rows: rows.collect(),
    }
}
