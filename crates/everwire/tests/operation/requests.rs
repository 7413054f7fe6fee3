//! What is told of requests, and who may read what is counted.

use super::process::Process;

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

#[test]
fn what_is_counted_is_read_on_the_same_machine_or_by_who_is_granted_it() {
    let granted = "[[rules]]\nmatch = \"$everwire/metrics\"\nanonymous = [\"read\"]\n";
    for (config, fields, expected) in [
        ("", "", 200),
        ("", "X-Forwarded-For: 203.0.113.7\r\n", 401),
        ("", "Via: 1.1 proxy\r\n", 401),
        ("metrics.access = \"open\"\n", "Via: 1.1 proxy\r\n", 200),
        ("metrics.access = \"granted\"\n", "", 401),
        (granted, "Via: 1.1 proxy\r\n", 200),
    ] {
        let process = Process::start(config);
        let (status, answer) = process.ask_with("GET /metrics", fields);
        assert_eq!(status, expected, "{config:?} and {fields:?} gave {answer}");
    }
}
