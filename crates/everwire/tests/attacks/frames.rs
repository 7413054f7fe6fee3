//! Frames that are none, and messages that are more than they seem.

use std::io::Write;

use flate2::{Compress, Compression, FlushCompress, write::DeflateEncoder};

use crate::{
    common::{Frame, Peer, client_frame},
    victim::Victim,
};

pub const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
pub const SESSION: &str = "Sec-WebSocket-Protocol: everwire.v1\r\n";

/// A frame whose first byte and length byte are given, masked with a key of zeros.
fn frame(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    [&[first], length, &[0; 4][..], payload].concat()
}

/// A message that inflates to so many zeros (RFC 7692, section 7.2.1).
pub fn bomb(bytes: usize) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![b'0'; 1024 * 1024];
    for _ in 0..bytes.div_ceil(zeros.len()) {
        encoder.write_all(&zeros).expect("memory");
    }
    encoder.flush().expect("memory");
    let mut message = encoder.get_ref().clone();
    assert!(message.ends_with(&[0, 0, 0xff, 0xff]));
    message.truncate(message.len() - 4);
    let mut frame = client_frame(0x1, &message);
    frame[0] |= 0x40;
    frame
}

#[test]
fn what_breaks_the_protocol_ends_the_line_with_the_right_code() {
    let victim = Victim::start("\n[limits]\nmessage_bytes_max = 65536\n");
    let unmasked =
        |opcode: u8, payload: &[u8]| [&[0x80 | opcode, payload.len() as u8], payload].concat();
    let in_fragments = |count: usize, bytes: usize| {
        let mut frames = frame(
            0x01,
            &[0xfe, (bytes >> 8) as u8, bytes as u8],
            &vec![b'x'; bytes],
        );
        for _ in 0..count {
            frames.extend(frame(
                0x00,
                &[0xfe, (bytes >> 8) as u8, bytes as u8],
                &vec![b'x'; bytes],
            ));
        }
        frames
    };
    let attacks = [
        // RFC 6455, sections 5.1 to 5.5.
        ("an unmasked message", "", unmasked(0x1, b"hi"), 1002),
        ("an unmasked ping", "", unmasked(0x9, b""), 1002),
        ("a reserved bit", "", frame(0x91, &[0x80], b""), 1002),
        (
            "compression that was not agreed",
            "",
            frame(0xc1, &[0x80], b""),
            1002,
        ),
        (
            "a reserved kind of message",
            "",
            frame(0x83, &[0x80], b""),
            1002,
        ),
        (
            "a reserved kind of control frame",
            "",
            frame(0x8b, &[0x80], b""),
            1002,
        ),
        ("a ping in fragments", "", frame(0x09, &[0x80], b""), 1002),
        (
            "a ping that is too long",
            "",
            frame(0x89, &[0xfe, 0, 126], &[0; 126]),
            1002,
        ),
        (
            "a continuation of nothing",
            "",
            frame(0x80, &[0x80], b""),
            1002,
        ),
        (
            "a message within a message",
            "",
            [frame(0x01, &[0x80], b""), frame(0x81, &[0x80], b"")].concat(),
            1002,
        ),
        (
            "a length in more bytes than it needs",
            "",
            frame(0x81, &[0xfe, 0, 1], b"x"),
            1002,
        ),
        (
            "a length with the highest bit",
            "",
            frame(0x81, &[0xff, 0x80, 0, 0, 0, 0, 0, 0, 1], b""),
            1002,
        ),
        ("a Close of one byte", "", client_frame(0x8, &[3]), 1002),
        (
            "a Close with a code that nobody may send",
            "",
            client_frame(0x8, &1005_u16.to_be_bytes()),
            1002,
        ),
        (
            "a Close whose reason is no text",
            "",
            client_frame(0x8, &[0x03, 0xe8, 0xff]),
            1007,
        ),
        // Section 8.1.
        (
            "a message that is no text",
            "",
            client_frame(0x1, &[0xff]),
            1007,
        ),
        (
            "an overlong form of a slash",
            "",
            client_frame(0x1, &[0xc0, 0xaf]),
            1007,
        ),
        (
            "a surrogate",
            "",
            client_frame(0x1, &[0xed, 0xa0, 0x80]),
            1007,
        ),
        // Sizes: the head is enough to refuse it, nothing is waited for or reserved.
        (
            "a message of petabytes",
            "",
            frame(0x81, &[0xff, 0, 4, 0, 0, 0, 0, 0, 0], b""),
            1009,
        ),
        (
            "a message over the limit by one",
            "",
            frame(0x81, &[0xff, 0, 0, 0, 0, 0, 1, 0, 1], b""),
            1009,
        ),
        ("the same in fragments", "", in_fragments(8, 16_000), 1009),
        // RFC 7692, section 7.2.
        ("a compression bomb", DEFLATE, bomb(64 * 1024 * 1024), 1009),
        (
            "compressed nonsense",
            DEFLATE,
            frame(0xc1, &[0x84], &[0xff; 4]),
            1007,
        ),
        (
            "a compressed ping",
            DEFLATE,
            frame(0xc9, &[0x80], b""),
            1002,
        ),
        // Messages of sessions.
        (
            "a message that is no JSON",
            SESSION,
            client_frame(0x1, b"{"),
            4400,
        ),
        (
            "a message that is no object",
            SESSION,
            client_frame(0x1, b"[1]"),
            4400,
        ),
        (
            "a message of bytes",
            SESSION,
            client_frame(0x2, b"{}"),
            4400,
        ),
        (
            "JSON that is all depth",
            SESSION,
            client_frame(0x1, "[".repeat(60_000).as_bytes()),
            4400,
        ),
        (
            "JSON that is deep where anything may be",
            SESSION,
            client_frame(
                0x1,
                format!("{{\"op\":\"publish\",\"data\":{}", "[".repeat(60_000)).as_bytes(),
            ),
            4400,
        ),
    ];
    for (name, fields, frames, code) in attacks {
        let mut peer = victim.connect();
        peer.open_websocket("target", "", fields);
        peer.send(&frames);
        assert_eq!(closed(&mut peer), code, "{name}");
        victim.serves_others(name);
    }
}

/// What a line is sent before its end is not looked at.
fn closed(peer: &mut Peer) -> u16 {
    loop {
        if let Frame::Close(code) = peer.frame() {
            return code;
        }
    }
}

/// Each costs the attacker some bytes; the server must not pay with more than a look at them.
#[test]
fn floods_of_what_is_allowed_disturb_nobody() {
    let victim = Victim::start("");
    let attacks = [
        ("pings", client_frame(0x9, b"")),
        ("pongs that nobody asked for", client_frame(0xa, b"x")),
        ("fragments of nothing", frame(0x00, &[0x80], b"")),
    ];
    for (name, one) in attacks {
        let mut peer = victim.connect();
        peer.open_websocket("target", "", "");
        if one[0] == 0 {
            peer.send(frame(0x01, &[0x80], b""));
        }
        // More than the kernel holds: the attacker reads nothing, and is not read from for longer than it takes.
        let many = one.repeat(10_000);
        for _ in 0..20 {
            if !peer.try_send(&many) {
                break;
            }
            victim.serves_others(name);
        }
    }
}

/// A window that grows with each message, if the server kept one for each line.
#[test]
fn compression_is_agreed_on_without_a_memory_for_each_line() {
    let victim = Victim::start("");
    let mut peer = victim.connect();
    let head = peer.open_websocket("target", "", DEFLATE).to_lowercase();
    assert!(head.contains("server_no_context_takeover"), "{head}");
    // A client may keep its own window; what refers to an earlier message is then still read.
    let mut deflate = Compress::new(Compression::default(), false);
    for _ in 0..2 {
        let mut message = Vec::with_capacity(1024);
        let said = b"\"the same words again and again\"";
        deflate
            .compress_vec(said, &mut message, FlushCompress::Sync)
            .expect("room");
        message.truncate(message.len() - 4);
        let mut frame = client_frame(0x1, &message);
        frame[0] |= 0x40;
        peer.send(frame);
    }
    victim.serves_others("compressed messages");
}
