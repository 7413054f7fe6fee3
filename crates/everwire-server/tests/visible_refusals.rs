//! Refusals that a page can see, where it asks for them.

mod common;

use common::{Frame, Site, websocket_request};
use everwire_server::config::Action;

fn open() -> Site {
    Site::with(|config| {
        config.dev = false;
        config.channels.anonymous = vec![Action::Read];
        config.channels.create = everwire_server::config::Create::Explicit;
        config.limits.lines_per_address_max = 1;
        config.tokens.keys.clear();
    })
}

fn read(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
}

#[test]
fn a_websocket_is_accepted_and_closed_with_why_where_a_page_asks_for_it() {
    let site = open();
    for (target, fields, status, code) in [
        ("/channels/none", "", 404, 4404),
        ("/channels/none?token=nonsense", "", 401, 4401),
        ("/presence/c", "", 401, 4401),
        (
            "/channels/c",
            "Origin: https://other.example\r\n",
            403,
            4403,
        ),
        ("/channels/c?offset=nonsense", "", 400, 4400),
        (
            "/channels/c",
            "Sec-WebSocket-Protocol: everwire.v1\r\n",
            404,
            4404,
        ),
    ] {
        let plain = site.ask(&websocket_request(target, fields));
        assert_eq!(
            plain.status, status,
            "{target} {fields}: whoever reads statuses gets one"
        );
        let mark = if target.contains('?') { '&' } else { '?' };
        let mut peer = site.connect();
        peer.send(websocket_request(
            &format!("{target}{mark}refusals=visible"),
            fields,
        ));
        let head = peer.head();
        assert!(
            head.starts_with("HTTP/1.1 101 "),
            "{target} {fields}: {head}"
        );
        assert_eq!(peer.frame(), Frame::Close(code), "{target} {fields}");
        drop(peer);
        site.until("it is gone", |site| site.metric("everwire_lines") == 0);
    }
}

/// There is no place for it, and none is taken to say so.
#[test]
fn a_line_without_a_place_is_refused_so_that_a_page_sees_it() {
    let site = Site::with(|config| {
        config.dev = false;
        config.channels.anonymous = vec![Action::Read, Action::Publish];
        config.limits.lines_per_address_max = 1;
    });
    let _taken = site.websocket("c", "");
    let mut socket = site.connect();
    socket.send(websocket_request("/channels/c?refusals=visible", ""));
    assert!(socket.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(socket.frame(), Frame::Close(4429));
    assert_eq!(socket.rest(), b"");
    let stream = "Accept: text/event-stream\r\n";
    assert_eq!(site.ask(&read("/channels/c", stream)).status, 429);
    let told = site.ask(&read("/channels/c?refusals=visible", stream));
    assert_eq!(
        (told.status, told.field("content-type")),
        (200, Some("text/event-stream"))
    );
    let said = told.text();
    assert!(
        said.starts_with("retry: ") && said.contains("event: refused\ndata: {"),
        "{said}"
    );
    assert!(
        said.contains("\"status\":429") && said.ends_with("\n\n"),
        "{said}"
    );
    assert_eq!(site.metric("everwire_lines"), 1);
}

/// An `EventSource` that gives up is right where coming back changes nothing, and programs get their statuses.
#[test]
fn only_what_is_for_a_while_is_told_in_a_stream() {
    let site = open();
    for (target, fields, status) in [
        (
            "/channels/none?refusals=visible",
            "Accept: text/event-stream\r\n",
            404,
        ),
        (
            "/channels/none?refusals=visible&token=nonsense",
            "Accept: text/event-stream\r\n",
            401,
        ),
        ("/channels/none?refusals=visible", "", 404),
        ("/channels/none?refusals=visible&live=ndjson", "", 404),
    ] {
        assert_eq!(
            site.ask(&read(target, fields)).status,
            status,
            "{target} {fields}"
        );
    }
}
