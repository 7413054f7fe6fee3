//! HTTP/2, on the workers: its streams share a socket, so they cannot move to a shard. The same wires run in
//! tasks instead.

use std::{convert::Infallible, net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::{core::Core, prefixed::Prefixed};
use crate::{
    http::{Body, Context, Reply},
    stream,
};

/// Streams that one connection may have open at once.
const STREAMS_MAX: u32 = 1024;

/// Serves a connection on the workers. Resolves at its end, so that it stays counted here.
pub(super) async fn hand_over(core: &Core, stream: TcpStream, first: Bytes, hop: IpAddr) {
    let Ok(socket) = stream.into_std() else {
        return;
    };
    let context = Context::clone(&core.context());
    let served = core.workers.spawn(async move {
        if let Ok(stream) = TcpStream::from_std(socket) {
            serve(context, stream, first, hop).await;
        }
    });
    if let Err(error) = served.await {
        tracing::error!(%error, "a connection over HTTP/2 was given up");
    }
}

async fn serve(context: Context, stream: TcpStream, first: Bytes, hop: IpAddr) {
    let config = &context.shared.live.config;
    let heartbeat = Duration::from_millis(config.http.heartbeat_ms);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(config.limits.head_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(heartbeat)
        .keep_alive_timeout(heartbeat)
        .enable_connect_protocol();
    let stopping = context.stopping.clone();
    let drain = Duration::from_millis(config.stop.drain_ms);
    let service = service_fn(move |request| answer(context.refreshed(), request, hop));
    let connection = builder.serve_connection(TokioIo::new(Prefixed::new(stream, first)), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopping.stopped() => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(drain, connection).await;
}

async fn answer(
    context: Context,
    mut request: Request<Incoming>,
    hop: IpAddr,
) -> Result<Response<Body>, Infallible> {
    let upgrade = (request.method() == Method::CONNECT).then(|| hyper::upgrade::on(&mut request));
    let client = context.client(&request, hop);
    Ok(match context.handle(request, &client).await {
        Reply::Response(response) => response.map(Body::from),
        Reply::Line(line) => stream::open(context, *line, upgrade, client.address).await,
    })
}
