//! A running server goes on with another configuration: whole, or not at all.

mod common;

use common::Site;
use everwire_server::{
    Config, Reloaded,
    config::{Action, Algorithm, TokenKey},
};

/// A server that grants what its configuration says, and what it runs with.
fn site(change: impl Fn(&mut Config)) -> (Site, Config) {
    let mut config = Config::default();
    let site = Site::with(|start| {
        start.dev = false;
        change(start);
        config = start.clone();
    });
    (site, config)
}

fn read(site: &Site) -> u16 {
    site.ask("GET /channels/c HTTP/1.1\r\nHost: x\r\n\r\n")
        .status
}

#[test]
fn a_request_is_judged_by_the_configuration_that_holds_when_it_begins() {
    let (site, mut config) = site(|config| config.channels.anonymous = vec![Action::Publish]);
    let mut before = site.connect();
    let ask = |peer: &mut common::Peer| {
        peer.send("GET /channels/c HTTP/1.1\r\nHost: x\r\n\r\n");
        peer.response().status
    };
    assert_eq!(ask(&mut before), 401);
    config.channels.anonymous = vec![Action::Read, Action::Publish];
    let reloaded = site.server.reloader().reload(config).unwrap();
    assert_eq!(reloaded, Reloaded::default());
    site.say("c", "hello");
    assert_eq!(ask(&mut before), 200, "on a connection that was there");
    assert_eq!(read(&site), 200);
}

#[test]
fn limits_hold_for_what_comes_after() {
    let (site, mut config) = site(|config| {
        config.channels.anonymous = vec![Action::Read, Action::Publish];
        config.limits.lines_per_address_max = 1;
    });
    let open = |status| {
        let mut peer = site.connect();
        peer.send(common::websocket_request("/channels/c", ""));
        let head = peer.head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
        peer
    };
    let _first = open(101);
    open(429);
    config.limits.lines_per_address_max = 2;
    config.limits.content_bytes_max = 3;
    let reloaded = site.server.reloader().reload(config).unwrap();
    assert_eq!(reloaded, Reloaded::default());
    let _second = open(101);
    open(429);
    let said = site.connect().append("c", "text/plain", b"four");
    assert_eq!(said.status, 413);
}

#[test]
fn what_takes_a_restart_stays_and_is_told() {
    let (site, mut config) = site(|_| {});
    let address = config.listen.clone();
    config.listen.set_port(1);
    config.threads = 7;
    config.channels.anonymous = vec![Action::Read, Action::Publish];
    let reloaded = site.server.reloader().reload(config.clone()).unwrap();
    assert_eq!(reloaded.kept, ["listen", "threads"]);
    site.say("c", "the rest is applied");
    config.listen = address;
    config.threads = 1;
    let reloaded = site.server.reloader().reload(config).unwrap();
    assert_eq!(reloaded.kept, [""; 0], "as it was started");
}

#[test]
fn a_configuration_that_cannot_be_applied_leaves_the_old_one_whole() {
    let (site, mut config) = site(|config| config.channels.anonymous = vec![Action::Publish]);
    config.channels.anonymous = vec![Action::Read];
    config.tokens.keys = vec![TokenKey {
        kid: None,
        alg: Algorithm::EdDsa,
        secret: None,
        secret_file: None,
        public_key: None,
        public_key_file: Some("/nowhere/tokens.pem".into()),
    }];
    let error = site.server.reloader().reload(config).unwrap_err();
    assert!(error.to_string().contains("/nowhere/tokens.pem"), "{error}");
    site.say("c", "still granted");
    assert_eq!(read(&site), 401, "and not what came with the key");
    let metrics = site.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let metrics = metrics.text();
    assert!(metrics.contains("everwire_reloads_total{outcome=\"refused\"} 1\n"));
    assert!(!metrics.contains("outcome=\"applied\""), "{metrics}");
}
