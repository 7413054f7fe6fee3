//! A load generator for Everwire, and the floor to compare it with.
//!
//! ```text
//!  main ─▶ suite ─▶ scenario ─┬─▶ subject   a server, a rival or a floor, started and watched
//!            │                ├─▶ client    thousands of lines, one epoll loop
//!            ▼                └─▶ ledger    who has seen what; paces the publishers
//!          report
//! ```
//!
//! The floor is the least that any server must do for the same load: one `send` for each entry and
//! reader. Figures of a machine mean little elsewhere; the ratio to its floor does.
//!
//! Modules in reading order: what is published and proved ([`payload`], [`ledger`],
//! [`timing`]), how it looks
//! on the line ([`wire`], [`session`], [`dialect`], [`rival`], [`response`], [`decode`], [`publish`]), who speaks
//! ([`client`], [`publisher`], [`pacer`], [`floor`]), what is watched ([`subject`], [`usage`], [`cores`]), and what is
//! measured and told ([`scenario`], [`suite`], [`statistics`], [`report`]).

mod client;
mod cores;
mod decode;
mod dialect;
mod floor;
mod interrupt;
mod ledger;
mod machine;
mod pacer;
mod payload;
mod progress;
mod publish;
mod publisher;
mod report;
mod response;
mod rival;
mod scenario;
mod session;
mod simulate;
mod statistics;
mod subject;
mod suite;
mod timing;
mod tls;
mod usage;
mod wire;

use std::{
    fs,
    io::{ErrorKind, IsTerminal, Write, stdout},
    net::SocketAddr,
    num::NonZeroUsize,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use time::OffsetDateTime;

use crate::{
    client::Client,
    floor::{Floor, bare_hyper},
    payload::Payloads,
    report::{
        Report,
        markdown::{self, NoPlace, replace_figures},
    },
    rival::Rival,
    scenario::{Bench, idle, session::storm::Storm},
    simulate::{SimulateOptions, simulate},
    subject::Subject,
    suite::{Extent, Kind, Subjects, Suite, weather},
    tls::TlsOptions,
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
    /// Measure delivering, publishing, connecting, latency and idle memory.
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
    /// Sends each message or POST body to all that read the same path, and on `/echo` back to its
    /// sender. It checks nothing and keeps no queue; never let it listen where others can reach it.
    Floor(FloorOptions),
    /// Drop all sessions at once and let them come back with their offsets.
    ///
    /// Every session must then have each entry once and in order, those included that were published
    /// while it was away; anything else is an error. A small channel beside tells what the others feel.
    Storm(StormOptions),
    /// Measure what lines cost the server in user space, over sockets in memory.
    ///
    /// A million of them need no ports and no kernel memory: it is the server's own code for lines
    /// over sockets that only count what they are sent.
    Simulate(SimulateOptions),
    /// Measure what TLS costs the server: handshakes, memory and deliveries, beside clear text.
    ///
    /// The server makes a certificate of its own (ECDSA, P-256) and takes both on one port.
    Tls(TlsOptions),
}

#[derive(Args, Debug)]
struct FloorOptions {
    /// Where to listen; port 0 takes a free one, which is printed.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Entries of a channel in each send; fewer wait for the rest.
    #[arg(long, value_name = "COUNT", default_value_t = NonZeroUsize::MIN)]
    join: NonZeroUsize,
    /// Be another floor: bare hyper, which reads each request and answers 204.
    #[arg(long, conflicts_with = "join")]
    hyper: bool,
}

#[derive(Args, Debug)]
struct StormOptions {
    /// The everwire binary.
    #[arg(long, value_name = "PATH")]
    server: PathBuf,
    /// Core threads of the server.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    threads: usize,
    /// Sessions that come back.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = lines)]
    sessions: usize,
    /// Channels that each reads, of a hundred times as many.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=99))]
    each: u16,
    /// Entries that each channel gets while all are away.
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    missed: usize,
    /// Sessions that come back at a time; a listener's backlog is mostly 4,096.
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    at_once: NonZeroUsize,
    /// Size of each payload in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = PAYLOAD_BYTES[0], value_parser = payload_bytes)]
    payload_bytes: usize,
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
    /// The description of another server, to be measured in the same rounds; may be repeated.
    ///
    /// What goes wrong with it is its result and does not end the run. See bench/README.md.
    #[arg(long, value_name = "FILE")]
    rival: Vec<PathBuf>,
    /// One round of 0.2 seconds for each measurement and fewer lines, within 90 seconds, instead of
    /// seven of half a second within some 9 minutes; half as much again for each rival.
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
    /// Sizes of the payloads of a fan-out in bytes; everything else has the first of them.
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_values_t = PAYLOAD_BYTES,
          value_parser = payload_bytes)]
    payload_bytes: Vec<usize>,
    /// Idle lines of each wire, and readers of the large channel that a small one is beside: 18,000,
    /// or 4,000 with --quick. Below some thousands, what connecting leaves behind is not small
    /// against the lines.
    #[arg(long, value_name = "COUNT", value_parser = lines)]
    lines: Option<usize>,
    /// Also write the report to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write the report as Markdown: between the comments `<!-- figures -->` and `<!-- end of
    /// figures -->` of this document, which only takes figures of a whole run, or to a new file.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

const PAYLOAD_BYTES: [usize; 2] = [128, 1024];

fn main() -> Result<()> {
    match CommandLine::parse().command {
        Command::Run(options) => run(options),
        Command::Floor(options) => serve_floor(&options),
        Command::Storm(options) => storm(options),
        Command::Simulate(options) => show(&simulate(&options)?),
        Command::Tls(options) => {
            require_files(options.connections())?;
            show(&tls::measure(&options, &interrupt::Interrupt::default())?)
        }
    }
}

/// Tells a person or a pipe.
fn show(report: &Report) -> Result<()> {
    let shown = if stdout().is_terminal() {
        report.aligned()
    } else {
        report.plain()
    };
    stdout()
        .write_all(shown.as_bytes())
        .context("cannot write the report")
}

fn storm(options: StormOptions) -> Result<()> {
    require_files(options.sessions)?;
    let bench = Bench::new(QUICK * 5, Duration::MAX)?;
    let server = Subject::Server {
        binary: options.server,
        threads: options.threads,
        arguments: Vec::new(),
    };
    let each = usize::from(options.each);
    let load = Storm {
        sessions: options.sessions,
        channels: each * 100,
        each,
        missed: options.missed,
        at_once: options.at_once.get(),
        rate: 100,
        payload_bytes: options.payload_bytes,
    };
    let table = weather(&bench, server, load);
    bench.progress.finish();
    show(&Report {
        conditions: conditions(&bench, options.threads, 1, false),
        tables: vec![table?],
        notes: Vec::new(),
    })
}

fn run(options: RunOptions) -> Result<()> {
    let (extent, rounds) = (options.extent(), options.rounds());
    require_files(extent.lines_max())?;
    let document = match &options.markdown {
        Some(path) => Some(Document::open(path, options.is_whole())?),
        None => None,
    };
    let bench = Bench::new(options.duration(), options.time_max())?;
    let server = options.server.map(|binary| Subject::Server {
        binary,
        threads: options.threads,
        arguments: options.server_arg,
    });

    let (rivals, versions) = read_rivals(&options.rival)?;
    let mut suite = Suite::new(Subjects { server, rivals }, &extent);
    let measured = suite.run(&bench, rounds);
    bench.progress.finish();
    measured?;

    let is_cut = suite.is_cut(rounds);
    let mut conditions = conditions(&bench, options.threads, rounds, is_cut);
    if !versions.is_empty() {
        conditions.push(("rivals", versions.join("; ")));
    }
    let report = Report {
        conditions,
        tables: suite.tables(),
        notes: suite.notes(),
    };
    show(&report)?;
    if let Some(path) = options.json {
        fs::write(&path, report.json())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(document) = document {
        document.write(&report, is_cut)?;
    }
    Ok(())
}

/// The servers that `paths` describe, and their versions.
fn read_rivals(paths: &[PathBuf]) -> Result<(Vec<Arc<Rival>>, Vec<String>)> {
    let mut rivals = Vec::new();
    let mut versions = Vec::new();
    for path in paths {
        let rival = Rival::read(path)?;
        versions.push(rival.version()?);
        rivals.push(Arc::new(rival));
    }
    Ok((rivals, versions))
}

/// What the figures hold for.
fn conditions(
    bench: &Bench,
    threads: usize,
    rounds: usize,
    is_cut: bool,
) -> Vec<(&'static str, String)> {
    let seconds = bench.duration.as_secs_f32();
    let cut = if is_cut {
        ", cut short by the time limit"
    } else {
        ""
    };
    let command = std::env::args().enumerate().map(|(at, argument)| match at {
        0 => "everwire-bench".to_owned(),
        _ => argument,
    });
    let command: Vec<String> = command.collect();
    vec![
        ("date", OffsetDateTime::now_utc().date().to_string()),
        ("machine", machine::describe()),
        ("versions", machine::versions()),
        ("command", format!("`{}`", command.join(" "))),
        ("cores", bench.cores.to_string()),
        ("server threads", threads.to_string()),
        (
            "rounds",
            format!("{rounds} of {seconds} s for each measurement, medians shown{cut}"),
        ),
        (
            "elapsed",
            format!("{} s", bench.progress.elapsed().as_secs()),
        ),
    ]
}

impl RunOptions {
    fn extent(&self) -> Extent {
        let kinds = match self.only.as_slice() {
            [] => Kind::value_variants().to_vec(),
            only => only.to_vec(),
        };
        Extent {
            kinds,
            lines: self
                .lines
                .unwrap_or(if self.quick { 4_000 } else { 18_000 }),
            payload_bytes: self.payload_bytes.clone(),
        }
    }

    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { ROUNDS })
    }

    /// Whether this measures all that a document tells, for long enough to be told.
    fn is_whole(&self) -> bool {
        let RunOptions {
            server,
            server_arg,
            threads,
            rival: _,
            quick,
            rounds: _,
            seconds: _,
            only,
            payload_bytes,
            lines,
            json: _,
            markdown: _,
        } = self;
        let as_usual = server_arg.is_empty() && *threads == 1 && *payload_bytes == PAYLOAD_BYTES;
        let in_full = !quick && only.is_empty() && lines.is_none();
        let for_long = self.rounds() >= ROUNDS && self.duration() >= DURATION;
        server.is_some() && as_usual && in_full && for_long
    }

    /// A slow machine may take longer than others, but not for ever. A rival takes as long as the
    /// floor.
    fn time_max(&self) -> Duration {
        let of_two = Duration::from_secs(if self.quick { 85 } else { 12 * 60 });
        of_two * (2 + self.rival.len() as u32) / 2
    }

    fn duration(&self) -> Duration {
        self.seconds
            .unwrap_or(if self.quick { QUICK } else { DURATION })
    }
}

/// Many and short: on a shared machine a disturbance lasts longer than a measurement, and the median of
/// seven passes over three disturbed rounds.
const ROUNDS: usize = 7;
const DURATION: Duration = Duration::from_millis(500);
const QUICK: Duration = Duration::from_millis(200);

/// A file that takes the report as Markdown.
struct Document {
    path: PathBuf,
    /// What it holds so far; nothing if it is new.
    text: Option<String>,
}

impl Document {
    /// The document at `path`, or a new one.
    ///
    /// # Errors
    /// If it cannot be read or has no place for figures, or has one though the run is not whole.
    fn open(path: &Path, is_whole: bool) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) if !markdown::has_place(&text) => {
                return Err(NoPlace).context(path.display().to_string());
            }
            Ok(_) if !is_whole => bail!(
                "{} takes figures of a whole run only: with a server, and without options that \
                 measure less or something else; name a new file instead",
                path.display()
            ),
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        Ok(Self {
            path: path.to_owned(),
            text,
        })
    }

    fn write(&self, report: &Report, is_cut: bool) -> Result<()> {
        let path = self.path.display();
        let text = match &self.text {
            Some(_) if is_cut => {
                bail!("the run was cut short by its time limit, so {path} keeps its figures")
            }
            Some(text) => replace_figures(text, &report.markdown())?,
            None => report.markdown(),
        };
        fs::write(&self.path, text).with_context(|| format!("cannot write {path}"))
    }
}

fn serve_floor(options: &FloorOptions) -> Result<()> {
    raise_file_limit()?;
    let on_listening = |address| println!("listening on http://{address}");
    if options.hyper {
        return bare_hyper::serve(options.listen, on_listening);
    }
    let mut floor = Floor::bind(options.listen, options.join.get())?;
    on_listening(floor.local_address()?);
    loop {
        floor.turn(None)?;
    }
}

/// Files that a run has open besides its readers.
const FILES_SPARE: u64 = 100;

/// Makes sure that this process may have so many lines, and what it starts too.
fn require_files(lines: usize) -> Result<()> {
    let (files, needed) = (raise_file_limit()?, lines as u64 + FILES_SPARE);
    if files < needed {
        bail!(
            "only {files} files may be open and this run needs {needed}; raise the limit (ulimit -Hn)"
        );
    }
    Ok(())
}

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

fn lines(argument: &str) -> Result<usize, String> {
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
            ("1048576", Some(1_048_576)),
            ("15", None),
            ("1048577", None),
        ] {
            assert_eq!(payload_bytes(argument).ok(), expected, "{argument} bytes");
        }
        for (argument, expected) in [
            ("1", Some(1)),
            ("18499", Some(18_499)),
            ("0", None),
            ("18500", None),
        ] {
            assert_eq!(lines(argument).ok(), expected, "{argument} lines");
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
