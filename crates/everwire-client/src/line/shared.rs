//! What a program's handles and the driver share: the core, and who waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::sync::{Notify, oneshot, watch};

use super::core::{Act, Core, ReadingId, Taken};
use super::outbox::Ticket;
use super::{AskError, LineStatus};
use crate::Offset;

/// Held by everything that a program has of a line; the last one ends it.
#[derive(Debug)]
pub(super) struct Handle {
    pub shared: Arc<Shared>,
    /// Fails when the driver is gone.
    pub done: watch::Receiver<()>,
}

/// The core, behind a lock that is held for no longer than a step of it.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Tells the driver that there is something to do.
    nudge: Notify,
}

struct State {
    core: Core,
    /// Who waits for updates.
    wakers: HashMap<ReadingId, Waker>,
    /// Who waits for answers.
    answers: HashMap<Ticket, oneshot::Sender<Answer>>,
    status: watch::Sender<LineStatus>,
}

/// The `ok` of a reply as JSON.
pub(super) type Answer = Result<String, AskError>;

/// What the driver has to do.
pub(super) struct Todo {
    pub acts: Vec<Act>,
    pub wake_at: Option<Instant>,
    /// Much waits to be taken somewhere.
    pub is_pressed: bool,
    pub is_closed: bool,
}

impl Shared {
    pub fn new(core: Core) -> Self {
        let status = watch::Sender::new(core.status());
        Self {
            state: Mutex::new(State {
                core,
                wakers: HashMap::new(),
                answers: HashMap::new(),
                status,
            }),
            nudge: Notify::new(),
        }
    }

    /// Does something with the core, and tells all whom it concerns.
    pub fn with<T>(&self, act: impl FnOnce(&mut Core, Instant) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state.core, now());
        state.tell();
        drop(state);
        self.nudge.notify_one();
        result
    }

    /// Asks something that has to be answered once. If the future is dropped, what was not sent is not sent.
    pub async fn ask(&self, ask: impl FnOnce(&mut Core, Instant) -> Ticket) -> Answer {
        let (answer, answered) = oneshot::channel();
        let ticket = {
            let mut state = self.lock();
            let ticket = ask(&mut state.core, now());
            state.answers.insert(ticket, answer);
            state.tell();
            ticket
        };
        self.nudge.notify_one();
        let _forget = Forget {
            shared: self,
            ticket,
        };
        answered.await.unwrap_or(Err(AskError::Closed))
    }

    /// Takes the next update of a reading, or wakes the task when there is one.
    pub fn poll_take(&self, id: ReadingId, context: &Context<'_>) -> Poll<Taken> {
        let mut state = self.lock();
        let taken = state.core.take(id, now());
        let has_news = state.core.has_news();
        if taken == Taken::Pending {
            state.wakers.insert(id, context.waker().clone());
        }
        drop(state);
        if has_news {
            self.nudge.notify_one();
        }
        match taken {
            Taken::Pending => Poll::Pending,
            taken @ (Taken::Update(_) | Taken::Ended(_)) => Poll::Ready(taken),
        }
    }

    /// How many messages of no channel could not be read.
    pub fn unreadable(&self) -> u64 {
        self.lock().core.unreadable()
    }

    /// Where a reading began, once it did.
    pub fn began(&self, id: ReadingId) -> Option<Offset> {
        self.lock().core.began(id)
    }

    /// Nobody takes from this reading any more.
    pub fn leave(&self, id: ReadingId) {
        self.lock().wakers.remove(&id);
        self.with(|core, now| core.unsubscribe(id, now));
    }

    pub fn watch(&self) -> watch::Receiver<LineStatus> {
        self.lock().status.subscribe()
    }

    /// What the driver has to do now.
    pub fn todo(&self) -> Todo {
        let mut state = self.lock();
        let acts = std::iter::from_fn(|| state.core.poll_act()).collect();
        let wake_at = state.core.wake_at();
        Todo {
            acts,
            wake_at,
            is_pressed: state.core.is_pressed(),
            is_closed: matches!(state.core.status(), LineStatus::Closed(_)),
        }
    }

    /// Waits until there may be something to do.
    pub async fn nudged(&self) {
        self.nudge.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self) {
        while let Some((ticket, answer)) = self.core.poll_answer() {
            // Who does not wait any more needs no answer.
            self.answers
                .remove(&ticket)
                .map(|waiting| waiting.send(answer));
        }
        while let Some(id) = self.core.poll_ready() {
            if let Some(waker) = self.wakers.remove(&id) {
                waker.wake();
            }
        }
        let status = self.core.status();
        self.status.send_if_modified(|known| {
            let is_news = *known != status;
            *known = status;
            is_news
        });
    }
}

/// Gives a command up that nobody waits for.
struct Forget<'a> {
    shared: &'a Shared,
    ticket: Ticket,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.answers.remove(&self.ticket);
        state.core.forget(self.ticket);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.with(Core::close);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shared")
            .field(&self.lock().core.status())
            .finish()
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
