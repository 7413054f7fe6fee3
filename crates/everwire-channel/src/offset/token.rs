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
        let mark = u64::from(mark.0);
        // 9, 10 and 7 digits, of which eight at a time are written in one word.
        let mut token = [0; Self::BYTES];
        token[0] = ALPHABET[(epoch.0 >> 40 & 31) as usize];
        token[1..9].copy_from_slice(&eight_digits(epoch.0));
        token[9..17].copy_from_slice(&eight_digits(sequence >> 10));
        token[17..25].copy_from_slice(&eight_digits(sequence << 30 | mark >> 5));
        token[25] = ALPHABET[(mark & 31) as usize];
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

/// The lowest 40 bits of a value as eight digits, all of which are made in one word.
fn eight_digits(value: u64) -> [u8; 8] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // Halves, quarters and eighths are moved apart until each byte has its five bits.
    let halves = (value & 0xf_ffff) | (value >> 20 & 0xf_ffff) << 32;
    let quarters = (halves & 0x0000_03ff_0000_03ff) | (halves & 0x000f_fc00_000f_fc00) << 6;
    let values = (quarters & 0x001f_001f_001f_001f) | (quarters & 0x03e0_03e0_03e0_03e0) << 3;
    // In the highest bit of its byte where the value is a letter.
    let letters = (values + EACH * (0x80 - 10)) >> 7 & EACH;
    let digits = values + EACH * u64::from(b'0') + letters * u64::from(b'a' - 10 - b'0');
    digits.to_be_bytes()
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
