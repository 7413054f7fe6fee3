//! Where a reader stands, and where it asks to start.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;

/// The position after an entry, as the server told it.
///
/// A client does not look inside: it compares offsets of one channel, which sort in log order, and
/// sends them back. Cheap to clone. Parsed with [`FromStr`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Offset(Arc<str>);

impl Offset {
    /// The longest offset that is taken from a server, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// The token, to be stored or sent back.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Offset {
    type Err = OffsetError;

    fn from_str(token: &str) -> Result<Self, OffsetError> {
        let has_its_bytes =
            (token.bytes()).all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'_' | b'-'));
        let has_its_length = (1..=Self::BYTES_MAX).contains(&token.len());
        match token {
            "-1" | "now" => Err(OffsetError(token.to_owned())),
            _ if has_its_bytes && has_its_length => Ok(Self(token.into())),
            _ => Err(OffsetError(token.chars().take(Self::BYTES_MAX).collect())),
        }
    }
}

impl TryFrom<String> for Offset {
    type Error = OffsetError;

    fn try_from(token: String) -> Result<Self, OffsetError> {
        token.parse()
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no offset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no offset; use one that the server gave, unchanged")]
pub struct OffsetError(String);

/// Where a reader starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest entry that is kept.
    Beginning,
    /// With what is published from now on.
    Now,
    /// With what follows this offset.
    After(Offset),
    /// With this many entries before the end, or as many as are kept.
    Last(u64),
}

impl Start {
    /// The parameter of the request target that asks for it.
    pub(crate) fn parameter(&self) -> (&'static str, String) {
        match self {
            Self::Beginning => ("offset", "-1".to_owned()),
            Self::Now => ("offset", "now".to_owned()),
            Self::After(offset) => ("offset", offset.to_string()),
            Self::Last(entries) => ("last", entries.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_a_short_token_that_is_none_of_the_two_words() {
        let longest = "z".repeat(Offset::BYTES_MAX);
        for token in ["0", "0hx4m2k00", "a_b-c", "--1", "nowhere", &longest] {
            assert_eq!(token.parse::<Offset>().unwrap().as_str(), token);
        }
        let too_long = "z".repeat(Offset::BYTES_MAX + 1);
        for text in ["", "-1", "now", "A", "a b", "a&b", "a\n", "é", &too_long] {
            assert!(
                text.parse::<Offset>().is_err(),
                "{text:?} was taken for an offset"
            );
        }
    }
}
