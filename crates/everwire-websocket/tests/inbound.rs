//! What arrives: frames to events, whatever the pieces in which they come.

use std::mem::size_of;

use bytes::BytesMut;
use everwire_websocket::{
    ContextTakeover, Deflate, Deflater, Event, Failure, Inbound, Level, Masker, MessageKind, Role,
    Rules, Scratch, WindowBits,
};

/// An event that outlives its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Failed(Failure),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message(MessageKind::Text, text) => {
                Self::Text(String::from_utf8(text.to_vec()).expect("text events are UTF-8"))
            }
            Event::Message(MessageKind::Binary, bytes) => Self::Binary(bytes.to_vec()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close(close) => {
                Self::Close(close.map(|(code, reason)| (code.as_u16(), reason.to_owned())))
            }
        }
    }
}

/// A client reads unmasked frames, which keeps the tables short.
const CLIENT: Rules = Rules {
    role: Role::Client,
    message_bytes_max: 64,
    deflate: None,
};

/// Feeds the pieces to one connection.
fn receive<'b>(rules: &Rules, pieces: impl IntoIterator<Item = &'b [u8]>) -> (Vec<Seen>, Inbound) {
    let (mut inbound, mut scratch, mut seen) = (Inbound::new(), Scratch::default(), Vec::new());
    for piece in pieces {
        let mut on_event = |event: Event<'_>| seen.push(Seen::from(event));
        let outcome = inbound.handle_bytes(rules, &mut scratch, &mut piece.to_vec(), &mut on_event);
        if let Err(failure) = outcome {
            seen.push(Seen::Failed(failure));
        }
    }
    (seen, inbound)
}

/// Receives the bytes at once, in two pieces cut everywhere, and byte by byte: all the same.
fn check(rules: &Rules, bytes: &[u8], expected: &[Seen]) {
    let (whole, _) = receive(rules, [bytes]);
    assert_eq!(whole, expected, "{bytes:02x?} at once");
    for cut in 0..=bytes.len() {
        let (seen, _) = receive(rules, [&bytes[..cut], &bytes[cut..]]);
        assert_eq!(seen, expected, "{bytes:02x?} cut at {cut}");
    }
    let (seen, _) = receive(rules, bytes.chunks(1));
    assert_eq!(seen, expected, "{bytes:02x?} byte by byte");
}

fn text(text: &str) -> Seen {
    Seen::Text(text.into())
}

/// RFC 6455, section 5.7.
#[test]
fn the_examples_of_section_5_7_are_read() {
    let server = Rules {
        role: Role::Server,
        ..CLIENT
    };
    check(&CLIENT, b"\x81\x05Hello", &[text("Hello")]);
    check(
        &server,
        b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
        &[text("Hello")],
    );
    check(&CLIENT, b"\x01\x03Hel\x80\x02lo", &[text("Hello")]);
    check(&CLIENT, b"\x89\x05Hello", &[Seen::Ping(b"Hello".to_vec())]);
    check(
        &server,
        b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
        &[Seen::Pong(b"Hello".to_vec())],
    );
    let large = Rules {
        message_bytes_max: 1 << 20,
        ..CLIENT
    };
    for (head, len) in [
        (&b"\x82\x7e\x01\x00"[..], 256),
        (b"\x82\x7f\0\0\0\0\0\x01\0\0", 65_536),
    ] {
        let payload = vec![7; len];
        let (seen, _) = receive(&large, [&[head, &payload].concat()[..]]);
        assert_eq!(seen, [Seen::Binary(payload)], "{len} bytes");
    }
}

/// Sections 5.4 and 5.5: control frames pass between the fragments of a message, at once.
#[test]
fn control_frames_pass_between_fragments() {
    check(
        &CLIENT,
        b"\x01\x01a\x89\x01!\x00\x00\x8a\x00\x00\x01b\x89\x00\x80\x01c\x82\x01d",
        &[
            Seen::Ping(b"!".to_vec()),
            Seen::Pong(vec![]),
            Seen::Ping(vec![]),
            text("abc"),
            Seen::Binary(b"d".to_vec()),
        ],
    );
}

#[test]
fn a_ping_is_told_before_the_message_around_it_ends() {
    let (seen, _) = receive(&CLIENT, [&b"\x01\x05Hello\x89\x01!"[..]]);
    assert_eq!(seen, [Seen::Ping(b"!".to_vec())]);
}

#[test]
fn empty_messages_and_empty_fragments_are_messages() {
    check(&CLIENT, b"\x81\x00", &[text("")]);
    check(
        &CLIENT,
        b"\x82\x00\x82\x00",
        &[Seen::Binary(vec![]), Seen::Binary(vec![])],
    );
    check(&CLIENT, b"\x01\x00\x00\x00\x80\x00", &[text("")]);
    check(&CLIENT, b"\x01\x00\x00\x02hi\x80\x00", &[text("hi")]);
}

/// Each row breaks one rule; the message before it is delivered, the one after it is not.
#[test]
fn a_broken_rule_fails_the_connection() {
    let rows: [(&[u8], Failure, u16); 26] = [
        (b"\xc1\x00", Failure::ReservedBit, 1002),
        (b"\xa1\x00", Failure::ReservedBit, 1002),
        (b"\x91\x00", Failure::ReservedBit, 1002),
        (b"\x01\x00\xc0\x00", Failure::CompressedBitMisplaced, 1002),
        (b"\xc9\x00", Failure::CompressedBitMisplaced, 1002),
        (b"\x83\x00", Failure::ReservedOpcode(3), 1002),
        (b"\x87\x00", Failure::ReservedOpcode(7), 1002),
        (b"\x8b\x00", Failure::ReservedOpcode(11), 1002),
        (b"\x8f\x00", Failure::ReservedOpcode(15), 1002),
        (b"\x81\x80\0\0\0\0", Failure::Masked, 1002),
        (b"\x08\x00", Failure::ControlFragmented, 1002),
        (b"\x09\x00", Failure::ControlFragmented, 1002),
        (b"\x89\x7e\x00\x7e", Failure::ControlTooLong, 1002),
        (b"\x88\x7f\0\0\0\0\0\x01\0\0", Failure::ControlTooLong, 1002),
        (b"\x82\x7e\x00\x7d", Failure::LengthNotMinimal, 1002),
        (
            b"\x82\x7f\0\0\0\0\0\0\xff\xff",
            Failure::LengthNotMinimal,
            1002,
        ),
        (b"\x82\x7f\x80\0\0\0\0\0\0\0", Failure::LengthOverflow, 1002),
        (b"\x80\x00", Failure::UnexpectedContinuation, 1002),
        (b"\x00\x00", Failure::UnexpectedContinuation, 1002),
        (b"\x01\x00\x81\x00", Failure::MessageInterleaved, 1002),
        (b"\x88\x01\x03", Failure::ClosePayloadOfOneByte, 1002),
        (b"\x88\x02\x03\xed", Failure::CloseCodeForbidden(1005), 1002),
        (b"\x88\x03\x03\xe8\xff", Failure::CloseReasonNotUtf8, 1007),
        (b"\x81\x01\xff", Failure::TextNotUtf8, 1007),
        (b"\x82\x41", Failure::MessageTooBig { bytes_max: 64 }, 1009),
        (
            b"\x02\x01a\x80\x40",
            Failure::MessageTooBig { bytes_max: 64 },
            1009,
        ),
    ];
    for (bytes, failure, code) in rows {
        let mut bytes = [b"\x81\x02ok", bytes].concat();
        bytes.extend_from_slice(b"\x81\x05later");
        if let Failure::TextNotUtf8 | Failure::MessageTooBig { .. } = failure {
            // What comes after does not matter once the rule is broken.
            bytes.extend_from_slice(&[0; 80]);
        }
        check(&CLIENT, &bytes, &[text("ok"), Seen::Failed(failure)]);
        assert_eq!(failure.close_code().as_u16(), code, "{failure:?}");
    }
}

#[test]
fn a_server_insists_on_masked_frames() {
    let server = Rules {
        role: Role::Server,
        ..CLIENT
    };
    check(
        &server,
        b"\x81\x05Hello",
        &[Seen::Failed(Failure::NotMasked)],
    );
}

/// Section 5.5.1: what follows a Close frame is ignored.
#[test]
fn nothing_is_read_after_close() {
    type Close = Option<(u16, String)>;
    let rows: [(&[u8], Close); 3] = [
        (b"\x88\x00", None),
        (b"\x88\x02\x03\xe8", Some((1000, String::new()))),
        (b"\x88\x05\x0f\xa0bye", Some((4000, "bye".into()))),
    ];
    for (bytes, close) in rows {
        let bytes = [bytes, b"\x81\x05later", b"\xff\xff"].concat();
        check(&CLIENT, &bytes, &[Seen::Close(close)]);
    }
}

#[test]
fn a_close_frame_inside_a_message_ends_it() {
    let (seen, inbound) = receive(&CLIENT, [&b"\x01\x02ab\x88\x00\x80\x01c"[..]]);
    assert_eq!(seen, [Seen::Close(None)]);
    assert!(inbound.is_finished() && !inbound.is_idle());
}

/// Section 8.1 does not ask for it, but nobody has to send the rest of a text that is broken already.
#[test]
fn broken_utf8_is_told_at_the_byte_that_breaks_it() {
    let rows: [(&[u8], usize, &str); 6] = [
        (b"\x81\x0aab\xffcdefghi", 5, "in the middle of a frame"),
        (b"\x01\x03ab\xf4\x00\x02\x90\x80", 8, "in the next fragment"),
        (
            b"\x01\x03ab\xf4\x89\x00\x00\x02\x90\x80",
            10,
            "behind a ping",
        ),
        (
            b"\x81\x09\xed\xa0\x80zzzzzz",
            4,
            "at the second byte of a surrogate",
        ),
        (b"\x81\x03abc\x81\x02\xc3\x28", 9, "in the second message"),
        (
            b"\x01\x02a\xc3\x80\x00",
            6,
            "at the end of the message: a character is unfinished",
        ),
    ];
    for (bytes, len, what) in rows {
        let failed = |len: usize| {
            let (seen, _) = receive(&CLIENT, bytes[..len].chunks(1));
            seen.last() == Some(&Seen::Failed(Failure::TextNotUtf8))
        };
        assert!(!failed(len - 1) && failed(len), "{what}: {bytes:02x?}");
    }
}

/// A head may announce what it likes; only what arrives takes memory.
#[test]
fn an_announced_length_reserves_nothing() {
    let rules = Rules {
        message_bytes_max: usize::MAX,
        ..CLIENT
    };
    let (seen, _) = receive(
        &rules,
        [&b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff\x01\x02"[..]],
    );
    assert_eq!(seen, []);
}

#[test]
fn a_whole_message_is_a_slice_of_the_bytes_given() {
    let rules = Rules {
        role: Role::Server,
        ..CLIENT
    };
    let mut bytes = BytesMut::new();
    for payload in [&b"one"[..], b"", b"three"] {
        Masker([9, 8, 7, 6]).encode_message(MessageKind::Text, payload, &mut bytes);
    }
    Masker([1, 2, 3, 4]).encode_ping(b"ping", &mut bytes);
    let given = bytes.as_ptr_range();
    let mut count = 0;
    let mut on_event = |event: Event<'_>| {
        let (Event::Message(_, payload) | Event::Ping(payload)) = event else {
            panic!("unexpected {event:?}");
        };
        let lies = payload.as_ptr_range();
        assert!(given.start <= lies.start && lies.end <= given.end);
        count += 1;
    };
    let mut inbound = Inbound::new();
    inbound
        .handle_bytes(&rules, &mut Scratch::default(), &mut bytes, &mut on_event)
        .unwrap();
    assert_eq!(count, 4);
    assert!(inbound.is_idle());
}

/// RFC 7692, section 7.2.3, as frames.
#[test]
fn compressed_messages_are_inflated() {
    let rules = Rules {
        deflate: Some(Deflate::default()),
        ..CLIENT
    };
    let hello = [text("Hello")];
    check(&rules, b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", &hello);
    check(
        &rules,
        b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00",
        &hello,
    );
    check(
        &rules,
        b"\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        &hello,
    );
    check(&rules, b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00", &hello);
    check(
        &rules,
        b"\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        &hello,
    );
    check(&rules, b"\xc1\x01\x00", &[text("")]);
    check(&rules, b"\xc1\x00", &[text("")]);
    check(
        &rules,
        b"\x41\x00\x00\x07\xf2\x48\xcd\xc9\xc9\x07\x00\x80\x00",
        &hello,
    );
    check(&rules, b"\x81\x05Hello", &hello);
}

/// Section 7.2.3.2: the second "Hello" is a reference to the first; what lies between, even plain or
/// empty, does not harm the context.
#[test]
fn a_kept_context_outlives_other_messages() {
    let rules = Rules {
        deflate: Some(Deflate::default()),
        ..CLIENT
    };
    let first = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00";
    let second = b"\xc1\x05\xf2\x00\x11\x00\x00";
    for between in [
        &b""[..],
        b"\x89\x00",
        b"\x81\x00",
        b"\x01\x00\x80\x00",
        b"\xc1\x00",
        b"\xc1\x01\x00",
    ] {
        let bytes = [&first[..], between, &second[..]].concat();
        let (seen, inbound) = receive(&rules, bytes.chunks(1));
        assert_eq!(seen.last(), Some(&text("Hello")), "after {between:02x?}");
        assert!(!inbound.is_idle(), "the context is to be remembered");
    }
    let stateless = Deflate {
        server_context_takeover: ContextTakeover::No,
        ..Deflate::default()
    };
    let rules = Rules {
        deflate: Some(stateless),
        ..CLIENT
    };
    check(
        &rules,
        &[&first[..], second].concat(),
        &[text("Hello"), Seen::Failed(Failure::DeflateInvalid)],
    );
}

#[test]
fn broken_compression_fails_the_connection() {
    let deflate = Deflate {
        server_context_takeover: ContextTakeover::No,
        ..Deflate::default()
    };
    let rules = Rules {
        deflate: Some(deflate),
        ..CLIENT
    };
    let rows: [(&[u8], Failure); 5] = [
        (b"\xc1\x01\x07", Failure::DeflateInvalid),
        (b"\xc1\x03\xf2\x48\xcd", Failure::DeflateInvalid),
        (b"\xc1\x06\x00\x01\x00\xfe\xff\xff", Failure::TextNotUtf8),
        (b"\x41\x00\xc0\x01\x00", Failure::CompressedBitMisplaced),
        (b"\xe1\x01\x00", Failure::ReservedBit),
    ];
    for (bytes, failure) in rows {
        check(&rules, bytes, &[Seen::Failed(failure)]);
    }
}

/// Both are wrong here: which one is told must not depend on how the bytes arrive.
#[test]
fn text_is_judged_before_the_compression_that_follows_it() {
    let rules = Rules {
        deflate: Some(Deflate::default()),
        ..CLIENT
    };
    let bytes = b"\xc1\x41\xf2\x81\x81\x89\x80\x80\x81\x81\x81\x81";
    check(&rules, bytes, &[Seen::Failed(Failure::TextNotUtf8)]);
}

#[test]
fn inflated_text_is_judged_before_its_frame_ends() {
    let rules = Rules {
        deflate: Some(Deflate::default()),
        ..CLIENT
    };
    let (seen, _) = receive(&rules, [&b"\xc1\x20\x00\x03\x00\xfc\xff\xed\xa0\x80"[..]]);
    assert_eq!(seen, [Seen::Failed(Failure::TextNotUtf8)]);
}

/// A megabyte of zeros is a kilobyte on the wire.
#[test]
fn a_bomb_fails_at_the_limit() {
    let mut deflater = Deflater::new(WindowBits::MAX, Level::new(9).unwrap(), ContextTakeover::No);
    let mut payload = BytesMut::new();
    deflater.compress(&vec![0; 1 << 20], &mut payload);
    assert!(payload.len() < 8192);
    let head = [0xc2, 0x7e, (payload.len() >> 8) as u8, payload.len() as u8];
    let frame = [&head[..], &payload].concat();
    for (bytes_max, passes) in [
        (0, false),
        (1000, false),
        ((1 << 20) - 1, false),
        (1 << 20, true),
    ] {
        let rules = Rules {
            message_bytes_max: bytes_max,
            deflate: Some(Deflate::default()),
            ..CLIENT
        };
        let expected = match passes {
            true => Seen::Binary(vec![0; 1 << 20]),
            false => Seen::Failed(Failure::MessageTooBig { bytes_max }),
        };
        let (seen, _) = receive(&rules, [&frame[..]]);
        assert!(seen == [expected], "limit of {bytes_max}");
        let (seen, _) = receive(&rules, frame.chunks(100));
        assert_eq!(
            matches!(seen[..], [Seen::Binary(_)]),
            passes,
            "limit of {bytes_max}, in pieces"
        );
    }
}

#[test]
fn the_limit_counts_all_fragments_and_admits_a_message_of_its_size() {
    let full = [&b"\x02\x20"[..], &[1; 32], b"\x80\x20", &[1; 32]].concat();
    check(&CLIENT, &full, &[Seen::Binary(vec![1; 64])]);
    let over = [&b"\x02\x20"[..], &[1; 32], b"\x80\x21", &[1; 33]].concat();
    check(
        &CLIENT,
        &over,
        &[Seen::Failed(Failure::MessageTooBig { bytes_max: 64 })],
    );
}

#[test]
fn only_a_message_boundary_is_idle() {
    let rows: [(&[u8], bool); 9] = [
        (b"", true),
        (b"\x81\x02ok", true),
        (b"\x01\x01a\x80\x01b", true),
        (b"\x81", false),
        (b"\x81\x02o", false),
        (b"\x01\x01a", false),
        (b"\x01\x00", false),
        (b"\x89\x01", false),
        (b"\xff", false),
    ];
    for (bytes, idle) in rows {
        let (_, inbound) = receive(&CLIENT, [bytes]);
        assert_eq!(inbound.is_idle(), idle, "after {bytes:02x?}");
    }
    let deflate = Deflate {
        server_context_takeover: ContextTakeover::No,
        ..Deflate::default()
    };
    let rules = Rules {
        deflate: Some(deflate),
        ..CLIENT
    };
    let (_, inbound) = receive(&rules, [&b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"[..]]);
    assert!(
        inbound.is_idle(),
        "without context takeover nothing is kept"
    );
}

/// It moves in and out of a shell's map.
#[test]
fn the_receiving_half_is_small() {
    assert!(
        size_of::<Inbound>() <= 128,
        "{} bytes",
        size_of::<Inbound>()
    );
}
