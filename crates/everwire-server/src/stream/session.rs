//! A session over HTTP/2: it lives on a shard like any other, which writes into a pipe.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
    time::timeout,
};

use super::{Busy, socket::write_whole};
use crate::{
    census::Seat,
    http::Context,
    hub::{Mail, Mailbox},
    pipe::{Pipe, Takes},
    shard::{Input, OpenSession, SessionRequest},
};

/// The receiving end of a session's messages, as the body of a response.
pub(crate) struct SessionStream {
    pipe: Arc<Pipe>,
    shard: Arc<Mailbox>,
    _busy: Option<Arc<Busy>>,
}

/// Opens a session on some shard. What is said to it comes out of the pipe.
pub(super) fn open(
    context: &Context,
    request: SessionRequest,
    opening: Bytes,
    address: Seat,
) -> SessionStream {
    let shard = context.shared.sessions.some_shard();
    let pipe = Arc::new(Pipe::new(request.id, shard.clone(), Takes::Bytes));
    shard.post(Mail::Open(Box::new(OpenSession {
        pipe: pipe.clone(),
        opening,
        request,
        address,
    })));
    SessionStream {
        pipe,
        shard,
        _busy: context.busy.clone(),
    }
}

impl SessionStream {
    /// The next bytes of the body.
    pub fn poll_bytes(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Bytes>> {
        self.pipe.poll_take(cx)
    }
}

impl Drop for SessionStream {
    fn drop(&mut self) {
        self.pipe.abandon();
    }
}

/// Inputs that may be on their way to the shard at once.
const INPUTS_MAX: usize = 4;

/// Bytes of one input.
const INPUT_BYTES: usize = 16 * 1024;

/// Serves a session's WebSocket (RFC 8441) until it ends: the shard speaks and listens, this only carries.
pub(super) async fn serve_socket(
    context: Context,
    upgrade: OnUpgrade,
    request: SessionRequest,
    opening: Bytes,
    address: Seat,
) {
    let Ok(upgraded) = upgrade.await else {
        return context.shared.census.leave(address);
    };
    let id = request.id;
    let stall = Duration::from_millis(context.shared.live.config.limits.write_stall_ms);
    let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
    let mut session = open(&context, request, opening, address);
    let shard = session.shard.clone();
    let inputs = Arc::new(Semaphore::new(INPUTS_MAX));
    let listen = async {
        loop {
            let mut bytes = BytesMut::with_capacity(INPUT_BYTES);
            // Not read before the shard has room for it, so that a client that says much has to wait.
            let Ok(permit) = inputs.clone().acquire_owned().await else {
                return;
            };
            match read.read_buf(&mut bytes).await {
                Ok(1..) => {
                    let bytes = bytes.freeze();
                    shard.post(Mail::Input(id, Input { bytes, permit }));
                }
                Ok(0) | Err(_) => return,
            }
        }
    };
    let speak = async {
        while let Some(bytes) = poll_fn(|cx| session.poll_bytes(cx)).await {
            // The shard sees by its pipe that nothing is taken, and ends the session; the stream ends with it.
            if !write_whole(&mut write, bytes, stall).await {
                return;
            }
        }
        let _ = timeout(stall, write.shutdown()).await;
    };
    tokio::select! {
        () = listen => {}
        () = speak => {}
    }
}
