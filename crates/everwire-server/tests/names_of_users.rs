//! Names of users, whichever way they come in: what somebody vouches for is told from what is claimed.

mod common;

use common::{CARRIERS, Carrier, Session, Site, application::Application, issuer::Issuer};
use everwire_server::Config;
use serde_json::{Value, json};

fn be(presence: &Value) -> Value {
    json!({"op": "subscribe", "channel": "room", "presence": presence})
}

fn kind(reply: &Value) -> String {
    let kind = reply["error"]["type"].as_str().unwrap_or("ok");
    kind.rsplit('/').next().unwrap().to_owned()
}

const MAY: &str = r#"[{"match":"room","can":["read","presence"]}]"#;

fn grants() -> Value {
    serde_json::from_str(MAY).unwrap()
}

/// Whether a session is opened as this user, by each that can vouch for one.
fn is_vouched_for(name: &str) -> [bool; 2] {
    let token = Issuer::shared().token(json!({"sub": name, "channels": grants()}));
    let by_token = Site::with(|config| {
        config.dev = false;
        config.tokens.keys = vec![Issuer::shared().key()];
    });
    let request = |fields: &str| {
        format!("GET /connect HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n{fields}\r\n")
    };
    let shown = format!("Authorization: Bearer {token}\r\n");
    let token = by_token.ask(&request(&shown)).status;
    let sub = name.to_owned();
    let application = Application::start(
        move |_: &Value| json!({"allow": true, "sub": sub, "channels": grants()}),
    );
    let by_application = Site::with(|config| {
        application.decides(config);
        config.channels.decide.clear();
        config.webhooks.connect = true;
    });
    let application = by_application.ask(&request("")).status;
    assert!(
        [200, 401].contains(&token) && [200, 503].contains(&application),
        "{name:?}"
    );
    [token == 200, application == 200]
}

#[test]
fn nobody_vouches_for_a_name_that_could_be_a_claim() {
    for (name, expected) in [
        ("bob", true),
        ("bob~", true),
        (" ", true),
        ("~bob", false),
        ("~", false),
        ("", false),
        ("a\nb", false),
        ("\u{0}", false),
    ] {
        assert_eq!(is_vouched_for(name), [expected; 2], "{name:?}");
    }
}

/// Whatever name or info is claimed: it is carried, marked as a claim, or refused; and the line goes on, as those of all
/// others do.
#[test]
fn a_strange_name_is_carried_or_refused_and_breaks_no_reader() {
    let names: [(&str, Result<&str, &str>); 12] = [
        (r#"{"user":"bob"}"#, Ok("~bob")),
        (r#"{"user":"~bob"}"#, Ok("~~bob")),
        (r#"{"user":" "}"#, Ok("~ ")),
        (
            r#"{"user":"\u2028\u202e\ufeff"}"#,
            Ok("~\u{2028}\u{202e}\u{feff}"),
        ),
        (r#"{"user":"\"}]"}"#, Ok("~\"}]")),
        (r#"{"user":""}"#, Err("bad-request")),
        (r#"{"user":"\u0000"}"#, Err("bad-request")),
        (r#"{"user":"a\r\nb"}"#, Err("bad-request")),
        (r#"{"user":"\u0085"}"#, Err("bad-request")),
        (r#"{"user":"\ud800"}"#, Err("bad-request")),
        (r#"{"user":7}"#, Err("bad-request")),
        (r#"{"user":["bob"]}"#, Err("bad-request")),
    ];
    for carrier in CARRIERS {
        let site = Site::with(|config| {
            let open = "channels.anonymous = [\"read\", \"presence\"]";
            config.channels = Config::from_toml(open).unwrap().channels;
            config.presence.linger_ms = 0;
        });
        let mut reader = Session::open(&site, carrier, "");
        reader.ok(be(&json!({"user": "reader"})));
        let mut session = Session::open(&site, Carrier::WebSocket, "");
        for (presence, expected) in names {
            let command = format!(r#"{{"op":"subscribe","channel":"room","presence":{presence}}}"#);
            session
                .peer
                .send(common::client_frame(0x81, command.as_bytes()));
            let reply = session.reply();
            match expected {
                Err(expected) => assert_eq!(kind(&reply), expected, "{presence}"),
                Ok(shown) => {
                    assert_eq!(kind(&reply), "ok", "{presence}: {reply}");
                    loop {
                        let event = reader.event();
                        if event["ev"] == "join" {
                            assert_eq!(event["user"], shown, "{carrier:?} {presence}");
                            break;
                        }
                    }
                }
            }
        }
        session.ok(json!({"op": "ping"}));
    }
}
