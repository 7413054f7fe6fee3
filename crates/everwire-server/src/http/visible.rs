//! Refusals that a page can see, for who asks by `?refusals=visible`.
//!
//! A browser tells its page nothing of a refused handshake, and an `EventSource` gives up for good on any status but 200.
//! So a WebSocket is accepted and closed with the code that tells why, and an event stream that is refused for a while
//! is one that says when to come back, and ends. What will not change by itself keeps its status there: an `EventSource`
//! that gives up is right.
//!
//! ```text
//!  WebSocket      refused      ─▶  101, Close 4401 · 4403 · 4404 · 4429 …
//!  event stream   429, 503     ─▶  200, retry: <ms>, event: refused, the end
//!                 any other    ─▶  the status
//!  anything else               ─▶  the status
//! ```

use bytes::{Bytes, BytesMut};
use everwire_websocket::{CloseCode, encode_close};
use everwire_wire::{Problem, ProblemKind, SUBPROTOCOL, codes};
use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use super::{
    Context, Reply, answer, list,
    read::{self, stream_fields},
};
use crate::{
    auth::Caller,
    proxy::Client,
    shard::{LineRequest, Wire},
};

/// Noted on a line's response whose client wants to see refusals.
#[derive(Clone, Copy, Debug)]
struct Wanted;

/// Whether a request asks for refusals that a page can see.
fn is_wanted(parts: &Parts) -> bool {
    let mut pairs = parts.uri.query().unwrap_or("").split('&');
    pairs.any(|pair| pair == "refusals=visible")
}

/// Notes on a line that its client wants to see refusals, should there be no place for it.
pub(super) fn note(parts: &Parts, line: &mut Response<()>) {
    if is_wanted(parts) {
        line.extensions_mut().insert(Wanted);
    }
}

impl Context {
    /// The refusal of a request as a page can see it, if that was asked for and there is a way.
    pub(super) fn visible_refusal(
        &self,
        parts: &Parts,
        client: &Client,
        problem: &Problem,
    ) -> Option<Reply> {
        if !is_wanted(parts) {
            return None;
        }
        if read::wants_websocket(parts) {
            let accepted = read::accept(parts, &[SUBPROTOCOL]).ok()?;
            let (code, goodbye) = close(problem);
            self.shared.metrics.line_failed(code);
            return Some(Reply::Line(Box::new(LineRequest {
                response: read::switching(&accepted),
                // It takes the place of a line, for as long as it takes to close, and is counted as one.
                account: (self.shared.rate).account(&Caller::Anybody, client.address),
                opening: goodbye,
                wire: Wire::Ended,
            })));
        }
        let accepts_stream = list::elements(&parts.headers, &header::ACCEPT)
            .any(|element| list::weighted(element).0 == "text/event-stream");
        (accepts_stream && is_for_a_while(problem)).then(|| Reply::Response(comes_back(problem)))
    }

    /// What is sent to who asked for a line that there is no place for, as HTTP/1.1 has it.
    pub(super) fn encode_line_refusal(
        problem: &Problem,
        line: &Response<()>,
        response: Response<Bytes>,
    ) -> Bytes {
        let is_wanted = line.extensions().get::<Wanted>().is_some();
        match line.status() {
            StatusCode::SWITCHING_PROTOCOLS if is_wanted => {
                let mut switching = Response::new(());
                *switching.status_mut() = line.status();
                switching.headers_mut().clone_from(line.headers());
                let head = answer::encode_stream_head(switching, None);
                [&head[..], &close(problem).1].concat().into()
            }
            _ => answer::encode_response(response, false),
        }
    }
}

/// The answer to who asked for a line that there is no place for, where it is told by a response.
pub(super) fn line_refusal(problem: &Problem, line: &Response<()>) -> Option<Response<Bytes>> {
    let is_wanted = line.extensions().get::<Wanted>().is_some();
    let kind = line.headers().get(header::CONTENT_TYPE);
    let is_stream = kind.is_some_and(|kind| kind == "text/event-stream");
    (is_wanted && is_stream && is_for_a_while(problem)).then(|| comes_back(problem))
}

fn is_for_a_while(problem: &Problem) -> bool {
    matches!(problem.kind.status(), 429 | 503)
}

/// The Close frame that tells why.
fn close(problem: &Problem) -> (CloseCode, Bytes) {
    let code = match problem.kind {
        ProblemKind::NotFound => codes::NOT_FOUND,
        kind => kind.close_code(),
    };
    let mut goodbye = BytesMut::new();
    encode_close(Some((code, &problem.detail)), &mut goodbye);
    (code, goodbye.freeze())
}

/// A stream that says when to come back, why, and ends. The time has some chance in it, so that those who were refused
/// together do not come together.
fn comes_back(problem: &Problem) -> Response<Bytes> {
    let told = problem
        .members
        .iter()
        .find(|(name, _)| *name == "retry_after");
    let after_s = told
        .and_then(|(_, value)| value.as_u64())
        .unwrap_or(1)
        .max(1);
    let after_ms = after_s.saturating_mul(1000).min(3_600_000);
    let retry_ms = after_ms + fastrand::u64(0..=after_ms.min(10_000));
    let said = format!(
        "retry: {retry_ms}\nevent: refused\ndata: {}\n\n",
        problem.to_json()
    );
    let mut response = answer::safe(Response::new(Bytes::from(said)));
    let headers = response.headers_mut();
    stream_fields(Some("text/event-stream"), headers);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(after_s));
    response
}
