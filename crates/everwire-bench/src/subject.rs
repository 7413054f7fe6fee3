//! What is measured: a server binary or the floor, started fresh for each measurement.

mod metrics;
mod output;
mod process;

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use self::output::Heard;
pub use self::{metrics::counter, output::Output, process::Process};
use crate::{cores::Cores, dialect::Dialect, interrupt::Interrupt, rival::Rival, usage::CpuTime};

/// A program that can be measured.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A server binary.
    Server {
        /// The `everwire` binary.
        binary: PathBuf,
        /// Core threads it may use.
        threads: usize,
        /// Further arguments of its `serve` command.
        arguments: Vec<String>,
    },
    /// This program's own [`floor`](crate::floor).
    Floor {
        /// Entries of a channel that it joins in each send: 1, but to see what more would give.
        joined: usize,
    },
    /// This program's own [`bare_hyper`](crate::floor::bare_hyper).
    BareHyper,
    /// A server that a file describes.
    Rival(Arc<Rival>),
}

impl Subject {
    /// Starts it on its core and waits until it listens.
    ///
    /// # Errors
    /// If it cannot be started, ends, or does not tell within some seconds where it listens; the
    /// message quotes what it said.
    pub fn start(&self, cores: Cores, interrupt: &Interrupt) -> Result<Running> {
        const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];
        let mut command = match self {
            Self::Rival(rival) => return rival.start(cores, interrupt),
            Self::Server {
                binary,
                threads,
                arguments,
            } => {
                let mut command = Command::new(binary);
                command.args(["serve", "--dev"]).args(LISTEN);
                command
                    .args(["--threads", &threads.to_string()])
                    .args(arguments);
                command
            }
            Self::Floor { joined } => {
                let mut command = Command::new(this_program()?);
                command.arg("floor").args(LISTEN);
                command.args(["--join", &joined.to_string()]);
                command
            }
            Self::BareHyper => {
                let mut command = Command::new(this_program()?);
                command.args(["floor", "--hyper"]).args(LISTEN);
                command
            }
        };
        let output = Output::of(&mut command)?;
        let process = Process::alone(&mut command, cores)?;
        drop(command); // and with it our ends of the pipe, which else would never end
        let mut running = Running::new(process, output);
        let awaited = "no line `listening on http://…` came";
        let address = running.wait_until(interrupt, awaited, |line| listening_address(line?))?;
        Ok(running.at(address, Dialect::Everwire))
    }

    /// What messages call it.
    pub fn title(&self) -> String {
        match self {
            Self::Rival(rival) => rival.name().to_owned(),
            Self::Server { .. } | Self::Floor { .. } | Self::BareHyper => {
                format!("the {}", self.name())
            }
        }
    }

    /// The name among what is measured.
    pub fn name(&self) -> &str {
        match self {
            Self::Rival(rival) => rival.name(),
            Self::Server { .. } => "server",
            Self::Floor { .. } => "floor",
            Self::BareHyper => "bare hyper",
        }
    }
}

fn this_program() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find this program")
}

/// A started subject; it is stopped when this is dropped.
pub struct Running {
    process: Process,
    address: SocketAddr,
    dialect: Dialect,
    output: Output,
}

impl Running {
    /// A subject whose `process` was started, or is there already.
    pub fn new(process: Process, output: Output) -> Self {
        Self {
            process,
            address: SocketAddr::from(([0; 4], 0)),
            dialect: Dialect::Everwire,
            output,
        }
    }

    /// The same, known to be at `address` and to speak `dialect`.
    pub fn at(self, address: SocketAddr, dialect: Dialect) -> Self {
        Self {
            address,
            dialect,
            ..self
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How to speak to it.
    pub fn dialect(&self) -> Dialect {
        self.dialect.clone()
    }

    /// CPU time since it started.
    ///
    /// # Errors
    /// If it is gone.
    pub fn cpu_time(&self) -> Result<CpuTime> {
        self.process.cpu_time()
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// If it is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.process.resident_bytes()
    }

    /// The end of what it said, for the message of an error.
    pub fn last_words(&mut self) -> String {
        let (said, fate) = (self.output.quoted(), self.process.fate());
        if said.is_empty() {
            return format!("{fate} and said nothing");
        }
        format!("{fate}; its last words:{said}")
    }

    /// Waits until it listens, which `is_listening` tells of each line and of the moments between.
    ///
    /// # Errors
    /// If it ends, or takes too long; the message says what was `awaited` and quotes what it said.
    pub fn wait_until<T>(
        &mut self,
        interrupt: &Interrupt,
        awaited: &str,
        mut is_listening: impl FnMut(Option<&str>) -> Option<T>,
    ) -> Result<T> {
        const STEP: Duration = Duration::from_millis(10);
        let deadline = Instant::now() + START_MAX;
        loop {
            if Instant::now() >= deadline {
                let seconds = START_MAX.as_secs();
                bail!("{awaited} within {seconds} s; {}", self.last_words());
            }
            interrupt.check()?;
            let listening = match self.output.hear(STEP) {
                Heard::Line(line) => is_listening(Some(&line)),
                Heard::Nothing => is_listening(None),
                Heard::End if self.process.ends_soon() => {
                    bail!("{awaited}; {}", self.last_words());
                }
                Heard::End => is_listening(None),
            };
            if let Some(listening) = listening {
                return Ok(listening);
            }
        }
    }
}

const START_MAX: Duration = Duration::from_secs(10);

/// The address in a line `… listening on http://127.0.0.1:4017 …`.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, after) = line.split_once("listening on http://")?;
    let address = after
        .split(|c: char| c.is_whitespace() || c.is_control() || c == '/')
        .next()?;
    address.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_any_log_line() {
        let address = SocketAddr::from(([127, 0, 0, 1], 4017));
        for (line, expected) in [
            ("listening on http://127.0.0.1:4017", Some(address)),
            (
                "2026-01-01T00:00:00Z  INFO everwire: listening on http://127.0.0.1:4017 threads=1",
                Some(address),
            ),
            ("listening on http://127.0.0.1:4017\u{1b}[0m", Some(address)),
            ("listening on http://127.0.0.1:4017/", Some(address)),
            ("listening on https://127.0.0.1:4017", None),
            ("listening on http://nowhere", None),
            ("started", None),
        ] {
            assert_eq!(listening_address(line), expected, "{line}");
        }
    }

    #[test]
    fn a_program_that_does_not_listen_is_quoted() {
        let subject = Subject::Server {
            binary: "/bin/echo".into(),
            threads: 1,
            arguments: vec!["--no-such-option".to_owned()],
        };
        let error = subject
            .start(Cores::Shared, &Interrupt::default())
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("| serve --dev --listen 127.0.0.1:0 --threads 1 --no-such-option"),
            "{error}"
        );
        assert!(error.contains("ended with exit status: 0"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let subject = Subject::Server {
            binary: "/nowhere/everwire".into(),
            threads: 1,
            arguments: vec![],
        };
        let error = subject
            .start(Cores::Shared, &Interrupt::default())
            .err()
            .unwrap()
            .to_string();
        assert_eq!(error, "cannot start /nowhere/everwire");
    }
}
