//! `/connect`: sessions, over every wire.
//!
//! ```text
//!  GET /connect              ─▶ WebSocket, event stream, ndjson: a line
//!                            ─▶ long poll: the welcome, at once
//!  GET /connect/{session}    ─▶ a long poll's next messages
//!  POST /connect/{session}   ─▶ commands, answered together
//!  DELETE /connect/{session} ─▶ the end
//! ```

use std::{
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use everwire_websocket::Role;
use everwire_wire::{
    Carrier, Problem, ProblemKind, SUBPROTOCOL, Transfer, Welcome, encode_welcome,
};
use http::{HeaderName, Response, Version, request::Parts};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::{
    Asker, Context, Reply, answer,
    body::{self, Allowance},
    fields,
    query::Query,
    read::{self, Asked, stream_fields},
};
use crate::{
    census::Stay,
    cost::Cost,
    proxy::Client,
    session_id::SessionId,
    shard::{
        Answers, Commands, LineRequest, Mail, OpenLine, Pipe, Polls, Remote, Secret,
        SessionRequest, Speaker, Takes, Wire,
    },
};

/// Shows that a request comes from the session's own client.
const EVERWIRE_SECRET: HeaderName = HeaderName::from_static("everwire-secret");

/// No welcome is longer than this.
const WELCOME_BYTES_MAX: usize = 192;

impl Context {
    /// `/connect`.
    pub(super) async fn connect(
        &self,
        parts: &Parts,
        content: Incoming,
        mut asker: Asker<'_>,
    ) -> Result<Reply, Problem> {
        body::refuse(content, &self.shared.live.config).await?;
        let query = Query::parse(parts.uri.query())?;
        if self.stopping.is_stopping() {
            return Err(read::stopping());
        }
        let transfer = match parts.version {
            Version::HTTP_11 => Transfer::Chunked,
            _ => Transfer::Bare,
        };
        let asked = match read::asked(parts, &query) {
            Asked::CatchUp if read::names_json(&parts.headers) => Asked::LongPoll,
            asked => asked,
        };
        self.introduce(&mut asker).await?;
        let asker = &asker;
        let carrier = match asked {
            Asked::WebSocket => return self.connect_websocket(parts, query, asker),
            Asked::EventStream | Asked::DurableEventStream => Carrier::EventStream(transfer),
            Asked::Ndjson => Carrier::Ndjson(transfer),
            Asked::LongPoll => return self.connect_polls(query, asker).map(Reply::Response),
            Asked::CatchUp => {
                return Err(Problem::new(
                    ProblemKind::BadRequest,
                    "a session is opened as a WebSocket with the subprotocol everwire.v1, or by a GET that \
                     accepts text/event-stream, application/x-ndjson or application/json",
                ));
            }
        };
        let secret = new_secret()?;
        let request = self.session_request(carrier, query, asker, Some(secret));
        let mut opening = BytesMut::new();
        carrier.plain(WELCOME_BYTES_MAX, &mut opening, |out| {
            self.welcome(&request, Some(secret), out);
        });
        let mut response = answer::safe(Response::new(()));
        stream_fields(carrier.content_type(), response.headers_mut());
        Ok(Reply::Line(Box::new(LineRequest {
            response,
            account: asker.account,
            opening: opening.freeze(),
            wire: Wire::Session(request),
        })))
    }

    fn connect_websocket(
        &self,
        parts: &Parts,
        query: Query,
        asker: &Asker<'_>,
    ) -> Result<Reply, Problem> {
        let accepted = read::accept(parts, &[SUBPROTOCOL])?;
        if accepted.subprotocol.is_none() {
            return Err(Problem::new(
                ProblemKind::BadRequest,
                "a session is a WebSocket with the subprotocol everwire.v1, which was not offered",
            ));
        }
        let window = accepted
            .deflate
            .and_then(|deflate| deflate.outbound_window(Role::Server));
        let carrier = Carrier::WebSocket { window };
        let mut request = self.session_request(carrier, query, asker, None);
        request.deflate = accepted.deflate;
        let mut opening = BytesMut::new();
        carrier.plain(WELCOME_BYTES_MAX, &mut opening, |out| {
            self.welcome(&request, None, out);
        });
        Ok(Reply::Line(Box::new(LineRequest {
            response: read::switching(&accepted),
            account: asker.account,
            opening: opening.freeze(),
            wire: Wire::Session(request),
        })))
    }

    /// Opens a session that is told by long polls; the first is answered with the welcome.
    fn connect_polls(&self, query: Query, asker: &Asker<'_>) -> Result<Response<Bytes>, Problem> {
        let secret = new_secret()?;
        let request = self.session_request(Carrier::Poll, query, asker, None);
        let seat = self
            .shared
            .enter(asker.client.address, Stay::Open, asker.account)
            .map_err(answer::too_many_lines)?;
        let mut welcome = BytesMut::new();
        Carrier::Poll.plain(WELCOME_BYTES_MAX, &mut welcome, |out| {
            self.welcome(&request, Some(secret), out);
        });
        let welcome = messages(1, &welcome);
        let sessions = &self.shared.sessions;
        let shard = sessions.some_shard();
        let share = self.shared.hold(asker.account, 0)?;
        let pipe = Pipe::new(request.id, shard.clone(), Takes::Messages).within(share);
        let pipe = Arc::new(pipe);
        let answers = Answers::new(welcome.clone(), Instant::now());
        let polls = Polls::new(pipe.clone(), answers);
        let speaker = Speaker {
            caller: asker.caller.clone(),
            account: asker.account,
        };
        let remote = Remote::new(shard.clone(), secret, speaker, Some(polls));
        sessions.insert(request.id, remote);
        shard.post(Mail::Open(Box::new(OpenLine {
            pipe,
            opening: Bytes::new(),
            wire: Wire::Session(request),
            seat,
        })));
        Ok(answer::json(welcome))
    }

    /// Where a session is that a request speaks for, by its id and its secret, and its caller pays what the request costs.
    ///
    /// # Errors
    ///
    /// There is none, the secret is not its own, or more is asked for it than may be.
    pub(super) fn session(
        &self,
        parts: &Parts,
        client: &Client,
        id: &str,
        cost: Cost,
    ) -> Result<Found, Problem> {
        let found = self.find_session(parts, id);
        let found = found.map_err(|problem| self.charge_refusal(client, problem))?;
        self.shared
            .till()
            .charge(found.remote.speaker().account, cost)?;
        Ok(found)
    }

    fn find_session(&self, parts: &Parts, id: &str) -> Result<Found, Problem> {
        let id = SessionId::parse(id).ok_or_else(gone)?;
        let remote = self.shared.sessions.find(id).ok_or_else(gone)?;
        let shown = fields::one(&parts.headers, &EVERWIRE_SECRET)?.unwrap_or("");
        if !remote.is_opened_by(shown) {
            return Err(Problem::new(
                ProblemKind::Forbidden,
                "the field Everwire-Secret has to carry the `secret` of this session's welcome",
            ));
        }
        Ok(Found { id, remote })
    }

    /// `POST /connect/{session}`: carries out commands.
    pub(super) async fn command(
        &self,
        parts: &Parts,
        content: Incoming,
        Found { id, remote }: Found,
    ) -> Result<Response<Bytes>, Problem> {
        let allowance = Allowance::to_command(&self.shared, &remote.speaker());
        let content = body::collect(content, parts, &self.shared, allowance).await?;
        let (answer, answered) = oneshot::channel();
        remote.shard.post(Mail::Commands(Commands {
            session: id,
            content,
            answer,
        }));
        let replies = answered.await.map_err(|_| gone())??;
        Ok(answer::json(replies))
    }

    /// `GET /connect/{session}`: answers a session's long poll, with what waits, or when something comes, or not at all
    /// in its time.
    pub(super) async fn poll(
        &self,
        parts: &Parts,
        content: Incoming,
        Found { remote, .. }: Found,
    ) -> Result<Response<Bytes>, Problem> {
        body::refuse(content, &self.shared.live.config).await?;
        let Some(polls) = &remote.polls else {
            return Err(Problem::new(
                ProblemKind::BadRequest,
                "this session is told by its stream, not by polls; send commands by POST",
            ));
        };
        let acknowledged = Query::parse(parts.uri.query())?.acknowledged;
        let limit_ms = self.shared.live.config.limits.long_poll_ms_max;
        let wait_ms = fields::prefer_wait_ms(&parts.headers)
            .unwrap_or(u64::MAX)
            .min(limit_ms);
        let wait = Duration::from_millis(wait_ms);
        let turn = {
            let mut answers = polls.answers();
            if let Some(again) = answers.repeat(acknowledged, Instant::now(), wait) {
                return Ok(answer::json(again));
            }
            answers.polls
        };
        // Whoever waits already is told that it was replaced.
        polls.pipe.nudge();
        let answered = poll_fn(|cx| {
            let mut answers = polls.answers();
            if answers.polls != turn {
                return Poll::Ready(Err(Problem::new(
                    ProblemKind::Replaced,
                    "a newer poll of this session came; only one waits at a time",
                )));
            }
            polls.pipe.poll_take_held(cx).map(|taken| {
                let (taken, share) = taken.ok_or_else(gone)?;
                let answer = messages(answers.last + 1, &taken);
                let answer = match share {
                    Some(share) => share.with(answer),
                    None => answer,
                };
                answers.give(answer.clone(), Instant::now());
                Ok(answer::json(answer))
            })
        });
        match tokio::time::timeout(wait, answered).await {
            Ok(answered) => answered,
            Err(_) => {
                let mut answers = polls.answers();
                if answers.polls == turn {
                    answers.rest(Instant::now());
                }
                Ok(answer::no_content())
            }
        }
    }

    fn session_request(
        &self,
        carrier: Carrier,
        query: Query,
        asker: &Asker<'_>,
        secret: Option<Secret>,
    ) -> SessionRequest {
        SessionRequest {
            id: SessionId(fastrand::u64(..)),
            carrier,
            deflate: None,
            publisher: query.publisher,
            own: None,
            secret,
            caller: asker.caller.clone(),
            evidence: asker.evidence.clone(),
        }
    }

    fn welcome(&self, request: &SessionRequest, secret: Option<Secret>, out: &mut BytesMut) {
        let secret = secret.map(|secret| secret.to_string());
        let welcome = Welcome {
            session: &request.id.to_string(),
            secret: secret.as_deref(),
            heartbeat_ms: self.shared.live.config.http.heartbeat_ms,
            own: None,
        };
        encode_welcome(&welcome, out);
    }
}

/// A session that a request speaks for.
pub(super) struct Found {
    id: SessionId,
    remote: Arc<Remote>,
}

impl Found {
    /// `DELETE /connect/{session}`: ends it.
    pub fn disconnect(self) -> Response<Bytes> {
        self.remote.shard.post(Mail::Gone(self.id));
        answer::no_content()
    }
}

/// There is no such session.
fn gone() -> Problem {
    let detail = "there is no such session any more, or it was another server's; open a new one";
    Problem::new(ProblemKind::NotFound, detail)
}

fn new_secret() -> Result<Secret, Problem> {
    Secret::random().map_err(|error| {
        tracing::error!(%error, "the system gives no random bytes for a session's secret");
        Problem::new(
            ProblemKind::Internal,
            "the server could not make a secret for the session; try again",
        )
    })
}

/// `{"last":N,"messages":[…]}`; each message is followed by a comma.
fn messages(last: u64, messages: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(messages.len() + 48);
    out.put_slice(format!("{{\"last\":{last},\"messages\":[").as_bytes());
    out.put_slice(messages.strip_suffix(b",").unwrap_or(messages));
    out.put_slice(b"]}");
    out.freeze()
}
