//! Sessions: many channels on one line, the same over every wire.

mod common;

use common::{CARRIERS, Carrier, Frame, Session, Site, client_frame, websocket_request};
use serde_json::{Value, json};

/// Each wire in turn, each on a server of its own.
fn over_every_wire(check: impl Fn(&Site, Carrier)) {
    for carrier in CARRIERS {
        eprintln!("over {carrier:?}");
        check(&Site::start(), carrier);
    }
}

fn subscribe(channel: &str) -> Value {
    json!({"id": 1, "op": "subscribe", "channel": channel})
}

#[test]
fn a_session_reads_many_channels_each_in_order() {
    over_every_wire(|site, carrier| {
        let mut session = Session::open(site, carrier, "");
        for channel in ["a", "b", "c"] {
            assert_eq!(session.ok(subscribe(channel))["recovered"], true);
        }
        for n in 0..20 {
            for channel in ["a", "b", "c", "unread"] {
                site.publish(channel, "application/json", n.to_string());
            }
        }
        let mut next = [("a", 0), ("b", 0), ("c", 0)];
        for _ in 0..60 {
            let (channel, data) = session.entry();
            let (_, n) = next.iter_mut().find(|(name, _)| *name == channel).unwrap();
            assert_eq!(data, *n, "{channel}");
            *n += 1;
        }
        assert_eq!(next, [("a", 20), ("b", 20), ("c", 20)]);
    });
}

#[test]
fn a_session_resumes_each_channel_where_it_was() {
    over_every_wire(|site, carrier| {
        for n in 0..5 {
            site.publish("a", "application/json", n.to_string());
        }
        let mut first = Session::open(site, carrier, "");
        first.ok(json!({"op": "subscribe", "channel": "a", "offset": "-1"}));
        let mut offset = Value::Null;
        for _ in 0..3 {
            offset = first.event()["offset"].clone();
        }
        drop(first);
        let mut again = Session::open(site, carrier, "");
        let ok = again.ok(json!({"op": "subscribe", "channel": "a", "offset": offset}));
        assert_eq!((&ok["offset"], &ok["recovered"]), (&offset, &json!(true)));
        assert_eq!(again.entry().1, 3);
        assert_eq!(again.entry().1, 4);
        let mut last = Session::open(site, carrier, "");
        last.ok(json!({"op": "subscribe", "channel": "a", "last": 1}));
        assert_eq!(last.entry().1, 4);
    });
}

#[test]
fn entries_that_are_gone_are_told_as_one_gap() {
    for carrier in CARRIERS {
        let site = Site::with(|config| config.channels.retain_entries = 2);
        site.publish("a", "application/json", "0");
        let mut early = Session::open(&site, carrier, "");
        early.ok(json!({"op": "subscribe", "channel": "a", "offset": "-1"}));
        let offset = early.event()["offset"].clone();
        for n in 1..6 {
            site.publish("a", "application/json", n.to_string());
        }
        let mut session = Session::open(&site, carrier, "");
        let ok = session.ok(json!({"op": "subscribe", "channel": "a", "offset": offset}));
        assert_eq!(ok["recovered"], false, "{carrier:?}");
        let gap = session.event();
        assert_eq!((&gap["ev"], &gap["channel"]), (&json!("gap"), &json!("a")));
        assert_eq!(gap["oldest"], ok["offset"]);
        assert_eq!(session.entry().1, 4);
        assert_eq!(session.entry().1, 5);
    }
}

#[test]
fn nothing_of_a_channel_follows_the_reply_to_unsubscribe() {
    let site = Site::start();
    let mut session = Session::open(&site, Carrier::WebSocket, "");
    session.ok(subscribe("a"));
    session.ok(subscribe("b"));
    site.publish("a", "application/json", "1");
    assert_eq!(session.entry(), ("a".to_owned(), json!(1)));
    session.ok(json!({"op": "unsubscribe", "channel": "a"}));
    site.publish("a", "application/json", "2");
    site.publish("b", "application/json", "3");
    assert_eq!(session.entry(), ("b".to_owned(), json!(3)));
    // And it may be read again from where it was left.
    session.ok(json!({"op": "subscribe", "channel": "a", "last": 1}));
    assert_eq!(session.entry(), ("a".to_owned(), json!(2)));
}

#[test]
fn a_session_publishes_once_however_often_it_asks() {
    over_every_wire(|site, carrier| {
        let mut session = Session::open(site, carrier, "");
        let publish = json!({"op": "publish", "channel": "a", "data": {"text": "hi"}, "event": "said", "key": "k1"});
        let first = session.ok(publish.clone());
        assert_eq!(session.ok(publish)["offset"], first["offset"]);
        let page = session.ok(json!({"op": "history", "channel": "a"}));
        assert_eq!(page["entries"].as_array().unwrap().len(), 1);
        assert_eq!(page["entries"][0]["data"], json!({"text": "hi"}));
        assert_eq!(page["entries"][0]["event"], "said");
        assert_eq!(
            (&page["offset"], &page["up_to_date"]),
            (&first["offset"], &json!(true))
        );
        // Bytes go as base64.
        session.ok(json!({"op": "publish", "channel": "bytes", "data64": "/wA="}));
        let page = session.ok(json!({"op": "history", "channel": "bytes"}));
        assert_eq!(page["entries"][0]["data64"], "/wA=");
    });
}

#[test]
fn history_is_read_a_page_at_a_time() {
    let site = Site::start();
    site.publish("a", "application/json", "[0,1,2,3,4]");
    let mut session = Session::open(&site, Carrier::WebSocket, "");
    let (mut offset, mut read) = (json!("-1"), Vec::new());
    loop {
        let page =
            session.ok(json!({"op": "history", "channel": "a", "offset": offset, "limit": 2}));
        let entries = page["entries"].as_array().unwrap();
        read.extend(entries.iter().map(|entry| entry["data"].clone()));
        offset = page["offset"].clone();
        if page["up_to_date"] == true {
            break;
        }
    }
    assert_eq!(read, [0, 1, 2, 3, 4]);
}

#[test]
fn a_session_goes_on_when_a_channel_ends() {
    over_every_wire(|site, carrier| {
        let mut session = Session::open(site, carrier, "");
        session.ok(subscribe("a"));
        session.ok(subscribe("b"));
        let closed = site.ask(
            "POST /channels/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nStream-Closed: true\r\nContent-Length: 1\r\n\r\n1",
        );
        assert_eq!(closed.status, 204);
        assert_eq!(session.entry(), ("a".to_owned(), json!(1)));
        let end = session.event();
        assert_eq!(
            (&end["ev"], &end["channel"]),
            (&json!("closed"), &json!("a"))
        );
        site.publish("b", "application/json", "2");
        assert_eq!(session.entry(), ("b".to_owned(), json!(2)));
    });
}

#[test]
fn a_channel_that_is_asked_for_again_begins_anew() {
    over_every_wire(|site, carrier| {
        let mut session = Session::open(site, carrier, "");
        site.publish("a", "application/json", "[1,2]");
        for last in [2, 1] {
            session.ok(json!({"op": "subscribe", "channel": "a", "last": last}));
            for n in 3 - last..3 {
                assert_eq!(session.entry(), ("a".to_owned(), json!(n)));
            }
        }
        site.publish("a", "application/json", "3");
        site.publish("a", "application/json", "4");
        for n in [3, 4] {
            assert_eq!(session.entry(), ("a".to_owned(), json!(n)), "once");
        }
        session.ok(json!({"op": "unsubscribe", "channel": "a"}));
    });
}

#[test]
fn a_channel_that_is_asked_for_again_and_refused_is_read_on() {
    for carrier in CARRIERS {
        let site = Site::with(without_linger);
        let mut session = Session::open(&site, carrier, "");
        session.ok(json!({"op": "subscribe", "channel": "a", "presence": {"user": "ada"}}));
        for presence in [
            json!({"info": "x".repeat(2_000)}),
            json!({"user": "u".repeat(200)}),
            json!({"offset": "?"}),
        ] {
            let again = json!({"op": "subscribe", "channel": "a", "presence": presence});
            assert!(session.ask(again)["error"].is_object());
        }
        site.publish("a", "application/json", "1");
        assert_eq!(session.entry(), ("a".to_owned(), json!(1)));
        let total = |session: &mut Session<'_>| {
            session.ok(json!({"op": "presence", "channel": "a"}))["total"].clone()
        };
        assert_eq!(total(&mut session), 1);
        // Who asks to watch alone has its place no longer.
        let watch = json!({"op": "subscribe", "channel": "a", "presence": {"join": false}});
        session.ok(watch);
        assert_eq!(total(&mut session), 0);
    }
}

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
fn a_session_that_takes_nothing_is_not_listened_to() {
    let site = Site::start();
    let mut session = Session::open_narrow(&site, Carrier::Ndjson);
    session.ok(subscribe("a"));
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    while site.metric("everwire_lines_behind_total") == 0 {
        site.publish("a", "application/json", &large);
    }
    let again = r#"[{"op":"subscribe","channel":"b"},{"op":"unsubscribe","channel":"b"}]"#;
    let refused = (0..1000).any(|_| session.post(again).status == 429);
    assert!(refused, "what is told of each command piles up");
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

#[test]
fn a_channels_own_url_is_a_session_that_reads_it_already() {
    let site = Site::start();
    let mut peer = site.connect();
    peer.open_websocket("a", "", "Sec-WebSocket-Protocol: everwire.v1\r\n");
    let welcome: Value = serde_json::from_str(&peer.text()).unwrap();
    assert_eq!(welcome["channel"], "a");
    assert!(welcome["offset"].is_string() && welcome["session"].is_string());
    let mut say = |command: Value| peer.send(client_frame(0x81, command.to_string().as_bytes()));
    say(json!({"id": 1, "op": "publish", "data": 1}));
    say(json!({"id": 2, "op": "subscribe", "channel": "b"}));
    let mut heard = Vec::new();
    for _ in 0..3 {
        heard.push(serde_json::from_str::<Value>(&peer.text()).unwrap());
    }
    assert!(
        heard
            .iter()
            .any(|told| told["ev"] == "entry" && told["channel"] == "a")
    );
    for name in ["b", "a"] {
        let deleted = site.ask(&format!(
            "DELETE /channels/{name} HTTP/1.1\r\nHost: x\r\n\r\n"
        ));
        assert_eq!(deleted.status, 204);
        let told: Value = serde_json::from_str(&peer.text()).unwrap();
        assert_eq!(
            (&told["ev"], &told["channel"]),
            (&json!("closed"), &json!(name))
        );
    }
    assert_eq!(peer.frame(), Frame::Close(1000));
}

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

/// Opens a session that is on a channel as this user.
fn present<'s>(site: &'s Site, carrier: Carrier, user: &str) -> (Session<'s>, Value) {
    let mut session = Session::open(site, carrier, "");
    let presence = json!({"user": user, "info": {"name": user.to_uppercase()}});
    let command = json!({"op": "subscribe", "channel": "room", "presence": presence});
    let ok = session.ok(command);
    (session, ok["presence"].clone())
}

fn without_linger(config: &mut everwire_server::Config) {
    config.presence.linger_ms = 0;
}

#[test]
fn those_present_see_each_other_come_and_go() {
    for carrier in CARRIERS {
        let site = Site::with(without_linger);
        let (mut ada, there) = present(&site, carrier, "ada");
        assert_eq!(
            there["members"],
            json!([{"user": "~ada", "info": {"name": "ADA"}, "count": 1}])
        );
        let (mut bob, there) = present(&site, carrier, "bob");
        assert_eq!(there["members"].as_array().unwrap().len(), 2);
        let join = ada.event();
        assert_eq!(
            (
                &join["ev"],
                &join["channel"],
                &join["user"],
                &join["info"]["name"]
            ),
            (
                &json!("join"),
                &json!("room"),
                &json!("~bob"),
                &json!("BOB")
            )
        );
        assert!(join["offset"].is_string() && join["time"].is_u64());
        bob.ok(json!({"op": "unsubscribe", "channel": "room"}));
        let leave = ada.event();
        assert_eq!(
            (&leave["ev"], &leave["user"]),
            (&json!("leave"), &json!("~bob"))
        );
        let there = bob.ok(json!({"op": "presence", "channel": "room"}));
        assert_eq!(there["members"].as_array().unwrap().len(), 1, "{carrier:?}");
        // From before its leave, it is told what it missed, and not who is there.
        let again = json!({"op": "subscribe", "channel": "room", "presence": {"user": "bob", "offset": join["offset"]}});
        let there = bob.ok(again);
        assert_eq!(there["presence"]["members"], Value::Null);
        assert_eq!(bob.event()["ev"], "leave");
        assert_eq!(bob.event()["ev"], "join");
    }
}

#[test]
fn a_line_that_is_cut_leaves_and_a_reload_does_neither() {
    let site = Site::start();
    let (mut ada, _) = present(&site, Carrier::WebSocket, "ada");
    let (bob, _) = present(&site, Carrier::EventStream, "bob");
    assert_eq!(ada.event()["user"], "~bob");
    drop(bob);
    site.until("the session is gone", |site| {
        site.metric("everwire_sessions") == 1
    });
    // Back within the linger.
    let (_bob, there) = present(&site, Carrier::Ndjson, "bob");
    assert_eq!(there["members"].as_array().unwrap().len(), 2);
    site.publish("room", "application/json", "1");
    assert_eq!(ada.entry().1, 1, "neither a leave nor a join came before");

    let brisk = Site::with(without_linger);
    let (mut ada, _) = present(&brisk, Carrier::WebSocket, "ada");
    let (bob, _) = present(&brisk, Carrier::WebSocket, "bob");
    assert_eq!(ada.event()["user"], "~bob");
    drop(bob);
    assert_eq!(ada.event()["ev"], "leave");
}

#[test]
fn several_sessions_of_a_user_are_one_member() {
    let site = Site::with(without_linger);
    let (mut watcher, _) = present(&site, Carrier::WebSocket, "watcher");
    let (first, _) = present(&site, Carrier::WebSocket, "ada");
    let (mut second, there) = present(&site, Carrier::Ndjson, "ada");
    assert_eq!(there["members"][0]["count"], 2);
    assert_eq!(watcher.event()["ev"], "join");
    drop(first);
    site.until("the session is gone", |site| {
        site.metric("everwire_sessions") == 2
    });
    let there = second.ok(json!({"op": "presence", "channel": "room"}));
    assert_eq!(there["members"][0]["count"], 1);
    drop(second);
    assert_eq!(watcher.event()["ev"], "leave", "only the last one is told");
}

/// A list for each of very many who come would cost the square of their number.
#[test]
fn a_list_names_so_many_and_tells_how_many_there_are() {
    let site = Site::with(|config| config.presence.listed_max = 2);
    let present: Vec<_> = ["a", "b", "c"]
        .map(|user| present(&site, Carrier::WebSocket, user))
        .into();
    let there = &present[2].1;
    assert_eq!(there["total"], 3);
    assert_eq!(there["members"].as_array().unwrap().len(), 2);
}

#[test]
fn one_may_watch_without_being_there() {
    let site = Site::with(without_linger);
    let mut watcher = Session::open(&site, Carrier::WebSocket, "");
    let command = json!({"op": "subscribe", "channel": "room", "presence": {"join": false}});
    assert_eq!(watcher.ok(command)["presence"]["members"], json!([]));
    let mut nameless = Session::open(&site, Carrier::WebSocket, "");
    let command = json!({"op": "subscribe", "channel": "room", "presence": true});
    nameless.ok(command);
    let join = watcher.event();
    assert!(join["user"].as_str().unwrap().starts_with('~'), "{join}");
}

#[test]
fn presence_is_a_right_of_its_own() {
    let site = Site::with(|config| {
        config.dev = false;
        config.channels.anonymous = vec![everwire_server::config::Action::Read];
    });
    let mut session = Session::open(&site, Carrier::WebSocket, "");
    for command in [
        json!({"op": "subscribe", "channel": "room", "presence": true}),
        json!({"op": "presence", "channel": "room"}),
    ] {
        assert_eq!(session.ask(command)["error"]["type"], "unauthorized");
    }
    // What was refused did not begin.
    session.ok(subscribe("room"));
}

#[test]
fn whoever_ends_with_the_channel_is_there_no_more() {
    let site = Site::with(without_linger);
    let (mut ada, _) = present(&site, Carrier::WebSocket, "ada");
    let deleted = site.ask("DELETE /channels/room HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(deleted.status, 204);
    assert_eq!(ada.event()["ev"], "closed");
    let there = ada.ok(json!({"op": "presence", "channel": "room"}));
    assert_eq!(there["members"], json!([]));
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
