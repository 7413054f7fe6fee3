//! Limits of connections, heads and HTTP/2, each met on a whole server: the outcome that docs/limits.md tells, and its
//! count. The other rows of that page are met in tests that it names.

mod common;

use std::{thread, time::Duration};

use common::{Carrier, Frame, Peer, Session, Site, client_frame, websocket_request};
use everwire_server::{Config, config::Action};
use serde_json::{Value, json};

/// A server that limits callers, on which anybody may read and publish.
fn site(change: impl FnOnce(&mut Config)) -> Site {
    Site::with(|config| {
        config.dev = false;
        config.channels.anonymous = vec![Action::Read, Action::Publish];
        change(config);
    })
}

/// A request on a connection that is open already, since new ones may be what is limited.
fn met(peer: &mut Peer, limit: &str) -> u64 {
    peer.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let name = format!("everwire_limits_met_total{{limit=\"{limit}\"}} ");
    let response = peer.response();
    let line = response
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

const STREAM: &str = "GET /channels/c HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n";
const POLL: &str = "GET /channels/c?live=long-poll&offset=-1 HTTP/1.1\r\nHost: x\r\n\r\n";

fn status(peer: &mut Peer, request: &str) -> u16 {
    peer.send(request);
    peer.head()[9..12].parse().unwrap()
}

/// The problem that a response tells, with what every response says.
fn problem(response: &common::Response) -> String {
    assert_eq!(
        response.field("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(response.field("x-content-type-options"), Some("nosniff"));
    let problem: Value = serde_json::from_slice(&response.body).unwrap();
    let name = problem["type"]
        .as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap();
    name.to_owned()
}

#[test]
fn an_address_has_as_many_connections_as_it_may_until_one_ends() {
    let site = site(|config| config.limits.connections_per_address_max = 2);
    let (mut first, second) = (site.connect(), site.connect());
    assert_eq!(met(&mut first, "connections_per_address_max"), 0);
    let mut third = site.connect();
    assert_eq!(third.rest(), b"", "closed at once, unanswered");
    assert_eq!(met(&mut first, "connections_per_address_max"), 1);
    drop(second);
    // The server notices in its own time.
    while !matches!(
        site.connect()
            .try_ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
        Some(200)
    ) {}
    // What has become a line is counted as one.
    assert_eq!(status(&mut first, STREAM), 200);
    let mut others = [site.connect(), site.connect()];
    for other in &mut others {
        assert!(met(other, "connections_per_address_max") > 0);
    }
}

#[test]
fn an_address_opens_as_many_connections_a_second_as_it_may() {
    let site = site(|config| config.limits.connections_per_second_max = 1);
    let mut served: Vec<_> = (0..3).map(|_| site.connect()).collect();
    assert_eq!(
        met(&mut served[2], "connections_per_second_max"),
        0,
        "a burst"
    );
    for _ in 0..20 {
        assert_eq!(site.connect().rest(), b"");
    }
    assert_eq!(met(&mut served[0], "connections_per_second_max"), 20);
}

#[test]
fn an_address_opens_as_many_lines_a_second_as_it_may() {
    let site = site(|config| config.limits.lines_per_second_max = 1);
    let mut lines = Vec::new();
    for expected in [200, 200, 200, 429, 429] {
        let mut peer = site.connect();
        assert_eq!(status(&mut peer, STREAM), expected);
        lines.push(peer);
    }
    let mut refused = site.connect();
    refused.send(websocket_request("/channels/c", ""));
    let response = refused.response();
    assert_eq!(
        (response.status, problem(&response).as_str()),
        (429, "too-many")
    );
    assert!(response.field("retry-after").is_some());
    let mut session = site.connect();
    session.send("GET /connect HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n");
    assert_eq!(session.response().status, 429);
    let mut peer = site.connect();
    assert_eq!(met(&mut peer, "lines_per_second_max"), 4);
    peer.send(POLL);
    site.say("c", "x");
    assert_eq!(peer.response().status, 200, "polls come and go");
}

#[test]
fn as_many_long_polls_wait_as_may() {
    let site = site(|config| config.limits.polls_max = 1);
    let mut waits = site.connect();
    waits.send(POLL);
    site.until("it waits", |site| site.metric("everwire_lines") == 1);
    let mut refused = site.connect();
    refused.send(POLL);
    let response = refused.response();
    assert_eq!(
        (response.status, problem(&response).as_str()),
        (503, "overloaded")
    );
    assert_eq!(met(&mut site.connect(), "polls_max"), 1);
    assert_eq!(
        status(&mut site.connect(), STREAM),
        200,
        "a stream is no poll"
    );
    site.say("c", "x");
    assert_eq!(waits.response().status, 200);
}

#[test]
fn a_head_that_is_too_large_or_no_head_is_answered_like_anything_else() {
    let site = site(|config| config.limits.head_bytes_max = 8192);
    let large = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "y".repeat(20_000)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "a: b\r\n".repeat(120)
    );
    let good = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    for (request, expected, name) in [
        (large.as_str(), 431, "head-too-large"),
        (&many, 431, "head-too-large"),
        ("nonsense\r\n\r\n", 400, "bad-request"),
        ("GET / HTTP/1.1\r\nno field\r\n\r\n", 400, "bad-request"),
        ("GET / HTTP/3.1\r\n\r\n", 400, "bad-request"),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            400,
            "bad-request",
        ),
    ] {
        // Alone, and right behind a request that is answered as ever.
        for before in ["", good] {
            let mut peer = site.connect();
            peer.send(format!("{before}{request}"));
            if !before.is_empty() {
                assert_eq!(peer.response().status, 200);
            }
            let response = peer.response();
            let found = (response.status, problem(&response));
            assert_eq!(
                found,
                (expected, name.to_owned()),
                "{}",
                &request[..20.min(request.len())]
            );
            assert_eq!(response.field("connection"), Some("close"));
            assert_eq!(peer.rest(), b"");
        }
    }
    assert_eq!(met(&mut site.connect(), "head_bytes_max"), 4);
    let asked = site.metric("everwire_problems_total{type=\"bad-request\"}");
    assert_eq!(asked, 8);
}

#[test]
fn a_head_has_its_time_and_a_connection_without_a_request_another() {
    let site = site(|config| {
        config.http.head_ms = 200;
        config.http.idle_ms = 400;
    });
    let mut slow = site.connect();
    slow.send("GET /healthz HTTP/1.1\r\n");
    let response = slow.response();
    assert_eq!(
        (response.status, problem(&response).as_str()),
        (408, "timed-out")
    );
    assert_eq!(slow.rest(), b"");
    let mut second = site.connect();
    assert_eq!(
        status(&mut second, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"),
        404
    );
    second.send("GET ");
    assert!(
        String::from_utf8(second.rest())
            .unwrap()
            .contains("HTTP/1.1 408 ")
    );
    assert_eq!(
        site.connect().rest(),
        b"",
        "who says nothing is told nothing"
    );
    assert_eq!(met(&mut site.connect(), "head_ms"), 2);
    assert_eq!(met(&mut site.connect(), "idle_ms"), 1);
}

/// Each row: a setting, requests of which the last meets it, and how that is answered.
#[test]
fn what_a_request_and_the_whole_server_may_take_is_bounded() {
    type Set = fn(&mut Config);
    let post = |target: &str, fields: &str, content: &str| {
        let length = content.len();
        format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {length}\r\n\r\n{content}"
        )
    };
    let append = |name: &str, content: &str| post(&format!("/channels/{name}"), "", content);
    let bearer = format!("Authorization: Bearer {}\r\n", "x".repeat(9_000));
    let stream = STREAM.to_owned();
    let rows: [(&str, Set, Vec<String>, u16); 8] = [
        (
            "target_bytes_max",
            |config| config.limits.target_bytes_max = 100,
            vec![append(&"x".repeat(100), "1")],
            414,
        ),
        (
            "content_bytes_max",
            |config| config.limits.content_bytes_max = 10,
            vec![append("c", "0123456789"), append("c", "0123456789a")],
            413,
        ),
        (
            "entries_per_append_max",
            |config| config.limits.entries_per_append_max = 2,
            vec![append("c", "[1,2]"), append("c", "[1,2,3]")],
            413,
        ),
        (
            "channels_max",
            |config| config.limits.channels_max = 1,
            vec![append("c", "1"), append("d", "1")],
            503,
        ),
        (
            "log_bytes_max",
            |config| config.limits.log_bytes_max = 1_000,
            vec![append("c", &"1".repeat(1_000)), append("c", "1")],
            503,
        ),
        (
            "lines_max",
            |config| config.limits.lines_max = 1,
            vec![stream.clone(), stream],
            503,
        ),
        (
            "token_bytes_max",
            |_| {},
            vec![post("/channels/c", &bearer, "1")],
            401,
        ),
        (
            "entry_bytes_max",
            |config| config.channels.entry_bytes_max = 3,
            vec![append("c", "123"), append("c", "1234")],
            413,
        ),
    ];
    for (limit, set, mut requests, expected) in rows {
        let site = site(set);
        let last = requests.pop().unwrap();
        let mut before = Vec::new();
        for request in &requests {
            let mut peer = site.connect();
            let status = status(&mut peer, request);
            assert!((200..300).contains(&status), "{limit}: {status}");
            before.push(peer);
        }
        let mut looks = site.connect();
        assert_eq!(met(&mut looks, limit), 0, "{limit}");
        let response = site.ask(&last);
        assert_eq!(response.status, expected, "{limit}: {}", response.text());
        problem(&response);
        assert_eq!(met(&mut looks, limit), 1, "{limit}");
    }
}

#[test]
fn what_a_line_may_send_and_a_session_ask_for_is_bounded() {
    let site = site(|config| {
        config.limits.message_bytes_max = 1_000;
        config.sessions.channels_max = 1;
        config.sessions.commands_max = 1;
        config.channels.anonymous.push(Action::Presence);
    });
    let mut looks = site.connect();
    let mut line = site.websocket("c", "");
    line.send(client_frame(0x1, &[b'x'; 1_001]));
    assert_eq!(line.frame(), Frame::Close(1009));
    assert_eq!(met(&mut looks, "message_bytes_max"), 1);
    let mut ada = Session::open(&site, Carrier::WebSocket, "");
    let bob = Session::open(&site, Carrier::EventStream, "");
    let is_there = |user: &str, info: &str| {
        let presence = json!({"user": user, "info": info});
        json!({"id": 1, "op": "subscribe", "channel": "c", "presence": presence})
    };
    assert_eq!(ada.ask(is_there("ada", ""))["error"]["type"], "too-many");
    assert_eq!(met(&mut looks, "channels_max"), 1, "presence is one more");
    let two = r#"[{"op":"ping"},{"op":"ping"}]"#;
    assert_eq!(bob.post(two).status, 413);
    assert_eq!(met(&mut looks, "commands_max"), 1);
}

#[test]
fn a_channel_has_as_many_members_as_it_may() {
    let site = site(|config| {
        config.presence.members_max = 1;
        config.presence.info_bytes_max = 10;
        config.channels.anonymous.push(Action::Presence);
    });
    let mut looks = site.connect();
    let mut sessions: Vec<_> = (0..3)
        .map(|_| Session::open(&site, Carrier::WebSocket, ""))
        .collect();
    let is_there = |user: &str, info: &str| {
        let presence = json!({"user": user, "info": info});
        json!({"id": 1, "op": "subscribe", "channel": "c", "presence": presence})
    };
    sessions[0].ok(is_there("ada", "x"));
    let full = sessions[1].ask(is_there("bob", "x"));
    assert_eq!(full["error"]["type"], "overloaded", "{full}");
    assert_eq!(met(&mut looks, "members_max"), 1);
    let long = sessions[2].ask(is_there("ada", &"x".repeat(20)));
    assert_eq!(long["error"]["type"], "too-large", "{long}");
    assert_eq!(met(&mut looks, "info_bytes_max"), 1);
}

#[test]
fn content_that_takes_too_long_is_counted() {
    let site = site(|config| config.http.content_ms = 100);
    let mut slow = site.connect();
    slow.send("POST /channels/c HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345");
    assert_eq!(slow.response().status, 408);
    assert_eq!(met(&mut site.connect(), "content_ms"), 1);
}

/// A page that nobody takes, which is no line yet.
#[test]
fn a_connection_that_takes_nothing_of_a_response_is_cut() {
    let site = site(|config| config.limits.write_stall_ms = 300);
    site.publish("c", "application/octet-stream", vec![7; 8 * 1024 * 1024]);
    let mut peer = site.connect_narrow();
    for _ in 0..20 {
        peer.send("GET /channels/c HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    let mut looks = site.connect();
    site.until("it is cut", |_| met(&mut looks, "write_stall_ms") == 1);
    peer.rest();
}

// HTTP/2 by hand (RFC 9113).

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal field without indexing, whose name and value are not compressed.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let mut out = match text.len() {
            short @ 0..127 => vec![short as u8],
            long => {
                let mut rest = long - 127;
                let mut out = vec![127];
                while rest >= 128 {
                    out.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                out.push(rest as u8);
                out
            }
        };
        out.extend_from_slice(text.as_bytes());
        out
    };
    [&[0][..], &text(name), &text(value)].concat()
}

fn get(target: &str) -> Vec<u8> {
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", target),
    ];
    fields
        .iter()
        .flat_map(|(name, value)| field(name, value))
        .collect()
}

/// A connection that speaks HTTP/2, after the settings with this payload.
fn speaks_h2(site: &Site, settings: &[u8]) -> Peer {
    let mut peer = site.connect();
    peer.send([PREFACE, &frame(SETTINGS, 0, 0, settings)].concat());
    peer
}

/// The next frame of a kind: its flags, stream and payload. Others are passed over.
fn next(peer: &mut Peer, kind: u8) -> (u8, u32, Vec<u8>) {
    loop {
        let head = peer.take(9);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let payload = peer.take(length as usize);
        if head[3] == kind {
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            return (head[4], stream, payload);
        }
    }
}

/// Somebody else, who notices nothing.
fn bystander(site: &Site, mut hostile: impl FnMut() -> bool) {
    let mut line = site.websocket("bystander", "");
    for n in 0..200 {
        let goes_on = hostile();
        site.say("bystander", &n.to_string());
        assert_eq!(line.frame(), Frame::Text(n.to_string()));
        if !goes_on {
            return;
        }
    }
}

#[test]
fn a_head_over_http2_that_is_too_large_is_refused() {
    let site = site(|config| config.limits.head_bytes_max = 8192);
    let mut peer = speaks_h2(&site, &[]);
    let head = [get("/healthz"), field("x", &"y".repeat(9000))].concat();
    peer.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &head));
    let (_, stream, _) = next(&mut peer, HEADERS);
    assert_eq!(stream, 1, "it is answered, and the connection goes on");
    peer.send(frame(
        HEADERS,
        END_STREAM | END_HEADERS,
        3,
        &get("/healthz"),
    ));
    assert_eq!(next(&mut peer, HEADERS).1, 3);
    assert_eq!(met(&mut site.connect(), "head_bytes_max"), 1);
}

#[test]
fn a_connection_over_http2_has_as_many_streams_as_it_may() {
    let site = site(|config| config.limits.lines_per_address_max = 0);
    let mut peer = speaks_h2(&site, &[]);
    let poll = get("/channels/c?live=long-poll&offset=-1");
    for stream in (1..2051).step_by(2) {
        peer.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, &poll));
    }
    let (_, stream, reason) = next(&mut peer, RST_STREAM);
    assert_eq!((stream, reason[3]), (2049, 7), "REFUSED_STREAM");
}

/// CVE-2023-44487.
#[test]
fn streams_that_are_opened_only_to_be_reset_end_the_connection() {
    let site = site(|_| {});
    let mut peer = speaks_h2(&site, &[]);
    let mut stream = 1;
    bystander(&site, || {
        let mut burst = Vec::new();
        for _ in 0..100 {
            burst.extend(frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                stream,
                &get("/healthz"),
            ));
            burst.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
            stream += 2;
        }
        peer.try_send(burst)
    });
    let (_, _, goodbye) = next(&mut peer, GOAWAY);
    assert_eq!(goodbye[4..8], [0, 0, 0, 11], "ENHANCE_YOUR_CALM");
}

#[test]
fn a_head_in_endless_continuations_ends_the_connection() {
    let site = site(|_| {});
    let mut peer = speaks_h2(&site, &[]);
    peer.send(frame(HEADERS, 0, 1, &get("/healthz")));
    let piece = frame(CONTINUATION, 0, 1, &field("x", &"y".repeat(1000)));
    bystander(&site, || (0..100).all(|_| peer.try_send(&piece)));
    peer.rest();
}

/// What has to be answered is not answered faster than it is taken, and nothing piles up.
#[test]
fn floods_of_pings_and_settings_disturb_nobody() {
    let site = site(|_| {});
    for flood in [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[])] {
        let mut peer = speaks_h2(&site, &[]);
        let flood = flood.repeat(1000);
        let mut reader = peer.twin();
        let reads = thread::spawn(move || reader.rest().len());
        let mut rounds = 0;
        bystander(&site, || {
            rounds += 1;
            peer.try_send(&flood) && rounds < 50
        });
        drop(peer);
        let _ = reads.join();
    }
}

/// Its windows stay shut: pages pile up until no more are made, and then it is cut.
#[test]
fn pages_that_are_asked_for_and_not_taken_are_bounded() {
    let site = site(|config| config.limits.write_stall_ms = 1_000);
    site.publish("c", "application/octet-stream", vec![7; 1024 * 1024]);
    // SETTINGS_INITIAL_WINDOW_SIZE 0.
    let mut peer = speaks_h2(&site, &[0, 4, 0, 0, 0, 0]);
    for stream in (1..41).step_by(2) {
        peer.send(frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            stream,
            &get("/channels/c"),
        ));
    }
    let mut looks = site.connect();
    for _ in 0..20 {
        next(&mut peer, HEADERS);
    }
    let refused = met(&mut looks, "untaken_bytes_max");
    assert!(
        (11..=12).contains(&refused),
        "two threads make eight pages or nine: {refused}"
    );
    peer.rest();
    assert_eq!(met(&mut looks, "write_stall_ms"), 1);
}

#[test]
fn a_connection_over_http2_that_asks_for_nothing_is_ended() {
    let site = site(|config| config.http.idle_ms = 300);
    let mut peer = speaks_h2(&site, &[]);
    next(&mut peer, GOAWAY);
    assert_eq!(met(&mut site.connect(), "idle_ms"), 1);
    // One with a line is not idle.
    let mut line = speaks_h2(&site, &[]);
    let head = [get("/channels/c"), field("accept", "application/x-ndjson")].concat();
    line.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &head));
    next(&mut line, HEADERS);
    thread::sleep(Duration::from_millis(600)); // twice what an idle one has
    line.send(frame(PING, 0, 0, &[7; 8]));
    assert_eq!(next(&mut line, PING).2, [7; 8]);
}

/// A message of many tiny pieces, and frames of nothing.
#[test]
fn floods_of_tiny_and_empty_fragments_leave_the_core_to_others() {
    let site = site(|_| {});
    for piece in [&b"x"[..], b""] {
        let mut peer = site.websocket("c", "");
        let mut begin = client_frame(0x1, piece);
        begin[0] &= 0x7f; // not the last
        peer.send(&begin);
        let mut more = client_frame(0x0, piece);
        more[0] &= 0x7f;
        let flood = more.repeat(1000);
        let mut rounds = 0;
        bystander(&site, || {
            rounds += 1;
            peer.try_send(&flood) && rounds < 50
        });
    }
}
