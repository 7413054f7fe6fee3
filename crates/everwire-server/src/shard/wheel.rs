//! A timer wheel: cheap to arm, and cancelled by forgetting.
//!
//! ```text
//!  now ─▶ ┌─┬─┬─┬─┬─┬─ … ─┐   one bucket a tick; a timer further off than one round waits in its bucket
//!         └─┴─┴─┴─┴─┴─ … ─┘   for as many rounds as it needs
//! ```
//!
//! A timer is not removed when it is no longer wanted: its owner sees from what it names that it is stale.

use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(100);
const BUCKETS: usize = 1024;

/// Timers that name a `T`.
pub(crate) struct Wheel<T> {
    start: Instant,
    /// The tick up to which all timers have fired.
    tick: u64,
    buckets: Vec<Vec<(u64, T)>>,
    armed: usize,
}

impl<T> Wheel<T> {
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            tick: 0,
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            armed: 0,
        }
    }

    /// Arms a timer. It fires at `at` or up to a tick (100 ms) later.
    pub fn arm(&mut self, at: Instant, what: T) {
        let since = at.saturating_duration_since(self.start);
        let due = (since.as_millis() / TICK.as_millis()) as u64 + 1;
        let due = due.max(self.tick + 1);
        self.buckets[due as usize % BUCKETS].push((due, what));
        self.armed += 1;
    }

    /// Takes what is due, in no order within a tick.
    pub fn fire(&mut self, now: Instant, fired: &mut impl Extend<T>) {
        let current =
            (now.saturating_duration_since(self.start).as_millis() / TICK.as_millis()) as u64;
        // After a long sleep one round meets every bucket.
        let from = self.tick.max(current.saturating_sub(BUCKETS as u64)) + 1;
        for tick in from..=current {
            let bucket = &mut self.buckets[tick as usize % BUCKETS];
            let mut index = 0;
            while index < bucket.len() {
                if bucket[index].0 <= current {
                    fired.extend([bucket.swap_remove(index).1]);
                    self.armed -= 1;
                } else {
                    index += 1;
                }
            }
            if bucket.is_empty() {
                bucket.shrink_to(4);
            }
        }
        self.tick = self.tick.max(current);
    }

    /// How many timers have not fired.
    #[cfg(test)]
    pub fn armed(&self) -> usize {
        self.armed
    }

    /// When to look again, while anything is armed: the next tick whose bucket holds a timer, at most one
    /// round off.
    pub fn wake_at(&self) -> Option<Instant> {
        if self.armed == 0 {
            return None;
        }
        let tick = (1..=BUCKETS as u64)
            .map(|ahead| self.tick + ahead)
            .find(|tick| !self.buckets[*tick as usize % BUCKETS].is_empty())
            .unwrap_or(self.tick + BUCKETS as u64);
        Some(self.start + TICK * u32::try_from(tick).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Each timer fires once, not before its time and at most a tick and a step late.
        #[test]
        fn each_timer_fires_once_and_in_time(
            delays in prop::collection::vec(0u64..300_000, 1..60),
            steps in prop::collection::vec(1u64..40_000, 1..60),
        ) {
            let start = Instant::now();
            let mut wheel = Wheel::new(start);
            for (index, delay) in delays.iter().enumerate() {
                wheel.arm(start + Duration::from_millis(*delay), index);
            }
            let (mut now_ms, mut seen) = (0, vec![false; delays.len()]);
            for step in steps.into_iter().chain(std::iter::repeat_n(10_000, 40)) {
                let before = now_ms;
                now_ms += step;
                let mut fired = Vec::new();
                wheel.fire(start + Duration::from_millis(now_ms), &mut fired);
                for index in fired {
                    prop_assert!(!seen[index], "a timer fires once");
                    seen[index] = true;
                    prop_assert!(delays[index] <= now_ms, "not before its time");
                    prop_assert!(delays[index] + 200 > before, "at the first look after its time");
                }
            }
            prop_assert!(seen.iter().all(|fired| *fired));
            prop_assert_eq!(wheel.wake_at(), None);
        }

        /// Whoever sleeps until `wake_at` misses nothing.
        #[test]
        fn sleeping_until_wake_at_meets_each_timer(delays in prop::collection::vec(0u64..300_000, 1..20)) {
            let start = Instant::now();
            let mut wheel = Wheel::new(start);
            for delay in &delays {
                wheel.arm(start + Duration::from_millis(*delay), *delay);
            }
            let mut fired = Vec::new();
            while let Some(at) = wheel.wake_at() {
                let before = fired.len();
                wheel.fire(at, &mut fired);
                for delay in &fired[before..] {
                    let late = at - start - Duration::from_millis(*delay);
                    prop_assert!(late <= TICK, "late by {late:?}");
                }
            }
            prop_assert_eq!(fired.len(), delays.len());
        }
    }
}
