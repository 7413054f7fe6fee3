//! A server that stops tells everybody, finishes what it has begun, and waits for nobody who has nothing to say.

mod common;

use std::time::{Duration, Instant};

use common::{Frame, Site};

/// Far less than `stop.drain_ms`, and more than a stop takes on a busy machine.
const PROMPT: Duration = Duration::from_secs(5);

/// Stops a server whose peers do what they should in another thread.
fn stop(site: Site, peers: impl FnOnce() + Send + 'static) {
    let began = Instant::now();
    let peers = std::thread::spawn(peers);
    site.server.stop().unwrap();
    let took = began.elapsed();
    peers.join().unwrap();
    assert!(took < PROMPT, "the stop took {took:?}");
}

#[test]
fn each_wire_is_told_in_its_own_words() {
    let site = Site::start();
    let mut raw = site.websocket("c", "");
    let mut session = site.connect();
    session.open_websocket("c", "", "Sec-WebSocket-Protocol: everwire.v1\r\n");
    assert!(session.text().contains("welcome"));
    let mut echo = site.connect();
    echo.send(common::websocket_request("/echo", ""));
    echo.head();
    let mut events = site.stream("c", "", "text/event-stream");
    assert!(events.event().starts_with("retry: "));
    let mut ndjson = site.stream("c", "", "application/x-ndjson");
    let mut poll = site.connect();
    poll.send("GET /channels/c?live=long-poll&offset=now HTTP/1.1\r\nHost: x\r\n\r\n");
    site.until("all are lines", |site| site.metric("everwire_lines") == 6);
    stop(site, move || {
        assert_eq!(raw.frame(), Frame::Close(1001));
        assert!(session.text().contains("\"ev\":\"drain\""));
        assert_eq!(session.frame(), Frame::Close(1001));
        assert_eq!(echo.frame(), Frame::Close(1001));
        assert!(events.event().starts_with("retry: "));
        assert!(ndjson.event().starts_with("{\"drain\":{\"after_ms\":"));
        for stream in [&mut events, &mut ndjson] {
            assert_eq!(stream.chunk(), b"", "the body ends as it should");
        }
        let answer = poll.response();
        assert_eq!(answer.status, 204);
        assert_eq!(answer.field("connection"), Some("close"));
        for peer in [raw, session, echo, events, ndjson, poll] {
            assert_eq!({ peer }.rest(), b"");
        }
    });
}

#[test]
fn connections_that_have_said_nothing_do_not_hold_it_up() {
    let site = Site::start();
    let silent = site.connect();
    let mut kept = site.connect();
    kept.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(kept.response().status, 200);
    let mut preface = site.connect();
    preface.send("PR");
    // The server has met all three once it answers a fourth.
    assert_eq!(
        site.ask("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .status,
        200
    );
    stop(site, move || {
        for peer in [silent, kept, preface] {
            assert_eq!({ peer }.rest(), b"");
        }
    });
}

/// What its peer has asked for and not taken yet is more than its socket holds.
#[test]
fn a_response_on_its_way_is_finished() {
    const ENTRY_BYTES: usize = 8_000_000;
    let site = Site::start();
    site.say("large", &"x".repeat(ENTRY_BYTES));
    let mut reader = site.connect_narrow();
    reader.send("GET /channels/large HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = reader.head();
    assert!(head.contains("content-length: 8000000\r\n"), "{head}");
    // The threads tell the connections in the order in which these came.
    let silent = site.connect();
    site.ask("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stop(site, move || {
        assert_eq!({ silent }.rest(), b"");
        assert_eq!({ reader }.rest().len(), ENTRY_BYTES);
    });
}
