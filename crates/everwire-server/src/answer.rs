//! Answers: what responses look like, whoever gives them, a request's handler or a shard.

mod cross_origin;
mod date;
mod describe;
mod head;
mod page;
mod request_id;

use std::sync::LazyLock;

use bytes::Bytes;
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

pub(crate) use self::{
    cross_origin::{Allowed, allow_in, copy_allowed},
    date::stamp,
    describe::{describe, offset_value},
    head::{Encoded, encode_answer, encode_response, encode_stream_head},
    page::{AnswerTerms, PollShape, content, entity_tag, kind_of, live_answer},
    request_id::{EVERWIRE_REQUEST_ID, RequestId, name_refusal},
};
use crate::census::Full;

/// An answer of JSON, which is of this moment.
pub(crate) fn json(content: Bytes) -> Response<Bytes> {
    let mut response = safe(Response::new(content));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    never_store(headers);
    response
}

/// The problem as its response (RFC 9457), with the fields that its status asks for.
pub(crate) fn problem_response(problem: &Problem) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(problem.to_json()));
    *response.status_mut() =
        StatusCode::from_u16(problem.kind.status()).expect("the table holds status codes");
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    never_store(headers);
    for (name, value) in &problem.members {
        // What a program reads from the body, an old client reads from the fields.
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let field: &[HeaderName] = match (problem.kind, *name) {
            (ProblemKind::Closed | ProblemKind::PreconditionFailed, "offset") => {
                &[STREAM_NEXT_OFFSET]
            }
            (ProblemKind::PreconditionFailed, "etag") => &[header::ETAG],
            (ProblemKind::StaleEpoch, "current") => &[PRODUCER_EPOCH],
            (ProblemKind::ProducerGap, "expected") => &[PRODUCER_EXPECTED_SEQ],
            (ProblemKind::ProducerGap, "received") => &[PRODUCER_RECEIVED_SEQ],
            (_, "retry_after") => &[header::RETRY_AFTER],
            (_, "allow") => &[header::ALLOW],
            // RFC 9110, section 12.5.3.
            (ProblemKind::UnsupportedEncoding, "accept_encoding") => &[header::ACCEPT_ENCODING],
            _ => &[],
        };
        if let ([field], Ok(value)) = (field, HeaderValue::try_from(text)) {
            headers.insert(field.clone(), value);
        }
    }
    match problem.kind {
        ProblemKind::Closed => {
            headers.insert(STREAM_CLOSED, TRUE);
        }
        ProblemKind::Unauthorized => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        ProblemKind::BadCredential | ProblemKind::ExpiredCredential => {
            let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        ProblemKind::UpgradeRequired => {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(
                header::SEC_WEBSOCKET_VERSION,
                HeaderValue::from_static("13"),
            );
        }
        ProblemKind::Overloaded
        | ProblemKind::Unavailable
        | ProblemKind::DecisionUnavailable
        | ProblemKind::Stopping
        | ProblemKind::TooMany => {
            headers
                .entry(header::RETRY_AFTER)
                .or_insert(HeaderValue::from_static("1"));
        }
        _ => {}
    }
    safe(response)
}

/// A response that says nothing but that it was done.
pub(crate) fn no_content() -> Response<Bytes> {
    let mut response = safe(Response::new(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    never_store(response.headers_mut());
    response
}

/// The response to an append that was accepted, whose next offset is this.
pub(crate) fn appended(next: HeaderValue) -> Response<Bytes> {
    // Copying fields costs a fifth of putting them together, and there is nothing that is answered more often.
    static FIELDS: LazyLock<HeaderMap> = LazyLock::new(|| {
        let mut headers = std::mem::take(no_content().headers_mut());
        headers.insert(STREAM_NEXT_OFFSET, HeaderValue::from_static(""));
        headers.insert(EVERWIRE_ACK, HeaderValue::from_static("memory"));
        headers
    });
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let mut headers = FIELDS.clone();
    headers.insert(STREAM_NEXT_OFFSET, next); // takes an empty one's place, so that nothing grows
    *response.headers_mut() = headers;
    response
}

/// The address does not take this method.
pub(crate) fn method_not_allowed(method: &Method, allow: &'static str) -> Problem {
    Problem::new(
        ProblemKind::MethodNotAllowed,
        format!("{method} is not taken here; use one of {allow}"),
    )
    .with("allow", allow)
}

/// What is told when there is no room for one more line.
pub(crate) fn too_many_lines(full: Full) -> Problem {
    match full {
        Full::Server => Problem::new(
            ProblemKind::Overloaded,
            "this server has as many lines as it takes (limits.lines_max); try another one, or later",
        )
        .at_limit("lines_max"),
        Full::Address => Problem::new(
            ProblemKind::TooMany,
            "this address has as many lines as it may (limits.lines_per_address_max); close one first",
        )
        .at_limit("lines_per_address_max"),
        Full::Share => Problem::new(
            ProblemKind::TooMany,
            "this address has its share of the lines that this server takes (limits.share_percent_max), and the rest is for \
             others; close one first",
        )
        .at_limit("lines_share"),
        Full::SharedPolls => Problem::new(
            ProblemKind::TooMany,
            "this address has its share of the long polls that wait here (limits.share_percent_max), and the rest is for \
             others; use a WebSocket or a stream",
        )
        .at_limit("polls_share"),
        Full::Polls => Problem::new(
            ProblemKind::Overloaded,
            "as many long polls wait here as may (limits.polls_max); use a WebSocket or a stream, or try later",
        )
        .at_limit("polls_max"),
    }
}

/// Adds what keeps browsers from taking a response for something else than it is, and pages of other sites from
/// embedding it.
pub(crate) fn safe<T>(mut response: Response<T>) -> Response<T> {
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// A response that no cache keeps.
pub(crate) fn never_store(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// Makes the answer to a GET the answer to a HEAD: the same fields, no content (RFC 9110, section 9.3.2).
pub(crate) fn remove_content(response: &mut Response<Bytes>) {
    let length = HeaderValue::from(response.body().len());
    if response.status() != StatusCode::NO_CONTENT && !response.body().is_empty() {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length);
    }
    *response.body_mut() = Bytes::new();
}

/// The value of a field that is there or not.
pub(crate) const TRUE: HeaderValue = HeaderValue::from_static("true");

pub(crate) const RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");
pub(crate) const STREAM_NEXT_OFFSET: HeaderName = HeaderName::from_static("stream-next-offset");
pub(crate) const STREAM_UP_TO_DATE: HeaderName = HeaderName::from_static("stream-up-to-date");
pub(crate) const STREAM_CLOSED: HeaderName = HeaderName::from_static("stream-closed");
pub(crate) const STREAM_CURSOR: HeaderName = HeaderName::from_static("stream-cursor");
pub(crate) const STREAM_TTL: HeaderName = HeaderName::from_static("stream-ttl");
pub(crate) const STREAM_EXPIRES_AT: HeaderName = HeaderName::from_static("stream-expires-at");
/// What asks for a fork, in Durable Streams.
pub(crate) const FORK_FIELDS: [HeaderName; 3] = [
    HeaderName::from_static("stream-forked-from"),
    HeaderName::from_static("stream-fork-offset"),
    HeaderName::from_static("stream-fork-sub-offset"),
];
pub(crate) const STREAM_SSE_DATA_ENCODING: HeaderName =
    HeaderName::from_static("stream-sse-data-encoding");
pub(crate) const PRODUCER_EPOCH: HeaderName = HeaderName::from_static("producer-epoch");
pub(crate) const PRODUCER_SEQ: HeaderName = HeaderName::from_static("producer-seq");
pub(crate) const PRODUCER_EXPECTED_SEQ: HeaderName =
    HeaderName::from_static("producer-expected-seq");
pub(crate) const PRODUCER_RECEIVED_SEQ: HeaderName =
    HeaderName::from_static("producer-received-seq");
pub(crate) const EVERWIRE_TYPE: HeaderName = HeaderName::from_static("everwire-type");
pub(crate) const EVERWIRE_ACK: HeaderName = HeaderName::from_static("everwire-ack");
/// The type of a page whose entries are of several kinds: lines as the ndjson wire has them. It is the server's own, so
/// that no publisher's lines are taken for the server's.
pub(crate) const MIXED: &str = "application/vnd.everwire.entries";
