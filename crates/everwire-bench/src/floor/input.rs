//! What clients send the floor: request heads, and frames after an upgrade.

use memchr::memmem;

/// A request head, as far as the floor looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Asks for an upgrade; becomes a reader.
    Upgrade,
    /// Publishes its content.
    Post,
    /// Anything else, which succeeds.
    Other,
}

/// A request at the start of some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framed {
    /// What it asks.
    pub request: Request,
    /// Size of its head in bytes.
    pub head: usize,
    /// Size of its content in bytes.
    pub content: usize,
}

/// The request that `input` starts with, or `None` while its head is not whole.
pub fn request(input: &[u8]) -> Option<Framed> {
    let head = memmem::find(input, b"\r\n\r\n")? + 4;
    let fields = &input[..head];
    let request = if memmem::find(fields, b"Upgrade: websocket\r\n").is_some() {
        Request::Upgrade
    } else if fields.starts_with(b"POST ") {
        Request::Post
    } else {
        Request::Other
    };
    // The floor is driven by the client beside it, so field names are as that one writes them.
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

/// Takes the first masked frame of `input`: its opcode, its size in bytes, and its payload
/// appended to `out`. `None` while it is not whole.
pub fn frame(input: &[u8], out: &mut Vec<u8>) -> Option<(u8, usize)> {
    let [first, second, ..] = *input else {
        return None;
    };
    let (head, length) = match (second & 0x7f, &input[2..]) {
        (126, &[high, low, ..]) => (4, usize::from(u16::from_be_bytes([high, low]))),
        (126 | 127, _) => return None, // a 64-bit length is more than a load payload has
        (length, _) => (2, usize::from(length)),
    };
    let key = input.get(head..head + 4)?;
    let payload = input.get(head + 4..head + 4 + length)?;
    out.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    Some((first & 0x0f, head + 4 + length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ledger::Ledger, payload::Payloads, publish, wire};

    #[test]
    fn requests_of_the_load_client_are_told_apart() {
        let host = "127.0.0.1:80".parse().unwrap();
        let cases = [
            (
                wire::Wire::WebSocket.request(host, "a"),
                Request::Upgrade,
                0,
            ),
            (wire::publish_head(host, "a", 128), Request::Post, 128),
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
        for bytes in [16, 125, 126, 128, 65_535] {
            let mut ledger = Ledger::new(Payloads::new(bytes), 1);
            let (mut sent, mut payload) = (Vec::new(), Vec::new());
            publish::write_frame(&mut ledger, 0, &mut sent);
            for cut in [0, 1, 2, 5, 7, sent.len() - 1] {
                assert_eq!(frame(&sent[..cut], &mut payload), None, "{cut} of {bytes}");
            }
            assert_eq!(frame(&sent, &mut payload), Some((1, sent.len())));
            assert!(ledger.payloads().read(&payload).is_ok());
        }
    }
}
