//! Who is behind a proxy: told by a PROXY header or by a request's fields, believed of those who are trusted.

mod common;

use common::{Peer, Site, client_frame, websocket_request};
use everwire_server::config::{Action, MetricsAccess, ProxyFields, ProxyProtocol};

const ADA: &str = "203.0.113.7";
const BOB: &str = "203.0.113.8";

/// A server behind a trusted proxy, which is this test: two lines and one append each are what a client may have.
fn site() -> Site {
    site_with(|_| {})
}

fn site_with(change: impl FnOnce(&mut everwire_server::Config)) -> Site {
    Site::with(|config| {
        config.dev = false;
        config.channels.anonymous = vec![Action::Read, Action::Publish];
        config.http.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        config.limits.lines_per_address_max = 2;
        change(config);
    })
}

/// A request for a stream with further fields; the status of its answer.
fn stream(mut peer: Peer, fields: &str) -> (Peer, u16) {
    peer.send(format!(
        "GET /channels/c HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n{fields}\r\n"
    ));
    let status = peer.head()[9..12].parse().unwrap();
    (peer, status)
}

fn statuses(site: &Site, fields: &[&str]) -> Vec<u16> {
    let lines: Vec<_> = (fields.iter())
        .map(|fields| stream(site.connect(), fields))
        .collect();
    lines.into_iter().map(|(_line, status)| status).collect()
}

#[test]
fn lines_are_counted_by_the_client_that_a_trusted_proxy_names() {
    let of = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    let [ada, bob, forged] = [of(ADA), of(BOB), of(&format!("198.51.100.1, {ADA}"))];
    let fields = [&ada, &ada, &bob, &forged, &bob].map(String::as_str);
    assert_eq!(statuses(&site(), &fields), [200, 200, 200, 429, 200]);
}

#[test]
fn who_is_not_trusted_has_its_own_address_whatever_it_says() {
    let site = site_with(|config| config.http.trusted_proxies = vec!["192.0.2.1".parse().unwrap()]);
    let fields = [1, 2, 3].map(|n| format!("X-Forwarded-For: 203.0.113.{n}\r\n"));
    let fields = fields.each_ref().map(String::as_str);
    assert_eq!(statuses(&site, &fields), [200, 200, 429]);
    assert_eq!(site.metric("everwire_proxies_not_understood_total"), 0);
}

#[test]
fn what_a_trusted_proxy_says_badly_is_counted_and_its_own_address_taken() {
    let site = site();
    let fields = ["X-Forwarded-For: rubbish\r\n"; 3];
    assert_eq!(statuses(&site, &fields), [200, 200, 429]);
    assert_eq!(site.metric("everwire_proxies_not_understood_total"), 3);
}

#[test]
fn rfc_7239_is_read_where_it_is_configured() {
    let site = site_with(|config| config.http.proxy_fields = ProxyFields::Forwarded);
    let ada = format!("Forwarded: for={ADA}\r\nX-Forwarded-For: {BOB}\r\n");
    let bob = format!("Forwarded: for=\"{BOB}:4711\"\r\n");
    let fields = [&ada, &ada, &ada, &bob].map(String::as_str);
    assert_eq!(statuses(&site, &fields), [200, 200, 429, 200]);
}

/// On one connection of the proxy, as it keeps them; over every wire that publishes.
#[test]
fn appends_are_counted_by_the_client_too() {
    let site = site_with(|config| config.limits.appends_per_second_max = 1);
    let mut proxy = site.connect();
    let mut append = |client: &str| {
        proxy.send(format!(
            "POST /channels/c HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\nContent-Length: 1\r\n\r\n7"
        ));
        proxy.response().status
    };
    let ada: Vec<u16> = (0..6).map(|_| append(ADA)).collect();
    assert_eq!(
        ada.iter().filter(|status| **status == 429).count(),
        3,
        "{ada:?}"
    );
    assert_eq!(append(BOB), 204);
    // Over a raw WebSocket of the one who has used up its rate, and of the one who has not.
    for (client, expected) in [(ADA, Some(4429)), (BOB, None)] {
        let mut line = site.connect();
        line.send(websocket_request(
            "/channels/c",
            &format!("X-Forwarded-For: {client}\r\n"),
        ));
        line.head();
        line.send(client_frame(0x1, b"8"));
        let ends = match line.frame() {
            common::Frame::Close(code) => Some(code),
            _ => None,
        };
        assert_eq!(ends, expected, "{client}");
    }
}

/// A page's own origin is what its browser asked for, which the proxy may rewrite.
#[test]
fn the_own_origin_is_the_one_that_the_proxy_was_asked_for() {
    let site = site();
    let publishes = |origin: &str, said: &str| {
        site.ask(&format!(
            "POST /channels/c HTTP/1.1\r\nHost: inside\r\nOrigin: {origin}\r\n{said}Content-Length: 1\r\n\r\n7"
        ))
        .status
    };
    let said = "X-Forwarded-Host: live.example.org\r\nX-Forwarded-Proto: https\r\n";
    assert_eq!(publishes("https://live.example.org", said), 204);
    assert_eq!(
        publishes("http://live.example.org", said),
        403,
        "in clear text it may be anybody"
    );
    assert_eq!(publishes("https://inside", said), 403);
    assert_eq!(publishes("https://live.example.org", ""), 403);
    let stranger = site_with(|config| config.http.trusted_proxies.clear());
    let response = stranger.ask(&format!(
        "POST /channels/c HTTP/1.1\r\nHost: inside\r\nOrigin: https://live.example.org\r\n{said}Content-Length: 1\r\n\r\n7"
    ));
    assert_eq!(
        response.status, 403,
        "who is not trusted says what it likes"
    );
}

fn behind_proxy_protocol() -> Site {
    site_with(|config| {
        config.http.proxy_protocol = ProxyProtocol::Required;
        config.metrics.access = MetricsAccess::Open;
    })
}

/// A header of version 1.
fn line_of(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 198.51.100.1 51234 443\r\n").into_bytes()
}

/// A header of version 2, with a TLV that means nothing.
fn binary_of(client: &str) -> Vec<u8> {
    let client: std::net::Ipv4Addr = client.parse().unwrap();
    let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10";
    [
        &start[..],
        &client.octets(),
        &[198, 51, 100, 1, 200, 34, 1, 187, 4, 0, 1, 0],
    ]
    .concat()
}

#[test]
fn a_proxy_header_says_whose_connection_it_is() {
    let site = behind_proxy_protocol();
    let mut lines = Vec::new();
    for (header, expected) in [
        (line_of(ADA), 200),
        (binary_of(ADA), 200),
        (line_of(ADA), 429),
        (binary_of(ADA), 429),
        (binary_of(BOB), 200),
        (b"PROXY UNKNOWN\r\n".to_vec(), 200),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), 200),
        (b"PROXY UNKNOWN\r\n".to_vec(), 429),
    ] {
        let mut peer = site.connect();
        peer.send(&header);
        let (line, status) = stream(peer, "");
        assert_eq!(status, expected, "{}", header.escape_ascii());
        lines.push(line);
    }
}

/// In pieces of one byte, and together with a request.
#[test]
fn a_proxy_header_may_come_in_any_pieces() {
    let site = behind_proxy_protocol();
    for header in [line_of(ADA), binary_of(ADA)] {
        let mut slow = site.connect();
        for byte in &header {
            slow.send([*byte]);
        }
        assert_eq!(stream(slow, "").1, 200);
        let mut fast = site.connect();
        fast.send([&header[..], b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"].concat());
        assert_eq!(fast.response().status, 200);
    }
}

#[test]
fn a_connection_from_a_trusted_proxy_without_its_header_is_closed_and_counted() {
    let site = behind_proxy_protocol();
    for (begins, count) in [
        (&b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"[..], 1),
        (b"PROXY TCP4 1.2.3.4 rubbish\r\n", 2),
        (b"\r\n\r\n\0\r\nQUIT\n\x31", 3),
    ] {
        let mut peer = site.connect();
        peer.send(begins);
        assert_eq!(peer.rest(), b"");
        let mut looks = site.connect();
        looks.send(
            [
                &line_of(BOB)[..],
                b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
            ]
            .concat(),
        );
        let metrics = looks.response();
        let line = format!("\neverwire_proxies_not_understood_total {count}\n");
        assert!(metrics.text().contains(&line), "{count}");
    }
}

#[test]
fn who_is_no_trusted_proxy_sends_no_header() {
    let site = site_with(|config| {
        config.http.trusted_proxies = vec!["192.0.2.1".parse().unwrap()];
        config.http.proxy_protocol = ProxyProtocol::Required;
    });
    assert_eq!(stream(site.connect(), "").1, 200);
    let mut forger = site.connect();
    forger.send(line_of(ADA));
    assert!(
        forger.head().starts_with("HTTP/1.1 400 "),
        "it is no request"
    );
}

/// The system knows the proxy alone when the connection comes back from a long poll.
#[test]
fn a_connection_keeps_its_address_over_a_long_poll() {
    let site = site_with(|config| {
        config.http.proxy_protocol = ProxyProtocol::Required;
        config.limits.lines_per_address_max = 1;
    });
    let poll = "GET /channels/c?live=long-poll&offset=-1 HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut peer = site.connect();
    peer.send([&line_of(ADA)[..], poll.as_bytes()].concat());
    let mut publisher = site.connect();
    publisher.send(line_of(BOB));
    assert_eq!(publisher.append("c", "text/plain", b"x").status, 204);
    assert_eq!(peer.response().status, 200);
    // Now it takes the one line of its client, and no other of it is left.
    let (_line, status) = stream(peer, "");
    assert_eq!(status, 200);
    let mut second = site.connect();
    second.send(line_of(ADA));
    assert_eq!(stream(second, "").1, 429);
}

#[test]
fn a_proxy_header_and_the_fields_of_a_proxy_before_it_work_together() {
    let site = site_with(|config| {
        config.http.proxy_protocol = ProxyProtocol::Required;
        config
            .http
            .trusted_proxies
            .push("10.0.0.0/8".parse().unwrap());
    });
    let mut lines = Vec::new();
    for (from, fields, expected) in [
        ("10.0.0.1", format!("X-Forwarded-For: {ADA}\r\n"), 200),
        ("10.0.0.1", format!("X-Forwarded-For: {ADA}\r\n"), 200),
        ("10.0.0.2", format!("X-Forwarded-For: {ADA}\r\n"), 429),
        // Who is behind the outer proxy is nobody's proxy.
        (BOB, format!("X-Forwarded-For: {ADA}\r\n"), 200),
    ] {
        let mut peer = site.connect();
        peer.send(line_of(from));
        let (line, status) = stream(peer, &fields);
        assert_eq!(status, expected, "from {from}");
        lines.push(line);
    }
}

/// A balancer says `UNKNOWN` or `LOCAL` of what it does not know: a client behind it may still say what it likes.
#[test]
fn who_is_behind_a_proxy_that_names_nobody_is_not_believed_either() {
    const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
    for fields in [ProxyFields::XForwarded, ProxyFields::Forwarded] {
        for after_a_poll in [false, true] {
            let site = site_with(|config| {
                config.http.proxy_protocol = ProxyProtocol::Required;
                config.http.proxy_fields = fields;
            });
            let mut lines = Vec::new();
            for (n, header) in [UNKNOWN, LOCAL, UNKNOWN, LOCAL].into_iter().enumerate() {
                let mut peer = site.connect();
                peer.send(header);
                let said = match fields {
                    ProxyFields::XForwarded => format!("X-Forwarded-For: 203.0.113.{n}\r\n"),
                    ProxyFields::Forwarded => format!("Forwarded: for=203.0.113.{n}\r\n"),
                };
                if after_a_poll {
                    peer.send(format!(
                        "GET /channels/c?live=long-poll&offset=now HTTP/1.1\r\nHost: x\r\nPrefer: wait=0\r\n{said}\r\n"
                    ));
                    assert_eq!(peer.response().status, 204);
                }
                let (line, status) = stream(peer, &said);
                let expected = if n < 2 { 200 } else { 429 };
                assert_eq!(
                    status, expected,
                    "{n}, {fields:?}, after a poll: {after_a_poll}"
                );
                lines.push(line);
            }
        }
    }
}
