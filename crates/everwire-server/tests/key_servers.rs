//! Keys of tokens that are fetched from a key server: rotation, and a server that is down, slow or wrong.

mod common;

use common::{
    Carrier, Frame, Peer, Response, Session, Site,
    issuer::{ISSUERS, Issuer, trust_all, with_end},
    key_server::{KeyServer, jwk},
};
use everwire_server::{
    Config,
    config::{Jwks, Url},
};
use serde_json::{Value, json};

/// Two issuers with a key each that a key server can tell.
fn ada() -> &'static Issuer {
    &ISSUERS[3]
}

fn bob() -> &'static Issuer {
    &ISSUERS[2]
}

/// The key of an issuer, under a name.
fn key(issuer: &Issuer, kid: &str) -> Value {
    jwk(kid, &issuer.point)
}

/// A token that grants to read everything, signed with a key of that name.
fn token(issuer: &Issuer, kid: &str, claims: Value) -> String {
    let header = json!({"alg": issuer.algorithm.name(), "kid": kid}).to_string();
    let mut claims = with_end(claims);
    claims["channels"] = json!([{"match": "**", "can": ["read", "publish"]}]);
    issuer.signed(&header, &claims.to_string())
}

fn trusted(server: &KeyServer) -> Jwks {
    Jwks {
        url: Url::parse(&server.url()).unwrap(),
        issuer: None,
    }
}

/// A server that trusts this key server, and asks it again as soon as a key is unknown.
fn site(server: &KeyServer) -> Site {
    site_with(server, |_| {})
}

fn site_with(server: &KeyServer, change: impl FnOnce(&mut Config)) -> Site {
    Site::with(|config| {
        config.dev = false;
        config.tokens.jwks = vec![trusted(server)];
        config.tokens.jwks_interval_ms = 1;
        change(config);
    })
}

fn request(token: &str) -> String {
    format!(
        "GET /channels/a?live=long-poll&offset=-1 HTTP/1.1\r\nHost: x\r\nPrefer: wait=0\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
}

/// The status of a poll by who shows this token.
fn asked(site: &Site, token: &str) -> u16 {
    site.ask(&request(token)).status
}

fn problem(response: &Response) -> (u16, String) {
    let problem: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let name = problem["type"].as_str().unwrap_or("none");
    (response.status, name.rsplit('/').next().unwrap().to_owned())
}

#[test]
fn a_token_is_checked_with_the_keys_that_a_key_server_gives() {
    let server = KeyServer::start(&[key(ada(), "1"), key(bob(), "2")]);
    let site = site(&server);
    // The first may come while the keys are still being fetched.
    for (token, expected) in [
        (token(ada(), "1", json!({})), 204),
        (token(bob(), "2", json!({})), 204),
        (token(bob(), "1", json!({})), 401),
        (token(ada(), "3", json!({})), 401),
    ] {
        assert_eq!(asked(&site, &token), expected);
    }
}

#[test]
fn a_key_that_is_new_is_taken_at_once_and_one_that_is_gone_is_not_any_more() {
    let server = KeyServer::start(&[key(ada(), "1")]);
    let site = site(&server);
    let (old, new) = (token(ada(), "1", json!({})), token(bob(), "2", json!({})));
    assert_eq!(asked(&site, &old), 204);
    server.has(&[key(ada(), "1"), key(bob(), "2")]);
    site.until("it is fetched", |site| asked(site, &new) == 204);
    assert_eq!(asked(&site, &old), 204, "both are listed");
    server.has(&[key(bob(), "2")]);
    // Seen by the next fetch, which another unknown key asks for.
    let unknown = token(ada(), "3", json!({}));
    site.until("it is gone, also though it was checked before", |site| {
        asked(site, &unknown) == 401 && asked(site, &old) == 401
    });
    assert_eq!(asked(&site, &new), 204);
}

#[test]
fn names_of_keys_that_are_made_up_do_not_have_the_key_server_asked_for_each() {
    let server = KeyServer::start(&[key(ada(), "1")]);
    let site = site_with(&server, |config| {
        config.tokens.jwks_interval_ms = 1_000_000;
    });
    let good = token(ada(), "1", json!({}));
    assert_eq!(asked(&site, &good), 204);
    for n in 0..100 {
        let forged = token(bob(), &format!("made-up-{n}"), json!({}));
        assert_eq!(
            problem(&site.ask(&request(&forged))),
            (401, "bad-credential".to_owned())
        );
    }
    assert_eq!(server.asked(), 1);
    assert_eq!(asked(&site, &good), 204);
}

#[test]
fn those_who_come_while_keys_are_fetched_wait_for_them_and_hold_up_nobody_else() {
    let server = KeyServer::start(&[key(ada(), "1")]);
    let site = site(&server);
    assert_eq!(asked(&site, &token(ada(), "1", json!({}))), 204);
    server.holds(true);
    server.has(&[key(ada(), "1"), key(bob(), "2")]);
    let before = server.asked();
    // Until so much time has passed that keys are fetched again.
    let unknown = request(&token(ada(), "3", json!({})));
    let mut first: Vec<Peer> = Vec::new();
    while server.asked() == before {
        let mut peer = site.connect();
        peer.send(&unknown);
        first.push(peer);
    }
    let mut waiting: Vec<Peer> = (0..20)
        .map(|n| {
            let mut peer = site.connect();
            peer.send(request(&token(bob(), "2", json!({"jti": n.to_string()}))));
            peer
        })
        .collect();
    // On the one core thread that there is.
    assert_eq!(
        site.ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status,
        200
    );
    assert_eq!(asked(&site, &token(ada(), "1", json!({}))), 204);
    server.holds(false);
    for peer in &mut waiting {
        assert_eq!(peer.response().status, 204);
    }
}

/// What a key server should not answer.
fn wrong_answers() -> Vec<(&'static str, String)> {
    let answer = |head: &str, content: &str| {
        let length = content.len();
        format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{content}")
    };
    let good = json!({"keys": [key(ada(), "1")]}).to_string();
    let many: Vec<_> = (0..5_000)
        .map(|n| json!({"kty": "RSA", "kid": n.to_string()}))
        .collect();
    vec![
        ("an error", answer("500 Oh", &good)),
        ("a redirect", answer("302 Found\r\nlocation: /other", &good)),
        ("nothing to see", answer("204 None", "")),
        ("a page", answer("200 OK", "<html>")),
        ("no keys", answer("200 OK", r#"{"keys":[]}"#)),
        (
            "a document that is cut",
            answer("200 OK", &good[..good.len() - 1]),
        ),
        (
            "a content that is cut",
            answer("200 OK", &good).replace("content-length: ", "content-length: 1"),
        ),
        (
            "a huge document",
            answer("200 OK", &format!("{good}{}", " ".repeat(256 * 1024))),
        ),
        (
            "thousands of keys",
            answer("200 OK", &json!({"keys": many}).to_string()),
        ),
        (
            "a shared secret",
            answer("200 OK", r#"{"keys":[{"kty":"oct","kid":"1","k":"AAAA"}]}"#),
        ),
        (
            "two keys of one name",
            answer(
                "200 OK",
                &json!({"keys": [key(ada(), "1"), key(bob(), "1")]}).to_string(),
            ),
        ),
        ("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n".to_owned()),
        ("nothing", String::new()),
    ]
}

#[test]
fn without_keys_a_token_is_neither_taken_nor_called_wrong() {
    for (what, answer) in wrong_answers() {
        let server = KeyServer::start(&[]);
        server.answers(answer);
        let site = site(&server);
        let token = token(ada(), "1", json!({}));
        let refused = problem(&site.ask(&request(&token)));
        assert_eq!(refused, (503, "unavailable".to_owned()), "{what}");
        site.until(what, |site| site.metric("everwire_key_servers_stale") == 1);
        // Who shows nothing is served as ever, and when the key server recovers so is everybody.
        assert_eq!(
            site.ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status,
            200
        );
        server.has(&[key(ada(), "1")]);
        site.until(what, |site| asked(site, &token) == 204);
        site.until(what, |site| site.metric("everwire_key_servers_stale") == 0);
    }
}

#[test]
fn the_last_keys_are_used_on_while_a_key_server_does_not_answer() {
    for (what, answer) in wrong_answers() {
        let server = KeyServer::start(&[]);
        let good = json!({"keys": [key(ada(), "1")]}).to_string();
        // Not fresh for any time, so that they are fetched again all the time.
        let fleeting = format!(
            "HTTP/1.1 200 OK\r\ncache-control: no-cache\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{good}",
            good.len()
        );
        server.answers(fleeting);
        let site = site(&server);
        let token = token(ada(), "1", json!({}));
        assert_eq!(asked(&site, &token), 204, "{what}");
        server.answers(answer);
        site.until(what, |site| site.metric("everwire_key_servers_stale") == 1);
        assert_eq!(asked(&site, &token), 204, "{what}");
    }
}

#[test]
fn keys_that_were_stale_for_too_long_are_not_used() {
    let server = KeyServer::start(&[key(ada(), "1")]);
    let site = site_with(&server, |config| {
        config.tokens.jwks_refresh_s = 0;
        config.tokens.jwks_stale_s_max = 0;
    });
    let token = token(ada(), "1", json!({}));
    site.until("the keys come", |site| asked(site, &token) == 204);
    server.answers("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    site.until("they are forgotten", |site| {
        problem(&site.ask(&request(&token))) == (503, "unavailable".to_owned())
    });
}

#[test]
fn a_key_server_that_answers_late_is_waited_for_no_longer_than_is_said() {
    let server = KeyServer::start(&[key(ada(), "1")]);
    server.holds(true);
    let site = site_with(&server, |config| config.tokens.jwks_fetch_ms = 1);
    let refused = problem(&site.ask(&request(&token(ada(), "1", json!({})))));
    assert_eq!(refused, (503, "unavailable".to_owned()));
    server.holds(false);
}

#[test]
fn each_key_server_vouches_for_its_own_issuer_only() {
    let servers = [
        KeyServer::start(&[key(ada(), "1")]),
        KeyServer::start(&[key(bob(), "1")]),
    ];
    let site = Site::with(|config| {
        config.dev = false;
        config.tokens.jwks = ["https://ada.example", "https://bob.example"]
            .into_iter()
            .zip(&servers)
            .map(|(issuer, server)| Jwks {
                issuer: Some(issuer.to_owned()),
                ..trusted(server)
            })
            .collect();
    });
    for (signer, claims, expected) in [
        (ada(), json!({"iss": "https://ada.example"}), 204),
        (bob(), json!({"iss": "https://bob.example"}), 204),
        (bob(), json!({"iss": "https://ada.example"}), 401),
        (ada(), json!({"iss": "https://bob.example"}), 401),
        (ada(), json!({}), 401),
    ] {
        assert_eq!(
            asked(&site, &token(signer, "1", claims.clone())),
            expected,
            "{claims}"
        );
    }
}

#[test]
fn keys_of_the_configuration_and_of_key_servers_stand_side_by_side() {
    let server = KeyServer::start(&[key(bob(), "ed25519")]);
    let site = site_with(&server, trust_all);
    // `trust_all` lists the key of that name, too: the signature tells which of the two it is.
    for signer in [ada(), bob()] {
        let token = token(signer, "ed25519", json!({}));
        site.until("it is fetched", |site| asked(site, &token) == 204);
    }
    assert_eq!(
        asked(&site, &token(Issuer::shared(), "shared", json!({}))),
        204
    );
    // What is published is never a shared secret.
    let header = json!({"alg": "HS256", "kid": "ed25519"}).to_string();
    let forged = Issuer::shared().signed(&header, &with_end(json!({})).to_string());
    assert_eq!(asked(&site, &forged), 401);
}

#[test]
fn a_session_that_shows_a_token_of_a_new_key_is_asked_to_show_it_again() {
    let server = KeyServer::start(&[key(ada(), "1")]);
    let site = site(&server);
    let first = token(ada(), "1", json!({"sub": "ada"}));
    let mut session = Session::open(&site, Carrier::WebSocket, &format!("?token={first}"));
    server.has(&[key(ada(), "1"), key(bob(), "2")]);
    let next = token(bob(), "2", json!({"sub": "ada"}));
    let command = json!({"op": "authenticate", "token": next});
    // Within the interval after the last fetch it would be told that the key is unknown.
    let mut reply = session.ask(command.clone());
    while reply["error"]["type"] == "bad-credential" {
        reply = session.ask(command.clone());
    }
    assert_eq!(reply["error"]["type"], "unavailable", "{reply}");
    assert_eq!(reply["error"]["retry"], true);
    while !session.ask(command.clone())["ok"].is_object() {}
}

#[test]
fn a_reload_keeps_the_keys_of_a_key_server_that_stays_and_asks_one_that_is_new() {
    let servers = [
        KeyServer::start(&[key(ada(), "1")]),
        KeyServer::start(&[key(bob(), "2")]),
    ];
    let mut config = Config::default();
    let site = site_with(&servers[0], |start| config = start.clone());
    let tokens = [token(ada(), "1", json!({})), token(bob(), "2", json!({}))];
    assert_eq!(
        tokens.each_ref().map(|token| asked(&site, token)),
        [204, 401]
    );
    // What was fetched is there, though the key server is not.
    servers[0].answers("");
    config.tokens.jwks_interval_ms = 1_000_000;
    config.tokens.jwks.push(trusted(&servers[1]));
    let _ = site.server.reloader().reload(config.clone()).unwrap();
    assert_eq!(
        tokens.each_ref().map(|token| asked(&site, token)),
        [204, 204]
    );
    config.tokens.jwks.remove(0);
    let _ = site.server.reloader().reload(config).unwrap();
    assert_eq!(
        tokens.each_ref().map(|token| asked(&site, token)),
        [401, 204]
    );
}

/// What a line was opened with is withdrawn while it is open.
#[test]
fn a_line_ends_when_the_document_comes_that_lacks_its_key() {
    let server = KeyServer::start(&[key(ada(), "1"), key(bob(), "2")]);
    let site = site(&server);
    let [adas, bobs] = [token(ada(), "1", json!({})), token(bob(), "2", json!({}))];
    assert_eq!([asked(&site, &adas), asked(&site, &bobs)], [204, 204]);
    let open = |token: &str| {
        let line = site.websocket("c", &format!("?token={token}"));
        let mut session = Session::open(&site, Carrier::WebSocket, &format!("?token={token}"));
        session.ok(json!({"id": 1, "op": "subscribe", "channel": "c"}));
        (line, session)
    };
    let (mut withdrawn, mut their_session) = open(&adas);
    let (mut stays, mut own_session) = open(&bobs);
    server.has(&[key(bob(), "2")]);
    // An unknown key has the document fetched anew.
    assert_eq!(asked(&site, &token(bob(), "3", json!({}))), 401);
    assert_eq!(withdrawn.frame(), Frame::Close(4401));
    assert_eq!(their_session.peer.frame(), Frame::Close(4401));
    assert_eq!(asked(&site, &adas), 401);
    let mut publisher = site.connect();
    publisher.send(format!(
        "POST /channels/c?token={bobs} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n1"
    ));
    assert_eq!(publisher.response().status, 204);
    assert_eq!(stays.text(), "1");
    assert_eq!(own_session.entry(), ("c".to_owned(), json!(1)));
    // One that does not answer has withdrawn nothing.
    server.answers("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(asked(&site, &token(bob(), "3", json!({}))), 503);
    publisher.send(format!(
        "POST /channels/c?token={bobs} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n2"
    ));
    assert_eq!(publisher.response().status, 204);
    assert_eq!(stays.text(), "2");
}
