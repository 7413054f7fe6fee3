//! What arrives: frames to events, whatever the pieces in which they come.

use everwire_websocket::{Event, Failure, Inbound, MessageKind, Role, Rules, Scratch};

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
