//! Lines over HTTP/2: the wires driven by tasks, since a stream has no socket that a shard could take.
//!
//! ```text
//!  event stream, ndjson   Body ◀─ one batch ahead ◀─ task: log ─▶ framing
//!  long poll              waits for its one answer
//!  WebSocket              extended CONNECT (RFC 8441): the stream is the connection
//! ```

mod entries;
mod right;
mod session;
mod socket;
#[cfg(test)]
mod tests;
mod work;

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;
use hyper::upgrade::OnUpgrade;

use self::right::Right;
pub(crate) use self::{
    entries::EntryStream,
    session::SessionStream,
    work::{Busy, Ends, Looks, Patience, UNTAKEN_BYTES_MAX, Work},
};
use crate::{
    census::{Census, Seat},
    clock,
    http::{Body, Context},
    shard::{LineRequest, PollOccasion, PollRequest, Wire, poll_answer},
};

/// A counted line, given back when it is dropped.
pub(crate) struct Counted {
    census: Arc<Census>,
    seat: Option<Seat>,
}

impl Counted {
    /// The place itself, for whoever gives it back.
    fn into_seat(mut self) -> Option<Seat> {
        self.seat.take()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take() {
            self.census.leave(seat);
        }
    }
}

/// Opens a line on a stream: the response, and a task or a body that goes on.
pub(crate) async fn open(
    context: Context,
    line: LineRequest,
    upgrade: Option<OnUpgrade>,
    address: IpAddr,
) -> Response<Body> {
    let census = context.shared.census.clone();
    let counted = match context
        .shared
        .enter(address, line.wire.stay(), line.account)
    {
        Ok(seat) => Counted {
            census,
            seat: Some(seat),
        },
        Err(full) => return context.refuse_line(full, &line.response).map(Body::from),
    };
    let LineRequest {
        response,
        opening,
        wire,
        account,
    } = line;
    match wire {
        Wire::Poll(request) => wait(&context, &request, counted).await.map(Body::from),
        Wire::Entries(entries) if !entries.framing.is_websocket() => {
            let stream = EntryStream::open(context, entries, opening, counted);
            response.map(|()| Body::Entries(Box::new(stream)))
        }
        Wire::Session(request) => {
            let Some(seat) = counted.into_seat() else {
                return response.map(|()| Body::from(Bytes::new()));
            };
            match upgrade {
                Some(upgrade) => {
                    tokio::spawn(session::serve_socket(
                        context, upgrade, request, opening, seat,
                    ));
                    response.map(|()| Body::from(Bytes::new()))
                }
                None => {
                    let stream = session::open(&context, request, opening, seat);
                    response.map(|()| Body::Session(Box::new(stream)))
                }
            }
        }
        Wire::Entries(_) | Wire::Echo { .. } | Wire::Ended => {
            if let Some(upgrade) = upgrade {
                tokio::spawn(socket::serve(
                    context, upgrade, wire, opening, counted, account,
                ));
            }
            response.map(|()| Body::from(Bytes::new()))
        }
    }
}

/// Waits for a long poll's answer.
async fn wait(context: &Context, request: &PollRequest, _counted: Counted) -> Response<Bytes> {
    let page_bytes_max = context.shared.live.config.limits.page_bytes_max;
    let mut timeout = std::pin::pin!(tokio::time::sleep(Duration::from_millis(request.wait_ms)));
    let _attendance = request.channel.attend();
    let mut occasion = PollOccasion::Change;
    let mut right = Right::new(context, &request.caller, &request.channel, request.is_lent);
    loop {
        // Enabled before the look: what changes after the look wakes it.
        let mut changed = std::pin::pin!(request.channel.changed());
        changed.as_mut().enable();
        if right.check().is_err() {
            // Its client asks again, and is told then.
            occasion = PollOccasion::TimeOut;
        }
        let answer = poll_answer(
            &request.shape,
            &request.channel.lock(),
            occasion,
            page_bytes_max,
            clock::unix_ms(),
        );
        if let Some(response) = answer {
            return response;
        }
        tokio::select! {
            () = changed => {}
            () = right.changed() => {}
            () = timeout.as_mut() => occasion = PollOccasion::TimeOut,
            () = context.stopping.stopped() => occasion = PollOccasion::TimeOut,
        }
    }
}
