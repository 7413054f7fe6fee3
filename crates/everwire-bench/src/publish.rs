//! What publishers put on the line, and the answers that HTTP gives them.

use std::net::SocketAddr;

use crate::{
    ledger::Ledger,
    response::{Framing, HeadError, ResponseHead, excerpt},
    wire,
};

/// Appends one masked text frame (RFC 6455, section 5.2) with the next entry of `source`.
///
/// The masking key is fixed: its unpredictability protects proxies from scripts in browsers, and
/// unmasking costs the server the same with any key but zero.
pub fn write_frame(ledger: &mut Ledger, source: usize, out: &mut Vec<u8>) {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let bytes = ledger.payloads().bytes();
    out.push(0x81);
    match u16::try_from(bytes) {
        Ok(short @ ..126) => out.push(0x80 | short as u8),
        Ok(medium) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        Err(_) => unreachable!("payloads have 16-bit lengths"),
    }
    out.extend_from_slice(&KEY);
    let start = out.len();
    ledger.publish(source, out);
    for (byte, key) in out[start..].iter_mut().zip(KEY.iter().cycle()) {
        *byte ^= key;
    }
}

/// Appends a masked pong (RFC 6455, section 5.5.3) with the payload of the ping it answers.
pub fn write_pong(ping: &[u8], out: &mut Vec<u8>) {
    out.push(0x8a);
    out.push(0x80 | ping.len() as u8); // control frames carry 125 bytes at most (section 5.5)
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(ping);
}

/// The request that publishes over HTTP; its head is the same each time.
#[derive(Clone, Debug)]
pub struct PublishRequest {
    head: Vec<u8>,
}

impl PublishRequest {
    /// Requests that publish to `channel`.
    pub fn new(host: SocketAddr, channel: &str, ledger: &Ledger) -> Self {
        let head = wire::publish_head(host, channel, ledger.payloads().bytes());
        Self { head }
    }

    /// Appends one request with the next entry of `source`.
    pub fn write(&self, ledger: &mut Ledger, source: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        ledger.publish(source, out);
    }
}

/// Counts the answers on a kept connection.
#[derive(Debug, Default)]
pub struct Answers {
    unfinished: Vec<u8>,
}

impl Answers {
    /// Takes bytes as they arrive and returns how many answers they complete.
    ///
    /// # Errors
    /// If an answer is no success, or not one after which a connection can be kept.
    pub fn decode(&mut self, input: &[u8]) -> Result<usize, AnswerError> {
        if self.unfinished.is_empty() {
            let (answers, used) = count_whole(input)?;
            self.unfinished.extend_from_slice(&input[used..]);
            return Ok(answers);
        }
        self.unfinished.extend_from_slice(input);
        let (answers, used) = count_whole(&self.unfinished)?;
        self.unfinished.drain(..used);
        Ok(answers)
    }
}

/// How many whole answers `input` starts with, and their bytes.
fn count_whole(input: &[u8]) -> Result<(usize, usize), AnswerError> {
    let (mut answers, mut used) = (0, 0);
    while let Some(head) = ResponseHead::parse(&input[used..])? {
        let Framing::Length(length) = head.framing else {
            return Err(AnswerError::Unbounded {
                start: excerpt(&input[used..]),
            });
        };
        let end = used + head.bytes + length as usize;
        if !(200..300).contains(&head.status) {
            return Err(AnswerError::Refused {
                start: excerpt(&input[used..]),
            });
        }
        if end > input.len() {
            break;
        }
        answers += 1;
        used = end;
    }
    Ok((answers, used))
}

/// The server did not accept a request as it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The answer is not HTTP.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// A status that is no success.
    #[error("the server refused a request; it answered: {start}")]
    Refused {
        /// The start of the answer.
        start: String,
    },
    /// No `Content-Length`.
    #[error("the answer to a request has no content-length, so nothing can follow it: {start}")]
    Unbounded {
        /// The start of the answer.
        start: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payloads;

    #[test]
    fn a_published_frame_is_masked_and_takes_the_shortest_length() {
        for (bytes, head) in [(20, 6), (125, 6), (126, 8), (128, 8), (65_535, 8)] {
            let mut ledger = Ledger::new(Payloads::new(bytes), 1);
            let mut frame = Vec::new();
            write_frame(&mut ledger, 0, &mut frame);
            assert_eq!(frame.len(), head + bytes, "payload of {bytes} bytes");
            let (key, masked) = frame[head - 4..].split_at(4);
            let payload: Vec<u8> = masked
                .iter()
                .zip(key.iter().cycle())
                .map(|(a, b)| a ^ b)
                .collect();
            let stamp = ledger.payloads().read(&payload).unwrap();
            assert_eq!((stamp.source, stamp.number), (0, 0));
        }
    }

    #[test]
    fn a_pong_repeats_the_ping() {
        let mut frame = Vec::new();
        write_pong(b"hi", &mut frame);
        assert_eq!(frame, b"\x8a\x82\0\0\0\0hi");
    }

    #[test]
    fn answers_are_counted_wherever_the_bytes_are_split() {
        let answers = b"HTTP/1.1 204 No Content\r\ndate: today\r\n\r\n\
                        HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok\
                        HTTP/1.1 204 No Content\r\n\r\n";
        for cut in 0..=answers.len() {
            let mut decoder = Answers::default();
            let (first, second) = answers.split_at(cut);
            let counted = decoder.decode(first).unwrap() + decoder.decode(second).unwrap();
            assert_eq!(counted, 3, "split at {cut}");
            assert!(decoder.unfinished.is_empty());
        }
    }

    #[test]
    fn a_refused_request_is_told() {
        let refused =
            Answers::default().decode(b"HTTP/1.1 429 Too Many\r\ncontent-length: 4\r\n\r\nslow");
        assert!(refused.unwrap_err().to_string().contains("429 Too Many"));
        let unbounded = Answers::default().decode(b"HTTP/1.1 200 OK\r\n\r\n");
        assert!(matches!(unbounded, Err(AnswerError::Unbounded { .. })));
    }
}
