//! A WebSocket over an HTTP/2 stream (RFC 8441): the shard speaks and listens, this only carries.

use std::{
    future::{pending, poll_fn},
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::ready,
    time::Duration,
};

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf},
    time::timeout,
};

use super::{Carrier, Counted, Piped};
use crate::shard::{INPUT_BYTES_MAX, Pipe, Wire};

/// Carries one WebSocket until it ends.
pub(super) async fn carry(
    carrier: Carrier,
    upgrade: OnUpgrade,
    opening: Bytes,
    wire: Wire,
    counted: Counted,
) {
    let Ok(upgraded) = upgrade.await else { return };
    let stall = Duration::from_millis(carrier.shared.live.config.limits.write_stall_ms);
    let (read, mut write) = tokio::io::split(TokioIo::new(upgraded));
    let mut line = Piped::open(&carrier, opening, wire, counted);
    let metrics = carrier.shared.metrics.clone();
    drop(carrier);
    let pipe = line.pipe();
    let speak = async {
        while let Some(taken) = poll_fn(|cx| line.poll_bytes(cx)).await {
            let Ok(bytes) = taken else { return };
            match timeout(stall, write_whole(&mut write, bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    // The shard looks after the line too, and may have seen it first.
                    if pipe.abandon() {
                        metrics.line_stalled();
                    }
                    return;
                }
            }
        }
        let _ = timeout(stall, write.shutdown()).await;
    };
    tokio::select! {
        () = listen(read, &pipe) => {}
        () = speak => {}
    }
}

/// Brings the shard what the client sends. Resolves if the stream is broken.
async fn listen(mut read: ReadHalf<TokioIo<Upgraded>>, pipe: &Pipe) {
    // Not read before the shard has taken what came before, so that a client that says much has to wait.
    while poll_fn(|cx| pipe.poll_accepts(cx)).await {
        let heard = poll_fn(|cx| {
            // On the stack of this call, not in each waiting task.
            let mut bytes = [MaybeUninit::uninit(); INPUT_BYTES_MAX];
            let mut bytes = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut read).poll_read(cx, &mut bytes))?;
            io::Result::Ok(Bytes::copy_from_slice(bytes.filled())).into()
        });
        match heard.await {
            Ok(bytes) if bytes.is_empty() => {
                pipe.give_end();
                break;
            }
            Ok(bytes) => pipe.give(bytes),
            Err(_) => return,
        }
    }
    // The line has an end of its own.
    pending::<()>().await;
}

async fn write_whole(write: &mut WriteHalf<TokioIo<Upgraded>>, bytes: Bytes) -> io::Result<()> {
    write.write_all(&bytes).await?;
    write.flush().await
}
