//! What lines cost the server in user space, without a kernel: its own shard over sockets that only count.
//!
//! ```text
//!  publish ─▶ log ─▶ tail ─▶ walk ─▶ counters       everything but the system calls
//!                                    counters       the same sends past the shard, to be subtracted
//! ```
//!
//! A million lines need a million ports and some gigabytes of the kernel's memory. What the server itself
//! does for them needs neither, and is measured alone.

use std::{
    process,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::Args;
use everwire_server::simulation::Simulation;

use crate::{
    report::{Cell, Column, Report, Table},
    statistics::{median, spread},
    usage::{CpuTime, resident_bytes},
};

/// How many lines, and how they are spread.
#[derive(Args, Clone, Debug)]
pub struct SimulateOptions {
    /// How many readers over WebSockets.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    lines: u32,
    /// Have the readers be sessions of one channel instead of raw WebSockets.
    #[arg(long)]
    sessions: bool,
    /// Channels that the readers are spread over evenly.
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    channels: u32,
    /// Size of each entry's payload in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 128,
          value_parser = clap::value_parser!(u16))]
    payload_bytes: u16,
    /// Rounds of measuring; the median of them is reported.
    #[arg(long, value_name = "COUNT", default_value_t = 7,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

/// Measures, in this very process: its memory is that of the lines, so each run measures one number of them.
///
/// # Errors
/// If there are fewer lines than channels, if the system does not tell what the process uses, or if a reader got
/// anything else than it should.
pub fn simulate(options: &SimulateOptions) -> Result<Report> {
    let (lines, channels) = (options.lines as usize, options.channels as usize);
    ensure!(
        lines >= channels,
        "{lines} lines cannot be spread over {channels} channels; give each channel a line at least"
    );
    let mut load = Load::new(lines, channels, options);
    let joined = load.join()?;
    let heartbeat = load.heartbeat();
    load.deliver();
    let rounds: Result<Vec<Round>> = (0..options.rounds).map(|_| load.round()).collect();
    let rounds = rounds?;
    load.check()?;
    let figures = |of: fn(&Round) -> f64| median(rounds.iter().map(of));
    let percent = spread(rounds.iter().map(|round| round.delivery_ns)).map(|part| part * 100.0);
    Ok(Report {
        conditions: vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("payload", format!("{} bytes", options.payload_bytes)),
            (
                "rounds",
                format!(
                    "{} of {DELIVERIES} deliveries, medians shown",
                    options.rounds
                ),
            ),
        ],
        tables: vec![Table {
            key: "simulated",
            title: "Lines in user space (the kernel's sockets come on top)".to_owned(),
            columns: columns(),
            rows: vec![vec![
                Cell::Count(lines as u64),
                Cell::Count(channels as u64),
                Cell::figure(Some(joined.bytes / 1e6), 1),
                Cell::figure(Some(joined.bytes / lines as f64), 1),
                Cell::figure(Some(joined.ns_per_line), 0),
                Cell::figure(figures(|round| round.delivery_ns), 1),
                Cell::figure(percent, 0),
                Cell::figure(figures(|round| round.socket_ns), 1),
                Cell::figure(Some(heartbeat.ns_per_line), 1),
                Cell::figure(Some(heartbeat.turn_us_max), 0),
            ]],
        }],
        notes: Vec::new(),
    })
}

fn columns() -> Vec<Column> {
    [
        ("lines", "lines"),
        ("channels", "channels"),
        ("megabytes", "MB"),
        ("bytes_per_line", "bytes/line"),
        ("join_ns", "join ns"),
        ("delivery_ns", "delivery ns"),
        ("delivery_spread_percent", "± %"),
        ("socket_ns", "socket ns"),
        ("heartbeat_ns", "heartbeat ns"),
        ("heartbeat_turn_us_max", "longest turn µs"),
    ]
    .map(|(key, title)| Column::new(key, title))
    .to_vec()
}

/// The readers, and what they were sent.
struct Load {
    simulation: Simulation,
    lines: usize,
    channels: usize,
    payload: Vec<u8>,
    /// Whether they are sessions.
    are_sessions: bool,
    /// Entries to each channel in one round.
    entries: usize,
}

/// What joining took.
struct Joined {
    /// Memory of the process that came with the lines, without what the simulated sockets take of it.
    bytes: f64,
    ns_per_line: f64,
}

/// What one heartbeat to all lines took, of wall time.
struct Heartbeat {
    ns_per_line: f64,
    /// The longest turn of the shard: so long does everything else wait.
    turn_us_max: f64,
}

/// What one round took for each line and entry, in CPU time.
struct Round {
    /// Without the sockets.
    delivery_ns: f64,
    /// The sockets alone.
    socket_ns: f64,
}

impl Load {
    fn new(lines: usize, channels: usize, options: &SimulateOptions) -> Self {
        Self {
            simulation: Simulation::new(channels, lines),
            lines,
            channels,
            payload: vec![b'x'; usize::from(options.payload_bytes)],
            are_sessions: options.sessions,
            entries: DELIVERIES.div_ceil(lines),
        }
    }

    /// Lines come one by one and by channel in turn, as they do in life.
    fn join(&mut self) -> Result<Joined> {
        let pid = process::id();
        let (memory, began) = (resident_bytes(pid)?, CpuTime::of(pid)?);
        for line in 0..self.lines {
            let channel = line % self.channels;
            match self.are_sessions {
                true => self.simulation.join_session(channel),
                false => self.simulation.join(channel),
            }
        }
        while self.simulation.turn() {}
        let took = CpuTime::of(pid)?.since(began).total();
        // The counters take no memory before they count.
        let bytes = resident_bytes(pid)?.saturating_sub(memory);
        Ok(Joined {
            bytes: bytes as f64,
            ns_per_line: took.as_nanos() as f64 / self.lines as f64,
        })
    }

    /// The first heartbeat of all lines. There is one only: who answers no two of them is cut.
    fn heartbeat(&mut self) -> Heartbeat {
        self.simulation
            .pass(self.simulation.heartbeat() + TIMER_TICK);
        let began = Instant::now();
        let (mut turn_max, mut turn_began) = (Duration::ZERO, began);
        while self.simulation.turn() {
            turn_max = turn_max.max(turn_began.elapsed());
            turn_began = Instant::now();
        }
        turn_max = turn_max.max(turn_began.elapsed());
        Heartbeat {
            ns_per_line: began.elapsed().as_nanos() as f64 / self.lines as f64,
            turn_us_max: turn_max.as_nanos() as f64 / 1e3,
        }
    }

    fn round(&mut self) -> Result<Round> {
        let deliveries = (self.lines * self.entries) as f64;
        let walked = cpu_ns(|| {
            for _ in 0..self.entries {
                self.deliver();
            }
        })?;
        let framed = vec![b'x'; self.payload.len() + 2];
        let sockets = cpu_ns(|| {
            for _ in 0..self.entries {
                self.simulation.send_past_shard(&framed);
            }
        })?;
        Ok(Round {
            delivery_ns: (walked - sockets) / deliveries,
            socket_ns: sockets / deliveries,
        })
    }

    /// One entry to each channel, to all its readers.
    fn deliver(&mut self) {
        for channel in 0..self.channels {
            self.simulation.publish(channel, &self.payload);
        }
        while self.simulation.turn() {}
    }

    /// Each reader got the same, and nobody was lost.
    fn check(&self) -> Result<()> {
        let (least, most) = self.simulation.received();
        ensure!(
            least == most && self.simulation.lines() == self.lines,
            "readers of the same got between {least} and {most} bytes; the server has a fault"
        );
        Ok(())
    }
}

fn cpu_ns(work: impl FnOnce()) -> Result<f64> {
    let began = CpuTime::of(process::id())?;
    work();
    let took = CpuTime::of(process::id())?.since(began).total();
    Ok(took.as_nanos() as f64)
}

/// The server's timers fire up to so much late.
const TIMER_TICK: Duration = Duration::from_millis(200);

/// Deliveries of one round, at least: enough that steps of 10 ms in CPU time do not matter.
const DELIVERIES: usize = 40_000_000;
