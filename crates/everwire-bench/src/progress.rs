//! How far the run is, on standard error, so that a piped report stays clean.

use std::{
    cell::{Cell, RefCell},
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

/// Tells a person what the run is doing.
///
/// On a terminal one line is rewritten; elsewhere each step is a line, and details are left out.
#[derive(Debug)]
pub struct Progress {
    is_terminal: bool,
    started: Instant,
    step: RefCell<String>,
    told_at: Cell<Instant>,
}

impl Progress {
    /// Begins now.
    pub fn new() -> Self {
        let started = Instant::now();
        Self {
            is_terminal: stderr().is_terminal(),
            started,
            step: RefCell::default(),
            told_at: Cell::new(started),
        }
    }

    /// The run begins another measurement.
    pub fn step(&self, step: &str) {
        step.clone_into(&mut self.step.borrow_mut());
        self.write(step);
    }

    /// What the measurement does now. Most details come too fast to be shown.
    pub fn detail(&self, detail: &str) {
        if self.is_terminal && self.told_at.get().elapsed() > Duration::from_millis(100) {
            self.told_at.set(Instant::now());
            self.write(&format!("{}: {detail}", self.step.borrow()));
        }
    }

    /// Time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Leaves the line free for what follows.
    pub fn finish(&self) {
        if self.is_terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }

    /// A standard error that cannot be written to is no reason to stop measuring.
    fn write(&self, text: &str) {
        let seconds = self.elapsed().as_secs();
        let _ = if self.is_terminal {
            write!(stderr(), "\r\x1b[K{seconds:>4} s  {text}")
        } else {
            writeln!(stderr(), "{seconds:>4} s  {text}")
        };
    }
}
