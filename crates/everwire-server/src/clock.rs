//! What both clocks show at one moment, for those who get the time as an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What both clocks show at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// For what is measured from one moment to another: it never goes back.
    pub instant: Instant,
    /// Unix time in milliseconds, for what is told to others.
    pub unix_ms: u64,
}

impl Now {
    /// Reads the clocks.
    pub fn read() -> Self {
        Self {
            instant: Instant::now(),
            unix_ms: unix_ms(),
        }
    }
}

/// Now, in Unix milliseconds. A clock before 1970 counts as 1970.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
