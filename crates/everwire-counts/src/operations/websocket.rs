//! The codec: frames in, frames out, compression, the opening handshake.

use std::time::Instant;

use bytes::BytesMut;
use everwire_websocket::{
    Connection, ConnectionOptions, ContextTakeover, Deflate, DeflatePolicy, Deflater, Inbound,
    Level, Masker, MessageKind, Role, Rules, Scratch, WindowBits, encode_compressed_message,
    encode_message, encode_ping,
    handshake::{self, Policy, Request},
};
use http::{HeaderMap, HeaderValue, Method, Version};

use super::JSON_128;
use crate::measure::{FEW, MANY, operation};

pub fn run() {
    let small = frame(JSON_128.as_bytes());
    decoding("decode 128 B masked text", &small, usize::MAX, MANY);
    decoding(
        "decode 16 such texts in one read",
        &small.repeat(16),
        usize::MAX,
        MANY,
    );
    let mebibyte = frame(&JSON_128.as_bytes().repeat(8192));
    decoding("decode 1 MiB masked text", &mebibyte, usize::MAX, FEW);
    decoding(
        "decode 1 MiB masked text in 64 KiB reads",
        &mebibyte,
        64 << 10,
        FEW,
    );
    let mut ping = BytesMut::new();
    Masker(KEY).encode_ping(b"12345678", &mut ping);
    decoding("decode a masked ping", &ping, usize::MAX, MANY);
    decoding(
        "decode 128 B compressed text",
        &compressed(),
        usize::MAX,
        MANY,
    );
    encoding();
    connection();
    opening_handshake();
}

fn decoding(name: &str, bytes: &[u8], read_bytes: usize, times: usize) {
    let (mut inbound, mut scratch) = (Inbound::new(), Scratch::default());
    operation(
        name,
        times,
        || bytes.to_vec(),
        |bytes| {
            for read in bytes.chunks_mut(read_bytes) {
                inbound
                    .handle_bytes(&RULES, &mut scratch, read, &mut |event| {
                        std::hint::black_box(event);
                    })
                    .expect("the frames are valid");
            }
        },
    );
}

fn encoding() {
    let mut out = BytesMut::with_capacity(4096);
    operation(
        "encode 128 B text",
        MANY,
        || (),
        |()| {
            out.clear();
            encode_message(MessageKind::Text, JSON_128.as_bytes(), &mut out);
        },
    );
    operation(
        "encode 128 B masked text",
        MANY,
        || (),
        |()| {
            out.clear();
            Masker(KEY).encode_message(MessageKind::Text, JSON_128.as_bytes(), &mut out);
        },
    );
    operation(
        "encode a ping",
        MANY,
        || (),
        |()| {
            out.clear();
            encode_ping(b"", &mut out);
        },
    );
    let mut deflater = deflater();
    operation(
        "encode 128 B compressed text",
        MANY,
        || (),
        |()| {
            out.clear();
            let text = JSON_128.as_bytes();
            encode_compressed_message(MessageKind::Text, text, &mut deflater, &mut out);
        },
    );
}

/// The object for shells that want one: what an echo costs it.
fn connection() {
    let now = Instant::now();
    let mut server = Connection::server(ConnectionOptions::default(), now);
    let bytes = frame(JSON_128.as_bytes());
    operation(
        "Connection: echo 128 B masked text",
        MANY,
        || BytesMut::from(&bytes[..]),
        |read| {
            server.handle_bytes(read, now);
            while let Some(event) = server.poll_event() {
                if let everwire_websocket::ConnectionEvent::Message(kind, payload) = event {
                    server.send(kind, &payload).expect("the connection is open");
                }
            }
            server.advance_outgoing(server.outgoing().len());
        },
    );
}

/// What a browser sends to open a WebSocket, from the parsed fields to the head of the answer.
fn opening_handshake() {
    let headers: HeaderMap = [
        ("host", "example.com"),
        ("connection", "Upgrade"),
        ("pragma", "no-cache"),
        ("cache-control", "no-cache"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        ),
        ("upgrade", "websocket"),
        ("origin", "https://example.com"),
        ("sec-websocket-version", "13"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "en-GB,en;q=0.9"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        (
            "sec-websocket-extensions",
            "permessage-deflate; client_max_window_bits",
        ),
        ("sec-websocket-protocol", "everwire.v1"),
    ]
    .into_iter()
    .map(|(name, value)| {
        let name = http::HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    })
    .collect();
    let request = Request {
        method: &Method::GET,
        version: Version::HTTP_11,
        headers: &headers,
        protocol: None,
    };
    let policy = Policy {
        subprotocols: &["everwire.v1"],
        deflate: Some(DeflatePolicy::STANDARD),
    };
    let (mut out, more) = (BytesMut::with_capacity(4096), HeaderMap::new());
    operation(
        "accept an opening handshake",
        MANY,
        || (),
        |()| {
            out.clear();
            let accepted = handshake::accept(&request, &policy).expect("the request is valid");
            accepted.write_head(&more, &mut out);
        },
    );
}

fn frame(text: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    Masker(KEY).encode_message(MessageKind::Text, text, &mut out);
    out
}

fn compressed() -> BytesMut {
    let mut out = BytesMut::new();
    let text = JSON_128.as_bytes();
    Masker(KEY).encode_compressed_message(MessageKind::Text, text, &mut deflater(), &mut out);
    out
}

fn deflater() -> Deflater {
    Deflater::new(WindowBits::MAX, Level::FASTEST, ContextTakeover::No)
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const RULES: Rules = Rules {
    role: Role::Server,
    message_bytes_max: 2 << 20,
    deflate: Some(Deflate {
        server_context_takeover: ContextTakeover::No,
        client_context_takeover: ContextTakeover::No,
        server_max_window_bits: WindowBits::MAX,
        client_max_window_bits: WindowBits::MAX,
    }),
};
