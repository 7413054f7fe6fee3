//! Tokens: forged ones, those of another time, and where a good one could leak.

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    common::{
        issuer::{ISSUERS, Issuer, message, now_s, with_end},
        websocket_request,
    },
    victim::{Victim, problem},
};

fn claims() -> Value {
    json!({"sub": "ada", "channels": [{"match": "**", "can": ["read", "publish", "manage"]}]})
}

fn header(algorithm: &str, kid: &str) -> String {
    json!({"alg": algorithm, "kid": kid}).to_string()
}

/// Signed with what everybody may know, a public key, as if that were a secret.
fn signed_with_public(issuer: &Issuer, algorithm: &str) -> String {
    let message = message(
        &header(algorithm, issuer.kid),
        &with_end(claims()).to_string(),
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, issuer.shared.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    format!("{message}.{signature}")
}

#[test]
fn a_forged_token_opens_nothing_on_any_wire() {
    let victim = Victim::start("");
    let [shared, rsa, p256, ed25519, ..] = &*ISSUERS;
    let good = with_end(claims()).to_string();
    let unsigned = |header: &str| format!("{}.", message(header, &good));
    let at = |members: Value| {
        let mut claims = claims();
        for (name, value) in members.as_object().expect("members") {
            claims[name] = value.clone();
        }
        shared.token(claims)
    };
    let cut = |token: String| token[..token.len() - 2].to_owned();
    let bad = "bad-credential";
    let attacks = [
        ("no algorithm", unsigned(&header("none", "shared")), bad),
        (
            "no algorithm, in capitals",
            unsigned(&header("NONE", "shared")),
            bad,
        ),
        ("no signature", unsigned(&header("HS256", "shared")), bad),
        (
            "a public RSA key as secret",
            signed_with_public(rsa, "HS256"),
            bad,
        ),
        (
            "a public RSA key as secret, said to be RSA",
            signed_with_public(rsa, "RS256"),
            bad,
        ),
        (
            "a public P-256 key as secret",
            signed_with_public(p256, "HS256"),
            bad,
        ),
        (
            "a public Ed25519 key as secret",
            signed_with_public(ed25519, "HS256"),
            bad,
        ),
        (
            "the secret's algorithm under another key",
            shared.signed(&header("HS256", "rsa"), &good),
            bad,
        ),
        (
            "a key that is a path",
            shared.signed(&header("HS256", "../../../dev/null"), &good),
            bad,
        ),
        (
            "a key that is a query",
            shared.signed(&header("HS256", "x' UNION SELECT 'AA"), &good),
            bad,
        ),
        (
            "a key that is unknown",
            shared.signed(&header("HS256", "shared2"), &good),
            bad,
        ),
        (
            "a key of its own",
            shared.signed(
                &json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "AA"}}).to_string(),
                &good,
            ),
            bad,
        ),
        (
            "a key at an address of its own",
            shared.signed(
                &json!({"alg": "RS256", "jku": "http://127.0.0.1:1/"}).to_string(),
                &good,
            ),
            bad,
        ),
        (
            "an unknown critical extension",
            shared.signed(
                &json!({"alg": "HS256", "kid": "shared", "crit": ["x"], "x": 1}).to_string(),
                &good,
            ),
            bad,
        ),
        ("a cut signature", cut(shared.token(claims())), bad),
        (
            "expired",
            at(json!({"exp": now_s() - 3600})),
            "expired-credential",
        ),
        ("not valid yet", at(json!({"nbf": now_s() + 3600})), bad),
        (
            "issued in the future",
            at(json!({"iat": now_s() + 86_400, "exp": now_s() + 90_000})),
            bad,
        ),
        ("an end beyond all numbers", at(json!({"exp": 1e300})), bad),
        ("an end that is a word", at(json!({"exp": "never"})), bad),
        (
            "an end in the far future",
            at(json!({"exp": now_s() + 10 * 365 * 86_400})),
            bad,
        ),
        ("for another server", at(json!({"aud": "another"})), bad),
        (
            "too long",
            shared.token(json!({"sub": "x".repeat(20_000)})),
            bad,
        ),
    ];
    for (name, token, expected) in attacks {
        // In a field, in the address, and among subprotocols, where there is room for it.
        let in_field =
            "GET /channels/chat/a?offset=-1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
                .to_owned()
                + &token
                + "\r\n\r\n";
        let in_target = format!("GET /channels/chat/a?token={token} HTTP/1.1\r\nHost: x\r\n\r\n");
        let in_subprotocol = websocket_request(
            "/connect",
            &format!("Sec-WebSocket-Protocol: everwire.v1, bearer.{token}\r\n"),
        );
        for request in [in_field, in_target, in_subprotocol] {
            let response = victim.ask(&request);
            let answer = format!("{}{}", response.head, response.text());
            if token.len() > 10_000 {
                assert!(
                    [401, 414, 431].contains(&response.status),
                    "{name}: {answer}"
                );
            } else {
                assert_eq!(
                    (response.status, &*problem(&response.body)),
                    (401, expected),
                    "{name}: {answer}"
                );
            }
            assert!(!answer.contains(&token), "{name}: the answer repeats it");
        }
        victim.serves_others(name);
    }
}

/// Whoever reads logs, or gets them from a crash report, must not be able to act as others.
#[test]
fn no_log_line_and_no_answer_holds_a_token() {
    let victim = Victim::start("[http]\norigins = [\"https://app.example.org\"]\n");
    let good = Issuer::shared().token(claims());
    let bad = format!("{}AAAA", &good[..good.len() - 4]);
    let key = "ewk_wallet_e171d879915e8ff2a01f6acc22ded581a4017b77211547fa0a9ff6394285553d";
    for shown in [&*good, &bad, key] {
        let at = |target: &str, fields: &str| {
            format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n")
        };
        let live = "live=long-poll&offset=now&wait=0";
        for request in [
            at(
                "/channels/chat/a",
                &format!("Authorization: Bearer {shown}\r\n"),
            ),
            at("/channels/chat/a", &format!("Authorization: {shown}\r\n")),
            at(
                &format!("/channels/chat/a?token={shown}&offset=nonsense"),
                "",
            ),
            at(
                &format!("/channels/chat/a?{live}&token={shown}"),
                "Prefer: wait=0\r\n",
            ),
            at(&format!("/nowhere?token={shown}"), ""),
            at(
                "/channels/chat/a",
                &format!("Referer: https://app.example.org/?token={shown}\r\n"),
            ),
            at(
                "/channels/chat/a",
                &format!("Cookie: session={shown}; other={shown}\r\n"),
            ),
            websocket_request(
                &format!("/channels/chat/a?token={shown}"),
                "Sec-WebSocket-Version: 1\r\n",
            ),
            websocket_request(
                "/connect",
                &format!("Sec-WebSocket-Protocol: bearer.{shown}\r\n"),
            ),
            format!("GET /channels/a?token={shown} HTTP/9.9\r\n\r\n"),
        ] {
            let mut peer = victim.connect();
            peer.send(&request);
            let head = peer.head();
            assert!(!head.contains(shown), "{request}{head}");
        }
    }
    victim.serves_others("tokens everywhere");
    let log = victim.log();
    for secret in [&*good, &bad, key] {
        // Its signature, or the secret, is what makes it one.
        let secret = &secret[secret.len() - 20..];
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a line of the log holds a credential");
    }
}
