//! Lines of the log that nobody can read, counted by reason.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of log lines that were not written. The writer of the log counts, and `/metrics` tells.
#[derive(Debug, Default)]
pub struct LostLines {
    full: AtomicU64,
    failed: AtomicU64,
    paced: AtomicU64,
}

/// Reason why a log line was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The queue before the writer was full: the log is not read, or not fast enough.
    Full,
    /// The system refused to write it.
    Failed,
    /// Its place in the code had said too much already; a later line tells how many there were.
    Paced,
}

impl Loss {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::Full, Self::Failed, Self::Paced];

    /// The reason's label in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Failed => "failed",
            Self::Paced => "paced",
        }
    }
}

impl LostLines {
    /// Counts one more line.
    pub fn add(&self, loss: Loss) {
        self.counter(loss).fetch_add(1, Ordering::Relaxed);
    }

    /// Lines that were lost for this reason so far.
    pub fn count(&self, loss: Loss) -> u64 {
        self.counter(loss).load(Ordering::Relaxed)
    }

    fn counter(&self, loss: Loss) -> &AtomicU64 {
        match loss {
            Loss::Full => &self.full,
            Loss::Failed => &self.failed,
            Loss::Paced => &self.paced,
        }
    }
}
