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
    /// Measurements that have begun, and how many there will be.
    steps: Cell<(usize, usize)>,
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
            steps: Cell::default(),
            told_at: Cell::new(started),
        }
    }

    /// So many measurements are to come.
    pub fn expect(&self, steps: usize) {
        self.steps.set((0, steps));
    }

    /// The run begins another measurement.
    pub fn step(&self, step: &str) {
        let (begun, steps) = self.steps.get();
        self.steps.set((begun + 1, steps));
        let left = time_left(self.elapsed(), begun, steps);
        let step = format!("{} of {steps}{left}: {step}", begun + 1);
        self.write(&step);
        *self.step.borrow_mut() = step;
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

/// What is left if the rest takes as long as what was `done` of all `steps`; nothing before some
/// were.
fn time_left(elapsed: Duration, done: usize, steps: usize) -> String {
    const ENOUGH: usize = 10;
    if done < ENOUGH {
        return String::new();
    }
    let seconds = elapsed.as_secs_f64() / done as f64 * steps.saturating_sub(done) as f64;
    format!(", {seconds:.0} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_once_some_measurements_are_done() {
        for (elapsed_s, done, steps, expected) in [
            (9, 9, 100, ""),
            (20, 10, 100, ", 180 s left"),
            (200, 100, 100, ", 0 s left"),
        ] {
            let left = time_left(Duration::from_secs(elapsed_s), done, steps);
            assert_eq!(left, expected, "{done} of {steps} after {elapsed_s} s");
        }
    }
}
