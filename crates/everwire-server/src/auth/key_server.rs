//! One key server: when its keys are fetched, and for how long those are used that came last.
//!
//! ```text
//!  clock ──▶ poll_fetch ─────┐              ┌─▶ true: fetch them now
//!  answer ─▶ handle_fetched ─┼▶ KeyServer ──┼─▶ keys      what tokens are checked with
//!  token ──▶ handle_unknown ─┘              └─▶ wake_at   when poll_fetch has to be asked again
//! ```
//!
//! Without IO. Keys are fetched before they are needed: at start, and again when their time is over. A token that names a
//! key which is not among them has them fetched at once, since issuers sign with a new key when they like; but never
//! twice within the interval, so that whoever makes names up cannot have the key server asked for each. While it does
//! not answer, the last keys are used on, and forgotten when that has lasted too long.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::jwks::KeySet;

/// How a key server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// For how long keys are fresh whose server does not say it.
    pub fresh: Duration,
    /// Shortest time from one fetch to the next.
    pub interval: Duration,
    /// For how long keys are used that are not fresh any more.
    pub stale_max: Duration,
}

/// What is known of one key server.
#[derive(Debug)]
pub(super) struct KeyServer {
    terms: Terms,
    state: State,
    known: Option<Known>,
    /// The last fetch was in vain, or there was none.
    is_down: bool,
}

#[derive(Debug)]
enum State {
    /// Nothing is asked. The next fetch is at `next`, and may be had from `allowed` on.
    Resting { next: Instant, allowed: Instant },
    /// An answer is waited for.
    Fetching,
}

/// The keys that came last.
#[derive(Debug)]
struct Known {
    keys: Arc<KeySet>,
    fresh_until: Instant,
}

/// What who shows a token with an unknown key can hope for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prospect {
    /// The keys are being fetched, or will be at once: the key may be among them.
    Fetch,
    /// They were fetched a moment ago, or were tried to: it is unknown for now.
    Nothing,
}

/// Longest time that keys are taken for fresh, whatever their server says: rotation has to be seen some day.
const FRESH_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl KeyServer {
    /// A server that was never asked, and is to be at once.
    pub fn new(terms: Terms, now: Instant) -> Self {
        Self {
            terms,
            state: State::Resting {
                next: now,
                allowed: now,
            },
            known: None,
            is_down: true,
        }
    }

    /// Goes on by other terms, from the next fetch on.
    pub fn set_terms(&mut self, terms: Terms) {
        self.terms = terms;
    }

    /// Whether the keys have to be fetched now; then [`handle_fetched`](Self::handle_fetched) tells how that went.
    pub fn poll_fetch(&mut self, now: Instant) -> bool {
        if self.forgets_at().is_some_and(|at| at <= now) {
            self.known = None;
        }
        match self.state {
            State::Resting { next, .. } if next <= now => {
                self.state = State::Fetching;
                true
            }
            State::Resting { .. } | State::Fetching => false,
        }
    }

    /// The fetch has ended: with keys, for how long they are fresh if that was said; or in vain.
    pub fn handle_fetched(&mut self, now: Instant, fetched: Option<(KeySet, Option<Duration>)>) {
        let allowed = now + self.terms.interval;
        self.is_down = fetched.is_none();
        let next = match fetched {
            Some((keys, said)) => {
                let fresh = said.unwrap_or(self.terms.fresh);
                let fresh_until =
                    now + fresh.clamp(self.terms.interval, FRESH_MAX.max(self.terms.interval));
                self.known = Some(Known {
                    keys: Arc::new(keys),
                    fresh_until,
                });
                fresh_until
            }
            None => allowed,
        };
        self.state = State::Resting { next, allowed };
    }

    /// A token names a key that is not known.
    pub fn handle_unknown(&mut self, now: Instant) -> Prospect {
        match &mut self.state {
            State::Fetching => Prospect::Fetch,
            State::Resting { next, allowed } if *allowed <= now => {
                *next = now;
                Prospect::Fetch
            }
            // It is about to be fetched anyway.
            State::Resting { next, .. } if *next <= now => Prospect::Fetch,
            State::Resting { .. } => Prospect::Nothing,
        }
    }

    /// The keys that tokens are checked with; nothing if none ever came, or none came for too long.
    pub fn keys(&self) -> Option<&Arc<KeySet>> {
        self.known.as_ref().map(|known| &known.keys)
    }

    /// Whether it did not answer when it was asked last, so that an unknown key may be one of its newest.
    pub fn is_down(&self) -> bool {
        self.is_down
    }

    /// Whether its keys are used beyond their time, or there are none.
    pub fn is_stale(&self, now: Instant) -> bool {
        self.known
            .as_ref()
            .is_none_or(|known| known.fresh_until < now)
    }

    /// When [`poll_fetch`](Self::poll_fetch) has to be asked again; nothing while a fetch is under way.
    pub fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Resting { next, .. } => Some(
                self.forgets_at()
                    .map_or(next, |forgets_at| forgets_at.min(next)),
            ),
            State::Fetching => None,
        }
    }

    fn forgets_at(&self) -> Option<Instant> {
        let known = self.known.as_ref()?;
        Some(known.fresh_until + self.terms.stale_max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TERMS: Terms = Terms {
        fresh: Duration::from_secs(300),
        interval: Duration::from_secs(10),
        stale_max: Duration::from_secs(3600),
    };

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn keys() -> KeySet {
        KeySet {
            keys: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// A server that was asked at this time, and gave keys.
    fn asked(start: Instant, said: Option<Duration>) -> KeyServer {
        let mut server = KeyServer::new(TERMS, start);
        assert!(server.poll_fetch(start));
        server.handle_fetched(start, Some((keys(), said)));
        server
    }

    #[test]
    fn keys_are_fetched_at_start_and_once() {
        let start = Instant::now();
        let mut server = KeyServer::new(TERMS, start);
        assert_eq!(server.wake_at(), Some(start));
        assert!(server.poll_fetch(start));
        assert!(!server.poll_fetch(start), "one fetch at a time");
        assert_eq!(server.wake_at(), None);
        assert!(server.keys().is_none());
    }

    #[test]
    fn keys_are_fetched_again_when_they_are_not_fresh_any_more() {
        let start = Instant::now();
        for (said, fresh_s) in [
            (None, 300),
            (Some(s(60)), 60),
            (Some(s(0)), 10),
            (Some(s(1_000_000)), 24 * 60 * 60),
        ] {
            let mut server = asked(start, said);
            assert_eq!(server.wake_at(), Some(start + s(fresh_s)), "{said:?}");
            assert!(!server.poll_fetch(start + s(fresh_s - 1)), "{said:?}");
            assert!(!server.is_stale(start + s(fresh_s)), "{said:?}");
            assert!(server.poll_fetch(start + s(fresh_s)), "{said:?}");
        }
    }

    #[test]
    fn a_server_that_does_not_answer_is_asked_again_and_its_last_keys_are_used_meanwhile() {
        let start = Instant::now();
        let mut server = asked(start, Some(s(60)));
        let mut now = start + s(60);
        assert!(!server.is_down());
        while now < start + s(60 + 3600) {
            assert!(server.poll_fetch(now), "after {:?}", now - start);
            server.handle_fetched(now, None);
            assert!(server.is_down());
            assert!(server.keys().is_some(), "after {:?}", now - start);
            assert_eq!(server.wake_at(), Some(now + s(10)));
            now += s(10);
            assert!(server.is_stale(now));
        }
        server.poll_fetch(now);
        assert!(server.keys().is_none(), "they were stale for too long");
    }

    #[test]
    fn keys_are_forgotten_in_time_also_between_two_fetches() {
        let start = Instant::now();
        let terms = Terms {
            stale_max: s(3),
            ..TERMS
        };
        let mut server = KeyServer::new(terms, start);
        assert!(server.poll_fetch(start));
        server.handle_fetched(start, Some((keys(), Some(s(60)))));
        assert!(server.poll_fetch(start + s(60)));
        server.handle_fetched(start + s(60), None);
        assert_eq!(server.wake_at(), Some(start + s(63)));
        assert!(!server.poll_fetch(start + s(63)));
        assert!(server.keys().is_none());
    }

    #[test]
    fn an_unknown_key_has_them_fetched_at_once_unless_they_just_were() {
        let start = Instant::now();
        let mut server = asked(start, None);
        assert_eq!(server.handle_unknown(start + s(9)), Prospect::Nothing);
        assert!(!server.poll_fetch(start + s(9)));
        let now = start + s(10);
        assert_eq!(server.handle_unknown(now), Prospect::Fetch);
        assert_eq!(server.wake_at(), Some(now));
        assert_eq!(
            server.handle_unknown(now),
            Prospect::Fetch,
            "it is about to be fetched"
        );
        assert!(server.poll_fetch(now));
        assert_eq!(
            server.handle_unknown(now),
            Prospect::Fetch,
            "it is being fetched"
        );
        server.handle_fetched(now, None);
        assert_eq!(
            server.handle_unknown(now),
            Prospect::Nothing,
            "it was tried"
        );
    }

    proptest! {
        /// However tokens with unknown keys come in, however long the server takes and whether or not it answers.
        #[test]
        fn no_two_fetches_begin_within_the_interval(
            steps in prop::collection::vec((0_u64..7_000, any::<bool>(), any::<bool>(), 0_u64..40_000), 1..200),
        ) {
            let start = Instant::now();
            let (mut now, mut server) = (start, KeyServer::new(TERMS, start));
            let mut ended: Option<Instant> = None;
            let mut is_fetching = false;
            for (pass_ms, is_unknown, answers, fresh_ms) in steps {
                now += Duration::from_millis(pass_ms);
                if is_unknown {
                    let prospect = server.handle_unknown(now);
                    let may = is_fetching || ended.is_none_or(|ended| now >= ended + TERMS.interval);
                    prop_assert_eq!(prospect == Prospect::Fetch, may);
                }
                if server.poll_fetch(now) {
                    prop_assert!(!is_fetching);
                    prop_assert!(ended.is_none_or(|ended| now >= ended + TERMS.interval));
                    is_fetching = true;
                } else if is_fetching && answers {
                    let fetched = (fresh_ms % 2 == 0).then(|| (keys(), Some(Duration::from_millis(fresh_ms))));
                    server.handle_fetched(now, fetched);
                    (ended, is_fetching) = (Some(now), false);
                }
                prop_assert_eq!(server.wake_at().is_none(), is_fetching);
            }
        }
    }
}
