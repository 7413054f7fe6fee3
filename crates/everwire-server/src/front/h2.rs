//! HTTP/2, on the workers: its streams share a socket, which therefore cannot move to a shard. Their lines live there, and
//! are carried through pipes.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::{
    body::Incoming, rt::Executor, server::conn::http2, service::service_fn, upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::Notify, task::JoinSet};

use super::{core::Core, stream::Stream, stream_errors::Counted};
use crate::{
    answer,
    census::{Pass, Visit},
    http::{Body, Context, Reply},
    metrics::Metrics,
    parts,
    proxy::Hop,
    shard::LineRequest,
    stream::{Busy, Carrier, Ends, Looks, NotOpened, Opened, Patience, UNTAKEN_BYTES_MAX, Work},
    tls::Security,
};

/// Streams that one connection may have open at once.
const STREAMS_MAX: u32 = 1024;

/// Bytes of a frame, and of what a client may send before we have taken it, for each stream and for all together.
const FRAME_BYTES_MAX: u32 = 16 * 1024;
const WINDOW_BYTES: u32 = 256 * 1024;

/// Bytes that wait in the library for each stream to be taken.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Streams that a client has reset before they were looked at, beyond which its connection is ended: who opens streams
/// only to reset them has us do work that it does not wait for (CVE-2023-44487).
const RESET_UNSEEN_MAX: usize = 20;

/// For so long a client whose streams have too many errors is told so. What it sends meanwhile is still answered.
const FAREWELL_TO_A_FLOOD: Duration = Duration::from_millis(100);

/// Serves a connection on the workers. Resolves at its end, so that it stays counted here.
pub(super) async fn hand_over(core: &Core, stream: Stream, visit: Visit) {
    let (socket, tls, unread) = stream.into_parts();
    let Ok(socket) = socket.into_std() else {
        return;
    };
    let context = Context::clone(&core.context());
    // Whoever gives this future up ends the connection.
    let mut served = JoinSet::new();
    let serving = async move {
        if let Ok(socket) = TcpStream::from_std(socket) {
            let from = (visit.hop(), visit.pass());
            serve(context, Stream::new(socket, tls, unread), from).await;
        }
        drop(visit);
    };
    served.spawn_on(serving, &core.workers);
    if let Some(Err(error)) = served.join_next().await {
        if error.is_panic() {
            core.context().shared.metrics.task_panicked();
        }
        tracing::error!(%error, "a connection over HTTP/2 was given up");
    }
}

async fn serve(context: Context, stream: Stream, from: (Hop, Pass)) {
    let security = stream.security();
    let config = &context.shared.live.config;
    let heartbeat = Duration::from_millis(config.http.heartbeat_ms);
    let head_bytes_max = u32::try_from(config.limits.head_bytes_max).unwrap_or(u32::MAX);
    let tasks = Tasks(context.shared.metrics.clone());
    let mut builder = http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(STREAMS_MAX)
        // Up to twice the limit heads are read and answered by us; beyond it, and for a head in more frames than it
        // can take, the library refuses.
        .max_header_list_size(head_bytes_max.saturating_mul(2))
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(RESET_UNSEEN_MAX)
        // They have a rate instead, which a connection of weeks does not use up.
        .max_local_error_reset_streams(None)
        .keep_alive_interval(heartbeat)
        .keep_alive_timeout(heartbeat)
        .enable_connect_protocol();
    let stopping = context.stopping.clone();
    let drain = Duration::from_millis(config.stop.drain_ms);
    let idle = Duration::from_millis(config.http.idle_ms);
    let looks = Looks::new(Patience {
        idle,
        stall: Duration::from_millis(config.limits.write_stall_ms),
    });
    let metrics = context.shared.metrics.clone();
    let work = Arc::new(Work::default());
    let judged = context.clone();
    let service = {
        let work = work.clone();
        service_fn(move |request| {
            let mut context = context.refreshed();
            context.busy = Some(work.begin());
            async move {
                let mut response = answer(context, request, from, security).await?;
                answer::stamp(response.headers_mut());
                Ok::<_, Infallible>(response)
            }
        })
    };
    let too_many_errors = Arc::new(Notify::new());
    let stream = Counted::new(stream, too_many_errors.clone());
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ends = tokio::select! {
        _ = connection.as_mut() => return,
        () = stopping.stopped() => None,
        ends = looks.until_end(&work) => Some(ends),
        () = too_many_errors.notified() => Some(Ends::Faulty),
        // With all its streams: who would not be let in now has to connect anew.
        () = judged.until_refused(security) => return,
    };
    let farewell = match ends {
        None => drain,
        Some(Ends::Idle) => {
            metrics.limit_met("idle_ms");
            // Nothing is left to do, and it may not even have begun to speak.
            drain.min(idle)
        }
        Some(Ends::Faulty) => {
            metrics.limit_met("stream_errors_max");
            FAREWELL_TO_A_FLOOD
        }
        // A farewell would wait behind what it does not take.
        Some(Ends::Stalled) => return metrics.limit_met("write_stall_ms"),
    };
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(farewell, connection).await;
}

/// The tasks of a connection, one for each stream: a panic in one ends that stream, and is counted.
#[derive(Clone)]
struct Tasks(Arc<Metrics>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        let metrics = self.0.clone();
        tokio::spawn(parts::caught(task, move || metrics.task_panicked()));
    }
}

async fn answer(
    context: Context,
    mut request: Request<Incoming>,
    (hop, pass): (Hop, Pass),
    security: Security,
) -> Result<Response<Body>, Infallible> {
    if let Some(response) = context.refuse_beyond_look(&request, pass) {
        return Ok(response.map(Body::from));
    }
    let busy = context.busy.clone();
    if busy.as_ref().is_some_and(|busy| busy.is_burdened()) {
        let response = context.refuse_untaken(UNTAKEN_BYTES_MAX);
        return Ok(response.map(Body::from));
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let upgrade = (request.method() == Method::CONNECT).then(|| hyper::upgrade::on(&mut request));
    let client = context.client(&request, hop, security);
    Ok(match context.handle(request, &client, security).await {
        // It may have waited for a decision, as many others did. What was done is told.
        Reply::Response(response)
            if is_read
                && !response.body().is_empty()
                && busy.as_ref().is_some_and(|busy| busy.is_burdened()) =>
        {
            context.refuse_untaken(UNTAKEN_BYTES_MAX).map(Body::from)
        }
        Reply::Response(response) => whole(response, busy),
        Reply::Line(line) => open(&context, *line, upgrade, client.address).await,
    })
}

/// A line, or why there is none.
async fn open(
    context: &Context,
    line: LineRequest,
    upgrade: Option<OnUpgrade>,
    address: IpAddr,
) -> Response<Body> {
    let carrier = Carrier {
        shared: context.shared.clone(),
        busy: context.busy.clone(),
    };
    match carrier.open(line, upgrade, address).await {
        Ok(Opened::Answer(response)) => whole(response, context.busy.clone()),
        Ok(Opened::Stream(response)) => response.map(|line| Body::Line(Box::new(line))),
        Ok(Opened::Socket(response)) => response.map(|()| Body::from(Bytes::new())),
        Err(NotOpened::Full(full, response)) => context
            .refuse_line(full, address, &response)
            .map(Body::from),
        Err(NotOpened::Stopping) => context.refuse_stopping().map(Body::from),
    }
}

/// A response whose content keeps its connection busy until it has left.
fn whole(response: Response<Bytes>, busy: Option<Arc<Busy>>) -> Response<Body> {
    response.map(|content| match busy {
        Some(busy) => Body::from(busy.give(content)),
        None => Body::from(content),
    })
}
