//! Questions to the application: what one caller has asked waits behind its own, and harms nobody else.

mod common;

use common::{
    Carrier, Response, Session, Site,
    application::{Answer, Application, Door},
    issuer::Issuer,
};
use everwire_server::config::Config;
use serde_json::{Value, json};

fn get(name: &str, fields: &str) -> String {
    format!("GET /channels/{name} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
}

/// What a user shows that may do nothing unasked.
fn user(name: &str) -> String {
    let token = Issuer::shared().token(json!({"sub": name}));
    format!("Authorization: Bearer {token}\r\n")
}

fn problem(response: &Response) -> (u16, String) {
    let problem: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let kind = problem["type"].as_str().unwrap_or("none");
    (response.status, kind.rsplit('/').next().unwrap().to_owned())
}

fn site(application: &Application, change: impl FnOnce(&mut Config)) -> Site {
    Site::with(|config| {
        application.decides(config);
        config.tokens.keys = vec![Issuer::shared().key()];
        change(config);
    })
}

fn asked_about(application: &Application, channel: &str) -> usize {
    let asked = application.asked();
    asked
        .iter()
        .filter(|question| question["channel"] == channel)
        .count()
}

const DECIDED: (u16, &str) = (404, "not-found");

/// Nobody else's question is refused or held up, whatever one caller has asked.
#[test]
fn what_one_caller_has_asked_waits_behind_its_own() {
    let door = Door::default();
    let shut = door.clone();
    let application = Application::start(move |question: &Value| {
        if question["caller"].is_null() {
            shut.pass();
        }
        json!({"allow": true})
    });
    let site = site(&application, |config| {
        config.webhooks.time_ms_max = 60_000;
        config.webhooks.waiting_max = 160;
        config.outbound.connections_per_host_max = 4;
    });
    let mut waits: Vec<_> = (0..10).map(|_| site.connect()).collect();
    for (number, peer) in waits.iter_mut().enumerate() {
        peer.send(get(&format!("slow{number}"), ""));
    }
    site.until("ten of a stranger wait", |site| {
        site.metric("everwire_webhook_waiting") == 10
    });
    let mut session = Session::open(&site, Carrier::Ndjson, "");
    let refused = site.ask(&get("slow11", ""));
    assert_eq!(problem(&refused), (429, "too-many".to_owned()));
    assert_eq!(refused.field("retry-after"), Some("1"));
    let refused = session.ask(json!({"op": "history", "channel": "slow12"}));
    assert!(
        refused["error"]["type"]
            .as_str()
            .unwrap()
            .ends_with("too-many"),
        "{refused}"
    );
    let limit = "everwire_limits_met_total{limit=\"waiting_per_caller_max\"}";
    assert_eq!(site.metric(limit), 2);
    // Others are answered meanwhile: two of the four connections are never the stranger's.
    for name in ["ada", "bob"] {
        for channel in ["a", "b", "c"] {
            let (status, kind) = DECIDED;
            let answered = site.ask(&get(channel, &user(name)));
            assert_eq!(
                problem(&answered),
                (status, kind.to_owned()),
                "{name} {channel}"
            );
        }
    }
    door.open(10);
    for peer in &mut waits {
        assert_eq!(peer.response().status, 404);
    }
}

/// An input on which the application does not answer, asked again and again, has nobody else refused.
#[test]
fn one_caller_without_answers_opens_the_breaker_for_itself_alone() {
    let application = Application::start(|question: &Value| match question["channel"].as_str() {
        Some("bad") => Answer::Status(504),
        _ => Answer::Json(json!({"allow": true})),
    });
    let site = site(&application, |config| {
        config.webhooks.attempts_max = 1;
        config.webhooks.breaker_failures = 3;
        config.webhooks.breaker_rest_ms = 600_000;
    });
    for _ in 0..5 {
        let refused = site.ask(&get("bad", ""));
        assert_eq!(problem(&refused), (503, "decision-unavailable".to_owned()));
    }
    assert_eq!(
        asked_about(&application, "bad"),
        3,
        "then it was left alone"
    );
    let refused = site.ask(&get("good", ""));
    assert_eq!(refused.status, 503, "whatever this caller asks");
    assert_eq!(refused.field("retry-after"), Some("1200"));
    assert_eq!(site.metric("everwire_webhook_breaker_open"), 0);
    for name in ["ada", "bob"] {
        assert_eq!(site.ask(&get("good", &user(name))).status, 404, "{name}");
    }
}

#[test]
fn answers_that_others_have_remembered_are_not_forgotten_for_what_one_caller_asks() {
    let application = Application::start(|_: &Value| json!({"allow": true, "cache_s": 60}));
    let site = site(&application, |config| config.webhooks.cached_max = 10);
    let ada = user("ada");
    assert_eq!(site.ask(&get("mine", &ada)).status, 404);
    for number in 0..30 {
        assert_eq!(site.ask(&get(&format!("other{number}"), "")).status, 404);
    }
    assert_eq!(site.ask(&get("mine", &ada)).status, 404);
    assert_eq!(asked_about(&application, "mine"), 1);
}

#[test]
fn a_reload_that_changes_nothing_about_the_application_forgets_nothing() {
    let application = Application::start(|_: &Value| json!({"allow": true, "cache_s": 60}));
    let mut running = Config::default();
    let site = site(&application, |config| running = config.clone());
    let asks = |expected: usize, why: &str| {
        assert_eq!(site.ask(&get("c", "")).status, 404);
        assert_eq!(asked_about(&application, "c"), expected, "{why}");
    };
    asks(1, "for the first time");
    running.tokens.keys = vec![Issuer::shared().key()];
    running.limits.lines_max = 7;
    let _ = site.server.reloader().reload(running.clone()).unwrap();
    asks(1, "nothing about the application has changed");
    running.webhooks.cached_max += 1;
    let _ = site.server.reloader().reload(running).unwrap();
    asks(2, "it is another desk now");
}

/// As long as it rests, it rests over a reload.
#[test]
fn a_reload_does_not_close_the_breaker() {
    let application = Application::start(|_: &Value| Answer::Status(504));
    let mut running = Config::default();
    let site = site(&application, |config| {
        config.webhooks.attempts_max = 1;
        config.webhooks.breaker_failures = 2;
        config.webhooks.breaker_rest_ms = 600_000;
        running = config.clone();
    });
    for name in ["ada", "bob"] {
        assert_eq!(site.ask(&get("c", &user(name))).status, 503);
    }
    running.tokens.keys = vec![Issuer::shared().key()];
    let _ = site.server.reloader().reload(running).unwrap();
    assert_eq!(site.ask(&get("c", &user("eve"))).status, 503);
    assert_eq!(asked_about(&application, "c"), 2);
    assert_eq!(site.metric("everwire_webhook_breaker_open"), 1);
}
