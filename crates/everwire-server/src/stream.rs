//! Lines over HTTP/2: a stream has no socket that a shard could take, so its line lives on a shard and speaks through a
//! pipe. What is here only carries bytes.
//!
//! ```text
//!  event stream, ndjson   Body ◀───── poll_take ─── Pipe ◀── shard
//!  WebSocket (RFC 8441)   stream ◀── poll_take ─── Pipe ◀── shard
//!                                ─── give ───────▶      ──▶
//!  long poll              one answer ◀───────────────────── shard
//! ```

mod piped;
mod socket;
#[cfg(test)]
mod tests;
mod work;

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::Response;
use hyper::upgrade::OnUpgrade;
use tokio::sync::oneshot;

pub(crate) use self::{
    piped::{Cut, Piped},
    work::{Busy, Ends, Looks, Patience, UNTAKEN_BYTES_MAX, Work},
};
use crate::{
    census::{Census, Seat},
    http::{Body, Context},
    shard::{AnswerTo, LineRequest, PollRequest, Wire},
};

/// A place among the lines, given back when it is dropped unless a line took it.
struct Counted {
    census: Arc<Census>,
    seat: Option<Seat>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take() {
            self.census.leave(seat);
        }
    }
}

/// Opens a line on a stream: the response, and what goes on after it.
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
        ..
    } = line;
    match (wire, upgrade) {
        (Wire::Poll(request), _) => {
            let busy = context.busy.clone();
            let answer = wait(&context, request, counted).await;
            answer.map(|content| match busy {
                Some(busy) => Body::from(busy.give(content)),
                None => Body::from(content),
            })
        }
        (wire, Some(upgrade)) => {
            tokio::spawn(socket::carry(context, upgrade, opening, wire, counted));
            response.map(|()| Body::from(Bytes::new()))
        }
        (wire, None) => {
            let line = Piped::open(&context, opening, wire, counted);
            response.map(|()| Body::Line(Box::new(line)))
        }
    }
}

/// Waits for a long poll's answer. A client that resets its stream drops this future, and the poll is gone.
async fn wait(context: &Context, mut request: PollRequest, counted: Counted) -> Response<Bytes> {
    let (answer, answered) = oneshot::channel();
    request.answer_to = AnswerTo::Stream(answer);
    let _line = Piped::open(context, Bytes::new(), Wire::Poll(request), counted);
    match answered.await {
        Ok(response) => response,
        Err(_) => context.refuse_stopping(),
    }
}
