//! Bare hyper: what any server pays that parses its requests with it, and nothing else.
//!
//! One thread, a current-thread runtime, a task for each connection. A request's content is read
//! and the answer is 204; nothing is kept. The answers of pipelined requests are flushed together,
//! which is the cheapest that hyper offers.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, LocalOptions},
    task::spawn_local,
};

/// Serves on `address` until the process ends; `on_listening` learns where that is.
///
/// # Errors
/// If the address cannot be listened on, or no connection can be accepted any more.
pub fn serve(address: SocketAddr, on_listening: impl FnOnce(SocketAddr)) -> Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .build_local(LocalOptions::default())
        .context("cannot create a runtime")?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        on_listening(listener.local_addr()?);
        loop {
            let (socket, _) = listener
                .accept()
                .await
                .context("cannot accept a connection")?;
            socket.set_nodelay(true)?;
            spawn_local(serve_connection(socket));
        }
    })
}

async fn serve_connection(socket: TcpStream) {
    // An error is the client's end, which is no event here.
    let _ = http1::Builder::new()
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(socket), service_fn(answer))
        .await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    request.into_body().collect().await?;
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
        sync::mpsc,
        thread,
    };

    use super::*;
    use crate::{publish::Answers, wire};

    #[test]
    fn pipelined_requests_are_answered_on_a_kept_connection() {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            serve(SocketAddr::from(([127, 0, 0, 1], 0)), |address| {
                sender.send(address).unwrap();
            })
        });
        let address = receiver.recv().unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        let request = [&wire::publish_head(address, "a", 5)[..], b"hello"].concat();
        for requests in [1, 8] {
            socket.write_all(&request.repeat(requests)).unwrap();
            let (mut answers, mut answered) = (Answers::default(), 0);
            while answered < requests {
                let mut buffer = [0; 4096];
                let bytes = socket.read(&mut buffer).unwrap();
                assert!(bytes > 0, "the connection is kept");
                answered += answers.decode(&buffer[..bytes]).unwrap();
            }
            assert_eq!(answered, requests);
        }
    }
}
