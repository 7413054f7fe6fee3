//! Where a reader goes on is understood wherever its kind of client says it, over each wire.

mod common;

use common::{Peer, Site, websocket_request};

/// Ways to say where one was: parameters and fields; `{}` is the offset.
const WAYS: [(&str, &str); 8] = [
    ("offset={}", ""),
    ("lastEventId={}", ""),
    ("lastEventID={}", ""),
    ("last-event-id={}", ""),
    ("Last-Event-ID={}", ""),
    ("", "Last-Event-ID: {}\r\n"),
    // From an address that was made when nothing was read yet.
    ("offset=-1&lastEventId={}", ""),
    ("last=100&lastEventId=-1", "Last-Event-ID: {}\r\n"),
];

/// Wires that stay open: parameters and fields.
const WIRES: [(&str, &str); 5] = [
    ("", "Accept: text/event-stream\r\n"),
    ("", "Accept: text/event-stream, */*\r\n"),
    ("live=ndjson", ""),
    ("live=sse", ""),
    ("live=long-poll", ""),
];

fn ask(peer: &mut Peer, query: &str, fields: &str) {
    let request = format!("GET /channels/c?{query} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    peer.send(request);
}

#[test]
fn who_comes_back_gets_what_it_lacks_wherever_it_says_where_it_was() {
    let site = Site::start();
    let mut offsets = Vec::new();
    for n in 1..=3 {
        let answer =
            site.connect()
                .append("c", "application/json", format!("\"entry {n}\"").as_bytes());
        offsets.push(answer.field("stream-next-offset").unwrap().to_owned());
    }
    let says = |(query, fields): (&str, &str)| {
        (
            query.replace("{}", &offsets[0]),
            fields.replace("{}", &offsets[0]),
        )
    };
    for way in WAYS {
        let (query, fields) = says(way);
        for (wire, accept) in WIRES {
            let mut peer = site.connect();
            ask(
                &mut peer,
                &format!("{wire}&{query}"),
                &format!("{accept}{fields}"),
            );
            let head = peer.head();
            assert!(head.starts_with("HTTP/1.1 200 "), "{wire} {way:?}: {head}");
            let seen = String::from_utf8(peer.until(b"entry 3")).unwrap();
            assert!(
                seen.contains("entry 2") && !seen.contains("entry 1"),
                "{wire} {way:?}: {seen}"
            );
        }
        let mut socket = site.connect();
        socket.send(websocket_request(&format!("/channels/c?{query}"), &fields));
        assert!(socket.head().starts_with("HTTP/1.1 101 "));
        assert_eq!(
            [socket.text(), socket.text()],
            ["\"entry 2\"", "\"entry 3\""],
            "{way:?}"
        );
        if fields.is_empty() {
            let page = site.ask(&format!(
                "GET /channels/c?{query} HTTP/1.1\r\nHost: x\r\n\r\n"
            ));
            assert_eq!(page.text(), "[\"entry 2\",\"entry 3\"]", "{way:?}");
        }
    }
}

/// A page of history is the same for all who ask by its address: caches do not look at the field.
#[test]
fn a_page_is_read_by_its_address_alone() {
    let site = Site::start();
    site.publish("c", "application/json", "[1,2]");
    let page =
        site.ask("GET /channels/c?offset=-1 HTTP/1.1\r\nHost: x\r\nLast-Event-ID: now\r\n\r\n");
    assert_eq!(page.text(), "[1,2]");
}

#[test]
fn what_is_no_position_and_what_contradicts_itself_is_refused_and_never_read_from_elsewhere() {
    let site = Site::start();
    site.publish("c", "application/json", "[1,2]");
    for (query, fields) in [
        ("lastEventId=17", ""),
        ("lastEventId=-1&lastEventID=now", ""),
        ("offset=-1&offset=now", ""),
        ("offset=nonsense&lastEventId=now", ""),
        ("", "Last-Event-ID: 17\r\n"),
        ("", "Last-Event-ID: now\r\nLast-Event-ID: -1\r\n"),
    ] {
        let answer = site.ask(&format!(
            "GET /channels/c?{query} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{fields}\r\n"
        ));
        assert_eq!(answer.status, 400, "{query} {fields}");
    }
}
