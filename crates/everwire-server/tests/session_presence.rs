//! Who is there, as sessions tell and are told.

mod common;

use common::{CARRIERS, Carrier, Session, Site, subscribe, without_linger};
use serde_json::{Value, json};

/// Opens a session that is on a channel as this user.
fn present<'s>(site: &'s Site, carrier: Carrier, user: &str) -> (Session<'s>, Value) {
    let mut session = Session::open(site, carrier, "");
    let presence = json!({"user": user, "info": {"name": user.to_uppercase()}});
    let command = json!({"op": "subscribe", "channel": "room", "presence": presence});
    let ok = session.ok(command);
    (session, ok["presence"].clone())
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
