//! What everything costs that can be asked for: each row of the tables of docs/limits.md meets the rates that it names,
//! is refused before it is done, and nobody else notices.

mod common;

use std::time::Instant;

use common::{Carrier, Response, Session, Site, websocket_request};
use everwire_server::{
    Config, Cost,
    auth::{GENERATED_BYTES, NewKey},
    config::{Action, ApiKey, Duty, Grant},
    costs,
};
use serde_json::{Value, json};

/// How often each thing is asked for. One a second is admitted, and a burst of two.
const TRIES: usize = 25;
const ADMITTED: usize = 3;

/// An API key that may read everything, and take tokens back.
fn api_key() -> (String, ApiKey) {
    let NewKey { key, sha256 } = NewKey::new("admin", [7; GENERATED_BYTES]).unwrap();
    let grant = json!({"match": "**", "can": ["read"]});
    let said = ApiKey {
        id: "admin".to_owned(),
        sha256,
        channels: vec![serde_json::from_value::<Grant>(grant).unwrap()],
        can: vec![Duty::Revoke],
    };
    (key, said)
}

/// A server with limits, on which anybody may do everything.
fn site(change: impl FnOnce(&mut Config)) -> Site {
    Site::with(|config| {
        config.dev = false;
        config.echo.enabled = true;
        config.channels.anonymous = vec![
            Action::Read,
            Action::Publish,
            Action::Presence,
            Action::Manage,
        ];
        config.keys = vec![api_key().1];
        change(config);
    })
}

/// Sets one rate to one a second, by its setting.
fn slow_down(config: &mut Config, setting: &str) {
    let limits = &mut config.limits;
    match setting {
        "limits.reads_per_second_max" => limits.reads_per_second_max = 1,
        "limits.lines_per_second_max" => limits.lines_per_second_max = 1,
        "limits.commands_per_second_max" => limits.commands_per_second_max = 1,
        "limits.appends_per_second_max" => limits.appends_per_second_max = 1,
        // Those of users and keys, and of a channel's rule, are met in `charges` and `rates`.
        "limits.appends_per_second_user_max"
        | "limits.appends_per_second_key_max"
        | "channels.appends_per_caller_max" => {}
        other => panic!("no way to set {other}"),
    }
}

fn kind(problem: &Value) -> &str {
    let kind = problem["type"].as_str().unwrap_or("none");
    kind.rsplit('/').next().unwrap()
}

/// Whether a request is refused as one too many, with everything that such a refusal has.
fn is_refused(response: &Response) -> bool {
    if response.status != 429 {
        return false;
    }
    let problem: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    // The answer to a HEAD has no content.
    assert!(response.body.is_empty() || kind(&problem) == "too-many");
    let wait_s = response.field("retry-after").expect("when to come back");
    assert!(wait_s.parse::<u64>().unwrap() >= 1, "{wait_s}");
    true
}

/// Asks for one thing again and again, each time on a connection of its own; how often it was refused.
fn refused_requests(site: &Site, request: &str) -> usize {
    let tried = (0..TRIES).map(|_| {
        let mut peer = site.connect();
        peer.send(request);
        // What becomes a line has no end, but a head.
        let head = peer.head();
        match head.split(' ').nth(1) {
            Some("429") => {
                assert!(head.to_lowercase().contains("\r\nretry-after: "), "{head}");
                1
            }
            Some(_) => 0,
            None => panic!("{head}"),
        }
    });
    tried.sum()
}

/// The same where each is answered at once.
fn refused_answers(site: &Site, request: &str) -> usize {
    let mut tried = (0..TRIES).map(|_| site.ask(request));
    tried.by_ref().filter(is_refused).count()
}

fn refused_commands(site: &Site, command: &Value) -> usize {
    let mut session = Session::open(site, Carrier::WebSocket, "");
    let refused = |_: &usize| {
        let reply = session.ask(command.clone());
        let is_refused = kind(&reply["error"]) == "too-many";
        assert!(!is_refused || reply["error"]["retry_after"].is_u64());
        is_refused
    };
    (0..TRIES).filter(refused).count()
}

fn of_session(site: &Site, request: &str) -> usize {
    let session = Session::open(site, Carrier::LongPoll, "");
    let welcome = &session.welcome;
    let (id, secret) = (&welcome["session"], &welcome["secret"]);
    let request = request
        .replace("{session}", id.as_str().unwrap())
        .replace("{secret}", secret.as_str().unwrap());
    refused_answers(site, &request)
}

/// How often of all tries what stands in a row of the tables is refused.
fn refused(site: &Site, asked: &str) -> usize {
    let simple = |method: &str, path: &str| {
        refused_answers(
            site,
            &format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n"),
        )
    };
    let accept = |kind: &str| {
        let request = format!("GET /channels/c HTTP/1.1\r\nHost: x\r\nAccept: {kind}\r\n\r\n");
        refused_requests(site, &request)
    };
    let with_content = |method: &str, path: &str, fields: &str, content: &str| {
        let length = content.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {length}\r\n\r\n{content}"
        );
        refused_answers(site, &request)
    };
    let key = format!("Authorization: Bearer {}\r\n", api_key().0);
    let secret = "Everwire-Secret: {secret}\r\n";
    match asked {
        "`OPTIONS`, anywhere" => simple("OPTIONS", "/channels/c") + simple("OPTIONS", "*"),
        "`GET /channels/{name}`, `GET /v1/stream/{name}`" | "a page of history, who is there" => {
            simple("GET", "/channels/c")
        }
        "`HEAD /channels/{name}`, `HEAD /v1/stream/{name}`" => {
            refused_requests(site, "HEAD /channels/c HTTP/1.1\r\nHost: x\r\n\r\n")
        }
        "`POST /channels/{name}`, `POST /v1/stream/{name}`" => {
            with_content("POST", "/channels/c", "", "1")
        }
        "`PUT /channels/{name}`, `PUT /v1/stream/{name}`" => {
            with_content("PUT", "/channels/c", "", "1")
        }
        "`DELETE /channels/{name}`, `DELETE /v1/stream/{name}`" => simple("DELETE", "/channels/c"),
        "`GET /presence/{name}`" => simple("GET", "/presence/c"),
        "`HEAD /presence/{name}`" => {
            refused_requests(site, "HEAD /presence/c HTTP/1.1\r\nHost: x\r\n\r\n")
        }
        "`POST /publish`" => with_content("POST", "/publish", "", r#"[{"channel":"c","data":1}]"#),
        "`GET /connect`, over any wire" => refused_answers(
            site,
            "GET /connect HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n",
        ),
        "`GET /connect/{session}`" => of_session(
            site,
            &format!(
                "GET /connect/{{session}} HTTP/1.1\r\nHost: x\r\n{secret}Prefer: wait=0\r\n\r\n"
            ),
        ),
        "`POST /connect/{session}`, besides its commands" => of_session(
            site,
            &format!(
                "POST /connect/{{session}} HTTP/1.1\r\nHost: x\r\n{secret}Content-Length: 2\r\n\r\n[]"
            ),
        ),
        "`DELETE /connect/{session}`" => of_session(
            site,
            &format!("DELETE /connect/{{session}} HTTP/1.1\r\nHost: x\r\n{secret}\r\n"),
        ),
        "`GET /revocations`, `HEAD /revocations`" => with_content("GET", "/revocations", &key, ""),
        "`POST /revocations`" => with_content("POST", "/revocations", &key, r#"{"jti":"a"}"#),
        "`GET /echo`" => refused_requests(site, &websocket_request("/echo", "")),
        "`POST /echo`" => with_content("POST", "/echo", "", "1"),
        "`GET /healthz`, `HEAD /healthz`" => simple("GET", "/healthz"),
        "`GET /readyz`, `HEAD /readyz`" => simple("GET", "/readyz"),
        "`GET /metrics`, `HEAD /metrics`" => simple("GET", "/metrics"),
        "`GET /.well-known/acme-challenge/{token}`, `HEAD` too" => {
            simple("GET", "/.well-known/acme-challenge/a")
        }
        "`GET /` and the files of the page, `HEAD` too" => simple("GET", "/"),
        // For development, where nothing is limited; else there is nothing.
        "`http.prefix` without a slash, which leads to the page" => simple("GET", "/live"),
        "`live=long-poll`, `Prefer: wait`" => refused_requests(
            site,
            "GET /channels/c?offset=now HTTP/1.1\r\nHost: x\r\nPrefer: wait=0\r\n\r\n",
        ),
        "`Accept: text/event-stream`" => accept("text/event-stream"),
        "`live=sse`" => refused_requests(
            site,
            "GET /channels/c?live=sse&offset=now HTTP/1.1\r\nHost: x\r\n\r\n",
        ),
        "`live=ndjson`, `Accept: application/x-ndjson`" => accept("application/x-ndjson"),
        "a WebSocket" => refused_requests(site, &websocket_request("/channels/c", "")),
        "`subscribe`; coming to a channel, or as another, is an append" => {
            refused_commands(site, &json!({"op": "subscribe", "channel": "c"}))
        }
        "`unsubscribe`" => refused_commands(site, &json!({"op": "unsubscribe", "channel": "c"})),
        "`publish`" => refused_commands(site, &json!({"op": "publish", "channel": "c", "data": 1})),
        "`history`" => refused_commands(site, &json!({"op": "history", "channel": "c"})),
        "`presence`" => refused_commands(site, &json!({"op": "presence", "channel": "c"})),
        "`authenticate`" => refused_commands(site, &json!({"op": "authenticate", "token": "a"})),
        "`ping`" => refused_commands(site, &json!({"op": "ping"})),
        other => panic!("no way to ask for {other}"),
    }
}

#[test]
fn each_request_and_command_meets_the_rates_of_its_row() {
    for (_, rows) in costs() {
        for (asked, cost) in rows {
            for setting in cost.settings() {
                let (section, limit) = setting.split_once('.').unwrap();
                if limit.contains("_user_") || limit.contains("_key_") || section == "channels" {
                    continue;
                }
                let site = site(|config| slow_down(config, setting));
                let began = Instant::now();
                let refused = refused(&site, asked);
                let later = began.elapsed().as_secs() as usize + 1;
                let row = format!("{asked}, {setting}");
                // To have a session costs one.
                let refused_min = TRIES.saturating_sub(ADMITTED + later);
                assert!(refused >= refused_min, "{row}: {refused} were refused");
                let met = format!("everwire_limits_met_total{{limit=\"{limit}\"}}");
                assert_eq!(site.metric(&met), refused as u64, "{row}");
            }
            if *cost == Cost::Free {
                let site = site(|config| {
                    for setting in Cost::ALL.iter().flat_map(|cost| cost.settings()) {
                        slow_down(config, setting);
                    }
                });
                assert_eq!(refused(&site, asked), 0, "{asked}");
            }
        }
    }
}

/// What is refused before it is known who asks has been looked at all the same.
#[test]
fn what_cannot_be_served_costs_its_address_a_read() {
    for request in [
        "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
        "PATCH /channels/c HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /channels/a//b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /channels/c HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET /channels/c HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer nonsense\r\n\r\n",
        "GET /connect/0000000000000000 HTTP/1.1\r\nHost: x\r\n\r\n",
        "DELETE /channels/none HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let site = site(|config| config.limits.reads_per_second_max = 1);
        let refused = refused_answers(&site, request);
        assert!(refused > TRIES / 2, "{request}: {refused}");
    }
}

#[test]
fn one_caller_reads_as_fast_as_it_may_and_another_does_not_notice() {
    let site = site(|config| config.limits.reads_per_second_max = 1);
    site.say("c", "hello");
    let anybody = "GET /channels/c HTTP/1.1\r\nHost: x\r\n\r\n";
    let refused = refused_answers(&site, anybody);
    assert!(refused > TRIES / 2, "{refused}");
    let server = format!(
        "GET /channels/c HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        api_key().0
    );
    assert_eq!(site.ask(&server).status, 200, "by its key");
    let mut elsewhere = common::Peer::connect_from([127, 0, 0, 2], site.address);
    elsewhere.send(anybody);
    assert_eq!(elsewhere.response().status, 200, "from another address");
    // And what it publishes has a rate of its own.
    site.say("c", "again");
}

/// Of what is read each 64 KiB counts. At one a second three are a burst; a mebibyte is sixteen, of which thirteen are
/// owed then.
#[test]
fn a_large_page_costs_as_much_as_it_holds() {
    let site = site(|config| {
        config.limits.reads_per_second_max = 1;
        config.limits.commands_per_second_max = 1;
        config.limits.page_bytes_max = 1024 * 1024;
    });
    site.publish("large", "text/plain", vec![b'1'; 1024 * 1024]);
    site.say("small", "1");
    let page = |channel: &str| {
        let request = format!("GET /channels/{channel} HTTP/1.1\r\nHost: x\r\n\r\n");
        site.ask(&request)
    };
    assert_eq!(page("large").status, 200);
    let refused = page("small");
    assert!(is_refused(&refused), "{}", refused.text());
    let wait_s: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((5..=14).contains(&wait_s), "{wait_s}");
    let fields = format!("Authorization: Bearer {}\r\n", api_key().0);
    let mut session = Session::open_with(&site, Carrier::WebSocket, "", &fields);
    session.ok(json!({"op": "history", "channel": "large"}));
    let refused = session.ask(json!({"op": "history", "channel": "small"}));
    assert_eq!(kind(&refused["error"]), "too-many", "{refused}");
}

#[test]
fn zero_is_any_number() {
    let site = site(|config| config.limits.reads_per_second_max = 0);
    let mut peer = site.connect();
    for _ in 0..100 {
        peer.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(peer.response().status, 204);
    }
}
