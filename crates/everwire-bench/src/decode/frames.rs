//! Frames as a WebSocket server sends them (RFC 6455, section 5.2): unmasked, uncompressed.
//!
//! Written apart from the server's codec on purpose: a load client that shared it could not
//! notice its mistakes.

use super::{DecodeError, Event};

/// The frames of a line that arrive in pieces.
#[derive(Debug, Default)]
pub struct Frames {
    /// The start of a frame whose end has not come yet; mostly empty.
    unfinished: Vec<u8>,
}

/// No frame that carries a load payload is larger, in bytes of payload.
const FRAME_BYTES_MAX: usize = 1024 * 1024;

impl Frames {
    /// Gives each message and ping that ends in `input` to `on_event`.
    ///
    /// # Errors
    /// If the server closes, or sends a frame that a load client has no business with, and
    /// whatever `on_event` fails with.
    pub fn decode(
        &mut self,
        input: &[u8],
        mut on_event: impl FnMut(Event<'_>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        if self.unfinished.is_empty() {
            let used = decode_whole(input, on_event)?;
            self.unfinished.extend_from_slice(&input[used..]);
        } else {
            self.unfinished.extend_from_slice(input);
            let used = decode_whole(&self.unfinished, &mut on_event)?;
            self.unfinished.drain(..used);
        }
        Ok(())
    }
}

/// Decodes the frames that are whole and returns how many bytes they took.
fn decode_whole(
    input: &[u8],
    mut on_event: impl FnMut(Event<'_>) -> Result<(), DecodeError>,
) -> Result<usize, DecodeError> {
    let mut rest = input;
    while let Some((opcode, head, length)) = frame_head(rest)? {
        let Some(payload) = rest.get(head..head + length) else {
            break;
        };
        match opcode {
            TEXT | BINARY => on_event(Event::Entry(payload))?,
            PING => on_event(Event::Ping(payload))?,
            PONG => {}
            CLOSE => return Err(DecodeError::closed(payload)),
            _ => return Err(DecodeError::Frame { first: rest[0] }),
        }
        rest = &rest[head + length..];
    }
    Ok(input.len() - rest.len())
}

/// Opcode, size of the head and length of the payload, or `None` while the head is not whole.
fn frame_head(input: &[u8]) -> Result<Option<(u8, usize, usize)>, DecodeError> {
    let [first, second, ..] = *input else {
        return Ok(None);
    };
    // FIN set, no reserved bit, no mask: a small uncompressed message is one such frame.
    if first & 0xf0 != 0x80 || second & 0x80 != 0 {
        return Err(DecodeError::Frame { first });
    }
    let (head, length) = match (second, &input[2..]) {
        (length @ 0..=125, _) => (2, usize::from(length)),
        (126, &[high, low, ..]) => (4, usize::from(u16::from_be_bytes([high, low]))),
        (127, &[a, b, c, d, e, f, g, h, ..]) => {
            (10, u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize)
        }
        _ => return Ok(None),
    };
    if length > FRAME_BYTES_MAX {
        return Err(DecodeError::Frame { first });
    }
    Ok(Some((first & 0x0f, head, length)))
}

/// Opcodes (RFC 6455, section 11.8).
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<Vec<String>, DecodeError> {
        let (mut frames, mut events) = (Frames::default(), Vec::new());
        for piece in pieces {
            frames.decode(piece, |event| {
                events.push(match event {
                    Event::Entry(payload) => format!("entry of {}", payload.len()),
                    Event::Ping(payload) => format!("ping of {}", payload.len()),
                });
                Ok(())
            })?;
        }
        Ok(events)
    }

    #[test]
    fn frames_are_the_same_wherever_the_input_is_split() {
        let mut input = Vec::new();
        input.extend_from_slice(b"\x81\x02hi\x89\x03abc\x8a\x00\x82\x7e\x00\x80");
        input.extend_from_slice(&[b'x'; 128]);
        input.extend_from_slice(b"\x81\x7f\0\0\0\0\0\0\0\x01y");
        let expected = ["entry of 2", "ping of 3", "entry of 128", "entry of 1"];
        for cut in 0..=input.len() {
            let (first, second) = input.split_at(cut);
            assert_eq!(
                decode(&[first, second]).unwrap(),
                expected,
                "split at {cut}"
            );
        }
        let single: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(decode(&single).unwrap(), expected);
    }

    #[test]
    fn frames_that_cannot_carry_an_entry_are_refused() {
        let cases: [(&str, &[u8]); 5] = [
            ("a fragment", b"\x01\x02hi"),
            ("a compressed message", b"\xc1\x02hi"),
            ("a masked frame", b"\x81\x82....hi"),
            ("a reserved opcode", b"\x83\x02hi"),
            (
                "an endless frame",
                b"\x82\x7f\x00\x00\x00\x01\x00\x00\x00\x00",
            ),
        ];
        for (what, frame) in cases {
            let decoded = decode(&[frame]);
            assert!(
                matches!(decoded, Err(DecodeError::Frame { .. })),
                "{what}: {decoded:?}"
            );
        }
    }

    #[test]
    fn a_close_tells_its_code_and_reason() {
        let decoded = decode(&[b"\x88\x06\x03\xf5slow"]);
        let expected = DecodeError::Closed {
            code: 1013,
            reason: "slow".to_owned(),
        };
        assert_eq!(decoded, Err(expected));
        let expected = DecodeError::Closed {
            code: 1005,
            reason: String::new(),
        };
        assert_eq!(decode(&[b"\x88\x00"]), Err(expected));
    }
}
