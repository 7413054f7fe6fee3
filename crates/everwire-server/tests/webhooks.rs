//! Webhooks: what the application decides, on every wire, and what becomes of it when the application is slow, broken
//! or gone.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use common::{
    CARRIERS, Carrier, Frame, Response, Session, Site,
    application::{Answer, Application, Door},
    client_frame,
    issuer::{Issuer, now_s},
    websocket_request,
};
use everwire_server::config::Config;
use serde_json::{Value, json};

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
}

fn post(target: &str, fields: &str, content: &str) -> String {
    let length = content.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{fields}Content-Length: {length}\r\n\r\n{content}"
    )
}

fn problem(response: &Response) -> (u16, String) {
    let problem: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let kind = problem["type"].as_str().unwrap_or("none");
    (response.status, kind.rsplit('/').next().unwrap().to_owned())
}

fn error(reply: &Value) -> String {
    let kind = reply["error"]["type"].as_str().unwrap_or("none");
    kind.rsplit('/').next().unwrap().to_owned()
}

/// A site whose application answers by this.
fn decided<A: Into<Answer>>(
    answer: impl Fn(&Value) -> A + Send + Sync + 'static,
) -> (Site, Application) {
    decided_with(answer, |_| {})
}

fn decided_with<A: Into<Answer>>(
    answer: impl Fn(&Value) -> A + Send + Sync + 'static,
    change: impl FnOnce(&mut Config),
) -> (Site, Application) {
    let application = Application::start(answer);
    let site = Site::with(|config| {
        application.decides(config);
        change(config);
    });
    (site, application)
}

fn yes(_: &Value) -> Value {
    json!({"allow": true})
}

fn no(_: &Value) -> Value {
    json!({"allow": false, "reason": "not today"})
}

const SSE: &str = "Accept: text/event-stream\r\n";
const NDJSON: &str = "Accept: application/x-ndjson\r\n";

/// Each way to do something with a channel by one request: its name, the request, what is asked, and the status
/// of a success.
fn requests() -> Vec<(&'static str, String, &'static str, u16)> {
    let c = "/channels/c";
    vec![
        (
            "create",
            "PUT /channels/c HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\r\n"
                .to_owned(),
            "publish",
            201,
        ),
        ("append", post(c, "", "[1]"), "publish", 204),
        (
            "batch",
            post("/publish", "", r#"[{"channel":"c","data":2}]"#),
            "publish",
            200,
        ),
        ("catch-up", get(c, ""), "read", 200),
        (
            "head",
            "HEAD /channels/c HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "read",
            200,
        ),
        (
            "long poll",
            get("/channels/c?live=long-poll&offset=-1", ""),
            "read",
            200,
        ),
        ("event stream", get(c, SSE), "read", 200),
        ("ndjson", get(c, NDJSON), "read", 200),
        ("WebSocket", websocket_request(c, ""), "read", 101),
        (
            "own session",
            websocket_request(c, "Sec-WebSocket-Protocol: everwire.v1\r\n"),
            "read",
            101,
        ),
        ("members", get("/presence/c", ""), "presence", 200),
        ("presence log", get("/presence/c", SSE), "presence", 200),
        (
            "delete",
            "DELETE /channels/c HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "manage",
            204,
        ),
    ]
}

fn status_of(site: &Site, request: &str) -> (u16, String) {
    let mut peer = site.connect();
    peer.send(request);
    let head = peer.head();
    (head[9..12].parse().unwrap(), head)
}

#[test]
fn every_request_is_decided_by_the_application() {
    let (open, application) = decided(yes);
    let (shut, _) = decided(no);
    for (index, (name, request, question, status)) in requests().into_iter().enumerate() {
        assert_eq!(status_of(&open, &request).0, status, "{name}");
        let asked = application.until_asked(index + 1);
        assert_eq!(asked.len(), index + 1, "{name} is asked once");
        let asked = &asked[index];
        assert_eq!(
            (asked["question"].as_str(), asked["channel"].as_str()),
            (Some(question), Some("c")),
            "{name}"
        );
        assert_eq!(
            (&asked["version"], &asked["caller"], &asked["peer"]),
            (&json!(1), &Value::Null, &json!("127.0.0.1")),
            "{name}"
        );
        if name == "batch" {
            let refused = shut.ask(&request);
            assert!(
                refused.text().contains("refused-by-application"),
                "{}",
                refused.text()
            );
        } else {
            assert_eq!(status_of(&shut, &request).0, 403, "{name}");
        }
    }
}

#[test]
fn a_refusal_is_told_with_its_reason() {
    let (site, _) = decided(no);
    let refused = site.ask(&get("/channels/c", ""));
    let problem: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(refused.status, 403);
    assert_eq!(
        problem["type"],
        "https://everwire.dev/problems/refused-by-application"
    );
    assert_eq!(problem["detail"], "the application refuses this: not today");
    assert_eq!(problem["reason"], "not today");
}

#[test]
fn a_session_asks_for_each_command_over_every_carrier() {
    for carrier in CARRIERS {
        let (site, application) = decided(|question: &Value| match question["channel"].as_str() {
            Some("open") => json!({"allow": true}),
            _ => json!({"allow": false, "reason": "shut"}),
        });
        let mut session = Session::open(&site, carrier, "");
        session.ok(json!({"op": "subscribe", "channel": "open", "presence": {"user": "ada"}}));
        session.ok(json!({"op": "publish", "channel": "open", "data": 1}));
        session.ok(json!({"op": "history", "channel": "open"}));
        session.ok(json!({"op": "presence", "channel": "open"}));
        let kinds = |asked: &[Value]| -> Vec<String> {
            asked
                .iter()
                .map(|asked| asked["question"].as_str().unwrap().to_owned())
                .collect()
        };
        let expected = ["read", "presence", "publish", "read", "presence"];
        assert_eq!(kinds(&application.asked()), expected, "{carrier:?}");
        for command in [
            json!({"op": "subscribe", "channel": "shut"}),
            json!({"op": "publish", "channel": "shut", "data": 1}),
            json!({"op": "history", "channel": "shut"}),
            json!({"op": "presence", "channel": "shut"}),
        ] {
            assert_eq!(
                error(&session.ask(command)),
                "refused-by-application",
                "{carrier:?}"
            );
        }
        session.ok(json!({"op": "ping"}));
    }
}

#[test]
fn a_caller_is_whom_the_application_says_with_its_grants_and_its_name() {
    let known = |question: &Value| match question["headers"]["cookie"].as_str() {
        Some("sid=1") => json!({
            "allow": true, "sub": "ada", "info": {"name": "Ada"},
            "channels": [{"match": "chat/*", "can": ["read", "publish", "presence"]}],
        }),
        _ => json!({"allow": false, "reason": "log in first"}),
    };
    for carrier in CARRIERS {
        let (site, application) = decided_with(known, |config| {
            config.channels.decide.clear();
            config.webhooks.connect = true;
            config.webhooks.headers = vec!["cookie".to_owned()];
        });
        let own = "Cookie: sid=1\r\nSec-Fetch-Site: same-origin\r\n";
        let mut session = Session::open_with(&site, carrier, "", own);
        let ok = session.ok(json!({"op": "subscribe", "channel": "chat/a", "presence": true}));
        let member = json!([{"user": "ada", "info": {"name": "Ada"}, "sessions": 1}]);
        assert_eq!(
            ok["presence"]["members"][0]["user"], member[0]["user"],
            "{ok}"
        );
        session.ok(json!({"op": "publish", "channel": "chat/a", "data": 1}));
        let refused = session.ask(json!({"op": "subscribe", "channel": "other"}));
        assert_eq!(error(&refused), "forbidden", "{refused}");
        assert_eq!(
            application.asked().len(),
            1,
            "{carrier:?}: it was asked who that is, and no more"
        );
        let append = |fields| problem(&site.ask(&post("/channels/chat/a", fields, "[1]")));
        assert_eq!(append(own), (204, "none".to_owned()));
        // Cookies that a page of another site has sent along do not count.
        for fields in [
            "",
            "Cookie: sid=1\r\n",
            "Cookie: sid=1\r\nSec-Fetch-Site: cross-site\r\n",
        ] {
            assert_eq!(
                append(fields),
                (403, "refused-by-application".to_owned()),
                "{fields}"
            );
        }
        let refused = site.ask(&get("/connect", "Accept: application/json\r\n"));
        assert_eq!(
            problem(&refused),
            (403, "refused-by-application".to_owned())
        );
    }
}

#[test]
fn what_anybody_may_and_what_a_credential_grants_is_not_asked() {
    let (site, application) = decided_with(no, |config| {
        config.webhooks.connect = true;
        config.tokens.keys = vec![Issuer::shared().key()];
        let open = "webhooks.url = \"https://x/\"\nrules = [{ match = \"open\", decide = [], anonymous = [\"read\", \"publish\"] }]";
        config.rules = Config::from_toml(open).unwrap().rules;
    });
    let grants = json!([{"match": "c", "can": ["read", "publish"]}]);
    let token = Issuer::shared().token(json!({"sub": "ada", "channels": grants}));
    let shown = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(site.ask(&post("/channels/c", &shown, "[1]")).status, 204);
    assert_eq!(site.ask(&get("/channels/c", &shown)).status, 200);
    assert_eq!(site.ask(&post("/channels/open", "", "[1]")).status, 204);
    assert_eq!(site.ask(&get("/channels/open", "")).status, 200);
    assert_eq!(application.asked(), Vec::<Value>::new());
    // What it does not grant is asked, on behalf of whom the token names.
    assert_eq!(site.ask(&get("/channels/d", &shown)).status, 403);
    assert_eq!(application.asked()[0]["caller"], json!({"sub": "ada"}));
}

#[test]
fn a_credential_that_is_none_of_this_servers_is_passed_on_wherever_it_is_shown() {
    let knows = |question: &Value| match question["headers"]["authorization"].as_str() {
        Some("Bearer opaque") => json!({"allow": true, "sub": "ada"}),
        _ => json!({"allow": false}),
    };
    let (site, application) = decided_with(knows, |config| {
        config.webhooks.headers = vec!["Authorization".to_owned()];
    });
    for request in [
        get("/channels/c", "Authorization: Bearer opaque\r\n"),
        get("/channels/c?token=opaque", ""),
        websocket_request("/channels/c", "Sec-WebSocket-Protocol: bearer.opaque\r\n"),
    ] {
        // `sub` does not belong to the answer about a channel.
        assert_eq!(status_of(&site, &request).0, 503, "{request}");
        let asked = application.asked();
        assert_eq!(
            asked.last().unwrap()["headers"],
            json!({"authorization": "Bearer opaque"})
        );
    }
    let (site, _) = decided_with(knows, |config| {
        config.webhooks.headers = vec!["Authorization".to_owned()];
        config.webhooks.connect = true;
        config.channels.decide.clear();
    });
    let mut session = Session::open(&site, Carrier::WebSocket, "?token=opaque");
    session.ok(json!({"op": "authenticate", "token": "opaque"}));
    let refused = session.ask(json!({"op": "authenticate", "token": "another"}));
    assert_eq!(error(&refused), "refused-by-application");
    // Where it is not listed, it is refused as ever.
    let (site, application) = decided(yes);
    let refused = site.ask(&get("/channels/c", "Authorization: Bearer opaque\r\n"));
    assert_eq!(problem(&refused), (401, "bad-credential".to_owned()));
    assert!(application.asked().is_empty());
}

#[test]
fn without_a_good_answer_nothing_is_allowed_and_the_client_is_told_when_to_come_back() {
    type Bad = fn() -> Answer;
    let table: [(&str, Bad); 12] = [
        ("500", || Answer::Status(500)),
        ("404", || Answer::Status(404)),
        ("204", || Answer::Status(204)),
        ("a redirect", || Answer::Status(302)),
        ("503", || Answer::Status(503)),
        ("no JSON", || {
            Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue".to_vec())
        }),
        ("no decision", || Answer::Json(json!({}))),
        ("an unknown member", || {
            Answer::Json(json!({"allow": true, "untill": 1}))
        }),
        ("a string", || Answer::Json(json!({"allow": "true"}))),
        ("too much", || {
            Answer::Json(json!({"allow": true, "info": "x".repeat(200_000)}))
        }),
        ("no HTTP", || Answer::Raw(b"garbage\r\n\r\n".to_vec())),
        ("an end", || Answer::Raw(Vec::new())),
    ];
    for (name, answer) in table {
        let (site, application) = decided_with(
            move |_: &Value| answer(),
            |config| config.webhooks.breaker_failures = 100,
        );
        for request in [get("/channels/c", ""), post("/channels/c", "", "[1]")] {
            let refused = site.ask(&request);
            assert_eq!(
                problem(&refused),
                (503, "decision-unavailable".to_owned()),
                "{name}"
            );
            assert_eq!(refused.field("retry-after"), Some("1"), "{name}");
        }
        let mut session = Session::open(&site, Carrier::WebSocket, "");
        let refused = session.ask(json!({"op": "publish", "channel": "c", "data": 1}));
        assert_eq!(error(&refused), "decision-unavailable", "{name}");
        assert!(!application.asked().is_empty(), "{name}");
    }
}

#[test]
fn an_application_that_is_not_there_or_says_nothing_is_waited_for_no_longer_than_may_be() {
    let (site, _) = decided_with(
        |_: &Value| Answer::Silence,
        |config| config.webhooks.time_ms_max = 50,
    );
    assert_eq!(site.ask(&get("/channels/c", "")).status, 503);
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (site, _) = decided_with(yes, |config| {
        config.webhooks.url = format!("http://{gone}/");
    });
    assert_eq!(site.ask(&get("/channels/c", "")).status, 503);
}

#[test]
fn a_question_that_was_not_heard_is_asked_again_under_the_same_id() {
    let count = AtomicUsize::new(0);
    let (site, application) =
        decided(
            move |_: &Value| match count.fetch_add(1, Ordering::Relaxed) {
                0 => Answer::Status(503),
                1 => Answer::Status(502),
                _ => Answer::Json(json!({"allow": true})),
            },
        );
    assert_eq!(site.ask(&post("/channels/c", "", "[1]")).status, 204);
    let asked = application.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|again| again["id"] == asked[0]["id"]));
    // One that it may have heard is not.
    let (site, application) = decided(|_: &Value| Answer::Status(500));
    assert_eq!(site.ask(&post("/channels/c", "", "[1]")).status, 503);
    assert_eq!(application.asked().len(), 1);
}

#[test]
fn an_application_that_is_not_there_is_left_alone_until_it_is_back() {
    let is_back = Arc::new(AtomicUsize::new(0));
    let seen = is_back.clone();
    let answer = move |_: &Value| match seen.load(Ordering::Relaxed) {
        0 => Answer::Status(504),
        _ => Answer::Json(json!({"allow": true})),
    };
    let (site, application) = decided_with(answer, |config| {
        config.webhooks.attempts_max = 1;
        config.webhooks.breaker_failures = 3;
        config.webhooks.breaker_rest_ms = 200;
        config.tokens.keys = vec![Issuer::shared().key()];
    });
    // Three callers: one alone could have an input on which it does not answer.
    for user in ["ada", "bob", "eve"] {
        let token = Issuer::shared().token(json!({"sub": user}));
        let shown = format!("Authorization: Bearer {token}\r\n");
        assert_eq!(site.ask(&get("/channels/c", &shown)).status, 503);
    }
    assert_eq!(site.metric("everwire_webhook_breaker_open"), 1);
    is_back.store(1, Ordering::Relaxed);
    let mut refused = 0;
    site.until("it is asked again", |site| {
        let (status, _) = status_of(site, &get("/channels/c", NDJSON));
        refused += usize::from(status == 503);
        status == 200
    });
    assert!(refused > 0, "not before its rest was over");
    assert_eq!(
        application.asked().len(),
        4,
        "and not while it was left alone"
    );
    assert_eq!(site.metric("everwire_webhook_breaker_open"), 0);
}

#[test]
fn an_answer_is_used_again_for_as_long_as_it_says() {
    let (site, application) = decided(|_: &Value| json!({"allow": true, "cache_s": 60}));
    for _ in 0..3 {
        assert_eq!(status_of(&site, &get("/channels/c", NDJSON)).0, 200);
    }
    assert_eq!(application.asked().len(), 1);
    let mut session = Session::open(&site, Carrier::WebSocket, "");
    session.ok(json!({"op": "subscribe", "channel": "c"}));
    assert_eq!(
        application.asked().len(),
        1,
        "the same question by another wire"
    );
    assert_eq!(status_of(&site, &get("/channels/d", NDJSON)).0, 200);
    assert_eq!(application.asked().len(), 2);
    let remembered = "everwire_webhook_questions_total{question=\"read\",outcome=\"remembered\"}";
    assert_eq!(site.metric(remembered), 3);
}

#[test]
fn who_asks_the_same_at_the_same_time_gets_one_answer_and_no_more_wait_than_may() {
    let door = Door::default();
    let shut = door.clone();
    let answer = move |question: &Value| {
        if question["channel"] == "slow" {
            shut.pass();
        }
        json!({"allow": true})
    };
    let (site, application) = decided_with(answer, |config| {
        config.webhooks.waiting_max = 3;
        config.webhooks.waiting_per_caller_max = 9; // of all before of one
    });
    let mut peers: Vec<_> = (0..3).map(|_| site.connect()).collect();
    for peer in &mut peers {
        peer.send(get("/channels/slow", NDJSON));
    }
    site.until("all wait", |site| {
        site.metric("everwire_webhook_waiting") == 3
    });
    let refused = site.ask(&get("/channels/other", ""));
    assert_eq!(problem(&refused), (503, "decision-unavailable".to_owned()));
    assert_eq!(
        site.metric("everwire_limits_met_total{limit=\"waiting_max\"}"),
        1
    );
    door.open(1);
    for peer in &mut peers {
        assert!(peer.head().starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(application.asked().len(), 1);
    assert_eq!(site.metric("everwire_webhook_waiting"), 0);
}

/// What the application has in the place of what is published.
fn censored(question: &Value) -> Value {
    let entries = question["entries"].as_array().unwrap();
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| match entry["data"].as_str() {
            Some("rude") => json!({"data": "***"}),
            _ => json!({"data": entry["data"]}),
        })
        .collect();
    json!({"allow": true, "entries": entries})
}

#[test]
fn what_is_published_may_be_replaced_whichever_way_it_comes() {
    let (site, application) = decided_with(censored, |config| {
        let read = "webhooks.url = \"https://x/\"\nchannels = { decide = [\"publish\"], anonymous = [\"read\"] }";
        config.channels = Config::from_toml(read).unwrap().channels;
    });
    assert_eq!(
        site.ask(&post("/channels/c", "", r#"["rude", "kind"]"#))
            .status,
        204
    );
    let batch = r#"[{"channel":"c","data":"rude"},{"channel":"c","data":"kind","event":"e"}]"#;
    assert_eq!(site.ask(&post("/publish", "", batch)).status, 200);
    for carrier in CARRIERS {
        let mut session = Session::open(&site, carrier, "");
        session.ok(
            json!({"op": "publish", "channel": "c", "data": "rude", "key": format!("{carrier:?}")}),
        );
    }
    let mut raw = site.websocket("c", "");
    raw.send(client_frame(0x81, b"\"rude\""));
    assert_eq!(raw.text(), "\"***\"");
    let page = site.ask(&get("/channels/c", ""));
    let page: Value = serde_json::from_slice(&page.body).unwrap();
    assert_eq!(
        page,
        json!([
            "***", "kind", "***", "kind", "***", "***", "***", "***", "***"
        ])
    );
    // Those of a batch are asked together, in whichever order they arrive.
    let event = json!([{"data": "kind", "event": "e"}]);
    assert!(
        application
            .asked()
            .iter()
            .any(|asked| asked["entries"] == event)
    );
}

#[test]
fn a_replacement_that_the_channel_does_not_hold_is_no_answer() {
    for entries in [
        json!([]),
        json!([{"data": 1}, {"data": 2}]),
        json!([{"data64": "AA=="}]),
    ] {
        let (site, _) = decided(move |_: &Value| json!({"allow": true, "entries": entries}));
        let refused = site.ask(&post("/channels/c", "", "[1]"));
        assert_eq!(problem(&refused), (503, "decision-unavailable".to_owned()));
    }
}

#[test]
fn a_publication_that_is_too_large_to_be_asked_about_is_refused() {
    let (site, application) = decided_with(yes, |config| config.webhooks.data_bytes_max = 10);
    let large = format!("[\"{}\"]", "x".repeat(20));
    assert_eq!(
        problem(&site.ask(&post("/channels/c", "", &large))),
        (413, "too-large".to_owned())
    );
    assert!(application.asked().is_empty());
    assert_eq!(
        site.metric("everwire_limits_met_total{limit=\"data_bytes_max\"}"),
        1
    );
}

/// Publications of one line keep their order however long each decision takes, and no other line waits for them.
#[test]
fn what_one_line_publishes_keeps_its_order_and_no_other_line_waits() {
    const COUNT: usize = 20;
    let door = Door::default();
    let shut = door.clone();
    let (site, application) = decided(move |question: &Value| {
        if question["question"] == "publish" && question["channel"] != "quick" {
            shut.pass();
        }
        json!({"allow": true})
    });
    let mut raw = site.websocket("raw", "");
    let mut session = Session::open(&site, Carrier::WebSocket, "");
    session.ok(json!({"op": "subscribe", "channel": "session"}));
    for n in 0..COUNT {
        raw.send(client_frame(0x81, n.to_string().as_bytes()));
        let publish = json!({"id": n, "op": "publish", "channel": "session", "data": n});
        session
            .peer
            .send(client_frame(0x81, publish.to_string().as_bytes()));
    }
    let asked_before = application.until_asked(4).len();
    assert_eq!(asked_before, 4, "one of each line is asked at a time");
    // Meanwhile others are served.
    let mut other = site.websocket("quick", "");
    other.send(client_frame(0x81, b"hello"));
    assert_eq!(other.text(), "hello");
    door.open(2 * COUNT);
    let said: Vec<_> = (0..COUNT).map(|_| raw.text()).collect();
    assert_eq!(said, (0..COUNT).map(|n| n.to_string()).collect::<Vec<_>>());
    for n in 0..COUNT {
        assert_eq!(session.entry(), ("session".to_owned(), json!(n)));
    }
}

#[test]
fn requests_of_a_session_wait_in_their_order_and_no_more_than_may() {
    let door = Door::default();
    let shut = door.clone();
    let answer = move |question: &Value| {
        if question["question"] == "publish" {
            shut.pass();
        }
        json!({"allow": true})
    };
    let (site, application) =
        decided_with(answer, |config| config.webhooks.session_waiting_max = 2);
    let session = Session::open(&site, Carrier::Ndjson, "");
    let command = |n: usize| {
        let publish = json!({"id": n, "op": "publish", "channel": "c", "data": n});
        post(
            &format!("/connect/{}", session.welcome["session"].as_str().unwrap()),
            &format!(
                "Everwire-Secret: {}\r\n",
                session.welcome["secret"].as_str().unwrap()
            ),
            &json!([publish, {"id": "after", "op": "ping"}]).to_string(),
        )
    };
    let mut peers = Vec::new();
    for n in 0..3 {
        let mut peer = site.connect();
        peer.send(command(n));
        if n == 0 {
            application.until_asked(1);
        }
        peers.push(peer);
    }
    site.until("the fourth is one too many", |site| {
        let refused = site.ask(&command(3));
        if refused.status == 429 {
            assert_eq!(refused.field("retry-after"), Some("1"));
        }
        refused.status == 429
    });
    door.open(4);
    for (n, peer) in peers.iter_mut().enumerate() {
        let replies: Value = serde_json::from_slice(&peer.response().body).unwrap();
        assert_eq!(
            (&replies[0]["re"], &replies[1]["re"]),
            (&json!(n), &json!("after")),
            "{replies}"
        );
    }
}

#[test]
fn a_right_that_was_granted_until_some_time_ends_then() {
    let until = now_s() + 2;
    let (site, _) = decided(
        move |question: &Value| match question["question"].as_str() {
            Some("read" | "presence") => json!({"allow": true, "until": until, "cache_s": 60}),
            _ => json!({"allow": true}),
        },
    );
    let mut lines = [SSE, NDJSON].map(|fields| {
        let mut peer = site.connect();
        peer.send(get("/channels/c", fields));
        peer.head();
        peer
    });
    let mut raw = site.websocket("c", "");
    let mut session = Session::open(&site, Carrier::WebSocket, "");
    session.ok(json!({"op": "subscribe", "channel": "c", "presence": {"user": "ada"}}));
    let mut own = site.connect();
    own.send(websocket_request(
        "/channels/c",
        "Sec-WebSocket-Protocol: everwire.v1\r\n",
    ));
    own.head();
    for line in &mut lines {
        line.rest();
    }
    assert_eq!(raw.frame(), Frame::Close(4401));
    loop {
        let event = session.event();
        if event["ev"] != "join" {
            assert_eq!(
                (&event["ev"], &event["channel"]),
                (&json!("revoked"), &json!("c")),
                "{event}"
            );
            break;
        }
    }
    let refused = session.ask(json!({"op": "subscribe", "channel": "c"}));
    assert_eq!(error(&refused), "expired-credential", "{refused}");
    session.ok(json!({"op": "publish", "channel": "c", "data": 1}));
    let told: Vec<_> = std::iter::repeat_with(|| own.text()).take(2).collect();
    assert!(told[1].contains("revoked"), "{told:?}");
}

#[test]
fn a_page_that_was_decided_is_kept_by_no_shared_cache_and_asked_for_each_time() {
    let (site, application) = decided(yes);
    for n in 0..3 {
        site.ask(&post("/channels/c", "", &n.to_string()));
    }
    let page = site.ask(&get("/channels/c", ""));
    assert_eq!(page.field("cache-control"), Some("private, no-cache"));
    let tag = format!("If-None-Match: {}\r\n", page.field("etag").unwrap());
    assert_eq!(site.ask(&get("/channels/c", &tag)).status, 304);
    let reads = application
        .asked()
        .iter()
        .filter(|asked| asked["question"] == "read")
        .count();
    assert_eq!(reads, 2, "also for what is not modified");
}

/// What the application let in stays at a reload that changes nothing about it; what it was never asked about does not,
/// once it is to be asked.
#[test]
fn a_reload_keeps_what_was_let_in_and_ends_what_was_never_asked_about() {
    let application = Application::start(yes);
    let mut config = Config::default();
    let site = Site::with(|started| {
        application.decides(started);
        let open = "webhooks.url = \"https://x/\"\nrules = [{ match = \"open\", decide = [], anonymous = [\"read\"] }]";
        started.rules = Config::from_toml(open).unwrap().rules;
        config = started.clone();
    });
    let open = |name| {
        [SSE, NDJSON].map(|fields| {
            let mut peer = site.connect();
            peer.send(get(&format!("/channels/{name}"), fields));
            assert!(peer.head().starts_with("HTTP/1.1 200 "));
            peer
        })
    };
    let (mut lent, mut unasked) = (open("lent"), open("open"));
    let mut raw = site.websocket("lent", "");
    let mut session = Session::open(&site, Carrier::WebSocket, "");
    session.ok(json!({"op": "subscribe", "channel": "lent"}));
    session.ok(json!({"op": "subscribe", "channel": "open"}));
    config.rules.clear(); // so that all is decided
    let _ = site.server.reloader().reload(config).unwrap();
    for line in &mut unasked {
        line.rest();
    }
    let event = session.event();
    assert_eq!(
        (&event["ev"], &event["channel"]),
        (&json!("revoked"), &json!("open")),
        "{event}"
    );
    raw.send(client_frame(0x81, b"still"));
    assert_eq!(raw.text(), "still");
    for line in &mut lent {
        line.until(b"still"); // after the preamble
    }
    assert_eq!(session.entry(), ("lent".to_owned(), json!("still")));
}
