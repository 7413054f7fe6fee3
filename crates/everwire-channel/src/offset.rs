//! Offsets: the position after an entry, as a token that travels.
//!
//! ```text
//!   0hx4m2k00 0000000017 1o3s8gq      26 characters of [0-9a-v], without the spaces
//!   └─ epoch ┘└sequence─┘└ mark ┘     45, 50 and 35 bits, five to a character, big end first
//! ```
//!
//! Tokens of one channel sort as bytes in log order. Each offset has one token and each token one
//! offset; none equals `-1` or `now`.

mod token;

use std::fmt;
use std::str::FromStr;

pub use token::Token;

/// The position after an entry.
///
/// It names the entry it follows, not only a number: a reader resumes only where the log still
/// holds that very entry. The order is that of the tokens: epoch, sequence, mark.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset {
    /// The life of the log that the entry belongs to.
    pub epoch: Epoch,
    /// How many entries of the epoch stand up to here: 0 before the first, n after the n-th.
    pub sequence: u64,
    /// The mark of the entry before this position; at sequence 0, the mark the log was made with.
    pub mark: Mark,
}

/// One life of a log, below 2^45. A new one says that continuity was lost. Epochs rise over all
/// channels of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// 32 bits fixed when an entry is stored. They tell the same entry from another one of that
/// number, should a log have lost its end and grown again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark(pub u32);

impl Offset {
    /// The largest sequence, 2^50 - 1: a million appends each second for 35 years.
    pub const SEQUENCE_MAX: u64 = (1 << 50) - 1;

    /// The token, on the stack.
    ///
    /// # Panics
    ///
    /// If the epoch or the sequence is beyond its maximum, which no parsed offset and no offset
    /// of a [`Log`](crate::Log) is.
    pub fn to_token(&self) -> Token {
        Token::new(self)
    }
}

impl Epoch {
    /// The largest epoch, 2^45 - 1. As Unix milliseconds it would be the year 3084.
    pub const MAX: Self = Self((1 << 45) - 1);
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_token())
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            epoch: Epoch(epoch),
            sequence,
            mark: Mark(mark),
        } = self;
        write!(f, "e{epoch}:{sequence}#{mark:08x}")
    }
}

impl FromStr for Offset {
    type Err = OffsetError;

    fn from_str(token: &str) -> Result<Self, OffsetError> {
        token::parse(token)
    }
}

/// Why a text is no offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OffsetError {
    /// It has not the length of a token, and is no word that stands for a position either.
    #[error("the offset is {bytes} bytes long and a token has {expected}; send back an offset as you got it, or -1, or now", expected = Token::BYTES)]
    Length {
        /// Its length in bytes.
        bytes: usize,
    },
    /// A byte outside `[0-9a-v]`, or one that makes a number too large for its place.
    #[error(
        "the offset has byte {byte:#04x} at position {position}, which no token has there; send back an offset as you got it, or -1, or now"
    )]
    Byte {
        /// The byte.
        byte: u8,
        /// Where it stands, from 0.
        position: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offset(epoch: u64, sequence: u64, mark: u32) -> Offset {
        Offset {
            epoch: Epoch(epoch),
            sequence,
            mark: Mark(mark),
        }
    }

    #[test]
    fn a_token_has_fixed_width_and_one_spelling() {
        for (offset, token) in [
            (offset(0, 0, 0), "00000000000000000000000000"),
            (offset(1, 2, 3), "00000000100000000020000003"),
            (offset(31, 32, 33), "00000000v00000000100000011"),
            (
                offset(Epoch::MAX.0, Offset::SEQUENCE_MAX, u32::MAX),
                "vvvvvvvvvvvvvvvvvvv3vvvvvv",
            ),
        ] {
            assert_eq!(offset.to_string(), token);
            assert_eq!(&*offset.to_token(), token);
            assert_eq!(token.parse(), Ok(offset));
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        use OffsetError::*;
        for (token, expected) in [
            ("", Length { bytes: 0 }),
            ("-1", Length { bytes: 2 }),
            ("0000000000000000000000000", Length { bytes: 25 }),
            ("000000000000000000000000000", Length { bytes: 27 }),
            (
                "0000000A000000000000000000",
                Byte {
                    byte: b'A',
                    position: 7,
                },
            ),
            (
                "w0000000000000000000000000",
                Byte {
                    byte: b'w',
                    position: 0,
                },
            ),
            (
                "0000000000000000000000000\n",
                Byte {
                    byte: b'\n',
                    position: 25,
                },
            ),
            (
                "000000000,0000000000000000",
                Byte {
                    byte: b',',
                    position: 9,
                },
            ),
            (
                "+0000000000000000000000000",
                Byte {
                    byte: b'+',
                    position: 0,
                },
            ),
            // The mark has 32 bits in seven characters, so its first is at most 3.
            (
                "00000000000000000004000000",
                Byte {
                    byte: b'4',
                    position: 19,
                },
            ),
            (
                "0000000000000000000é00000",
                Byte {
                    byte: 0xc3,
                    position: 19,
                },
            ),
        ] {
            assert_eq!(token.parse::<Offset>(), Err(expected), "token {token:?}");
        }
    }

    #[test]
    #[should_panic(expected = "epoch")]
    fn an_epoch_that_fits_no_token_is_our_bug() {
        let _ = offset(Epoch::MAX.0 + 1, 0, 0).to_token();
    }

    #[test]
    #[should_panic(expected = "sequence")]
    fn a_sequence_that_fits_no_token_is_our_bug() {
        let _ = offset(0, Offset::SEQUENCE_MAX + 1, 0).to_token();
    }

    #[test]
    fn an_offset_prints_readably_for_us() {
        assert_eq!(format!("{:?}", offset(7, 12, 0xbeef)), "e7:12#0000beef");
    }

    prop_compose! {
        fn any_offset()(
            epoch in prop_oneof![0..4u64, 0..=Epoch::MAX.0],
            sequence in prop_oneof![0..40u64, 0..=Offset::SEQUENCE_MAX],
            mark in prop_oneof![0..4u32, any::<u32>()],
        ) -> Offset {
            offset(epoch, sequence, mark)
        }
    }

    proptest! {
        #[test]
        fn tokens_sort_as_offsets_do(a in any_offset(), b in any_offset()) {
            let (a_token, b_token) = (a.to_string(), b.to_string());
            prop_assert_eq!(a_token.as_bytes().cmp(b_token.as_bytes()), a.cmp(&b));
            prop_assert_eq!(a.to_token().cmp(&b.to_token()), a.cmp(&b));
        }

        #[test]
        fn an_offset_survives_its_token(offset in any_offset()) {
            prop_assert_eq!(offset.to_token().parse(), Ok(offset));
        }

        #[test]
        fn what_parses_is_its_own_token(text in "[0-9a-w]{26}|\\PC{0,30}") {
            if let Ok(offset) = text.parse::<Offset>() {
                prop_assert_eq!(offset.to_string(), text);
            }
        }
    }
}
