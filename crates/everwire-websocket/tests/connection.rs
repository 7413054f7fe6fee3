//! A whole connection: the closing handshake, its deadlines, and what bounds its memory.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use everwire_websocket::{
    CloseCode, Connection, ConnectionEvent, ConnectionOptions, ContextTakeover, Deflate, Ending,
    Failure, MessageKind, NotOpen, WindowBits, encode_message,
};
use proptest::collection::vec;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn server(options: ConnectionOptions) -> Connection {
    Connection::server(options, Instant::now())
}

fn client(options: ConnectionOptions) -> Connection {
    let mut key = [1u8, 2, 3, 4];
    let next_key = move || {
        key = key.map(|byte| byte.wrapping_mul(5).wrapping_add(1));
        key
    };
    Connection::client(options, Box::new(next_key), Instant::now())
}

/// Moves all that one side has for the transport to the other, at most `write_bytes` at a time, and
/// gives what happened there.
fn transfer(
    from: &mut Connection,
    to: &mut Connection,
    write_bytes: usize,
    now: Instant,
) -> Vec<ConnectionEvent> {
    let mut events = Vec::new();
    while from.wants_write() {
        let len = from.outgoing().len().min(write_bytes);
        to.handle_bytes(&mut BytesMut::from(&from.outgoing()[..len]), now);
        from.advance_outgoing(len);
        events.extend(std::iter::from_fn(|| to.poll_event()));
    }
    events
}

fn text(text: &'static str) -> ConnectionEvent {
    ConnectionEvent::Message(MessageKind::Text, Bytes::from_static(text.as_bytes()))
}

fn closed(code: CloseCode, reason: &str) -> ConnectionEvent {
    ConnectionEvent::Ended(Ending::Closed(Some((code, reason.to_owned()))))
}

#[test]
fn both_sides_talk_and_close_whatever_the_writes() {
    for write_bytes in 1..40 {
        let now = Instant::now();
        let (mut server, mut client) = (server(Default::default()), client(Default::default()));
        client.send(MessageKind::Text, b"hello").unwrap();
        client.ping(b"there?").unwrap();
        let events = transfer(&mut client, &mut server, write_bytes, now);
        let ping = ConnectionEvent::Ping("there?".into());
        assert_eq!(events, [text("hello"), ping]);
        let events = transfer(&mut server, &mut client, write_bytes, now);
        assert_eq!(events, [ConnectionEvent::Pong("there?".into())]);

        server.close(Some((CloseCode::GOING_AWAY, "restart")), now);
        assert_eq!(server.send(MessageKind::Text, b"late"), Err(NotOpen));
        let events = transfer(&mut server, &mut client, write_bytes, now);
        assert_eq!(events, [closed(CloseCode::GOING_AWAY, "restart")]);
        let events = transfer(&mut client, &mut server, write_bytes, now);
        assert_eq!(events, [closed(CloseCode::GOING_AWAY, "")]);
        assert!(server.is_closed(), "the server ends the transport first");
        assert!(!client.is_closed());
        client.handle_eof();
        assert!(client.is_closed());
        assert_eq!(client.poll_event(), None, "the end was told before");
    }
}

#[test]
fn both_may_start_the_closing_handshake_at_once() {
    let now = Instant::now();
    let (mut server, mut client) = (server(Default::default()), client(Default::default()));
    server.close(Some((CloseCode::NORMAL, "")), now);
    client.close(None, now);
    let events = transfer(&mut client, &mut server, 99, now);
    assert_eq!(events, [ConnectionEvent::Ended(Ending::Closed(None))]);
    let events = transfer(&mut server, &mut client, 99, now);
    assert_eq!(events, [closed(CloseCode::NORMAL, "")]);
    assert!(server.is_closed());
    assert!(!client.wants_write(), "our Close was the answer");
}

#[test]
fn a_message_that_crosses_our_close_is_still_received() {
    let now = Instant::now();
    let (mut server, mut client) = (server(Default::default()), client(Default::default()));
    client.send(MessageKind::Text, b"hello").unwrap();
    client.ping(b"?").unwrap();
    server.close(None, now);
    server.advance_outgoing(server.outgoing().len());
    let events = transfer(&mut client, &mut server, 99, now);
    assert_eq!(events, [text("hello"), ConnectionEvent::Ping("?".into())]);
    assert!(!server.wants_write(), "no Pong follows our Close");
}

#[test]
fn every_wait_of_the_closing_handshake_ends() {
    let now = Instant::now();
    let options = ConnectionOptions {
        close_timeout: 5 * SECOND,
        ..Default::default()
    };
    let close = || BytesMut::from(&b"\x88\x80\0\0\0\0"[..]);

    let mut unanswered = server(options);
    assert_eq!(unanswered.wake_at(), None);
    unanswered.close(None, now);
    assert_eq!(unanswered.wake_at(), Some(now + 5 * SECOND));
    unanswered.handle_timeout(now + 4 * SECOND);
    assert!(!unanswered.is_closed());
    unanswered.handle_timeout(now + 5 * SECOND);
    assert!(unanswered.is_closed());
    assert_eq!(
        unanswered.poll_event(),
        Some(ConnectionEvent::Ended(Ending::TimedOut))
    );

    let mut unread = server(options);
    unread.handle_bytes(&mut close(), now);
    assert_eq!(
        unread.poll_event(),
        Some(ConnectionEvent::Ended(Ending::Closed(None)))
    );
    assert!(!unread.is_closed(), "our Close is not written yet");
    assert_eq!(unread.wake_at(), Some(now + 5 * SECOND));
    unread.handle_timeout(now + 5 * SECOND);
    assert!(unread.is_closed());

    let mut open_transport = client(options);
    open_transport.handle_bytes(&mut BytesMut::from(&b"\x88\x00"[..]), now);
    assert_eq!(
        open_transport.poll_event(),
        Some(ConnectionEvent::Ended(Ending::Closed(None)))
    );
    open_transport.advance_outgoing(open_transport.outgoing().len());
    assert!(
        !open_transport.is_closed(),
        "the server is to end the transport"
    );
    open_transport.handle_timeout(now + 5 * SECOND);
    assert!(open_transport.is_closed());
}

#[test]
fn an_end_without_close_is_told_after_what_came_before() {
    let now = Instant::now();
    let (mut server, mut client) = (server(Default::default()), client(Default::default()));
    server.send(MessageKind::Text, b"last").unwrap();
    client.handle_bytes(&mut BytesMut::from(server.outgoing()), now);
    client.handle_eof();
    assert_eq!(client.poll_event(), Some(text("last")));
    assert_eq!(
        client.poll_event(),
        Some(ConnectionEvent::Ended(Ending::Lost))
    );
    assert_eq!(client.poll_event(), None);
    assert!(client.is_closed());
}

#[test]
fn a_reply_precedes_the_answer_to_a_close_or_a_fault_behind_it() {
    for behind in [&b"\x88\x80\0\0\0\0"[..], b"\x81\x00"] {
        let mut server = server(ConnectionOptions::default());
        let mut bytes = BytesMut::from(&b"\x81\x82\0\0\0\0hi"[..]);
        bytes.extend_from_slice(behind);
        server.handle_bytes(&mut bytes, Instant::now());
        server.handle_eof();
        assert_eq!(server.poll_event(), Some(text("hi")));
        server.send(MessageKind::Text, b"reply").unwrap();
        assert!(matches!(
            server.poll_event(),
            Some(ConnectionEvent::Ended(_))
        ));
        assert_eq!(server.poll_event(), None);
        assert_eq!(server.outgoing()[..8], *b"\x81\x05reply\x88");
        assert!(!server.is_closed(), "the peer may still read");
    }
}

#[test]
fn a_failure_is_told_to_both_and_ends_the_transport() {
    let now = Instant::now();
    let (mut server, mut client) = (server(Default::default()), client(Default::default()));
    server.handle_bytes(&mut BytesMut::from(&b"\x81\x00\x81\x00"[..]), now);
    let failed = ConnectionEvent::Ended(Ending::Failed(Failure::NotMasked));
    assert_eq!(server.poll_event(), Some(failed));
    assert_eq!(server.poll_event(), None);
    let events = transfer(&mut server, &mut client, 99, now);
    let reason = Failure::NotMasked.reason();
    assert_eq!(events, [closed(CloseCode::PROTOCOL_ERROR, &reason)]);
    assert!(server.is_closed());
}

/// Section 5.5.3: only the most recent Ping need be answered.
#[test]
fn pings_behind_a_full_transport_cost_one_pong() {
    let now = Instant::now();
    let options = ConnectionOptions {
        outgoing_bytes_max: 10,
        ..Default::default()
    };
    let mut server = server(options);
    for number in 0..1000u16 {
        let [high, low] = number.to_be_bytes();
        let mut ping = BytesMut::from(&[0x89, 0x82, 0, 0, 0, 0, high, low][..]);
        server.handle_bytes(&mut ping, now);
        while server.poll_event().is_some() {}
    }
    assert!(!server.can_send());
    assert_eq!(
        server.outgoing(),
        b"\x8a\x02\x00\x00\x8a\x02\x00\x01\x8a\x02\x00\x02"
    );
    server.advance_outgoing(12);
    assert_eq!(
        server.outgoing(),
        b"\x8a\x02\x03\xe7",
        "the last one is answered"
    );
    server.advance_outgoing(4);
    assert!(server.can_send() && !server.wants_write());
}

#[test]
fn frames_encoded_once_go_to_many() {
    let now = Instant::now();
    let mut frames = BytesMut::new();
    encode_message(MessageKind::Text, b"one", &mut frames);
    encode_message(MessageKind::Text, b"two", &mut frames);
    for _ in 0..3 {
        let (mut server, mut client) = (server(Default::default()), client(Default::default()));
        server.send_encoded(&frames).unwrap();
        let events = transfer(&mut server, &mut client, 99, now);
        assert_eq!(events, [text("one"), text("two")]);
    }
}

/// RFC 7692, section 7.1.2.2: a client that is asked for a window of 8, which zlib does not have.
#[test]
fn a_client_without_a_fitting_window_sends_plain() {
    let deflate = Deflate {
        client_max_window_bits: WindowBits::new(8).unwrap(),
        ..Deflate::default()
    };
    let options = ConnectionOptions {
        deflate: Some(deflate),
        ..Default::default()
    };
    let mut client = client(options);
    client.send(MessageKind::Binary, &[b'a'; 500]).unwrap();
    assert_eq!(client.outgoing()[0], 0x82);
}

proptest! {
    #[test]
    fn messages_arrive_in_order_over_every_agreement(
        messages in vec((any::<bool>(), "[a-d]{0,600}"), 0..12),
        takeovers in any::<[bool; 2]>(),
        windows in [9u8..=15, 9u8..=15],
        write_bytes in 1usize..2000,
    ) {
        let takeover = |kept| if kept { ContextTakeover::Yes } else { ContextTakeover::No };
        let deflate = Deflate {
            server_context_takeover: takeover(takeovers[0]),
            client_context_takeover: takeover(takeovers[1]),
            server_max_window_bits: WindowBits::new(windows[0]).unwrap(),
            client_max_window_bits: WindowBits::new(windows[1]).unwrap(),
        };
        let options = ConnectionOptions { deflate: Some(deflate), ..Default::default() };
        let now = Instant::now();
        let (mut server, mut client) = (server(options), client(options));
        for from_server in [true, false] {
            let (from, to) = match from_server {
                true => (&mut server, &mut client),
                false => (&mut client, &mut server),
            };
            let sent = messages.iter().filter(|(by_server, _)| *by_server == from_server);
            let sent: Vec<_> = sent.map(|(_, text)| text.clone().into_bytes()).collect();
            for payload in &sent {
                from.send(MessageKind::Text, payload).unwrap();
            }
            let received: Vec<_> = transfer(from, to, write_bytes, now);
            let expected: Vec<_> = sent
                .into_iter()
                .map(|payload| ConnectionEvent::Message(MessageKind::Text, payload.into()))
                .collect();
            prop_assert_eq!(received, expected);
        }
    }
}
