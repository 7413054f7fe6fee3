//! The moment at which somebody may have left next, over all rosters.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// One moment, which anybody may set earlier. In milliseconds on the clock of leases.
pub(super) struct Alarm {
    at_ms: AtomicU64,
    earlier: Notify,
}

/// No moment at all.
const NEVER: u64 = u64::MAX;

impl Alarm {
    /// Sets it to a moment, if that is earlier. Only then somebody is woken: of ten thousand who leave one after
    /// the other, the first does that.
    pub fn set(&self, at_ms: u64) {
        if self.at_ms.fetch_min(at_ms, Ordering::AcqRel) > at_ms {
            self.earlier.notify_one();
        }
    }

    /// Forgets it. What is set from now on counts, also while others are still asked when they want to wake.
    pub fn reset(&self) {
        self.at_ms.store(NEVER, Ordering::Release);
    }

    /// The moment, if one is set.
    #[cfg(test)]
    pub fn at_ms(&self) -> Option<u64> {
        let at_ms = self.at_ms.load(Ordering::Acquire);
        (at_ms != NEVER).then_some(at_ms)
    }

    /// Waits until the moment, counted from when the clock started.
    pub async fn ring(&self, started: Instant) {
        loop {
            let at_ms = self.at_ms.load(Ordering::Acquire);
            match started.checked_add(Duration::from_millis(at_ms)) {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => return,
                    () = self.earlier.notified() => {}
                },
                None => self.earlier.notified().await,
            }
        }
    }
}

impl Default for Alarm {
    fn default() -> Self {
        Self {
            at_ms: AtomicU64::new(NEVER),
            earlier: Notify::new(),
        }
    }
}
