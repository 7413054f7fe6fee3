//! A connection leaves HTTP with everything that was read from it, and after everything that was written to it.

mod common;

use common::{Frame, Site, client_frame, websocket_request};
use everwire_server::config::Action;

fn append(name: &str, body: &str) -> String {
    format!(
        "POST /channels/{name} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn requests_in_one_packet_are_answered_in_order_and_the_last_becomes_a_stream() {
    let site = Site::start();
    let mut peer = site.connect();
    let stream =
        "GET /channels/c?offset=-1 HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n";
    peer.send(format!(
        "{}{}{stream}",
        append("c", "one"),
        append("c", "two")
    ));
    assert_eq!(peer.response().status, 204);
    assert_eq!(peer.response().status, 204);
    let head = peer.head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for text in ["one", "two"] {
        assert!(peer.event().ends_with(&format!("\"data\":\"{text}\"}}\n")));
    }
}

/// The request, and two frames sent before the handshake was answered, divided anywhere.
#[test]
fn a_handshake_and_early_frames_may_be_split_at_every_byte() {
    let site = Site::start();
    let all = [
        websocket_request("/echo", "").as_bytes(),
        &client_frame(0x1, b"hello"),
        &client_frame(0x9, b"there?"),
    ]
    .concat();
    for at in 0..=all.len() {
        let mut peer = site.connect();
        peer.send(&all[..at]);
        peer.send(&all[at..]);
        let head = peer.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "split at {at}: {head}");
        assert_eq!(peer.text(), "hello", "split at {at}");
        assert_eq!(
            peer.frame(),
            Frame::Pong(b"there?".to_vec()),
            "split at {at}"
        );
    }
}

/// Its earlier responses do not fit into the socket, so the line begins when they are out.
#[test]
fn a_stream_begins_after_the_responses_before_it() {
    let site = Site::start();
    let page = "p".repeat(900_000);
    site.say("pages", &page);
    site.say("c", "hello");
    let mut peer = site.connect_narrow();
    let get = "GET /channels/pages HTTP/1.1\r\nHost: x\r\n\r\n";
    peer.send(get.repeat(8));
    peer.send(websocket_request("/channels/c?offset=-1", ""));
    peer.send(client_frame(0x1, b"from here"));
    site.say("c", "there");
    for _ in 0..8 {
        assert_eq!(peer.response().text(), page);
    }
    assert!(peer.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(
        [peer.text(), peer.text(), peer.text()],
        ["hello", "there", "from here"]
    );
}

#[test]
fn http_1_0_gets_a_bare_body_that_ends_with_the_connection() {
    let site = Site::start();
    site.publish("c", "application/json", "[1,2]");
    let closed = site.ask(
        "POST /channels/c HTTP/1.1\r\nHost: x\r\nStream-Closed: true\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(closed.status, 204);
    let mut peer = site.connect();
    peer.send("GET /channels/c?offset=-1 HTTP/1.0\r\nAccept: application/x-ndjson\r\n\r\n");
    let head = peer.head();
    assert!(head.contains("connection: close"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    let body = String::from_utf8(peer.rest()).unwrap();
    let lines: Vec<&str> = body.lines().collect();
    assert_eq!(lines.len(), 3, "{body}");
    assert!(lines[0].ends_with("\"data\":1}") && lines[1].ends_with("\"data\":2}"));
    assert_eq!(lines[2], "{\"closed\":true}");
}

#[test]
fn what_only_looks_like_a_live_read_is_answered_at_once() {
    let site = Site::start();
    site.say("c", "hello");
    let get = |method: &str, target: &str, fields: &str| {
        site.ask(&format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"
        ))
    };
    let mut head = site.connect();
    head.send("HEAD /channels/c?live=sse&offset=now HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        head.head().starts_with("HTTP/1.1 200 "),
        "HEAD has no stream"
    );
    for (method, target, fields, status) in [
        ("GET", "/channels/c?live=sse", "", 400),
        ("GET", "/channels/c?live=long-poll", "", 400),
        (
            "GET",
            "/channels/c?live=sse&offset=now",
            "Content-Length: 2\r\n\r\n{}",
            400,
        ),
        ("GET", "/channels/c?live=sse&offset=zzz", "", 400),
        ("GET", "/v1/stream/none?live=sse&offset=now", "", 404),
        (
            "GET",
            "/channels/c",
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            426,
        ),
        ("GET", "/echo", "", 426),
    ] {
        assert_eq!(
            get(method, target, fields).status,
            status,
            "{method} {target} {fields}"
        );
    }
    assert_eq!(site.metric("everwire_lines"), 0);
}

/// Lines are counted by themselves, and their places are given back however they end.
#[test]
fn a_line_takes_one_place_and_gives_it_back() {
    let site = Site::with(|config| {
        config.dev = false;
        config.channels.anonymous = vec![Action::Read, Action::Publish];
        config.limits.lines_per_address_max = 3;
        config.limits.connections_max = 3;
    });
    for _ in 0..3 {
        let mut peers = [
            site.websocket("c", ""),
            site.stream("c", "", "text/event-stream"),
            site.stream("c", "", "application/x-ndjson"),
        ];
        let mut fourth = site.connect();
        fourth.send(websocket_request("/channels/c", ""));
        let refused = fourth.response();
        assert_eq!(refused.status, 429, "{}", refused.text());
        assert_eq!(fourth.rest(), b"");
        // One by the closing handshake, one by a shutdown, one by a reset or what the system makes of a drop.
        peers[0].send(client_frame(0x8, &1000u16.to_be_bytes()));
        assert_eq!(peers[0].frame(), Frame::Close(1000));
        peers[1].finish();
        drop(peers);
        site.until("all are gone", |site| site.metric("everwire_lines") == 0);
    }
}

#[test]
fn a_connect_request_over_http_1_1_is_no_tunnel() {
    let site = Site::start();
    site.say("c", "hello");
    let answer = site.ask("CONNECT /channels/c HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(answer.status, 405, "{}", answer.head);
}

/// `nc -N` and some proxies end their side as soon as they have said all.
#[test]
fn a_request_is_answered_though_its_peer_has_ended_its_side() {
    let site = Site::start();
    site.say("large", &"x".repeat(8_000_000));
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    for (name, request, statuses) in [
        ("a read", get("/healthz"), vec![200]),
        ("an append", append("c", "one"), vec![204]),
        (
            "requests in one packet",
            get("/healthz").repeat(40),
            vec![200; 40],
        ),
        ("a read of much", get("/channels/large"), vec![200]),
    ] {
        let mut peer = site.connect();
        peer.send(request);
        peer.finish();
        for status in statuses {
            assert_eq!(peer.response().status, status, "{name}");
        }
        assert_eq!(peer.rest(), b"", "{name} is answered once");
    }
}

/// RFC 9110, section 10.1.1: what the fields tell is said before the content is sent.
#[test]
fn who_asks_before_it_sends_its_content_is_told_what_is_wrong() {
    let site = Site::start();
    for (fields, status) in [
        ("Content-Type: text/plain\r\nContent-Length: 3\r\n", 100),
        ("Content-Type: nonsense\r\nContent-Length: 3\r\n", 400),
        (
            "Stream-Seq: 1\r\nStream-Seq: 2\r\nContent-Length: 3\r\n",
            400,
        ),
        ("Content-Length: 100000000\r\n", 413),
    ] {
        let mut peer = site.connect();
        peer.send(format!(
            "POST /channels/c HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{fields}\r\n"
        ));
        assert_eq!(peer.response().status, status, "{fields}");
        if status == 100 {
            peer.send("one");
            assert_eq!(peer.response().status, 204, "{fields}");
        }
    }
}
