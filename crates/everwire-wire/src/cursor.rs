//! The stream cursor of live reads: a number that rises with time, so that a shared cache which collapses
//! equal polls can never answer the same stale poll for ever (Durable Streams, section 10.1).

/// How long the cursor stays the same, in milliseconds.
pub const CURSOR_INTERVAL_MS: u64 = 20_000;

/// 2024-10-09T00:00:00Z, from which the intervals are counted.
const ORIGIN_MS: u64 = 1_728_432_000_000;

/// The number of a time interval, told to live readers and echoed by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamCursor(pub u64);

impl StreamCursor {
    /// The cursor of the interval that `now_ms` (Unix milliseconds) falls in.
    pub fn at(now_ms: u64) -> Self {
        Self(now_ms.saturating_sub(ORIGIN_MS) / CURSOR_INTERVAL_MS)
    }

    /// The cursor to answer with. A reader that already has this interval's cursor, or a later one, gets one
    /// that is strictly greater, by 1 to 180 intervals (an hour) as `random` chooses.
    pub fn answer(now_ms: u64, asked: Option<u64>, random: u64) -> Self {
        let current = Self::at(now_ms);
        match asked {
            Some(asked) if asked >= current.0 => Self(asked.saturating_add(1 + random % 180)),
            _ => current,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_rises_with_time_and_never_repeats_what_was_asked() {
        let now = ORIGIN_MS + 1000 * CURSOR_INTERVAL_MS + 7;
        for (asked, random, expected) in [
            (None, 9, 1000),
            (Some(3), 9, 1000),
            (Some(1000), 0, 1001),
            (Some(1000), 179, 1180),
            (Some(2000), 180, 2001),
        ] {
            assert_eq!(
                StreamCursor::answer(now, asked, random).0,
                expected,
                "asked {asked:?}"
            );
        }
        assert_eq!(
            StreamCursor::at(0).0,
            0,
            "a clock before the origin is no error"
        );
    }
}
