//! A load generator for Everwire, and the floor to compare it with.
//!
//! ```text
//!  main ─▶ suite ─▶ scenario ─┬─▶ subject   a server or the floor, started and watched
//!            │                ├─▶ client    thousands of lines, one epoll loop
//!            ▼                └─▶ ledger    who has seen what; paces the publishers
//!          report
//! ```
//!
//! The floor is the least that any server must do for the same load: one `send` for each entry and
//! reader. Figures of a machine mean little elsewhere; the ratio to its floor does.
//!
//! Modules in reading order: what is published and proved ([`payload`], [`ledger`]), how it looks
//! on the line ([`wire`], [`response`], [`decode`], [`publish`]), who speaks ([`client`],
//! [`publisher`], [`floor`]), what is watched ([`subject`], [`usage`], [`cores`]), and what is
//! measured and told ([`scenario`], [`suite`], [`statistics`], [`report`]).

mod client;
mod cores;
mod decode;
mod floor;
mod interrupt;
mod ledger;
mod payload;
mod progress;
mod publish;
mod publisher;
mod report;
mod response;
mod scenario;
mod statistics;
mod subject;
mod suite;
mod usage;
mod wire;

use std::{
    fs,
    io::{IsTerminal, Write, stdout},
    net::SocketAddr,
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    client::Client,
    cores::Cores,
    floor::Floor,
    interrupt::Interrupt,
    payload::Payloads,
    progress::Progress,
    report::Report,
    scenario::{Bench, idle},
    subject::Subject,
    suite::{Extent, Kind, Suite},
};

/// Measures what Everwire costs on this machine, against the least that any server must do.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure idle memory, fan-out, publishing and connecting.
    ///
    /// Each measurement starts the server (and the floor) anew on a free loopback port, bound to
    /// another core than the load client where there are two. Each reader's entries are numbered
    /// and checked: an entry that is lost, repeated or out of order ends the run with an error.
    ///
    /// The report goes to standard output, as a table on a terminal and as one line of key=value
    /// for each row elsewhere; progress goes to standard error.
    Run(RunOptions),
    /// Serve as the floor: one send for each entry and reader, and nothing else.
    ///
    /// Upgrades what asks for it, and sends each message or POST body to all that were upgraded.
    /// It checks nothing and keeps no queue; never let it listen where others can reach it.
    Floor {
        /// Where to listen; port 0 takes a free one, which is printed.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
}

#[derive(Args, Debug)]
struct RunOptions {
    /// The everwire binary; without it only the floor is measured.
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
    /// A further argument for the server's `serve` command; may be repeated.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    server_arg: Vec<String>,
    /// Core threads of the server. The floor has one, so ratios compare only with one.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    threads: usize,
    /// One round of 0.3 seconds for each measurement, within 40 seconds, instead of three of 1.5
    /// within 4 minutes.
    #[arg(long)]
    quick: bool,
    /// Rounds; the median of them is reported. A run that takes too long measures what it can.
    #[arg(long, value_name = "COUNT")]
    rounds: Option<usize>,
    /// How long each measurement publishes or connects, in seconds.
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
    /// Measure only these.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    only: Vec<Kind>,
    /// Size of each published payload in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 128, value_parser = payload_bytes)]
    payload_bytes: usize,
    /// Idle lines of each wire. Below some thousands, what connecting leaves behind is not small
    /// against the lines.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = idle_lines)]
    idle_lines: usize,
    /// Also write the report to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    match CommandLine::parse().command {
        Command::Run(options) => run(options),
        Command::Floor { listen } => serve_floor(listen),
    }
}

fn run(options: RunOptions) -> Result<()> {
    let (extent, rounds) = (options.extent(), options.rounds());
    let (files, needed) = (raise_file_limit()?, extent.lines_max() as u64 + FILES_SPARE);
    if files < needed {
        bail!(
            "only {files} files may be open and this run needs {needed}; raise the limit (ulimit -Hn)"
        );
    }
    let cores = Cores::divide();
    let bench = Bench {
        cores,
        interrupt: Interrupt::listen().context("cannot listen for signals")?,
        payloads: Payloads::new(options.payload_bytes),
        duration: options.duration(),
        time_max: options.time_max(),
        progress: Progress::new(),
    };
    let (threads, arguments) = (options.threads, options.server_arg);
    let server = options.server.map(|binary| Subject::Server {
        binary,
        threads,
        arguments,
    });

    let mut suite = Suite::new(server, &extent);
    let measured = suite.run(&bench, rounds);
    bench.progress.finish();
    measured?;

    let cut = if suite.is_cut(rounds) {
        ", cut short by the time limit"
    } else {
        ""
    };
    let seconds = bench.duration.as_secs_f32();
    let conditions = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("cores", cores.to_string()),
        ("server threads", threads.to_string()),
        ("payload", format!("{} bytes", options.payload_bytes)),
        (
            "rounds",
            format!("{rounds} of {seconds} s for each measurement, medians shown{cut}"),
        ),
        (
            "elapsed",
            format!("{} s", bench.progress.elapsed().as_secs()),
        ),
    ];
    let report = Report {
        conditions,
        tables: suite.tables(),
    };
    let shown = if stdout().is_terminal() {
        report.aligned()
    } else {
        report.plain()
    };
    stdout()
        .write_all(shown.as_bytes())
        .context("cannot write the report")?;
    if let Some(path) = options.json {
        fs::write(&path, report.json())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl RunOptions {
    fn extent(&self) -> Extent {
        let kinds = match self.only.as_slice() {
            [] => Kind::value_variants().to_vec(),
            only => only.to_vec(),
        };
        Extent {
            kinds,
            idle_lines: self.idle_lines,
        }
    }

    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// Leaves the last measurements some seconds to end.
    fn time_max(&self) -> Duration {
        Duration::from_secs(if self.quick { 35 } else { 225 })
    }

    fn duration(&self) -> Duration {
        self.seconds
            .unwrap_or(Duration::from_millis(if self.quick { 300 } else { 1500 }))
    }
}

fn serve_floor(listen: SocketAddr) -> Result<()> {
    raise_file_limit()?;
    let mut floor = Floor::bind(listen)?;
    println!("listening on http://{}", floor.local_address()?);
    loop {
        floor.turn(None)?;
    }
}

/// Files that a run has open besides its readers.
const FILES_SPARE: u64 = 100;

/// Lets this process, and what it starts, open as many files as it may; returns how many.
fn raise_file_limit() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

fn payload_bytes(argument: &str) -> Result<usize, String> {
    within(argument, Payloads::BYTES_MIN..=Payloads::BYTES_MAX)
}

fn idle_lines(argument: &str) -> Result<usize, String> {
    within(argument, 1..=Client::LINES_MAX - idle::LINES_BEFORE - 1)
}

fn within(argument: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    match argument.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!(
            "a number from {} to {} is needed",
            range.start(),
            range.end()
        )),
    }
}

fn seconds(argument: &str) -> Result<Duration, String> {
    let seconds = argument
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|seconds| !seconds.is_zero())
        .ok_or_else(|| "a number above 0 is needed".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for (argument, expected) in [
            ("16", Some(16)),
            ("65535", Some(65_535)),
            ("15", None),
            ("65536", None),
        ] {
            assert_eq!(payload_bytes(argument).ok(), expected, "{argument} bytes");
        }
        for (argument, expected) in [
            ("1", Some(1)),
            ("17999", Some(17_999)),
            ("0", None),
            ("18000", None),
        ] {
            assert_eq!(idle_lines(argument).ok(), expected, "{argument} lines");
        }
        let half = Duration::from_millis(500);
        for (argument, expected) in [
            ("0.5", Some(half)),
            ("0", None),
            ("-1", None),
            ("long", None),
        ] {
            assert_eq!(seconds(argument).ok(), expected, "{argument} seconds");
        }
    }
}
