//! The HTTP half of the contract: from a request to a response, or to a line.
//!
//! ```text
//!  request ─▶ target ─┬─ /channels/{name}   create · append · read · delete
//!                     ├─ /v1/stream/{name}  the same channels by the rules of Durable Streams
//!                     ├─ /presence/{name}   who is there
//!                     ├─ /publish           many entries to many channels
//!                     ├─ /connect           sessions: many channels on one line
//!                     ├─ /revocations        tokens that are taken back
//!                     ├─ /echo              for testing the path between
//!                     ├─ /.well-known/acme-challenge/{token}  for certificate authorities
//!                     └─ /healthz /readyz /metrics, and with `dev` the page at / and /examples/chat/
//! ```
//!
//! There is no router: the addresses are few, and a channel's name is the rest of the path as it was sent,
//! which a router would decode before the rules of names could judge it. Together with its method an address is an
//! [`Endpoint`], each of which has its cost ([`crate::cost`]), and is charged before anything is done for it. The same code serves HTTP/1.1 on the
//! core threads and HTTP/2 on the workers; what differs is who drives a [`Reply::Line`].

mod append;
mod batch;
mod body;
mod coded;
mod coding;
mod condition;
mod connect;
mod create;
mod decide;
mod endpoint;
mod fields;
pub(crate) mod host;
mod list;
mod operations;
pub(crate) mod origin;
mod page;
mod prefix;
mod presence;
mod query;
pub(crate) mod read;
mod revocations;
mod target;
mod unparsed;
mod visible;
mod visit;

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use everwire_channel::ChannelName;
use everwire_wire::{Problem, ProblemKind};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version, header, request::Parts,
};
use hyper::body::Incoming;

pub(crate) use self::body::Body;
pub use self::endpoint::costs;
use self::{
    body::Allowance,
    condition::Conditions,
    decide::{Asker, Leave},
    endpoint::Endpoint,
    origin::Origin,
    target::Target,
    visit::Visit,
};
use crate::{
    acme::Challenges,
    answer::{
        self, EVERWIRE_REQUEST_ID, RequestId, name_refusal, problem_response, too_many_lines,
    },
    auth::Caller,
    census::Full,
    clock,
    config::Action,
    cost::Cost,
    hub::{self, NoChannel, NotDeleted},
    proxy::{self, Client, Hop},
    publish::Publisher,
    rate::Account,
    shard::{LineRequest, Shared, Wire},
    stop::{Alive, Stopping},
    stream::Busy,
    tls::{Admission, Security},
};

/// What all requests are served with.
#[derive(Clone)]
pub(crate) struct Context {
    pub shared: Shared,
    /// What certificate authorities are answered.
    pub challenges: Arc<Challenges>,
    pub stopping: Stopping,
    pub parts: crate::parts::Parts,
    /// Held by whatever serves somebody, so that the end of the last is seen.
    pub _alive: Alive,
    /// The same for a connection over HTTP/2, by what it asked for.
    pub busy: Option<Arc<Busy>>,
}

/// The outcome of a request.
pub(crate) enum Reply {
    /// A response that is complete.
    Response(Response<Bytes>),
    /// The request stays open: a shard or a stream takes it over.
    Line(Box<LineRequest>),
}

impl Context {
    /// The same with the configuration that holds now.
    pub fn refreshed(&self) -> Self {
        let mut context = self.clone();
        context.shared.live.refresh();
        context
    }

    /// Who sends a request on a connection that leads to `hop`.
    pub fn client<B>(&self, request: &Request<B>, hop: Hop, security: Security) -> Client {
        let settings = &self.shared.live.config.http;
        let (client, malformed) = Client::of(hop, security.scheme(), request.headers(), settings);
        if malformed.is_some() {
            self.shared.metrics.proxy_not_understood();
        }
        if !client.is_passed_on {
            (self.shared.unbelieved).note(client.address, request.headers());
        }
        client
    }

    /// How far a connection is served that is so secured.
    pub fn admit(&self, security: Security) -> Admission {
        self.shared.admit(security)
    }

    /// Resolves when a connection that is so secured would not be let in any more.
    pub async fn until_refused(&self, security: Security) {
        let mut replaced = self.shared.tls.replacements();
        while !matches!(self.admit(security), Admission::Refused(_)) {
            if replaced.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Serves one request, as far as those are who come by such a connection.
    pub async fn handle(
        &self,
        request: Request<Incoming>,
        client: &Client,
        security: Security,
    ) -> Reply {
        let admission = self.admit(security);
        let (mut parts, content) = request.into_parts();
        host::name(&mut parts);
        let config = &self.shared.live.config;
        prefix::strip(&mut parts, &config.http.prefix);
        let origin = Origin::of(&parts.headers, client, config);
        // Who logs nothing pays for no name, unless somebody will ask about the request.
        let visit = (config.logs.requests).then(|| Visit::begin(&parts, client));
        let reply = match admission.permit(target::is_challenge(parts.uri.path())) {
            Ok(()) => self.route(&parts, content, client, &origin).await,
            Err(refusal) => Err(refusal.problem()),
        };
        let mut reply = 'judged: {
            match reply {
                Ok(reply) => reply,
                Err(problem) => {
                    self.shared.metrics.refused(&problem);
                    let has_credential = parts.headers.contains_key(header::AUTHORIZATION);
                    if let Some(limit) = problem.limit
                        && proxy::is_shared(limit, has_credential)
                    {
                        self.shared.on_limit_of(client.address, limit);
                    }
                    let mut response = match self.visible_refusal(&parts, client, &problem) {
                        Some(line @ Reply::Line(_)) => break 'judged line,
                        Some(Reply::Response(response)) => response,
                        None => problem_response(&problem),
                    };
                    if visit.is_none() {
                        let id = RequestId::of(&parts.headers, client);
                        tracing::debug!(request = %id, problem = problem.kind.name(), "a request was refused");
                        response
                            .headers_mut()
                            .insert(EVERWIRE_REQUEST_ID, id.to_value());
                    }
                    let is_stranger =
                        admission != Admission::Whole && parts.version != Version::HTTP_2;
                    if is_stranger || is_easily_misread(&parts) {
                        end_connection(response.headers_mut());
                    }
                    Reply::Response(response)
                }
            }
        };
        if let Reply::Line(line) = &mut reply {
            visible::note(&parts, &mut line.response);
        }
        if let Some(visit) = &visit {
            let (headers, status, bytes) = match &mut reply {
                Reply::Response(response) => {
                    let (status, bytes) = (response.status(), response.body().len());
                    (response.headers_mut(), status, Some(bytes))
                }
                Reply::Line(line) => {
                    let status = line.response.status();
                    if let Wire::Poll(poll) = &mut line.wire {
                        poll.request_id = Some(visit.id().to_value());
                    }
                    (line.response.headers_mut(), status, None)
                }
            };
            headers.insert(EVERWIRE_REQUEST_ID, visit.id().to_value());
            visit.end(status, bytes);
        }
        let hsts_s = self.shared.live.config.tls.hsts_s;
        match &mut reply {
            Reply::Response(response) => {
                self.shared.metrics.answered(response.status());
                origin.allow_in(response.headers_mut());
                client.scheme.insist(hsts_s, response.headers_mut());
                if parts.method == Method::HEAD {
                    answer::remove_content(response);
                }
            }
            Reply::Line(line) => {
                origin.allow_in(line.response.headers_mut());
                client.scheme.insist(hsts_s, line.response.headers_mut());
            }
        }
        reply
    }

    async fn route(
        &self,
        parts: &Parts,
        content: Incoming,
        client: &Client,
        origin: &Origin,
    ) -> Result<Reply, Problem> {
        let endpoint = match self.endpoint(parts, client, origin) {
            Ok(endpoint) => endpoint,
            Err(problem) => return Err(self.charge_refusal(client, problem)),
        };
        let cost = endpoint::of_request(&endpoint);
        let asker = || self.asker(parts, origin, client, cost);
        match endpoint {
            Endpoint::Preflight => {
                self.shared.till().charge(self.stranger(client), cost)?;
                Ok(Reply::Response(origin.preflight(&parts.headers)))
            }
            Endpoint::Read(dialect, name) => {
                let mut asker = asker().await?;
                if read::wants_websocket(parts) {
                    // What it may publish depends on who it is.
                    self.introduce(&mut asker).await?;
                }
                self.permit(&mut asker, Action::Read, &name).await?;
                body::refuse(content, &self.shared.live.config).await?;
                self.read(parts, dialect, &name, &asker).await
            }
            Endpoint::Describe(name) => {
                self.permit(&mut asker().await?, Action::Read, &name)
                    .await?;
                body::refuse(content, &self.shared.live.config).await?;
                self.describe(parts, &name).map(Reply::Response)
            }
            Endpoint::Append(dialect, name) => {
                let mut asker = asker().await?;
                let leave = self.leave(&mut asker, Action::Publish, &name).await?;
                self.append(parts, content, (&asker, leave), dialect, &name)
                    .await
                    .map(Reply::Response)
            }
            Endpoint::Create(dialect, name) => {
                let mut asker = asker().await?;
                let leave = self.leave(&mut asker, Action::Publish, &name).await?;
                self.create(parts, content, (&asker, leave), dialect, &name)
                    .await
                    .map(Reply::Response)
            }
            Endpoint::Delete(name) => {
                self.permit(&mut asker().await?, Action::Manage, &name)
                    .await?;
                self.delete(parts, &name).map(Reply::Response)
            }
            Endpoint::Members(name) | Endpoint::MembersHead(name) => {
                self.presence(parts, content, asker().await?, &name).await
            }
            Endpoint::Batch => self.batch(parts, content, asker().await?).await,
            Endpoint::Connect => {
                let asker = asker().await?;
                self.shared.till().charge_line(client.address)?;
                self.connect(parts, content, asker).await
            }
            Endpoint::Poll(id) => {
                let found = self.session(parts, client, id, cost)?;
                self.poll(parts, content, found).await.map(Reply::Response)
            }
            Endpoint::Command(id) => {
                let found = self.session(parts, client, id, cost)?;
                self.command(parts, content, found)
                    .await
                    .map(Reply::Response)
            }
            Endpoint::Disconnect(id) => {
                let found = self.session(parts, client, id, cost)?;
                Ok(Reply::Response(found.disconnect()))
            }
            Endpoint::Revoked => {
                let asker = asker().await?;
                self.revoked(content, &asker).await.map(Reply::Response)
            }
            Endpoint::Revoke => {
                let asker = asker().await?;
                self.revoke(parts, content, &asker)
                    .await
                    .map(Reply::Response)
            }
            Endpoint::EchoMessages => {
                self.shared.till().charge(self.stranger(client), cost)?;
                self.echo_messages(parts, content, client).await
            }
            Endpoint::EchoContent => {
                self.shared.till().charge(self.stranger(client), cost)?;
                self.echo_content(parts, content, client)
                    .await
                    .map(Reply::Response)
            }
            Endpoint::Health => {
                let health = operations::health(&self.parts, &self.shared.live);
                Ok(Reply::Response(health))
            }
            Endpoint::Ready => {
                let ready = operations::ready(&self.stopping, &self.parts, &self.shared.live);
                Ok(Reply::Response(ready))
            }
            Endpoint::Metrics => {
                operations::check_access(&self.shared.live, parts, &asker().await?)?;
                Ok(Reply::Response(operations::metrics(self)))
            }
            Endpoint::AcmeChallenge(token) => {
                operations::acme_challenge(&self.challenges, token).map(Reply::Response)
            }
            Endpoint::Page(path) => {
                self.shared.till().charge(self.stranger(client), cost)?;
                page::serve(path, self.shared.live.config.dev).map(Reply::Response)
            }
            Endpoint::Bare => {
                self.shared.till().charge(self.stranger(client), cost)?;
                let prefix = &self.shared.live.config.http.prefix;
                Ok(Reply::Response(page::lead_below(prefix)))
            }
        }
    }

    /// What a request asks for, if it is one that can be served.
    fn endpoint<'p>(
        &self,
        parts: &'p Parts,
        client: &Client,
        origin: &Origin,
    ) -> Result<Endpoint<'p>, Problem> {
        let target_bytes_max = self.shared.live.config.limits.target_bytes_max;
        if parts
            .uri
            .path_and_query()
            .map_or(0, |target| target.as_str().len())
            > target_bytes_max
        {
            let detail = format!(
                "the request target has more than {target_bytes_max} bytes; use a shorter one"
            );
            return Err(Problem::new(ProblemKind::UriTooLong, detail).at_limit("target_bytes_max"));
        }
        let head_bytes_max = self.shared.live.config.limits.head_bytes_max;
        if parts.version == Version::HTTP_2 && fields_bytes(&parts.headers) > head_bytes_max {
            return Err(unparsed::head_too_large(head_bytes_max));
        }
        host::check(parts)?;
        host::permit(parts, client, &self.shared.live.config)?;
        check_coding(parts)?;
        if parts.method == Method::OPTIONS && parts.uri.path() == "*" {
            // Of the server as a whole (RFC 9110, section 9.3.7).
            return Ok(Endpoint::Preflight);
        }
        let http = &self.shared.live.config.http;
        if page::is_bare(parts.uri.path(), &http.prefix, self.shared.live.config.dev) {
            return Ok(Endpoint::Bare);
        }
        let target = Target::parse(parts.uri.path())?;
        match parts.method {
            Method::OPTIONS => {}
            Method::GET | Method::HEAD if !read::wants_websocket(parts) => {}
            _ => origin.check()?,
        }
        Endpoint::of(target, parts)
    }

    /// Who pays for what nobody is known to ask for.
    fn stranger(&self, client: &Client) -> Account {
        (self.shared.rate).account(&Caller::Anybody, client.address)
    }

    /// Charges a request that is refused before it is known who asks; what it is told.
    fn charge_refusal(&self, client: &Client, problem: Problem) -> Problem {
        let charged = self.shared.till().charge(self.stranger(client), Cost::Read);
        charged.err().unwrap_or(problem)
    }

    fn delete(&self, parts: &Parts, name: &ChannelName) -> Result<Response<Bytes>, Problem> {
        let conditions = Conditions::of(&parts.headers)?;
        let none = || hub::no_channel(name, NoChannel::Missing);
        if conditions.needs_none() {
            // Where there is one, it is not to be deleted.
            let found = self.shared.hub.find(name, clock::unix_ms());
            let channel = found.ok_or_else(none)?;
            let tail = channel.lock().core().tail();
            conditions.check(tail)?;
        }
        let deleted = self.shared.hub.delete(name, &conditions.guard());
        deleted.map_err(|error| match error {
            NotDeleted::Missing => none(),
            NotDeleted::Moved(tail) => conditions.check(tail).err().unwrap_or_else(none),
        })?;
        Ok(answer::no_content())
    }

    fn publisher(&self, account: Account) -> Publisher<'_> {
        self.shared.publisher(account, clock::unix_ms())
    }

    /// The answer to a request for one more line than there may be.
    pub fn refuse_line(&self, full: Full, address: IpAddr, line: &Response<()>) -> Response<Bytes> {
        let problem = too_many_lines(full);
        self.shared.metrics.refused(&problem);
        if let Some(limit) = problem.limit
            && proxy::is_shared(limit, true)
        {
            self.shared.on_limit_of(address, limit);
        }
        let mut response =
            visible::line_refusal(&problem, line).unwrap_or_else(|| problem_response(&problem));
        self.shared.metrics.answered(response.status());
        let id = line.headers().get(EVERWIRE_REQUEST_ID).cloned();
        name_refusal(id, problem.kind.name(), &mut response);
        // A page may read the refusal if it may read the line.
        answer::copy_allowed(line.headers(), response.headers_mut());
        response
    }

    /// The same, as HTTP/1.1 has it.
    pub fn encode_refused_line(&self, full: Full, address: IpAddr, line: &Response<()>) -> Bytes {
        let response = self.refuse_line(full, address, line);
        Self::encode_line_refusal(&too_many_lines(full), line, response)
    }

    async fn echo_messages(
        &self,
        parts: &Parts,
        content: Incoming,
        client: &Client,
    ) -> Result<Reply, Problem> {
        self.check_echo()?;
        if !read::wants_websocket(parts) {
            return Err(Problem::new(
                ProblemKind::UpgradeRequired,
                "/echo sends back WebSocket messages, and the content of a POST",
            ));
        }
        self.shared.till().charge_line(client.address)?;
        body::refuse(content, &self.shared.live.config).await?;
        let line = read::echo_line(parts, self.stranger(client))?;
        Ok(Reply::Line(Box::new(line)))
    }

    async fn echo_content(
        &self,
        parts: &Parts,
        content: Incoming,
        client: &Client,
    ) -> Result<Response<Bytes>, Problem> {
        self.check_echo()?;
        // It is held until it is taken.
        let allowance = Allowance::to_publish(&self.shared, self.stranger(client)).waiting(true);
        let content = body::collect(content, parts, &self.shared, allowance).await?;
        let mut response = Response::new(content.into_bytes());
        // What a page was sent back is never taken for a page.
        let kind = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        answer::never_store(response.headers_mut());
        Ok(answer::safe(response))
    }

    fn check_echo(&self) -> Result<(), Problem> {
        let config = &self.shared.live.config;
        match config.echo.enabled || config.dev {
            true => Ok(()),
            false => Err(Problem::new(
                ProblemKind::NotFound,
                "/echo is off; set echo.enabled to switch it on",
            )),
        }
    }
}

/// What is said to who speaks HTTP in clear text where only TLS is spoken, as bytes: nothing else was understood of it.
pub(crate) fn refuse_clear_text() -> Bytes {
    let problem = Problem::new(
        ProblemKind::BadRequest,
        "only TLS is spoken on this port; ask by https:// or wss://",
    );
    answer::encode_response(problem_response(&problem), false)
}

/// What the fields count for by the rule of HTTP/2 (RFC 9113, section 6.5.2).
fn fields_bytes(headers: &HeaderMap) -> usize {
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 32;
    headers.iter().map(bytes).sum()
}

/// Whether what follows a refused request could be something else to a proxy in front: it may have begun to tunnel when
/// it saw an upgrade or a CONNECT, or read the content in another coding.
fn is_easily_misread(parts: &Parts) -> bool {
    let headers = &parts.headers;
    parts.version == Version::HTTP_11
        && (parts.method == Method::CONNECT
            || headers.contains_key(header::UPGRADE)
            || headers.contains_key(header::TRANSFER_ENCODING))
}

/// The response is the connection's last (RFC 9112, section 9.6).
fn end_connection(headers: &mut HeaderMap) {
    let value = match headers.contains_key(header::CONNECTION) {
        true => HeaderValue::from_static("upgrade, close"),
        false => HeaderValue::from_static("close"),
    };
    headers.insert(header::CONNECTION, value);
}

/// Content comes as it is or in chunks, and in no other coding (RFC 9112, section 6.1): another reader of the connection
/// could see its end elsewhere.
fn check_coding(parts: &Parts) -> Result<(), Problem> {
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    let understood = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    match understood {
        true => Ok(()),
        false => Err(Problem::new(
            ProblemKind::BadRequest,
            "the request's Transfer-Encoding is not just chunked; send its content so, or with a Content-Length",
        )),
    }
}
