//! Who is there, as one sees it who asks from outside.

mod common;

use common::{Site, websocket_request};
use everwire_server::Config;

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// The offset in the answer to a look at who is there.
fn offset(site: &Site, name: &str) -> String {
    let answer = site.ask(&get(&format!("/presence/{name}")));
    let value: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    value["offset"].as_str().unwrap().to_owned()
}

#[test]
fn a_look_at_a_channel_tells_members_and_an_offset_and_is_not_kept() {
    let site = Site::start();
    let answer = site.ask(&get("/presence/chat/lobby"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let value: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    assert_eq!(value["members"], serde_json::json!([]));
    assert_eq!(
        value["offset"],
        offset(&site, "chat/lobby"),
        "nothing happened"
    );
    assert_eq!(value["total"], 0);
    assert_eq!(value.as_object().unwrap().len(), 3);
}

#[test]
fn a_head_is_a_look_without_the_members() {
    let site = Site::start();
    let mut peer = site.connect();
    for target in ["/presence/chat", "/presence/chat?live=ndjson"] {
        peer.send(format!("HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let head = peer.head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
    }
}

#[test]
fn the_log_is_read_over_every_live_wire_from_an_offset() {
    let site = Site::start();
    let offset = offset(&site, "chat");
    let mut peer = site.connect();
    for (query, accept, kind) in [
        ("", "text/event-stream", "text/event-stream"),
        ("live=sse", "*/*", "text/event-stream"),
        ("live=ndjson", "*/*", "application/x-ndjson"),
    ] {
        let mut peer = site.connect();
        let target = format!("/presence/chat?offset={offset}&{query}");
        peer.send(format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"
        ));
        let head = peer.head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{target}: {head}");
        assert!(
            head.contains(&format!("content-type: {kind}\r\n")),
            "{head}"
        );
        assert!(
            head.contains("everwire-type: application/json\r\n"),
            "{head}"
        );
        assert!(
            head.contains(&format!("stream-next-offset: {offset}\r\n")),
            "{head}"
        );
    }
    peer.send(format!(
        "GET /presence/chat?live=long-poll&offset={offset} HTTP/1.1\r\nHost: x\r\nPrefer: wait=0\r\n\r\n"
    ));
    let answer = peer.response();
    assert_eq!(
        (answer.status, answer.field("stream-next-offset")),
        (204, Some(&*offset))
    );
    peer.send(websocket_request(
        "/presence/chat",
        "Sec-WebSocket-Protocol: everwire.v1\r\n",
    ));
    let head = peer.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(
        !head.contains("sec-websocket-protocol"),
        "a session subscribes by the channel's name: {head}"
    );
}

#[test]
fn nobody_publishes_to_the_log() {
    let site = Site::start();
    let mut peer = site.connect();
    peer.send(websocket_request("/presence/chat", ""));
    peer.head();
    peer.send(common::client_frame(
        0x1,
        b"{\"ev\":\"join\",\"user\":\"ada\"}",
    ));
    assert_eq!(peer.frame(), common::Frame::Close(4403));
}

#[test]
fn there_is_nothing_else_to_do_here() {
    let site = Site::start();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = site.ask(&format!(
            "{method} /presence/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}"
        ));
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.field("allow"), Some("GET, HEAD, OPTIONS"));
    }
    for (target, expected) in [
        ("/presence/a//b", 400),
        ("/presence/chat?live=tv", 400),
        ("/presence/$everwire/channels", 403),
        ("/presence/$presence/chat", 403),
    ] {
        assert_eq!(site.ask(&get(target)).status, expected, "{target}");
    }
}

#[test]
fn it_is_granted_by_a_right_of_its_own() {
    let site = Site::with(|config| {
        let listen = config.listen.clone();
        *config = Config::from_toml(
            r#"
            threads = 1
            channels.anonymous = ["read", "publish", "manage"]
            rules = [{ match = "chat/*", anonymous = ["presence"] }]"#,
        )
        .unwrap();
        config.listen = listen;
    });
    for (target, expected) in [
        ("/presence/news", 401),
        ("/presence/news?live=ndjson", 401),
        ("/presence/chat/lobby", 200),
        ("/channels/chat/lobby", 401),
    ] {
        assert_eq!(site.ask(&get(target)).status, expected, "{target}");
    }
}
