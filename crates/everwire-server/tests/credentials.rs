//! Credentials on a whole server: who is let in, who is not, and what that tells.

mod common;

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use common::{
    Site,
    issuer::{ISSUERS, Issuer, message, now_s, trust_all, with_end},
    websocket_request,
};
use everwire_server::{
    Config,
    auth::{GENERATED_BYTES, NewKey},
    config::{Action, ApiKey, Grant},
};
use serde_json::{Value, json};

const ORIGIN: &str = "https://app.example.org";

/// A server that trusts every issuer, on which nobody may do anything without a credential.
fn site() -> Site {
    Site::with(trust_all)
}

fn site_with(change: impl FnOnce(&mut Config)) -> Site {
    Site::with(|config| {
        trust_all(config);
        change(config);
    })
}

/// A request with further fields.
fn request(method: &str, target: &str, fields: &str, content: &str) -> String {
    let length = content.len();
    format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {length}\r\n\r\n{content}"
    )
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// What a poll that waits for nothing is answered with: a status, and a problem's name.
fn asked(site: &Site, fields: &str) -> (u16, String) {
    asked_at(site, "/channels/chat/a?live=long-poll&offset=-1", fields)
}

fn asked_at(site: &Site, target: &str, fields: &str) -> (u16, String) {
    let target = format!("{target}&x");
    let response = site.ask(&request(
        "GET",
        &target,
        &format!("Prefer: wait=0\r\n{fields}"),
        "",
    ));
    let problem: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let name = problem["type"]
        .as_str()
        .unwrap_or("")
        .rsplit('/')
        .next()
        .unwrap_or("");
    (response.status, name.to_owned())
}

fn chat() -> Value {
    json!({"sub": "ada", "channels": [{"match": "chat/*", "can": ["read", "publish"]}]})
}

#[test]
fn a_token_of_each_algorithm_opens_what_it_grants() {
    let site = site();
    assert_eq!(asked(&site, ""), (401, "unauthorized".to_owned()));
    for issuer in ISSUERS.iter() {
        let field = bearer(&issuer.token(chat()));
        // Twice: what was checked is remembered.
        for _ in 0..2 {
            assert_eq!(asked(&site, &field).0, 204, "{}", issuer.kid);
        }
    }
}

#[test]
fn a_token_is_shown_in_any_of_four_places() {
    let site = site_with(|config| {
        config.http.origins = vec![ORIGIN.to_owned()];
        config.tokens.cookie = "session".to_owned();
    });
    let token = Issuer::shared().token(chat());
    let jar = format!("Cookie: a=b; session={token}\r\n");
    let from = |origin: &str| format!("{jar}Origin: {origin}\r\n");
    for (fields, expected) in [
        (bearer(&token), 204),
        (from(ORIGIN), 204),
        (from("http://x"), 204),
        (format!("{jar}Sec-Fetch-Site: same-origin\r\n"), 204),
        // A browser sends it along with what a page of any site asks for.
        (from("https://evil.example.net"), 401),
        (format!("{jar}Sec-Fetch-Site: cross-site\r\n"), 401),
        (jar.clone(), 401),
    ] {
        assert_eq!(
            asked(&site, &fields).0,
            expected,
            "{}",
            fields.replace(&token, "…")
        );
    }
    let target = format!("/channels/chat/a?live=long-poll&offset=-1&token={token}");
    assert_eq!(asked_at(&site, &target, "").0, 204);
    for (protocols, status) in [
        (format!("everwire.v1, bearer.{token}"), "101"),
        (format!("bearer.{token}, everwire.v1"), "101"),
        ("everwire.v1".to_owned(), "401"),
        (format!("everwire.v1, bearer.{token}x"), "401"),
    ] {
        let mut peer = site.connect();
        let fields = format!("Sec-WebSocket-Protocol: {protocols}\r\n");
        peer.send(websocket_request("/channels/chat/a", &fields));
        let head = peer.head();
        assert_eq!(&head[9..12], status, "{head}");
        assert!(!head.contains("bearer"), "the token is not chosen: {head}");
    }
}

#[test]
fn a_page_that_may_send_its_cookie_is_told_so() {
    for (cookie, expected) in [("session", Some("true")), ("", None)] {
        let site = site_with(|config| {
            config.http.origins = vec![ORIGIN.to_owned(), "*".to_owned()];
            config.tokens.cookie = cookie.to_owned();
        });
        for (origin, expected) in [(ORIGIN, expected), ("https://other.example.net", None)] {
            let response = site.ask(&request(
                "GET",
                "/healthz",
                &format!("Origin: {origin}\r\n"),
                "",
            ));
            let field = "access-control-allow-credentials";
            assert_eq!(response.field(field), expected, "{cookie} {origin}");
        }
    }
}

/// Each is shown in a field, tried twice since what was refused must not be remembered, and refused without being
/// repeated in the answer.
#[test]
fn a_forged_token_opens_nothing() {
    let site = site();
    let [shared, rsa, p256, ed25519, ..] = &*ISSUERS;
    let claims = with_end(chat()).to_string();
    let header = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid}).to_string();
    let unsigned = |header: &str| format!("{}.", message(header, &claims));
    // What an attacker has: every public key, and nothing else.
    let with_public = |issuer: &Issuer, kid: &str, alg: &str| {
        let message = message(&header(alg, kid), &claims);
        let key = hmac::Key::new(hmac::HMAC_SHA256, issuer.shared.as_bytes());
        let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
        format!("{message}.{signature}")
    };
    let good = shared.token(chat());
    let (start, signature) = good.rsplit_once('.').unwrap();
    let (head, body) = start.split_once('.').unwrap();
    let other_claims = message("", &with_end(json!({"sub": "root"})).to_string());
    let flipped = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let doubled = |member: &str| claims.replacen('{', &format!("{{{member},"), 1);
    let signed = |header: &str| shared.signed(header, &claims);
    let attacks = [
        (
            "no algorithm",
            unsigned(&json!({"alg": "none"}).to_string()),
        ),
        (
            "no algorithm, known key",
            unsigned(&header("none", "shared")),
        ),
        (
            "no algorithm, other case",
            unsigned(&header("nOnE", "shared")),
        ),
        ("an empty algorithm", unsigned(&header("", "shared"))),
        ("no signature", unsigned(&header("HS256", "shared"))),
        (
            "a public RSA key as secret",
            with_public(rsa, "rsa", "HS256"),
        ),
        (
            "a public RSA key as secret, said to be RS256",
            with_public(rsa, "rsa", "RS256"),
        ),
        (
            "a public P-256 key as secret",
            with_public(p256, "p256", "HS256"),
        ),
        (
            "a public Ed25519 key as secret",
            with_public(ed25519, "ed25519", "HS256"),
        ),
        (
            "a public key under the secret's name",
            with_public(rsa, "shared", "HS256"),
        ),
        (
            "another key's name",
            rsa.signed(&header("RS256", "p256"), &claims),
        ),
        (
            "another key's name and algorithm",
            rsa.signed(&header("ES256", "p256"), &claims),
        ),
        (
            "another algorithm of the family",
            signed(&header("HS512", "shared")),
        ),
        ("an unknown key", signed(&header("HS256", "other"))),
        (
            "no key's name among several",
            signed(&json!({"alg": "HS256"}).to_string()),
        ),
        (
            "a path for a key's name",
            signed(&header("HS256", "../../../../dev/null")),
        ),
        (
            "a command for a key's name",
            signed(&header("HS256", "| cat /etc/passwd")),
        ),
        (
            "a query for a key's name",
            signed(&header("HS256", "' UNION SELECT 'x")),
        ),
        (
            "a list for a key's name",
            signed(&json!({"alg": "HS256", "kid": ["shared"]}).to_string()),
        ),
        (
            "a key of its own",
            signed(&json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "AA"}}).to_string()),
        ),
        (
            "an address of its own",
            signed(&json!({"alg": "HS256", "jku": "http://evil/"}).to_string()),
        ),
        (
            "an extension",
            signed(
                &json!({"alg": "HS256", "kid": "shared", "crit": ["b64"], "b64": false})
                    .to_string(),
            ),
        ),
        (
            "two algorithms",
            signed("{\"alg\":\"HS256\",\"alg\":\"none\",\"kid\":\"shared\"}"),
        ),
        (
            "two key names",
            signed("{\"alg\":\"HS256\",\"kid\":\"shared\",\"kid\":\"rsa\"}"),
        ),
        ("a header that is none", signed("nope")),
        ("a header in a list", signed("[\"HS256\",\"shared\",null]")),
        ("other claims", format!("{head}{other_claims}.{signature}")),
        (
            "a changed header",
            format!("{}.{body}.{signature}", flipped(head, 5)),
        ),
        (
            "changed claims",
            format!("{head}.{}.{signature}", flipped(body, 20)),
        ),
        (
            "a changed signature",
            format!("{start}.{}", flipped(signature, 0)),
        ),
        ("an empty signature", format!("{start}.")),
        ("a cut signature", good[..good.len() - 1].to_owned()),
        (
            "cut claims",
            format!("{head}.{}.{signature}", &body[..body.len() - 4]),
        ),
        ("a padded signature", format!("{good}=")),
        ("two parts", start.to_owned()),
        ("four parts", format!("{good}.x")),
        (
            "five parts, encrypted",
            format!("{head}.{body}.x.y.{signature}"),
        ),
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("no base64", "a b.c d.e f".to_owned()),
        (
            "a huge token",
            shared.token(json!({"sub": "x".repeat(8 * 1024)})),
        ),
        (
            "a user twice",
            shared.signed(&header("HS256", "shared"), &doubled("\"sub\":\"root\"")),
        ),
        (
            "an end twice",
            shared.signed(&header("HS256", "shared"), &doubled("\"exp\":99999999999")),
        ),
        (
            "grants twice",
            shared.signed(
                &header("HS256", "shared"),
                &doubled("\"channels\":[{\"match\":\"**\",\"can\":[\"manage\"]}]"),
            ),
        ),
        (
            "claims in a list",
            shared.signed(&header("HS256", "shared"), "[\"ada\"]"),
        ),
        ("no claims", shared.signed(&header("HS256", "shared"), "")),
        (
            "no end",
            shared.signed(&header("HS256", "shared"), &chat().to_string()),
        ),
        (
            "a life of years",
            shared.token(json!({"exp": now_s() + 100_000})),
        ),
        ("not yet", shared.token(json!({"nbf": now_s() + 600}))),
        ("for another server", shared.token(json!({"aud": "mail"}))),
        (
            "a name that nobody vouches for",
            shared.token(json!({"sub": "~ada"})),
        ),
        ("an API key that is none", "ewk_shop_0000".to_owned()),
    ];
    for (name, token) in &attacks {
        for _ in 0..2 {
            let fields = format!("Prefer: wait=0\r\n{}", bearer(token));
            let response = site.ask(&request(
                "GET",
                "/channels/chat/a?live=long-poll&offset=-1",
                &fields,
                "",
            ));
            assert_eq!(response.status, 401, "{name}: {}", response.text());
            assert!(
                response.text().contains("/problems/bad-credential"),
                "{name}: {}",
                response.text()
            );
            assert_eq!(
                response.field("www-authenticate"),
                Some("Bearer error=\"invalid_token\""),
                "{name}"
            );
            let parts = token.split('.').filter(|part| part.len() > 8);
            for part in parts {
                assert!(
                    !response.text().contains(part),
                    "{name}: {}",
                    response.text()
                );
            }
        }
    }
    assert_eq!(
        asked(&site, &bearer(&good)).0,
        204,
        "and the good one is taken"
    );
}

#[test]
fn a_token_whose_time_is_over_is_told_from_a_bad_one() {
    let site = site();
    let token = Issuer::shared().token(json!({"sub": "ada", "exp": now_s() - 31}));
    assert_eq!(
        asked(&site, &bearer(&token)),
        (401, "expired-credential".to_owned())
    );
}

#[test]
fn issuer_and_audience_are_those_of_the_configuration() {
    let site = site_with(|config| {
        config.tokens.issuer = "shop".to_owned();
        config.tokens.audience = "live".to_owned();
    });
    for (iss, aud, expected) in [
        ("shop", json!("live"), 204),
        ("shop", json!(["mail", "live"]), 204),
        ("shop", json!("mail"), 401),
        ("shop", Value::Null, 401),
        ("evil", json!("live"), 401),
    ] {
        let mut claims = chat();
        (claims["iss"], claims["aud"]) = (json!(iss), aud);
        let found = asked(&site, &bearer(&Issuer::shared().token(claims.clone()))).0;
        assert_eq!(found, expected, "{claims}");
    }
}

/// Whoever shows a credential relies on it, also where none would be needed.
#[test]
fn a_wrong_credential_is_refused_where_anybody_may() {
    let site = site_with(|config| config.channels.anonymous = vec![Action::Read]);
    assert_eq!(asked(&site, "").0, 204);
    assert_eq!(asked(&site, &bearer("a.b.c")).0, 401);
    let healthy = site.ask(&request("GET", "/healthz", &bearer("a.b.c"), ""));
    assert_eq!(healthy.status, 200, "which asks nobody who they are");
}

#[test]
fn a_grant_reaches_as_far_as_it_says() {
    let site = site_with(|config| {
        config.events.enabled = true;
        config.channels.anonymous = vec![Action::Presence];
    });
    let token = |channels: Value| bearer(&Issuer::shared().token(json!({"channels": channels})));
    let all = json!(["read", "publish", "manage", "presence"]);
    let chat = token(json!([{"match": "chat/*", "can": ["read"]}]));
    let deep = token(json!([{"match": "chat/**", "can": ["publish", "manage"]}]));
    let every = token(json!([{"match": "**", "can": all}]));
    let stars = token(json!([{"match": "*/*", "can": all}]));
    let own = token(
        json!([{"match": "$everwire/**", "can": all}, {"match": "$presence/**", "can": all}]),
    );
    let poll = "?live=long-poll&offset=-1";
    for (fields, method, target, expected) in [
        (&chat, "GET", "/channels/chat/a", 204),
        (&chat, "GET", "/v1/stream/chat/a", 204),
        (&chat, "GET", "/channels/chat/a/b", 403),
        (&chat, "GET", "/v1/stream/chat/a/b", 403),
        (&chat, "GET", "/channels/chat", 403),
        (&chat, "GET", "/channels/chat/..%2fb", 400),
        (&chat, "GET", "/channels/chat/%2e%2e", 400),
        (&chat, "GET", "/channels/chat%2fa", 400),
        (&chat, "GET", "/channels/Chat/a", 403),
        (&chat, "GET", "/channels/chat/%2a", 400),
        (&chat, "POST", "/channels/chat/a", 403),
        (&chat, "DELETE", "/channels/chat/a", 403),
        (&chat, "GET", "/presence/other", 204),
        (&deep, "POST", "/channels/chat/a/b", 204),
        (&deep, "GET", "/channels/chat/a/b", 403),
        (&deep, "DELETE", "/channels/chat/a/b", 204),
        (&deep, "PUT", "/channels/other", 403),
        (&every, "GET", "/channels/any/thing", 204),
        (&every, "GET", "/channels/$everwire/sessions", 403),
        (&every, "GET", "/channels/$presence/chat", 403),
        (&stars, "GET", "/channels/$everwire/sessions", 403),
        (&own, "GET", "/channels/$everwire/sessions", 204),
        (&own, "POST", "/channels/$everwire/sessions", 403),
        (&own, "DELETE", "/channels/$everwire/sessions", 403),
        (&own, "GET", "/channels/$presence/chat", 403),
        (&own, "GET", "/channels/chat/a", 403),
    ] {
        let (target, content) = match method {
            "GET" => (format!("{target}{poll}"), ""),
            "POST" => (target.to_owned(), "hello"),
            _ => (target.to_owned(), ""),
        };
        let fields = format!("Prefer: wait=0\r\n{fields}");
        let response = site.ask(&request(method, &target, &fields, content));
        assert_eq!(
            response.status,
            expected,
            "{method} {target}: {}",
            response.text()
        );
    }
}

#[test]
fn each_item_of_a_batch_is_judged_by_the_credential() {
    let site = site();
    let items = json!([{"channel": "chat/a", "data": 1}, {"channel": "b", "data": 2}]).to_string();
    let response = site.ask(&request(
        "POST",
        "/publish",
        &bearer(&Issuer::shared().token(chat())),
        &items,
    ));
    let results: Value = serde_json::from_slice(&response.body).unwrap();
    assert!(results["results"][0]["offset"].is_string(), "{results}");
    assert_eq!(results["results"][1]["error"]["status"], 403, "{results}");
}

/// Or it would have the server keep what it will never take.
#[test]
fn who_may_publish_nowhere_is_refused_before_its_content_is_heard() {
    let site = site();
    let reader = Issuer::shared().token(json!({"channels": [{"match": "**", "can": ["read"]}]}));
    let reader = bearer(&reader);
    for (fields, status, name) in [("", 401, "unauthorized"), (&*reader, 403, "forbidden")] {
        let mut peer = site.connect();
        // Of which nothing comes.
        peer.send(format!(
            "POST /publish HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: 1000000\r\n\r\n"
        ));
        let refused = peer.response();
        let problem: Value = serde_json::from_slice(&refused.body).unwrap();
        assert_eq!(
            (refused.status, &problem["type"]),
            (
                status,
                &json!(format!("https://everwire.dev/problems/{name}"))
            )
        );
    }
}

#[test]
fn a_raw_websocket_publishes_where_its_token_grants_it() {
    let site = site();
    for (can, refused) in [(json!(["read", "publish"]), false), (json!(["read"]), true)] {
        let token = Issuer::shared().token(json!({"channels": [{"match": "chat/*", "can": can}]}));
        let mut peer = site.connect();
        peer.open_websocket("chat/a", &format!("?token={token}"), "");
        peer.send(common::client_frame(1, b"hi"));
        let expected = match refused {
            false => common::Frame::Text("hi".to_owned()),
            true => common::Frame::Close(4403),
        };
        assert_eq!(peer.frame(), expected);
    }
}

#[test]
fn a_server_shows_its_api_key() {
    let key = NewKey::new("shop", [7; GENERATED_BYTES]).unwrap();
    let site = site_with(|config| {
        config.keys = vec![ApiKey {
            id: "shop".to_owned(),
            sha256: key.sha256.clone(),
            channels: vec![Grant {
                pattern: "orders/**".parse().unwrap(),
                can: vec![Action::Publish],
            }],
            can: Vec::new(),
        }];
    });
    for (key, target, expected) in [
        (&key.key, "/channels/orders/7", 204),
        (&key.key, "/channels/other", 403),
        (&key.key.replace('7', "8"), "/channels/orders/7", 401),
        (&key.sha256, "/channels/orders/7", 401),
    ] {
        let response = site.ask(&request("POST", target, &bearer(key), "{}"));
        assert_eq!(response.status, expected, "{target}: {}", response.text());
    }
}

#[test]
fn a_page_of_history_that_not_everybody_may_read_is_for_who_asked() {
    let site = site_with(|config| config.limits.page_bytes_max = 1);
    let field = bearer(&Issuer::shared().token(chat()));
    for _ in 0..2 {
        site.ask(&request("POST", "/channels/chat/a", &field, "{}"));
    }
    let page = site.ask(&request("GET", "/channels/chat/a", &field, ""));
    assert!(
        page.field("cache-control").unwrap().starts_with("private"),
        "{}",
        page.head
    );
    assert_eq!(
        page.field("vary"),
        Some("accept, accept-encoding, origin, authorization, cookie")
    );
}

#[test]
fn a_configuration_whose_key_is_none_does_not_start() {
    let mut config = Config::default();
    let mut key = ISSUERS[1].key();
    key.public_key = Some("nope".to_owned());
    config.tokens.keys = vec![key];
    let error = everwire_server::Server::start(config)
        .err()
        .expect("it does not start");
    assert!(
        error.to_string().contains("tokens.keys[0].public_key"),
        "{error}"
    );
}

/// RFC 9112, section 3.2: an invalid Host is answered with 400, and never becomes a `Location`.
#[test]
fn a_host_that_is_none_is_refused_and_an_absolute_target_names_the_host() {
    let site = Site::start();
    for (host, expected) in [
        ("x", 200),
        ("live.example:8080", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:80", 200),
        ("a b", 400),
        ("x/y", 400),
        ("u@x", 400),
        ("a,b", 400),
        ("x:port", 400),
        ("x:99999", 400),
        ("[::1", 400),
        ("*", 400),
        ("x?<script>", 400),
    ] {
        let asked = site.ask(&format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(asked.status, expected, "{host}");
    }
    let made = site.ask("PUT http://real/channels/c HTTP/1.1\r\nHost: forged\r\n\r\n");
    assert_eq!(made.field("location"), Some("http://real/channels/c"));
}
