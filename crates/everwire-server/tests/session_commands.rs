//! What a session is asked for, alone or many in one request, and what it answers to what cannot be done.

mod common;

use common::{Carrier, Frame, Session, Site, client_frame, over_every_wire, subscribe};
use serde_json::{Value, json};

#[test]
fn what_cannot_be_done_is_told_and_the_line_stays() {
    over_every_wire(|site, carrier| {
        let mut session = Session::open(site, carrier, "");
        session.ok(subscribe("a"));
        site.publish("text", "text/plain", "hello");
        for (command, kind, said) in [
            (json!({"op": "dance"}), "bad-request", "dance"),
            (json!({"op": "ping", "colour": 1}), "bad-request", "colour"),
            (json!({"op": "subscribe"}), "bad-request", "`channel`"),
            (
                json!({"op": "subscribe", "channel": "a//b"}),
                "bad-name",
                "empty",
            ),
            (
                json!({"op": "subscribe", "channel": "b", "offset": "?"}),
                "bad-offset",
                "offset",
            ),
            (
                json!({"op": "unsubscribe", "channel": "b"}),
                "bad-request",
                "does not read",
            ),
            (
                json!({"op": "publish", "channel": "text", "data": 7}),
                "bad-request",
                "text",
            ),
            (
                json!({"op": "publish", "channel": "text", "data64": ""}),
                "bad-request",
                "data64",
            ),
            (
                json!({"op": "publish", "channel": "b", "data64": "?"}),
                "bad-request",
                "base64",
            ),
            (
                json!({"op": "history", "channel": "none"}),
                "not-found",
                "no channel none",
            ),
            (
                json!({"op": "authenticate", "token": "t"}),
                "bad-credential",
                "neither a token",
            ),
        ] {
            let mut command = command;
            command["id"] = json!(["any", 1]);
            let reply = session.ask(command.clone());
            assert_eq!(reply["re"], command["id"]);
            assert_eq!(reply["error"]["type"], kind, "{command} gave {reply}");
            let detail = reply["error"]["detail"].as_str().unwrap();
            assert!(detail.contains(said), "{command} gave {detail}");
        }
        site.publish("a", "application/json", "1");
        assert_eq!(session.entry().1, 1);
    });
}

#[test]
fn what_is_no_message_ends_a_websocket_and_is_refused_in_a_request() {
    let site = Site::start();
    for text in ["[]", "hello", "{"] {
        let mut session = Session::open(&site, Carrier::WebSocket, "");
        session.peer.send(client_frame(0x81, text.as_bytes()));
        assert_eq!(session.peer.frame(), Frame::Close(4400), "{text}");
    }
    let session = Session::open(&site, Carrier::Ndjson, "");
    for (content, status) in [("hello", 400), ("[1]", 400), ("[", 400), ("[]", 200)] {
        assert_eq!(session.post(content).status, status, "{content}");
    }
}

/// After a Close frame nothing may be sent (RFC 6455, section 5.5.1), and what was asked before it was asked.
#[test]
fn what_was_asked_before_a_close_frame_is_answered_before_it() {
    let site = Site::start();
    let mut session = Session::open(&site, Carrier::WebSocket, "");
    let mut bytes = client_frame(0x81, br#"{"id":1,"op":"ping"}"#);
    bytes.extend(client_frame(0x88, &[]));
    session.peer.send(bytes);
    assert_eq!(
        session.peer.frame(),
        Frame::Text(r#"{"re":1,"ok":{}}"#.to_owned())
    );
    assert_eq!(session.peer.raw_frame(), (0x88, Vec::new()));
}

#[test]
fn a_request_that_is_refused_has_done_nothing() {
    let site = Site::start();
    let session = Session::open(&site, Carrier::Ndjson, "");
    let publish = r#"{"op":"publish","channel":"a","data":1}"#;
    for (second, status) in [("7", 400), (r#"{"op":"history","last":1e999}"#, 200)] {
        let response = session.post(&format!("[{publish},{second}]"));
        assert_eq!(response.status, status, "{second}");
        let published = site.metric("everwire_entries_published_total") > 0;
        assert_eq!(published, status == 200, "{second}");
    }
}

#[test]
fn a_request_answers_each_command_in_its_place() {
    let site = Site::with(|config| config.sessions.commands_max = 3);
    let session = Session::open(&site, Carrier::EventStream, "");
    let response =
        session.post(r#"[{"id":1,"op":"ping"},{"id":2,"op":"dance"},{"id":3,"op":"ping"}]"#);
    let replies: Vec<Value> = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(replies[0], json!({"re": 1, "ok": {}}));
    assert_eq!(replies[1]["error"]["type"], "bad-request");
    assert_eq!(replies[2], json!({"re": 3, "ok": {}}));
    let ping = r#"{"op":"ping"}"#;
    let refused = session.post(&format!("[{ping},{ping},{ping},{ping}]"));
    assert_eq!(refused.status, 413);
    assert_eq!(
        site.metric("everwire_limits_met_total{limit=\"commands_max\"}"),
        1
    );
}

#[test]
fn a_request_is_answered_with_about_a_page() {
    let site = Site::with(|config| config.limits.page_bytes_max = 1_000);
    site.publish("a", "application/json", format!("\"{}\"", "x".repeat(600)));
    let session = Session::open(&site, Carrier::Ndjson, "");
    let history = |id| json!({"id": id, "op": "history", "channel": "a"});
    let response = session.post(&json!([history(1), history(2), history(3)]).to_string());
    let replies: Vec<Value> = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(replies[1]["ok"]["up_to_date"], true);
    assert_eq!(
        (&replies[2]["re"], &replies[2]["error"]["type"]),
        (&json!(3), &json!("too-many"))
    );
}

#[test]
fn a_session_that_takes_nothing_is_not_listened_to() {
    let site = Site::start();
    let mut session = Session::open_narrow(&site, Carrier::Ndjson);
    session.ok(subscribe("a"));
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    while site.metric("everwire_lines_behind_total") == 0 {
        site.publish("a", "application/json", &large);
    }
    let again = r#"[{"op":"subscribe","channel":"b"},{"op":"unsubscribe","channel":"b"}]"#;
    let refused = (0..1000)
        .map(|_| session.post(again))
        .find(|response| response.status != 200)
        .expect("what is told of each command piles up");
    assert_eq!(refused.status, 429);
    assert!(refused.text().contains("read its stream"));
    assert_eq!(
        site.metric("everwire_limits_met_total{limit=\"backlog_bytes_max\"}"),
        1
    );
    // Whoever reads is listened to again.
    while session.post(again).status == 429 {
        session.event();
    }
}

#[test]
fn a_session_reads_as_many_channels_as_it_may() {
    let site = Site::with(|config| config.sessions.channels_max = 2);
    let mut session = Session::open(&site, Carrier::WebSocket, "");
    session.ok(subscribe("a"));
    session.ok(subscribe("b"));
    let refused = session.ask(subscribe("c"));
    assert_eq!(refused["error"]["type"], "too-many");
    assert_eq!(
        site.metric("everwire_limits_met_total{limit=\"channels_max\"}"),
        1
    );
    session.ok(json!({"op": "unsubscribe", "channel": "a"}));
    session.ok(subscribe("c"));
}

#[test]
fn what_is_not_granted_is_refused_by_channel() {
    let site = Site::with(|config| {
        config.dev = false;
        config.rules = toml::from_str::<
            std::collections::HashMap<String, Vec<everwire_server::config::Rule>>,
        >(
            "[[rules]]\nmatch = \"open/*\"\nanonymous = [\"read\", \"publish\"]\n\
             [[rules]]\nmatch = \"news\"\nanonymous = [\"read\"]",
        )
        .unwrap()
        .remove("rules")
        .unwrap();
    });
    let mut session = Session::open(&site, Carrier::WebSocket, "");
    session.ok(subscribe("open/a"));
    session.ok(subscribe("news"));
    for command in [
        subscribe("open/a/b"),
        subscribe("private"),
        json!({"op": "history", "channel": "private"}),
        json!({"op": "publish", "channel": "news", "data": 1}),
    ] {
        let reply = session.ask(command.clone());
        assert_eq!(reply["error"]["type"], "unauthorized", "{command}");
    }
    session.ok(json!({"op": "publish", "channel": "open/a", "data": 1}));
}
