//! HTTP/1.1 by hyper, until a response stays open: then the socket is taken out of hyper and becomes a line.
//!
//! A request for a line is never answered by hyper. Its future stays pending; whoever drives the connection
//! sees that a line was asked for, takes socket and unread bytes, and hands them to the shard, which writes
//! the response's head itself. So hyper's buffers are gone before the line's long life begins.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::{Future, pending, poll_fn},
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use everwire_wire::Transfer;
use http::{Request, Response, Version};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use tokio::io::AsyncWriteExt;

use super::{
    core::Core,
    io::Io,
    stream::Stream,
    watch::{Awaited, Done, Guest},
};
use crate::{
    answer,
    census::{Pass, Visit},
    clock::Now,
    http::{Body, Context, Reply},
    proxy::Hop,
    shard::{LineRequest, Outlet, Wire},
    tls::Security,
};

/// A line that a request asked for.
struct Asked {
    line: Box<LineRequest>,
    /// Who asked.
    address: IpAddr,
    /// Whether the client knows chunks.
    version: Version,
}

/// Serves a connection until it ends or becomes a line.
pub(super) async fn serve(core: Rc<Core>, guest: Guest, stream: Stream, visit: Visit) {
    let from = (visit.hop(), visit.pass());
    let requests: Rc<Requests> = Rc::default();
    let security = stream.security();
    let io = Io::new(stream);
    let service = service_fn(|request: Request<Incoming>| {
        let (core, requests) = (core.clone(), requests.clone());
        requests.heard.set(io.received());
        let fault = io.begins_request();
        let io = &io;
        async move {
            let context = core.context();
            let mut response = match fault {
                Some(fault) => context.refuse_head(&fault.to_string()).map(Body::from),
                None => requests.serve(&context, request, from, security).await?,
            };
            answer::stamp(response.headers_mut());
            requests.heard.set(io.received());
            Ok::<_, Infallible>(response)
        }
    });
    let context = core.context();
    let config = &context.shared.live.config;
    let mut connection = http1::Builder::new()
        .auto_date_header(false)
        .half_close(true) // who has said all may still read
        .header_read_timeout(None) // the watch keeps the time
        .max_buf_size(config.limits.head_bytes_max)
        .serve_connection(io.clone(), service);
    let (mut stopping, mut takes) = (false, true);
    let asked = poll_fn(|cx| {
        guest.attend(cx);
        if let Some(awaited) = guest.exhausted() {
            let context = core.context();
            match awaited {
                Awaited::Head => io.say(&last_words(context.refuse_slow_head())),
                Awaited::Request | Awaited::Taking => {
                    context.shared.metrics.limit_met(awaited.setting());
                    takes = awaited != Awaited::Taking;
                }
            }
            return Poll::Ready(None);
        }
        if guest.is_stopping() && !stopping {
            stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        let served = Pin::new(&mut connection).poll(cx);
        // What hyper answers by itself lacks what all our answers have, and is counted nowhere.
        if let Poll::Ready(Err(error)) = &served
            && error.is_parse()
            && let Some(status) = io.take_back_refusal()
        {
            io.say(&last_words(core.context().refuse_unparsed(status, error)));
        }
        if served.is_pending() && requests.in_service.get() == 0 {
            io.awaits_request();
        }
        let sent = io.poll_send(cx);
        let done = Done {
            requests: requests.begun.get(),
            bytes_taken: io.taken(),
        };
        match (requests.in_service.get(), &sent) {
            (0, Poll::Pending) => guest.waits(done, Awaited::Taking),
            (0, Poll::Ready(_)) if io.received() > requests.heard.get() => {
                guest.waits(done, Awaited::Head);
            }
            (0, Poll::Ready(_)) => guest.waits(done, Awaited::Request),
            _ => guest.works(),
        }
        match (served, sent) {
            (Poll::Ready(_), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(None),
            // Not while bytes of an earlier response wait, which belong before what a line is sent.
            (Poll::Pending, Poll::Pending) => Poll::Pending,
            (Poll::Pending, Poll::Ready(Ok(()))) => match requests.asked.borrow_mut().take() {
                Some(asked) => Poll::Ready(Some(asked)),
                // A request that has not come whole is not waited for, which hyper would.
                None if stopping && requests.in_service.get() == 0 => Poll::Ready(None),
                None => Poll::Pending,
            },
        }
    })
    .await;
    let read = connection.into_parts().read_buf;
    let Some(asked) = asked else {
        if !takes {
            return;
        }
        // What hyper said last goes out, if the peer takes it in reasonable time.
        let limit = Duration::from_millis(config.http.content_ms);
        let _ = tokio::time::timeout(limit, poll_fn(|cx| io.poll_end(cx))).await;
        return;
    };
    drop(guest);
    let stream = io
        .into_stream()
        .expect("hyper has let go of the connection");
    hand_over(&core, stream, &read, asked, visit).await;
}

/// A response after which the connection ends.
fn last_words(response: Response<Bytes>) -> Bytes {
    answer::encode_response(response, false)
}

async fn hand_over(core: &Core, mut stream: Stream, read: &[u8], asked: Asked, visit: Visit) {
    let context = core.context();
    let shared = &context.shared;
    let seat = match shared.enter(asked.address, asked.line.wire.stay(), asked.line.account) {
        Ok(seat) => seat,
        Err(full) => {
            let response = context.encode_refused_line(full, asked.address, &asked.line.response);
            let refusal = async {
                let _ = stream.write_all(&response).await;
                let _ = stream.shutdown().await;
            };
            let limit = Duration::from_millis(shared.live.config.http.content_ms);
            let _ = tokio::time::timeout(limit, refusal).await;
            return;
        }
    };
    let (socket, tls, rest) = stream.into_parts();
    let unread = [read, &rest].concat();
    let socket = match socket.into_std() {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "a connection could not leave HTTP");
            return shared.census.leave(seat);
        }
    };
    let head = line_head(&asked);
    let mut shard = core.shard();
    let outlet = Outlet::new(mio::net::TcpStream::from_std(socket), tls);
    let joined = shard.join(
        outlet,
        &unread,
        &head,
        *asked.line,
        (seat, visit),
        Now::read(),
    );
    if let Err(error) = joined {
        tracing::error!(%error, "a connection could not become a line");
    }
}

/// The response's head; a parked poll has none until it is answered.
fn line_head(asked: &Asked) -> Bytes {
    let transfer = match (&asked.line.wire, asked.version) {
        (Wire::Poll(_), _) => return Bytes::new(),
        (Wire::Entries(entries), Version::HTTP_11) if !entries.framing.is_websocket() => {
            Some(Transfer::Chunked)
        }
        (Wire::Entries(entries), _) if !entries.framing.is_websocket() => Some(Transfer::Bare),
        (Wire::Session(session), _) => session.carrier.transfer(),
        (Wire::Entries(_) | Wire::Echo { .. } | Wire::Ended, _) => None,
    };
    let mut response = Response::new(());
    *response.status_mut() = asked.line.response.status();
    response
        .headers_mut()
        .clone_from(asked.line.response.headers());
    answer::encode_stream_head(response, transfer)
}

/// The requests of one connection.
#[derive(Default)]
struct Requests {
    /// Requests that have come.
    begun: Cell<u64>,
    /// Requests that have no response yet.
    in_service: Cell<usize>,
    /// Bytes that had come in when the last request began or was answered: more are of the next one's head.
    heard: Cell<u64>,
    /// The line that the last one asked for.
    asked: RefCell<Option<Asked>>,
}

impl Requests {
    /// Answers a request, or never does: then it is to become a line.
    async fn serve(
        &self,
        context: &Context,
        request: Request<Incoming>,
        (hop, pass): (Hop, Pass),
        security: Security,
    ) -> Result<Response<Body>, Infallible> {
        if let Some(response) = context.refuse_beyond_look(&request, pass) {
            return Ok(response.map(Body::from));
        }
        let version = request.version();
        self.begun.set(self.begun.get() + 1);
        self.in_service.set(self.in_service.get() + 1);
        let client = context.client(&request, hop, security);
        let reply = context.handle(request, &client, security).await;
        self.in_service.set(self.in_service.get() - 1);
        match reply {
            Reply::Response(response) => Ok(response.map(Body::from)),
            Reply::Line(line) => {
                *self.asked.borrow_mut() = Some(Asked {
                    line,
                    address: client.address,
                    version,
                });
                pending().await
            }
        }
    }
}
