//! What one connection over HTTP/2 has to do, seen from outside of the library that does it.
//!
//! ```text
//!  request ─▶ Busy ─▶ response ─▶ Untaken bytes ─▶ the library's queues ─▶ socket
//!             └─ open: the connection is not idle  └─ untaken: its peer keeps us waiting
//! ```
//!
//! A peer of HTTP/2 answers pings by itself, so it seems alive while it asks for nothing and takes nothing. And it asks
//! for a thousand pages at once without opening its windows for one of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;

/// What there is to do for a connection.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Requests and lines that have not ended.
    open: AtomicUsize,
    /// Bytes of responses that have not left.
    untaken: AtomicUsize,
    /// Times that a response has left.
    taken: AtomicU64,
}

/// A request or line, until this is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Work>);

/// A response's content, until it has left.
struct Untaken {
    content: Bytes,
    busy: Arc<Busy>,
}

/// How long a connection may keep us waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// With nothing to do.
    pub idle: Duration,
    /// With responses of which it takes none.
    pub stall: Duration,
}

/// Why a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// It has asked for nothing for too long.
    Idle,
    /// It has taken nothing for too long.
    Stalled,
    /// Too many of its streams were reset for its own errors.
    Faulty,
}

/// Looks at a connection now and then.
#[derive(Debug)]
pub(crate) struct Looks {
    patience: Patience,
    /// Since when there is nothing to do.
    idle_since: Option<Instant>,
    /// Since when nothing was taken of what there is, and how much had been taken then.
    stalled_since: Option<(Instant, u64)>,
}

/// Further requests wait for bytes of so many to be taken.
pub(crate) const UNTAKEN_BYTES_MAX: usize = 8 * 1024 * 1024;

impl Work {
    /// Begins with a request.
    pub fn begin(self: &Arc<Self>) -> Arc<Busy> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Arc::new(Busy(self.clone()))
    }
}

impl Busy {
    /// Whether so much was not taken on its connection that more should not be asked for.
    pub fn is_burdened(&self) -> bool {
        self.0.untaken.load(Ordering::Relaxed) >= UNTAKEN_BYTES_MAX
    }

    /// A response's content, which is known to be there until it has left.
    pub fn give(self: &Arc<Self>, content: Bytes) -> Bytes {
        if content.is_empty() {
            return content;
        }
        self.0.untaken.fetch_add(content.len(), Ordering::Relaxed);
        let busy = self.clone();
        Bytes::from_owner(Untaken { content, busy })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for Untaken {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        let work = &self.busy.0;
        work.untaken
            .fetch_sub(self.content.len(), Ordering::Relaxed);
        work.taken.fetch_add(1, Ordering::Relaxed);
    }
}

impl Looks {
    pub fn new(patience: Patience) -> Self {
        Self {
            patience,
            idle_since: None,
            stalled_since: None,
        }
    }

    /// Looks until the connection has to end.
    pub async fn until_end(mut self, work: &Work) -> Ends {
        const LOOKS: u32 = 8;
        let shortest = self.patience.idle.min(self.patience.stall);
        let pause = (shortest / LOOKS).clamp(Duration::from_millis(1), Duration::from_secs(1));
        loop {
            tokio::time::sleep(pause).await;
            if let Some(ends) = self.look(Instant::now(), work) {
                return ends;
            }
        }
    }

    fn look(&mut self, now: Instant, work: &Work) -> Option<Ends> {
        if work.open.load(Ordering::Relaxed) > 0 {
            self.idle_since = None;
        }
        let taken = work.taken.load(Ordering::Relaxed);
        let waits = work.untaken.load(Ordering::Relaxed) > 0;
        if !waits || self.stalled_since.is_some_and(|(_, then)| then != taken) {
            self.stalled_since = None;
        }
        if waits {
            let (since, _) = *self.stalled_since.get_or_insert((now, taken));
            return (now - since >= self.patience.stall).then_some(Ends::Stalled);
        }
        if work.open.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let since = *self.idle_since.get_or_insert(now);
        (now - since >= self.patience.idle).then_some(Ends::Idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        idle: Duration::from_secs(8),
        stall: Duration::from_secs(4),
    };

    /// The second in which a connection has to end, and why; what it does in each is told by the test.
    fn ends(mut does: impl FnMut(u64, &Arc<Work>)) -> Option<(u64, Ends)> {
        let (start, work) = (Instant::now(), Arc::new(Work::default()));
        let mut looks = Looks::new(PATIENCE);
        (0..30).find_map(|second| {
            does(second, &work);
            let ends = looks.look(start + Duration::from_secs(second), &work);
            ends.map(|ends| (second, ends))
        })
    }

    #[test]
    fn who_asks_for_nothing_or_takes_nothing_is_noticed() {
        assert_eq!(ends(|_, _| {}), Some((8, Ends::Idle)));
        let mut line = None;
        let found = ends(|second, work| match second {
            0 => line = Some(work.begin()),
            10 => line = None,
            _ => {}
        });
        assert_eq!(found, Some((18, Ends::Idle)), "after its last line");
        let mut response = None;
        let found = ends(|second, work| {
            if second == 3 {
                response = Some(work.begin().give(Bytes::from_static(b"page")));
            }
        });
        assert_eq!(found, Some((7, Ends::Stalled)));
        let mut responses = std::collections::VecDeque::new();
        let found = ends(|second, work| {
            responses.push_back(work.begin().give(Bytes::from_static(b"page")));
            if second % 3 == 2 {
                responses.pop_front();
            }
        });
        assert_eq!(found, None, "who takes one now and then");
    }

    #[test]
    fn what_is_given_counts_until_the_last_piece_of_it_has_left() {
        let work = Arc::new(Work::default());
        let busy = work.begin();
        let mut content = busy.give(Bytes::from(vec![7; UNTAKEN_BYTES_MAX]));
        let piece = content.split_to(10);
        drop(content);
        assert!(busy.is_burdened());
        assert_eq!(piece[..], [7; 10]);
        drop(piece);
        assert!(!busy.is_burdened());
        drop(busy);
        assert_eq!(work.open.load(Ordering::Relaxed), 0);
    }
}
