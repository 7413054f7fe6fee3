//! `GET` and `HEAD` on a channel: one URL, read over the wire that the request asks for.
//!
//! ```text
//!  Upgrade: websocket, extended CONNECT ─▶ WebSocket     ┐
//!  ?live=sse, Accept: text/event-stream ─▶ event stream  ├─ a line: stays open
//!  ?live=ndjson, Accept: …/x-ndjson     ─▶ ndjson        ┘
//!  ?live=long-poll, Prefer: wait=N      ─▶ long poll     an answer now, or a parked line
//!  otherwise                            ─▶ catch-up      a page of history
//! ```

mod asked;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use everwire_channel::{ChannelName, ContentKind, Gap, Start, Whole};
use everwire_websocket::{
    DeflatePolicy, Role, encode_close,
    handshake::{self, Accepted, Policy},
};
use everwire_wire::{
    Carrier, Framing, Notice, Problem, ProblemKind, SUBPROTOCOL, Source, Transfer, Welcome, codes,
    encode_welcome,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header, request::Parts};

use asked::of_wire;
pub(super) use asked::{Asked, WIRES, asked, names_json};

use super::{
    Asker, Context, Leave, Reply, answer,
    coded::{Uncoded, is_worth_it},
    coding::tag_in,
    condition::{Conditions, Has},
    create::tag_of,
    fields,
    query::Query,
    target::Dialect,
};
use crate::{
    answer::{AnswerTerms, PollShape, content, describe, entity_tag, kind_of, offset_value},
    clock,
    config::Action,
    cost::Cost,
    hub::{Channel, Occasion, State, no_channel},
    press::Coding,
    rate::Account,
    session_id::SessionId,
    shard::{
        AnswerTo, Entries, LineRequest, Own, PollOccasion, PollRequest, Publishing, SessionRequest,
        Wire, poll_answer,
    },
};

/// The same URL is also an event stream and ndjson; and whether a page may read it depends on where it is from.
const VARY: HeaderValue = HeaderValue::from_static("accept, origin");

/// What a request for a read came to, while its channel was looked at.
enum Looked {
    /// A page of history, which caches may keep.
    Page(Uncoded),
    /// Entries for who asked.
    Answer(Response<Bytes>),
    /// All else.
    Reply(Reply),
}

impl Context {
    pub(super) async fn read(
        &self,
        parts: &Parts,
        dialect: Dialect,
        name: &ChannelName,
        asker: &Asker<'_>,
    ) -> Result<Reply, Problem> {
        let mut query = Query::parse(parts.uri.query())?;
        let asked = asked(parts, &query);
        let occasion = match (asked, dialect) {
            (Asked::CatchUp, _) | (_, Dialect::DurableStreams) => Occasion::Read,
            _ => Occasion::LiveRead,
        };
        let publisher = self.publisher(asker.account);
        let channel = publisher.open_to_read(name, occasion)?;
        self.read_by(asked, parts, &mut query, &channel, asker)
            .await
    }

    /// Reads a channel over the wire that was asked for.
    pub(super) async fn read_by(
        &self,
        asked: Asked,
        parts: &Parts,
        query: &mut Query,
        channel: &Arc<Channel>,
        asker: &Asker<'_>,
    ) -> Result<Reply, Problem> {
        // No entries come while the channel is looked at, and nothing that takes long is done.
        let response = match self.look(asked, parts, query, channel, asker)? {
            Looked::Reply(reply) => return Ok(reply),
            Looked::Page(page) => Box::pin(self.encode(page)).await?,
            Looked::Answer(answer) => {
                Box::pin(self.encode_passing(&parts.headers, answer, asker.account)).await?
            }
        };
        Ok(Reply::Response(response))
    }

    fn look(
        &self,
        asked: Asked,
        parts: &Parts,
        query: &mut Query,
        channel: &Arc<Channel>,
        asker: &Asker<'_>,
    ) -> Result<Looked, Problem> {
        // What a page costs is charged when it is known how large it is.
        if of_wire(asked) == Cost::Line {
            self.shared.till().charge_line(asker.client.address)?;
        }
        if asked != Asked::CatchUp {
            if self.stopping.is_stopping() {
                return Err(stopping());
            }
            // A page of history is the same for all who ask by its address, so that caches can have it.
            query.resume(&parts.headers)?;
        }
        let now_ms = clock::unix_ms();
        let mut state = channel.lock();
        if asked != Asked::CatchUp {
            // What a line will say has no tag to compare; but that it is to follow this tail can be asked for.
            Conditions::of(&parts.headers)?.judge_read("", state.core().tail())?;
        }
        state.touch(now_ms);
        match asked {
            Asked::CatchUp => self
                .catch_up(parts, channel.name(), query, asker.account, &state)
                .map(Looked::Page),
            Asked::LongPoll => self.long_poll(parts, channel, query, asker, &state, now_ms),
            Asked::WebSocket => self
                .websocket(parts, channel, query, asker, &state)
                .map(Looked::Reply),
            Asked::EventStream | Asked::DurableEventStream | Asked::Ndjson => self
                .stream(parts, asked, channel, query, asker, &state)
                .map(Looked::Reply),
        }
    }

    /// What a channel is, for a `HEAD`.
    pub(super) fn describe(
        &self,
        parts: &Parts,
        name: &ChannelName,
    ) -> Result<Response<Bytes>, Problem> {
        Query::parse(parts.uri.query())?;
        let none = crate::hub::NoChannel::Missing;
        let channel = self
            .shared
            .hub
            .find(name, clock::unix_ms())
            .ok_or_else(|| no_channel(name, none))?;
        let mut response = answer::no_content();
        let state = channel.lock();
        let (tail, tag) = (state.core().tail(), tag_of(&state));
        let conditions = Conditions::of(&parts.headers)?;
        let has = conditions.judge_read(tag.to_str().unwrap_or(""), tail)?;
        *response.status_mut() = match has {
            Has::This => StatusCode::NOT_MODIFIED,
            Has::Another => StatusCode::OK,
        };
        describe(&state, response.headers_mut());
        response.headers_mut().insert(header::ETAG, tag);
        Ok(response)
    }

    fn catch_up(
        &self,
        parts: &Parts,
        name: &ChannelName,
        query: &Query,
        account: Account,
        state: &State,
    ) -> Result<Uncoded, Problem> {
        let conditions = Conditions::of(&parts.headers)?;
        let terms = self.shared.answer_terms(account);
        let start = query.start.unwrap_or(Start::Beginning);
        let after = locate(state, &start)?;
        if start == Start::Now {
            let nothing = AnswerTerms {
                page_bytes_max: 0,
                ..terms
            };
            let mut response = content(state, after, None, &nothing)?;
            answer::never_store(response.headers_mut());
            return Ok(Uncoded::new(response, None));
        }
        let mut response = content(state, after, None, &terms)?;
        let reached_head = response.headers().contains_key(answer::STREAM_UP_TO_DATE);
        let headers = response.headers_mut();
        let tag = entity_tag(state, after, headers);
        // What is counted from the tail is another page after the next entry.
        let moves = reached_head || matches!(start, Start::Last(_));
        let rules = &self.shared.live.rules;
        let is_public = rules.permits_anybody(Action::Read, name);
        // What the application decides, it decides each time.
        let is_decided = rules.is_decided(Action::Read, name);
        let cache = match (moves || is_decided, is_public) {
            // At the tail there may be more in a moment: a cache has to ask, and is told 304 if not.
            (true, true) => "no-cache",
            (true, false) => "private, no-cache",
            (false, true) => "public, max-age=60, stale-while-revalidate=300",
            (false, false) => "private, max-age=60, stale-while-revalidate=300",
        };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        let tag_of = |coding: Option<Coding>| match coding {
            Some(coding) => tag_in(coding, &tag),
            None => tag.clone(),
        };
        let tail = state.core().tail();
        let judge = |coding| conditions.judge_read(tag_of(coding).to_str().unwrap_or(""), tail);
        let accepts = self.accepted(&parts.headers);
        let mut coding = accepts.choose(is_worth_it(&response));
        let mut order = None;
        if let Some(wanted) = coding
            && judge(coding)? == Has::Another
        {
            order = self.order(wanted, response.body().len(), accepts, account)?;
            coding = order.as_ref().map(|_| wanted); // as it is, it is another representation
        }
        if judge(coding)? == Has::This {
            order = None;
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Bytes::new();
            response.headers_mut().remove(header::CONTENT_TYPE);
        }
        let headers = response.headers_mut();
        headers.insert(header::ETAG, tag_of(coding));
        let is_coded = self.shared.live.config.http.compression;
        headers.insert(header::VARY, vary(is_public, is_coded));
        Ok(Uncoded::new(response, order))
    }

    fn long_poll(
        &self,
        parts: &Parts,
        channel: &Arc<Channel>,
        query: &Query,
        asker: &Asker<'_>,
        state: &State,
        now_ms: u64,
    ) -> Result<Looked, Problem> {
        let Some(start) = query.start else {
            return Err(Problem::new(
                ProblemKind::BadOffset,
                "a long poll needs to know where to read from; send ?offset=, with -1 for the beginning or now",
            ));
        };
        let shape = PollShape {
            sequence: locate(state, &start)?,
            cursor: query.cursor,
            publisher: query.publisher.clone(),
            allow_origin: asker.origin.allowed().cloned(),
        };
        let limits = &self.shared.live.config.limits;
        let wait_ms = fields::prefer_wait_ms(&parts.headers)
            .unwrap_or(u64::MAX)
            .min(limits.long_poll_ms_max)
            // A poll does not outlive the right to it.
            .min(
                asker
                    .ends_ms
                    .map_or(u64::MAX, |ends_ms| ends_ms.saturating_sub(now_ms)),
            );
        let occasion = match wait_ms {
            0 => PollOccasion::TimeOut,
            _ => PollOccasion::Change,
        };
        let terms = self.shared.answer_terms(asker.account);
        if let Some(response) = poll_answer(&shape, state, occasion, &terms, now_ms) {
            return Ok(Looked::Answer(response));
        }
        let poll = PollRequest {
            request_id: None,
            channel: channel.clone(),
            shape,
            account: asker.account,
            is_lent: asker.is_lent,
            caller: asker.caller.clone(),
            wait_ms,
            answer_to: AnswerTo::Connection {
                keep_alive: keeps_alive(parts),
            },
        };
        let line = LineRequest {
            response: Response::new(()),
            account: asker.account,
            opening: Bytes::new(),
            wire: Wire::Poll(poll),
        };
        Ok(Looked::Reply(Reply::Line(Box::new(line))))
    }

    fn stream(
        &self,
        parts: &Parts,
        asked: Asked,
        channel: &Arc<Channel>,
        query: &Query,
        asker: &Asker<'_>,
        state: &State,
    ) -> Result<Reply, Problem> {
        let transfer = match parts.version {
            Version::HTTP_11 => Transfer::Chunked,
            _ => Transfer::Bare,
        };
        let framing = match asked {
            Asked::EventStream if query.shows_heartbeats => Framing::PulsingEventStream(transfer),
            Asked::EventStream => Framing::EventStream(transfer),
            Asked::DurableEventStream => Framing::DurableEventStream(transfer),
            _ => Framing::Ndjson(transfer),
        };
        let start = match query.start {
            Some(start) => start,
            None if asked == Asked::DurableEventStream => {
                return Err(Problem::new(
                    ProblemKind::BadOffset,
                    "?live=sse needs to know where to read from; send ?offset=, with -1 for the beginning or now",
                ));
            }
            None => Start::Now,
        };
        let mut opening = BytesMut::new();
        framing.encode_preamble(self.shared.live.config.http.retry_ms, &mut opening);
        let sequence = match locate_live(state, &start, framing, query.fail_on_gap)? {
            Place::At(sequence) => sequence,
            Place::Gap(gap) => {
                framing.encode_notice(&source(channel, state), Notice::Gap(&gap), &mut opening);
                gap.oldest.sequence
            }
        };
        if asked == Asked::EventStream
            && state.is_ended()
            && sequence >= state.core().log().head_sequence()
        {
            // To an EventSource 204 means: do not reconnect (WHATWG HTML, section 9.2.2).
            let mut response = answer::no_content();
            describe(state, response.headers_mut());
            response.headers_mut().remove(header::CONTENT_TYPE);
            return Ok(Reply::Response(response));
        }
        let mut response = answer::safe(Response::new(()));
        let headers = response.headers_mut();
        stream_fields(framing.content_type(), headers);
        // Where the stream starts: what a reader that is cut before the first entry comes back with.
        if let Some(offset) = state.core().log().offset_at(sequence) {
            headers.insert(answer::STREAM_NEXT_OFFSET, offset_value(&offset));
        }
        if let Some(content_type) = state.core().content_type() {
            let content_type = HeaderValue::from_str(content_type.as_str());
            headers.insert(
                answer::EVERWIRE_TYPE,
                content_type.expect("a media type is ASCII"),
            );
        }
        let holds_bytes = matches!(
            state.core().whole(),
            Some(Whole::Of(content_type)) if content_type.kind() == ContentKind::Binary
        );
        if asked != Asked::Ndjson && holds_bytes {
            headers.insert(
                answer::STREAM_SSE_DATA_ENCODING,
                HeaderValue::from_static("base64"),
            );
        }
        let durable = asked == Asked::DurableEventStream;
        let entries = Entries {
            channel: channel.clone(),
            framing,
            sequence,
            deflate: None,
            publish: Publishing::Never,
            fail_on_gap: query.fail_on_gap,
            cursor: query.cursor,
            publisher: query.publisher.clone(),
            is_lent: asker.is_lent,
            until_ms: asker.ends_ms,
            caller: asker.caller.clone(),
            lifetime_ms: durable.then_some(self.shared.live.config.http.durable_stream_ms),
        };
        Ok(Reply::Line(Box::new(LineRequest {
            response,
            account: asker.account,
            opening: opening.freeze(),
            wire: Wire::Entries(entries),
        })))
    }

    fn websocket(
        &self,
        parts: &Parts,
        channel: &Arc<Channel>,
        query: &Query,
        asker: &Asker<'_>,
        state: &State,
    ) -> Result<Reply, Problem> {
        // A presence log has no name that a session could say.
        let subprotocols: &[_] = match channel.name().is_presence_log() {
            true => &[],
            false => &[SUBPROTOCOL],
        };
        let accepted = accept(parts, subprotocols)?;
        let window = accepted
            .deflate
            .and_then(|deflate| deflate.outbound_window(Role::Server));
        let carrier = Carrier::WebSocket { window };
        let framing = match accepted.subprotocol {
            Some(_) => Framing::Session(carrier),
            None => Framing::Raw { window },
        };
        let response = switching(&accepted);
        let start = query.start.unwrap_or(Start::Now);
        let id = SessionId(fastrand::u64(..));
        let mut opening = BytesMut::new();
        let welcome = |sequence, opening: &mut BytesMut| {
            let (Framing::Session(_), Some(offset)) =
                (framing, state.core().log().offset_at(sequence))
            else {
                return;
            };
            let welcome = Welcome {
                session: &id.to_string(),
                secret: None,
                heartbeat_ms: self.shared.live.config.http.heartbeat_ms,
                own: Some((channel.name(), &offset)),
            };
            let bytes_max = 256 + 6 * channel.name().as_str().len();
            carrier.plain(bytes_max, opening, |out| encode_welcome(&welcome, out));
        };
        let place = match state.core().log().locate(&start) {
            Ok(sequence) => Place::At(sequence),
            Err(gap) => Place::Gap(gap),
        };
        let sequence = match place {
            Place::At(sequence) => {
                welcome(sequence, &mut opening);
                sequence
            }
            Place::Gap(gap) if framing.tells_gaps() && !query.fail_on_gap => {
                welcome(gap.oldest.sequence, &mut opening);
                framing.encode_notice(&source(channel, state), Notice::Gap(&gap), &mut opening);
                gap.oldest.sequence
            }
            Place::Gap(gap) => {
                // A browser is not shown the status of a refused handshake, but it is shown a close code.
                let reason = format!(
                    "entries after this offset are gone; the oldest kept are after {}",
                    gap.oldest
                );
                encode_close(Some((codes::GAP, &reason)), &mut opening);
                let line = LineRequest {
                    response,
                    account: asker.account,
                    opening: opening.freeze(),
                    wire: Wire::Ended,
                };
                return Ok(Reply::Line(Box::new(line)));
            }
        };
        if let Framing::Session(_) = framing {
            let session = SessionRequest {
                id,
                carrier,
                deflate: accepted.deflate,
                publisher: query.publisher.clone(),
                own: Some(Own {
                    channel: channel.clone(),
                    sequence,
                    fail_on_gap: query.fail_on_gap,
                    ends_ms: asker.ends_ms,
                }),
                secret: None,
                caller: asker.caller.clone(),
                evidence: asker.evidence.clone(),
            };
            return Ok(Reply::Line(Box::new(LineRequest {
                response,
                account: asker.account,
                opening: opening.freeze(),
                wire: Wire::Session(session),
            })));
        }
        let entries = Entries {
            channel: channel.clone(),
            framing,
            sequence,
            deflate: accepted.deflate,
            publish: match asker.leave(self, Action::Publish, channel.name()) {
                Ok(Leave::Granted) => Publishing::Granted,
                Ok(Leave::Asked) => match &asker.evidence {
                    Some(evidence) => Publishing::Asked(Box::new(evidence.clone())),
                    None => Publishing::Never,
                },
                Err(_) => Publishing::Never,
            },
            fail_on_gap: query.fail_on_gap,
            cursor: None,
            publisher: query.publisher.clone(),
            is_lent: asker.is_lent,
            until_ms: asker.ends_ms,
            caller: asker.caller.clone(),
            lifetime_ms: None,
        };
        Ok(Reply::Line(Box::new(LineRequest {
            response,
            account: asker.account,
            opening: opening.freeze(),
            wire: Wire::Entries(entries),
        })))
    }
}

/// What a page depends on besides its address: as which wire it is asked for, from where, in which coding if any is
/// spoken; and unless everybody may read it, what a browser keeps is for who was logged in then.
fn vary(is_public: bool, is_coded: bool) -> HeaderValue {
    HeaderValue::from_static(match (is_public, is_coded) {
        (true, true) => "accept, accept-encoding, origin",
        (true, false) => "accept, origin",
        (false, true) => "accept, accept-encoding, origin, authorization, cookie",
        (false, false) => "accept, origin, authorization, cookie",
    })
}

/// Whether a request asks for a WebSocket, well or badly.
pub(crate) fn wants_websocket(parts: &Parts) -> bool {
    handshake::wants_websocket(&handshake_request(parts))
}

/// `/echo` as a line.
pub(super) fn echo_line(parts: &Parts, account: Account) -> Result<LineRequest, Problem> {
    let accepted = accept(parts, &[])?;
    let wire = Wire::Echo {
        deflate: accepted.deflate,
    };
    Ok(LineRequest {
        response: switching(&accepted),
        account,
        opening: Bytes::new(),
        wire,
    })
}

/// Where a live reader starts.
enum Place {
    At(u64),
    Gap(Gap),
}

/// The fields of a response that stays open.
pub(super) fn stream_fields(content_type: Option<&'static str>, headers: &mut HeaderMap) {
    let content_type = content_type.unwrap_or("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let cache = HeaderValue::from_static("no-cache, no-transform");
    headers.insert(header::CACHE_CONTROL, cache);
    // nginx passes a stream on at once only if it is told to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(header::VARY, VARY);
}

/// No line is opened any more.
pub(super) fn stopping() -> Problem {
    Problem::new(
        ProblemKind::Stopping,
        "the server is stopping; reconnect elsewhere or later",
    )
}

pub(super) fn accept<'p>(
    parts: &Parts,
    subprotocols: &'p [&'p str],
) -> Result<Accepted<'p>, Problem> {
    let policy = Policy {
        subprotocols,
        deflate: Some(DeflatePolicy::default()),
    };
    handshake::accept(&handshake_request(parts), &policy).map_err(|refusal| {
        let kind = match refusal.status() {
            StatusCode::UPGRADE_REQUIRED => ProblemKind::UpgradeRequired,
            StatusCode::METHOD_NOT_ALLOWED => ProblemKind::MethodNotAllowed,
            _ => ProblemKind::BadRequest,
        };
        Problem::new(kind, refusal.to_string())
    })
}

fn handshake_request(parts: &Parts) -> handshake::Request<'_> {
    handshake::Request {
        method: &parts.method,
        version: parts.version,
        headers: &parts.headers,
        protocol: parts
            .extensions
            .get::<hyper::ext::Protocol>()
            .map(hyper::ext::Protocol::as_str),
    }
}

pub(super) fn switching(accepted: &Accepted<'_>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = accepted.status();
    *response.headers_mut() = accepted.headers();
    answer::safe(response)
}

fn locate(state: &State, start: &Start) -> Result<u64, Problem> {
    state.core().log().locate(start).map_err(Problem::from)
}

fn locate_live(
    state: &State,
    start: &Start,
    framing: Framing,
    fail_on_gap: bool,
) -> Result<Place, Problem> {
    match state.core().log().locate(start) {
        Ok(sequence) => Ok(Place::At(sequence)),
        Err(gap) if fail_on_gap || !framing.tells_gaps() => Err(Problem::from(gap)),
        Err(gap) => Ok(Place::Gap(gap)),
    }
}

fn source<'a>(channel: &'a Channel, state: &State) -> Source<'a> {
    Source {
        name: channel.name(),
        kind: kind_of(state),
    }
}

/// Whether the connection takes another request after this one (RFC 9112, section 9.3).
fn keeps_alive(parts: &Parts) -> bool {
    let says = |option: &str| {
        parts
            .headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|said| said.trim().eq_ignore_ascii_case(option))
    };
    match parts.version {
        Version::HTTP_11 => !says("close"),
        _ => false,
    }
}
