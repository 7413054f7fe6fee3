//! The head of a frame (RFC 6455, section 5.2).
//!
//! ```text
//!   byte 0            byte 1            0, 2 or 8 bytes      0 or 4 bytes
//!  FIN RSV1–3 opcode | MASK length: 7 | extended length … | masking key | payload …
//!   1    3      4        1      7
//! ```
//!
//! What cannot be sent cannot be written down: control frames have no FIN to forget, continuation
//! frames no compression bit. Decoding judges each byte as soon as it is there.

use bytes::{BufMut, BytesMut};

use crate::{Failure, MaskingKey, Role};

/// Everything in front of a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// What the frame carries.
    pub kind: FrameKind,
    /// The masking key: of a client's frame always, of a server's never (section 5.1).
    pub mask: Option<MaskingKey>,
    /// Bytes of payload; at most 125 for a control frame, less than 2^63 for data.
    pub payload_len: u64,
}

/// A frame's opcode with the bits that it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// The first frame of a message, or the whole message.
    First {
        /// The message's type.
        kind: MessageKind,
        /// RSV1: the message is compressed (RFC 7692, section 6).
        compressed: bool,
        /// FIN: the message has no further frame.
        fin: bool,
    },
    /// A further fragment of a message (section 5.4).
    Continuation {
        /// FIN: this is the last fragment.
        fin: bool,
    },
    /// A control frame, which may stand between the fragments of a message (section 5.5).
    Control(ControlKind),
}

/// The type of a message (section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

/// The type of a control frame (section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlKind {
    /// Starts or answers the closing handshake.
    Close,
    /// Asks for a Pong.
    Ping,
    /// Answers a Ping, or beats unasked.
    Pong,
}

impl FrameHead {
    /// Reads a head from the start of `bytes`: the head and its length, or `None` if more bytes are
    /// needed. `role` is ours and decides whether the peer has to mask.
    ///
    /// # Errors
    ///
    /// Tells what is wrong as soon as the bytes that are there can no longer become a valid head.
    pub fn decode(bytes: &[u8], role: Role) -> Result<Option<(Self, usize)>, Failure> {
        let [first, rest @ ..] = bytes else {
            return Ok(None);
        };
        let kind = FrameKind::decode(*first)?;
        let [second, rest @ ..] = rest else {
            return Ok(None);
        };
        let masked = second & MASK != 0;
        match role {
            Role::Server if !masked => return Err(Failure::NotMasked),
            Role::Client if masked => return Err(Failure::Masked),
            Role::Server | Role::Client => {}
        }
        let short = second & !MASK;
        if matches!(kind, FrameKind::Control(_)) && usize::from(short) > CONTROL_PAYLOAD_BYTES_MAX {
            return Err(Failure::ControlTooLong);
        }
        let (payload_len, rest) = match short {
            LENGTH_16 => {
                let Some((len, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                (u64::from(u16::from_be_bytes(*len)), rest)
            }
            LENGTH_64 => {
                let Some((len, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                (u64::from_be_bytes(*len), rest)
            }
            _ => (u64::from(short), rest),
        };
        if payload_len > i64::MAX as u64 {
            return Err(Failure::LengthOverflow);
        }
        if short != length_code(payload_len) {
            return Err(Failure::LengthNotMinimal);
        }
        let (mask, rest) = if masked {
            let Some((key, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (Some(*key), rest)
        } else {
            (None, rest)
        };
        let head = Self {
            kind,
            mask,
            payload_len,
        };
        Ok(Some((head, bytes.len() - rest.len())))
    }

    /// How many bytes [`encode`](Self::encode) appends.
    pub fn encoded_len(&self) -> usize {
        let length = match length_code(self.payload_len) {
            LENGTH_16 => 2,
            LENGTH_64 => 8,
            _ => 0,
        };
        2 + length + self.mask.map_or(0, |key| key.len())
    }

    /// Appends the head to `out`, its length in the shortest form.
    ///
    /// # Panics
    ///
    /// If the head of a control frame announces more than 125 bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        let len = self.payload_len;
        let first = self.kind.encode();
        let mask = if self.mask.is_some() { MASK } else { 0 };
        let is_control = matches!(self.kind, FrameKind::Control(_));
        assert!(
            !is_control || len <= CONTROL_PAYLOAD_BYTES_MAX as u64,
            "a control frame carries at most 125 bytes"
        );
        match length_code(len) {
            LENGTH_16 => {
                let [high, low] = (len as u16).to_be_bytes();
                out.put_slice(&[first, LENGTH_16 | mask, high, low]);
            }
            LENGTH_64 => {
                out.put_slice(&[first, LENGTH_64 | mask]);
                out.put_u64(len);
            }
            short => out.put_slice(&[first, short | mask]),
        }
        if let Some(key) = self.mask {
            out.put_slice(&key);
        }
    }
}

impl FrameKind {
    fn decode(byte: u8) -> Result<Self, Failure> {
        if byte & (RSV2 | RSV3) != 0 {
            return Err(Failure::ReservedBit);
        }
        let (fin, compressed) = (byte & FIN != 0, byte & RSV1 != 0);
        let kind = match byte & OPCODE {
            0x0 => Self::Continuation { fin },
            0x1 => Self::First {
                kind: MessageKind::Text,
                compressed,
                fin,
            },
            0x2 => Self::First {
                kind: MessageKind::Binary,
                compressed,
                fin,
            },
            0x8 => Self::Control(ControlKind::Close),
            0x9 => Self::Control(ControlKind::Ping),
            0xa => Self::Control(ControlKind::Pong),
            opcode => return Err(Failure::ReservedOpcode(opcode)),
        };
        match kind {
            Self::Continuation { .. } | Self::Control(_) if compressed => {
                Err(Failure::CompressedBitMisplaced)
            }
            Self::Control(_) if !fin => Err(Failure::ControlFragmented),
            _ => Ok(kind),
        }
    }

    fn encode(self) -> u8 {
        match self {
            Self::First {
                kind,
                compressed,
                fin,
            } => {
                let opcode = match kind {
                    MessageKind::Text => 0x1,
                    MessageKind::Binary => 0x2,
                };
                opcode | if compressed { RSV1 } else { 0 } | if fin { FIN } else { 0 }
            }
            Self::Continuation { fin } => {
                if fin {
                    FIN
                } else {
                    0
                }
            }
            Self::Control(ControlKind::Close) => FIN | 0x8,
            Self::Control(ControlKind::Ping) => FIN | 0x9,
            Self::Control(ControlKind::Pong) => FIN | 0xa,
        }
    }
}

/// What the seven bits of the length say for this length: itself, or how many bytes follow.
fn length_code(payload_len: u64) -> u8 {
    match payload_len {
        0..126 => payload_len as u8,
        126..=0xffff => LENGTH_16,
        _ => LENGTH_64,
    }
}

/// Most bytes that a control frame carries (section 5.5).
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// Most bytes that a head takes: 2, an extended length of 8, a masking key of 4.
pub const HEAD_BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2: u8 = 0x20;
const RSV3: u8 = 0x10;
const OPCODE: u8 = 0x0f;
const MASK: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn binary(payload_len: u64, mask: Option<MaskingKey>) -> FrameHead {
        let kind = FrameKind::First {
            kind: MessageKind::Binary,
            compressed: false,
            fin: true,
        };
        FrameHead {
            kind,
            mask,
            payload_len,
        }
    }

    fn encode(head: FrameHead) -> BytesMut {
        let mut out = BytesMut::new();
        head.encode(&mut out);
        out
    }

    /// RFC 6455, section 5.2: the minimal number of bytes MUST be used to encode the length.
    #[test]
    fn payload_length_takes_its_shortest_form() {
        let rows: [(u64, &[u8]); 7] = [
            (0, b"\x82\x00"),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\x00\x7e"),
            (65_535, b"\x82\x7e\xff\xff"),
            (65_536, b"\x82\x7f\0\0\0\0\0\x01\0\0"),
            (1 << 32, b"\x82\x7f\0\0\0\x01\0\0\0\0"),
            (i64::MAX as u64, b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"),
        ];
        for (len, expected) in rows {
            assert_eq!(
                &encode(binary(len, None))[..],
                expected,
                "payload of {len} bytes"
            );
            let decoded = FrameHead::decode(expected, Role::Client);
            assert_eq!(
                decoded,
                Ok(Some((binary(len, None), expected.len()))),
                "{len} bytes"
            );
        }
    }

    #[test]
    fn every_first_byte_is_a_kind_of_frame_or_a_failure() {
        for byte in 0..=u8::MAX {
            match FrameKind::decode(byte) {
                Ok(kind) => assert_eq!(kind.encode(), byte, "{kind:?}"),
                Err(_) => {
                    let (opcode, fin) = (byte & OPCODE, byte & FIN != 0);
                    let reserved = byte & (RSV2 | RSV3) != 0 || matches!(opcode, 3..=7 | 11..);
                    let misplaced = byte & RSV1 != 0 && !matches!(opcode, 1 | 2);
                    let fragmented = opcode >= 8 && !fin;
                    assert!(reserved || misplaced || fragmented, "{byte:02x} is valid");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "a control frame carries at most 125 bytes")]
    fn a_long_control_frame_is_our_own_mistake() {
        let kind = FrameKind::Control(ControlKind::Ping);
        encode(FrameHead {
            kind,
            mask: None,
            payload_len: 126,
        });
    }

    proptest! {
        #[test]
        fn a_head_decodes_from_its_own_bytes_and_no_fewer(
            payload_len in prop_oneof![0u64..300, 65_000u64..66_000, 0..=i64::MAX as u64],
            key: Option<MaskingKey>,
        ) {
            let head = binary(payload_len, key);
            let role = if key.is_some() { Role::Server } else { Role::Client };
            let bytes = encode(head);
            prop_assert_eq!(bytes.len(), head.encoded_len());
            for len in 0..bytes.len() {
                prop_assert_eq!(FrameHead::decode(&bytes[..len], role), Ok(None), "{} bytes", len);
            }
            prop_assert_eq!(FrameHead::decode(&bytes, role), Ok(Some((head, bytes.len()))));
        }
    }
}
