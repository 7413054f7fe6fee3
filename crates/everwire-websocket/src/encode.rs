//! Frames for the wire.
//!
//! A server's frames carry no masking key, so one encoding goes to all who receive the message. A
//! client's frames carry a fresh key each, given by the caller.

use std::ops::Range;

use bytes::{BufMut, BytesMut};

use crate::frame::{ControlKind, FrameHead, FrameKind, HEAD_BYTES_MAX, MessageKind};
use crate::{CloseCode, ContextTakeover, Deflater, MaskingKey, close, mask};

/// Appends a whole message in one unmasked frame.
pub fn encode_message(kind: MessageKind, payload: &[u8], out: &mut BytesMut) {
    append_message(kind, payload, None, out);
}

/// Appends a whole message in one unmasked frame, whose payload `write` appends.
///
/// `payload_bytes_max` is at least the payload's length. The head stands before it and is longer for a long
/// payload: with a bound that is near, nothing has to be moved when the length is known.
///
/// # Panics
///
/// If the payload turns out to be longer.
pub fn encode_message_with(
    kind: MessageKind,
    payload_bytes_max: usize,
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut),
) {
    let start = out.len();
    let longest = message_head(kind, payload_bytes_max, false, None).encoded_len();
    out.put_bytes(0, longest);
    write(out);
    let payload_len = out.len() - start - longest;
    assert!(
        payload_len <= payload_bytes_max,
        "a payload is no longer than its announced bound"
    );
    put_head(
        message_head(kind, payload_len, false, None),
        start..start + longest,
        out,
    );
}

/// Appends only the head of a whole message, for a payload that is sent as a slice of its own.
/// `compressed` says that the payload comes from a [`Deflater`].
pub fn encode_message_head(
    kind: MessageKind,
    payload_len: usize,
    compressed: bool,
    out: &mut BytesMut,
) {
    message_head(kind, payload_len, compressed, None).encode(out);
}

/// Appends a whole message, compressed, in one unmasked frame.
///
/// With [`ContextTakeover::No`] a payload that compression would not make smaller goes uncompressed;
/// with [`ContextTakeover::Yes`] it cannot, since the peer has to see what the compressor saw.
pub fn encode_compressed_message(
    kind: MessageKind,
    payload: &[u8],
    deflater: &mut Deflater,
    out: &mut BytesMut,
) {
    append_compressed(kind, payload, deflater, None, out);
}

/// Appends a Ping (RFC 6455, section 5.5.2).
///
/// # Panics
///
/// If `payload` has more than 125 bytes.
pub fn encode_ping(payload: &[u8], out: &mut BytesMut) {
    append_control(ControlKind::Ping, payload, None, out);
}

/// Appends a Pong (RFC 6455, section 5.5.3).
///
/// # Panics
///
/// If `payload` has more than 125 bytes; that of a Ping never has.
pub fn encode_pong(payload: &[u8], out: &mut BytesMut) {
    append_control(ControlKind::Pong, payload, None, out);
}

/// Appends a Close frame (RFC 6455, section 5.5.1). A reason of more than 123 bytes is cut between
/// two characters.
pub fn encode_close(close: Option<(CloseCode, &str)>, out: &mut BytesMut) {
    append_close(close, None, out);
}

/// Frames of a client: as the functions of this module, but masked with a key that must be fresh and
/// unpredictable for each frame (RFC 6455, section 5.3).
#[derive(Clone, Copy, Debug)]
pub struct Masker(pub MaskingKey);

impl Masker {
    /// Appends a whole message in one frame.
    pub fn encode_message(self, kind: MessageKind, payload: &[u8], out: &mut BytesMut) {
        append_message(kind, payload, Some(self.0), out);
    }

    /// Appends a whole message in one frame, compressed as [`encode_compressed_message`] does.
    pub fn encode_compressed_message(
        self,
        kind: MessageKind,
        payload: &[u8],
        deflater: &mut Deflater,
        out: &mut BytesMut,
    ) {
        append_compressed(kind, payload, deflater, Some(self.0), out);
    }

    /// Appends a Ping.
    ///
    /// # Panics
    ///
    /// If `payload` has more than 125 bytes.
    pub fn encode_ping(self, payload: &[u8], out: &mut BytesMut) {
        append_control(ControlKind::Ping, payload, Some(self.0), out);
    }

    /// Appends a Pong.
    ///
    /// # Panics
    ///
    /// If `payload` has more than 125 bytes; that of a Ping never has.
    pub fn encode_pong(self, payload: &[u8], out: &mut BytesMut) {
        append_control(ControlKind::Pong, payload, Some(self.0), out);
    }

    /// Appends a Close frame, its reason cut to what fits.
    pub fn encode_close(self, close: Option<(CloseCode, &str)>, out: &mut BytesMut) {
        append_close(close, Some(self.0), out);
    }
}

pub(crate) fn append_message(
    kind: MessageKind,
    payload: &[u8],
    key: Option<MaskingKey>,
    out: &mut BytesMut,
) {
    append(message_head(kind, payload.len(), false, key), payload, out);
}

pub(crate) fn append_control(
    kind: ControlKind,
    payload: &[u8],
    mask: Option<MaskingKey>,
    out: &mut BytesMut,
) {
    let kind = FrameKind::Control(kind);
    let payload_len = payload.len() as u64;
    append(
        FrameHead {
            kind,
            mask,
            payload_len,
        },
        payload,
        out,
    );
}

pub(crate) fn append_close(
    close: Option<(CloseCode, &str)>,
    key: Option<MaskingKey>,
    out: &mut BytesMut,
) {
    let mut payload = Vec::new();
    if let Some((code, reason)) = close {
        payload.extend_from_slice(&code.as_u16().to_be_bytes());
        payload.extend_from_slice(close::fitting(reason).as_bytes());
    }
    append_control(ControlKind::Close, &payload, key, out);
}

pub(crate) fn append_compressed(
    kind: MessageKind,
    payload: &[u8],
    deflater: &mut Deflater,
    key: Option<MaskingKey>,
    out: &mut BytesMut,
) {
    // How long the head is, only the compressed length tells: compress behind the longest, then
    // close the gap.
    let start = out.len();
    let payload_start = start + HEAD_BYTES_MAX;
    out.resize(payload_start, 0);
    deflater.compress(payload, out);
    let compressed_len = out.len() - payload_start;
    if deflater.context_takeover() == ContextTakeover::No && compressed_len >= payload.len() {
        out.truncate(start);
        return append(message_head(kind, payload.len(), false, key), payload, out);
    }
    if let Some(key) = key {
        mask(key, 0, &mut out[payload_start..]);
    }
    let head = message_head(kind, compressed_len, true, key);
    put_head(head, start..payload_start, out);
}

fn message_head(
    kind: MessageKind,
    payload_len: usize,
    compressed: bool,
    mask: Option<MaskingKey>,
) -> FrameHead {
    let kind = FrameKind::First {
        kind,
        compressed,
        fin: true,
    };
    FrameHead {
        kind,
        mask,
        payload_len: payload_len as u64,
    }
}

/// Puts a head into the gap before a payload that was written first, and closes what it leaves of the gap.
fn put_head(head: FrameHead, gap: Range<usize>, out: &mut BytesMut) {
    // Written behind the payload, and moved: it is a few bytes.
    let payload_end = out.len();
    head.encode(out);
    let head_end = gap.start + (out.len() - payload_end);
    out.copy_within(payload_end.., gap.start);
    out.truncate(payload_end);
    if head_end < gap.end {
        out.copy_within(gap.end.., head_end);
        out.truncate(payload_end - (gap.end - head_end));
    }
}

fn append(head: FrameHead, payload: &[u8], out: &mut BytesMut) {
    out.reserve(HEAD_BYTES_MAX + payload.len());
    head.encode(out);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = head.mask {
        mask(key, 0, &mut out[start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Level, WindowBits};

    fn encoded(encode: impl FnOnce(&mut BytesMut)) -> BytesMut {
        // Something is there already, as when several frames are sent at once.
        let mut out = BytesMut::from("before ");
        encode(&mut out);
        assert_eq!(&out.split_to(7)[..], b"before ");
        out
    }

    /// RFC 6455, section 5.7.
    #[test]
    fn the_examples_of_section_5_7_are_written() {
        let key = Masker([0x37, 0xfa, 0x21, 0x3d]);
        let text = MessageKind::Text;
        let hello = encoded(|out| encode_message(text, b"Hello", out));
        assert_eq!(&hello[..], b"\x81\x05Hello");
        let masked = encoded(|out| key.encode_message(text, b"Hello", out));
        assert_eq!(&masked[..], b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        let ping = encoded(|out| encode_ping(b"Hello", out));
        assert_eq!(&ping[..], b"\x89\x05Hello");
        let pong = encoded(|out| key.encode_pong(b"Hello", out));
        assert_eq!(&pong[..], b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        let head = encoded(|out| encode_message_head(MessageKind::Binary, 256, false, out));
        assert_eq!(&head[..], b"\x82\x7e\x01\x00");
    }

    #[test]
    fn a_close_frame_has_a_code_and_as_much_reason_as_fits() {
        assert_eq!(&encoded(|out| encode_close(None, out))[..], b"\x88\x00");
        let bye = encoded(|out| encode_close(Some((CloseCode::NORMAL, "bye")), out));
        assert_eq!(&bye[..], b"\x88\x05\x03\xe8bye");
        let long = encoded(|out| encode_close(Some((CloseCode::NORMAL, &"ä".repeat(99))), out));
        assert_eq!(long[1], 2 + 122);
        assert_eq!(&long[4..], "ä".repeat(61).as_bytes());
    }

    fn compressed(takeover: ContextTakeover, payload: &[u8]) -> BytesMut {
        let mut deflater = Deflater::new(WindowBits::MAX, Level::default(), takeover);
        let text = MessageKind::Text;
        encoded(|out| encode_compressed_message(text, payload, &mut deflater, out))
    }

    /// RFC 7692, section 7.2.3.1.
    #[test]
    fn a_compressed_message_has_rsv1_and_no_tail() {
        let hello = compressed(ContextTakeover::Yes, b"Hello");
        assert_eq!(&hello[..], b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00");
    }

    #[test]
    fn a_head_of_any_length_stands_right_before_the_compressed_payload() {
        for (len, head_len) in [(100, 2), (10_000, 4), (300_000, 10)] {
            let frame = compressed(ContextTakeover::Yes, &noise(len));
            let (head, found) = FrameHead::decode(&frame, crate::Role::Client)
                .unwrap()
                .unwrap();
            assert_eq!(found, head_len, "{len} bytes");
            assert_eq!(
                head.payload_len as usize,
                frame.len() - head_len,
                "{len} bytes"
            );
        }
    }

    /// Bytes that do not compress.
    fn noise(len: usize) -> Vec<u8> {
        let next = |state: &u64| {
            Some(
                state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1),
            )
        };
        let states = std::iter::successors(Some(1u64), next);
        states.map(|state| (state >> 56) as u8).take(len).collect()
    }

    #[test]
    fn a_payload_may_be_written_in_place_and_be_shorter_than_its_bound() {
        for len in [0, 5, 125, 126, 65_535, 65_536] {
            let payload = noise(len);
            let expected = encoded(|out| encode_message(MessageKind::Binary, &payload, out));
            for bound in [len, len + 1, len + 130, len + 70_000] {
                let found = encoded(|out| {
                    encode_message_with(MessageKind::Binary, bound, out, |out| {
                        out.extend_from_slice(&payload);
                    });
                });
                assert!(
                    found == expected,
                    "{len} bytes announced as at most {bound}"
                );
            }
        }
    }

    #[test]
    #[should_panic(expected = "no longer than its announced bound")]
    fn a_payload_beyond_its_bound_is_our_own_mistake() {
        encoded(|out| {
            encode_message_with(MessageKind::Text, 2, out, |out| {
                out.extend_from_slice(b"abc");
            });
        });
    }

    #[test]
    fn what_compression_does_not_shorten_goes_plain_unless_the_context_needs_it() {
        assert_eq!(
            &compressed(ContextTakeover::No, b"Hello")[..],
            b"\x81\x05Hello"
        );
        assert_eq!(compressed(ContextTakeover::Yes, b"Hello")[0], 0xc1);
        let long = compressed(ContextTakeover::No, &[b'a'; 200]);
        assert_eq!(long[0], 0xc1);
        assert!(long.len() < 50);
    }
}
