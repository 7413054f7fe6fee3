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
    census::{Census, Full, Seat},
    shard::{AnswerTo, LineRequest, PollRequest, Shared, Wire},
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

/// Opens lines on the streams of one connection.
#[derive(Clone)]
pub(crate) struct Carrier {
    pub shared: Shared,
    /// The connection that is busy while a line is open, if it is watched.
    pub busy: Option<Arc<Busy>>,
}

/// A line that was opened on a stream.
pub(crate) enum Opened {
    /// It had one thing to say, a long poll's answer.
    Answer(Response<Bytes>),
    /// It speaks in the response's content.
    Stream(Response<Piped>),
    /// It speaks and listens on what follows the response.
    Socket(Response<()>),
}

/// Why no line was opened on a stream.
pub(crate) enum NotOpened {
    /// There is no place for it; and the response that it would have begun with.
    Full(Full, Response<()>),
    /// The server stops.
    Stopping,
}

impl Carrier {
    /// Opens a line. A client that resets its stream drops this future, and the line is gone.
    pub async fn open(
        self,
        line: LineRequest,
        upgrade: Option<OnUpgrade>,
        address: IpAddr,
    ) -> Result<Opened, NotOpened> {
        let LineRequest {
            response,
            opening,
            wire,
            account,
            ..
        } = line;
        let counted = match self.shared.enter(address, wire.stay(), account) {
            Ok(seat) => Counted {
                census: self.shared.census.clone(),
                seat: Some(seat),
            },
            Err(full) => return Err(NotOpened::Full(full, response)),
        };
        Ok(match (wire, upgrade) {
            (Wire::Poll(request), _) => {
                let answer = self.wait(request, counted).await;
                Opened::Answer(answer.ok_or(NotOpened::Stopping)?)
            }
            (wire, Some(upgrade)) => {
                tokio::spawn(socket::carry(self, upgrade, opening, wire, counted));
                Opened::Socket(response)
            }
            (wire, None) => {
                let line = Piped::open(&self, opening, wire, counted);
                Opened::Stream(response.map(|()| line))
            }
        })
    }

    /// Waits for a long poll's answer, which does not come if the server stops.
    async fn wait(&self, mut request: PollRequest, counted: Counted) -> Option<Response<Bytes>> {
        let (answer, answered) = oneshot::channel();
        request.answer_to = AnswerTo::Stream(answer);
        let _line = Piped::open(self, Bytes::new(), Wire::Poll(request), counted);
        answered.await.ok()
    }
}
