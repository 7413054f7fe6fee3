//! Sessions: many channels on one line, the same over every wire.

mod common;

use common::{
    CARRIERS, Carrier, Frame, Session, Site, client_frame, over_every_wire, subscribe,
    without_linger,
};
use serde_json::{Value, json};

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
