//! What one caller may have told to all who are present, and how much of a room it may fill.

mod common;

use common::{Carrier, Session, Site, issuer::Issuer};
use everwire_server::Config;
use serde_json::{Value, json};

/// Anybody may read and see who is there, and nobody may publish.
fn site(change: impl FnOnce(&mut Config)) -> Site {
    Site::with(|config| {
        config.dev = false;
        let open = "channels.anonymous = [\"read\", \"presence\"]";
        config.channels = Config::from_toml(open).unwrap().channels;
        config.tokens.keys = vec![Issuer::shared().key()];
        change(config);
    })
}

fn be(presence: impl Into<Value>) -> Value {
    json!({"op": "subscribe", "channel": "room", "presence": presence.into()})
}

fn is_too_many(reply: &Value) -> bool {
    let kind = reply["error"]["type"].as_str().unwrap_or_default();
    assert!(kind.is_empty() || kind.ends_with("too-many"), "{reply}");
    !kind.is_empty()
}

/// Two sessions of one address, of which one sees what the other has all told.
fn told(site: &Site, mut next: impl FnMut(usize) -> Value) -> (usize, usize) {
    let mut bystander = known(site, "bystander");
    bystander.ok(be(json!({})));
    let mut eve = Session::open(site, Carrier::WebSocket, "");
    let mut refused = 0;
    for number in 0..40 {
        refused += usize::from(is_too_many(&eve.ask(be(next(number)))));
    }
    drop(eve);
    known(site, "last").ok(be(json!({})));
    let mut told = 0;
    loop {
        let event = bystander.event();
        if event["user"] == "last" {
            return (told, refused);
        }
        told += usize::from(event["ev"] == "join");
    }
}

/// A session of a user of its own.
fn known<'s>(site: &'s Site, user: &str) -> Session<'s> {
    let grants = json!([{"match": "room", "can": ["read", "presence"]}]);
    let token = Issuer::shared().token(json!({"sub": user, "channels": grants}));
    Session::open(site, Carrier::WebSocket, &format!("?token={token}"))
}

#[test]
fn what_all_are_told_has_the_rate_of_an_append() {
    type Slow = fn(&mut Config);
    let slow: [(&str, Slow); 2] = [
        ("appends_per_second_max", |config| {
            config.limits.appends_per_second_max = 1;
        }),
        ("appends_per_caller_max", |config| {
            config.channels.appends_per_caller_max = 1;
        }),
    ];
    type Next = fn(usize) -> Value;
    let others: [(&str, Next); 2] = [
        ("info", |number| json!({"user": "eve", "info": number})),
        ("name", |number| json!({"user": format!("eve{number}")})),
    ];
    for (limit, slow) in slow {
        for (what, next) in others {
            let site = site(|config| {
                config.presence.linger_ms = 0;
                slow(config);
            });
            let (told, refused) = told(&site, next);
            assert!(refused > 0, "another {what} each time, by {limit}");
            assert_eq!(told + refused, 40, "another {what} each time, by {limit}");
            let met = format!("everwire_limits_met_total{{limit=\"{limit}\"}}");
            assert_eq!(site.metric(&met), refused as u64);
        }
        // Who says the same again has told nobody anything.
        let site = site(|config| {
            config.presence.linger_ms = 0;
            slow(config);
        });
        assert_eq!(told(&site, |_| json!({"user": "eve", "info": 1})), (1, 0));
    }
}

#[test]
fn a_session_is_one_member_at_a_time() {
    let site = site(|config| config.presence.linger_ms = 600_000);
    let mut bystander = Session::open(&site, Carrier::WebSocket, "");
    bystander.ok(be(json!({"user": "bystander"})));
    let mut eve = Session::open(&site, Carrier::WebSocket, "");
    for name in ["a", "b", "c"] {
        eve.ok(be(json!({"user": name})));
    }
    let seen: Vec<_> = std::iter::repeat_with(|| bystander.event())
        .take(5)
        .map(|event| format!("{} {}", event["ev"], event["user"]).replace('"', ""))
        .collect();
    assert_eq!(
        seen,
        ["join ~a", "leave ~a", "join ~b", "leave ~b", "join ~c"]
    );
}

/// By sessions, by names that it takes one after the other, and by names that it leaves behind.
#[test]
fn one_caller_fills_no_more_than_its_share_of_a_room() {
    let site = site(|config| {
        config.presence.members_max = 30;
        config.presence.linger_ms = 600_000;
    });
    let mut eves: Vec<_> = (0..3)
        .map(|_| Session::open(&site, Carrier::WebSocket, ""))
        .collect();
    let mut refused = 0;
    for round in 0..20 {
        for (number, eve) in eves.iter_mut().enumerate() {
            let name = format!("eve{number}-{round}");
            refused += usize::from(is_too_many(&eve.ask(be(json!({"user": name})))));
            if round % 2 == 0 {
                eve.ask(json!({"op": "unsubscribe", "channel": "room"}));
            }
        }
    }
    assert!(refused > 0);
    let met = "everwire_limits_met_total{limit=\"members_per_caller_max\"}";
    assert_eq!(site.metric(met), refused as u64);
    for name in ["ada", "bob"] {
        let there = known(&site, name).ok(be(json!({})));
        let total = there["presence"]["total"].as_u64().unwrap();
        assert!((1..=5).contains(&total), "{there}");
    }
}
