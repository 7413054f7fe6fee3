//! How long entries are under way: from before they are written to when each reader parses them.

use std::time::{Duration, Instant};

use crate::payload::Stamp;

/// The deliveries of one source, timed by one clock.
#[derive(Debug)]
pub struct Timing {
    source: usize,
    /// The time of the read that is being parsed.
    now: Instant,
    /// When each entry was about to be written, by number.
    sent: Vec<Instant>,
    took: Vec<Duration>,
}

impl Timing {
    /// Times the entries of `source`; those of others pass unnoticed.
    pub fn new(source: usize, now: Instant) -> Self {
        Self {
            source,
            now,
            sent: Vec::new(),
            took: Vec::new(),
        }
    }

    /// The source's next entry is about to be written.
    pub fn on_publish(&mut self, now: Instant) {
        self.sent.push(now);
    }

    /// Bytes were read, and are parsed next.
    pub fn on_read(&mut self, now: Instant) {
        self.now = now;
    }

    /// A reader parsed `stamp` out of them.
    pub fn on_delivery(&mut self, stamp: Stamp) {
        if stamp.source == self.source
            && let Some(sent) = self.sent.get(stamp.number as usize)
        {
            self.took.push(self.now.saturating_duration_since(*sent));
        }
    }

    /// What was noted since this was last asked, in no order.
    pub fn take(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_delivery_is_timed_from_its_own_publish() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timing = Timing::new(1, start);
        timing.on_publish(at(10));
        timing.on_publish(at(20));
        for (read_at, source, number) in [(13, 1, 0), (25, 1, 0), (25, 1, 1), (26, 0, 0)] {
            timing.on_read(at(read_at));
            timing.on_delivery(Stamp { source, number });
        }
        assert_eq!(timing.take(), [3, 15, 5].map(Duration::from_millis));
        assert!(
            timing.take().is_empty(),
            "what was taken is not given again"
        );
    }
}
