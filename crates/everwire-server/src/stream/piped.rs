//! The far end of a line's pipe.

use std::{
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use bytes::Bytes;

use super::{Busy, Carrier, Counted};
use crate::shard::{Mail, OpenLine, Pipe, Takes, Wire};

/// A line on some shard, which is gone when this is dropped.
pub(crate) struct Piped {
    pipe: Arc<Pipe>,
    /// Its connection is busy with it.
    _busy: Option<Arc<Busy>>,
}

/// The line broke off: the stream is reset, so that its reader does not take what it has for the whole.
#[derive(Debug, thiserror::Error)]
#[error("the line was cut")]
pub(crate) struct Cut;

impl Piped {
    /// Opens a line on some shard, which takes the place among the lines over.
    pub(super) fn open(
        carrier: &Carrier,
        opening: Bytes,
        wire: Wire,
        mut counted: Counted,
    ) -> Self {
        let shard = carrier.shared.sessions.some_shard();
        let pipe = Arc::new(Pipe::new(wire.id(), shard.clone(), Takes::Bytes));
        if let Some(seat) = counted.seat.take() {
            shard.post(Mail::Open(Box::new(OpenLine {
                pipe: pipe.clone(),
                opening,
                wire,
                seat,
            })));
        }
        Self {
            pipe,
            _busy: carrier.busy.clone(),
        }
    }

    /// The next bytes that the line sends; none when it has ended.
    pub fn poll_bytes(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let taken = std::task::ready!(self.pipe.poll_take(cx));
        Poll::Ready(match taken {
            Some(bytes) => Some(Ok(bytes)),
            None => self.pipe.is_cut().then_some(Err(Cut)),
        })
    }

    /// The pipe itself, for what the client sends.
    pub(super) fn pipe(&self) -> Arc<Pipe> {
        self.pipe.clone()
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        self.pipe.abandon();
    }
}
