//! No caller has so much of what all share that others have nothing: one does its worst, and another goes on.

mod common;

use common::{
    Carrier, Response, Session, Site,
    issuer::{Issuer, trust_all},
};
use everwire_server::{
    Config,
    auth::{GENERATED_BYTES, NewKey},
    config::{Action, ApiKey, Grant},
};
use serde_json::{Value, json};

const CHANNELS: usize = 100;
const LOG_BYTES: u64 = 1024 * 1024;

/// A server with little of everything, and no rates that would keep anybody from taking it.
fn site(change: impl FnOnce(&mut Config)) -> Site {
    Site::with(|config| {
        trust_all(config);
        config.dev = false;
        let limits = &mut config.limits;
        limits.channels_max = CHANNELS;
        limits.log_bytes_max = LOG_BYTES;
        limits.appends_per_second_max = 0;
        limits.appends_per_second_user_max = 0;
        limits.appends_per_second_key_max = 0;
        config.tokens.exp_required = false;
        change(config);
    })
}

fn token(user: &str) -> String {
    let can = json!(["read", "publish", "presence", "manage"]);
    let grant = json!({"match": format!("{user}/**"), "can": can});
    Issuer::shared().token(json!({"sub": user, "channels": [grant]}))
}

fn ask(site: &Site, credential: &str, method: &str, path: &str, content: &[u8]) -> Response {
    let mut peer = site.connect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {credential}\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    peer.send([head.as_bytes(), content].concat());
    peer.response()
}

/// Does something again and again until it is refused; how often it was not, and the refusal.
fn until_refused(mut act: impl FnMut(usize) -> Result<(), Value>) -> (usize, Value) {
    for count in 0..10_000 {
        if let Err(problem) = act(count) {
            return (count, problem);
        }
    }
    panic!("it is never refused");
}

fn outcome(response: &Response) -> Result<(), Value> {
    match response.status {
        200..300 => Ok(()),
        _ => Err(serde_json::from_slice(&response.body).unwrap()),
    }
}

fn replied(reply: &Value) -> Result<(), Value> {
    match reply.get("error") {
        None => Ok(()),
        Some(error) => Err(error.clone()),
    }
}

/// Somebody who reads, publishes, makes channels and is present, each for the first time.
fn serves_another(site: &Site, row: &str) {
    let bob = token("bob");
    for (method, path, content) in [
        ("POST", "/channels/bob/a", &b"1"[..]),
        ("PUT", "/channels/bob/b", b""),
        ("POST", "/channels/bob/b", b"more than nothing"),
        ("GET", "/presence/bob/a", b""),
    ] {
        let response = ask(site, &bob, method, path, content);
        assert!(
            response.status < 300,
            "{row}: {method} {path}: {}",
            response.text()
        );
    }
    let mut session = Session::open(site, Carrier::WebSocket, &format!("?token={bob}"));
    session.ok(
        json!({"id": 1, "op": "subscribe", "channel": "bob/c", "presence": {"info": {"a": 1}}}),
    );
}

#[test]
fn one_caller_takes_all_it_can_in_each_way_and_another_goes_on() {
    type Way = (
        &'static str,
        &'static str,
        fn(&Site, &str) -> (usize, Value),
    );
    let ways: [Way; 7] = [
        ("channels by appends", "channels_share", |site, eve| {
            until_refused(|n| outcome(&ask(site, eve, "POST", &format!("/channels/eve/{n}"), b"1")))
        }),
        ("channels by creations", "channels_share", |site, eve| {
            until_refused(|n| outcome(&ask(site, eve, "PUT", &format!("/channels/eve/{n}"), b"")))
        }),
        (
            "channels by subscriptions",
            "channels_share",
            |site, eve| {
                let mut session = Session::open(site, Carrier::WebSocket, &format!("?token={eve}"));
                until_refused(|n| {
                    replied(
                        &session.ask(
                            json!({"id": 1, "op": "subscribe", "channel": format!("eve/{n}")}),
                        ),
                    )
                })
            },
        ),
        ("channels by who is there", "channels_share", |site, eve| {
            until_refused(|n| outcome(&ask(site, eve, "GET", &format!("/presence/eve/{n}"), b"")))
        }),
        ("bytes by appends", "log_bytes_share", |site, eve| {
            let content = vec![b'x'; 20_000];
            until_refused(|n| {
                outcome(&ask(
                    site,
                    eve,
                    "POST",
                    &format!("/channels/eve/{}", n % 7),
                    &content,
                ))
            })
        }),
        ("bytes by commands", "log_bytes_share", |site, eve| {
            let mut session = Session::open(site, Carrier::WebSocket, &format!("?token={eve}"));
            let data = "x".repeat(20_000);
            until_refused(|_| {
                replied(
                    &session
                        .ask(json!({"id": 1, "op": "publish", "channel": "eve/a", "data": data})),
                )
            })
        }),
        ("bytes by joins", "log_bytes_share", |site, eve| {
            let mut session = Session::open(site, Carrier::WebSocket, &format!("?token={eve}"));
            until_refused(|n| {
                let info = format!("{n}{}", "x".repeat(900));
                let channel = format!("eve/{}", n % 3);
                let presence = json!({"info": info});
                replied(&session.ask(
                    json!({"id": 1, "op": "subscribe", "channel": channel, "presence": presence}),
                ))
            })
        }),
    ];
    for (way, limit, take) in ways {
        let site = site(|_| {});
        let (count, problem) = take(&site, &token("eve"));
        let kind = problem["type"].as_str().unwrap();
        assert!(kind.ends_with("too-many"), "{way}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("limits.share_percent_max"),
            "{way}: {problem}"
        );
        let met = site.metric(&format!("everwire_limits_met_total{{limit=\"{limit}\"}}"));
        assert_eq!(met, 1, "{way}");
        assert!(count > 20, "{way}: {count}");
        serves_another(&site, way);
    }
}

/// A server whose one API key publishes everything has its pots for itself.
#[test]
fn one_caller_alone_has_nearly_all_there_is() {
    let NewKey { key, sha256 } = NewKey::new("backend", [7; GENERATED_BYTES]).unwrap();
    let grant = Grant {
        pattern: "**".parse().unwrap(),
        can: vec![Action::Publish, Action::Manage],
    };
    let site = site(|config| {
        config.keys = vec![ApiKey {
            id: "backend".to_owned(),
            sha256,
            channels: vec![grant],
            can: Vec::new(),
        }];
    });
    let make = |n: usize| outcome(&ask(&site, &key, "POST", &format!("/channels/c/{n}"), b"1"));
    assert_eq!(until_refused(make).0, CHANNELS * 9 / 10);
    // What is given back can be had again.
    for n in 0..10 {
        let path = format!("/channels/c/{n}");
        assert_eq!(ask(&site, &key, "DELETE", &path, b"").status, 204);
    }
    assert_eq!(until_refused(|n| make(1_000 + n)).0, 10);
    let content = vec![b'x'; 1_000];
    let fill = |_| outcome(&ask(&site, &key, "POST", "/channels/c/50", &content));
    until_refused(fill);
    let taken = site.metric("everwire_log_bytes");
    assert!(taken > LOG_BYTES * 85 / 100, "{taken}");
    assert_eq!(
        ask(&site, &key, "DELETE", "/channels/c/50", b"").status,
        204
    );
    assert!(site.metric("everwire_log_bytes") < LOG_BYTES / 10);
    make(50).unwrap();
}
