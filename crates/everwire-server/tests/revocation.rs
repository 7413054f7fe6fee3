//! Tokens that are taken back before their time is over: who may say so, and what becomes of those who hold one.

mod common;

use common::{
    CARRIERS, Carrier, Frame, Peer, Response, Session, Site,
    issuer::{Issuer, now_s, trust_all},
    websocket_request,
};
use everwire_channel::UserName;
use everwire_server::{
    Config,
    auth::{GENERATED_BYTES, NewKey},
    config::{Action, ApiKey, Duty, Grant, Revoked},
};
use serde_json::{Value, json};

/// An API key that may do this beside channels.
fn api_key(id: &str, can: &[Duty]) -> (String, ApiKey) {
    let NewKey { key, sha256 } = NewKey::new(id, [7; GENERATED_BYTES]).unwrap();
    let said = ApiKey {
        id: id.to_owned(),
        sha256,
        channels: Vec::new(),
        can: can.to_vec(),
    };
    (key, said)
}

fn site() -> Site {
    site_with(|_| {})
}

fn site_with(change: impl FnOnce(&mut Config)) -> Site {
    Site::with(|config| {
        trust_all(config);
        config.keys = vec![api_key("admin", &[Duty::Revoke]).1, api_key("shop", &[]).1];
        change(config);
    })
}

fn revocations(site: &Site, method: &str, credential: &str, content: &str) -> Response {
    let length = content.len();
    site.ask(&format!(
        "{method} /revocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {credential}\r\nContent-Length: {length}\r\n\r\n{content}"
    ))
}

/// Takes tokens back as a server that may.
fn revoke(site: &Site, content: &Value) -> Response {
    revocations(site, "POST", &api_key("admin", &[]).0, &content.to_string())
}

fn revoked(site: &Site, content: &Value) {
    let response = revoke(site, content);
    assert_eq!(response.status, 200, "{}", response.text());
}

/// A token of a user, with a name of its own, that may read and publish everything.
fn token(user: &str, id: &str, issued_s: u64) -> String {
    Issuer::shared().token(json!({
        "sub": user,
        "jti": id,
        "iat": issued_s,
        "channels": [{"match": "**", "can": ["read", "publish", "presence"]}],
    }))
}

fn ada() -> String {
    token("ada", "a", now_s() - 100)
}

fn bob() -> String {
    token("bob", "b", now_s() - 100)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn publish(site: &Site, token: &str, text: &str) -> Response {
    let (fields, length) = (bearer(token), text.len());
    site.ask(&format!(
        "POST /channels/c HTTP/1.1\r\nHost: x\r\n{fields}Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{text}"
    ))
}

fn open(site: &Site, target: &str, fields: &str) -> Peer {
    let mut peer = site.connect();
    peer.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
    peer
}

/// Two ways to take back what ada holds.
fn ways() -> [Value; 2] {
    [
        json!({"jti": "a"}),
        json!({"sub": "ada", "before": now_s()}),
    ]
}

#[test]
fn a_token_that_is_taken_back_is_refused_from_then_on_and_others_are_not() {
    for way in ways() {
        let site = site();
        // It was checked before, and is remembered.
        assert_eq!(publish(&site, &ada(), "1").status, 204);
        revoked(&site, &way);
        let response = publish(&site, &ada(), "2");
        let problem: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(response.status, 401, "{way}");
        assert_eq!(
            problem["type"],
            "https://everwire.dev/problems/bad-credential"
        );
        assert_eq!(problem["detail"], "the token was revoked; get a fresh one");
        assert_eq!(publish(&site, &bob(), "3").status, 204, "{way}");
        assert_eq!(
            publish(&site, &token("ada", "c", now_s()), "4").status,
            204,
            "a fresh one"
        );
        assert_eq!(site.metric("everwire_revocations"), 1);
    }
}

#[test]
fn the_lines_that_it_opened_end_on_every_wire() {
    for way in ways() {
        let site = site();
        let fields = bearer(&ada());
        let mut websocket = site.connect();
        websocket.send(websocket_request("/channels/c", &fields));
        websocket.head();
        let stream = |accept: &str| {
            let mut peer = open(
                &site,
                "/channels/c",
                &format!("{fields}Accept: {accept}\r\n"),
            );
            assert!(peer.head().starts_with("HTTP/1.1 200 "));
            peer
        };
        let streams = [stream("text/event-stream"), stream("application/x-ndjson")];
        let mut poll = open(&site, "/channels/c?live=long-poll&offset=-1", &fields);
        let mut stays = open(
            &site,
            "/channels/c",
            &format!("{}Accept: application/x-ndjson\r\n", bearer(&bob())),
        );
        stays.head();
        site.until("the poll waits", |site| site.metric("everwire_lines") == 5);

        revoked(&site, &way);
        assert_eq!(websocket.frame(), Frame::Close(4401), "{way}");
        for mut stream in streams {
            let rest = stream.rest();
            assert!(rest.ends_with(b"0\r\n\r\n"), "{way}: {rest:?}");
        }
        assert_eq!(poll.response().status, 204, "{way}");
        poll.send(format!(
            "GET /channels/c?live=long-poll&offset=-1 HTTP/1.1\r\nHost: x\r\n{fields}\r\n"
        ));
        assert_eq!(poll.response().status, 401, "{way}");
        assert_eq!(publish(&site, &bob(), "on").status, 204);
        assert!(stays.event().contains("on"), "{way}");
    }
}

#[test]
fn a_session_ends_as_a_whole_on_every_wire() {
    for carrier in CARRIERS {
        for way in ways() {
            let site = site();
            let mut session = Session::open(&site, carrier, &format!("?token={}", ada()));
            session.ok(json!({"op": "subscribe", "channel": "c"}));
            session.ok(json!({"op": "subscribe", "channel": "d"}));
            revoked(&site, &way);
            match carrier {
                Carrier::WebSocket => assert_eq!(session.peer.frame(), Frame::Close(4401)),
                Carrier::EventStream | Carrier::Ndjson => {
                    assert!(session.peer.rest().ends_with(b"0\r\n\r\n"), "{carrier:?}");
                }
                Carrier::LongPoll => {}
            }
            let command = r#"{"op":"ping"}"#;
            site.until("it is gone", |_| session.post(command).status == 404);
            site.until("it is not counted", |site| {
                site.metric("everwire_sessions") == 0
            });
        }
    }
}

#[test]
fn a_session_that_has_shown_a_fresh_token_goes_on() {
    for carrier in CARRIERS {
        let site = site();
        let mut session = Session::open(&site, carrier, &format!("?token={}", ada()));
        session.ok(json!({"op": "subscribe", "channel": "c"}));
        let fresh = token("ada", "fresh", now_s());
        session.ok(json!({"op": "authenticate", "token": fresh}));
        for way in ways() {
            revoked(&site, &way);
        }
        let reply = session.ask(json!({"op": "authenticate", "token": ada()}));
        assert_eq!(reply["error"]["type"], "bad-credential", "{carrier:?}");
        session.ok(json!({"op": "publish", "channel": "c", "data": 1}));
        assert_eq!(session.entry(), ("c".to_owned(), json!(1)), "{carrier:?}");
    }
}

#[test]
fn who_may_take_tokens_back_is_an_api_key_that_says_so() {
    let site = site();
    let [admin, shop] = ["admin", "shop"].map(|id| api_key(id, &[]).0);
    let grants_all =
        Issuer::shared().token(json!({"channels": [{"match": "**", "can": ["manage"]}]}));
    for (credential, status) in [
        (admin.as_str(), 200),
        (&shop, 403),
        (&grants_all, 403),
        (&format!("{admin}0"), 401),
    ] {
        for (method, content) in [("POST", r#"{"jti":"x"}"#), ("GET", "")] {
            let response = revocations(&site, method, credential, content);
            assert_eq!(response.status, status, "{method}: {}", response.text());
        }
    }
    let nobody = site.ask("GET /revocations HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(nobody.status, 401, "{}", nobody.text());
    assert_eq!(revocations(&site, "DELETE", &admin, "").status, 405);
}

#[test]
fn what_is_taken_back_is_listed_and_what_cannot_be_meant_is_refused() {
    let site = site();
    let before = now_s();
    let answer = revoke(&site, &json!({"sub": "ada"}));
    let said: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(said["sub"], "ada");
    // Up to the present second, which is over by then, by whichever clock.
    let leeway_s = Config::default().tokens.leeway_s;
    assert!(
        (before + 1 + leeway_s..=now_s() + 1 + leeway_s)
            .contains(&said["before"].as_u64().unwrap()),
        "{said}"
    );
    revoked(&site, &json!({"jti": "a", "exp": now_s() + 60}));
    for (content, expected) in [
        ("", "EOF"),
        ("[]", "expected an object"),
        (r#"["a"]"#, "expected an object"),
        ("{", "EOF"),
        ("{}", "say either `jti`"),
        (r#"{"jti":"a","sub":"b"}"#, "say either `jti`"),
        (r#"{"jti":"a","until":7}"#, "unknown field `until`"),
        (r#"{"sub":"ada","before":1790000000000}"#, "s ahead"),
        (r#"{"sub":"ada","before":-1}"#, "invalid value"),
    ] {
        let response = revocations(&site, "POST", &api_key("admin", &[]).0, content);
        assert_eq!(response.status, 400, "{content}");
        assert!(
            response.text().contains(expected),
            "{content} gave {}",
            response.text()
        );
    }
    let listed = revocations(&site, "GET", &api_key("admin", &[]).0, "");
    let listed: Value = serde_json::from_slice(&listed.body).unwrap();
    assert_eq!(
        listed["revocations"].as_array().unwrap().len(),
        2,
        "{listed}"
    );
    assert_eq!(listed["revocations"][0]["jti"], "a");
    assert_eq!(listed["revocations"][1]["sub"], "ada");
}

#[test]
fn when_there_is_no_room_more_is_refused_and_counted() {
    let site = site_with(|config| config.tokens.revocations_max = 1);
    revoked(&site, &json!({"jti": "a"}));
    let response = revoke(&site, &json!({"jti": "b"}));
    assert_eq!(response.status, 503);
    assert!(
        response.text().contains("tokens.revocations_max"),
        "{}",
        response.text()
    );
    let met = "everwire_limits_met_total{limit=\"revocations_max\"}";
    assert_eq!(site.metric(met), 1);
    assert_eq!(publish(&site, &ada(), "1").status, 401);
    assert_eq!(publish(&site, &bob(), "2").status, 204);
}

#[test]
fn a_reload_takes_back_what_it_says_and_keeps_what_servers_have_said() {
    let mut config = Config::default();
    let site = site_with(|start| config = start.clone());
    let mut line = site.connect();
    line.send(websocket_request("/channels/c", &bearer(&ada())));
    line.head();
    revoked(&site, &json!({"jti": "b"}));
    config.tokens.revoked = vec![Revoked::User {
        user: UserName::new("ada").unwrap(),
        before_s: now_s(),
    }];
    let _ = site.server.reloader().reload(config.clone()).unwrap();
    assert_eq!(line.frame(), Frame::Close(4401));
    assert_eq!(publish(&site, &ada(), "1").status, 401);
    assert_eq!(publish(&site, &bob(), "2").status, 401);
    config.tokens.revoked.clear();
    let _ = site.server.reloader().reload(config).unwrap();
    assert_eq!(
        publish(&site, &ada(), "3").status,
        204,
        "what the file has taken back it may give back"
    );
    assert_eq!(publish(&site, &bob(), "4").status, 401);
}

#[test]
fn where_everybody_may_do_everything_anybody_may_take_tokens_back() {
    let site = Site::with(|config| config.dev = true);
    let response = site
        .ask("POST /revocations HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n{\"jti\":\"a\"}");
    assert_eq!(response.status, 200, "{}", response.text());
}

/// A grant cannot be said to be for something else.
#[test]
fn a_grant_on_channels_does_not_revoke() {
    let error =
        serde_json::from_value::<Grant>(json!({"match": "a", "can": ["revoke"]})).unwrap_err();
    assert!(error.to_string().contains("`revoke`"), "{error}");
    assert!(serde_json::from_value::<Action>(json!("revoke")).is_err());
}

/// The clock of whoever issues tokens may be ahead, by as much as clocks may differ.
#[test]
fn a_user_loses_tokens_that_were_issued_by_a_clock_that_is_ahead() {
    let site = site();
    let token = |ahead_s: u64| {
        let may = json!([{"match": "**", "can": ["read"]}]);
        Issuer::shared().token(json!({"sub": "bob", "iat": now_s() + ahead_s, "channels": may}))
    };
    let status = |token: &str| {
        let read =
            "GET /channels/c?offset=-1&live=long-poll HTTP/1.1\r\nHost: x\r\nPrefer: wait=0\r\n";
        site.ask(&format!("{read}Authorization: Bearer {token}\r\n\r\n"))
            .status
    };
    let tokens = [0, 1, 20, 28].map(token);
    for token in &tokens {
        assert_ne!(status(token), 401);
    }
    assert_eq!(status(&token(120)), 401, "too far ahead to be taken back");
    revoked(&site, &json!({"sub": "bob"}));
    for token in &tokens {
        assert_eq!(status(token), 401);
    }
}
