//! By which names a server answers (`http.hosts`), however they are said.

mod common;

use common::{Peer, Site, Streams, websocket_request};
use everwire_server::Config;

fn listed(config: &mut Config) {
    config.dev = false;
    config.channels.anonymous = vec![
        everwire_server::config::Action::Read,
        everwire_server::config::Action::Publish,
    ];
    config.http.hosts = ["live.example.org", "*.apps.example", "192.0.2.7", "[::1]"]
        .map(|host| host.parse().unwrap())
        .into();
    config.metrics.access = everwire_server::config::MetricsAccess::Open;
}

const MISDIRECTED: &str = "everwire_problems_total{type=\"misdirected\"}";

fn misdirected(site: &Site) -> u64 {
    let response = site.ask("GET /metrics HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n");
    assert_eq!(response.status, 200, "{}", response.text());
    let counted = response
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(MISDIRECTED));
    counted.map_or(0, |count| count.trim().parse().unwrap())
}

/// RFC 9110, section 15.5.20. Each row over both versions, by what creates, reads, waits, streams and opens a WebSocket.
#[test]
fn a_request_by_another_name_is_misdirected() {
    let site = Site::with(listed);
    let mut counted = 0;
    for (host, is_ours) in [
        ("live.example.org", true),
        ("LIVE.example.org:8443", true),
        ("live.example.org.", true),
        ("a.b.apps.example", true),
        ("192.0.2.7:80", true),
        ("[0:0:0:0:0:0:0:1]:80", true),
        ("apps.example", false),
        ("evil.example", false),
        ("live.example.org.evil.example", false),
        ("evillive.example.org", false),
        ("localhost", false),
        ("127.0.0.1", false),
        ("192.0.2.8", false),
        ("[::2]", false),
        ("x", false),
    ] {
        let expected = |ours| if is_ours { ours } else { 421 };
        for (method, path, ours) in [
            ("PUT", "/channels/c", &[200, 201][..]),
            ("GET", "/channels/c", &[200]),
            ("OPTIONS", "/channels/c", &[204]),
            ("OPTIONS", "*", &[204]),
            ("GET", "/nowhere", &[404]),
            ("GET", "/channels/c?refusals=visible", &[200]),
        ] {
            let answer = site.ask(&format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let expected: &[u16] = if is_ours { ours } else { &[421] };
            assert!(
                expected.contains(&answer.status),
                "{method} {path} at {host}: {}",
                answer.head
            );
            if !is_ours {
                assert!(answer.text().contains("/problems/misdirected\""));
                assert_eq!(answer.field("cache-control"), Some("no-store"));
                counted += 1;
            }
        }
        let target = [
            (":scheme", "http"),
            (":authority", host),
            (":path", "/channels/c"),
        ];
        let get = [&[(":method", "GET")], &target[..]].concat();
        let mut streams = Streams::connect(site.address);
        let stream = streams.request(&get, 0x5);
        assert_eq!(streams.status(stream), expected(200), "HTTP/2 at {host}");

        let mut peer = site.connect();
        peer.send(
            websocket_request("/channels/c", "").replace("Host: x", &format!("Host: {host}")),
        );
        let head = peer.head();
        assert_eq!(head[9..12], expected(101).to_string(), "{head}");
        let websocket = [
            &[(":method", "CONNECT"), (":protocol", "websocket")],
            &target[..],
            &[("sec-websocket-version", "13")],
        ];
        let mut streams = Streams::connect(site.address);
        let stream = streams.request(&websocket.concat(), 0x4);
        assert_eq!(streams.status(stream), expected(200), "RFC 8441 at {host}");
        counted += if is_ours { 0 } else { 3 };
    }
    assert_eq!(misdirected(&site), counted);
}

/// Which of the names counts that a request says, and what one says that has none.
#[test]
fn each_name_that_a_request_says_has_to_be_ours() {
    let site = Site::with(|config| {
        listed(config);
        config.http.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    });
    let ours = "Host: live.example.org\r\n";
    for (line, fields, expected) in [
        // RFC 9112, section 3.2.2: the target's, whatever the field says.
        (
            "GET http://live.example.org/channels/c HTTP/1.1",
            "Host: evil.example\r\n",
            404,
        ),
        ("GET http://evil.example/channels/c HTTP/1.1", ours, 421),
        ("GET http://evil.example/channels/c HTTP/1.0", ours, 421),
        ("GET http://evil.example/channels/c HTTP/1.0", "", 421),
        // Section 3.2: a client that has no name to say sends an empty field, and one of HTTP/1.0 none.
        ("GET /channels/c HTTP/1.1", "Host:\r\n", 421),
        ("GET /channels/c HTTP/1.0", "", 421),
        ("GET /channels/c HTTP/1.0", ours, 404),
        // A proxy that is trusted passes the name on, or changes it.
        (
            "GET /channels/c HTTP/1.1",
            "Host: live.example.org\r\nX-Forwarded-Host: evil.example\r\n",
            421,
        ),
        (
            "GET /channels/c HTTP/1.1",
            "Host: evil.example\r\nX-Forwarded-Host: live.example.org\r\n",
            421,
        ),
        (
            "GET /channels/c HTTP/1.1",
            "Host: live.example.org\r\nX-Forwarded-Host: a.apps.example\r\n",
            404,
        ),
    ] {
        let answer = site.ask(&format!("{line}\r\n{fields}\r\n"));
        assert_eq!(
            answer.status,
            expected,
            "{line} {fields}: {}",
            answer.text()
        );
    }
}

/// Balancers and authorities ask by what they know of the server, which may be an address of a moment.
#[test]
fn who_looks_after_the_server_asks_by_any_name() {
    let site = Site::with(listed);
    let token = "/.well-known/acme-challenge/t";
    for (host, path, expected) in [
        ("10.1.2.3:8080", "/healthz", 200),
        ("evil.example", "/healthz", 200),
        ("", "/readyz", 200),
        ("evil.example", "/readyz", 200),
        ("evil.example", token, 404),
        ("10.1.2.3:8080", "/metrics", 200),
        ("[2001:db8::1]", "/metrics", 200),
        ("live.example.org", "/metrics", 200),
        // A page that has its name lead here must not read what is counted.
        ("evil.example", "/metrics", 421),
        ("evil.example", "/healthz/", 421),
    ] {
        let answer = site.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.status, expected, "{path} at {host}");
    }
    let old = "GET /healthz HTTP/1.0\r\n\r\n";
    assert_eq!(site.ask(old).status, 200, "as some balancers ask");
}

/// With `dev` the names that nobody else can give are taken, or those that are listed.
#[test]
fn for_development_a_name_can_be_listed() {
    let asked = |site: &Site, host: &str| {
        let request = format!("GET /channels/c HTTP/1.1\r\nHost: {host}\r\n\r\n");
        site.ask(&request).status
    };
    let open = Site::start();
    let named = Site::with(|config| config.http.hosts = vec!["app.test".parse().unwrap()]);
    for (host, of_open, of_named) in [
        ("localhost:8080", 404, 421),
        ("127.0.0.1", 404, 421),
        ("[::1]", 404, 421),
        ("chat.localhost", 404, 421),
        ("devbox", 404, 421),
        ("app.test", 421, 404),
        ("evil.example", 421, 421),
    ] {
        assert_eq!(asked(&open, host), of_open, "{host}");
        assert_eq!(asked(&named, host), of_named, "{host}");
    }
}

#[test]
fn a_reload_changes_the_names_for_the_next_request_of_a_connection() {
    let mut running = Config::default();
    let site = Site::with(|config| {
        listed(config);
        running = config.clone();
    });
    let mut peer: Peer = site.connect();
    let mut ask = |host: &str| {
        peer.send(format!("GET /channels/c HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        peer.response().status
    };
    assert_eq!(
        (ask("live.example.org"), ask("new.example.org")),
        (404, 421)
    );
    running.http.hosts = vec!["new.example.org".parse().unwrap()];
    let _ = site.server.reloader().reload(running).unwrap();
    assert_eq!(
        (ask("live.example.org"), ask("new.example.org")),
        (421, 404)
    );
}
