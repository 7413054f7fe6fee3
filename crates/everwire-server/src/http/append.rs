//! `POST` on a channel: append, close, or both.

use std::sync::Arc;

use bytes::Bytes;
use everwire_channel::{Append, Appended, ChannelName, ContentKind, Draft, Guard, split};
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;

use super::{
    Asker, Context, Leave, answer,
    body::{Allowance, collect},
    condition::Conditions,
    fields::{self, AppendFields, Said},
    target::Dialect,
};
use crate::{
    answer::offset_value,
    budget::Content,
    hub::{Channel, NoChannel, Occasion, no_channel},
    payload_type::PayloadType,
    publish::{Publisher, content_problem},
};

impl Context {
    pub(super) async fn append(
        &self,
        parts: &Parts,
        content: Incoming,
        (asker, leave): (&Asker<'_>, Leave),
        dialect: Dialect,
        name: &ChannelName,
    ) -> Result<Response<Bytes>, Problem> {
        let publisher = self.publisher(asker.account);
        let admitted = publisher.admit(name)?;
        let AppendFields {
            content_type: said,
            closes: close,
            producer,
            idempotency_key,
            stream_seq,
            event,
            publisher: publisher_id,
            is_conditional,
        } = AppendFields::of(&parts.headers)?;
        if parts.headers.contains_key(header::EXPECT) {
            // Who asks first is told before it sends anything. For others the type is judged once, beside the channel's.
            fields::content_type(said, dialect)?;
        }
        let Content {
            bytes: body,
            share: _held,
        } = self.published(parts, content, (asker, leave)).await?;
        let conditions = match is_conditional {
            true => Some(Conditions::of(&parts.headers)?),
            false => None,
        };
        let mut channel = self.shared.hub.find(name, publisher.now_ms);
        if dialect == Dialect::DurableStreams && channel.is_none() {
            return Err(no_channel(name, NoChannel::Missing));
        }
        let (payload_type, payloads) = if body.is_empty() && close {
            // Whatever type a client attaches to nothing, closing is meant.
            (None, Vec::new())
        } else {
            let known = PayloadType::stated_for(channel.as_ref());
            let payload_type = payload_type(said, dialect, known, &body)?;
            let kind = payload_type.kind();
            let entries_max = self.shared.live.config.limits.entries_per_append_max;
            // A message may be empty, as on a WebSocket; but a request without a type and without content says nothing.
            // Nor is it one in no chunk: beside a length, other readers of the connection could see content there.
            let is_empty_message = body.is_empty()
                && said.is_some()
                && !parts.headers.contains_key(header::TRANSFER_ENCODING)
                && dialect == Dialect::Everwire
                && kind != ContentKind::Json;
            let payloads = match is_empty_message {
                true => vec![Bytes::new()],
                false => {
                    split(kind, own(body), entries_max).map_err(|error| content_problem(&error))?
                }
            };
            (Some(payload_type), payloads)
        };
        let mut entries = payloads
            .into_iter()
            .map(|payload| Draft {
                payload,
                kind: payload_type.as_ref().and_then(PayloadType::own_kind),
                event: event.clone(),
                publisher: publisher_id.clone(),
            })
            .collect::<Vec<_>>();
        let proposed = (payload_type.as_ref(), close);
        self.judge((asker, leave), name, proposed, &mut entries)
            .await?;
        // It may have been decided for a while.
        let publisher = self.publisher(asker.account);
        let guard = match &conditions {
            Some(conditions) => Some(self.guard(conditions, name, &mut channel, &publisher)?),
            None => None,
        };
        let by_producer = producer.is_some() && !entries.is_empty();
        let append = Append {
            entries,
            content_type: payload_type.as_ref().and_then(PayloadType::stated),
            close,
            producer,
            idempotency_key,
            stream_seq,
            guard: guard.as_ref(),
        };
        let appended = publisher.append(name, &mut channel, append, admitted)?;
        Ok(append_response(&appended, by_producer))
    }
}

impl Context {
    /// The content of a request that publishes to one channel. What the application is asked about may be held for longer
    /// than it takes to come.
    pub(super) async fn published(
        &self,
        parts: &Parts,
        content: Incoming,
        (asker, leave): (&Asker<'_>, Leave),
    ) -> Result<Content, Problem> {
        let allowance =
            Allowance::to_publish(&self.shared, asker.account).waiting(leave == Leave::Asked);
        collect(content, parts, &self.shared, allowance).await
    }

    /// What has to hold of the tail, by the request's preconditions; of a channel that may not be there yet, which is
    /// made then, that it is still as it was made.
    fn guard(
        &self,
        conditions: &Conditions,
        name: &ChannelName,
        channel: &mut Option<Arc<Channel>>,
        publisher: &Publisher<'_>,
    ) -> Result<Guard, Problem> {
        if channel.is_none() {
            conditions.check_missing()?;
        }
        if !conditions.needs_none() {
            return Ok(conditions.guard());
        }
        let rules = &self.shared.live.rules;
        let (found, is_new) = (self.shared.hub)
            .open_or_make(
                rules,
                name,
                (Occasion::Append, Some(publisher.account)),
                publisher.now_ms,
            )
            .map_err(|none| no_channel(name, none))?;
        let tail = found.lock().core().tail();
        if !is_new {
            conditions.check(tail)?;
        }
        *channel = Some(found);
        Ok(Guard::is(tail))
    }
}

/// The type of an append's content: the one that is stated, else the channel's, else what the content looks like.
fn payload_type(
    said: Option<&str>,
    dialect: Dialect,
    known: Option<PayloadType>,
    body: &Bytes,
) -> Result<PayloadType, Problem> {
    // Who says what the channel is called by need not have it parsed again and again.
    if let Some(PayloadType::Stated(known)) = &known
        && said == Some(known.as_str())
    {
        return Ok(PayloadType::Stated(known.clone()));
    }
    match (fields::content_type(said, dialect)?, dialect) {
        (Said::Type(content_type), _) => Ok(PayloadType::Stated(content_type)),
        (Said::Nothing, Dialect::DurableStreams) => Err(Problem::new(
            ProblemKind::BadRequest,
            "the content has no type; send Content-Type with the stream's type",
        )),
        (Said::Nothing, Dialect::Everwire) => {
            Ok(known.unwrap_or_else(|| PayloadType::Guessed(ContentKind::guess(body))))
        }
    }
}

/// The answer to an append that was accepted.
fn append_response(appended: &Appended, by_producer: bool) -> Response<Bytes> {
    let mut response = answer::appended(offset_value(&appended.next()));
    // Durable Streams tells a new append of a producer from a repeated one by the status.
    if by_producer && appended.is_new() {
        *response.status_mut() = StatusCode::OK;
    }
    let headers = response.headers_mut();
    if appended.is_closed() {
        headers.insert(answer::STREAM_CLOSED, answer::TRUE);
    }
    if let Some(producer) = appended.producer() {
        headers.insert(answer::PRODUCER_EPOCH, HeaderValue::from(producer.epoch));
        headers.insert(answer::PRODUCER_SEQ, HeaderValue::from(producer.seq));
    }
    response
}

/// A body that keeps no more memory alive than its own: a small one is a slice of the connection's read buffer.
pub(super) fn own(body: Bytes) -> Bytes {
    const COPIED_BYTES_MAX: usize = 64 * 1024;
    if body.len() <= COPIED_BYTES_MAX {
        Bytes::copy_from_slice(&body)
    } else {
        body
    }
}
