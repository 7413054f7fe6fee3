//! Entries as one response: a page of history, and the answer to a long poll.

use std::iter;

use bytes::Bytes;
use everwire_channel::{ContentKind, ContentType, Gap, Offset, PublisherId, Read, Whole};
use everwire_wire::{PageForm, Problem, ProblemKind, StreamCursor, page_if};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::{
    cost::Cost,
    http::{answer, append::offset_value, create::describe, origin},
    hub::State,
    shard::{AnswerTerms, PollShape},
};

/// Whoever publishes chooses the type, a page even. Opened in a browser it runs nothing, and is of no site.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");

/// The answer to a live reader that is not left waiting: what there is, or that there is nothing yet.
pub(crate) fn live_answer(
    shape: &PollShape,
    state: &State,
    terms: &AnswerTerms<'_>,
    now_ms: u64,
) -> Response<Bytes> {
    if state.is_removed() {
        let mut response = answer::problem_response(&Problem::new(
            ProblemKind::NotFound,
            "the channel was deleted",
        ));
        origin::allow_in(shape.allow_origin.as_ref(), response.headers_mut());
        return response;
    }
    let log = state.core().log();
    let own = shape.publisher.as_ref();
    let content = match log.after(shape.sequence) {
        Read::Gap(gap) => Err(gap_problem(&gap)),
        Read::CaughtUp | Read::Entries(_) => content(state, shape.sequence, own, terms)
            .inspect_err(|problem| terms.shared.metrics.refused(problem)),
    };
    let mut response = match content {
        Err(problem) => answer::problem_response(&problem),
        Ok(mut response) if !shape.has_entries(state) => {
            *response.status_mut() = StatusCode::NO_CONTENT;
            *response.body_mut() = Bytes::new();
            response.headers_mut().remove(header::CONTENT_TYPE);
            response
        }
        Ok(mut response) => {
            let tag = entity_tag(state, shape.sequence, response.headers());
            response.headers_mut().insert(header::ETAG, tag);
            response
        }
    };
    let cursor = StreamCursor::answer(now_ms, shape.cursor, fastrand::u64(..));
    let headers = response.headers_mut();
    headers.insert(answer::STREAM_CURSOR, HeaderValue::from(cursor.0));
    answer::never_store(headers);
    origin::allow_in(shape.allow_origin.as_ref(), headers);
    response
}

/// The entries after a place, as a response without anything about caches.
/// What `own` published is left out.
///
/// # Errors
///
/// They are more than the caller may read now, or there is no room to hold them until they are taken.
pub(super) fn content(
    state: &State,
    after: u64,
    own: Option<&PublisherId>,
    terms: &AnswerTerms<'_>,
) -> Result<Response<Bytes>, Problem> {
    let log = state.core().log();
    let form = form_of(state);
    let bytes_max = terms.page_bytes_max;
    let has_room = |bytes| {
        let charged = terms
            .shared
            .till()
            .charge_bytes(terms.account, Cost::Page, bytes);
        charged.and_then(|()| terms.shared.hold_answer(terms.account, bytes))
    };
    let (page, share) = match log.after(after) {
        Read::Entries(entries) if bytes_max > 0 => {
            page_if(form, after, entries, own, bytes_max, has_room)?
        }
        _ => page_if(form, after, iter::empty(), own, bytes_max, has_room)?,
    };
    let mut response = answer::safe(Response::new(share.with(page.body)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    describe(state, headers);
    headers.remove(answer::STREAM_CLOSED);
    let next = log.offset_at(page.sequence).unwrap_or_else(|| log.head());
    headers.insert(answer::STREAM_NEXT_OFFSET, offset_value(&next));
    if page.reached_head {
        headers.insert(answer::STREAM_UP_TO_DATE, answer::TRUE);
        if state.is_ended() {
            headers.insert(answer::STREAM_CLOSED, answer::TRUE);
        }
    }
    Ok(response)
}

/// The entity tag of a page: where it starts and ends, whether the channel was closed there, and whether its entries
/// are of several kinds, which changes the form of pages that were read before.
pub(super) fn entity_tag(state: &State, after: u64, headers: &HeaderMap) -> HeaderValue {
    let log = state.core().log();
    let from: Offset = log.offset_at(after).unwrap_or_else(|| log.oldest());
    let to = headers
        .get(answer::STREAM_NEXT_OFFSET)
        .and_then(|next| next.to_str().ok())
        .unwrap_or("");
    let closed = if headers.contains_key(answer::STREAM_CLOSED) {
        ":c"
    } else {
        ""
    };
    let mixed = match state.core().whole() {
        Some(Whole::Mixed) => ";m",
        Some(Whole::Of(_)) | None => "",
    };
    HeaderValue::try_from(format!("\"{from}:{to}{closed}{mixed}\""))
        .expect("offsets are letters and digits")
}

/// The kind of entries that have none of their own.
pub(super) fn kind_of(state: &State) -> ContentKind {
    state
        .core()
        .content_type()
        .map_or(ContentKind::Binary, ContentType::kind)
}

/// The form of a page of this channel.
fn form_of(state: &State) -> PageForm {
    match state.core().whole() {
        None => PageForm::Concatenated,
        Some(Whole::Of(content_type)) => PageForm::of(content_type.kind()),
        Some(Whole::Mixed) => PageForm::Lines {
            epoch: state.core().log().head().epoch,
            kind: kind_of(state),
        },
    }
}

pub(crate) fn gap_problem(gap: &Gap) -> Problem {
    Problem::new(
        ProblemKind::Gap,
        "entries after this offset are gone, by retention or with an earlier life of the channel; \
         read on from `oldest`, or get the state that you build from elsewhere",
    )
    .with("oldest", gap.oldest.to_token().to_string())
    .with("newest", gap.newest.to_token().to_string())
}
