//! The one place where the server reads the time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, in Unix milliseconds. A clock before 1970 counts as 1970.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
