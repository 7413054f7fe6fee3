//! What a reload takes from callers, it takes from lines that are open; the others read on.

mod common;

use std::sync::LazyLock;

use common::{
    CARRIERS, Carrier, Frame, Peer, Session, Site,
    application::{Application, Door},
    client_frame,
    issuer::{ISSUERS, Issuer},
    key_server::{KeyServer, jwk},
};
use everwire_server::{
    Config,
    config::{Action, ApiKey, Grant, Jwks, Rule, Url},
};
use serde_json::json;

/// An API key, and what the server keeps of it.
const KEY: &str = "ewk_wallet_e171d879915e8ff2a01f6acc22ded581a4017b77211547fa0a9ff6394285553d";
const KEY_SHA256: &str = "f42f9f4fa1a966beacc8579c5c55a7421c812164b099428ed7a1968b9ba3f961";

/// What a reload takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    TokenKey,
    KeyServer,
    /// The terms on which tokens are taken: for whom, by whom, for how long, with how many grants.
    Audience,
    Issuer,
    Life,
    Grants,
    OneToken,
    ApiKey,
    GrantOfApiKey,
    RightOfAnybody,
}

const ALL: [Taken; 10] = [
    Taken::TokenKey,
    Taken::KeyServer,
    Taken::Audience,
    Taken::Issuer,
    Taken::Life,
    Taken::Grants,
    Taken::OneToken,
    Taken::ApiKey,
    Taken::GrantOfApiKey,
    Taken::RightOfAnybody,
];

impl Taken {
    /// What the caller shows that is deprived.
    fn query(self) -> String {
        match self {
            Self::KeyServer => format!("?token={}", token(published())),
            Self::TokenKey
            | Self::Audience
            | Self::Issuer
            | Self::Life
            | Self::Grants
            | Self::OneToken => {
                format!("?token={}", token(Issuer::shared()))
            }
            Self::ApiKey | Self::GrantOfApiKey => format!("?token={KEY}"),
            Self::RightOfAnybody => String::new(),
        }
    }

    fn take_from(self, config: &mut Config) {
        match self {
            Self::TokenKey => drop(config.tokens.keys.remove(0)),
            Self::KeyServer => config.tokens.jwks.clear(),
            Self::Audience => config.tokens.audience = "another".to_owned(),
            Self::Issuer => config.tokens.issuer = "another".to_owned(),
            Self::Life => config.tokens.life_s_max = 60,
            Self::Grants => config.tokens.grants_max = 0,
            Self::OneToken => {
                let revoked = json!({"jti": Issuer::shared().kid});
                config.tokens.revoked = vec![serde_json::from_value(revoked).unwrap()];
            }
            Self::ApiKey => config.keys.clear(),
            Self::GrantOfApiKey => config.keys[0].channels[0].can = vec![Action::Publish],
            Self::RightOfAnybody => config.rules.clear(),
        }
    }

    fn is_of_all_tokens(self) -> bool {
        matches!(
            self,
            Self::Audience | Self::Issuer | Self::Life | Self::Grants
        )
    }

    /// How a WebSocket on a channel is closed.
    fn close_code(self) -> u16 {
        match self {
            Self::GrantOfApiKey => 4403,
            _ => 4401,
        }
    }
}

fn token(issuer: &Issuer) -> String {
    let may = json!([{"match": "c", "can": ["read", "publish", "presence"]}]);
    issuer.token(json!({
        "sub": issuer.kid, "jti": issuer.kid, "iss": "us", "aud": "live", "channels": may
    }))
}

/// The one whose key a key server has.
fn published() -> &'static Issuer {
    &ISSUERS[2]
}

static KEY_SERVER: LazyLock<KeyServer> =
    LazyLock::new(|| KeyServer::start(&[jwk(published().kid, &published().point)]));

/// The one whose rights stay.
fn stays() -> &'static Issuer {
    &ISSUERS[3]
}

fn site() -> (Site, Config) {
    let mut running = Config::default();
    let site = Site::with(|config| {
        config.dev = false;
        config.threads = 2;
        config.tokens.keys = [Issuer::shared(), stays()].map(Issuer::key).into();
        config.tokens.audience = "live".to_owned();
        config.tokens.issuer = "us".to_owned();
        config.tokens.jwks = vec![Jwks {
            url: Url::parse(&KEY_SERVER.url()).unwrap(),
            issuer: None,
        }];
        config.keys = vec![ApiKey {
            id: "wallet".to_owned(),
            sha256: KEY_SHA256.to_owned(),
            can: Vec::new(),
            channels: vec![Grant {
                pattern: "c".parse().unwrap(),
                can: vec![Action::Read, Action::Publish],
            }],
        }];
        let open = json!({"match": "open", "anonymous": ["read"]});
        let rule: Rule = serde_json::from_value(open).unwrap();
        config.rules = vec![rule];
        running = config.clone();
    });
    (site, running)
}

/// The channel that a caller may read until something is taken away.
fn channel(taken: Taken) -> &'static str {
    match taken {
        Taken::RightOfAnybody => "open",
        _ => "c",
    }
}

fn reload(site: &Site, taken: Taken, mut config: Config) {
    taken.take_from(&mut config);
    let _ = site.server.reloader().reload(config).unwrap();
}

fn publish(site: &Site, text: &str) {
    let token = token(stays());
    let length = text.len();
    let said = site.ask(&format!(
        "POST /channels/c?token={token} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{text}"
    ));
    assert_eq!(said.status, 204, "{}", said.text());
}

#[test]
fn a_line_ends_whose_caller_may_not_read_any_more_and_the_others_read_on() {
    type Open = fn(&Site, &str, &str) -> Peer;
    type Ends = fn(&mut Peer, Taken);
    let wires: [(&str, Open, Ends); 4] = [
        (
            "websocket",
            |site, name, query| site.websocket(name, query),
            |peer, taken| assert_eq!(peer.frame(), Frame::Close(taken.close_code()), "{taken:?}"),
        ),
        (
            "websocket without its own",
            |site, name, query| {
                let sign = if query.is_empty() { '?' } else { '&' };
                site.websocket(name, &format!("{query}{sign}publisher=a"))
            },
            |peer, taken| assert_eq!(peer.frame(), Frame::Close(taken.close_code()), "{taken:?}"),
        ),
        (
            "ndjson",
            |site, name, query| site.stream(name, query, "application/x-ndjson"),
            |peer, taken| assert_eq!(peer.chunk(), b"", "{taken:?}"),
        ),
        (
            "long poll",
            |site, name, query| {
                let sign = if query.is_empty() { '?' } else { '&' };
                let mut peer = site.connect();
                peer.send(format!(
                    "GET /channels/{name}{query}{sign}live=long-poll&offset=now HTTP/1.1\r\nHost: x\r\n\r\n"
                ));
                peer
            },
            |peer, taken| {
                assert_eq!(peer.response().status, 204, "{taken:?}");
            },
        ),
    ];
    for (wire, open, ends) in wires {
        for taken in ALL {
            let (site, config) = site();
            let mut deprived = open(&site, channel(taken), &taken.query());
            let mut reads_on = site.websocket("c", &format!("?token={}", token(stays())));
            site.until("both are lines", |site| site.metric("everwire_lines") == 2);
            reload(&site, taken, config.clone());
            ends(&mut deprived, taken);
            // What is said to all tokens is said to the other's too.
            if !taken.is_of_all_tokens() {
                publish(&site, "1");
                assert_eq!(reads_on.text(), "1", "{wire}, {taken:?}");
            }
        }
    }
}

#[test]
fn a_session_ends_with_its_key_and_loses_what_it_may_not_read_any_more() {
    for carrier in CARRIERS {
        for taken in [Taken::GrantOfApiKey, Taken::RightOfAnybody] {
            let (site, config) = site();
            let mut session = Session::open(&site, carrier, &taken.query());
            let subscribe = json!({"id": 1, "op": "subscribe", "channel": channel(taken)});
            session.ok(subscribe.clone());
            reload(&site, taken, config.clone());
            let revoked = session.event();
            let (ev, name) = (&revoked["ev"], &revoked["channel"]);
            assert_eq!(
                (ev, name),
                (&json!("revoked"), &json!(channel(taken))),
                "{carrier:?}"
            );
            assert!(session.ask(subscribe.clone())["error"].is_object());
            let _ = site.server.reloader().reload(config).unwrap();
            session.ok(subscribe);
        }
    }
    let (site, config) = site();
    let mut session = Session::open(&site, Carrier::WebSocket, &Taken::TokenKey.query());
    session.ok(json!({"id": 1, "op": "subscribe", "channel": "c"}));
    reload(&site, Taken::TokenKey, config);
    assert_eq!(session.peer.frame(), Frame::Close(4401));
}

#[test]
fn a_websocket_that_may_read_on_may_lose_the_right_to_publish() {
    let (site, mut config) = site();
    let mut socket = site.websocket("c", &format!("?token={KEY}"));
    socket.send(client_frame(0x81, b"[1]"));
    assert_eq!(socket.text(), "[1]");
    config.keys[0].channels[0].can = vec![Action::Read];
    let _ = site.server.reloader().reload(config).unwrap();
    publish(&site, "2");
    assert_eq!(socket.text(), "2", "it reads on");
    socket.send(client_frame(0x81, b"[3]"));
    assert_eq!(socket.frame(), Frame::Close(4403));
}

/// Grants that a token carries are its own; a reload that leaves its key changes nothing for it.
#[test]
fn who_is_let_in_as_before_notices_nothing() {
    let (site, mut config) = site();
    let mut session = Session::open(&site, Carrier::WebSocket, &Taken::TokenKey.query());
    session.ok(json!({"id": 1, "op": "subscribe", "channel": "c"}));
    config.limits.lines_max = 7;
    config.keys.clear();
    let _ = site.server.reloader().reload(config).unwrap();
    publish(&site, "1");
    assert_eq!(session.entry(), ("c".to_owned(), json!(1)));
}

/// An answer of the application is for one command about one channel: a session for which another command waits loses
/// what it may not read any more at once, and for good.
#[test]
fn a_right_is_taken_also_from_a_session_whose_command_waits_for_the_application() {
    let door = Door::default();
    let shut = door.clone();
    let application = Application::start(move |question| {
        if question["question"] == "presence" {
            shut.pass();
        }
        json!({"allow": true})
    });
    let rules = |plain: &str| {
        let decided =
            r#"{ match = "d/**", decide = ["read", "presence"], anonymous = ["publish"] }"#;
        let plain = format!("{{ match = \"plain\", anonymous = [{plain}] }}");
        let rules = format!("webhooks.url = \"https://x/\"\nrules = [{decided}, {plain}]");
        Config::from_toml(&rules).unwrap().rules
    };
    let mut running = Config::default();
    let site = Site::with(|config| {
        application.decides(config);
        config.channels.decide.clear();
        config.rules = rules("\"read\", \"publish\"");
        running = config.clone();
    });
    let mut session = Session::open(&site, Carrier::WebSocket, "");
    session.ok(json!({"op": "subscribe", "channel": "plain"}));
    let waits = json!({"op": "subscribe", "channel": "d/a", "presence": {"user": "ada"}});
    let waits = client_frame(0x81, waits.to_string().as_bytes());
    session.peer.send(waits);
    application.until_asked(2);
    running.rules = rules("");
    let _ = site.server.reloader().reload(running.clone()).unwrap();
    let event = session.event();
    assert_eq!(event["ev"], "revoked", "{event}");
    assert_eq!(event["channel"], "plain", "{event}");
    door.open(1);
    // What it waited for is there, and it hears of that alone, also when the others may read again.
    running.rules = rules("\"read\", \"publish\"");
    let _ = site.server.reloader().reload(running).unwrap();
    site.say("plain", "unheard");
    site.until("the command is carried out", |site| {
        site.metric("everwire_webhook_waiting") == 0
    });
    let mut other = site.connect();
    session.ok(json!({"op": "subscribe", "channel": "d/b"}));
    assert_eq!(other.append("d/a", "text/plain", b"heard").status, 204);
    assert_eq!(session.entry(), ("d/a".to_owned(), json!("heard")));
}
