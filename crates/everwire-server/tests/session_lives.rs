//! How a session begins, is polled and spoken for by requests, and ends.

mod common;

use common::{Carrier, Session, Site, subscribe, websocket_request};
use serde_json::{Value, json};

#[test]
fn a_session_is_asked_for_by_a_wire() {
    let site = Site::start();
    let plain = site.ask("GET /connect HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(plain.status, 400);
    assert!(
        plain.text().contains("text/event-stream"),
        "{}",
        plain.text()
    );
    let mut bare = site.connect();
    bare.send(websocket_request("/connect", ""));
    assert_eq!(bare.response().status, 400);
    assert_eq!(
        site.ask("PUT /connect HTTP/1.1\r\nHost: x\r\n\r\n").status,
        405
    );
    assert_eq!(
        site.ask("POST /connect/none HTTP/1.1\r\nHost: x\r\n\r\n")
            .status,
        404
    );
}

#[test]
fn a_session_is_asked_for_without_content() {
    let site = Site::start();
    for accept in ["application/x-ndjson", "application/json"] {
        let response = site.ask(&format!(
            "GET /connect HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nContent-Length: 2\r\n\r\n{{}}"
        ));
        assert_eq!(response.status, 400, "{accept}");
    }
}

#[test]
fn only_its_own_client_speaks_for_a_session() {
    let site = Site::start();
    let mut session = Session::open(&site, Carrier::LongPoll, "");
    let secret = session.welcome["secret"].take();
    for method in ["GET", "POST", "DELETE"] {
        assert_eq!(session.request(method, "", "").status, 403, "{method}");
    }
    session.welcome["secret"] = secret;
    assert_eq!(session.request("PATCH", "", "").status, 405);
    assert_eq!(session.request("DELETE", "", "").status, 204);
    site.until("the session is gone", |site| {
        site.metric("everwire_sessions") == 0
    });
    assert_eq!(session.request("GET", "", "").status, 404);
    assert_eq!(site.metric("everwire_lines"), 0);
}

#[test]
fn an_answer_that_was_not_acknowledged_comes_again() {
    let site = Site::start();
    let mut session = Session::open(&site, Carrier::LongPoll, "");
    let welcome = session.request("GET", "", "");
    assert!(welcome.text().contains("\"last\":1"), "{}", welcome.text());
    session.ok(subscribe("a"));
    site.publish("a", "application/json", "1");
    let first = session.request("GET", "?ack=1", "");
    assert!(first.text().contains("\"last\":2"), "{}", first.text());
    site.publish("a", "application/json", "2");
    assert_eq!(session.request("GET", "?ack=1", "").body, first.body);
    let second = session.request("GET", "?ack=2", "");
    assert!(second.text().contains("\"last\":3"), "{}", second.text());
    assert!(!second.text().contains("\"data\":1"), "{}", second.text());
}

#[test]
fn of_two_polls_the_newer_waits() {
    let site = Site::start();
    let session = Session::open(&site, Carrier::LongPoll, "");
    let mut older = site.connect();
    older.send(format!(
        "GET /connect/{}?ack=1 HTTP/1.1\r\nHost: x\r\nEverwire-Secret: {}\r\n\r\n",
        session.welcome["session"].as_str().unwrap(),
        session.welcome["secret"].as_str().unwrap(),
    ));
    // Some of them come after it.
    for _ in 0..50 {
        let newer = session.poll_briefly("?ack=1");
        assert!(matches!(newer.status, 204 | 409), "{}", newer.text());
    }
    let response = older.response();
    assert_eq!(response.status, 409);
    assert!(
        response.text().contains("/replaced\""),
        "{}",
        response.text()
    );
}

#[test]
fn a_session_that_nobody_polls_is_gone() {
    let site = Site::with(|config| {
        config.sessions.poll_gap_ms = 50;
        config.http.heartbeat_ms = 1000;
    });
    let session = Session::open(&site, Carrier::LongPoll, "");
    site.until("the session is gone", |site| {
        site.metric("everwire_sessions") == 0
    });
    assert_eq!(session.request("GET", "?ack=1", "").status, 404);
}

/// What nobody will take keeps no line, which would keep the server from stopping.
#[test]
fn a_session_by_polls_that_is_ended_leaves_nothing_behind_however_much_waits() {
    let site = Site::start();
    let mut session = Session::open(&site, Carrier::LongPoll, "");
    session.ok(subscribe("a"));
    for _ in 0..20 {
        site.publish("a", "text/plain", "x".repeat(10_000));
    }
    site.until("more waits than fits", |site| {
        site.metric("everwire_lines_behind_total") > 0
    });
    assert_eq!(session.request("DELETE", "", "").status, 204);
    site.until("the line is gone", |site| {
        site.metric("everwire_lines") == 0
    });
}

#[test]
fn a_session_over_a_stream_is_gone_with_its_stream() {
    for carrier in [Carrier::EventStream, Carrier::Ndjson, Carrier::WebSocket] {
        let site = Site::start();
        let mut session = Session::open(&site, carrier, "");
        session.ok(subscribe("a"));
        assert_eq!(site.metric("everwire_sessions"), 1);
        drop(session);
        site.until("the session is gone", |site| {
            site.metric("everwire_sessions") == 0
        });
        assert_eq!(site.metric("everwire_lines"), 0);
    }
}

#[test]
fn servers_are_told_of_sessions_that_come_and_go() {
    let site = Site::with(|config| config.events.enabled = true);
    let mut events = site.stream("$everwire/sessions", "", "application/x-ndjson");
    let session = Session::open(&site, Carrier::Ndjson, "");
    let id = session.welcome["session"].clone();
    let told = |event: String| -> Value { serde_json::from_str(&event).unwrap() };
    let connected = told(events.event());
    assert_eq!(connected["event"], "connected");
    assert_eq!(connected["data"]["sessions"], json!([{"session": id}]));
    drop(session);
    let disconnected = told(events.event());
    assert_eq!(disconnected["event"], "disconnected");
    assert_eq!(disconnected["data"]["sessions"][0]["session"], id);
}
