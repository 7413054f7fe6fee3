//! What a subject prints: where it listens, and its last words when it fails.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, PipeReader},
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

/// The lines of a subject, as far as they are of use.
#[derive(Debug)]
pub struct Output {
    lines: Receiver<String>,
    last: VecDeque<String>,
}

/// What came within a wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A line.
    Line(String),
    /// Nothing yet.
    Nothing,
    /// The end of all output, as when the subject ends.
    End,
}

const LAST_LINES: usize = 12;

impl Output {
    /// What `command` will print. The command holds an end of the pipe until it is dropped.
    ///
    /// # Errors
    /// If the system gives no pipe.
    pub fn of(command: &mut Command) -> Result<Self> {
        let (pipe, writer) = io::pipe().context("cannot create a pipe")?;
        let writers = (writer.try_clone()?, writer);
        command
            .stdin(Stdio::null())
            .stdout(writers.0)
            .stderr(writers.1);
        Ok(Self::read(pipe))
    }

    /// Reads `pipe` in a thread of its own, so that the writer never waits.
    fn read(pipe: PipeReader) -> Self {
        let (sender, lines) = mpsc::sync_channel(1024);
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                // A full channel loses the line: it only serves messages.
                let _ = sender.try_send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Self {
            lines,
            last: VecDeque::new(),
        }
    }

    /// The output of a process that somebody else hears.
    pub fn unheard() -> Self {
        Self {
            lines: mpsc::channel().1,
            last: VecDeque::new(),
        }
    }

    /// The next line, if it comes within `wait`.
    pub fn hear(&mut self, wait: Duration) -> Heard {
        match self.lines.recv_timeout(wait) {
            Ok(line) => {
                self.keep(line.clone());
                Heard::Line(line)
            }
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
            Err(RecvTimeoutError::Disconnected) => Heard::End,
        }
    }

    /// The end of what was said so far, each line quoted on its own; empty if nothing was.
    pub fn quoted(&mut self) -> String {
        while let Ok(line) = self.lines.try_recv() {
            self.keep(line);
        }
        let quoted = self.last.iter().map(|line| format!("\n  | {line}"));
        quoted.collect()
    }

    fn keep(&mut self, line: String) {
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}
