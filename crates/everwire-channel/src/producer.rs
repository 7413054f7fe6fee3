//! Producers: publishers that number their appends, so that a retry is known as one.
//!
//! ```text
//!   last accepted: epoch 1, seq 4
//!
//!   (0, any)   a zombie of an earlier life         StaleEpoch
//!   (1, ≤ 4)   a retry of what was accepted        duplicate
//!   (1, 5)     the next                            new
//!   (1, > 5)   one between was lost                ProducerGap
//!   (2, 0)     the producer's next life            new
//!   (2, > 0)   which has lost its start            EpochMustStartAtZero
//! ```
//!
//! These are the idempotent producers of the Durable Streams protocol.

use crate::channel::AppendError;
use crate::label::{self, LabelError};

/// Who appends, in which of its lives, and which of that life's appends this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer<'a> {
    id: &'a str,
    epoch: u64,
    seq: u64,
}

/// What a channel remembers of a producer, and tells it in each answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerAnswer {
    /// The producer's current epoch.
    pub epoch: u64,
    /// The highest sequence number accepted in that epoch.
    pub seq: u64,
}

impl<'a> Producer<'a> {
    /// The largest id, in bytes.
    pub const ID_BYTES_MAX: usize = 255;
    /// The largest epoch and sequence number, 2^53 - 1, so that JavaScript can count them.
    pub const NUMBER_MAX: u64 = (1 << 53) - 1;

    /// Checks and takes the three together.
    pub fn new(id: &'a str, epoch: u64, seq: u64) -> Result<Self, ProducerError> {
        let id = label::check("producer id", id, Self::ID_BYTES_MAX)?;
        for (what, number) in [("epoch", epoch), ("sequence number", seq)] {
            if number > Self::NUMBER_MAX {
                return Err(ProducerError::TooLarge { what });
            }
        }
        Ok(Self { id, epoch, seq })
    }

    /// As [`Producer::new`], from the fields `Producer-Id`, `Producer-Epoch` and `Producer-Seq`.
    /// Numbers are decimal digits and nothing else.
    pub fn from_fields(id: &'a str, epoch: &str, seq: &str) -> Result<Self, ProducerError> {
        let number = |what, field: &str| {
            if field.is_empty() || !field.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(ProducerError::NotDigits { what });
            }
            field.parse().map_err(|_| ProducerError::TooLarge { what })
        };
        Self::new(id, number("epoch", epoch)?, number("sequence number", seq)?)
    }

    /// The producer's name, which outlives its restarts.
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// Which of its lives, from 0.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Which append of that life, from 0.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// What will be remembered once this append is accepted.
    pub(crate) fn answer(&self) -> ProducerAnswer {
        ProducerAnswer {
            epoch: self.epoch,
            seq: self.seq,
        }
    }

    /// Whether this append is new or a retry, given what is remembered of its producer.
    pub(crate) fn judge(&self, known: Option<ProducerAnswer>) -> Result<Verdict, AppendError> {
        let gap = |expected| AppendError::ProducerGap {
            expected,
            received: self.seq,
        };
        let Some(known) = known else {
            return if self.seq == 0 {
                Ok(Verdict::New)
            } else {
                Err(gap(0))
            };
        };
        if self.epoch < known.epoch {
            return Err(AppendError::StaleEpoch {
                current: known.epoch,
            });
        }
        if self.epoch > known.epoch {
            return match self.seq {
                0 => Ok(Verdict::New),
                _ => Err(AppendError::EpochMustStartAtZero { received: self.seq }),
            };
        }
        if self.seq <= known.seq {
            Ok(Verdict::Duplicate(known))
        } else if self.seq == known.seq + 1 {
            Ok(Verdict::New)
        } else {
            Err(gap(known.seq + 1))
        }
    }
}

/// What an append of a producer is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    New,
    Duplicate(ProducerAnswer),
}

/// Why three values name no producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// The id cannot be one.
    #[error(transparent)]
    Id(#[from] LabelError),
    /// A number is empty or has something else than decimal digits.
    #[error("the producer's {what} is not in decimal digits alone; write a whole number, as in 0")]
    NotDigits {
        /// Which number.
        what: &'static str,
    },
    /// A number is beyond [`Producer::NUMBER_MAX`].
    #[error("the producer's {what} is too large; use at most {max}", max = Producer::NUMBER_MAX)]
    TooLarge {
        /// Which number.
        what: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_is_a_label_and_two_numbers() {
        let producer = Producer::from_fields("order-service-1", "0", "9007199254740991").unwrap();
        assert_eq!(producer.id(), "order-service-1");
        assert_eq!(producer.epoch(), 0);
        assert_eq!(producer.seq(), Producer::NUMBER_MAX);
    }

    #[test]
    fn what_is_no_producer_is_refused() {
        use ProducerError::*;
        let (what, epoch, seq) = ("producer id", "epoch", "sequence number");
        for (fields, expected) in [
            (("", "0", "0"), Id(LabelError::Empty { what })),
            (
                ("a\n", "0", "0"),
                Id(LabelError::Control {
                    what,
                    byte: b'\n',
                    position: 1,
                }),
            ),
            (("a", "", "0"), NotDigits { what: epoch }),
            (("a", "0xyz", "0"), NotDigits { what: epoch }),
            (("a", "-1", "0"), NotDigits { what: epoch }),
            (("a", "1e3", "0"), NotDigits { what: epoch }),
            (("a", "0", "1abc"), NotDigits { what: seq }),
            (("a", "0", "+1"), NotDigits { what: seq }),
            (("a", "0", "1.0"), NotDigits { what: seq }),
            (("a", "9007199254740992", "0"), TooLarge { what: epoch }),
            (("a", "0", "99999999999999999999"), TooLarge { what: seq }),
        ] {
            let (id, epoch, seq) = fields;
            assert_eq!(
                Producer::from_fields(id, epoch, seq),
                Err(expected),
                "{fields:?}"
            );
        }
        let long = "x".repeat(256);
        let too_long = LabelError::TooLong {
            what,
            bytes: 256,
            bytes_max: 255,
        };
        assert_eq!(Producer::new(&long, 0, 0), Err(Id(too_long)));
    }

    #[test]
    fn a_retry_is_told_from_what_is_new_stale_or_missing() {
        use AppendError::*;
        let known = ProducerAnswer { epoch: 1, seq: 4 };
        for (known, (epoch, seq), expected) in [
            (None, (0, 0), Ok(Verdict::New)),
            (None, (7, 0), Ok(Verdict::New)),
            (
                None,
                (0, 2),
                Err(ProducerGap {
                    expected: 0,
                    received: 2,
                }),
            ),
            (Some(known), (0, 5), Err(StaleEpoch { current: 1 })),
            (Some(known), (1, 0), Ok(Verdict::Duplicate(known))),
            (Some(known), (1, 4), Ok(Verdict::Duplicate(known))),
            (Some(known), (1, 5), Ok(Verdict::New)),
            (
                Some(known),
                (1, 6),
                Err(ProducerGap {
                    expected: 5,
                    received: 6,
                }),
            ),
            (Some(known), (2, 0), Ok(Verdict::New)),
            (Some(known), (9, 0), Ok(Verdict::New)),
            (
                Some(known),
                (2, 5),
                Err(EpochMustStartAtZero { received: 5 }),
            ),
        ] {
            let producer = Producer::new("p", epoch, seq).unwrap();
            assert_eq!(
                producer.judge(known),
                expected,
                "({epoch}, {seq}) after {known:?}"
            );
        }
    }
}
