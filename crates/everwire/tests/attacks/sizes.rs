//! Everything that has a size, too large; and everything that has a number, too many.

use serde_json::json;

use crate::{
    common::{issuer::Issuer, websocket_request},
    victim::{Victim, problem},
};

const LIMITS: &str = "
[limits]
content_bytes_max = 65536
entries_per_append_max = 10
lines_per_address_max = 20
";

#[test]
fn what_is_too_large_is_refused_and_counted() {
    let victim = Victim::start(LIMITS);
    let append = |fields: &str, content: &str| {
        let length = content.len();
        format!(
            "POST /channels/target HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {length}\r\n\r\n{content}"
        )
    };
    let get =
        |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let text = "Content-Type: text/plain\r\n";
    let json = "Content-Type: application/json\r\n";
    let long = |count: usize| "x".repeat(count);
    let chunks = format!("{:x}\r\n{}\r\n0\r\n\r\n", 70_000, long(70_000));
    let attacks = [
        (
            "a target",
            get(&format!("/channels/target?{}", long(8_000)), ""),
            414,
        ),
        (
            "a field",
            get("/channels/target", &format!("X: {}\r\n", long(40_000))),
            431,
        ),
        (
            "many fields",
            get("/channels/target", &"X: y\r\n".repeat(2_000)),
            431,
        ),
        (
            "a name",
            get(&format!("/channels/{}", long(2_000)), ""),
            400,
        ),
        (
            "a name of many segments",
            get(&format!("/channels/{}x", "a/".repeat(1_000)), ""),
            400,
        ),
        (
            "an offset",
            get(&format!("/channels/target?offset={}", long(2_000)), ""),
            400,
        ),
        (
            "content that is announced",
            append(&format!("{text}Expect: 100-continue\r\n"), &long(70_000)),
            413,
        ),
        (
            "content that is announced as terabytes",
            "POST /channels/target HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999\r\n\r\n"
                .to_owned(),
            413,
        ),
        (
            "content in chunks",
            format!(
                "POST /channels/target HTTP/1.1\r\nHost: x\r\n{text}Transfer-Encoding: chunked\r\n\r\n{chunks}"
            ),
            413,
        ),
        (
            "entries",
            append(json, &format!("[{}]", ["1"; 11].join(","))),
            413,
        ),
        (
            "a label",
            append(&format!("{text}Everwire-Event: {}\r\n", long(2_000)), "x"),
            400,
        ),
        (
            "an idempotency key",
            append(
                &format!("{text}Idempotency-Key: \"{}\"\r\n", long(2_000)),
                "x",
            ),
            400,
        ),
        (
            "a producer",
            append(
                &format!(
                    "{text}Producer-Id: {}\r\nProducer-Epoch: 0\r\nProducer-Seq: 0\r\n",
                    long(9_000)
                ),
                "x",
            ),
            400,
        ),
        (
            "a publisher",
            get(
                &format!("/channels/target?live=sse&publisher={}", long(2_000)),
                "",
            ),
            400,
        ),
        ("a depth", append(json, &"[".repeat(60_000)), 400),
        (
            "a subprotocol list",
            websocket_request(
                "/connect",
                &format!("Sec-WebSocket-Protocol: {}\r\n", "a,".repeat(6_000)),
            ),
            400,
        ),
        (
            "extensions",
            websocket_request(
                "/channels/target",
                &format!("Sec-WebSocket-Extensions: {}\r\n", "a;b=c,".repeat(2_500)),
            ),
            101,
        ),
        (
            "ranges of a weight",
            get(
                "/channels/target",
                &format!("Accept: {}\r\n", "text/x;q=0.1,".repeat(1_000)),
            ),
            200,
        ),
    ];
    victim
        .connect()
        .append("target", "text/plain", b"here it is");
    for (name, request, status) in attacks {
        let before = refusals(&victim);
        let mut peer = victim.connect();
        // The server may answer and end the connection before it has read all of it.
        peer.try_send(&request);
        let head = peer.head();
        assert_eq!(&head[9..12], status.to_string(), "{name}: {head}");
        if status >= 400 {
            assert!(refusals(&victim) > before, "{name} is counted");
        }
        victim.serves_others(name);
    }
}

fn refusals(victim: &Victim) -> u64 {
    victim.metric("everwire_problems_total")
}

#[test]
fn one_address_has_as_many_lines_as_it_may() {
    let victim = Victim::start(LIMITS);
    // The bystander is one of them.
    let mut lines: Vec<_> = (1..20)
        .map(|_| {
            let mut peer = victim.connect();
            peer.open_websocket("target", "", "");
            peer
        })
        .collect();
    for _ in 0..100 {
        let response = victim.ask(websocket_request("/channels/target", ""));
        assert_eq!(
            (response.status, &*problem(&response.body)),
            (429, "too-many")
        );
        assert!(response.field("retry-after").is_some(), "{}", response.head);
    }
    victim.serves_others("a hundred handshakes");
    assert_eq!(victim.metric("everwire_limits_met_total"), 100);
    // Who leaves makes room.
    lines.pop();
    let mut refused = 0;
    while victim.ask(websocket_request("/channels/target", "")).status == 429 {
        refused += 1;
        assert!(refused < 10_000, "a place that was given back stays taken");
    }
}

#[test]
fn a_batch_and_a_session_have_as_many_parts_as_they_may() {
    let victim = Victim::start(&format!("{LIMITS}\n[sessions]\nchannels_max = 3\n"));
    let token = Issuer::shared()
        .token(json!({"sub": "ada", "channels": [{"match": "**", "can": ["read", "publish"]}]}));
    let items: Vec<_> = (0..11)
        .map(|n| json!({"channel": format!("c/{n}"), "data": n}))
        .collect();
    let content = json!(items).to_string();
    let response = victim.ask(format!(
        "POST /publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: {}\r\n\r\n{content}",
        content.len()
    ));
    assert_eq!(
        (response.status, &*problem(&response.body)),
        (413, "too-large")
    );

    let mut peer = victim.connect();
    peer.send(websocket_request(
        "/connect",
        &format!("Sec-WebSocket-Protocol: everwire.v1, bearer.{token}\r\n"),
    ));
    assert!(peer.head().starts_with("HTTP/1.1 101 "));
    let mut refused = 0;
    for n in 0..10 {
        let command = json!({"op": "subscribe", "id": n, "channel": format!("c/{n}")}).to_string();
        peer.send(crate::common::client_frame(0x1, command.as_bytes()));
    }
    // Every command has one answer.
    for _ in 0..11 {
        refused += usize::from(peer.text().contains("\"too-many\""));
    }
    assert_eq!(refused, 7);
    victim.serves_others("ten subscriptions");
}
