//! Names and patterns: paths that mean another channel than they say, and grants that reach further than they say.

use serde_json::{Value, json};

use crate::{
    common::issuer::Issuer,
    victim::{Victim, problem},
};

fn read(target: &str, token: &str) -> Vec<u8> {
    let head = "Host: x\r\nPrefer: wait=0\r\nConnection: close\r\nAuthorization: Bearer";
    let mut request = format!("GET {target} HTTP/1.1\r\n{head} {token}\r\n\r\n").into_bytes();
    // Bytes that are no text are written as U+0080 to U+00FF here.
    if let Some(at) = target.find('\u{80}') {
        let at = "GET ".len() + at;
        request.splice(at..at + '\u{80}'.len_utf8(), [0xff]);
    }
    request
}

/// A token that opens everything there is.
fn everything() -> String {
    Issuer::shared().token(json!({"sub": "root", "channels": [
        {"match": "**", "can": ["read", "publish", "presence", "manage"]},
    ]}))
}

#[test]
fn a_path_means_what_it_says_or_nothing() {
    let victim = Victim::start("");
    let token = everything();
    let long = "a".repeat(3000);
    for name in [
        "..",
        "../etc/passwd",
        "a/..",
        "a/../b",
        "a/./b",
        ".",
        "%2e%2e",
        "a/%2e%2e/b",
        "a/%2E.",
        "%2e",
        "..%2fb",
        "a%2fb",
        "a%2Fb",
        "a//b",
        "/a",
        "a/",
        "%2f",
        "%00",
        "a%00b",
        "a%0d%0aX-Evil:%201",
        "a%0a",
        "a%7f",
        "a%c2%85b",
        // Overlong forms of "/" and ".", a lone surrogate, beyond the last character, no UTF-8 (RFC 3629, section 3).
        "a%c0%afb",
        "%c0%ae%c0%ae",
        "a%e0%80%afb",
        "%ed%a0%80",
        "%f5%80%80%80",
        "%ff",
        "\u{80}",
        "a%",
        "a%2",
        "a%zz",
        "a%u002fb",
        "*",
        "%2a",
        &long,
    ] {
        let before = victim.metric("everwire_channels");
        for target in [
            format!("/channels/{name}?live=long-poll&offset=-1"),
            format!("/v1/stream/{name}?live=long-poll&offset=-1"),
            format!("/presence/{name}"),
        ] {
            let response = victim.ask(read(&target, &token));
            assert_eq!(response.status, 400, "{target}: {}", response.head);
            assert!(
                !response.head.to_lowercase().contains("x-evil"),
                "{}",
                response.head
            );
        }
        assert_eq!(
            victim.metric("everwire_channels"),
            before,
            "{name}: no channel came of it"
        );
        victim.serves_others(name);
    }
}

/// The names of items and of commands are not decoded at all.
#[test]
fn a_name_in_content_is_judged_like_one_in_a_path() {
    let victim = Victim::start("");
    let token = everything();
    for name in [
        "..", "a/../b", "a//b", "", "/", "a\u{0}b", "a\r\nb", "*", "a/**",
    ] {
        let item = json!([{"channel": name, "data": 1}]).to_string();
        let length = item.len();
        let request = format!(
            "POST /publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Authorization: Bearer {token}\r\n\r\n{item}"
        );
        let response = victim.ask(request);
        let outcome: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let said = outcome.to_string();
        assert!(
            response.status == 400 || said.contains("bad-name"),
            "{name:?}: {} {said}",
            response.status
        );
        victim.serves_others(name);
    }
}

#[test]
fn a_grant_reaches_no_further_than_it_says() {
    let victim = Victim::start("");
    let granted = |pattern: &str| {
        Issuer::shared()
            .token(json!({"sub": "ada", "channels": [{"match": pattern, "can": ["read"]}]}))
    };
    let refused = [
        ("chat/*", "chat/a/b"),
        ("chat/*", "chat"),
        ("chat/*", "chats/a"),
        ("chat/*", "xchat/a"),
        ("chat/*", "Chat/a"),
        ("chat/*", "target2"),
        ("*", "chat/a"),
        ("*/a", "chat/a/a"),
        ("chat/**", "chats"),
        ("chat/**", "x/chat/a"),
        ("chat/a", "chat/a/b"),
        ("chat/a", "chat/ab"),
        // What others decode once more, or take for a way up, is a name of its own here.
        ("a/*", "a%5cb"),
        ("a/*", "a%255cb"),
        ("*", "%252e%252e/a"),
        ("a/*", "a/..;/b"),
        ("a", "a;/b"),
        // What is the server's own is not meant by "everything".
        ("**", "$everwire/sessions"),
        ("*/sessions", "$everwire/sessions"),
        ("*/*", "$everwire/sessions"),
    ];
    for (pattern, name) in refused {
        let target = format!("/channels/{name}?live=long-poll&offset=-1");
        let response = victim.ask(read(&target, &granted(pattern)));
        assert_eq!(
            (response.status, &*problem(&response.body)),
            (403, "forbidden"),
            "{pattern} and {name}"
        );
        victim.serves_others(pattern);
    }
    // What looks like a way around is not a name, or is the very name that is granted.
    for (pattern, name, status) in [
        ("chat/*", "chat/a%2fb", 400),
        ("chat/*", "chat/../admin", 400),
        ("chat/*", "chat/%2e%2e", 400),
        ("chat/*", "chat/*", 400),
        ("chat/*", "%63hat/a", 204),
        ("chat/*", "chat/%61", 204),
    ] {
        let target = format!("/channels/{name}?live=long-poll&offset=-1");
        assert_eq!(
            victim.ask(read(&target, &granted(pattern))).status,
            status,
            "{pattern} and {name}"
        );
    }
}
