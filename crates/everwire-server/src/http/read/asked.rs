//! Over which wire a read is asked for.

use http::{HeaderMap, header, request::Parts};

use super::wants_websocket;
use crate::http::{
    fields,
    query::{Live, Query},
};

/// How a read is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Asked {
    WebSocket,
    EventStream,
    DurableEventStream,
    Ndjson,
    LongPoll,
    CatchUp,
}

/// The first of these that applies counts.
pub(in crate::http) fn asked(parts: &Parts, query: &Query) -> Asked {
    if wants_websocket(parts) {
        return Asked::WebSocket;
    }
    match query.live {
        Some(Live::EventStream) => return Asked::DurableEventStream,
        Some(Live::Ndjson) => return Asked::Ndjson,
        Some(Live::LongPoll) => return Asked::LongPoll,
        None => {}
    }
    if fields::prefer_wait_ms(&parts.headers).is_some() {
        return Asked::LongPoll;
    }
    match parts
        .headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
    {
        Some(accept) if accepts(accept, "text/event-stream") => Asked::EventStream,
        Some(accept) if accepts(accept, "application/x-ndjson") => Asked::Ndjson,
        Some(_) | None => Asked::CatchUp,
    }
}

/// Whether JSON is asked for by name.
pub(in crate::http) fn names_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT);
    accept
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accepts(accept, "application/json"))
}

/// Whether a media type is named in `Accept`, by itself and not by a wildcard.
fn accepts(accept: &str, media_type: &str) -> bool {
    accept.split(',').any(|range| {
        range
            .split(';')
            .next()
            .unwrap_or("")
            .trim()
            .eq_ignore_ascii_case(media_type)
    })
}
