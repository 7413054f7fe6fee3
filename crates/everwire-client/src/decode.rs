//! From the bytes of a response to [`Signal`]s, without IO.
//!
//! ```text
//!  pieces of a body ─▶ Decoder ─┬─ event_stream   Entry · Gap · Closed · Retry · Alive
//!                               ├─ ndjson         Entry · Gap · Closed · Drain · Alive
//!                               ├─ page           Page, when all is there
//!                               └─ problem        Refused, when all is there
//!  a message of a session ─────── session         Message
//! ```
//!
//! However the bytes are cut into pieces, the signals are the same. What is cut before its end says
//! nothing: no entry is ever yielded in part.

pub(crate) mod envelope;
pub(crate) mod event_stream;
pub(crate) mod lines;
pub(crate) mod ndjson;
pub(crate) mod page;
pub(crate) mod problem;
pub(crate) mod session;

use std::collections::VecDeque;

use crate::{Cause, OffsetError, ReadError, Unreadable, signal::Signal};

pub(crate) use event_stream::EventStreamDecoder;
pub(crate) use ndjson::NdjsonDecoder;
pub(crate) use page::PageDecoder;
pub(crate) use problem::ProblemDecoder;

/// Reads one response body.
#[derive(Debug)]
pub(crate) enum Decoder {
    EventStream(EventStreamDecoder),
    Ndjson(NdjsonDecoder),
    Page(PageDecoder),
    Problem(ProblemDecoder),
}

impl Decoder {
    /// Takes the next piece of the body.
    pub fn decode(
        &mut self,
        bytes: &[u8],
        signals: &mut VecDeque<Signal>,
    ) -> Result<(), Undecodable> {
        match self {
            Self::EventStream(decoder) => decoder.decode(bytes, signals),
            Self::Ndjson(decoder) => decoder.decode(bytes, signals),
            Self::Page(decoder) => {
                signals.push_back(Signal::Alive);
                decoder.decode(bytes)
            }
            Self::Problem(decoder) => {
                decoder.decode(bytes);
                Ok(())
            }
        }
    }

    /// The body ended, and is complete.
    pub fn finish(self) -> Result<Signal, Undecodable> {
        match self {
            Self::EventStream(_) | Self::Ndjson(_) => Ok(Signal::Ended(Cause::Ended)),
            Self::Page(decoder) => decoder.finish().map(Signal::Page),
            Self::Problem(decoder) => Ok(Signal::Refused(decoder.finish())),
        }
    }
}

/// Why bytes cannot be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Undecodable {
    /// They are not what the wire is made of.
    Malformed(String),
    /// One entry or answer is larger than this many bytes.
    TooLarge { bytes_max: usize },
}

impl Undecodable {
    pub fn malformed(problem: &str) -> Self {
        Self::Malformed(problem.to_owned())
    }
}

impl From<serde_json::Error> for Undecodable {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<OffsetError> for Undecodable {
    fn from(error: OffsetError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<Undecodable> for Signal {
    fn from(undecodable: Undecodable) -> Self {
        match undecodable {
            Undecodable::Malformed(problem) => Self::Ended(Cause::Malformed(problem)),
            Undecodable::TooLarge { bytes_max } => Self::Failed(ReadError::TooLarge { bytes_max }),
        }
    }
}

/// One message of many: where it cannot be read, the next one can, so that is told in its place.
pub(crate) fn one_of_many(signal: Result<Signal, Undecodable>) -> Result<Signal, Undecodable> {
    signal.or_else(|undecodable| match undecodable {
        Undecodable::Malformed(problem) => Ok(Signal::Unreadable(Unreadable {
            offset: None,
            problem,
        })),
        Undecodable::TooLarge { .. } => Err(undecodable),
    })
}

/// Appends to what is kept of something unfinished, as far as its limit allows.
pub(crate) fn append(
    kept: &mut Vec<u8>,
    bytes: &[u8],
    bytes_max: usize,
) -> Result<(), Undecodable> {
    if bytes.len() > bytes_max.saturating_sub(kept.len()) {
        return Err(Undecodable::TooLarge { bytes_max });
    }
    kept.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The signals of a body that arrives in these pieces; an error is the last of them.
    pub(crate) fn signals(mut decoder: Decoder, pieces: &[&[u8]]) -> Vec<Signal> {
        let mut signals = VecDeque::new();
        for piece in pieces {
            if let Err(error) = decoder.decode(piece, &mut signals) {
                signals.push_back(error.into());
                break;
            }
        }
        signals.into()
    }

    /// Checks what a body says, cut in two at every place and into single bytes.
    pub(crate) fn check(decoder: impl Fn() -> Decoder, body: &str, expected: &[Signal]) {
        let body = body.as_bytes();
        for cut in 0..=body.len() {
            let (head, tail) = body.split_at(cut);
            assert_eq!(
                signals(decoder(), &[head, tail]),
                expected,
                "{:?} cut at {cut}",
                body.escape_ascii().to_string()
            );
        }
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(
            signals(decoder(), &bytes),
            expected,
            "{:?} in single bytes",
            body.escape_ascii().to_string()
        );
    }
}
