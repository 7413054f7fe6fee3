//! Answers in content codings: which of them are compressed, and how their fields tell it.

use bytes::Bytes;
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::{
    Context,
    coding::{Accepts, is_compressible, tag_in},
};
use crate::{
    budget::Share,
    press::{Coding, Encoder, Turn},
    rate::Account,
};

/// A response, and the coding that its content has still to be put into, if any.
pub(super) struct Uncoded {
    response: Response<Bytes>,
    order: Option<Order>,
}

/// A coding, and all that is needed to put a content into it.
pub(super) struct Order {
    coding: Coding,
    turn: Turn,
    /// For what comes of it.
    share: Share,
}

/// Content of fewer bytes is sent as it is: it goes out in one packet anyway, and would become hardly smaller.
const LEAST_BYTES: usize = 1024;

impl Context {
    /// In which codings a request's answer may come.
    pub(super) fn accepted(&self, headers: &HeaderMap) -> Accepts {
        match self.shared.live.config.http.compression {
            true => Accepts::of(headers),
            false => Accepts::default(),
        }
    }

    /// Gets ready to put a content of so many bytes into a coding. Nothing if it had better go as it is, since there is no
    /// room or no time; who does not take that waits.
    pub(super) fn order(
        &self,
        coding: Coding,
        bytes: usize,
        accepts: Accepts,
        account: Account,
    ) -> Result<Option<Order>, Problem> {
        let shared = &self.shared;
        let share = match shared.hold_answer(account, Encoder::bytes_max(bytes)) {
            Err(_) if accepts.takes_identity() => return Ok(None),
            share => share?,
        };
        let turn = match shared.press.turn(bytes) {
            Some(turn) => turn,
            None => {
                shared.metrics.limit_met("coders_max");
                match accepts.takes_identity() {
                    true => return Ok(None),
                    false => Turn::Waits(account),
                }
            }
        };
        Ok(Some(Order {
            coding,
            turn,
            share,
        }))
    }

    /// Compresses a response's content, if it was ordered.
    pub(super) async fn encode(&self, uncoded: Uncoded) -> Result<Response<Bytes>, Problem> {
        let Uncoded { response, order } = uncoded;
        let Some(Order {
            coding,
            turn,
            mut share,
        }) = order
        else {
            return Ok(response);
        };
        let (mut parts, content) = response.into_parts();
        let plain_bytes = content.len();
        let shared = &self.shared;
        let Some(coded) = shared.press.encode(coding, content, turn).await else {
            tracing::error!(coding = coding.name(), "a page could not be compressed");
            let detail =
                "the answer could not be compressed; ask again, without Accept-Encoding perhaps";
            return Err(Problem::new(ProblemKind::Internal, detail));
        };
        (shared.metrics).coded((coding.name(), "sent"), coded.len(), plain_bytes);
        share.shrink_to(coded.len());
        let name = HeaderValue::from_static(coding.name());
        parts.headers.insert(header::CONTENT_ENCODING, name);
        Ok(Response::from_parts(parts, share.with(coded.into())))
    }

    /// The same for an answer that no cache keeps: in the coding that is wanted, if that can be had.
    pub(super) async fn encode_passing(
        &self,
        headers: &HeaderMap,
        mut response: Response<Bytes>,
        account: Account,
    ) -> Result<Response<Bytes>, Problem> {
        if response.status() != StatusCode::OK {
            return Ok(response);
        }
        let accepts = self.accepted(headers);
        let order = match accepts.choose(is_worth_it(&response)) {
            Some(coding) => self.order(coding, response.body().len(), accepts, account)?,
            None => None,
        };
        if let (Some(order), Some(tag)) = (&order, response.headers().get(header::ETAG)) {
            let tag = tag_in(order.coding, tag);
            response.headers_mut().insert(header::ETAG, tag);
        }
        if self.shared.live.config.http.compression {
            let field = HeaderValue::from_static("accept-encoding");
            response.headers_mut().append(header::VARY, field);
        }
        self.encode(Uncoded { response, order }).await
    }
}

impl Uncoded {
    /// A response whose content is to be put into a coding, if one was ordered.
    pub fn new(response: Response<Bytes>, order: Option<Order>) -> Self {
        Self { response, order }
    }
}

/// Whether a response's content is large, and of a kind that becomes smaller.
pub(super) fn is_worth_it(response: &Response<Bytes>) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("");
    response.body().len() >= LEAST_BYTES && is_compressible(kind)
}
