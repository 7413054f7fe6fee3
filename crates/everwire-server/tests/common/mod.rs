//! A running server, and peers that speak to it over plain sockets.
//!
//! Nothing here sleeps: a peer waits for the bytes that it expects. Only a server that fails to send them is
//! found by a time limit.

#![allow(dead_code, unused_imports, reason = "each test file uses its part")]

pub mod application;
pub mod identity;
pub mod issuer;
pub mod key_server;
mod peer;
mod session;
mod streams;
mod websocket;

use std::net::SocketAddr;

use everwire_server::{Config, Server, config::TlsMode};

pub use peer::{PATIENCE, Peer, Response, websocket_request};
pub use session::{CARRIERS, Carrier, Session, over_every_wire, subscribe, without_linger};
pub use streams::{End, Streams, status};
pub use websocket::{Frame, client_frame};

/// A server on a port of its own, open to everybody, with one core thread.
pub struct Site {
    pub server: Server,
    pub address: SocketAddr,
    /// Its connections are under TLS.
    is_secure: bool,
}

/// Whether all connections are under TLS: in the file that has the other files' tests run that way.
fn is_all_secure() -> bool {
    module_path!().starts_with("under_tls::")
}

impl Site {
    /// A server as it comes.
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// A server with other settings.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)).into(),
            threads: 1,
            dev: true,
            ..Config::default()
        };
        if is_all_secure() {
            config.tls = identity::settings();
        }
        change(&mut config);
        let is_secure = config.tls.mode != TlsMode::Off;
        let server = Server::start(config).expect("a free port");
        let address = server.address();
        Self {
            server,
            address,
            is_secure,
        }
    }

    /// A new connection.
    pub fn connect(&self) -> Peer {
        self.connect_with(None)
    }

    /// A connection whose peer holds few bytes that were not read.
    pub fn connect_narrow(&self) -> Peer {
        self.connect_with(Some(4096))
    }

    fn connect_with(&self, receive_bytes: Option<usize>) -> Peer {
        match self.is_secure {
            true => Peer::connect_tls(self.address, receive_bytes, identity::client()),
            false => Peer::connect(self.address, receive_bytes),
        }
    }

    /// Publishes one body, which must be taken.
    pub fn publish(&self, name: &str, content_type: &str, body: impl AsRef<[u8]>) {
        let response = self.connect().append(name, content_type, body.as_ref());
        assert_eq!(
            response.status,
            204,
            "published to {name}: {}",
            response.text()
        );
    }

    /// Publishes a line of text.
    pub fn say(&self, name: &str, text: &str) {
        self.publish(name, "text/plain", text);
    }

    /// A WebSocket on a channel; `query` is what follows the name, with its `?`.
    pub fn websocket(&self, name: &str, query: &str) -> Peer {
        let mut peer = self.connect();
        peer.open_websocket(name, query, "");
        peer
    }

    /// An event stream or ndjson on a channel, by its media type.
    pub fn stream(&self, name: &str, query: &str, accept: &str) -> Peer {
        let mut peer = self.connect();
        peer.open_stream(name, query, accept);
        peer
    }

    /// Asks for one thing on a connection of its own.
    pub fn ask(&self, request: &str) -> Response {
        let mut peer = self.connect();
        peer.send(request);
        peer.response()
    }

    /// A metric by its name.
    pub fn metric(&self, name: &str) -> u64 {
        let response = self.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let text = response.text();
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or_else(|| panic!("{name} is in\n{text}"))
    }

    /// A metric with its labels, which is not there before it is counted for the first time.
    pub fn metric_or_0(&self, name: &str) -> u64 {
        let response = self.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let text = response.text();
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or(0)
    }

    /// The same site, asked in clear text where it speaks both.
    pub fn in_clear_text(self) -> Self {
        Self {
            is_secure: false,
            ..self
        }
    }

    /// Asks again and again, without pause, until `reached`; for what a server does in its own time.
    pub fn until(&self, what: &str, mut reached: impl FnMut(&Self) -> bool) {
        let began = std::time::Instant::now();
        while !reached(self) {
            assert!(began.elapsed() < PATIENCE, "{what}");
        }
    }
}
