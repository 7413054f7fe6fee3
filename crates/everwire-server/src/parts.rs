//! The parts that live as long as the server: how they are started, what becomes of one that ends by itself, and which
//! are late.
//!
//! ```text
//!  Parts::supervise ─▶ a part ─┬─ ends or panics ─▶ started again, a little later
//!                              └─ what it owes ───▶ late ─▶ /readyz, /healthz, the watchdog, a metric
//! ```
//!
//! | part | what it owes | when it ends by itself |
//! |---|---|---|
//! | a core thread | a turn each second | the process ends: its lines are gone |
//! | the workers | a task each second | they cannot |
//! | all others | to come back from each look | it is started again |
//!
//! A part that waits owes nothing. So load alone makes nobody late for long, and what is stuck or keeps failing is.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{metrics::Metrics, stop::Stopping};

/// The parts of one server. Clones share them.
#[derive(Clone)]
pub(crate) struct Parts(Arc<Shared>);

struct Shared {
    started: Instant,
    stopping: Stopping,
    metrics: Arc<Metrics>,
    pulses: Mutex<Vec<Arc<Pulse>>>,
}

/// A part that lives as long as the server, but for those that say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A core thread, whose end is the process's.
    Core,
    /// The workers, all together.
    Workers,
    /// A loop that accepts connections.
    Accept,
    /// Looks how long connections keep HTTP waiting.
    Watch,
    /// Looks after ages and expiries of channels.
    Sweep,
    /// Tells who has left a channel.
    Presence,
    /// Tells servers what happens.
    Lifecycle,
    /// Fetches the keys of a key server, until nobody trusts it any more.
    KeyServer,
    /// Keeps the certificate that the server gets by itself.
    Certificate,
}

impl Part {
    /// Its name, in metrics and for operators.
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Workers => "workers",
            Self::Accept => "accept",
            Self::Watch => "watch",
            Self::Sweep => "sweep",
            Self::Presence => "presence",
            Self::Lifecycle => "lifecycle",
            Self::KeyServer => "key-server",
            Self::Certificate => "certificate",
        }
    }

    /// Whether it may end before the server does.
    fn may_end(self) -> bool {
        match self {
            Self::KeyServer => true,
            Self::Core
            | Self::Workers
            | Self::Accept
            | Self::Watch
            | Self::Sweep
            | Self::Presence
            | Self::Lifecycle
            | Self::Certificate => false,
        }
    }
}

/// What a part owes.
struct Pulse {
    part: Part,
    /// Since when, in milliseconds from the start and one; 0 if it owes nothing.
    since: AtomicU64,
}

/// A part that is looked after until this is dropped.
pub(crate) struct Heart {
    parts: Parts,
    pulse: Arc<Pulse>,
}

/// How often a part shows that it lives that is not seen otherwise.
pub(crate) const BEAT: Duration = Duration::from_secs(1);

/// How long a part rests that ended by itself: longer each time that this happens again.
const REST: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(10);

impl Parts {
    /// There is none yet.
    pub fn new(stopping: Stopping, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Shared {
            started: Instant::now(),
            stopping,
            metrics,
            pulses: Mutex::default(),
        }))
    }

    /// Looks after a part that shows by itself that it lives.
    pub fn heart(&self, part: Part) -> Heart {
        let pulse = Arc::new(Pulse {
            part,
            since: AtomicU64::new(0),
        });
        self.pulses().push(pulse.clone());
        Heart {
            parts: self.clone(),
            pulse,
        }
    }

    /// Does what a part does until the server stops, and starts it again when it ends before.
    pub async fn supervise<F: Future<Output = ()>>(self, part: Part, mut start: impl FnMut() -> F) {
        let heart = self.heart(part);
        let mut rest = REST;
        loop {
            let ended = Guarded {
                heart: &heart,
                future: pin!(start()),
            }
            .await;
            let reason = match ended {
                Ok(()) if part.may_end() || self.0.stopping.is_stopping() => return,
                Ok(()) => "it ended".to_owned(),
                Err(panic) => format!("it panicked: {}", told_by(&*panic)),
            };
            heart.owes();
            self.0.metrics.part_restarted(part.name());
            tracing::error!(
                part = part.name(),
                reason,
                "a part of the server ended by itself, and is started again"
            );
            tokio::select! {
                () = sleep(rest) => {}
                () = self.0.stopping.stopped() => return,
            }
            rest = (rest * 2).min(REST_MAX);
        }
    }

    /// Shows that the workers carry out tasks, until the server stops.
    pub async fn beat_for_workers(self) {
        let heart = self.heart(Part::Workers);
        loop {
            heart.beat();
            tokio::select! {
                () = sleep(BEAT) => {}
                () = self.0.stopping.stopped() => return,
            }
        }
    }

    /// A part that has owed something for longer than this.
    pub fn late(&self, patience: Duration) -> Option<&'static str> {
        let late = |pulse: &&Arc<Pulse>| self.owed_for(pulse) > patience;
        self.pulses()
            .iter()
            .find(late)
            .map(|pulse| pulse.part.name())
    }

    /// The parts, each with how long it has owed something.
    pub fn owed(&self) -> Vec<(&'static str, Duration)> {
        let pulses = self.pulses();
        let owed = pulses
            .iter()
            .map(|pulse| (pulse.part.name(), self.owed_for(pulse)));
        owed.collect()
    }

    fn owed_for(&self, pulse: &Pulse) -> Duration {
        match pulse.since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis((self.now_ms() + 1).saturating_sub(since)),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    fn pulses(&self) -> MutexGuard<'_, Vec<Arc<Pulse>>> {
        self.0.pulses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heart {
    /// It lives, and owes the next sign of that from now on.
    pub fn beat(&self) {
        let now = self.parts.now_ms() + 1;
        self.pulse.since.store(now, Ordering::Relaxed);
    }

    /// It owes something, from now on if it did not before.
    fn owes(&self) {
        let now = self.parts.now_ms() + 1;
        let since = &self.pulse.since;
        let _ = since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn owes_nothing(&self) {
        self.pulse.since.store(0, Ordering::Relaxed);
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.parts
            .pulses()
            .retain(|pulse| !Arc::ptr_eq(pulse, &self.pulse));
    }
}

/// A part while it runs: it owes to come back from each look, and its panics are caught.
struct Guarded<'a, F> {
    heart: &'a Heart,
    future: Pin<&'a mut F>,
}

impl<F: Future<Output = ()>> Future for Guarded<'_, F> {
    type Output = Result<(), Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.heart.owes();
        let future = self.future.as_mut();
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(cx)));
        match polled {
            Ok(Poll::Pending) => {
                self.heart.owes_nothing();
                Poll::Pending
            }
            Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

/// A task whose panic is caught and told: nothing else of the thread ends with it.
pub(crate) async fn caught(task: impl Future<Output = ()>, panicked: impl FnOnce()) {
    #[expect(clippy::redundant_async_block, reason = "the block drops the task")]
    // What it holds is dropped where it ends, so that a panic there is caught as well.
    let mut task = pin!(async move { task.await });
    let outcome = std::future::poll_fn(|cx| {
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await;
    if outcome.is_err() {
        panicked();
    }
}

fn told_by(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::pending, rc::Rc};

    use super::*;
    use crate::stop::Stop;

    fn parts() -> (Stop, Parts) {
        let (stop, stopping) = Stop::new();
        (stop, Parts::new(stopping, Arc::new(Metrics::new())))
    }

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_part_that_panics_or_ends_is_started_again_until_the_server_stops() {
        let (stop, parts) = parts();
        let starts = Rc::new(Cell::new(0));
        let part = parts.clone().supervise(Part::Sweep, || {
            starts.set(starts.get() + 1);
            let nth = starts.get();
            async move {
                match nth {
                    1 => panic!("planted"),
                    2 => {}
                    _ => pending().await,
                }
            }
        });
        assert!(tokio::time::timeout(PATIENCE, part).await.is_err());
        assert_eq!(starts.get(), 3);
        assert_eq!(
            parts.late(Duration::ZERO),
            None,
            "the third one waits, and owes nothing"
        );
        stop.stop();
        let ends = parts.clone().supervise(Part::Sweep, || async {});
        assert!(tokio::time::timeout(PATIENCE, ends).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_always_panics_is_late_and_one_that_waits_is_not() {
        let (_stop, parts) = parts();
        let fails = parts
            .clone()
            .supervise(Part::Sweep, || async { panic!("planted") });
        let waits = parts.clone().supervise(Part::Presence, pending);
        let both = async { tokio::join!(fails, waits) };
        assert!(tokio::time::timeout(PATIENCE * 2, both).await.is_err());
        let (_stop, parts) = self::parts();
        let mut fails = pin!(
            parts
                .clone()
                .supervise(Part::Sweep, || async { panic!("planted") })
        );
        let mut waits = pin!(parts.clone().supervise(Part::Presence, pending));
        let begun = async { tokio::join!(&mut fails, &mut waits) };
        assert!(tokio::time::timeout(PATIENCE / 2, begun).await.is_err());
        assert_eq!(parts.late(PATIENCE), None, "it may be a moment");
        let goes_on = async { tokio::join!(&mut fails, &mut waits) };
        assert!(tokio::time::timeout(PATIENCE, goes_on).await.is_err());
        assert_eq!(parts.late(PATIENCE), Some("sweep"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_heart_that_does_not_beat_is_late_until_it_is_gone() {
        let (_stop, parts) = parts();
        let heart = parts.heart(Part::Core);
        heart.beat();
        sleep(BEAT).await;
        assert_eq!(parts.late(PATIENCE), None);
        sleep(PATIENCE).await;
        assert_eq!(parts.late(PATIENCE), Some("core"));
        heart.beat();
        assert_eq!(parts.late(PATIENCE), None);
        sleep(PATIENCE * 2).await;
        drop(heart);
        assert_eq!(parts.late(PATIENCE), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_whose_work_is_done_is_not_started_again() {
        let (_stop, parts) = parts();
        parts.clone().supervise(Part::KeyServer, || async {}).await;
        assert_eq!(parts.owed(), []);
    }
}
