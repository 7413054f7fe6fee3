//! Timers by the wall clock: for what ends at a date, whenever that comes.
//!
//! ```text
//!  arm(date) ─▶ [ earliest … latest ] ─▶ fire(date)   at once when the clock is set forward
//! ```
//!
//! A [wheel](super::wheel) measures how much time passes. A date comes sooner than that if the clock is set forward, or
//! if the machine slept meanwhile. As there, a timer is not removed when it is no longer wanted.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

/// Timers that name a `T`.
pub(super) struct Calendar<T>(BinaryHeap<Reverse<Entry<T>>>);

struct Entry<T> {
    unix_ms: u64,
    what: T,
}

impl<T> Calendar<T> {
    pub fn new() -> Self {
        Self(BinaryHeap::new())
    }

    /// Arms a timer for a date, in Unix milliseconds.
    pub fn arm(&mut self, unix_ms: u64, what: T) {
        self.0.push(Reverse(Entry { unix_ms, what }));
    }

    /// Takes the next timer whose date has come.
    pub fn pop(&mut self, now_ms: u64) -> Option<T> {
        if !self.is_due(now_ms) {
            return None;
        }
        let Reverse(entry) = self.0.pop()?;
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(self.0.len() * 2);
        }
        Some(entry.what)
    }

    /// Whether the date of one has come.
    pub fn is_due(&self, now_ms: u64) -> bool {
        let next = self.0.peek();
        next.is_some_and(|Reverse(entry)| entry.unix_ms <= now_ms)
    }

    /// Whether none is armed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// By the date alone.
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.unix_ms.cmp(&other.unix_ms)
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.unix_ms == other.unix_ms
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn due(calendar: &mut Calendar<u64>, now_ms: u64) -> Vec<u64> {
        std::iter::from_fn(|| calendar.pop(now_ms)).collect()
    }

    #[test]
    fn a_date_comes_once_and_not_before_the_clock_shows_it() {
        let mut calendar = Calendar::new();
        for date in [30, 10, 20, 10] {
            calendar.arm(date, date);
        }
        // The clock is set forward, back, and forward again.
        for (now_ms, expected) in [
            (9, &[][..]),
            (20, &[10, 10, 20]),
            (5, &[]),
            (20, &[]),
            (u64::MAX, &[30]),
        ] {
            assert_eq!(calendar.is_due(now_ms), !expected.is_empty(), "{now_ms}");
            assert_eq!(due(&mut calendar, now_ms), expected, "{now_ms}");
        }
        assert!(calendar.is_empty());
    }

    proptest! {
        /// However the clock is set.
        #[test]
        fn what_fires_is_what_a_list_would_fire(steps in prop::collection::vec((0_u64..50, any::<bool>()), 1..200)) {
            let (mut calendar, mut list) = (Calendar::new(), Vec::new());
            for (date, arms) in steps {
                if arms {
                    calendar.arm(date, date);
                    list.push(date);
                } else {
                    let mut expected: Vec<u64> = list.extract_if(.., |armed| *armed <= date).collect();
                    expected.sort_unstable();
                    prop_assert_eq!(due(&mut calendar, date), expected);
                }
            }
            prop_assert_eq!(calendar.is_empty(), list.is_empty());
        }
    }
}
