//! What clients send the floor: request heads, and frames after an upgrade.

use memchr::{memchr2, memmem};

use super::framing::Framing;
use crate::publish::mask;

/// What a request asks, as far as the floor looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Reads the channel of this path from now on.
    Read(&'a [u8], Framing),
    /// Wants each message sent back.
    Echo,
    /// Publishes its content to the channel of this path.
    Post(&'a [u8]),
    /// Anything else, which succeeds.
    Other,
}

/// A request at the start of some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framed<'a> {
    /// What it asks.
    pub request: Request<'a>,
    /// Size of its head in bytes.
    pub head: usize,
    /// Size of its content in bytes.
    pub content: usize,
}

/// The request that `input` starts with, or `None` while its head is not whole.
pub fn request(input: &[u8]) -> Option<Framed<'_>> {
    let head = memmem::find(input, b"\r\n\r\n")? + 4;
    let fields = &input[..head];
    let has = |field: &[u8]| memmem::find(fields, field).is_some();
    // The floor is driven by the client beside it, so fields are as that one writes them.
    let request = if let Some(rest) = fields.strip_prefix(b"POST ") {
        Request::Post(path(rest))
    } else if let Some(rest) = fields.strip_prefix(b"GET ") {
        let path = path(rest);
        if has(b"Upgrade: websocket\r\n") {
            match path {
                b"/echo" => Request::Echo,
                _ => Request::Read(path, Framing::WebSocket),
            }
        } else if has(b"Accept: text/event-stream\r\n") {
            Request::Read(path, Framing::EventStream)
        } else if has(b"Accept: application/x-ndjson\r\n") {
            Request::Read(path, Framing::Ndjson)
        } else {
            Request::Other
        }
    } else {
        Request::Other
    };
    let content = memmem::find(fields, CONTENT_LENGTH).map_or(0, |at| {
        fields[at + CONTENT_LENGTH.len()..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
    });
    Some(Framed {
        request,
        head,
        content,
    })
}

const CONTENT_LENGTH: &[u8] = b"Content-Length: ";

/// What stands before the query or the version.
fn path(after_method: &[u8]) -> &[u8] {
    let end = memchr2(b' ', b'?', after_method).unwrap_or(after_method.len());
    &after_method[..end]
}

/// A masked frame (RFC 6455, section 5.2) as it stands in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is (section 11.8).
    pub opcode: u8,
    /// Its size with its head, in bytes.
    pub bytes: usize,
    key: [u8; 4],
    masked: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame that `input` starts with, or `None` while it is not whole.
    pub fn parse(input: &'a [u8]) -> Option<Self> {
        let [first, second, ..] = *input else {
            return None;
        };
        let (head, length) = match (second & 0x7f, &input[2..]) {
            (126, &[high, low, ..]) => (4, usize::from(u16::from_be_bytes([high, low]))),
            (127, &[a, b, c, d, e, f, g, h, ..]) => {
                (10, u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize)
            }
            (126 | 127, _) => return None,
            (length, _) => (2, usize::from(length)),
        };
        let key = *input.get(head..)?.first_chunk()?;
        let masked = input.get(head + 4..)?.get(..length)?;
        Some(Self {
            opcode: first & 0x0f,
            bytes: head + 4 + length,
            key,
            masked,
        })
    }

    /// The size of the payload in bytes.
    pub fn payload_bytes(&self) -> usize {
        self.masked.len()
    }

    /// Appends the payload without its mask.
    pub fn unmask(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(self.masked);
        mask(&mut out[start..], self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dialect::Envelope, ledger::Ledger, payload::Payloads, publish, wire, wire::Wire};

    #[test]
    fn requests_of_the_load_client_are_told_apart() {
        let host = "127.0.0.1:80".parse().unwrap();
        let path = b"/channels/a";
        let read = |wire: Wire| wire.request(host, "a");
        let cases = [
            (
                read(Wire::WebSocket),
                Request::Read(path, Framing::WebSocket),
                0,
            ),
            (
                read(Wire::EventStream),
                Request::Read(path, Framing::EventStream),
                0,
            ),
            (read(Wire::Ndjson), Request::Read(path, Framing::Ndjson), 0),
            (wire::echo_request(host), Request::Echo, 0),
            (wire::publish_head(host, "a", 128), Request::Post(path), 128),
            (
                wire::batch_head(host, 4096),
                Request::Post(b"/publish"),
                4096,
            ),
            (wire::create_request(host, "a"), Request::Other, 0),
        ];
        for (bytes, asked, content) in cases {
            let head = bytes.len();
            let framed = Framed {
                request: asked,
                head,
                content,
            };
            assert_eq!(request(&[&bytes[..], b"more"].concat()), Some(framed));
            assert_eq!(request(&bytes[..head - 1]), None);
        }
    }

    #[test]
    fn frames_of_the_load_client_are_unmasked() {
        for bytes in [16, 125, 126, 128, 65_535, 65_536] {
            let mut ledger = Ledger::new(Payloads::new(bytes), 1);
            let (mut sent, mut payload) = (Vec::new(), Vec::new());
            publish::write_frame(&mut ledger, 0, &Envelope::default(), &mut sent);
            for cut in [0, 1, 2, 5, 7, sent.len() - 1] {
                assert_eq!(Frame::parse(&sent[..cut]), None, "{cut} of {bytes}");
            }
            let frame = Frame::parse(&sent).unwrap();
            assert_eq!((frame.opcode, frame.bytes), (1, sent.len()));
            frame.unmask(&mut payload);
            assert_eq!(payload.len(), frame.payload_bytes());
            assert!(ledger.payloads().read(&payload).is_ok());
        }
    }
}
