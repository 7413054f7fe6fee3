//! The parsers of what servers send, for fuzz targets. What they read is told as text, to be compared.

use std::collections::VecDeque;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::decode::event_stream::DataEncoding;
use crate::decode::{
    Decoder, EventStreamDecoder, NdjsonDecoder, PageDecoder, ProblemDecoder, session,
};

/// No text or line is taken that is larger.
const BYTES_MAX: usize = 4096;

/// A message of a session.
pub fn session_message(text: &[u8]) -> String {
    format!("{:?}", session::decode(text))
}

/// An event stream that comes in these pieces, of JSON, base64 or text.
pub fn event_stream(kind: u8, pieces: &[&[u8]]) -> String {
    let encoding = match kind % 3 {
        0 => DataEncoding::Text,
        1 => DataEncoding::Json,
        2 => DataEncoding::Unknown,
        _ => DataEncoding::Base64,
    };
    let decoder = EventStreamDecoder::new(encoding, BYTES_MAX);
    read(Decoder::EventStream(decoder), pieces)
}

/// A stream of JSON objects, one a line, that comes in these pieces.
pub fn ndjson(pieces: &[&[u8]]) -> String {
    read(Decoder::Ndjson(NdjsonDecoder::new(BYTES_MAX)), pieces)
}

/// An error response with this body, and `Retry-After`.
pub fn problem(status: u16, retry_after: &[u8], pieces: &[&[u8]]) -> String {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = fields(&[
        ("content-type", b"application/problem+json"),
        ("retry-after", retry_after),
    ]);
    let decoder = ProblemDecoder::new(status, &headers, SystemTime::UNIX_EPOCH);
    read(Decoder::Problem(decoder), pieces)
}

/// The answer to a poll, of JSON.
pub fn page(offset: &[u8], pieces: &[&[u8]]) -> String {
    let headers = fields(&[
        ("content-type", b"application/json"),
        ("stream-next-offset", offset),
    ]);
    match PageDecoder::new(StatusCode::OK, &headers, BYTES_MAX) {
        Ok(decoder) => read(Decoder::Page(decoder), pieces),
        Err(error) => format!("{error:?}"),
    }
}

fn fields(fields: &[(&'static str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.extend(HeaderValue::from_bytes(value).map(|value| {
            let name = http::HeaderName::from_static(name);
            (name, value)
        }));
    }
    headers
}

fn read(mut decoder: Decoder, pieces: &[&[u8]]) -> String {
    let mut signals = VecDeque::new();
    for piece in pieces {
        if let Err(error) = decoder.decode(piece, &mut signals) {
            return format!("{} {error:?}", told(&signals));
        }
    }
    format!("{} {:?}", told(&signals), decoder.finish())
}

/// The signals, without those that only say that bytes came.
fn told(signals: &VecDeque<crate::signal::Signal>) -> String {
    let news = signals
        .iter()
        .filter(|signal| **signal != crate::signal::Signal::Alive);
    format!("{:?}", news.collect::<Vec<_>>())
}
