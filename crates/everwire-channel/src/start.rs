//! Where a reader asks to start.

use std::str::FromStr;

use crate::offset::{Offset, OffsetError};

/// Where a reader asks to start. Parsed with [`FromStr`] from what it sends as its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// `-1`: the oldest entry that is kept.
    ///
    /// This is never a gap, even when retention has removed older entries: who asks for the
    /// beginning has been promised nothing yet.
    Beginning,
    /// `now`: after the newest entry.
    Now,
    /// A token: after the entry that it names.
    After(Offset),
    /// This many entries before the end, or as many as are kept. Has no spelling as an offset.
    Last(u64),
}

impl FromStr for Start {
    type Err = OffsetError;

    fn from_str(text: &str) -> Result<Self, OffsetError> {
        match text {
            "-1" => Ok(Self::Beginning),
            "now" => Ok(Self::Now),
            token => token.parse().map(Self::After),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::{Epoch, Mark};

    #[test]
    fn a_start_is_one_of_two_words_or_a_token() {
        let offset = Offset {
            epoch: Epoch(7),
            sequence: 1,
            mark: Mark(9),
        };
        for (text, start) in [
            ("-1", Start::Beginning),
            ("now", Start::Now),
            (&*offset.to_token(), Start::After(offset)),
        ] {
            assert_eq!(text.parse(), Ok(start));
        }
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "", "0", "1", "-2", "Now", "NOW", "now ", " -1", "latest", "0,1", "../x", "last",
        ] {
            let refused = Err(OffsetError::Length { bytes: text.len() });
            assert_eq!(text.parse::<Start>(), refused, "start {text:?}");
        }
    }
}
