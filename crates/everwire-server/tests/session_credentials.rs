//! Sessions by their credentials: what each command may do, a fresh token on the open line, and who is there.

mod common;

use common::{
    CARRIERS, Carrier, Session, Site,
    issuer::{Issuer, now_s, trust_all},
    subscribe,
};
use everwire_server::config::Action;
use serde_json::{Value, json};

/// A token with these grants: a pattern, and what may be done there.
fn token(user: &str, grants: &[(&str, &[&str])]) -> String {
    token_with(json!({"sub": user, "channels": channels(grants)}))
}

fn token_with(claims: Value) -> String {
    Issuer::shared().token(claims)
}

fn channels(grants: &[(&str, &[&str])]) -> Value {
    let grant = |(pattern, can): &(&str, &[&str])| json!({"match": pattern, "can": can});
    grants.iter().map(grant).collect()
}

fn open<'s>(site: &'s Site, carrier: Carrier, token: &str) -> Session<'s> {
    Session::open(site, carrier, &format!("?token={token}"))
}

fn authenticate(token: &str) -> Value {
    json!({"id": 2, "op": "authenticate", "token": token})
}

fn error(reply: &Value) -> &str {
    reply["error"]["type"].as_str().unwrap_or("none")
}

const READ: &[&str] = &["read"];
const ALL: &[&str] = &["read", "publish", "presence"];

/// Publishes as somebody who may.
fn publish(site: &Site, name: &str, text: &str) {
    let token = token("server", &[("**", ALL)]);
    let length = text.len();
    let response = site.ask(&format!(
        "POST /channels/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{text}"
    ));
    assert_eq!(response.status, 204, "{}", response.text());
}

#[test]
fn each_command_is_judged_by_the_token_that_opened_the_session() {
    for carrier in CARRIERS {
        let site = Site::with(trust_all);
        let mut session = open(
            &site,
            carrier,
            &token("ada", &[("chat/*", READ), ("in", &["publish"])]),
        );
        session.ok(subscribe("chat/a"));
        session.ok(json!({"op": "publish", "channel": "in", "data": 1}));
        for command in [
            subscribe("chat/a/b"),
            subscribe("in"),
            subscribe("$everwire/sessions"),
            json!({"op": "publish", "channel": "chat/a", "data": 1}),
            json!({"op": "history", "channel": "in"}),
            json!({"op": "presence", "channel": "chat/a"}),
            json!({"op": "subscribe", "channel": "chat/b", "presence": true}),
        ] {
            let reply = session.ask(command.clone());
            assert_eq!(
                error(&reply),
                "forbidden",
                "{carrier:?} {command} gave {reply}"
            );
        }
        let mut anonymous = Session::open(&site, carrier, "");
        assert_eq!(
            error(&anonymous.ask(subscribe("chat/a"))),
            "unauthorized",
            "{carrier:?}"
        );
    }
}

#[test]
fn a_fresh_token_goes_on_where_the_old_one_was_and_ends_what_it_does_not_grant() {
    for carrier in CARRIERS {
        let site = Site::with(trust_all);
        let both = token("ada", &[("a", ALL), ("b", ALL)]);
        let mut session = open(&site, carrier, &both);
        session.ok(subscribe("a"));
        session.ok(json!({"op": "subscribe", "channel": "b", "presence": true}));
        let other =
            token_with(json!({"sub": "ada", "jti": "2", "channels": channels(&[("a", READ)])}));
        session.ok(authenticate(&other));
        let revoked = session.event();
        assert_eq!(
            (&revoked["ev"], &revoked["channel"]),
            (&json!("revoked"), &json!("b")),
            "{carrier:?}"
        );
        publish(&site, "b", "1");
        publish(&site, "a", "2");
        assert_eq!(session.entry(), ("a".to_owned(), json!(2)), "{carrier:?}");
        assert_eq!(error(&session.ask(subscribe("b"))), "forbidden");
        // And it may be given back.
        session.ok(authenticate(&both));
        session.ok(json!({"op": "subscribe", "channel": "b", "last": 1}));
        assert_eq!(session.entry(), ("b".to_owned(), json!(1)), "{carrier:?}");
    }
}

#[test]
fn who_asked_for_a_channel_and_its_members_loses_both_at_once() {
    let site = Site::with(trust_all);
    for (left, missing) in [(&["read"][..], "`presence`"), (&["presence"], "`read`")] {
        let mut session = open(&site, Carrier::WebSocket, &token("ada", &[("a", ALL)]));
        session.ok(json!({"op": "subscribe", "channel": "a", "presence": true}));
        session.ok(authenticate(&token("ada", &[("a", left)])));
        let revoked = session.event();
        assert_eq!(
            (&revoked["ev"], &revoked["channel"]),
            (&json!("revoked"), &json!("a"))
        );
        assert!(
            revoked["detail"].as_str().unwrap().contains(missing),
            "{revoked}"
        );
        publish(&site, "a", "1");
        let unsubscribed = session.ask(json!({"op": "unsubscribe", "channel": "a"}));
        assert_eq!(
            error(&unsubscribed),
            "bad-request",
            "it reads nothing: {unsubscribed}"
        );
        let mut other = open(&site, Carrier::WebSocket, &token("bob", &[("a", ALL)]));
        let members = &other.ok(json!({"op": "presence", "channel": "a"}))["members"];
        assert_eq!(
            members[0]["count"], 0,
            "it lingers as one who has left: {members}"
        );
    }
}

#[test]
fn a_session_stays_its_callers() {
    let site = Site::with(trust_all);
    let mut session = open(&site, Carrier::WebSocket, &token("ada", &[("a", READ)]));
    for (shown, expected) in [
        (token("bob", &[("**", ALL)]), "forbidden"),
        (
            token_with(json!({"channels": channels(&[("**", ALL)])})),
            "forbidden",
        ),
        (
            token_with(json!({"sub": "ada", "exp": now_s() - 60})),
            "expired-credential",
        ),
        ("a.b.c".to_owned(), "bad-credential"),
        (String::new(), "bad-credential"),
    ] {
        let reply = session.ask(authenticate(&shown));
        assert_eq!(error(&reply), expected, "{reply}");
        assert!(
            shown.is_empty() || !reply.to_string().contains(&shown),
            "{reply}"
        );
    }
    session.ok(subscribe("a"));
    assert_eq!(
        error(&session.ask(subscribe("b"))),
        "forbidden",
        "nothing was added"
    );
}

#[test]
fn nobody_in_particular_becomes_somebody_on_the_open_line() {
    let site = Site::with(|config| {
        trust_all(config);
        config.channels.anonymous = vec![Action::Read, Action::Presence];
    });
    let mut session = Session::open(&site, Carrier::WebSocket, "");
    session.ok(json!({"op": "subscribe", "channel": "a", "presence": {"user": "ada"}}));
    session.ok(authenticate(&token_with(
        json!({"sub": "ada", "info": {"name": "Ada"}}),
    )));
    // It is one member at a time, and has left as who it claimed to be.
    let (leave, join) = (session.event(), session.event());
    assert_eq!(
        (&leave["ev"], &leave["user"]),
        (&json!("leave"), &json!("~ada")),
        "{leave}"
    );
    assert_eq!(
        (&join["ev"], &join["user"]),
        (&json!("join"), &json!("ada")),
        "{join}"
    );
    assert_eq!(join["info"], json!({"name": "Ada"}));
}

#[test]
fn a_member_is_who_its_token_says() {
    let site = Site::with(trust_all);
    let grants = channels(&[("a", ALL)]);
    let vouched = token_with(json!({"sub": "ada", "info": {"name": "Ada"}, "channels": grants}));
    let named = token_with(json!({"sub": "bob", "channels": grants}));
    let nameless = token_with(json!({"channels": grants}));
    for (token, presence, expected) in [
        (&vouched, json!(true), Ok(("ada", json!({"name": "Ada"})))),
        (
            &vouched,
            json!({"user": "ada", "info": {"name" : "Ada"}}),
            Ok(("ada", json!({"name": "Ada"}))),
        ),
        (&vouched, json!({"user": "bob"}), Err("`user`")),
        (&vouched, json!({"user": "~ada"}), Err("`user`")),
        (&vouched, json!({"info": {"name": "Eve"}}), Err("`info`")),
        (
            &named,
            json!({"info": {"mood": "fine"}}),
            Ok(("bob", json!({"mood": "fine"}))),
        ),
        (&nameless, json!({"user": "ada"}), Ok(("~ada", Value::Null))),
    ] {
        let mut session = open(&site, Carrier::WebSocket, token);
        let command = json!({"op": "subscribe", "channel": "a", "presence": presence});
        let reply = session.ask(command.clone());
        match expected {
            Ok((user, info)) => {
                let members = reply["ok"]["presence"]["members"].as_array().unwrap();
                let member = members.iter().find(|member| member["user"] == user);
                let member = member.unwrap_or_else(|| panic!("{command} gave {reply}"));
                assert_eq!(member["info"], info, "{command}");
            }
            Err(what) => {
                assert_eq!(error(&reply), "forbidden", "{command} gave {reply}");
                assert!(
                    reply["error"]["detail"].as_str().unwrap().contains(what),
                    "{reply}"
                );
            }
        }
    }
}

#[test]
fn servers_are_told_whose_sessions_come_and_go() {
    let site = Site::with(|config| {
        trust_all(config);
        config.events.enabled = true;
    });
    let all = [("$everwire/**", READ)];
    let mut server = open(&site, Carrier::WebSocket, &token("server", &all));
    server.ok(json!({"op": "subscribe", "channel": "$everwire/sessions", "offset": "-1"}));
    let ada = open(&site, Carrier::Ndjson, &token("ada", &[]));
    drop(ada);
    let mut told = Vec::new();
    while told.len() < 3 {
        let event = server.event();
        for session in event["data"]["sessions"].as_array().unwrap() {
            told.push((event["event"].clone(), session["user"].clone()));
        }
    }
    for expected in [
        ("connected", "server"),
        ("connected", "ada"),
        ("disconnected", "ada"),
    ] {
        let expected = (json!(expected.0), json!(expected.1));
        assert!(told.contains(&expected), "{expected:?} in {told:?}");
    }
}
