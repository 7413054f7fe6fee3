//! Whoever publishes need not hear itself.

mod common;

use common::{Session, Site, client_frame, over_every_wire, subscribe};
use serde_json::json;

/// What one's own publisher says is left out, live and on replay; what others say is not.
#[test]
fn a_session_need_not_hear_itself() {
    over_every_wire(|site, carrier| {
        let mut session = Session::open(site, carrier, "?publisher=me");
        session.ok(json!({"op": "subscribe", "channel": "a", "echo": false}));
        session.ok(subscribe("b"));
        let publish =
            |channel: &str, data: u64| json!({"op": "publish", "channel": channel, "data": data});
        session.ok(publish("a", 1));
        site.publish("a", "application/json", "2");
        session.ok(publish("a", 3));
        session.ok(publish("a", 4));
        site.publish("a", "application/json", "5");
        assert_eq!(session.entry().1, 2);
        assert_eq!(session.entry().1, 5);
        session.ok(publish("b", 6));
        assert_eq!(session.entry(), ("b".to_owned(), json!(6)));
        let mut again = Session::open(site, carrier, "?publisher=me");
        again.ok(json!({"op": "subscribe", "channel": "a", "offset": "-1", "echo": false}));
        assert_eq!(again.entry().1, 2);
        assert_eq!(again.entry().1, 5);
        let mut other = Session::open(site, carrier, "?publisher=other");
        other.ok(json!({"op": "subscribe", "channel": "a", "offset": "-1", "echo": false}));
        for n in 1..=5 {
            assert_eq!(other.entry().1, n);
        }
    });
}

/// On a channel's own URL, by any live wire, a reader that says who it is as a publisher does not hear itself.
#[test]
fn a_line_need_not_hear_itself() {
    let site = Site::start();
    let append = |data: u64, publisher: &str| {
        let said = site.ask(&format!(
            "POST /channels/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nEverwire-Publisher: {publisher}\r\nContent-Length: 1\r\n\r\n{data}"
        ));
        assert_eq!(said.status, 204);
    };
    append(0, "me");
    append(1, "you");
    let mut raw = site.websocket("a", "?offset=-1&publisher=me");
    let mut ndjson = site.stream("a", "?offset=-1&publisher=me", "application/x-ndjson");
    let mut events = site.stream("a", "?offset=-1&publisher=me", "text/event-stream");
    events.event();
    raw.send(client_frame(0x81, b"2"));
    let poll = site
        .ask("GET /channels/a?offset=-1&live=long-poll&publisher=me HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(poll.text(), "[1]");
    let next = poll.field("stream-next-offset").unwrap().to_owned();
    let mut waits = site.connect();
    waits.send(format!(
        "GET /channels/a?offset={next}&live=long-poll&publisher=me HTTP/1.1\r\nHost: x\r\n\r\n"
    ));
    append(3, "me");
    append(4, "you");
    assert_eq!(waits.response().text(), "[4]");
    for expected in ["1", "4"] {
        assert_eq!(raw.text(), expected);
        assert!(ndjson.event().contains(&format!("\"data\":{expected}}}")));
        assert!(events.event().contains(&format!("data: {expected}\n")));
    }
    // The message of the raw WebSocket is in the log, with its publisher.
    let page = site.ask("GET /channels/a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(page.text().len(), "[0,1,2,3,4]".len(), "{}", page.text());
    assert!(page.text().contains('2'));
}
