//! How much one place in the code may say, so that nobody outside writes the log at will.
//!
//! ```text
//!  a place speaks ─▶ admits ─┬─▶ true: it is written
//!                            └─▶ false: it is counted, and poll_more tells how often once the window is over
//! ```
//!
//! Without IO. There are as many places as the code has, so what is kept is bounded by that.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// What each place has said lately. `K` names a place.
pub struct Pace<K> {
    places: HashMap<K, Place>,
}

struct Place {
    /// When its window began.
    since: Instant,
    said: u32,
    /// Lines that it did not get to say.
    more: u64,
}

/// Lines of one place in a window; further ones are counted.
pub const LINES_MAX: u32 = 10;

/// A window begins with the first line of a place after the last window.
pub const WINDOW: Duration = Duration::from_secs(60);

impl<K: Clone + Eq + Hash> Pace<K> {
    /// Nobody has said anything.
    pub fn new() -> Self {
        Self {
            places: HashMap::new(),
        }
    }

    /// Whether a place may say a line now.
    pub fn admits(&mut self, key: &K, now: Instant) -> bool {
        let fresh = Place {
            since: now,
            said: 1,
            more: 0,
        };
        let Some(place) = self.places.get_mut(key) else {
            self.places.insert(key.clone(), fresh);
            return true;
        };
        let is_over = now.duration_since(place.since) >= WINDOW;
        match place.said < LINES_MAX {
            // What was not said has to be told before there is another window.
            _ if is_over && place.more == 0 => *place = fresh,
            true => place.said += 1,
            false => {
                place.more += 1;
                return false;
            }
        }
        true
    }

    /// Whether a place may not say another line now.
    pub fn is_spent(&self, key: &K, now: Instant) -> bool {
        self.places.get(key).is_some_and(|place| {
            let is_over = now.duration_since(place.since) >= WINDOW;
            place.said >= LINES_MAX && !(is_over && place.more == 0)
        })
    }

    /// The next place whose window is over and that could not say all, with how many lines those were.
    pub fn poll_more(&mut self, now: Instant) -> Option<(K, u64)> {
        self.poll(|place| now.duration_since(place.since) >= WINDOW)
    }

    /// The same, whether or not its window is over: before the end.
    pub fn poll_rest(&mut self) -> Option<(K, u64)> {
        self.poll(|_| true)
    }

    /// When [`poll_more`](Self::poll_more) has to be asked.
    pub fn wake_at(&self) -> Option<Instant> {
        let waiting = self.places.values().filter(|place| place.more > 0);
        waiting.map(|place| place.since + WINDOW).min()
    }

    fn poll(&mut self, is_due: impl Fn(&Place) -> bool) -> Option<(K, u64)> {
        let due = |(_, place): &(&K, &Place)| place.more > 0 && is_due(place);
        let key = self.places.iter().find(due)?.0.clone();
        let place = self.places.remove(&key)?;
        Some((key, place.more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(pace: &mut Pace<&str>, place: &'static str, times: u32, now: Instant) -> usize {
        let admits = |_: &u32| {
            let is_spent = pace.is_spent(&place, now);
            let admits = pace.admits(&place, now);
            assert_ne!(admits, is_spent);
            admits
        };
        (0..times).filter(admits).count()
    }

    #[test]
    fn a_place_says_ten_lines_in_a_window_and_the_rest_is_told_as_a_number() {
        let start = Instant::now();
        let mut pace = Pace::new();
        assert_eq!(say(&mut pace, "flood", 12_355, start), LINES_MAX as usize);
        assert_eq!(say(&mut pace, "other", 1, start), 1, "each has its own");
        assert_eq!(pace.wake_at(), Some(start + WINDOW));
        assert_eq!(
            pace.poll_more(start + WINDOW - Duration::from_millis(1)),
            None
        );
        assert_eq!(pace.poll_more(start + WINDOW), Some(("flood", 12_345)));
        assert_eq!(pace.poll_more(start + WINDOW), None);
        assert_eq!(pace.wake_at(), None);
    }

    #[test]
    fn who_says_little_is_always_heard_and_nothing_is_waited_for() {
        let start = Instant::now();
        let mut pace = Pace::new();
        for minute in 0..100 {
            let now = start + WINDOW * minute;
            assert_eq!(
                say(&mut pace, "now and then", LINES_MAX, now),
                LINES_MAX as usize
            );
            assert_eq!(pace.wake_at(), None);
        }
    }

    /// However much a place would say, in however many windows: ten lines and a number in each.
    #[test]
    fn a_flood_that_does_not_end_is_a_few_lines_a_minute() {
        let start = Instant::now();
        let (mut pace, mut lines, mut told) = (Pace::new(), 0, 0);
        for ms in (0..600_000).step_by(10) {
            let now = start + Duration::from_millis(ms);
            lines += say(&mut pace, "flood", 1, now);
            if let Some((_, more)) = pace.poll_more(now) {
                (lines, told) = (lines + 1, told + more);
            }
        }
        told += pace.poll_rest().map_or(0, |(_, more)| more);
        assert!(lines <= 10 * (LINES_MAX as usize + 1), "{lines}");
        assert_eq!(
            told + 10 * u64::from(LINES_MAX),
            60_000,
            "none is forgotten"
        );
    }
}
