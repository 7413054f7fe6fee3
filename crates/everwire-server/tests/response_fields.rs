//! What each response says, whatever was asked and however it went.

mod common;

use common::{Site, websocket_request};

/// Requests that are answered in every way there is, and the status of each answer.
fn exchanges() -> Vec<(u16, String)> {
    let request = |line: &str, fields: &str, content: &str| {
        let length = match content.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        format!("{line} HTTP/1.1\r\nHost: x\r\n{length}{fields}\r\n{content}")
    };
    let stream = |kind: &str| request("GET /channels/c", &format!("Accept: {kind}\r\n"), "");
    vec![
        (204, request("POST /channels/c", "", "7")),
        (201, request("PUT /channels/new", "", "")),
        (204, request("DELETE /channels/new", "", "")),
        (200, request("GET /channels/c", "", "")),
        (200, request("HEAD /channels/c", "", "")),
        (204, request("OPTIONS /channels/c", "", "")),
        (200, request("POST /publish", "", "[]")),
        (200, request("POST /echo", "", "hello")),
        (200, request("GET /healthz", "", "")),
        (200, request("GET /metrics", "", "")),
        (200, request("GET /", "", "")),
        (404, request("GET /channels/none", "", "")),
        (405, request("PATCH /channels/c", "", "")),
        (400, request("POST /channels/c", "", "{")),
        (200, stream("text/event-stream")),
        (200, stream("application/x-ndjson")),
        (
            200,
            request("GET /channels/c?live=long-poll&offset=-1", "", ""),
        ),
        (101, websocket_request("/channels/c", "")),
        (101, websocket_request("/echo", "")),
    ]
}

#[test]
fn each_response_keeps_to_its_type_and_to_its_own_site() {
    let site = Site::start();
    for (origin, policy) in [
        ("", "same-origin"),
        ("Origin: http://localhost:3000\r\n", "cross-origin"),
    ] {
        site.publish("c", "application/json", "1");
        for (status, request) in exchanges() {
            let mut peer = site.connect();
            peer.send(request.replacen("Host: x\r\n", &format!("Host: x\r\n{origin}"), 1));
            let head = peer.head();
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            for field in [
                "x-content-type-options: nosniff".to_owned(),
                format!("cross-origin-resource-policy: {policy}"),
            ] {
                assert_eq!(
                    head.matches(&field).count(),
                    1,
                    "{field} of {request}{head}"
                );
            }
            assert!(head.contains("\r\ndate: "), "{head}");
        }
    }
}
