//! What TLS costs the server, beside clear text on the same port of the same process.
//!
//! ```text
//!  handshakes   connect, shake hands in full or resume, leave        CPU of each
//!  lines        WebSockets that wait                                 memory of each
//!  deliveries   one entry to all of them, and the next when all have it
//! ```
//!
//! The client blocks, and is far slower than the server. Nothing here depends on how fast it is: what is measured is
//! what the server used.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    client::Resumption,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;

use crate::{
    cores::Cores,
    dialect::Dialect,
    interrupt::Interrupt,
    report::{Cell, Column, Report, Table},
    statistics::median,
    subject::{Output, Process, Running},
    usage::CpuTime,
};

/// What is measured, and how much of it.
#[derive(Args, Clone, Debug)]
pub struct TlsOptions {
    /// The `everwire` binary.
    #[arg(long, value_name = "FILE")]
    server: PathBuf,
    /// Lines that wait, under TLS and in clear text.
    #[arg(long, value_name = "COUNT", default_value_t = 2_000,
          value_parser = clap::value_parser!(u16).range(100..=8_000))]
    lines: u16,
    /// Handshakes of each kind in a round.
    #[arg(long, value_name = "COUNT", default_value_t = 300,
          value_parser = clap::value_parser!(u16).range(10..))]
    handshakes: u16,
    /// Entries that all lines are sent in a round.
    #[arg(long, value_name = "COUNT", default_value_t = 10,
          value_parser = clap::value_parser!(u16).range(1..))]
    entries: u16,
    /// Rounds; their medians are reported.
    #[arg(long, value_name = "COUNT", default_value_t = 5,
          value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
}

impl TlsOptions {
    /// Connections that are open at once.
    pub fn connections(&self) -> usize {
        2 * (usize::from(self.lines) + LINES_BEFORE)
    }
}

/// Lines that are there before memory is looked at, so that the process has what it keeps.
const LINES_BEFORE: usize = 300;

/// Bytes of an entry.
const SIZES: [usize; 3] = [128, 1024, 16_384];

/// Measures.
///
/// # Errors
/// If the server does not start, or anything else comes back than was sent.
pub fn measure(options: &TlsOptions, interrupt: &Interrupt) -> Result<Report> {
    let cores = Cores::divide();
    let site = Site::start(&options.server, cores, interrupt)?;
    let rounds = usize::from(options.rounds);
    let each = usize::from(options.handshakes);
    let mut handshakes = Vec::new();
    for kind in [
        None,
        Some(HandshakeKind::Full),
        Some(HandshakeKind::Resumed),
    ] {
        let costs: Result<Vec<f64>> = (0..rounds)
            .map(|_| site.connect_and_leave(kind, each))
            .collect();
        handshakes.push((kind, median(costs?)));
    }
    let mut memory = Vec::new();
    let mut lines = Vec::new();
    for is_secure in [false, true] {
        let open =
            |count| -> Result<Vec<Line>> { (0..count).map(|_| site.line(is_secure)).collect() };
        let mut all = open(LINES_BEFORE)?;
        let before = site.server.resident_bytes()?;
        all.extend(open(options.lines.into())?);
        let bytes = site.server.resident_bytes()?.saturating_sub(before);
        memory.push(bytes as f64 / f64::from(options.lines));
        lines.push(all);
    }
    let mut deliveries = Vec::new();
    for size in SIZES {
        let mut costs = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            interrupt.check()?;
            for (lines, costs) in lines.iter_mut().zip(&mut costs) {
                costs.push(site.deliver(lines, size, options.entries.into())?);
            }
        }
        let [clear, secure] = costs.map(median);
        deliveries.push((size, clear, secure));
    }
    Ok(Report {
        conditions: vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("cores", cores.to_string()),
            ("suite", site.suite()?),
        ],
        tables: vec![
            handshake_table(&handshakes),
            memory_table(options.lines.into(), &memory),
            delivery_table(options.lines.into(), &deliveries),
        ],
        notes: Vec::new(),
    })
}

fn handshake_table(handshakes: &[(Option<HandshakeKind>, Option<f64>)]) -> Table {
    let row = |(kind, us): &(Option<HandshakeKind>, Option<f64>)| {
        let kind = match kind {
            None => "none, in clear text",
            Some(HandshakeKind::Resumed) => "resumed",
            Some(_) => "full",
        };
        vec![
            Cell::Text(kind.into()),
            Cell::figure(*us, 0),
            Cell::figure(us.map(|us| 1e6 / us), 0),
        ]
    };
    Table {
        key: "handshakes",
        title: "Connections that are opened and closed, for each".to_owned(),
        columns: columns(&[
            ("handshake", "handshake"),
            ("cpu_us", "µs"),
            ("a_cpu_second", "a CPU second"),
        ]),
        rows: handshakes.iter().map(row).collect(),
    }
}

fn memory_table(lines: u64, memory: &[f64]) -> Table {
    let row = |(name, bytes): (&'static str, &f64)| {
        vec![
            Cell::Text(name.into()),
            Cell::Count(lines),
            Cell::figure(Some(*bytes), 0),
        ]
    };
    Table {
        key: "tls_lines",
        title: "WebSockets that wait, for each".to_owned(),
        columns: columns(&[("line", "line"), ("lines", "lines"), ("bytes", "bytes")]),
        rows: ["clear text", "TLS"]
            .into_iter()
            .zip(memory)
            .map(row)
            .collect(),
    }
}

fn delivery_table(lines: u64, deliveries: &[(usize, Option<f64>, Option<f64>)]) -> Table {
    let row = |(size, clear, secure): &(usize, Option<f64>, Option<f64>)| {
        let ratio = secure.zip(*clear).map(|(secure, clear)| secure / clear);
        vec![
            Cell::Count(lines),
            Cell::Count(*size as u64),
            Cell::figure(*clear, 2),
            Cell::figure(*secure, 2),
            Cell::figure(secure.map(|us| 1e6 / us), 0),
            Cell::figure(ratio, 2),
        ]
    };
    Table {
        key: "tls_deliveries",
        title: "WebSocket fan-out under TLS, for each delivery".to_owned(),
        columns: columns(&[
            ("readers", "readers"),
            ("bytes", "bytes"),
            ("clear_us", "clear text, µs"),
            ("tls_us", "TLS, µs"),
            ("a_cpu_second", "a CPU second"),
            ("ratio", "of clear text"),
        ]),
        rows: deliveries.iter().map(row).collect(),
    }
}

fn columns(titles: &[(&'static str, &'static str)]) -> Vec<Column> {
    let column = |&(key, title): &(&'static str, &'static str)| Column::new(key, title);
    titles.iter().map(column).collect()
}

/// A server that speaks both, and how to speak to it.
struct Site {
    server: Running,
    /// Shakes hands in full each time.
    full: Arc<ClientConfig>,
    /// Resumes if it can.
    resuming: Arc<ClientConfig>,
    _state: TempDir,
}

/// A connection.
enum Line {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Site {
    fn start(binary: &Path, cores: Cores, interrupt: &Interrupt) -> Result<Self> {
        let state = tempfile::tempdir().context("cannot make a folder for the certificate")?;
        let mut command = Command::new(binary);
        command
            .args([
                "serve",
                "--dev",
                "--listen",
                "127.0.0.1:0",
                "--threads",
                "1",
            ])
            .args(["--tls.mode", "both"])
            .env("XDG_STATE_HOME", state.path());
        let output = Output::of(&mut command)?;
        let process = Process::alone(&mut command, cores)?;
        drop(command);
        let mut server = Running::new(process, output);
        let awaited = "no line `listening on https://…` came";
        let address = server.wait_until(interrupt, awaited, |line| listening_address(line?))?;
        let pem = std::fs::read(state.path().join("everwire/localhost.pem"))
            .context("the server has made no certificate")?;
        let certificate = CertificateDer::from_pem_slice(&pem)?;
        let config = |resumption: Resumption| -> Result<Arc<ClientConfig>> {
            let mut roots = RootCertStore::empty();
            roots.add(certificate.clone())?;
            let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.resumption = resumption;
            Ok(Arc::new(config))
        };
        Ok(Self {
            server: server.at(address, Dialect::Everwire),
            full: config(Resumption::disabled())?,
            resuming: config(Resumption::in_memory_sessions(16))?,
            _state: state,
        })
    }

    /// What both sides have agreed upon.
    fn suite(&self) -> Result<String> {
        let mut line = self.connect(Some(HandshakeKind::Full))?;
        line.ask_health()?;
        let Line::Tls(stream) = line else {
            bail!("this line is under TLS");
        };
        let suite = stream.conn.negotiated_cipher_suite();
        let group = stream.conn.negotiated_key_exchange_group();
        let suite = suite.map(|suite| format!("{:?}", suite.suite()));
        let group = group.map(|group| format!("{:?}", group.name()));
        Ok([suite, group].map(Option::unwrap_or_default).join(", "))
    }

    fn connect(&self, kind: Option<HandshakeKind>) -> Result<Line> {
        let socket = TcpStream::connect(self.server.address())?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let config = match kind {
            None => return Ok(Line::Clear(socket)),
            Some(HandshakeKind::Resumed) => &self.resuming,
            Some(_) => &self.full,
        };
        let name = ServerName::try_from("localhost")?;
        let client = ClientConnection::new(config.clone(), name)?;
        Ok(Line::Tls(Box::new(StreamOwned::new(client, socket))))
    }

    /// Microseconds that the server takes for each of so many connections that ask for one small thing.
    fn connect_and_leave(&self, kind: Option<HandshakeKind>, count: usize) -> Result<f64> {
        // The first of those who resume cannot.
        self.connect(kind)?.ask_health()?;
        let before = self.server.cpu_time()?;
        for _ in 0..count {
            let mut line = self.connect(kind)?;
            line.ask_health()?;
            if let Line::Tls(stream) = &line {
                let found = stream.conn.handshake_kind();
                ensure!(
                    found == kind,
                    "the handshake was {found:?} and not {kind:?}"
                );
            }
        }
        Ok(us(self.server.cpu_time()?, before) / count as f64)
    }

    /// A WebSocket that reads.
    fn line(&self, is_secure: bool) -> Result<Line> {
        let mut line = self.connect(is_secure.then_some(HandshakeKind::Full))?;
        let path = match is_secure {
            true => "tls",
            false => "clear",
        };
        line.say(&format!(
            "GET /channels/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))?;
        let head = line.head()?;
        ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Ok(line)
    }

    /// Microseconds that the server takes for each delivery of so many entries to all lines. An entry is published
    /// when all have the one before.
    fn deliver(&self, lines: &mut [Line], size: usize, entries: usize) -> Result<f64> {
        let path = match lines.first() {
            Some(Line::Tls(_)) => "tls",
            Some(Line::Clear(_)) | None => "clear",
        };
        let mut publisher = self.connect(None)?;
        let payload = "x".repeat(size);
        let before = self.server.cpu_time()?;
        for _ in 0..entries {
            publisher.say(&format!(
                "POST /channels/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n\
                 Content-Length: {size}\r\n\r\n{payload}"
            ))?;
            let head = publisher.head()?;
            ensure!(head.starts_with("HTTP/1.1 204 "), "{head}");
            for line in &mut *lines {
                line.entry(payload.as_bytes())?;
            }
        }
        let deliveries = entries * lines.len();
        Ok(us(self.server.cpu_time()?, before) / deliveries as f64)
    }
}

impl Line {
    fn stream(&mut self) -> &mut dyn Stream {
        match self {
            Self::Clear(socket) => socket,
            Self::Tls(stream) => stream,
        }
    }

    fn say(&mut self, text: &str) -> Result<()> {
        Ok(self.stream().write_all(text.as_bytes())?)
    }

    /// A response's head, read byte by byte so that nothing of what follows is taken.
    fn head(&mut self) -> Result<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream().read_exact(&mut byte)?;
            head.extend(byte);
        }
        Ok(String::from_utf8(head)?)
    }

    fn ask_health(&mut self) -> Result<()> {
        self.say("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let head = self.head()?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{head}");
        // Tickets come before the answer's content, which is `ok`.
        let mut content = [0; 3];
        Ok(self.stream().read_exact(&mut content)?)
    }

    /// The next entry, which has to be this one.
    fn entry(&mut self, expected: &[u8]) -> Result<()> {
        loop {
            let mut head = [0; 2];
            self.stream().read_exact(&mut head)?;
            let len = match head[1] {
                126 => {
                    let mut len = [0; 2];
                    self.stream().read_exact(&mut len)?;
                    usize::from(u16::from_be_bytes(len))
                }
                len => usize::from(len),
            };
            let mut payload = vec![0; len];
            self.stream().read_exact(&mut payload)?;
            match head[0] {
                0x89 => {} // a ping; nobody waits here for long enough to be missed
                0x82 if payload == expected => return Ok(()),
                other => {
                    bail!("a frame of {len} bytes that begins with {other:#x} is not the entry")
                }
            }
        }
    }
}

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

fn us(now: CpuTime, before: CpuTime) -> f64 {
    now.since(before).total().as_secs_f64() * 1e6
}

fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, after) = line.split_once("listening on https://")?;
    after.split_whitespace().next()?.parse().ok()
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
