//! `PUT` on a channel: create it, or confirm that it is there as asked for.

use bytes::Bytes;
use everwire_channel::{
    Append, ChannelName, Confirmed, ContentError, ContentKind, ContentType, Draft, split,
};
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;

use super::{
    Asker, Context, Leave, answer,
    append::own,
    condition::Conditions,
    fields::{self, Said},
    target::Dialect,
};
use crate::{
    answer::describe,
    budget::Content,
    hub::{State, no_channel},
    payload_type::PayloadType,
    proxy::Client,
    publish::{content_problem, no_tail, tail_tag},
};

impl Context {
    pub(super) async fn create(
        &self,
        parts: &Parts,
        content: Incoming,
        (asker, leave): (&Asker<'_>, Leave),
        dialect: Dialect,
        name: &ChannelName,
    ) -> Result<Response<Bytes>, Problem> {
        let paid = self.publisher(asker.account).pay()?;
        let headers = &parts.headers;
        if answer::FORK_FIELDS
            .iter()
            .any(|field| headers.contains_key(field))
        {
            return Err(Problem::new(
                ProblemKind::BadRequest,
                "forks are not supported by this version",
            ));
        }
        let conditions = Conditions::of(headers)?;
        let closed = fields::closes(headers);
        let expiry = fields::expiry(headers)?;
        let said = fields::content_type(fields::one(headers, &header::CONTENT_TYPE)?, dialect)?;
        let Content {
            bytes: body,
            share: _held,
        } = self.published(parts, content, (asker, leave)).await?;
        let payload_type = match (said, dialect) {
            (Said::Type(content_type), _) => PayloadType::Stated(content_type),
            (Said::Nothing, Dialect::Everwire) => PayloadType::Guessed(ContentKind::guess(&body)),
            (Said::Nothing, Dialect::DurableStreams) => {
                PayloadType::Stated(ContentType::octet_stream())
            }
        };
        let payloads = match split(
            payload_type.kind(),
            own(body),
            self.shared.live.config.limits.entries_per_append_max,
        ) {
            Ok(payloads) => payloads,
            // Nothing, and an empty batch, is a channel without content.
            Err(ContentError::Empty | ContentError::EmptyBatch) => Vec::new(),
            Err(error) => return Err(content_problem(&error)),
        };
        let mut entries: Vec<Draft> = (payloads.into_iter())
            .map(|payload| Draft {
                kind: payload_type.own_kind(),
                ..Draft::from(payload)
            })
            .collect();
        let mut admitted = match entries.is_empty() {
            true => paid.without_content(),
            false => paid.to(&self.publisher(asker.account), name)?,
        };
        let proposed = (Some(&payload_type), closed);
        self.judge((asker, leave), name, proposed, &mut entries)
            .await?;
        let publisher = self.publisher(asker.account);
        if !entries.is_empty() {
            // Before a channel is made for what it cannot take.
            publisher.check_room(&entries)?;
        }
        let now_ms = publisher.now_ms;
        let hub = &self.shared.hub;
        let (channel, fresh) = match conditions.needs_channel() {
            true => (hub.find(name, now_ms).ok_or_else(no_tail)?, false),
            false => {
                let (rules, kind) = (&self.shared.live.rules, payload_type.stated().cloned());
                hub.create(rules, name, kind, expiry, (Some(asker.account), now_ms))
                    .map_err(|none| no_channel(name, none))?
            }
        };
        let created = if fresh {
            true
        } else {
            let mut state = channel.lock();
            conditions.check(state.core().tail())?;
            match state.confirm(payload_type.stated(), expiry, closed, now_ms) {
                Ok(Confirmed::Adopted) => true,
                Ok(Confirmed::Same) => false,
                Err(mismatch) => {
                    return Err(Problem::new(ProblemKind::Conflict, mismatch.to_string()));
                }
            }
        };
        let guard = conditions.guard();
        if created && (!entries.is_empty() || closed) {
            let append = Append {
                entries,
                content_type: payload_type.stated(),
                close: closed,
                guard: (!fresh).then_some(&guard),
                ..Append::default()
            };
            // One that was deleted meanwhile was made all the same.
            if let Ok(appended) = publisher.append_to(&channel, append, &mut admitted) {
                appended?;
            }
        }
        let mut response = answer::no_content();
        *response.status_mut() = if created {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        {
            let state = channel.lock();
            describe(&state, response.headers_mut());
            response.headers_mut().insert(header::ETAG, tag_of(&state));
        }
        if created {
            let location = HeaderValue::from_str(&location(
                parts,
                asker.client,
                &self.shared.live.config.http.prefix,
            ))
            .expect("a request target is visible ASCII");
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    }
}

/// The channel's entity tag.
pub(super) fn tag_of(state: &State) -> HeaderValue {
    HeaderValue::try_from(tail_tag(state.core().tail())).expect("offsets are letters and digits")
}

/// The address of what was created: the request's own, absolute where the client named the host.
fn location(parts: &Parts, client: &Client, prefix: &str) -> String {
    let path = format!("{prefix}{}", parts.uri.path());
    let (said_host, scheme) = match &client.said {
        Some(said) => (said.host.as_deref(), said.scheme),
        None => (None, None),
    };
    let scheme = scheme.unwrap_or(client.scheme.as_str());
    let host = || (parts.headers.get(header::HOST)).and_then(|host| host.to_str().ok());
    let authority = || parts.uri.authority().map(http::uri::Authority::as_str);
    match said_host.or_else(host).or_else(authority) {
        Some(host) => format!("{scheme}://{host}{path}"),
        None => path,
    }
}
