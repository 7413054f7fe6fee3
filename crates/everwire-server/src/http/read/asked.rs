//! Over which wire a read is asked for.

use http::{HeaderMap, header, request::Parts};

use super::wants_websocket;
use crate::{
    cost::{self, Cost},
    http::{
        fields,
        list::{elements, weighted},
        query::{Live, Query},
    },
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

cost::costs! {
    /// What reading over a wire costs.
    fn of_wire(Asked);
    /// Wires.
    const WIRES;
    Asked::CatchUp => "a page of history, who is there", Cost::Page;
    Asked::LongPoll => "`live=long-poll`, `Prefer: wait`", Cost::Page;
    Asked::EventStream => "`Accept: text/event-stream`", Cost::Line;
    Asked::DurableEventStream => "`live=sse`", Cost::Line;
    Asked::Ndjson => "`live=ndjson`, `Accept: application/x-ndjson`", Cost::Line;
    Asked::WebSocket => "a WebSocket", Cost::Line;
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
    let accepts = Accepts::of(&parts.headers);
    match (accepts.event_stream, accepts.ndjson) {
        (0, 0) => Asked::CatchUp,
        (stream, ndjson) if stream.max(ndjson) < accepts.others => Asked::CatchUp,
        (stream, ndjson) if stream >= ndjson => Asked::EventStream,
        _ => Asked::Ndjson,
    }
}

/// Whether JSON is asked for by name.
pub(in crate::http) fn names_json(headers: &HeaderMap) -> bool {
    Accepts::of(headers).json > 0
}

/// How much each answer is wanted, in thousandths; 0 is not at all. A stream is asked for by its name alone, which says
/// more of it than `*/*` does; of what is wanted as much as anything else, it comes first.
#[derive(Debug, Default, PartialEq, Eq)]
struct Accepts {
    event_stream: u16,
    ndjson: u16,
    json: u16,
    /// All that is no stream.
    others: u16,
}

impl Accepts {
    fn of(headers: &HeaderMap) -> Self {
        let mut accepts = Self::default();
        for element in elements(headers, &header::ACCEPT) {
            let (range, weight) = weighted(element);
            let is = |name: &str| range.eq_ignore_ascii_case(name);
            if is("text/event-stream") {
                accepts.event_stream = weight;
            } else if is("application/x-ndjson") {
                accepts.ndjson = weight;
            } else {
                if is("application/json") {
                    accepts.json = weight;
                }
                accepts.others = accepts.others.max(weight);
            }
        }
        accepts
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    /// RFC 9110, section 12.5.1. Lines of the field are divided by `|`.
    #[test]
    fn a_stream_is_asked_for_by_its_name_and_weight() {
        use Asked::{CatchUp, EventStream, Ndjson};
        for (accept, expected) in [
            ("", CatchUp),
            ("*/*", CatchUp),
            ("text/*", CatchUp),
            ("text/html,application/xhtml+xml,*/*;q=0.8", CatchUp),
            ("text/event-stream", EventStream),
            ("Text/Event-Stream; charset=utf-8", EventStream),
            ("text/event-stream, */*", EventStream),
            ("application/json, text/event-stream", EventStream),
            ("application/json|text/event-stream", EventStream),
            ("text/event-stream;q=0", CatchUp),
            ("text/event-stream;q=0.5, application/json", CatchUp),
            (
                "text/event-stream;q=0.9, application/json;q=0.5",
                EventStream,
            ),
            ("*/*, text/event-stream;q=0.1", CatchUp),
            ("text/event-stream, application/x-ndjson", EventStream),
            (
                "text/event-stream;q=0.5, application/x-ndjson;q=0.6",
                Ndjson,
            ),
            ("application/x-ndjson|*/*;q=0.1", Ndjson),
            ("application/json;x=\"text/event-stream,\"", CatchUp),
        ] {
            let mut request = Request::new(());
            for line in accept.split('|') {
                let line = HeaderValue::from_static(line);
                request.headers_mut().append(header::ACCEPT, line);
            }
            let (parts, ()) = request.into_parts();
            assert_eq!(asked(&parts, &Query::default()), expected, "{accept}");
        }
    }
}
