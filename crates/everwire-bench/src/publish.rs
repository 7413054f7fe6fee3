//! What publishers put on the line, and the answers that HTTP gives them.

use std::net::SocketAddr;

use anyhow::Result;
use memchr::memmem;

use crate::{
    dialect::{Dialect, Envelope},
    ledger::Ledger,
    response::{Framing, HeadError, ResponseHead, excerpt},
    wire,
};

/// Appends one masked text frame (RFC 6455, section 5.2) with the next entry of `source` in its
/// `envelope`.
pub fn write_frame(ledger: &mut Ledger, source: usize, envelope: &Envelope, out: &mut Vec<u8>) {
    let Envelope { before, after } = envelope;
    let bytes = before.len() + ledger.payloads().bytes() + after.len();
    let start = write_frame_head(bytes, out);
    out.extend_from_slice(before);
    ledger.publish(source, out);
    out.extend_from_slice(after);
    mask(&mut out[start..], KEY);
}

/// Appends one masked text frame with `text`.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    let start = write_frame_head(text.len(), out);
    out.extend_from_slice(text.as_bytes());
    mask(&mut out[start..], KEY);
}

/// The masking key is fixed: its unpredictability protects proxies from scripts in browsers, and
/// unmasking costs the server the same with any key but zero.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Appends the head of a masked text frame with `bytes`; returns where its payload begins.
fn write_frame_head(bytes: usize, out: &mut Vec<u8>) -> usize {
    out.push(0x81);
    match u16::try_from(bytes) {
        Ok(short @ ..126) => out.push(0x80 | short as u8),
        Ok(medium) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        Err(_) => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(bytes as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&KEY);
    out.len()
}

/// Masks or unmasks `payload` (RFC 6455, section 5.3), in pieces that the compiler makes wide.
pub fn mask(payload: &mut [u8], key: [u8; 4]) {
    let wide = [key, key].concat();
    let mut pieces = payload.chunks_exact_mut(8);
    for piece in &mut pieces {
        for (byte, key) in piece.iter_mut().zip(&wide) {
            *byte ^= key;
        }
    }
    for (byte, key) in pieces.into_remainder().iter_mut().zip(&wide) {
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

/// The request that publishes one entry over HTTP; all but its payload is the same each time.
#[derive(Clone, Debug)]
pub struct PublishRequest {
    envelope: Envelope,
}

impl PublishRequest {
    /// Requests that publish to `channel`, in the words of `dialect`.
    ///
    /// # Errors
    /// If it has none.
    pub fn new(
        dialect: &Dialect,
        host: SocketAddr,
        channel: &str,
        ledger: &Ledger,
    ) -> Result<Self> {
        let envelope = dialect.publish_request(host, channel, ledger.payloads().bytes())?;
        Ok(Self { envelope })
    }

    /// Appends one request with the next entry of `source`.
    pub fn write(&self, ledger: &mut Ledger, source: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.envelope.before);
        ledger.publish(source, out);
        out.extend_from_slice(&self.envelope.after);
    }
}

/// The request that publishes many entries at once, as a JSON array of items.
#[derive(Clone, Debug)]
pub struct BatchRequest {
    head: Vec<u8>,
    /// What stands before each payload.
    item: String,
    entries: usize,
}

impl BatchRequest {
    /// Requests that publish `entries` to `channel`, at least 1.
    pub fn new(host: SocketAddr, channel: &str, entries: usize, ledger: &Ledger) -> Self {
        let item = format!("{{\"channel\":\"{channel}\",\"data\":\"");
        // Each item ends with a quote, a brace, and a comma or the array's bracket.
        let item_bytes = item.len() + ledger.payloads().bytes() + 3;
        let head = wire::batch_head(host, 1 + entries * item_bytes);
        Self {
            head,
            item,
            entries,
        }
    }

    /// Appends one request with the next entries of `source`.
    pub fn write(&self, ledger: &mut Ledger, source: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.push(b'[');
        for entry in 1..=self.entries {
            out.extend_from_slice(self.item.as_bytes());
            ledger.publish(source, out);
            out.extend_from_slice(if entry < self.entries {
                b"\"},"
            } else {
                b"\"}]"
            });
        }
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
        let Some(content) = input.get(used + head.bytes..end) else {
            break;
        };
        // A batch succeeds as a whole though items of it are refused.
        if memmem::find(content, b"{\"error\":").is_some() {
            return Err(AnswerError::Refused {
                start: excerpt(content),
            });
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
        for (bytes, head) in [
            (20, 6),
            (125, 6),
            (126, 8),
            (128, 8),
            (65_535, 8),
            (65_536, 14),
        ] {
            let mut ledger = Ledger::new(Payloads::new(bytes), 1);
            let mut frame = Vec::new();
            write_frame(&mut ledger, 0, &Envelope::default(), &mut frame);
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
    fn a_batch_is_as_long_as_its_head_says() {
        let host = SocketAddr::from(([127, 0, 0, 1], 80));
        for entries in [1, 2, 100] {
            let mut ledger = Ledger::new(Payloads::new(20), 1);
            let mut request = Vec::new();
            BatchRequest::new(host, "a", entries, &ledger).write(&mut ledger, 0, &mut request);
            let request = String::from_utf8(request).unwrap();
            let (head, content) = request.split_once("\r\n\r\n").unwrap();
            let length = format!("Content-Length: {}", content.len());
            assert!(head.ends_with(&length), "{head} for {}", content.len());
            let items: Vec<serde_json::Value> = serde_json::from_str(content).unwrap();
            assert_eq!(items.len(), entries);
            for (number, item) in items.iter().enumerate() {
                assert_eq!(item["channel"], "a");
                let payload = item["data"].as_str().unwrap().as_bytes();
                let stamp = ledger.payloads().read(payload).unwrap();
                assert_eq!(stamp.number, number as u64);
            }
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
        let item = Answers::default().decode(
            b"HTTP/1.1 200 OK\r\ncontent-length: 36\r\n\r\n{\"results\":[{\"error\":{\"type\":\"x\"}}]}",
        );
        assert!(item.unwrap_err().to_string().contains("error"));
        let unbounded = Answers::default().decode(b"HTTP/1.1 200 OK\r\n\r\n");
        assert!(matches!(unbounded, Err(AnswerError::Unbounded { .. })));
    }
}
