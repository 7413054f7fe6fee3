//! Whoever is slow on purpose. The server's times are short here; nothing is measured, the server has to end what does
//! not go on.

use std::{thread, time::Duration};

use crate::{
    common::{Peer, client_frame, websocket_request},
    victim::Victim,
};

const SETTINGS: &str = "
[http]
idle_ms = 300
head_ms = 300
content_ms = 300
heartbeat_ms = 1000

[limits]
write_stall_ms = 1000
";

/// Sends a byte now and then until the server has ended the connection, and returns what it said.
fn dribble(mut peer: Peer, bytes: &[u8]) -> String {
    for byte in bytes.iter().cycle().take(10_000) {
        if !peer.try_send([*byte]) {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    String::from_utf8_lossy(&peer.rest()).into_owned()
}

#[test]
fn whoever_says_little_for_long_is_ended() {
    let victim = Victim::start(SETTINGS);
    let begun = |bytes: &str| {
        let mut peer = victim.connect();
        peer.send(bytes);
        peer
    };
    let post = "POST /channels/target HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n";
    let attacks = [
        ("nothing at all", begun(""), "", ""),
        ("a preface of HTTP/2", begun("PRI * HT"), "", ""),
        (
            "a head",
            begun("GET /channels/target HTTP/1.1\r\nHost: x\r\n"),
            "X: y\r\n",
            "408",
        ),
        (
            "content",
            begun(&format!("{post}Content-Length: 100000\r\n\r\n")),
            "x",
            "408",
        ),
        (
            "content in chunks",
            begun(&format!("{post}Transfer-Encoding: chunked\r\n\r\n")),
            "1\r\nx\r\n",
            "408",
        ),
        (
            "nothing after an answer",
            begun("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
            "",
            "200",
        ),
    ];
    thread::scope(|scope| {
        let attacks = attacks.map(|(name, peer, bytes, status)| {
            (
                name,
                status,
                scope.spawn(move || dribble(peer, bytes.as_bytes())),
            )
        });
        for (name, status, attack) in attacks {
            let said = attack.join().expect("the connection ends");
            assert_eq!(
                said.strip_prefix("HTTP/1.1 ").map_or("", |said| &said[..3]),
                status,
                "{name}: {said}"
            );
        }
    });
    victim.serves_others("slow peers");
}

/// A frame that never ends keeps a line open, since it is alive, and costs no more than its first bytes.
#[test]
fn a_frame_that_never_ends_is_one_line_and_no_more() {
    let victim = Victim::start("");
    let mut peers: Vec<_> = (0..50)
        .map(|_| {
            let mut peer = victim.connect();
            peer.open_websocket("target", "", "");
            // A megabyte is announced, some bytes of it come.
            let frame = client_frame(0x2, &[0; 1024 * 1024]);
            peer.send(&frame[..20]);
            peer
        })
        .collect();
    victim.serves_others("fifty frames that never end");
    for peer in &mut peers {
        peer.send([0; 100]);
    }
    victim.serves_others("some more bytes of each");
}

#[test]
fn whoever_reads_nothing_is_cut_and_nobody_else_waits() {
    let victim = Victim::start(SETTINGS);
    let stream = |accept: &str| {
        format!("GET /channels/target HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n")
    };
    let lines = [
        ("a WebSocket", websocket_request("/channels/target", "")),
        ("an event stream", stream("text/event-stream")),
        ("an ndjson stream", stream("application/x-ndjson")),
    ];
    let mut peers: Vec<_> = lines
        .iter()
        .map(|(_, request)| {
            let mut peer = Peer::connect(victim.address, Some(4096));
            peer.send(request);
            assert!(["HTTP/1.1 101", "HTTP/1.1 200"].contains(&&peer.head()[..12]));
            peer
        })
        .collect();
    let payload = vec![b'x'; 512 * 1024];
    let mut publisher = victim.connect();
    while victim.metric("everwire_lines_stalled_total") < lines.len() as u64 {
        let response = publisher.append("target", "text/plain", &payload);
        assert_eq!(response.status, 204, "{}", response.text());
        victim.serves_others("half a megabyte that nobody takes");
    }
    for peer in &mut peers {
        // What the kernel had taken, and then the end.
        peer.rest();
    }
    assert_eq!(
        victim.metric("everwire_lines"),
        1,
        "the bystander's line is left"
    );
}
