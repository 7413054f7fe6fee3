//! The spelling of an offset: base32hex (RFC 4648, section 7) in lower case, because that
//! alphabet sorts as its values do and needs no escaping in a URL, a field or an event stream.

use std::fmt;
use std::ops::Deref;

use super::{Epoch, Mark, Offset, OffsetError};

/// An offset's token, on the stack. Reads as a `str`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token([u8; Self::BYTES]);

impl Token {
    /// The length of every token, in bytes.
    pub const BYTES: usize = MARK_END;

    pub(super) fn new(offset: &Offset) -> Self {
        let Offset {
            epoch,
            sequence,
            mark,
        } = *offset;
        assert!(
            epoch <= Epoch::MAX,
            "epoch {} does not fit 45 bits",
            epoch.0
        );
        assert!(
            sequence <= Offset::SEQUENCE_MAX,
            "sequence {sequence} does not fit 50 bits"
        );
        let mut token = [0; Self::BYTES];
        write(&mut token[..EPOCH_END], epoch.0);
        write(&mut token[EPOCH_END..SEQUENCE_END], sequence);
        write(&mut token[SEQUENCE_END..], mark.0.into());
        Self(token)
    }
}

impl Token {
    /// The token's bytes, all of them in `[0-9a-v]`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Token {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a token is ASCII")
    }
}

impl AsRef<[u8]> for Token {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

pub(super) fn parse(token: &str) -> Result<Offset, OffsetError> {
    let bytes: &[u8; Token::BYTES] = token
        .as_bytes()
        .try_into()
        .map_err(|_| OffsetError::Length { bytes: token.len() })?;
    let mut digits = [0; Token::BYTES];
    for (position, (&byte, digit)) in bytes.iter().zip(&mut digits).enumerate() {
        *digit = DIGITS[usize::from(byte)];
        if *digit == NO_DIGIT {
            return Err(OffsetError::Byte { byte, position });
        }
    }
    let mark = u32::try_from(read(&digits[SEQUENCE_END..])).map_err(|_| OffsetError::Byte {
        byte: bytes[SEQUENCE_END],
        position: SEQUENCE_END,
    })?;
    Ok(Offset {
        epoch: Epoch(read(&digits[..EPOCH_END])),
        sequence: read(&digits[EPOCH_END..SEQUENCE_END]),
        mark: Mark(mark),
    })
}

fn write(place: &mut [u8], mut value: u64) {
    for byte in place.iter_mut().rev() {
        *byte = ALPHABET[(value % 32) as usize];
        value /= 32;
    }
}

fn read(digits: &[u8]) -> u64 {
    digits
        .iter()
        .fold(0, |value, &digit| value * 32 + u64::from(digit))
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// What each byte stands for in a token.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        digits[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    digits
};
const NO_DIGIT: u8 = 0xff;

const EPOCH_END: usize = 9;
const SEQUENCE_END: usize = EPOCH_END + 10;
const MARK_END: usize = SEQUENCE_END + 7;
