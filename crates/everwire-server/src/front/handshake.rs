//! The TLS handshake, on the core thread, in bounded time.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

use super::{
    core::Core,
    stream::{Stream, poll_seals},
};
use crate::{
    http::refuse_clear_text,
    tls::{ACME_PROTOCOL, Admission, Connection, HandshakeFailure, Security},
};

/// What a record of a handshake begins with (RFC 8446, section 5.1). No method of HTTP begins with it.
const HANDSHAKE: u8 = 0x16;

/// What is to be spoken over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Http1,
    Http2,
    /// Its first bytes will tell.
    Unknown,
}

/// Does the handshake where there has to be one. `first` was read before. Nothing if it fails, which is counted.
pub(super) async fn shake_hands(
    core: &Core,
    socket: TcpStream,
    first: Bytes,
) -> Option<(Stream, Speech)> {
    let context = core.context();
    let shared = &context.shared;
    let config = &shared.live.config;
    let is_tls = first.first() == Some(&HANDSHAKE);
    if !is_tls || !shared.tls.speaks_tls() {
        if let Admission::Refused(_) = context.admit(Security::Clear) {
            shared
                .metrics
                .handshake_failed(HandshakeFailure::ClearText.name());
            refuse(socket, first, Duration::from_millis(config.http.content_ms)).await;
            return None;
        }
        return Some((Stream::new(socket, None, first), Speech::Unknown));
    }
    let tls = match shared.tls.accept() {
        Ok(tls) => Box::new(tls),
        Err(error) => {
            tracing::error!(%error, "a connection cannot be taken under TLS");
            return None;
        }
    };
    let limit = Duration::from_millis(config.tls.handshake_ms);
    let mut handshake = Handshake {
        socket,
        tls,
        plaintext: Vec::new(),
    };
    let done = tokio::time::timeout(limit, async {
        handshake.take(&mut first.to_vec())?;
        poll_fn(|cx| handshake.poll(cx)).await
    });
    let failure = match done.await {
        Ok(Ok(())) => {
            let Handshake {
                socket,
                tls,
                plaintext,
            } = handshake;
            if let Some(kind) = tls.handshake() {
                shared.metrics.shook_hands(kind);
            }
            let speech = match tls.protocol() {
                Some(b"h2") => Speech::Http2,
                Some(b"http/1.1") => Speech::Http1,
                // Who asks for a challenge has seen what it wanted to see (RFC 8737, section 3).
                Some(ACME_PROTOCOL) => return None,
                Some(_) | None => Speech::Unknown,
            };
            return Some((Stream::new(socket, Some(tls), plaintext.into()), speech));
        }
        Ok(Err(failure)) => failure,
        Err(_) => HandshakeFailure::TimeOut,
    };
    if failure == HandshakeFailure::TimeOut {
        shared.metrics.limit_met("handshake_ms");
    }
    shared.metrics.handshake_failed(failure.name());
    tracing::debug!(reason = failure.name(), "a handshake failed");
    // The alert that tells the peer, if its socket takes it.
    let Handshake { socket, tls, .. } = &mut handshake;
    poll_fn(|cx| Poll::Ready(poll_seals(socket, tls, cx).is_ready())).await;
    None
}

struct Handshake {
    socket: TcpStream,
    tls: Box<Connection>,
    /// What came in right behind it.
    plaintext: Vec<u8>,
}

impl Handshake {
    fn take(&mut self, ciphertext: &mut [u8]) -> Result<(), HandshakeFailure> {
        let Self { tls, plaintext, .. } = self;
        let received = tls.receive(ciphertext, &mut |part| plaintext.extend_from_slice(part));
        received.map_err(HandshakeFailure::Tls)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HandshakeFailure>> {
        loop {
            let sent = poll_seals(&mut self.socket, &mut self.tls, cx);
            ready!(sent).map_err(|_| HandshakeFailure::Closed)?;
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            let mut ciphertext = [0; 4096];
            let mut buffer = ReadBuf::new(&mut ciphertext);
            let read = Pin::new(&mut self.socket).poll_read(cx, &mut buffer);
            ready!(read).map_err(|_| HandshakeFailure::Closed)?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(HandshakeFailure::Closed));
            }
            self.take(buffer.filled_mut())?;
        }
    }
}

/// Tells somebody who speaks HTTP in clear text what is spoken here.
async fn refuse(mut socket: TcpStream, first: Bytes, limit: Duration) {
    if !first.first().is_some_and(u8::is_ascii_uppercase) {
        return;
    }
    let refusal = async {
        socket.write_all(&refuse_clear_text()).await?;
        socket.shutdown().await?;
        // Until the peer has read it: what it had sent would have the answer reset.
        tokio::io::copy(&mut socket, &mut tokio::io::sink()).await
    };
    let _: Result<io::Result<u64>, _> = tokio::time::timeout(limit, refusal).await;
}
