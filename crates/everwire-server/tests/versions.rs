//! What a line is told and what it costs does not depend on the version of HTTP that it came by: each row over both.

mod common;

use common::{
    End, Peer, Site, Streams, client_frame,
    issuer::{Issuer, now_s, trust_all},
    websocket_request,
};
use everwire_server::{
    auth::{GENERATED_BYTES, NewKey},
    config::{Action, ApiKey, Duty},
};
use serde_json::{Value, json};

/// A line over one of the versions.
enum Line {
    Http1 {
        peer: Peer,
        content: Option<Vec<u8>>,
    },
    Http2 {
        streams: Streams,
        stream: u32,
    },
}

/// Of a line: its address, and the fields that ask for its wire.
#[derive(Clone, Copy)]
enum Wire {
    Stream(&'static str, &'static str),
    Socket(&'static str, &'static str),
}
use Wire::{Socket, Stream};

const NDJSON: &str = "application/x-ndjson";
const DEFLATE: &str = "sec-websocket-extensions: permessage-deflate\r\n";

impl Line {
    /// The same line over HTTP/1.1 and over HTTP/2.
    fn both(site: &Site, wire: Wire) -> [Self; 2] {
        [Self::http1(site, wire), Self::http2(site, wire)]
    }

    fn http1(site: &Site, wire: Wire) -> Self {
        let mut peer = site.connect();
        let (request, status, content) = match wire {
            Stream(path, accept) => {
                let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
                (request, "HTTP/1.1 200", Some(Vec::new()))
            }
            Socket(path, fields) => (websocket_request(path, fields), "HTTP/1.1 101", None),
        };
        peer.send(request);
        assert!(peer.head().starts_with(status));
        Self::Http1 { peer, content }
    }

    fn http2(site: &Site, wire: Wire) -> Self {
        let mut streams = Streams::connect(site.address);
        let stream = match wire {
            Stream(path, accept) => streams.get(path, &[("accept", accept)]),
            Socket(path, fields) => {
                let fields: Vec<_> = fields
                    .lines()
                    .filter_map(|line| line.split_once(": "))
                    .collect();
                streams.websocket(path, &fields)
            }
        };
        assert!(streams.is_ok(stream));
        Self::Http2 { streams, stream }
    }

    fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Http1 { peer, .. } => peer.send(bytes),
            Self::Http2 { streams, stream } => streams.send(*stream, bytes),
        }
    }

    /// Exactly so many bytes of what the line says, without chunks.
    fn take(&mut self, count: usize) -> Vec<u8> {
        match self {
            Self::Http1 {
                peer,
                content: None,
            } => peer.take(count),
            Self::Http1 {
                peer,
                content: Some(content),
            } => {
                while content.len() < count {
                    let chunk = peer.chunk();
                    assert!(!chunk.is_empty(), "{count} bytes are to come");
                    content.extend(chunk);
                }
                content.drain(..count).collect()
            }
            Self::Http2 { streams, stream } => streams.take(*stream, count),
        }
    }

    /// All up to and with a mark.
    fn until(&mut self, mark: &[u8]) -> String {
        let mut all = Vec::new();
        while !all.ends_with(mark) {
            all.extend(self.take(1));
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// The line ends in order, and says no more.
    fn ends(&mut self) {
        match self {
            Self::Http1 {
                peer,
                content: None,
            } => assert_eq!(peer.rest(), b""),
            Self::Http1 {
                peer,
                content: Some(_),
            } => assert_eq!(peer.chunk(), b"", "the last chunk"),
            Self::Http2 { streams, stream } => {
                assert_eq!(streams.rest(*stream), (Vec::new(), End::Ended));
            }
        }
    }

    fn closes(&mut self, code: u16) {
        let head = self.take(4);
        assert_eq!(head[0], 0x88, "a Close frame");
        assert_eq!(u16::from_be_bytes([head[2], head[3]]), code);
        self.take(usize::from(head[1]) - 2);
        self.ends();
    }
}

#[test]
fn messages_are_compressed_where_that_was_asked_for() {
    let site = Site::with(|_| {});
    for path in ["/channels/c", "/echo"] {
        for mut line in Line::both(&site, Socket(path, DEFLATE)) {
            line.send(&client_frame(0x1, &[b'x'; 1_000]));
            let head = line.take(2);
            // FIN and RSV1 (RFC 7692, section 6), and far shorter than it was.
            assert_eq!(head[0], 0xc1, "{path}");
            assert!(head[1] < 100, "{path}: {}", head[1]);
        }
    }
}

#[test]
fn a_line_is_told_of_a_gap_as_its_wire_can() {
    let site = Site::with(|config| config.channels.retain_entries = 2);
    site.say("c", "0");
    let first = site.ask("GET /channels/c?last=9 HTTP/1.1\r\nHost: x\r\n\r\n");
    let offset = first.field("stream-next-offset").unwrap().to_owned();
    for n in 1..9 {
        site.say("c", &n.to_string());
    }
    let path: &'static str = format!("/channels/c?offset={offset}").leak();
    for mut line in Line::both(&site, Stream(path, NDJSON)) {
        assert!(line.until(b"\n").starts_with("{\"gap\":"));
        assert!(line.until(b"\n").contains("\"data\":\"7\""));
    }
    for mut line in Line::both(&site, Socket(path, "")) {
        line.closes(4410);
    }
}

#[test]
fn a_channel_that_is_deleted_ends_its_lines() {
    let site = Site::with(|_| {});
    let mut lines: Vec<Line> = Line::both(&site, Stream("/channels/c", NDJSON)).into();
    let mut sockets: Vec<Line> = Line::both(&site, Socket("/channels/c", "")).into();
    site.until("all are lines", |site| site.metric("everwire_lines") == 4);
    site.say("c", "last");
    let deleted = site.ask("DELETE /channels/c HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(deleted.status, 204);
    for line in &mut lines {
        assert!(line.until(b"\n").contains("\"data\":\"last\""));
        assert_eq!(line.until(b"\n"), "{\"closed\":true}\n");
        line.ends();
    }
    for line in &mut sockets {
        assert_eq!(line.take(6), b"\x81\x04last");
        line.closes(1000);
    }
}

#[test]
fn a_reload_ends_lines_that_may_not_read_any_more() {
    let mut running = None;
    let site = Site::with(|config| {
        config.dev = false;
        config.channels.anonymous = vec![Action::Read];
        running = Some(config.clone());
    });
    let mut streams: Vec<Line> = Line::both(&site, Stream("/channels/c", NDJSON)).into();
    let mut sockets: Vec<Line> = Line::both(&site, Socket("/channels/c", "")).into();
    site.until("all are lines", |site| site.metric("everwire_lines") == 4);
    let mut config = running.unwrap();
    config.channels.anonymous = Vec::new();
    let _ = site.server.reloader().reload(config).unwrap();
    streams.iter_mut().for_each(Line::ends);
    sockets.iter_mut().for_each(|line| line.closes(4401));
}

#[test]
fn a_server_that_stops_says_so() {
    let site = Site::with(|_| {});
    let mut streams: Vec<Line> = Line::both(&site, Stream("/channels/c", NDJSON)).into();
    let mut sockets: Vec<Line> = Line::both(&site, Socket("/channels/c", "")).into();
    sockets.extend(Line::both(&site, Socket("/echo", "")));
    site.until("all are lines", |site| site.metric("everwire_lines") == 6);
    // In the same moment as an entry, which is heard before the goodbye.
    site.say("c", "last");
    let peers = std::thread::spawn(move || {
        for line in &mut streams {
            assert!(line.until(b"\n").contains("\"data\":\"last\""));
            assert!(line.until(b"\n").starts_with("{\"drain\":"));
            line.ends();
        }
        for (index, line) in sockets.iter_mut().enumerate() {
            if index < 2 {
                assert_eq!(line.take(6), b"\x81\x04last");
            }
            line.closes(1001);
        }
    });
    site.server.stop().unwrap();
    peers.join().unwrap();
}

/// Whoever takes nothing for too long is cut: a connection of its own, or a stream among others.
#[test]
fn a_line_that_takes_nothing_is_cut_and_counted() {
    let site = Site::with(|config| config.limits.write_stall_ms = 300);
    let mut streams = Streams::that_take(site.address, 10);
    let lazy = streams.get("/channels/c", &[("accept", NDJSON)]);
    let socket = streams.websocket("/channels/c", &[]);
    assert!(streams.is_ok(lazy) && streams.is_ok(socket));
    let mut narrow = site.connect_narrow();
    narrow.open_stream("c", "", NDJSON);
    site.until("all are lines", |site| site.metric("everwire_lines") == 3);
    for _ in 0..20 {
        site.say("c", &"x".repeat(200_000));
    }
    site.until("all are cut", |site| site.metric("everwire_lines") == 0);
    assert_eq!(site.metric("everwire_lines_stalled_total"), 3);
}

/// A channel's address with a token that may read it.
fn with_token(mut claims: Value) -> &'static str {
    claims["channels"] = json!([{"match": "**", "can": ["read"]}]);
    format!("/channels/c?token={}", Issuer::shared().token(claims)).leak()
}

#[test]
fn a_line_ends_with_the_time_of_its_token() {
    let site = Site::with(|config| {
        trust_all(config);
        config.tokens.leeway_s = 0;
    });
    let path = || with_token(json!({"sub": "ada", "exp": now_s() + 3}));
    let streams = Line::both(&site, Stream(path(), NDJSON));
    let sockets = Line::both(&site, Socket(path(), ""));
    streams.into_iter().for_each(|mut line| line.ends());
    sockets.into_iter().for_each(|mut line| line.closes(4401));
    site.until("none is left", |site| site.metric("everwire_lines") == 0);
}

#[test]
fn a_line_ends_whose_token_is_taken_back() {
    let NewKey { key, sha256 } = NewKey::new("admin", [7; GENERATED_BYTES]).unwrap();
    let site = Site::with(|config| {
        trust_all(config);
        config.keys = vec![ApiKey {
            id: "admin".to_owned(),
            sha256,
            channels: Vec::new(),
            can: vec![Duty::Revoke],
        }];
    });
    let path = with_token(json!({"sub": "ada", "jti": "a"}));
    let streams = Line::both(&site, Stream(path, NDJSON));
    let sockets = Line::both(&site, Socket(path, ""));
    site.until("all are lines", |site| site.metric("everwire_lines") == 4);
    let content = r#"{"jti":"a"}"#;
    let revoked = site.ask(&format!(
        "POST /revocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{content}",
        content.len()
    ));
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    streams.into_iter().for_each(|mut line| line.ends());
    sockets.into_iter().for_each(|mut line| line.closes(4401));
}

/// Each line on its own: a client of HTTP/2 that does not listen is silent as a whole, and its connection ends.
#[test]
fn a_silent_line_is_sent_heartbeats() {
    let site = Site::with(|config| config.http.heartbeat_ms = 1_000);
    let is_sent = |open: fn(&Site, Wire) -> Line| {
        let mut line = open(&site, Stream("/channels/c", NDJSON));
        assert_eq!(line.until(b"\n"), "{}\n");
        let mut line = open(&site, Stream("/channels/c", "text/event-stream"));
        assert_eq!(line.until(b"\n"), "retry: 2000\n");
        assert_eq!(line.until(b"\n"), ":\n");
        let mut line = open(&site, Socket("/channels/c", ""));
        for _ in 0..3 {
            let ping = line.take(2);
            assert_eq!(ping[0], 0x89, "a ping");
            let content = line.take(usize::from(ping[1]));
            line.send(&client_frame(0xa, &content));
        }
    };
    std::thread::scope(|scope| {
        for open in [Line::http1, Line::http2] {
            scope.spawn(move || is_sent(open));
        }
    });
}
