//! What is measured: a server binary or the floor, started fresh for each measurement.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, PipeReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    cores::Cores,
    interrupt::Interrupt,
    usage::{self, CpuTime},
};

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
}

impl Subject {
    /// Starts it on its core and waits until it listens.
    ///
    /// # Errors
    /// If it cannot be started, ends, or does not tell within some seconds where it listens; the
    /// message quotes what it said.
    pub fn start(&self, cores: Cores, interrupt: &Interrupt) -> Result<Running> {
        let mut command = self.command()?;
        let (output, writer) = io::pipe().context("cannot create a pipe")?;
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let child = cores
            .on_server_core(|| command.spawn())
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        drop(command); // and with it our ends of the pipe, which else would never end
        let mut running = Running {
            child,
            address: SocketAddr::from(([0; 4], 0)),
            output: lines_of(output),
            last: VecDeque::new(),
        };
        running.address = running.wait_until_listening(interrupt)?;
        Ok(running)
    }

    /// The name in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Server { .. } => "server",
            Self::Floor { .. } => "floor",
            Self::BareHyper => "bare hyper",
        }
    }

    fn command(&self) -> Result<Command> {
        const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];
        Ok(match self {
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
        })
    }
}

fn this_program() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find this program")
}

/// A started subject; it is stopped when this is dropped.
pub struct Running {
    child: Child,
    address: SocketAddr,
    output: Receiver<String>,
    last: VecDeque<String>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time since it started.
    ///
    /// # Errors
    /// If it is gone.
    pub fn cpu_time(&self) -> Result<CpuTime> {
        CpuTime::of(self.child.id())
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// If it is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        usage::resident_bytes(self.child.id())
    }

    /// The end of what it said, for the message of an error.
    pub fn last_words(&mut self) -> String {
        self.take_output();
        let ended = match self.child.try_wait() {
            Ok(Some(status)) => format!("it ended with {status}"),
            _ => "it still runs".to_owned(),
        };
        if self.last.is_empty() {
            return format!("{ended} and said nothing");
        }
        let said: Vec<_> = self
            .last
            .iter()
            .map(|line| format!("\n  | {line}"))
            .collect();
        format!("{ended}; its last words:{}", said.concat())
    }

    fn wait_until_listening(&mut self, interrupt: &Interrupt) -> Result<SocketAddr> {
        let deadline = Instant::now() + START_MAX;
        while Instant::now() < deadline {
            interrupt.check()?;
            match self.output.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    let address = listening_address(&line);
                    self.keep(line);
                    if let Some(address) = address {
                        return Ok(address);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.child.wait(); // it closed its output, so it is about to end
                    break;
                }
            }
        }
        let seconds = START_MAX.as_secs();
        bail!(
            "no line `listening on http://…` came within {seconds} s; {}",
            self.last_words()
        )
    }

    fn take_output(&mut self) {
        while let Ok(line) = self.output.try_recv() {
            self.keep(line);
        }
    }

    fn keep(&mut self, line: String) {
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Killed, not asked: a graceful end would wait for lines that nobody needs any more. Both
        // calls fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const START_MAX: Duration = Duration::from_secs(10);
const LAST_LINES: usize = 12;

/// The lines of `output`, read by a thread of its own so that the writer never waits.
fn lines_of(output: PipeReader) -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(1024);
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            // A full channel loses the line: it only serves messages.
            let _ = sender.try_send(String::from_utf8_lossy(&line).into_owned());
        }
    });
    receiver
}

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
