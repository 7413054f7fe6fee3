//! Opening handshakes of a peer that follows no rule, on both sides. Each line of the input is the value
//! of a field; what our server accepts of an offer, a client that made it accepts too.
#![no_main]

use bytes::BytesMut;
use everwire_websocket::handshake::{Offer, Policy, Request, accept, wants_websocket};
use everwire_websocket::{ContextTakeover, DeflateOffer, DeflatePolicy};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use libfuzzer_sys::fuzz_target;

const FIELDS: [&str; 8] = [
    "connection",
    "upgrade",
    "host",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
];

fuzz_target!(|input: &[u8]| {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "localhost"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for line in input.split(|&byte| byte == b'\n') {
        let Some((&which, value)) = line.split_first() else {
            continue;
        };
        let name = HeaderName::from_static(FIELDS[usize::from(which % 8)]);
        let Ok(value) = HeaderValue::from_bytes(value) else {
            continue;
        };
        match which & 8 {
            0 => drop(headers.insert(name, value)),
            _ => drop(headers.append(name, value)),
        }
    }
    serve(&headers);
    let offer = Offer::upgrade(
        *b"the sample nonce",
        &["a", "b"],
        Some(DeflateOffer::default()),
    );
    let offer = offer.expect("two distinct tokens");
    if let Ok(established) = offer.check(StatusCode::SWITCHING_PROTOCOLS, &headers) {
        assert!(
            established
                .subprotocol
                .is_none_or(|name| ["a", "b"].contains(&name))
        );
    }
});

fn serve(headers: &HeaderMap) {
    let policy = Policy {
        subprotocols: &["a", "b"],
        deflate: Some(DeflatePolicy {
            client_context_takeover: ContextTakeover::Yes,
            ..DeflatePolicy::STANDARD
        }),
    };
    let request = Request {
        method: &Method::GET,
        version: Version::HTTP_11,
        headers,
        protocol: None,
    };
    let Ok(accepted) = accept(&request, &policy) else {
        return;
    };
    assert!(wants_websocket(&request));
    let mut head = BytesMut::new();
    accepted.write_head(&HeaderMap::new(), &mut head);
    let text = std::str::from_utf8(&head).expect("a head is ASCII");
    let lines = text
        .strip_suffix("\r\n\r\n")
        .expect("a head ends with an empty line");
    assert_eq!(lines.split("\r\n").count(), 1 + accepted.headers().len());
    if let Some(deflate) = accepted.deflate {
        assert_eq!(deflate.server_context_takeover, ContextTakeover::No);
        let mut response = HeaderMap::new();
        let name = "sec-websocket-extensions";
        response.insert(name, accepted.headers()[name].clone());
        let offer = Offer::extended_connect(&[], Some(DeflateOffer::default()));
        let established = offer
            .expect("no subprotocol")
            .check(StatusCode::OK, &response);
        assert_eq!(established.expect("our own answer").deflate, Some(deflate));
    }
}
