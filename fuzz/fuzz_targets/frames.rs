//! Frames of a peer that follows no rule: whatever it sends, in whatever pieces, the events and the end
//! are the same, no limit is passed, and what was received can be sent on.
#![no_main]

use bytes::BytesMut;
use everwire_websocket::{
    ContextTakeover, Deflate, Event, Failure, Inbound, MessageKind, Role, Rules, Scratch,
    encode_message,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [settings, piece_bytes, bytes @ ..] = input else {
        return;
    };
    let takeover = match settings & 4 {
        0 => ContextTakeover::No,
        _ => ContextTakeover::Yes,
    };
    let deflate = Deflate {
        server_context_takeover: takeover,
        client_context_takeover: takeover,
        ..Deflate::default()
    };
    let rules = Rules {
        role: if settings & 1 == 0 {
            Role::Client
        } else {
            Role::Server
        },
        message_bytes_max: if settings & 8 == 0 { 100 } else { 100_000 },
        deflate: (settings & 2 != 0).then_some(deflate),
    };
    let whole = receive(&rules, bytes, bytes.len());
    let pieces = receive(&rules, bytes, usize::from(*piece_bytes));
    assert_eq!(whole, pieces);
});

/// What happened, as text, with the bytes coming in pieces of one size.
fn receive(rules: &Rules, bytes: &[u8], piece_bytes: usize) -> Vec<String> {
    let (mut inbound, mut scratch, mut seen) = (Inbound::new(), Scratch::default(), Vec::new());
    for piece in bytes.chunks(piece_bytes.max(1)) {
        let mut on_event = |event: Event<'_>| {
            if let Event::Message(kind, payload) = event {
                assert!(payload.len() <= rules.message_bytes_max);
                pass_on(kind, payload);
            }
            seen.push(format!("{event:?}"));
        };
        let outcome = inbound.handle_bytes(rules, &mut scratch, &mut piece.to_vec(), &mut on_event);
        if let Err(failure) = outcome {
            assert!(failure.reason().len() <= 123);
            seen.push(told(rules, &failure));
        }
        if inbound.is_idle() {
            inbound = Inbound::new();
        }
    }
    seen
}

/// A failure, as it has to be the same however the bytes are cut. A compressed message may be wrong in several
/// ways at once, and how far the decompressor gets before it sees the first depends on how much it is given.
fn told(rules: &Rules, failure: &Failure) -> String {
    match failure {
        Failure::DeflateInvalid | Failure::MessageTooBig { .. } | Failure::TextNotUtf8
            if rules.deflate.is_some() =>
        {
            "the content of a message".to_owned()
        }
        _ => failure.to_string(),
    }
}

fn pass_on(kind: MessageKind, payload: &[u8]) {
    let rules = Rules {
        role: Role::Client,
        message_bytes_max: payload.len(),
        deflate: None,
    };
    let mut frame = BytesMut::new();
    encode_message(kind, payload, &mut frame);
    let mut arrived = false;
    Inbound::new()
        .handle_bytes(&rules, &mut Scratch::default(), &mut frame, &mut |event| {
            assert_eq!(event, Event::Message(kind, payload));
            arrived = true;
        })
        .expect("what was received can be sent");
    assert!(arrived);
}
