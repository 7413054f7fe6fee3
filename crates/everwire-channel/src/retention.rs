//! Retention: how much of its past a log keeps.

/// How much of its past a log keeps. Whatever exceeds one of the limits leaves from the oldest
/// end, at each append and at each [`trim`](crate::Log::trim).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How many entries are kept. The newest one always is, even with 0 here. Default: 10,000.
    pub entries_max: u64,
    /// How many [accounted](crate::Entry::accounted_bytes) bytes are kept. The newest entry always
    /// is, even if it is larger alone. Default: 16 MiB.
    pub bytes_max: u64,
    /// How old an entry may become, in milliseconds: it leaves when it is older than that, the
    /// newest one too. Default: `None`, no limit by age.
    pub age_max_ms: Option<u64>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            entries_max: 10_000,
            bytes_max: 16 << 20,
            age_max_ms: None,
        }
    }
}
