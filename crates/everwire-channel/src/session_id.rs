//! How a session is called.

use std::fmt;

/// A session of the server: one client, over whatever wire, for as long as the server knows it. Its
/// text is 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_told_by_16_digits() {
        for (id, text) in [
            (0, "0000000000000000"),
            (0x5eed, "0000000000005eed"),
            (u64::MAX, "ffffffffffffffff"),
        ] {
            assert_eq!(SessionId(id).to_string(), text);
        }
    }
}
