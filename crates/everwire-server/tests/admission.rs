//! Who may connect at all: in clear text or under TLS, with a certificate or without one, before a reload and after it.

mod common;

use std::sync::Arc;

use common::{
    Frame, Peer, Site,
    identity::{self, AUTHORITY, Authority, client_config, client_of},
    websocket_request,
};
use everwire_server::config::{Challenge, ClientAuth, Config, TlsMode};
use rustls::ClientConfig;

/// What a connection of HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const CHALLENGE: &str = "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: x\r\n\r\n";

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    ClearText,
    Tls,
    Certificate,
}

const WAYS: [By; 3] = [By::ClearText, By::Tls, By::Certificate];

impl By {
    fn connect(self, site: &Site) -> Peer {
        let config: Arc<ClientConfig> = match self {
            Self::ClearText => return Peer::connect(site.address, None),
            Self::Tls => Arc::new(identity::anonymous()),
            Self::Certificate => {
                let (chain, key) = AUTHORITY.issue_client();
                Arc::new(client_config(|config| {
                    config.with_client_auth_cert(chain, key).unwrap()
                }))
            }
        };
        Peer::connect_tls(site.address, None, client_of(&config, "localhost"))
    }
}

fn asks(config: &mut Config, mode: TlsMode, client_auth: ClientAuth) {
    config.tls = identity::settings();
    config.tls.mode = mode;
    config.tls.client_auth = client_auth;
    config.tls.client_ca_file = AUTHORITY.file();
}

#[test]
fn clear_text_is_served_no_more_than_it_may_on_any_path() {
    let requests = [
        "GET /channels/c?offset=-1 HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n",
        "POST /channels/c HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n1",
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        "OPTIONS /channels/c HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /connect HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n",
        "GET //.well-known/acme-challenge/x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /channels/c HTTP/1.0\r\n\r\n",
        &websocket_request("/echo", ""),
    ];
    for (client_auth, challenge, is_served, is_challenged) in [
        (ClientAuth::Off, None, true, true),
        (ClientAuth::Optional, None, true, true),
        (ClientAuth::Required, None, false, false),
        (ClientAuth::Required, Some(Challenge::Http01), false, true),
    ] {
        let folder = AUTHORITY.file().with_file_name("acme");
        let site = Site::with(|config| {
            asks(config, TlsMode::Both, client_auth);
            if let Some(challenge) = challenge {
                config.acme.domains = vec!["live.example.org".parse().unwrap()];
                config.acme.directory = "https://127.0.0.1:1/".to_owned();
                config.acme.challenge = challenge;
                config.acme.storage = folder;
            }
        });
        for request in requests {
            let status = By::ClearText.connect(&site).try_ask(request);
            let case = format!("{client_auth:?}, {challenge:?}: {request}");
            assert_eq!(status != Some(400), is_served, "{case} gave {status:?}");
            assert!(status.is_some(), "{case}");
        }
        let found = By::ClearText.connect(&site).try_ask(CHALLENGE);
        let expected = if is_challenged { 404 } else { 400 };
        assert_eq!(found, Some(expected), "{client_auth:?}, {challenge:?}");
        // Who has a certificate is served in any case.
        assert_eq!(
            By::Certificate.connect(&site).try_ask(requests[2]),
            Some(200)
        );
    }
}

/// A line or a connection that is open, and how its end looks.
type Wire = (&'static str, fn(&mut Peer), fn(&mut Peer));

const WIRES: [Wire; 7] = [
    (
        "a WebSocket",
        |peer| drop(peer.open_websocket("c", "", "")),
        |peer| assert_eq!(peer.frame(), Frame::Close(4401)),
    ),
    (
        "a WebSocket without its own",
        |peer| drop(peer.open_websocket("c", "?publisher=a", "")),
        |peer| assert_eq!(peer.frame(), Frame::Close(4401)),
    ),
    (
        "a session",
        |peer| {
            peer.send(websocket_request(
                "/connect",
                "Sec-WebSocket-Protocol: everwire.v1\r\n",
            ));
            peer.head();
            peer.text();
        },
        |peer| assert_eq!(peer.frame(), Frame::Close(4401)),
    ),
    (
        "ndjson",
        |peer| drop(peer.open_stream("c", "", "application/x-ndjson")),
        |peer| assert_eq!(peer.chunk(), b""),
    ),
    (
        "a long poll",
        |peer| {
            peer.send("GET /channels/c?live=long-poll&offset=now HTTP/1.1\r\nHost: x\r\n\r\n");
        },
        |peer| assert_eq!(peer.response().status, 204),
    ),
    (
        "a connection",
        |peer| {
            peer.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(peer.response().status, 200);
        },
        |peer| {
            peer.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(peer.response().status, 400);
        },
    ),
    (
        "a connection over HTTP/2",
        |peer| {
            peer.send(PREFACE);
            peer.take(9);
        },
        |peer| while peer.try_take(1).is_some() {},
    ),
];

#[test]
fn a_reload_ends_what_would_not_be_let_in_any_more_on_every_wire() {
    let other = Authority::new("other");
    for (name, open, ends) in WIRES {
        let mut running = Config::default();
        let site = Site::with(|config| {
            asks(config, TlsMode::Both, ClientAuth::Optional);
            running = config.clone();
        });
        let mut peers = WAYS.map(|by| by.connect(&site));
        peers.iter_mut().for_each(open);
        if name == "a long poll" {
            let mut watcher = By::Certificate.connect(&site);
            let mut lines = || {
                watcher.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
                watcher.response().text().contains("everwire_lines 3\n")
            };
            while !lines() {}
        }
        let reload = |change: &dyn Fn(&mut Config)| {
            let mut config = running.clone();
            change(&mut config);
            let _ = site.server.reloader().reload(config).unwrap();
        };
        let [clear, tls, certificate] = &mut peers;
        reload(&|config| config.tls.client_auth = ClientAuth::Required);
        for (by, peer) in [(By::ClearText, clear), (By::Tls, tls)] {
            eprintln!("{name} by {by:?}");
            ends(peer);
        }
        eprintln!("{name} with a certificate of an authority that is trusted no more");
        reload(&|config| {
            config.tls.client_auth = ClientAuth::Required;
            config.tls.client_ca_file = other.file();
        });
        ends(certificate);
    }
}

#[test]
fn a_reload_leaves_whoever_would_be_let_in_again() {
    for (name, open, _) in WIRES.into_iter().take(2) {
        let mut running = Config::default();
        let site = Site::with(|config| {
            asks(config, TlsMode::Both, ClientAuth::Optional);
            running = config.clone();
        });
        let mut reader = By::Certificate.connect(&site);
        open(&mut reader);
        running.tls.client_auth = ClientAuth::Required;
        let _ = site.server.reloader().reload(running).unwrap();
        let mut publisher = By::Certificate.connect(&site);
        assert_eq!(publisher.append("c", "text/plain", b"1").status, 204);
        assert_eq!(reader.text(), "1", "{name}");
    }
}
