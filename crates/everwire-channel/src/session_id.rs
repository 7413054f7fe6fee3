//! How a session is called.

use std::fmt;

/// A session of the server: one client, over whatever wire, for as long as the server knows it. The id
/// is random, so that ids of several servers differ, and no secret; its text is 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

impl SessionId {
    /// Reads the digits that [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }
}

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
            assert_eq!(SessionId::parse(text), Some(SessionId(id)));
        }
        for text in [
            "",
            "0",
            "+000000000000001",
            "00000000000000001",
            "000000000000000g",
        ] {
            assert_eq!(SessionId::parse(text), None, "{text:?}");
        }
    }
}
