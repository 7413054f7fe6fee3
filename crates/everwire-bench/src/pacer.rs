//! When the next of a steady row of entries is due, and whether it came in time.
//!
//! Starts are fixed beforehand. A load that waited for the server before it started the next would
//! leave out the very moments in which the server is slow, so nothing here waits for anything; and
//! a start that comes late, since the load client was busy, is counted instead of hidden.

use std::time::{Duration, Instant};

/// Entries at a steady rate.
#[derive(Debug)]
pub struct Pacer {
    interval: Duration,
    next: Instant,
    started: u64,
    late: u64,
}

/// A start that comes after this is late.
const LATE: Duration = Duration::from_millis(1);

impl Pacer {
    /// One entry in each `interval`, from `first` on.
    pub fn new(interval: Duration, first: Instant) -> Self {
        Self {
            interval,
            next: first,
            started: 0,
            late: 0,
        }
    }

    /// Whether an entry is due; if so, it counts as started now.
    pub fn start_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.started += 1;
        self.late += u64::from(now - self.next > LATE);
        self.next += self.interval;
        true
    }

    /// How long to wait for events before this is asked again: not at all shortly before an entry
    /// is due, since the system only counts in milliseconds and may take one more.
    pub fn wait(&self, now: Instant) -> Duration {
        let left = self.next.saturating_duration_since(now);
        let whole = Duration::from_millis(left.as_millis() as u64);
        whole.saturating_sub(Duration::from_millis(1))
    }

    /// The part of all starts that were late, 0–1.
    pub fn late_share(&self) -> f64 {
        self.late as f64 / self.started.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_fixed_beforehand_and_late_ones_are_counted() {
        let start = Instant::now();
        let at = |us| start + Duration::from_micros(us);
        let mut pacer = Pacer::new(Duration::from_millis(10), start);
        // When it is asked, whether an entry is due, and how long it says to wait then.
        for (now_us, is_due, wait_ms) in [
            (0, true, 9),
            (1, false, 8),
            (8_500, false, 0),
            (10_900, true, 8),
            // Busy for three intervals: each start is made up for, none is left out.
            (41_500, true, 0),
            (41_501, true, 0),
            (41_502, true, 7),
            (41_503, false, 7),
        ] {
            assert_eq!(pacer.start_due(at(now_us)), is_due, "at {now_us} µs");
            let wait = Duration::from_millis(wait_ms);
            assert_eq!(pacer.wait(at(now_us)), wait, "at {now_us} µs");
        }
        assert_eq!(pacer.late_share(), 3.0 / 5.0);
    }
}
