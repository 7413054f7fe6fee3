//! Requests that are rare, and as HTTP has them.

mod common;

use common::{Site, client_frame};

fn request(line: &str, fields: &str, content: &str) -> String {
    format!(
        "{line} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {}\r\n\r\n{content}",
        content.len()
    )
}

/// RFC 9110, section 9.3.7.
#[test]
fn the_server_as_a_whole_says_what_it_takes() {
    let site = Site::start();
    let answer = site.ask(&request("OPTIONS *", "", ""));
    assert_eq!(answer.status, 204, "{}", answer.head);
    assert!(
        answer
            .field("allow")
            .is_some_and(|allow| allow.contains("POST"))
    );
    assert_eq!(
        site.ask(&request("GET *", "", "")).status,
        404,
        "nothing else is asked of it"
    );
}

#[test]
fn a_message_may_be_empty_by_post_as_over_a_websocket() {
    let site = Site::start();
    let mut reader = site.websocket("c", "");
    reader.send(client_frame(0x1, b""));
    assert_eq!(reader.text(), "");
    for (name, fields, expected) in [
        ("c", "Content-Type: text/plain\r\n", 204),
        ("c", "", 400),
        ("bytes", "Content-Type: application/octet-stream\r\n", 204),
        ("json", "Content-Type: application/json\r\n", 400),
        (
            "close",
            "Content-Type: text/plain\r\nStream-Closed: true\r\n",
            204,
        ),
    ] {
        let answer = site.ask(&request(&format!("POST /channels/{name}"), fields, ""));
        assert_eq!(
            answer.status,
            expected,
            "{name} {fields}: {}",
            answer.text()
        );
    }
    let no_chunk = site.ask(
        "POST /channels/c HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\
         Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    assert_eq!(no_chunk.status, 400, "two lengths are no empty message");
    assert_eq!(reader.text(), "");
    assert_eq!(
        site.ask(&request("GET /channels/close", "", "")).body,
        b"",
        "closing says nothing else"
    );
    let stream = site.ask(&request(
        "PUT /v1/stream/s",
        "Content-Type: text/plain\r\n",
        "",
    ));
    assert_eq!(stream.status, 201);
    let empty = site.ask(&request(
        "POST /v1/stream/s",
        "Content-Type: text/plain\r\n",
        "",
    ));
    assert_eq!(empty.status, 400, "that protocol has it so");
}

/// Whoever writes the answer: HTTP, a shard, or the place where there is no room for a line.
#[test]
fn each_refusal_names_its_request() {
    let poll = "GET /channels/c?live=long-poll&offset=now";
    for logs in [false, true] {
        let site = Site::with(|config| {
            config.logs.requests = logs;
            config.limits.polls_max = 1;
        });
        site.say("c", "hello");
        let mut waits = site.connect();
        waits.send(request(poll, "", ""));
        site.until("it waits", |site| site.metric("everwire_lines") == 1);
        let mut names = Vec::new();
        for (line, expected) in [
            ("GET /channels/none", 404),
            (poll, 503),
            ("GET /channels/c?offset=zzz", 400),
        ] {
            let refused = site.ask(&request(line, "", ""));
            assert_eq!(refused.status, expected, "{line}");
            names.push(
                refused
                    .field("everwire-request-id")
                    .unwrap_or_else(|| panic!("{}", refused.head))
                    .to_owned(),
            );
        }
        site.ask(&request("DELETE /channels/c", "", ""));
        let deleted = waits.response();
        assert_eq!(deleted.status, 404);
        names.push(
            deleted
                .field("everwire-request-id")
                .expect("a shard names it too")
                .to_owned(),
        );
        let mut nonsense = site.connect();
        nonsense.send("nonsense\r\n\r\n");
        let nonsense = nonsense.response();
        assert_eq!(nonsense.status, 400);
        names.push(
            nonsense
                .field("everwire-request-id")
                .expect("what could not be read is named")
                .to_owned(),
        );
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 5, "each has its own");
        // Where all are logged, the answers that are none have names too.
        let mut waits = site.connect();
        waits.send(request(&poll.replace("/c?", "/d?"), "", ""));
        site.until("it waits", |site| site.metric("everwire_lines") == 1);
        site.say("d", "hello");
        assert_eq!(
            waits.response().field("everwire-request-id").is_some(),
            logs
        );
    }
}

#[test]
fn a_server_that_shares_a_host_is_asked_below_its_prefix() {
    let site = Site::with(|config| config.http.prefix = "/live".to_owned());
    for (path, status) in [
        ("/live/channels/c", 201),
        ("/channels/d", 201),
        ("/other/channels/c", 404),
    ] {
        let made = site.ask(&request(&format!("PUT {path}"), "", ""));
        assert_eq!(made.status, status, "{path}");
        if status == 201 {
            let name = path.rsplit('/').next().unwrap();
            let seen = format!("http://x/live/channels/{name}");
            assert_eq!(made.field("location"), Some(&*seen), "as others see it");
        }
    }
    for (path, dev, expected) in [
        ("/live", true, (307, Some("/live/"))),
        ("/live/", true, (200, None)),
        ("/live/page/app.js", true, (200, None)),
        ("/lively", true, (404, None)),
        ("/live", false, (404, None)),
    ] {
        let site = Site::with(|config| {
            config.dev = dev;
            config.http.prefix = "/live".to_owned();
        });
        let answer = site.ask(&format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
        let found = (answer.status, answer.field("location"));
        assert_eq!(found, expected, "{path}");
    }
    for path in ["/live/healthz", "/healthz"] {
        assert_eq!(
            site.ask(&request(&format!("GET {path}"), "", "")).status,
            200,
            "{path}"
        );
    }
    let mut socket = site.connect();
    socket.send(common::websocket_request("/live/channels/c", ""));
    assert!(socket.head().starts_with("HTTP/1.1 101 "));
    site.say("c", "hello");
    assert_eq!(socket.text(), "hello");
}

/// A proxy sends requests of several clients on one connection: what one says must not look like a head of another.
#[test]
fn content_that_looks_like_a_head_is_content() {
    let site = Site::start();
    let mut proxy = site.connect();
    let looks = "GET /channels/c#a HTTP/1.1\n\n";
    for round in 0..3 {
        let head = format!(
            "POST /channels/c HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n",
            looks.len()
        );
        let waits = ["Expect: 100-continue\r\n\r\n", "\r\n"][round % 2];
        proxy.send(format!("{head}{waits}"));
        if waits.starts_with("Expect") {
            assert!(proxy.head().starts_with("HTTP/1.1 100 "));
        }
        proxy.send(looks);
        assert_eq!(proxy.response().status, 204, "{round}");
        proxy.send("GET /channels/c HTTP/1.1\r\nHost: x\r\n\r\n");
        let page = proxy.response();
        assert_eq!(page.text(), looks.repeat(round + 1));
    }
    // After a wait, the connection is back where requests come from.
    proxy.send("GET /channels/c?live=long-poll&offset=now HTTP/1.1\r\nHost: x\r\n\r\n");
    site.until("it waits", |site| site.metric("everwire_lines") == 1);
    site.say("c", "more");
    assert_eq!(proxy.response().text(), "more");
    proxy.send("GET /channels/c#a HTTP/1.1\r\nHost: x\r\n\r\n");
    let refused = proxy.response();
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("fragment"), "{}", refused.text());
    assert_eq!(refused.field("connection"), Some("close"));
    assert_eq!(proxy.rest(), b"");
}
