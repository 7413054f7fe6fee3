//! Pages of other sites, in the browser of somebody who may do more than they.

use serde_json::json;

use crate::{
    common::{issuer::Issuer, websocket_request},
    victim::{Victim, problem},
};

const SETTINGS: &str = "
[http]
origins = [\"https://app.example.org\"]
";

/// Cookies are sent along by browsers, whoever asked.
fn victim_with_cookie() -> Victim {
    Victim::start_with(&["--tokens.cookie", "session"], SETTINGS)
}

#[test]
fn a_hostile_page_reaches_nothing() {
    let victim = victim_with_cookie();
    let token = Issuer::shared().token(
        json!({"sub": "ada", "channels": [{"match": "**", "can": ["read", "publish", "manage"]}]}),
    );
    let cookie = format!("Cookie: session={token}\r\n");
    let origins = [
        "https://evil.example.net",
        "null",
        "",
        "https://app.example.org.evil.example.net",
        "https://evil.example.net/https://app.example.org",
        "https://app.example.org@evil.example.net",
        "https://app.example.org:444",
        "http://app.example.org",
        "https://APP.example.org.",
        "https://xapp.example.org",
        "https://app.example.org https://evil.example.net",
        "https://evil.example.net, https://app.example.org",
        "*",
        "file://",
        "http://localhost",
        "http://127.0.0.1",
        "app.example.org",
    ];
    for origin in origins {
        let fields = format!("Origin: {origin}\r\n{cookie}");
        // Cross-site WebSocket hijacking: browsers send these without asking first.
        for target in ["/channels/chat/a", "/connect", "/channels/target"] {
            let protocol = "Sec-WebSocket-Protocol: everwire.v1\r\n";
            let response = victim.ask(websocket_request(target, &format!("{protocol}{fields}")));
            assert_eq!(
                (response.status, &*problem(&response.body)),
                (403, "bad-origin"),
                "{origin:?} at {target}"
            );
        }
        // A form, or `fetch` without reading the answer.
        for (method, target) in [
            ("POST", "/channels/target"),
            ("POST", "/channels/chat/a"),
            ("POST", "/publish"),
            ("DELETE", "/channels/chat/a"),
        ] {
            let request = format!(
                "{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n{fields}\r\nx"
            );
            let response = victim.ask(request);
            assert_eq!(
                (response.status, &*problem(&response.body)),
                (403, "bad-origin"),
                "{origin:?}: {method} {target}"
            );
            assert!(!allows(&response.head), "{origin:?}: {}", response.head);
        }
        // A read goes out; the cookie does not count for it, and the page may not see even what everybody may read.
        for (target, status) in [("/channels/chat/a", 401), ("/healthz", 200)] {
            let response = victim.ask(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
            assert_eq!(response.status, status, "{origin:?}: {target}");
            assert!(!allows(&response.head), "{origin:?}: {}", response.head);
        }
        let preflight = format!(
            "OPTIONS /channels/target HTTP/1.1\r\nHost: x\r\nAccess-Control-Request-Method: DELETE\r\n{fields}\r\n"
        );
        let response = victim.ask(preflight);
        assert!(!allows(&response.head), "{origin:?}: {}", response.head);
        victim.serves_others(origin);
    }
    // The same from the page that may.
    let fields = format!("Origin: https://app.example.org\r\n{cookie}");
    let response = victim.ask(format!(
        "GET /channels/chat/a HTTP/1.1\r\nHost: x\r\n{fields}\r\n"
    ));
    assert_eq!(
        response.status, 404,
        "let in, and there is nothing yet: {}",
        response.head
    );
    assert!(allows(&response.head), "{}", response.head);
}

fn allows(head: &str) -> bool {
    head.to_lowercase().contains("access-control-allow-origin")
}

/// A page has its own name resolved to 127.0.0.1 once it is loaded: to the browser, what answers there is of its origin.
#[test]
fn a_server_where_all_is_open_answers_by_no_name_that_a_page_could_have() {
    let victim = Victim::start_with(&["--dev"], "");
    let port = victim.address.port();
    for host in [
        "evil.example",
        &format!("evil.example:{port}"),
        "EVIL.example.",
        "evil.",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.localhost.example",
        "\u{e9}vil.example",
    ] {
        for (method, fields) in [
            ("GET", ""),
            ("GET", "Accept: text/event-stream\r\n"),
            ("POST", "Content-Type: text/plain\r\nContent-Length: 0\r\n"),
            ("DELETE", ""),
            ("OPTIONS", ""),
        ] {
            let origin = format!("Origin: http://{host}\r\n");
            let response = victim.ask(format!(
                "{method} /channels/target HTTP/1.1\r\nHost: {host}\r\n{origin}{fields}\r\n"
            ));
            let expected = match host.is_ascii() {
                true => (421, "misdirected"),
                false => (400, "bad-request"), // no name at all
            };
            assert_eq!(
                (response.status, &*problem(&response.body)),
                expected,
                "{method} at {host}"
            );
            assert!(!allows(&response.head), "{host}: {}", response.head);
        }
    }
    for host in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "chat.localhost",
        "devbox",
    ] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            let response = victim.ask(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!(response.status, 200, "{host}");
        }
    }
}

/// What a publisher says is data wherever it is told.
#[test]
fn nothing_that_is_published_becomes_framing() {
    let victim = Victim::start("");
    let evil = "x\r\rid: 0\nevent: closed\r\ndata: evil\n\n<script>alert(1)</script>\u{2028}\0";
    let mut stream = victim.connect();
    stream.open_stream("target", "", "text/event-stream");
    stream.event();
    let response = victim
        .connect()
        .append("target", "text/plain; charset=utf-8", evil.as_bytes());
    assert_eq!(response.status, 204, "{}", response.text());
    let event = stream.event();
    for line in event.split(['\r', '\n']).filter(|line| !line.is_empty()) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let is_ours = field == "data" || (field == "id" && value.trim() != "0");
        assert!(
            is_ours || (field == "event" && !value.contains("closed")),
            "{line:?} of {event:?}"
        );
    }
    assert_eq!(event.matches("\n\n").count(), 1, "{event:?} is one event");

    // Labels and names cannot carry a line's end at all.
    for (fields, what) in [
        ("Everwire-Event: a\rid: 0\r\n", "a bare CR"),
        ("Everwire-Event: closed\r\n", "an event of the server's own"),
        ("Idempotency-Key: \"a\rb\"\r\n", "a bare CR in a key"),
    ] {
        let request = format!(
            "POST /channels/target HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n{fields}Content-Length: 1\r\n\r\nx"
        );
        assert_eq!(victim.ask(&request).status, 400, "{what}");
        victim.serves_others(what);
    }
    for item in [
        json!({"event": "a\nid: 0"}),
        json!({"event": "a\r"}),
        json!({"event": "gap"}),
        json!({"key": "a\nb"}),
    ] {
        let mut item = item;
        item["channel"] = "target".into();
        item["data"] = "x".into();
        let content = json!([item]).to_string();
        let request = format!(
            "POST /publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{content}",
            content.len()
        );
        let response = victim.ask(request);
        assert!(
            response.text().contains("\"bad-request\"")
                || response.text().contains("problems/bad-"),
            "{content}: {}",
            response.text()
        );
    }
}

/// A browser that guesses types must not find a page in an answer.
#[test]
fn no_answer_is_a_page() {
    let victim = Victim::start("");
    let script = "<html><script>alert(1)</script></html>";
    let path = "/channels/%3Cscript%3Ealert(1)%3C/script%3E";
    for request in [
        format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"),
        "GET /nowhere?%3Cscript%3E HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        format!("GET /channels/target?offset={path} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!(
            "POST /channels/target HTTP/1.1\r\nHost: x\r\nContent-Type: {script}\r\nContent-Length: 1\r\n\r\nx"
        ),
        format!(
            "POST /channels/target HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{script}",
            script.len()
        ),
    ] {
        let response = victim.ask(&request);
        assert!(response.status >= 400, "{request}");
        assert_eq!(
            response.field("content-type"),
            Some("application/problem+json"),
            "{request}"
        );
        assert_eq!(
            response.field("x-content-type-options"),
            Some("nosniff"),
            "{request}"
        );
    }
    // Whoever may publish chooses the type, and the page that it would make is one without rights.
    let response = victim.ask(format!(
        "POST /channels/target HTTP/1.1\r\nHost: x\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{script}",
        script.len()
    ));
    assert_eq!(response.status, 204, "{}", response.text());
    let response = victim.ask("GET /channels/target HTTP/1.1\r\nHost: x\r\n\r\n");
    let policy = response
        .field("content-security-policy")
        .unwrap_or_default();
    assert!(
        policy.contains("sandbox") && policy.contains("default-src 'none'"),
        "{}",
        response.head
    );
}
