//! What the load publishes: payloads of one size that name themselves.
//!
//! ```text
//!  0003:0000000042:abcdefghijklmnopqrstuvwxyzabcdef…
//!  │    │          └ filler up to the size agreed for the run
//!  │    └ number: rises by one from zero within its source
//!  └ source: one ordered sequence of entries, such as a publishing connection's
//! ```
//!
//! Only letters, digits and colons, so a payload stands unescaped in every wire: no framing of
//! ours can change its length, and each delivered byte can be compared with what was sent.

use std::fmt;

/// Size in bytes of source, number and the two colons.
const NAME_BYTES: usize = 16;

/// Which entry a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The sequence it belongs to, 0–9,999.
    pub source: usize,
    /// The place in that source's order, from zero.
    pub number: u64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} of source {}", self.number, self.source)
    }
}

/// The payloads of one run: all of one size, filled alike.
#[derive(Clone, Debug)]
pub struct Payloads {
    filler: Vec<u8>,
}

impl Payloads {
    /// Smallest payload that can name itself, in bytes.
    pub const BYTES_MIN: usize = NAME_BYTES;
    /// Largest payload, in bytes: what servers take as one message without being told to.
    pub const BYTES_MAX: usize = 1024 * 1024;
    /// Sources that the four digits can tell apart.
    pub const SOURCES_MAX: usize = 10_000;

    /// Payloads of `bytes` each.
    ///
    /// # Panics
    /// If `bytes` is outside [`BYTES_MIN`](Self::BYTES_MIN)`..=`[`BYTES_MAX`](Self::BYTES_MAX).
    pub fn new(bytes: usize) -> Self {
        assert!(
            (Self::BYTES_MIN..=Self::BYTES_MAX).contains(&bytes),
            "a payload of {bytes} bytes cannot be numbered"
        );
        let filler = (b'a'..=b'z').cycle().take(bytes - NAME_BYTES).collect();
        Self { filler }
    }

    /// The size of each payload in bytes.
    pub fn bytes(&self) -> usize {
        NAME_BYTES + self.filler.len()
    }

    /// Appends the payload of `stamp` to `out`.
    pub fn write(&self, stamp: Stamp, out: &mut Vec<u8>) {
        debug_assert!(stamp.source < Self::SOURCES_MAX && stamp.number < 10_u64.pow(10));
        let mut name = *b"0000:0000000000:";
        write_digits(&mut name[..4], stamp.source as u64);
        write_digits(&mut name[5..15], stamp.number);
        out.extend_from_slice(&name);
        out.extend_from_slice(&self.filler);
    }

    /// Which entry `payload` is.
    ///
    /// # Errors
    /// If it differs in any byte from every payload that [`write`](Self::write) makes.
    pub fn read(&self, payload: &[u8]) -> Result<Stamp, NotOurs> {
        let stamp = payload
            .split_at_checked(NAME_BYTES)
            .filter(|(name, filler)| {
                name[4] == b':' && name[15] == b':' && *filler == self.filler.as_slice()
            })
            .and_then(|(name, _)| {
                Some(Stamp {
                    source: read_digits(&name[..4])? as usize,
                    number: read_digits(&name[5..15])?,
                })
            });
        stamp.ok_or_else(|| NotOurs {
            expected: self.bytes(),
            found: payload.len(),
            start: String::from_utf8_lossy(&payload[..payload.len().min(40)]).into_owned(),
        })
    }

    /// The first payload that stands anywhere in `text`, and what follows it.
    ///
    /// The colon that ends its name is looked for, which costs little where a text has few.
    pub fn find<'a>(&self, text: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        memchr::memchr_iter(b':', text).find_map(|colon| {
            let start = (colon + 1).checked_sub(NAME_BYTES)?;
            let (payload, after) = text[start..].split_at_checked(self.bytes())?;
            let is_ours = payload[0].is_ascii_digit() && self.read(payload).is_ok();
            is_ours.then_some((payload, after))
        })
    }
}

/// A delivered payload was never published by this run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a payload of {found} bytes beginning {start:?} was delivered, which is none of those \
     published ({expected} bytes each); the server changed it, or someone else publishes"
)]
pub struct NotOurs {
    expected: usize,
    found: usize,
    start: String,
}

/// Writes `value` in decimal over all of `digits`, with leading zeros.
fn write_digits(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn read_digits(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        digit
            .is_ascii_digit()
            .then(|| value * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_payload_names_its_source_and_number() {
        let mut out = Vec::new();
        Payloads::new(20).write(
            Stamp {
                source: 3,
                number: 42,
            },
            &mut out,
        );
        assert_eq!(out, b"0003:0000000042:abcd");
    }

    #[test]
    fn a_change_of_any_byte_is_noticed() {
        let payloads = Payloads::new(128);
        let stamp = Stamp {
            source: 7,
            number: 1_234_567,
        };
        let mut sent = Vec::new();
        payloads.write(stamp, &mut sent);
        for at in 0..sent.len() {
            let mut changed = sent.clone();
            changed[at] ^= 1;
            assert_ne!(payloads.read(&changed), Ok(stamp), "byte {at} changed");
        }
    }

    #[test]
    fn a_payload_of_another_size_is_refused() {
        let mut sent = Vec::new();
        Payloads::new(128).write(
            Stamp {
                source: 0,
                number: 0,
            },
            &mut sent,
        );
        for bytes in [0, 15, 16, 127] {
            assert!(
                Payloads::new(128).read(&sent[..bytes]).is_err(),
                "{bytes} bytes"
            );
        }
        sent.push(b'x');
        assert!(Payloads::new(128).read(&sent).is_err(), "one byte too many");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            source in 0..Payloads::SOURCES_MAX,
            number in 0..10_u64.pow(10),
            bytes in Payloads::BYTES_MIN..2_000,
        ) {
            let payloads = Payloads::new(bytes);
            let mut out = Vec::new();
            payloads.write(Stamp { source, number }, &mut out);
            prop_assert_eq!(out.len(), bytes);
            prop_assert_eq!(payloads.read(&out), Ok(Stamp { source, number }));
        }
    }
}
