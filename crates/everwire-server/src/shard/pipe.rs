//! A pipe: the connection of a line that has no socket of its own, because it shares one with others (HTTP/2) or has
//! one only now and then (long polls).
//!
//! ```text
//!  shard ── send ──▶ │ up to 32 KiB │ ── poll_take ──▶ a response body, an answer to a poll
//!        ◀─ Room ─── └──────────────┘
//!        ◀─ read ─── ┌──────────────┐ ◀──── give ───── what the client sends
//!        ◀ Readable  │ up to 16 KiB │ ─ poll_accepts ▶
//! ```
//!
//! To the shard it is a socket that is full at times: then the line falls behind in its logs, not in a queue. To
//! whoever carries the bytes it is a peer that takes its time: nothing more is read from the client before the shard has
//! taken what came before, so that the client has to wait. All mail about a pipe is a hint of which one is on its way at
//! most, so a mailbox holds no more for it than that.

use std::{
    io::{self, IoSlice},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes, BytesMut};

use super::{Mail, Mailbox};
use crate::{
    budget::{Exhausted, FREE_BYTES, Share},
    session_id::SessionId,
};

/// Bytes that a pipe holds for its taker at most; of whole messages, one slice more.
pub(crate) const PIPE_BYTES_MAX: usize = 32 * 1024;

/// Bytes that are given to a shard at once.
pub(crate) const INPUT_BYTES_MAX: usize = 16 * 1024;

/// See the module.
pub(crate) struct Pipe {
    /// What mail names the line by: a session's own id, or a random number.
    line: SessionId,
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
    /// On their way to the client.
    down: BytesMut,
    /// The shard found no room, and waits to be told of some.
    wants_room: bool,
    end: End,
    /// Nobody takes anything any more.
    abandoned: bool,
    taker: Option<Waker>,
    /// On their way to the shard.
    up: Bytes,
    /// Nothing follows from the client.
    up_ended: bool,
    /// The shard was told that there is something to read, and has not looked.
    told: bool,
    giver: Option<Waker>,
    /// Of the budget, for what is on its way to the client, where that may be more than a pipe's length.
    share: Option<Share>,
}

/// How far the shard has got with what it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// Nothing follows what is in the pipe.
    Ended,
    /// The line broke off: what was sent is not whole.
    Cut,
}

impl Pipe {
    /// An empty pipe between a shard and the client of a line.
    pub fn new(line: SessionId, shard: Arc<Mailbox>, takes: Takes) -> Self {
        Self {
            line,
            shard,
            takes,
            state: Mutex::default(),
        }
    }

    /// The same, where whole messages are held within a share of the budget, which is empty yet.
    pub fn within(self, share: Share) -> Self {
        self.lock().share = Some(share);
        self
    }

    /// The id that mail names the line by.
    pub fn line(&self) -> SessionId {
        self.line
    }

    /// Puts in what there is room for. A shard that could not put in everything is told when there is room again.
    pub fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.lock();
        if state.abandoned || state.end != End::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let before = state.down.len();
        for slice in slices {
            let room = PIPE_BYTES_MAX.saturating_sub(state.down.len());
            let taken = match self.takes {
                Takes::Messages if room > 0 => slice.len(),
                Takes::Messages | Takes::Bytes => slice.len().min(room),
            };
            if let Err(exhausted) = state.hold(taken) {
                if state.down.is_empty() {
                    // There is nothing to wait for.
                    return Err(io::Error::new(io::ErrorKind::OutOfMemory, exhausted));
                }
                state.wants_room = true;
                break;
            }
            state.down.extend_from_slice(&slice[..taken]);
            if taken < slice.len() {
                state.wants_room = true;
                break;
            }
        }
        let sent = state.down.len() - before;
        if sent == 0 && state.wants_room {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taker = state.taker.take();
        wake(state, taker);
        Ok(sent)
    }

    /// Reads what the client sent, as a socket is read: 0 bytes are the end.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.lock();
        state.told = false;
        if state.up.is_empty() {
            return match state.up_ended {
                true => Ok(0),
                false => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let read = state.up.len().min(buffer.len());
        state.up.copy_to_slice(&mut buffer[..read]);
        if state.up.is_empty() {
            state.up = Bytes::new();
            let giver = state.giver.take();
            wake(state, giver);
        }
        Ok(read)
    }

    /// Has whoever waits for something look again.
    pub fn nudge(&self) {
        let mut state = self.lock();
        let taker = state.taker.take();
        wake(state, taker);
    }

    /// Nothing follows.
    pub fn end(&self) {
        self.finish(End::Ended);
    }

    /// The line breaks off: what is in the pipe is let go, since what it belongs to is never whole. True if it is this
    /// that ends the line, and neither side has done so before.
    pub fn cut(&self) -> bool {
        self.finish(End::Cut)
    }

    fn finish(&self, end: End) -> bool {
        let mut state = self.lock();
        if state.end != End::Open {
            return false;
        }
        let is_first = !state.abandoned;
        state.end = end;
        if end == End::Cut {
            state.down = BytesMut::new();
        }
        state.up = Bytes::new();
        let waiting = (state.taker.take(), state.giver.take());
        wake(state, waiting.0.into_iter().chain(waiting.1));
        is_first
    }

    /// Whether the line broke off instead of ending.
    pub fn is_cut(&self) -> bool {
        self.lock().end == End::Cut
    }

    /// All that is in it, as soon as there is something; nothing once it has ended.
    pub fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        (self.poll_take_held(cx)).map(|taken| taken.map(|(bytes, _share)| bytes))
    }

    /// The same with the share that it takes up, for whoever keeps it.
    pub fn poll_take_held(&self, cx: &Context<'_>) -> Poll<Option<(Bytes, Option<Share>)>> {
        let mut state = self.lock();
        if state.down.is_empty() {
            if state.end != End::Open {
                return Poll::Ready(None);
            }
            state.taker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // Not split off: what is taken keeps no room that the next would be copied out of.
        let taken = std::mem::take(&mut state.down).freeze();
        let share = state.share.as_mut().map(|share| share.split(usize::MAX));
        if std::mem::take(&mut state.wants_room) {
            self.shard.post(Mail::Room(self.line));
        }
        Poll::Ready(Some((taken, share)))
    }

    /// Ready with true when the shard has taken all that it was given, with false when it listens no more.
    pub fn poll_accepts(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut state = self.lock();
        if state.end != End::Open {
            return Poll::Ready(false);
        }
        if state.up.is_empty() {
            return Poll::Ready(true);
        }
        state.giver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Gives the shard what the client sent, when it has taken what came before.
    pub fn give(&self, bytes: Bytes) {
        let mut state = self.lock();
        debug_assert!(state.up.is_empty(), "given before there was room");
        if state.end == End::Open {
            state.up = bytes;
            self.tell(state);
        }
    }

    /// Nothing follows from the client.
    pub fn give_end(&self) {
        let mut state = self.lock();
        state.up_ended = true;
        self.tell(state);
    }

    fn tell(&self, mut state: MutexGuard<'_, State>) {
        if !std::mem::replace(&mut state.told, true) && state.end == End::Open {
            self.shard.post(Mail::Readable(self.line));
        }
    }

    /// Nobody will take anything any more. True if it is this that ends the line, and neither side has done so before.
    pub fn abandon(&self) -> bool {
        let mut state = self.lock();
        let is_first = !std::mem::replace(&mut state.abandoned, true) && state.end == End::Open;
        if is_first {
            self.shard.post(Mail::Gone(self.line));
        }
        is_first
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a share for so many bytes more, where they are held within one and are not few.
    fn hold(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let all = self.down.len() + bytes;
        match &mut self.share {
            Some(share) if all > FREE_BYTES => share.grow_to(all),
            Some(_) | None => Ok(()),
        }
    }
}

/// Wakes tasks when the lock is free again.
fn wake(state: MutexGuard<'_, State>, waiting: impl IntoIterator<Item = Waker>) {
    drop(state);
    waiting.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::Caller,
        budget::{Bounds, Budget},
        rate::Rate,
    };

    fn pipe(takes: Takes) -> (Pipe, Arc<Mailbox>) {
        let mailbox: Arc<Mailbox> = Arc::default();
        (Pipe::new(SessionId(7), mailbox.clone(), takes), mailbox)
    }

    fn take(pipe: &Pipe) -> Poll<Option<Bytes>> {
        pipe.poll_take(&Context::from_waker(Waker::noop()))
    }

    fn accepts(pipe: &Pipe) -> Poll<bool> {
        pipe.poll_accepts(&Context::from_waker(Waker::noop()))
    }

    fn mail(mailbox: &Mailbox) -> Vec<Mail> {
        let mut mail = Vec::new();
        mailbox.take(&mut mail);
        mail
    }

    #[test]
    fn a_full_pipe_takes_nothing_and_tells_when_it_has_room_again() {
        let slice = vec![b'x'; PIPE_BYTES_MAX - 1];
        let slices = [(); 3].map(|()| IoSlice::new(&slice));
        for (takes, expected) in [
            (Takes::Bytes, PIPE_BYTES_MAX),
            (Takes::Messages, 2 * slice.len()),
        ] {
            let (pipe, mailbox) = pipe(takes);
            assert_eq!(take(&pipe), Poll::Pending);
            assert_eq!(pipe.send(&slices).unwrap(), expected, "{takes:?}");
            let full = pipe.send(&[IoSlice::new(b"b")]).unwrap_err();
            assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
            let Poll::Ready(Some(taken)) = take(&pipe) else {
                panic!("there is something")
            };
            assert_eq!(taken.len(), expected, "{takes:?}");
            let mail = mail(&mailbox);
            assert!(matches!(mail[..], [Mail::Room(SessionId(7))]), "{mail:?}");
        }
    }

    #[test]
    fn whole_messages_are_held_within_a_share_until_what_was_taken_is_let_go() {
        let budget: Arc<Budget> = Arc::default();
        let account = Rate::default().account(&Caller::Anybody, [192, 0, 2, 1].into());
        let bounds = Bounds {
            all: usize::MAX,
            account: 100_000,
        };
        let (pipe, mailbox) = pipe(Takes::Messages);
        let pipe = pipe.within(budget.take(account, 0, bounds).unwrap());
        let [little, large] = [FREE_BYTES, 90_000].map(|length| vec![b'x'; length]);
        assert_eq!(pipe.send(&[IoSlice::new(&little)]).unwrap(), little.len());
        assert_eq!(budget.bytes(), 0, "it is among what a line may have anyhow");
        let full = pipe.send(&[IoSlice::new(&large)]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(take(&pipe).is_ready());
        assert_eq!(mail(&mailbox).len(), 1, "told of room");
        pipe.send(&[IoSlice::new(&large)]).unwrap();
        let noop = Context::from_waker(Waker::noop());
        let Poll::Ready(Some((_, share))) = pipe.poll_take_held(&noop) else {
            panic!("there is something")
        };
        assert_eq!(budget.bytes(), large.len());
        let never = pipe.send(&[IoSlice::new(&large)]).unwrap_err();
        assert_eq!(never.kind(), io::ErrorKind::OutOfMemory);
        drop(share);
        assert_eq!(budget.bytes(), 0);
        assert!(pipe.send(&[IoSlice::new(&large)]).is_ok());
    }

    #[test]
    fn what_was_said_before_the_end_is_still_taken() {
        let (pipe, _) = pipe(Takes::Bytes);
        pipe.send(&[IoSlice::new(b"last")]).unwrap();
        pipe.end();
        pipe.cut();
        assert_eq!(take(&pipe), Poll::Ready(Some(Bytes::from_static(b"last"))));
        assert_eq!(take(&pipe), Poll::Ready(None));
        assert!(!pipe.is_cut());
        assert!(pipe.send(&[IoSlice::new(b"more")]).is_err());
    }

    #[test]
    fn what_breaks_off_is_let_go() {
        let (pipe, _) = pipe(Takes::Bytes);
        pipe.send(&[IoSlice::new(b"half of")]).unwrap();
        pipe.cut();
        assert_eq!(take(&pipe), Poll::Ready(None));
        assert!(pipe.is_cut());
    }

    #[test]
    fn an_abandoned_pipe_tells_the_shard_once() {
        let (pipe, mailbox) = pipe(Takes::Bytes);
        assert!(pipe.abandon());
        assert!(!pipe.abandon() && !pipe.cut(), "one side has ended it");
        let mail = mail(&mailbox);
        assert!(matches!(mail[..], [Mail::Gone(SessionId(7))]), "{mail:?}");
        assert!(pipe.send(&[IoSlice::new(b"x")]).is_err());
    }

    /// What has not been read keeps the client waiting, and is told of by one message, however often there is more.
    #[test]
    fn input_waits_until_the_shard_has_taken_what_came_before() {
        let (pipe, mailbox) = pipe(Takes::Bytes);
        let mut buffer = [0; 4];
        let nothing = pipe.read(&mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(accepts(&pipe), Poll::Ready(true));
        pipe.give(Bytes::from_static(b"hello"));
        pipe.give_end();
        assert_eq!(accepts(&pipe), Poll::Pending);
        let mail = mail(&mailbox);
        assert!(
            matches!(mail[..], [Mail::Readable(SessionId(7))]),
            "{mail:?}"
        );
        assert_eq!(pipe.read(&mut buffer).unwrap(), 4);
        assert_eq!(accepts(&pipe), Poll::Pending);
        assert_eq!(pipe.read(&mut buffer).unwrap(), 1);
        assert_eq!(accepts(&pipe), Poll::Ready(true));
        assert_eq!(pipe.read(&mut buffer).unwrap(), 0, "the end");
        pipe.end();
        assert_eq!(accepts(&pipe), Poll::Ready(false));
    }
}
