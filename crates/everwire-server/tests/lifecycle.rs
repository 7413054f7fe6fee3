//! What servers are told of what happens, as readers of `$everwire/channels` see it.

mod common;

use common::{CARRIERS, Frame, Peer, Session, Site};
use everwire_server::Config;

const NDJSON: &str = "application/x-ndjson";

fn site() -> Site {
    Site::with(|config| config.events.enabled = true)
}

/// Reads until a channel's whole story is told: its events, in order.
fn story(reader: &mut Peer, channel: &str, events: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < events {
        let text = reader.event();
        let entry: serde_json::Value = serde_json::from_str(&text).unwrap();
        let channels = entry["data"]["channels"].as_array().unwrap();
        if channels.iter().any(|name| name == channel) {
            found.push(entry["event"].as_str().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn a_channel_with_its_first_reader_is_occupied_and_without_its_last_vacated() {
    let site = site();
    let mut servers = site.stream("$everwire/channels", "", NDJSON);
    let first = site.stream("chat/lobby", "", NDJSON);
    let second = site.websocket("chat/lobby", "");
    assert_eq!(story(&mut servers, "chat/lobby", 1), ["occupied"]);
    drop(first);
    drop(second);
    assert_eq!(story(&mut servers, "chat/lobby", 1), ["vacated"]);
    drop(site.stream("chat/lobby", "", NDJSON));
    assert_eq!(
        story(&mut servers, "chat/lobby", 2),
        ["occupied", "vacated"]
    );
}

#[test]
fn it_can_be_read_by_any_wire_and_from_any_offset() {
    let site = site();
    drop(site.stream("a", "", NDJSON));
    let mut first = site.stream("$everwire/channels", "?offset=-1", NDJSON);
    assert_eq!(story(&mut first, "a", 2), ["occupied", "vacated"]);
    let page = site.ask("GET /channels/$everwire/channels HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(page.text(), r#"[{"channels":["a"]},{"channels":["a"]}]"#);
    let mut raw = site.websocket("$everwire/channels", "?offset=-1");
    assert_eq!(raw.text(), r#"{"channels":["a"]}"#);
    let page =
        site.ask("GET /v1/stream/%24everwire/sessions?offset=-1 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((page.status, page.text()), (200, "[]"));
}

#[test]
fn without_being_enabled_there_is_nothing_to_read() {
    let site = Site::start();
    for target in [
        "/channels/$everwire/channels",
        "/channels/$everwire/channels?live=ndjson",
    ] {
        let answer = site.ask(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(answer.status, 404, "{target}");
        assert!(
            answer.text().contains("events.enabled"),
            "{}",
            answer.text()
        );
    }
}

/// A site where everybody may do everything that a rule can grant on every pattern given.
fn granted(patterns: &[&str]) -> Site {
    Site::with(|config| {
        let all = "anonymous = [\"read\", \"publish\", \"manage\", \"presence\"]";
        let mut toml = format!("events.enabled = true\nthreads = 1\n[channels]\n{all}\n");
        for pattern in patterns {
            toml += &format!("[[rules]]\nmatch = \"{pattern}\"\n{all}\n");
        }
        let listen = config.listen.clone();
        *config = Config::from_toml(&toml).unwrap();
        config.listen = listen;
    })
}

#[test]
fn nobody_reads_it_until_a_rule_says_its_very_name() {
    let request = "GET /channels/$everwire/channels HTTP/1.1\r\nHost: x\r\n\r\n";
    for (patterns, expected) in [
        (&[][..], 401),
        (&["*/channels", "**"], 401),
        (&["$everwire/sessions"], 401),
        (&["$everwire/**"], 200),
        (&["$everwire/channels"], 200),
    ] {
        assert_eq!(
            granted(patterns).ask(request).status,
            expected,
            "{patterns:?}"
        );
    }
}

#[test]
fn nobody_writes_what_is_the_servers_own() {
    let sites = [site(), granted(&["$everwire/**", "$presence/**", "$mine"])];
    for site in &sites {
        for name in ["$everwire/channels", "$presence/chat", "$mine"] {
            for (method, target) in [
                ("POST", format!("/channels/{name}")),
                ("PUT", format!("/channels/{name}")),
                ("DELETE", format!("/channels/{name}")),
                ("POST", format!("/v1/stream/{name}")),
                ("PUT", format!("/v1/stream/{}", name.replace('$', "%24"))),
            ] {
                let answer = site.ask(&format!(
                    "{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}"
                ));
                let told = answer.text();
                assert_eq!(answer.status, 403, "{method} {target}: {told}");
                assert!(told.contains("problems/forbidden"), "{told}");
            }
            let batch = format!(r#"[{{"channel":"{name}","data":1}}]"#);
            let answer = site.ask(&format!(
                "POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{batch}",
                batch.len()
            ));
            assert!(
                answer.text().contains("\"status\":403"),
                "{}",
                answer.text()
            );
        }
        let mut raw = site.websocket("$everwire/channels", "");
        raw.send(common::client_frame(0x1, b"{}"));
        assert_eq!(raw.frame(), Frame::Close(4403));
        for live in ["", "?live=ndjson", "?live=long-poll&offset=now"] {
            let target = format!("/channels/$presence/chat{live}");
            let answer = site.ask(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
            assert_eq!(answer.status, 403, "{target}");
        }
        for carrier in CARRIERS {
            let mut session = Session::open(site, carrier, "");
            for command in [
                serde_json::json!({"op": "publish", "channel": "$everwire/channels", "data": {}}),
                serde_json::json!({"op": "publish", "channel": "$presence/chat", "data": {}}),
                serde_json::json!({"op": "subscribe", "channel": "$presence/chat"}),
                serde_json::json!({"op": "history", "channel": "$presence/chat"}),
            ] {
                let reply = session.ask(command.clone());
                assert_eq!(reply["error"]["type"], "forbidden", "{command}: {reply}");
            }
            let read = serde_json::json!({"op": "subscribe", "channel": "$everwire/sessions"});
            session.ok(read);
        }
        let mut reader = site.stream("$everwire/channels", "?offset=-1", NDJSON);
        drop(site.stream("a", "", NDJSON));
        assert_eq!(story(&mut reader, "a", 2), ["occupied", "vacated"]);
    }
}
