//! Entries as one response: a page of history, and the answer to a long poll.

use std::{iter, sync::Arc};

use bytes::Bytes;
use everwire_channel::{ContentKind, ContentType, Offset, PublisherId, Read, Whole};
use everwire_wire::{PageForm, Problem, ProblemKind, StreamCursor, page_if};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::{
    Allowed, STREAM_CLOSED, STREAM_CURSOR, STREAM_NEXT_OFFSET, STREAM_UP_TO_DATE, TRUE, allow_in,
    describe, never_store, offset_value, problem_response, safe,
};
use crate::{
    budget::{Bounds, Budget, Exhausted, Share},
    cost::{Cost, Till},
    hub::State,
    metrics::Metrics,
    rate::Account,
};

/// Whoever publishes chooses the type, a page even. Opened in a browser it runs nothing, and is of no site.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");

/// What decides how an answer looks: polls of the same shape share its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PollShape {
    /// Entries are wanted from the one after this.
    pub sequence: u64,
    /// The cursor that the reader came with.
    pub cursor: Option<u64>,
    /// Who reads, as a publisher, whose entries are left out.
    pub publisher: Option<PublisherId>,
    /// The origin to allow in the answer.
    pub allow_origin: Option<Allowed>,
}

/// What an answer of entries may take.
pub(crate) struct AnswerTerms<'s> {
    pub till: Till<'s>,
    pub budget: &'s Arc<Budget>,
    pub bounds: Bounds,
    pub metrics: &'s Metrics,
    /// For whom it is held until it is taken.
    pub account: Account,
    pub page_bytes_max: usize,
}

impl AnswerTerms<'_> {
    /// Charges a page and holds it, before it is made.
    fn hold(&self, bytes: usize) -> Result<Share, Problem> {
        self.till.charge_bytes(self.account, Cost::Page, bytes)?;
        (self.budget)
            .take_answer(self.account, bytes, self.bounds)
            .map_err(Exhausted::problem)
    }
}

impl PollShape {
    /// Whether there is something to tell, be it that something is gone.
    pub fn has_entries(&self, state: &State) -> bool {
        match state.core().log().after(self.sequence) {
            Read::CaughtUp => false,
            Read::Gap(_) => true,
            Read::Entries(mut entries) => match &self.publisher {
                None => true,
                own => entries.any(|(_, entry)| entry.publisher() != own.as_ref()),
            },
        }
    }
}

/// The answer to a live reader that is not left waiting: what there is, or that there is nothing yet.
pub(crate) fn live_answer(
    shape: &PollShape,
    state: &State,
    terms: &AnswerTerms<'_>,
    now_ms: u64,
) -> Response<Bytes> {
    if state.is_removed() {
        let mut response = problem_response(&Problem::new(
            ProblemKind::NotFound,
            "the channel was deleted",
        ));
        allow_in(shape.allow_origin.as_ref(), response.headers_mut());
        return response;
    }
    let log = state.core().log();
    let own = shape.publisher.as_ref();
    let content = match log.after(shape.sequence) {
        Read::Gap(gap) => Err(Problem::from(gap)),
        Read::CaughtUp | Read::Entries(_) => content(state, shape.sequence, own, terms)
            .inspect_err(|problem| terms.metrics.refused(problem)),
    };
    let mut response = match content {
        Err(problem) => problem_response(&problem),
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
    headers.insert(STREAM_CURSOR, HeaderValue::from(cursor.0));
    never_store(headers);
    allow_in(shape.allow_origin.as_ref(), headers);
    response
}

/// The entries after a place, as a response without anything about caches.
/// What `own` published is left out.
///
/// # Errors
///
/// They are more than the caller may read now, or there is no room to hold them until they are taken.
pub(crate) fn content(
    state: &State,
    after: u64,
    own: Option<&PublisherId>,
    terms: &AnswerTerms<'_>,
) -> Result<Response<Bytes>, Problem> {
    let log = state.core().log();
    let form = form_of(state);
    let bytes_max = terms.page_bytes_max;
    let has_room = |bytes| terms.hold(bytes);
    let (page, share) = match log.after(after) {
        Read::Entries(entries) if bytes_max > 0 => {
            page_if(form, after, entries, own, bytes_max, has_room)?
        }
        _ => page_if(form, after, iter::empty(), own, bytes_max, has_room)?,
    };
    let mut response = safe(Response::new(share.with(page.body)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    describe(state, headers);
    headers.remove(STREAM_CLOSED);
    let next = log.offset_at(page.sequence).unwrap_or_else(|| log.head());
    headers.insert(STREAM_NEXT_OFFSET, offset_value(&next));
    if page.reached_head {
        headers.insert(STREAM_UP_TO_DATE, TRUE);
        if state.is_ended() {
            headers.insert(STREAM_CLOSED, TRUE);
        }
    }
    Ok(response)
}

/// The entity tag of a page: where it starts and ends, whether the channel was closed there, and whether its entries
/// are of several kinds, which changes the form of pages that were read before.
pub(crate) fn entity_tag(state: &State, after: u64, headers: &HeaderMap) -> HeaderValue {
    let log = state.core().log();
    let from: Offset = log.offset_at(after).unwrap_or_else(|| log.oldest());
    let to = headers
        .get(STREAM_NEXT_OFFSET)
        .and_then(|next| next.to_str().ok())
        .unwrap_or("");
    let closed = if headers.contains_key(STREAM_CLOSED) {
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
pub(crate) fn kind_of(state: &State) -> ContentKind {
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
