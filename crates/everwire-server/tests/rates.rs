//! How fast callers may publish: by address, by user, by API key, and in channels whose rule paces them.

mod common;

use common::{
    CARRIERS, Frame, Session, Site, client_frame,
    issuer::{Issuer, trust_all},
    websocket_request,
};
use everwire_server::{
    Config,
    auth::{GENERATED_BYTES, NewKey},
    config::{Action, ApiKey, Grant, Rule},
};
use serde_json::{Value, json};

/// A server where one append a second is what each caller may make, besides a burst of two.
fn site() -> Site {
    site_with(|_| {})
}

fn site_with(change: impl FnOnce(&mut Config)) -> Site {
    Site::with(|config| {
        trust_all(config);
        config.channels.anonymous = vec![Action::Read, Action::Publish];
        let limits = &mut config.limits;
        limits.appends_per_second_max = 1;
        limits.appends_per_second_user_max = 1;
        limits.appends_per_second_key_max = 1;
        change(config);
    })
}

fn token(user: &str) -> String {
    Issuer::shared().token(json!({"sub": user, "channels": []}))
}

fn bearer(credential: &str) -> String {
    format!("Authorization: Bearer {credential}\r\n")
}

/// Appends so often, and tells how often that was refused and the last refusal.
fn refused(site: &Site, fields: &str, times: usize) -> (usize, Value) {
    let mut peer = site.connect();
    let (mut count, mut last) = (0, Value::Null);
    for _ in 0..times {
        peer.send(format!(
            "POST /channels/chat/a HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: 1\r\n\r\n7"
        ));
        let response = peer.response();
        if response.status == 429 {
            assert!(
                response
                    .field("retry-after")
                    .is_some_and(|wait| wait.parse::<u64>().is_ok())
            );
            count += 1;
            last = serde_json::from_slice(&response.body).unwrap();
        } else {
            assert_eq!(response.status, 204, "{}", response.text());
        }
    }
    (count, last)
}

fn met(site: &Site, limit: &str) -> u64 {
    site.metric(&format!("everwire_limits_met_total{{limit=\"{limit}\"}}"))
}

#[test]
fn each_caller_has_a_rate_of_its_own() {
    let (new, printed) = api_key("backend");
    let site = site_with(|config| config.keys = vec![new]);
    for (fields, setting) in [
        (String::new(), "appends_per_second_max"),
        (bearer(&token("ada")), "appends_per_second_user_max"),
        (bearer(&token("bob")), "appends_per_second_user_max"),
        (bearer(&printed), "appends_per_second_key_max"),
    ] {
        let before = site
            .ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            .text()
            .contains(setting);
        let before = if before { met(&site, setting) } else { 0 };
        let (count, problem) = refused(&site, &fields, 6);
        assert_eq!(
            count, 3,
            "a burst of two seconds and the one that is due: {setting}"
        );
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains(&format!("limits.{setting}")),
            "{problem}"
        );
        assert_eq!(problem["retry_after"], 1);
        assert_eq!(met(&site, setting) - before, 3);
    }
}

/// Who has a credential is known by it on every address, and does not pay for its neighbours.
#[test]
fn a_user_has_one_rate_over_all_its_tokens_and_wires() {
    let site = site();
    assert_eq!(refused(&site, &bearer(&token("ada")), 3).0, 0);
    let again = Issuer::shared().token(json!({"sub": "ada", "channels": [], "jti": "another"}));
    assert_eq!(refused(&site, &bearer(&again), 1).0, 1);
    let mut line = site.connect();
    line.send(websocket_request("/channels/chat/a", &bearer(&again)));
    line.head();
    line.send(client_frame(0x1, b"8"));
    assert_eq!(line.frame(), Frame::Close(4429));
    assert_eq!(refused(&site, &bearer(&token("bob")), 1).0, 0);
}

#[test]
fn a_token_that_names_nobody_counts_by_its_address() {
    let site = site();
    let nobody = Issuer::shared().token(json!({"channels": []}));
    assert_eq!(refused(&site, &bearer(&nobody), 3).0, 0);
    assert_eq!(refused(&site, "", 1).0, 1);
}

#[test]
fn a_sessions_command_is_refused_and_the_session_goes_on() {
    for carrier in CARRIERS {
        let site = site();
        let mut session = Session::open(&site, carrier, &format!("?token={}", token("ada")));
        let publish = json!({"id": 1, "op": "publish", "channel": "chat/a", "data": 7});
        for _ in 0..3 {
            session.ok(publish.clone());
        }
        let reply = session.ask(publish);
        assert_eq!(reply["error"]["type"], "too-many", "{carrier:?}");
        assert_eq!(reply["error"]["retry"], true);
        assert_eq!(reply["error"]["retry_after"], 1);
        session.ok(json!({"id": 2, "op": "ping"}));
    }
}

/// Before, it paid from its address.
#[test]
fn a_session_that_shows_its_token_late_pays_for_itself_from_then_on() {
    for carrier in CARRIERS {
        let site = site();
        let mut session = Session::open(&site, carrier, "");
        let publish = json!({"id": 1, "op": "publish", "channel": "chat/a", "data": 7});
        for _ in 0..3 {
            session.ok(publish.clone());
        }
        assert_eq!(session.ask(publish.clone())["error"]["type"], "too-many");
        session.ok(json!({"id": 2, "op": "authenticate", "token": token("ada")}));
        session.ok(publish);
    }
}

#[test]
fn a_rule_paces_each_caller_in_each_of_its_channels() {
    let site = site_with(|config| {
        config.limits.appends_per_second_max = 0;
        let mut rule = rule("chat/*");
        rule.appends_per_caller_max = Some(1);
        config.rules = vec![rule];
    });
    let (count, problem) = refused(&site, "", 6);
    assert_eq!(count, 3);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("channels.appends_per_caller_max")
    );
    assert_eq!(met(&site, "appends_per_caller_max"), 3);
    for channel in ["chat/b", "elsewhere", "elsewhere", "elsewhere", "elsewhere"] {
        site.say(channel, "x");
    }
    assert_eq!(
        refused(&site, &bearer(&token("ada")), 1).0,
        0,
        "another caller"
    );
    let batch = r#"[{"channel":"chat/c","data":1},{"channel":"chat/a","data":2}]"#;
    let answer = site.ask(&format!(
        "POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{batch}",
        batch.len()
    ));
    let results: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(results["results"][0]["offset"].is_string(), "{results}");
    assert_eq!(results["results"][1]["error"]["status"], 429);
}

#[test]
fn a_rule_bounds_the_entries_of_its_channels() {
    let site = site_with(|config| {
        config.limits.appends_per_second_max = 0;
        let mut rule = rule("chat/*");
        rule.entry_bytes_max = Some(10);
        config.rules = vec![rule];
    });
    site.say("chat/a", "0123456789");
    site.say("elsewhere", "0123456789a");
    let refused = site
        .connect()
        .append("chat/a", "text/plain", b"0123456789a");
    assert_eq!(refused.status, 413);
    let problem: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(problem["bytes_max"], 10);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("channels.entry_bytes_max")
    );
    assert_eq!(met(&site, "entry_bytes_max"), 1);
    let mut line = site.websocket("chat/a", "");
    line.send(client_frame(0x1, b"0123456789a"));
    assert_eq!(line.frame(), Frame::Close(1009));
    let mut session = Session::open(&site, common::Carrier::WebSocket, "");
    let reply =
        session.ask(json!({"id": 1, "op": "publish", "channel": "chat/a", "data": "0123456789a"}));
    assert_eq!(reply["error"]["type"], "too-large");
}

fn rule(pattern: &str) -> Rule {
    let toml = format!("rules = [{{ match = \"{pattern}\" }}]");
    Config::from_toml(&toml).unwrap().rules.remove(0)
}

/// A key that may publish everywhere, and what its server shows.
fn api_key(id: &str) -> (ApiKey, String) {
    let NewKey { key, sha256 } = NewKey::new(id, [7; GENERATED_BYTES]).unwrap();
    let channels = vec![Grant {
        pattern: "**".parse().unwrap(),
        can: vec![Action::Publish],
    }];
    let id = id.to_owned();
    (
        ApiKey {
            id,
            sha256,
            channels,
            can: Vec::new(),
        },
        key,
    )
}
