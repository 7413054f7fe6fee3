//! How much one stranger can have the server keep.

use serde_json::json;

use crate::{
    common::{Frame, Peer, client_frame, issuer::Issuer, websocket_request},
    frames::{DEFLATE, SESSION, bomb},
    victim::{Victim, problem},
};

/// A kilobyte becomes a megabyte, and its last frame never comes. What comes in clear is kept all the same.
#[test]
fn messages_that_never_end_share_a_bounded_room() {
    let victim = Victim::start("\n[limits]\nkept_bytes_max = 2500000\n");
    let mut inflated = bomb(1_000_000);
    inflated[0] &= 0x7f;
    let mut clear = client_frame(0x1, &[b'x'; 1_000_000]);
    clear[0] &= 0x7f;
    for (name, fields, begun) in [("compressed", DEFLATE, inflated), ("clear", "", clear)] {
        let mut peers: Vec<Peer> = (0..10)
            .map(|_| {
                let mut peer = victim.connect();
                peer.open_websocket("target", "", fields);
                peer.send(&begun);
                peer
            })
            .collect();
        let kept = peers.iter_mut().filter_map(|peer| {
            peer.try_send(client_frame(0x9, b"still there?"));
            match peer.frame() {
                Frame::Pong(_) => Some(()),
                Frame::Close(code) => {
                    // All have none left for it, or this one caller.
                    assert!(matches!(code, 1013 | 4429), "{name}: {code}");
                    None
                }
                other => panic!("{name}: {other:?}"),
            }
        });
        let kept = kept.count();
        assert!((1..=2).contains(&kept), "{name}: {kept} of ten are kept");
        // Who says little at a time needs none of that room.
        let mut peer = victim.connect();
        peer.open_websocket("target", "", "");
        let mut piece = client_frame(0x1, &[b'y'; 60_000]);
        piece[0] &= 0x7f;
        peer.send(piece);
        peer.send(client_frame(0x0, b"."));
        assert!(
            matches!(peer.frame(), Frame::Text(text) if text.len() == 60_001),
            "{name}"
        );
        victim.serves_others(name);
    }
}

/// A few bytes ask for a page each.
#[test]
fn pages_that_are_asked_for_and_not_taken_share_a_bounded_room() {
    let victim = Victim::start("\n[limits]\nkept_bytes_max = 1000000\n");
    let mut publisher = victim.connect();
    for _ in 0..20 {
        let entry = vec![b'x'; 50_000];
        assert_eq!(publisher.append("target", "text/plain", &entry).status, 204);
    }
    let open = || {
        let mut peer = Peer::connect(victim.address, Some(4096));
        peer.send(websocket_request("/connect", SESSION));
        assert!(peer.head().starts_with("HTTP/1.1 101 "));
        assert!(peer.text().contains("welcome"));
        peer
    };
    let page = client_frame(0x1, br#"{"op":"history","channel":"target"}"#);
    let mut greedy: Vec<Peer> = (0..4).map(|_| open()).collect();
    for peer in &mut greedy {
        peer.send(page.repeat(20));
    }
    let mut modest = open();
    modest.send(&page);
    while victim.metric("everwire_lines") > 2 {
        victim.serves_others("pages that nobody takes");
    }
    assert!(modest.text().contains("entries"), "one page has room");
    assert!(victim.metric("everwire_limits_met_total") >= 4);
}

/// Names cost a reader nothing; a channel costs the server a place among those that it can have.
#[test]
fn a_reader_has_channels_made_no_faster_than_a_publisher() {
    let victim = Victim::start(
        "\n[limits]\nappends_per_second_max = 1\n\n[[rules]]\nmatch = \"open/**\"\nanonymous = [\"read\", \"presence\"]\n",
    );
    let mut peer = victim.connect();
    peer.send(websocket_request("/connect", SESSION));
    assert!(peer.head().starts_with("HTTP/1.1 101 "));
    peer.text();
    let mut refused = 0;
    for n in 0..200 {
        let command = match n % 3 {
            0 => json!({"op": "subscribe", "channel": format!("open/{n}")}),
            1 => json!({"op": "subscribe", "channel": format!("open/{n}"), "presence": {}}),
            _ => json!({"op": "presence", "channel": format!("open/{n}")}),
        };
        peer.send(client_frame(0x1, command.to_string().as_bytes()));
        refused += usize::from(peer.text().contains("too-many"));
    }
    assert!(refused > 150, "{refused} are refused");
    assert!(victim.metric("everwire_channels") < 60);
    for (target, accept) in [
        ("/channels/open/new", "text/event-stream"),
        ("/presence/open/new", "*/*"),
    ] {
        let response = victim.ask(format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"
        ));
        assert_eq!(
            (response.status, &*problem(&response.body)),
            (429, "too-many"),
            "{target}"
        );
    }
    // What is there already can be read by any number.
    peer.send(client_frame(
        0x1,
        br#"{"op":"subscribe","channel":"square"}"#,
    ));
    let reply = peer.text();
    assert!(reply.contains("recovered"), "{reply}");
}

#[test]
fn all_that_is_kept_of_what_is_sent_counts() {
    let victim = Victim::start("\n[limits]\nlog_bytes_max = 100000\n");
    // A key that is remembered, beside the entry.
    let key = "k".repeat(255);
    let appended = victim.ask(format!(
        "POST /channels/target HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nIdempotency-Key: {key}\r\n\
         Content-Length: 1\r\n\r\nx"
    ));
    assert_eq!(appended.status, 204, "{}", appended.text());
    assert!(victim.metric("everwire_log_bytes") > 128 + 255);

    // The content of a creation.
    let token = Issuer::shared()
        .token(json!({"channels": [{"match": "**", "can": ["publish", "manage"]}]}));
    let content = "x".repeat(40_000);
    let create = |name: &str, content: &str| {
        let length = content.len();
        let response = victim.ask(format!(
            "PUT /channels/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{content}"
        ));
        (response.status, problem(&response.body))
    };
    assert_eq!(create("c/1", &content).0, 201);
    assert_eq!(create("c/2", &content).0, 201);
    let channels = victim.metric("everwire_channels");
    for _ in 0..3 {
        assert_eq!(create("c/3", &content), (503, "overloaded".to_owned()));
    }
    assert_eq!(
        victim.metric("everwire_channels"),
        channels,
        "none is made for it"
    );
    assert_eq!(
        create("c/4", "").0,
        201,
        "one without content takes nothing"
    );
}
