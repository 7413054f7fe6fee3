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
    /// When it last looked. Coarse, and without a call of the system.
    now: Cell<Instant>,
    stopping: Cell<bool>,
    patience: Duration,
}

#[derive(Default)]
struct Watched {
    task: RefCell<Option<Waker>>,
    /// Since when its peer is waited for; `None` while the server has something to do.
    since: Cell<Option<Instant>>,
    exhausted: Cell<bool>,
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
    /// Lets each peer take `patience`, and up to an eighth longer.
    pub fn new(patience: Duration, now: Instant) -> Self {
        Self {
            connections: RefCell::default(),
            now: Cell::new(now),
            stopping: Cell::new(false),
            patience,
        }
    }

    /// Watches a connection, whose peer is waited for from now on.
    pub fn enter(self: &Rc<Self>) -> Guest {
        let watched = Rc::new(Watched {
            since: Cell::new(Some(self.now.get())),
            ..Watched::default()
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
        let pause = (self.patience / LOOKS).clamp(Duration::from_millis(1), Duration::from_secs(1));
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => self.look(Instant::now()),
                () = stopping.stopped(), if !self.stopping.get() => self.stop(),
            }
        }
    }

    /// Wakes those whose peer has taken too long.
    fn look(&self, now: Instant) {
        self.now.set(now);
        for (_, watched) in &*self.connections.borrow() {
            let waited = watched.since.get().map(|since| now.duration_since(since));
            if waited.is_some_and(|waited| waited > self.patience) {
                watched.exhausted.set(true);
                watched.wake();
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

    /// Whether the peer has taken too long.
    pub fn is_exhausted(&self) -> bool {
        self.watched.exhausted.get()
    }

    /// Whether the server stops.
    pub fn is_stopping(&self) -> bool {
        self.watch.stopping.get()
    }

    /// The peer is waited for, from the moment at which that began.
    pub fn waits(&self) {
        if self.watched.since.get().is_none() {
            self.moved();
        }
    }

    /// The peer is waited for, and has just done something.
    pub fn moved(&self) {
        self.watched.since.set(Some(self.watch.now.get()));
    }

    /// The peer waits for the server.
    pub fn works(&self) {
        self.watched.since.set(None);
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

    const PATIENCE: Duration = Duration::from_secs(8);

    /// What a connection does each second, and the second in which the watch has had enough of it.
    #[test]
    fn who_keeps_the_server_waiting_is_noticed() {
        type Does = fn(&Guest, u64);
        let cases: [(&str, Does, Option<u64>); 5] = [
            ("sends nothing", |_, _| {}, Some(9)),
            ("sends a head slowly", |guest, _| guest.waits(), Some(9)),
            ("takes its answer slowly", |guest, _| guest.moved(), None),
            ("waits for its answer", |guest, _| guest.works(), None),
            (
                "was answered in the third second",
                |guest, second| match second {
                    0..3 => guest.works(),
                    _ => guest.waits(),
                },
                Some(12),
            ),
        ];
        for (name, does, expected) in cases {
            let start = Instant::now();
            let watch = Rc::new(Watch::new(PATIENCE, start));
            let guest = watch.enter();
            let noticed = (0..20).find(|&second| {
                watch.look(start + Duration::from_secs(second));
                does(&guest, second);
                guest.is_exhausted()
            });
            assert_eq!(noticed, expected, "who {name}");
        }
    }

    #[test]
    fn each_is_told_that_the_server_stops_and_nobody_after_it_left() {
        let watch = Rc::new(Watch::new(PATIENCE, Instant::now()));
        let (one, other) = (watch.enter(), watch.enter());
        one.attend(&Context::from_waker(Waker::noop()));
        drop(other);
        assert_eq!(watch.connections.borrow().len(), 1);
        watch.stop();
        assert!(one.is_stopping() && !one.is_exhausted());
        drop(one);
        assert!(watch.connections.borrow().is_empty());
    }
}
