//! A pipe: what a shard sends to a session that has no socket of its own, because it shares one with others
//! (HTTP/2) or has one only now and then (long polls).
//!
//! ```text
//!  shard ── send ──▶ │ up to 64 KiB │ ── poll_take ──▶ a response body, an answer to a poll
//!        ◀─ "room" ─ └──────────────┘
//! ```
//!
//! To the shard it is a socket that is full at times: then the session falls behind in its logs, not in a queue.

use std::{
    io::{self, IoSlice},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};

use crate::{
    hub::{Mail, Mailbox},
    session_id::SessionId,
};

/// So much is in a pipe at most; of whole messages, one slice more.
const PIPE_BYTES_MAX: usize = 64 * 1024;

/// See the module.
pub(crate) struct Pipe {
    session: SessionId,
    shard: Arc<Mailbox>,
    takes: Takes,
    state: Mutex<State>,
}

/// What a pipe takes while there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// As many bytes as fit: a stream is cut anywhere.
    Bytes,
    /// Slices as they are, which begin and end between two messages, so that what is in it are whole ones.
    Messages,
}

#[derive(Default)]
struct State {
    bytes: BytesMut,
    /// The shard found no room, and waits to be told of some.
    wants_room: bool,
    /// Nothing follows what is in it.
    ended: bool,
    /// Nobody takes anything any more.
    abandoned: bool,
    taker: Option<Waker>,
}

impl Pipe {
    /// An empty pipe from a shard to a session.
    pub fn new(session: SessionId, shard: Arc<Mailbox>, takes: Takes) -> Self {
        Self {
            session,
            shard,
            takes,
            state: Mutex::default(),
        }
    }

    /// Whose pipe it is.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Puts in what there is room for. Who could not put in everything is told when there is room again.
    pub fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.lock();
        if state.abandoned || state.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let before = state.bytes.len();
        for slice in slices {
            let room = PIPE_BYTES_MAX.saturating_sub(state.bytes.len());
            let taken = match self.takes {
                Takes::Messages if room > 0 => slice.len(),
                Takes::Messages | Takes::Bytes => slice.len().min(room),
            };
            state.bytes.extend_from_slice(&slice[..taken]);
            if taken < slice.len() {
                state.wants_room = true;
                break;
            }
        }
        let sent = state.bytes.len() - before;
        if sent == 0 && state.wants_room {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wake(state);
        Ok(sent)
    }

    /// Has whoever waits for something look again.
    pub fn nudge(&self) {
        wake(self.lock());
    }

    /// Nothing follows.
    pub fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        wake(state);
    }

    /// All that is in it, as soon as there is something; nothing once it has ended.
    pub fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.lock();
        if state.bytes.is_empty() {
            if state.ended {
                return Poll::Ready(None);
            }
            state.taker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // Not split off: what is taken keeps no room that the next would be copied out of.
        let taken = std::mem::take(&mut state.bytes).freeze();
        if std::mem::take(&mut state.wants_room) {
            self.shard.post(Mail::Room(self.session));
        }
        Poll::Ready(Some(taken))
    }

    /// Nobody will take anything any more.
    pub fn abandon(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.abandoned, true) && !state.ended {
            self.shard.post(Mail::Gone(self.session));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let taker = state.taker.take();
    drop(state);
    if let Some(taker) = taker {
        taker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(pipe: &Pipe) -> Poll<Option<Bytes>> {
        pipe.poll_take(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_full_pipe_takes_nothing_and_tells_when_it_has_room_again() {
        let slice = vec![b'x'; PIPE_BYTES_MAX - 1];
        let slices = [(); 3].map(|()| IoSlice::new(&slice));
        for (takes, expected) in [
            (Takes::Bytes, PIPE_BYTES_MAX),
            (Takes::Messages, 2 * slice.len()),
        ] {
            let mailbox: Arc<Mailbox> = Arc::default();
            let pipe = Pipe::new(SessionId(7), mailbox.clone(), takes);
            assert_eq!(take(&pipe), Poll::Pending);
            assert_eq!(pipe.send(&slices).unwrap(), expected, "{takes:?}");
            let full = pipe.send(&[IoSlice::new(b"b")]).unwrap_err();
            assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
            let Poll::Ready(Some(taken)) = take(&pipe) else {
                panic!("there is something")
            };
            assert_eq!(taken.len(), expected, "{takes:?}");
            let mut mail = Vec::new();
            mailbox.take(&mut mail);
            assert!(matches!(mail[..], [Mail::Room(SessionId(7))]), "{mail:?}");
        }
    }

    #[test]
    fn what_was_said_before_the_end_is_still_taken() {
        let pipe = Pipe::new(SessionId(7), Arc::default(), Takes::Bytes);
        pipe.send(&[IoSlice::new(b"last")]).unwrap();
        pipe.end();
        assert_eq!(take(&pipe), Poll::Ready(Some(Bytes::from_static(b"last"))));
        assert_eq!(take(&pipe), Poll::Ready(None));
        assert!(pipe.send(&[IoSlice::new(b"more")]).is_err());
    }

    #[test]
    fn an_abandoned_pipe_tells_the_shard_once() {
        let mailbox: Arc<Mailbox> = Arc::default();
        let pipe = Pipe::new(SessionId(7), mailbox.clone(), Takes::Bytes);
        pipe.abandon();
        pipe.abandon();
        let mut mail = Vec::new();
        mailbox.take(&mut mail);
        assert!(matches!(mail[..], [Mail::Gone(SessionId(7))]), "{mail:?}");
        assert!(pipe.send(&[IoSlice::new(b"x")]).is_err());
    }
}
