//! What is told of requests, and who may read what is counted.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::process::{PATIENCE, Process};

const ALL: &str = "[channels]\nanonymous = [\"read\", \"publish\"]\n";

/// The request's name in an answer.
fn id(answer: &str) -> Option<&str> {
    answer
        .lines()
        .find_map(|line| line.strip_prefix("everwire-request-id: "))
}

#[test]
fn each_request_is_logged_where_that_is_wanted_and_without_its_token() {
    let process = Process::start(&format!("logs.requests = true\n{ALL}"));
    let token = "secret.secret.secret";
    for (request, expected) in [
        (
            "POST /channels/a/b\nhello",
            "\"method\":\"POST\",\"route\":\"channel\",\"channel\":\"a/b\",\"status\":204,\"bytes\":0",
        ),
        (
            "GET /channels/a/b",
            "\"status\":200,\"bytes\":5,\"line\":false",
        ),
        (
            "GET /channels/a/b?token=secret.secret.secret",
            "\"status\":401",
        ),
        (
            "GET /secret.secret.secret",
            "\"route\":\"none\",\"status\":404",
        ),
        (
            "POST /connect/secret.secret.secret\n[]",
            "\"route\":\"session\",\"status\":404",
        ),
    ] {
        let (_, answer) = process.ask(request);
        let line = process.logged("everwire::requests");
        assert!(line.contains(expected), "{request} gave {line}");
        assert!(line.contains("\"address\":\"127.0.0.1\""), "{line}");
        assert!(
            line.contains(id(&answer).expect("a name")),
            "{answer} and {line}"
        );
        assert!(!line.contains(token), "{line}");
    }
}

#[test]
fn without_a_log_only_a_refusal_has_a_name() {
    let process = Process::start_as(ALL, |command| {
        command.env("EVERWIRE_LOG", "debug");
    });
    let (status, answer) = process.ask("POST /channels/a\nhello");
    assert_eq!((status, id(&answer)), (204, None));
    let (status, answer) = process.ask("GET /channels/none%00");
    assert_eq!(status, 400);
    let line = process.logged("a request was refused");
    assert!(
        line.contains(id(&answer).expect("a name")),
        "{answer} and {line}"
    );
}

/// Each row: the configuration, the host that is asked for, what else the request says, and the status.
#[test]
fn what_is_counted_is_read_on_the_same_machine_or_by_who_is_granted_it() {
    let granted = "[[rules]]\nmatch = \"$everwire/metrics\"\nanonymous = [\"read\"]\n";
    let open = "metrics.access = \"open\"\n";
    for (config, host, fields, expected) in [
        ("", "127.0.0.1:9000", "", 200),
        ("", "[::1]", "", 200),
        ("", "localhost", "", 200),
        // What a proxy on this machine passes on, however it says so.
        ("", "localhost", "X-Forwarded-For: 203.0.113.7\r\n", 401),
        ("", "localhost", "X-Forwarded-Host: a.example\r\n", 401),
        ("", "localhost", "X-Forwarded-Proto: https\r\n", 401),
        ("", "localhost", "X-Forwarded-Anything: 1\r\n", 401),
        ("", "localhost", "Forwarded: for=203.0.113.7\r\n", 401),
        ("", "localhost", "X-Real-IP: 203.0.113.7\r\n", 401),
        ("", "localhost", "Via: 1.1 proxy\r\n", 401),
        // A page that had its own name lead here, and a proxy that passes on nothing but that.
        ("", "evil.example", "", 401),
        ("", "evil.example:9000", "", 401),
        (open, "evil.example", "Via: 1.1 proxy\r\n", 200),
        ("metrics.access = \"granted\"\n", "localhost", "", 401),
        (granted, "evil.example", "Via: 1.1 proxy\r\n", 200),
    ] {
        let process = Process::start(config);
        for method in ["GET", "HEAD"] {
            let mut peer = TcpStream::connect(process.address).unwrap();
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            let request = format!(
                "{method} /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n"
            );
            peer.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            peer.read_to_string(&mut answer).unwrap();
            let status = format!("HTTP/1.1 {expected} ");
            assert!(
                answer.starts_with(&status),
                "{config:?}, {method}, {host} and {fields:?} gave {answer}"
            );
            let tells = answer.contains("everwire_connections");
            assert_eq!(tells, expected == 200 && method == "GET", "{answer}");
        }
    }
}
