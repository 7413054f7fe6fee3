//! A reader's line from the first byte of the response: bytes in, entries out.
//!
//! ```text
//!  bytes ─▶ response head ─┬─ 101 ─────────────────▶ frames ────────▶ Event
//!                          └─ 200 ─▶ content coding ─┬─▶ event stream ─▶
//!                                                    ├─▶ ndjson ───────▶
//!                                                    └─▶ long poll ────▶
//! ```
//!
//! Nothing here opens a socket; a line holds no buffer while it is at the end of an entry.

mod chunked;
mod event_stream;
mod frames;
mod lines;
mod ndjson;

use self::{chunked::Chunked, event_stream::EventStream, frames::Frames, lines::Lines};
use crate::{
    ledger::Violation,
    response::{Framing, HeadError, ResponseHead, excerpt},
    session::Complaint,
    wire::Wire,
};

/// What a line delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// An entry's payload.
    Entry(&'a [u8]),
    /// A WebSocket ping, to be answered with this payload.
    Ping(&'a [u8]),
}

/// How far a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The response head has not come; a parked long poll rests here.
    Asked,
    /// The head has come, entries may follow.
    Open,
    /// The response is complete, as happens to a long poll alone.
    Answered,
}

/// One reader's line after its request was sent.
#[derive(Debug)]
pub struct Reading {
    wire: Wire,
    payload_bytes: usize,
    state: State,
    /// The head of a long poll's answer, which says where the next one begins.
    poll_head: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Head { unfinished: Vec<u8> },
    Messages(Frames),
    Content { coding: Coding, entries: Entries },
    Answered,
}

/// What delimits the content.
#[derive(Debug)]
enum Coding {
    Chunked(Chunked),
    Length { left: u64 },
    UntilClose,
}

/// What divides the content into entries.
#[derive(Debug)]
enum Entries {
    EventStream(Lines, EventStream),
    Ndjson(Lines),
    /// Payloads of equal size one after the other; holds the start of the next.
    Concatenated(Vec<u8>),
}

impl Reading {
    /// A line of `wire` whose entries are payloads of `payload_bytes`.
    pub fn new(wire: Wire, payload_bytes: usize) -> Self {
        let state = State::Head {
            unfinished: Vec::new(),
        };
        Self {
            wire,
            payload_bytes,
            state,
            poll_head: Vec::new(),
        }
    }

    /// Begins to read the answer to the next poll, and gives its request, which `next` makes of the
    /// head of the last answer; `None` while that is not complete, or if nothing follows from it.
    pub fn poll_again(&mut self, next: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        let request = match self.state {
            State::Answered => next(&self.poll_head)?,
            State::Head { .. } | State::Messages(_) | State::Content { .. } => return None,
        };
        self.state = State::Head {
            unfinished: Vec::new(),
        };
        Some(request)
    }

    /// Takes bytes as they arrive and gives what they complete to `on_event`.
    ///
    /// # Errors
    /// If the server refuses, breaks the wire's framing, ends it or tells a gap, and whatever
    /// `on_event` fails with. The line is of no use afterwards.
    pub fn decode(
        &mut self,
        input: &[u8],
        mut on_event: impl FnMut(Event<'_>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        match &mut self.state {
            State::Messages(frames) => frames.decode(input, on_event),
            State::Content { coding, entries } => {
                let payload_bytes = self.payload_bytes;
                let ended = coding.decode(input, |content| {
                    entries.decode(content, payload_bytes, &mut on_event)
                })?;
                match (ended, self.wire) {
                    (false, _) => Ok(()),
                    (true, Wire::LongPoll) => {
                        self.state = State::Answered;
                        Ok(())
                    }
                    (true, _) => Err(DecodeError::Ended),
                }
            }
            State::Head { unfinished } => {
                unfinished.extend_from_slice(input);
                let Some(head) = ResponseHead::parse(unfinished)? else {
                    return Ok(());
                };
                let received = std::mem::take(unfinished);
                if self.wire == Wire::LongPoll {
                    self.poll_head = received[..head.bytes].to_vec();
                }
                self.state = self.after_head(head, &received)?;
                self.decode(&received[head.bytes..], on_event)
            }
            State::Answered if input.is_empty() => Ok(()),
            State::Answered => Err(DecodeError::notice("bytes after the response", input)),
        }
    }

    /// How far the line is.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Head { .. } => Phase::Asked,
            State::Messages(_) | State::Content { .. } => Phase::Open,
            State::Answered => Phase::Answered,
        }
    }

    fn after_head(&self, head: ResponseHead, received: &[u8]) -> Result<State, DecodeError> {
        let expected = if self.wire == Wire::WebSocket {
            101
        } else {
            200
        };
        if head.status != expected {
            let (wire, start) = (self.wire.name(), excerpt(received));
            return Err(DecodeError::Refused {
                wire,
                expected,
                start,
            });
        }
        let entries = match self.wire {
            Wire::WebSocket => return Ok(State::Messages(Frames::default())),
            Wire::EventStream => Entries::EventStream(Lines::default(), EventStream::default()),
            Wire::Ndjson => Entries::Ndjson(Lines::default()),
            Wire::LongPoll => Entries::Concatenated(Vec::new()),
        };
        let coding = match head.framing {
            Framing::Chunked => Coding::Chunked(Chunked::new()),
            Framing::Length(left) => Coding::Length { left },
            Framing::UntilClose => Coding::UntilClose,
        };
        Ok(State::Content { coding, entries })
    }
}

impl Coding {
    /// Gives the content in `input` to `on_content`; returns whether the content has ended.
    fn decode(
        &mut self,
        input: &[u8],
        mut on_content: impl FnMut(&[u8]) -> Result<(), DecodeError>,
    ) -> Result<bool, DecodeError> {
        match self {
            Self::Chunked(chunked) => {
                chunked.decode(input, on_content)?;
                Ok(chunked.is_ended())
            }
            Self::Length { left } => {
                let content = &input[..input.len().min(*left as usize)];
                on_content(content)?;
                *left -= content.len() as u64;
                Ok(*left == 0)
            }
            Self::UntilClose => on_content(input).map(|()| false),
        }
    }
}

impl Entries {
    fn decode(
        &mut self,
        content: &[u8],
        payload_bytes: usize,
        on_event: &mut impl FnMut(Event<'_>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        match self {
            Self::EventStream(lines, events) => {
                lines.decode(content, |line| events.decode(line, &mut *on_event))
            }
            Self::Ndjson(lines) => {
                lines.decode(content, |line| ndjson::decode(line, &mut *on_event))
            }
            Self::Concatenated(unfinished) => {
                unfinished.extend_from_slice(content);
                let whole = unfinished.chunks_exact(payload_bytes);
                let used = unfinished.len() - whole.remainder().len();
                for payload in whole {
                    on_event(Event::Entry(payload))?;
                }
                unfinished.drain(..used);
                Ok(())
            }
        }
    }
}

/// A reader's line is not what its wire promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// An entry came that was not the next.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// A session was told something that must not come.
    #[error(transparent)]
    Session(#[from] Complaint),
    /// The answer is not HTTP.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// Another status than the wire's.
    #[error(
        "the server refused a {wire} line, which needs status {expected}; it answered: {start}"
    )]
    Refused {
        /// The wire that was asked for.
        wire: &'static str,
        /// The status that opens it.
        expected: u16,
        /// The start of the answer.
        start: String,
    },
    /// The chunked coding is broken.
    #[error(
        "byte {byte:#04x} has no place in the chunked coding there; the server framed its chunks wrongly"
    )]
    Chunk {
        /// The byte that does not fit.
        byte: u8,
    },
    /// A line of text has no end.
    #[error("a line of the response has no end; the server did not delimit an entry")]
    EndlessLine,
    /// A frame that cannot carry an entry of the load.
    #[error(
        "a frame with first byte {first:#04x} came, but entries of this load are single unmasked \
         uncompressed text or binary frames"
    )]
    Frame {
        /// The first byte of the frame.
        first: u8,
    },
    /// The server closed the WebSocket.
    #[error("the server closed a websocket line with code {code} {reason:?}; see its log")]
    Closed {
        /// The close code; 1005 where none was sent.
        code: u16,
        /// The reason phrase.
        reason: String,
    },
    /// The server says that the line does not go on.
    #[error("the server sent {what}: {line}")]
    Notice {
        /// What it is.
        what: &'static str,
        /// The line of text.
        line: String,
    },
    /// The response of a live wire is complete.
    #[error("the server ended the response of a live line; see its log")]
    Ended,
}

impl DecodeError {
    fn notice(what: &'static str, line: &[u8]) -> Self {
        Self::Notice {
            what,
            line: excerpt(line),
        }
    }

    /// From the payload of a Close frame (RFC 6455, section 5.5.1).
    fn closed(payload: &[u8]) -> Self {
        match payload {
            [high, low, reason @ ..] => Self::Closed {
                code: u16::from_be_bytes([*high, *low]),
                reason: excerpt(reason),
            },
            _ => Self::Closed {
                code: 1005,
                reason: String::new(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD_BYTES: usize = 5;

    /// What servers send for the entries `hello` and `world`, in the ways that HTTP delimits it.
    fn transcripts() -> Vec<(Wire, Vec<u8>)> {
        let upgraded = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";
        let frames = b"\x81\x05hello\x89\x01p\x81\x05world";
        let events = [
            "retry: 3000\n\n",
            "id: 1\ndata: hello\n\nid",
            ": 2\ndata: world\n\n",
        ];
        let objects = [
            "{}\n{\"data\":\"hello\"}\n{\"offset\":1,",
            "\"data\":\"world\"}\n",
        ];
        vec![
            (Wire::WebSocket, [&upgraded[..], frames].concat()),
            (Wire::EventStream, chunked(&events, "")),
            (Wire::EventStream, until_close(&events)),
            (Wire::Ndjson, chunked(&objects, "")),
            (Wire::Ndjson, until_close(&objects)),
            (Wire::LongPoll, chunked(&["hellowo", "rld"], "0\r\n\r\n")),
            (
                Wire::LongPoll,
                b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhelloworld".to_vec(),
            ),
        ]
    }

    fn chunked(chunks: &[&str], last: &str) -> Vec<u8> {
        let mut response = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
        for chunk in chunks {
            response += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
        }
        (response + last).into_bytes()
    }

    fn until_close(content: &[&str]) -> Vec<u8> {
        format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}",
            content.concat()
        )
        .into_bytes()
    }

    fn decode(wire: Wire, pieces: &[&[u8]]) -> Result<(Vec<String>, Phase), DecodeError> {
        let (mut reading, mut entries) = (Reading::new(wire, PAYLOAD_BYTES), Vec::new());
        for piece in pieces {
            reading.decode(piece, |event| {
                if let Event::Entry(payload) = event {
                    entries.push(String::from_utf8(payload.to_vec()).unwrap());
                }
                Ok(())
            })?;
        }
        Ok((entries, reading.phase()))
    }

    #[test]
    fn every_wire_delivers_the_same_entries_wherever_its_bytes_are_split() {
        for (wire, bytes) in transcripts() {
            let phase = if wire == Wire::LongPoll {
                Phase::Answered
            } else {
                Phase::Open
            };
            let expected = (vec!["hello".to_owned(), "world".to_owned()], phase);
            for cut in 0..=bytes.len() {
                let (first, second) = bytes.split_at(cut);
                let decoded = decode(wire, &[first, second]);
                assert_eq!(decoded.as_ref(), Ok(&expected), "{wire:?} split at {cut}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(decode(wire, &single), Ok(expected), "{wire:?} byte by byte");
        }
    }

    #[test]
    fn a_parked_poll_has_no_head_yet() {
        assert_eq!(decode(Wire::LongPoll, &[]).unwrap().1, Phase::Asked);
    }

    #[test]
    fn a_refusal_quotes_the_answer() {
        let answer = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
        for wire in Wire::ALL {
            let error = decode(wire, &[answer]).unwrap_err().to_string();
            assert!(
                error.contains("403 Forbidden") && error.contains(wire.name()),
                "{error}"
            );
        }
    }

    #[test]
    fn a_live_response_that_ends_is_told() {
        let ended = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        for wire in [Wire::EventStream, Wire::Ndjson] {
            assert_eq!(decode(wire, &[ended]), Err(DecodeError::Ended), "{wire:?}");
        }
    }
}
