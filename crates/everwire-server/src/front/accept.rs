//! Accepting connections, and telling TLS from clear text and HTTP/1.1 from HTTP/2 by the first bytes.

use std::{
    future::{Future, poll_fn},
    io,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::AsyncWrite,
    net::{TcpListener, TcpStream},
};

use super::{
    announced::{self, AnnounceError},
    core::Core,
    h1, h2,
    handshake::{Speech, shake_hands},
    stream::Stream,
    watch::{Awaited, Done, Guest},
};
use crate::{
    auth::Caller,
    census::{Arrival, Visit},
    http::Context,
    proxy::Hop,
    rate::Purpose,
};

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a connection of the reserve may take for all that it is for.
const LOOK: Duration = Duration::from_secs(5);

/// Bytes of the preface that no request of HTTP/1.1 begins with.
const TELLING: usize = 4;

/// Accepts until the server stops.
pub(super) async fn accept(core: Rc<Core>, listener: Rc<TcpListener>) {
    let stopping = core.context().stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.stopped() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let peer = peer.ip().to_canonical();
                let Some(arrival) = core.arrive(peer) else {
                    continue;
                };
                let is_in_reserve = arrival.is_in_reserve();
                let is_announced =
                    announced::is_expected(peer, &core.context().shared.live.config.http);
                let came = match is_announced {
                    true => Came::Announced(arrival, peer),
                    // At once: a flood of one address takes no places, not even for a moment.
                    false => match visit(&core, arrival, Hop::at(peer)) {
                        Some(visit) => Came::Known(visit),
                        None => continue,
                    },
                };
                #[cfg(test)]
                super::core::tests::planted(peer, super::core::tests::IN_ACCEPT);
                let (serving, in_http) = (core.clone(), core.serves());
                core.spawn(async move {
                    let core = serving;
                    #[cfg(test)]
                    super::core::tests::planted_in_a_connection(&core, peer);
                    let _in_http = in_http;
                    match is_in_reserve {
                        false => serve(core, stream, came).await,
                        // Boxed, so that other tasks are no larger for those few.
                        true => {
                            let served = Box::pin(serve(core, stream, came));
                            let _ = tokio::time::timeout(LOOK, served).await;
                        }
                    }
                });
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors or memory: accepting at once again would only burn the core.
                tracing::warn!(%error, "a connection could not be accepted; trying again in 100 ms");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A connection that was accepted.
enum Came {
    /// From this address.
    Known(Visit),
    /// From a proxy, which says first who is behind it.
    Announced(Arrival, IpAddr),
}

async fn serve(core: Rc<Core>, stream: TcpStream, came: Came) {
    let guest = core.watch.enter();
    let visit = match came {
        Came::Known(visit) => visit,
        Came::Announced(arrival, peer) => {
            guest.waits(Done::default(), Awaited::Head);
            let hop = match attended(&core, &guest, announced::read(&stream)).await {
                Some(Ok(client)) => Hop {
                    address: client.unwrap_or(peer),
                    is_unnamed: client.is_none(),
                },
                // A balancer that only looks whether somebody listens.
                Some(Err(AnnounceError::Io(_))) | None => return,
                Some(Err(AnnounceError::Protocol(error))) => {
                    core.context().shared.metrics.proxy_not_understood();
                    tracing::warn!(%error, proxy = %peer, "a connection from a trusted proxy was closed");
                    return;
                }
            };
            match visit(&core, arrival, hop) {
                Some(visit) => visit,
                None => return,
            }
        }
    };
    guest.waits(Done::default(), Awaited::Request);
    // Until the first byte comes, a connection costs no more than this task. Browsers open some ahead of need.
    let Some(Ok(first)) = attended(&core, &guest, first_bytes(&stream)).await else {
        return;
    };
    let shaken = Box::pin(shake_hands(&core, stream, first));
    let Some(Some((mut stream, speech))) = attended(&core, &guest, shaken).await else {
        return;
    };
    let speech = match speech {
        Speech::Unknown => attended(&core, &guest, told(&mut stream)).await.flatten(),
        agreed => Some(agreed),
    };
    match speech {
        Some(Speech::Http2) => {
            drop(guest);
            h2::hand_over(&core, stream, visit).await;
        }
        Some(Speech::Http1 | Speech::Unknown) => h1::serve(core, guest, stream, visit).await,
        // Nothing is lost that the peer could wait for.
        None => {
            poll_fn(|cx| {
                let _ = Pin::new(&mut stream).poll_shutdown(cx);
                Poll::Ready(())
            })
            .await;
        }
    }
}

/// What is spoken, as the first bytes tell.
async fn told(stream: &mut Stream) -> Option<Speech> {
    let first = poll_fn(|cx| stream.poll_first(cx, TELLING)).await.ok()?;
    Some(match first.starts_with(&PREFACE[..TELLING]) {
        true => Speech::Http2,
        false => Speech::Http1,
    })
}

/// Counts a connection for its address, or counts that it is refused.
fn visit(core: &Core, arrival: Arrival, hop: Hop) -> Option<Visit> {
    let context = core.context();
    let visit = judge(&context, arrival, hop);
    if let Err(limit) = &visit {
        context.shared.metrics.limit_met(limit);
        context.shared.metrics.connection_refused();
        context.shared.on_limit_of(hop.address, limit);
    }
    visit.ok()
}

/// Counts a connection for its address, or tells the limit that is met. Those of a trusted proxy are not its own.
fn judge(context: &Context, arrival: Arrival, hop: Hop) -> Result<Visit, &'static str> {
    let shared = &context.shared;
    if shared.live.config.dev || hop.is_trusted(&shared.live.config.http) {
        return arrival.at(hop, 0, &shared.live);
    }
    let limits = &shared.live.config.limits;
    let account = shared.rate.account(&Caller::Anybody, hop.address);
    let pace = limits.connections_per_second_max;
    (shared.rate.admit_for(Purpose::Connect, account, pace))
        .map_err(|_| "connections_per_second_max")?;
    arrival.at(hop, limits.connections_per_address_max, &shared.live)
}

/// What comes in time, if the server does not stop before.
async fn attended<T>(core: &Core, guest: &Guest, what: impl Future<Output = T>) -> Option<T> {
    let mut what = std::pin::pin!(what);
    poll_fn(|cx| {
        guest.attend(cx);
        if let Some(awaited) = guest.exhausted() {
            let context = core.context();
            context.shared.metrics.limit_met(awaited.setting());
            return Poll::Ready(None);
        }
        if guest.is_stopping() {
            return Poll::Ready(None);
        }
        what.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Reads until it is clear what is spoken.
async fn first_bytes(stream: &TcpStream) -> io::Result<Bytes> {
    let mut first = BytesMut::new();
    loop {
        stream.readable().await?;
        match read_some(stream, &mut first) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if first.len() >= TELLING || !PREFACE.starts_with(&first) => {
                return Ok(first.freeze());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// The buffer is on the stack of this call, not in each waiting task.
fn read_some(stream: &TcpStream, into: &mut BytesMut) -> io::Result<usize> {
    let mut buffer = [0; 4096];
    let count = stream.try_read(&mut buffer)?;
    into.extend_from_slice(&buffer[..count]);
    Ok(count)
}

/// Errors of a connection that was gone before it was accepted.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
