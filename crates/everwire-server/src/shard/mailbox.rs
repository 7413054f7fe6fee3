//! A mailbox: what others have for a shard, as which channels changed, and the order to stop.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::{Commands, LineRef, OpenLine};
use crate::{
    hub::{WatchKey, Watcher},
    session_id::SessionId,
    webhook::Decision,
};

/// One message to a shard.
#[derive(Debug)]
pub enum Mail {
    /// A channel that it watches has changed. Told once until the shard looks.
    Changed(WatchKey),
    /// Tokens were taken back: lines that were opened with one end.
    Revoked,
    /// The server stops: end all lines.
    Drain,
    /// A line that has a pipe instead of a socket.
    Open(Box<OpenLine>),
    /// What a session's client asks for by a request.
    Commands(Commands),
    /// There is something to read in a line's pipe.
    Readable(SessionId),
    /// A line's pipe was full, and has room again.
    Room(SessionId),
    /// A session's client ends it, or nobody takes anything any more out of a line's pipe.
    Gone(SessionId),
    /// What the application decided about what a line wants.
    Decided(LineRef, Decision),
}

/// A shard's mailbox. A burst of mail wakes the shard once.
#[derive(Default)]
pub struct Mailbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    mail: Vec<Mail>,
    /// Woken without mail.
    called: bool,
    /// The shard's task, once it has slept.
    task: Option<Waker>,
}

impl Mailbox {
    /// Leaves a message.
    pub fn post(&self, mail: Mail) {
        let mut waiting = self.lock();
        waiting.mail.push(mail);
        if waiting.mail.len() == 1 {
            wake(waiting);
        }
    }

    /// Takes all messages into `taken`, which is empty; its capacity is kept.
    pub fn take(&self, taken: &mut Vec<Mail>) {
        debug_assert!(taken.is_empty());
        std::mem::swap(&mut self.lock().mail, taken);
    }

    /// Whether something was not taken.
    #[cfg(test)]
    pub fn has_mail(&self) -> bool {
        !self.lock().mail.is_empty()
    }

    /// Ready when there is mail that was not taken, or the shard was woken since this was ready last. Else the
    /// task is woken when that becomes true.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut waiting = self.lock();
        if std::mem::take(&mut waiting.called) || !waiting.mail.is_empty() {
            return Poll::Ready(());
        }
        let known = waiting.task.as_ref();
        if !known.is_some_and(|task| task.will_wake(cx.waker())) {
            waiting.task = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Wakes the shard without a message, for work that was put before it on its own thread.
    pub fn wake(&self) {
        let mut waiting = self.lock();
        waiting.called = true;
        wake(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for Mailbox {
    fn changed(&self, key: WatchKey) {
        self.post(Mail::Changed(key));
    }
}

/// Wakes the task when the lock is free again: on another thread that is a call of the system.
fn wake(waiting: MutexGuard<'_, Waiting>) {
    let task = waiting.task.clone();
    drop(waiting);
    if let Some(task) = task {
        task.wake();
    }
}
