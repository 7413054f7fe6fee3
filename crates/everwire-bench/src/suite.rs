//! The measurements of a run, in rounds, and the tables they make.
//!
//! A round measures everything once, floor and server in turn, so that a disturbance of the
//! machine meets both. Ratios are taken inside a round; what is reported is the median over rounds.

mod tables;

use anyhow::{Context, Result};

use crate::{
    report::Table,
    scenario::{
        Bench,
        connecting::{self, Connected},
        fanout::{self, Delivered, Fanout, Publisher},
        idle,
        publishing::{self, Published, Publishing},
    },
    subject::Subject,
    wire::Wire,
};

/// A kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Memory of idle lines.
    Idle,
    /// Deliveries to many readers.
    Fanout,
    /// Accepting entries over HTTP.
    Publish,
    /// Connecting and losing WebSockets.
    Connect,
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The kinds of measurement.
    pub kinds: Vec<Kind>,
    /// Idle lines of each wire.
    pub idle_lines: usize,
}

impl Extent {
    /// The most lines that are open at once.
    pub fn lines_max(&self) -> usize {
        let lines = |kind: &Kind| match kind {
            Kind::Idle => idle::LINES_BEFORE + self.idle_lines,
            Kind::Fanout => FANOUT_READERS_MAX,
            Kind::Publish | Kind::Connect => 0,
        };
        self.kinds.iter().map(lines).max().unwrap_or(0)
    }
}

/// All measurements and what they gave.
pub struct Suite {
    server: Option<Subject>,
    idle: Vec<Idle>,
    fanouts: Vec<Compared<Fanout, Delivered>>,
    publishings: Vec<Compared<Publishing, Published>>,
    connects: Vec<Compared<(), Connected>>,
}

/// Idle lines: measured once, since memory does not vary from round to round.
struct Idle {
    wire: Wire,
    lines: usize,
    server: Option<f64>,
    floor: Option<f64>,
}

/// One load and its samples, a round each.
struct Compared<L, S> {
    load: L,
    server: Vec<S>,
    floor: Vec<S>,
}

impl<L, S> Compared<L, S> {
    fn new(load: L) -> Self {
        Self {
            load,
            server: Vec::new(),
            floor: Vec::new(),
        }
    }
}

impl Suite {
    /// The measurements of `extent` on `server`, or on the floor alone.
    pub fn new(server: Option<Subject>, extent: &Extent) -> Self {
        let when = |kind| extent.kinds.contains(&kind);
        // The floor knows one wire, so without a server there is nothing to tell of the others.
        let is_known = |wire| server.is_some() || wire == Wire::WebSocket;
        let mut suite = Self {
            server: None,
            idle: wanted(when(Kind::Idle), idle_lines(extent.idle_lines)),
            fanouts: wanted(when(Kind::Fanout), fanouts()),
            publishings: wanted(when(Kind::Publish), publishings()),
            connects: wanted(when(Kind::Connect), vec![Compared::new(())]),
        };
        suite.idle.retain(|idle| is_known(idle.wire));
        suite
            .fanouts
            .retain(|compared| is_known(compared.load.wire));
        Self { server, ..suite }
    }

    /// Measures round after round, until all are done or the bench is out of time.
    ///
    /// # Errors
    /// At the first measurement that fails: figures of a server that loses entries are worthless.
    pub fn run(&mut self, bench: &Bench, rounds: usize) -> Result<()> {
        self.measure_idle(bench)?;
        for round in 1..=rounds {
            let round = format!("round {round} of {rounds}");
            self.measure_fanouts(bench, &round)?;
            self.measure_publishing(bench, &round)?;
            self.measure_connecting(bench, &round)?;
        }
        Ok(())
    }

    /// Whether something of `rounds` was left out for lack of time.
    pub fn is_cut(&self, rounds: usize) -> bool {
        let is_idle_cut = |idle: &Idle| idle.server.or(idle.floor).is_none();
        self.idle.iter().any(is_idle_cut)
            || self
                .fanouts
                .iter()
                .any(|compared| compared.floor.len() < rounds)
            || self
                .publishings
                .iter()
                .any(|compared| compared.floor.len() < rounds)
            || self
                .connects
                .iter()
                .any(|compared| compared.floor.len() < rounds)
    }

    /// The tables of what was measured.
    pub fn tables(&self) -> Vec<Table> {
        [
            tables::idle(&self.idle),
            tables::fanout(&self.fanouts),
            tables::publish(&self.publishings),
            tables::connect(&self.connects),
        ]
        .into_iter()
        .filter(|table| !table.rows.is_empty())
        .collect()
    }

    fn measure_idle(&mut self, bench: &Bench) -> Result<()> {
        for Idle {
            wire,
            lines,
            server,
            floor,
        } in &mut self.idle
        {
            if bench.is_late() {
                break;
            }
            let step = |subject: &Subject| {
                bench
                    .progress
                    .step(&format!("idle {} lines, {}", wire.name(), subject.name()));
            };
            if *wire == Wire::WebSocket {
                step(&Subject::Floor);
                *floor = Some(idle::measure(bench, &Subject::Floor, *wire, *lines)?);
            }
            if let Some(subject) = &self.server {
                step(subject);
                let measured = idle::measure(bench, subject, *wire, *lines);
                *server = Some(measured.with_context(|| format!("idle {} lines", wire.name()))?);
            }
        }
        Ok(())
    }

    fn measure_fanouts(&mut self, bench: &Bench, round: &str) -> Result<()> {
        for Compared {
            load,
            server,
            floor,
        } in &mut self.fanouts
        {
            if bench.is_late() {
                break;
            }
            let name = format!(
                "{} to {}, {} in flight, published by {}",
                load.wire.name(),
                load.readers,
                load.in_flight,
                load.publisher.name()
            );
            bench.progress.step(&format!("{round}: {name}, floor"));
            let sample = fanout::measure(bench, &Subject::Floor, load.on_the_floor());
            floor.push(sample.with_context(|| format!("floor of {name}"))?);
            if let Some(subject) = &self.server {
                bench.progress.step(&format!("{round}: {name}, server"));
                server.push(fanout::measure(bench, subject, *load).context(name)?);
            }
        }
        Ok(())
    }

    fn measure_publishing(&mut self, bench: &Bench, round: &str) -> Result<()> {
        for Compared {
            load,
            server,
            floor,
        } in &mut self.publishings
        {
            if bench.is_late() {
                break;
            }
            let Publishing {
                connections,
                pipelined,
                readers,
            } = *load;
            let name = format!(
                "publish over {connections} connections, {pipelined} pipelined, {readers} readers"
            );
            bench.progress.step(&format!("{round}: {name}, floor"));
            floor.push(publishing::measure(bench, &Subject::Floor, *load)?);
            if let Some(subject) = &self.server {
                bench.progress.step(&format!("{round}: {name}, server"));
                server.push(publishing::measure(bench, subject, *load).context(name)?);
            }
        }
        Ok(())
    }

    fn measure_connecting(&mut self, bench: &Bench, round: &str) -> Result<()> {
        for Compared { server, floor, .. } in &mut self.connects {
            if bench.is_late() {
                break;
            }
            bench.progress.step(&format!("{round}: connect, floor"));
            floor.push(connecting::measure(bench, &Subject::Floor)?);
            if let Some(subject) = &self.server {
                bench.progress.step(&format!("{round}: connect, server"));
                server.push(connecting::measure(bench, subject).context("connect")?);
            }
        }
        Ok(())
    }
}

fn wanted<T>(is_wanted: bool, loads: Vec<T>) -> Vec<T> {
    if is_wanted { loads } else { Vec::new() }
}

fn idle_lines(lines: usize) -> Vec<Idle> {
    Wire::ALL
        .map(|wire| Idle {
            wire,
            lines,
            server: None,
            floor: None,
        })
        .into()
}

const FANOUT_READERS_MAX: usize = 10_000;

fn fanouts() -> Vec<Compared<Fanout, Delivered>> {
    let http = Fanout {
        wire: Wire::WebSocket,
        readers: 1_000,
        in_flight: 8,
        publisher: Publisher::Http,
    };
    let over_websocket = [
        (Wire::WebSocket, 1_000),
        (Wire::WebSocket, FANOUT_READERS_MAX),
        (Wire::EventStream, 1_000),
        (Wire::Ndjson, 1_000),
    ];
    let publisher = Publisher::WebSocket;
    over_websocket
        .iter()
        .flat_map(|&(wire, readers)| {
            [1, 8].map(|in_flight| Fanout {
                wire,
                readers,
                in_flight,
                publisher,
            })
        })
        .chain([http])
        .map(Compared::new)
        .collect()
}

fn publishings() -> Vec<Compared<Publishing, Published>> {
    let loads = [(1, 0), (1, 1), (8, 0), (8, 1)];
    let load = |(pipelined, readers)| Publishing {
        connections: 8,
        pipelined,
        readers,
    };
    loads.map(load).map(Compared::new).into()
}
