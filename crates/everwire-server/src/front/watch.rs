//! How long a connection may keep HTTP waiting, and the order to stop.
//!
//! All connections of a core thread are watched together, by one timer. A timer and a place in a queue for each of
//! them would be set, registered and polled again with each request, which costs more than finding its channel.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use slab::Slab;

use crate::stop::Stopping;

/// The connections of a core thread that are in HTTP.
pub(super) struct Watch {
    connections: RefCell<Slab<Rc<Watched>>>,
    stopping: Cell<bool>,
    patience: Cell<Patience>,
}

/// How long peers may take for what they are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// Until something of a request comes.
    pub request: Duration,
    /// Until its head is whole.
    pub head: Duration,
    /// Until they take some of a response.
    pub taking: Duration,
}

/// What a peer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// A request, of which nothing has come.
    Request,
    /// The rest of a request's head, or of what a proxy says before.
    Head,
    /// That some of a response is taken.
    Taking,
}

impl Awaited {
    /// The setting of the time for it.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Request => "idle_ms",
            Self::Head => "head_ms",
            Self::Taking => "write_stall_ms",
        }
    }
}

impl Patience {
    fn of(&self, awaited: Awaited) -> Duration {
        match awaited {
            Awaited::Request => self.request,
            Awaited::Head => self.head,
            Awaited::Taking => self.taking,
        }
    }

    fn shortest(&self) -> Duration {
        self.request.min(self.head).min(self.taking)
    }
}

struct Watched {
    task: RefCell<Option<Waker>>,
    waiting: Cell<Waiting>,
    /// What the peer had done when that was last told.
    done: Cell<Done>,
    /// What it took too long for.
    exhausted: Cell<Option<Awaited>>,
}

/// Who waits for whom.
#[derive(Clone, Copy)]
enum Waiting {
    /// The peer for the server.
    Peer,
    /// The server for the peer, since some time after the last look.
    Server(Awaited),
    /// The server for the peer, at least since this look.
    ServerSince(Awaited, Instant),
}

/// What a peer has done on its connection so far. Less than one of these counts as nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Request heads that it has sent whole.
    pub requests: u64,
    /// Bytes of responses that it has taken.
    pub bytes_taken: u64,
}

/// A connection under watch, until this is dropped.
pub(super) struct Guest {
    watch: Rc<Watch>,
    watched: Rc<Watched>,
    key: usize,
}

/// Looks in the time that a peer may take: how exactly it is kept.
const LOOKS: u32 = 8;

impl Watch {
    /// Lets each peer take so long, and up to an eighth of the shortest or a second longer; never less.
    pub fn new(patience: Patience) -> Self {
        Self {
            connections: RefCell::default(),
            stopping: Cell::new(false),
            patience: Cell::new(patience),
        }
    }

    /// From now on each peer may take so long.
    pub fn allow(&self, patience: Patience) {
        self.patience.set(patience);
    }

    /// Watches a connection, whose peer is waited for from now on.
    pub fn enter(self: &Rc<Self>) -> Guest {
        let watched = Rc::new(Watched {
            task: RefCell::default(),
            waiting: Cell::new(Waiting::Server(Awaited::Request)),
            done: Cell::default(),
            exhausted: Cell::new(None),
        });
        let key = self.connections.borrow_mut().insert(watched.clone());
        Guest {
            watch: self.clone(),
            watched,
            key,
        }
    }

    /// Looks after all connections until the thread ends.
    pub async fn run(&self, stopping: Stopping) {
        loop {
            let pause = self.patience.get().shortest() / LOOKS;
            let pause = pause.clamp(Duration::from_millis(1), Duration::from_secs(1));
            tokio::select! {
                () = tokio::time::sleep(pause) => self.look(Instant::now()),
                () = stopping.stopped(), if !self.stopping.get() => self.stop(),
            }
        }
    }

    /// Wakes those whose peer has taken too long.
    fn look(&self, now: Instant) {
        let patience = self.patience.get();
        for (_, watched) in &*self.connections.borrow() {
            match watched.waiting.get() {
                Waiting::Peer => {}
                // Counted from here, not from the look before: nobody is given less than the whole time.
                Waiting::Server(awaited) => watched.waiting.set(Waiting::ServerSince(awaited, now)),
                Waiting::ServerSince(awaited, since)
                    if now.duration_since(since) >= patience.of(awaited) =>
                {
                    watched.exhausted.set(Some(awaited));
                    watched.wake();
                }
                Waiting::ServerSince(..) => {}
            }
        }
    }

    fn stop(&self) {
        self.stopping.set(true);
        for (_, watched) in &*self.connections.borrow() {
            watched.wake();
        }
    }
}

impl Watched {
    fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }
}

impl Guest {
    /// Has the task woken when something of the below becomes true.
    pub fn attend(&self, cx: &Context<'_>) {
        let mut task = self.watched.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
    }

    /// What the peer has taken too long for, if it has.
    pub fn exhausted(&self) -> Option<Awaited> {
        self.watched.exhausted.get()
    }

    /// Whether the server stops.
    pub fn is_stopping(&self) -> bool {
        self.watch.stopping.get()
    }

    /// The peer is waited for, which has `done` so much until now. Its time begins when this has become true, and
    /// anew when it has done more or is waited for something else.
    pub fn waits(&self, done: Done, awaited: Awaited) {
        let before = self.watched.done.replace(done);
        let waits_on = match self.watched.waiting.get() {
            Waiting::Peer => false,
            Waiting::Server(earlier) | Waiting::ServerSince(earlier, _) => earlier == awaited,
        };
        if before != done || !waits_on {
            self.watched.waiting.set(Waiting::Server(awaited));
        }
    }

    /// The peer waits for the server.
    pub fn works(&self) {
        self.watched.waiting.set(Waiting::Peer);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.watch.connections.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        request: Duration::from_secs(8),
        head: Duration::from_secs(4),
        taking: Duration::from_secs(6),
    };

    /// What a connection does after each second's look, and the second in which the watch has had enough of it.
    #[test]
    fn who_keeps_the_server_waiting_is_noticed() {
        type Does = fn(&Guest, u64);
        type Noticed = Option<(u64, Awaited)>;
        const fn after(requests: u64, bytes_taken: u64) -> Done {
            Done {
                requests,
                bytes_taken,
            }
        }
        use Awaited::{Head, Request, Taking};
        let cases: [(&str, Does, Noticed); 9] = [
            ("sends nothing", |_, _| {}, Some((8, Request))),
            (
                "begins a head at once and sends it slowly",
                |guest, _| guest.waits(Done::default(), Head),
                Some((5, Head)),
            ),
            (
                "begins a head at the last moment",
                |guest, second| match second {
                    0..7 => {}
                    _ => guest.waits(Done::default(), Head),
                },
                Some((12, Head)),
            ),
            (
                "takes nothing of its response",
                |guest, _| guest.waits(after(1, 500), Taking),
                Some((7, Taking)),
            ),
            (
                "takes its response slowly",
                |guest, second| guest.waits(after(1, second), Taking),
                None,
            ),
            (
                "took its response and sends the next head slowly",
                |guest, second| match second {
                    0..3 => guest.waits(after(1, second), Taking),
                    _ => guest.waits(after(1, 500), Head),
                },
                Some((8, Head)),
            ),
            (
                "sends a request now and then",
                |guest, second| guest.waits(after(second / 7, 0), Request),
                None,
            ),
            ("waits for its response", |guest, _| guest.works(), None),
            (
                "was answered in the third second",
                |guest, second| match second {
                    0..3 => guest.works(),
                    _ => guest.waits(after(1, 100), Request),
                },
                Some((12, Request)),
            ),
        ];
        for (name, does, expected) in cases {
            let start = Instant::now();
            let watch = Rc::new(Watch::new(PATIENCE));
            let guest = watch.enter();
            let noticed = (0..20).find_map(|second| {
                watch.look(start + Duration::from_secs(second));
                does(&guest, second);
                guest.exhausted().map(|awaited| (second, awaited))
            });
            assert_eq!(noticed, expected, "who {name}");
        }
    }

    /// The looks come each second; a connection comes, or was answered, at any time between two of them.
    #[test]
    fn nobody_is_given_less_than_the_whole_time() {
        let start = Instant::now();
        for late_ms in [0, 1, 500, 999] {
            let watch = Rc::new(Watch::new(PATIENCE));
            watch.look(start);
            let guest = watch.enter();
            let entered = start + Duration::from_millis(late_ms);
            let noticed = (1..20)
                .map(|second| start + Duration::from_secs(second))
                .find(|&now| {
                    watch.look(now);
                    guest.exhausted().is_some()
                });
            let given = noticed.unwrap() - entered;
            assert!(
                given >= PATIENCE.request && given <= PATIENCE.request + Duration::from_secs(1),
                "{late_ms} ms after a look: {given:?}"
            );
        }
    }

    #[test]
    fn each_is_told_that_the_server_stops_and_nobody_after_it_left() {
        let watch = Rc::new(Watch::new(PATIENCE));
        let (one, other) = (watch.enter(), watch.enter());
        one.attend(&Context::from_waker(Waker::noop()));
        drop(other);
        assert_eq!(watch.connections.borrow().len(), 1);
        watch.stop();
        assert!(one.is_stopping() && one.exhausted().is_none());
        drop(one);
        assert!(watch.connections.borrow().is_empty());
    }
}
