//! The circuit breaker: an application that is not there is left alone for a while.
//!
//! ```text
//!             failures in a row                    rest is over
//!   ┌────────┐ ───────────────▶ ┌──────┐ ─────────────────────────▶ ┌───────────┐
//!   │ closed │                  │ open │                            │ half-open │ one attempt probes
//!   └────────┘ ◀──────┐         └──────┘ ◀──── the probe failed ─── └───────────┘
//!                     └────────────────────── the probe was answered ───┘
//! ```
//!
//! Without it, each question to an application that hangs would take its whole time and one of the few places that
//! there are, and an application that comes back would meet all of them at once. Only what tells that nobody is there
//! counts: a connection that fails, no answer in the time that the application had, a gateway's 502, 503 or 504. An answer
//! that makes no sense does not, or whoever finds an input on which the application fails could have everybody refused;
//! whose failures count for whom is told in `breakers.rs`.

use std::time::{Duration, Instant};

/// A circuit breaker. Time is an argument.
#[derive(Debug)]
pub(crate) struct Breaker {
    terms: Terms,
    state: State,
}

/// When it opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Failures in a row after which it opens, at least 1.
    pub failures: u32,
    /// How long it stays open.
    pub rest: Duration,
    /// How long a probe may take; after that, another one is let through.
    pub probe: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Attempts are made; so many failed since the last that did not.
    Closed { failures: u32 },
    /// None is made.
    Open { until: Instant },
    /// One is on its way, which is given up at this time.
    HalfOpen { until: Instant },
}

/// The leave to make one attempt, which is to be told how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// One of many.
    Usual,
    /// The one that finds out whether the application is back.
    Probe,
}

/// What the state is, for who watches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// All is well.
    Closed,
    /// One attempt finds out.
    HalfOpen,
    /// Nobody is asked.
    Open,
}

impl Breaker {
    /// A closed one.
    pub fn new(terms: Terms) -> Self {
        let state = State::Closed { failures: 0 };
        Self { terms, state }
    }

    /// Lets an attempt be made, or tells how long to wait.
    pub fn admit(&mut self, now: Instant) -> Result<Attempt, Duration> {
        match self.state {
            State::Closed { .. } => Ok(Attempt::Usual),
            State::Open { until } | State::HalfOpen { until } if now < until => {
                Err(until.duration_since(now))
            }
            State::Open { .. } | State::HalfOpen { .. } => {
                let until = now + self.terms.probe;
                self.state = State::HalfOpen { until };
                Ok(Attempt::Probe)
            }
        }
    }

    /// The attempt showed that the application is there.
    pub fn succeeded(&mut self, attempt: Attempt) {
        match (self.state, attempt) {
            (State::Closed { .. }, _)
            | (State::Open { .. } | State::HalfOpen { .. }, Attempt::Probe) => {
                self.state = State::Closed { failures: 0 };
            }
            // It began before the application went away.
            (State::Open { .. } | State::HalfOpen { .. }, Attempt::Usual) => {}
        }
    }

    /// The attempt showed that it is not.
    pub fn failed(&mut self, attempt: Attempt, now: Instant) {
        let open = State::Open {
            until: now + self.terms.rest,
        };
        match (self.state, attempt) {
            (State::Closed { failures }, _) if failures + 1 >= self.terms.failures => {
                self.state = open;
            }
            (State::Closed { failures }, _) => {
                self.state = State::Closed {
                    failures: failures + 1,
                };
            }
            (State::HalfOpen { .. }, Attempt::Probe) => self.state = open,
            // What began before it opened is no news.
            (State::Open { .. }, _) | (State::HalfOpen { .. }, Attempt::Usual) => {}
        }
    }

    /// It rests from now on, however often it failed.
    pub fn open(&mut self, now: Instant) {
        let until = now + self.terms.rest;
        self.state = State::Open { until };
    }

    /// Whether it is open, or an attempt finds out.
    pub fn rests(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => false,
            State::Open { until } | State::HalfOpen { until } => now < until,
        }
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        match self.state {
            State::Closed { .. } => Position::Closed,
            State::Open { .. } => Position::Open,
            State::HalfOpen { .. } => Position::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TERMS: Terms = Terms {
        failures: 3,
        rest: Duration::from_secs(5),
        probe: Duration::from_secs(3),
    };

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// Closed, and failed so many times.
    fn failed(times: u32, now: Instant) -> Breaker {
        let mut breaker = Breaker::new(TERMS);
        for _ in 0..times {
            breaker.failed(Attempt::Usual, now);
        }
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row() {
        let now = Instant::now();
        let mut breaker = failed(2, now);
        breaker.succeeded(Attempt::Usual);
        breaker.failed(Attempt::Usual, now);
        breaker.failed(Attempt::Usual, now);
        assert_eq!(
            breaker.admit(now),
            Ok(Attempt::Usual),
            "an answer between them counts anew"
        );
        breaker.failed(Attempt::Usual, now);
        assert_eq!(breaker.admit(now), Err(TERMS.rest));
        assert_eq!(breaker.position(), Position::Open);
    }

    #[test]
    fn after_its_rest_one_probe_decides() {
        let now = Instant::now();
        for (is_back, expected) in [(true, Position::Closed), (false, Position::Open)] {
            let mut breaker = failed(3, now);
            assert_eq!(breaker.admit(after(now, 5)), Ok(Attempt::Probe));
            assert_eq!(
                breaker.admit(after(now, 6)),
                Err(Duration::from_secs(2)),
                "one at a time"
            );
            match is_back {
                true => breaker.succeeded(Attempt::Probe),
                false => breaker.failed(Attempt::Probe, after(now, 7)),
            }
            assert_eq!(breaker.position(), expected);
        }
    }

    #[test]
    fn a_probe_of_which_nothing_is_heard_is_replaced() {
        let now = Instant::now();
        let mut breaker = failed(3, now);
        assert_eq!(breaker.admit(after(now, 5)), Ok(Attempt::Probe));
        assert_eq!(breaker.admit(after(now, 8)), Ok(Attempt::Probe));
    }

    #[test]
    fn what_began_before_it_opened_is_no_news() {
        let now = Instant::now();
        let mut breaker = failed(3, now);
        breaker.succeeded(Attempt::Usual);
        breaker.failed(Attempt::Usual, after(now, 4));
        assert_eq!(breaker.admit(after(now, 4)), Err(Duration::from_secs(1)));
        assert_eq!(breaker.admit(after(now, 5)), Ok(Attempt::Probe));
        breaker.succeeded(Attempt::Usual);
        breaker.failed(Attempt::Usual, after(now, 6));
        assert_eq!(breaker.position(), Position::HalfOpen);
    }

    /// The same as a list of what happened, from which each answer is worked out anew.
    #[derive(Default)]
    struct Model {
        in_a_row: u32,
        shut_until: Option<u64>,
        probes: bool,
    }

    impl Model {
        fn admit(&mut self, now_s: u64) -> Option<Attempt> {
            match self.shut_until {
                None => Some(Attempt::Usual),
                Some(until) if now_s < until => None,
                Some(_) => {
                    (self.shut_until, self.probes) = (Some(now_s + TERMS.probe.as_secs()), true);
                    Some(Attempt::Probe)
                }
            }
        }

        fn tell(&mut self, attempt: Attempt, is_there: bool, now_s: u64) {
            let counts = self.shut_until.is_none() || attempt == Attempt::Probe;
            match is_there {
                true if counts => *self = Self::default(),
                false if self.shut_until.is_none() => self.in_a_row += 1,
                false if counts && self.probes => self.in_a_row = TERMS.failures,
                true | false => return,
            }
            if self.in_a_row >= TERMS.failures {
                (self.shut_until, self.probes) = (Some(now_s + TERMS.rest.as_secs()), false);
            }
        }
    }

    proptest! {
        #[test]
        fn it_does_what_the_naive_one_does(steps in proptest::collection::vec((0_u8..4, 0_u64..4, any::<prop::sample::Index>()), 0..200)) {
            let start = Instant::now();
            let (mut breaker, mut model, mut now_s) = (Breaker::new(TERMS), Model::default(), 0);
            let mut on_their_way = Vec::new();
            for (step, seconds, which) in steps {
                now_s += seconds;
                let now = after(start, now_s);
                if step < 2 || on_their_way.is_empty() {
                    let admitted = breaker.admit(now).ok();
                    prop_assert_eq!(admitted, model.admit(now_s));
                    on_their_way.extend(admitted);
                    continue;
                }
                let attempt = on_their_way.swap_remove(which.index(on_their_way.len()));
                model.tell(attempt, step == 2, now_s);
                match step {
                    2 => breaker.succeeded(attempt),
                    _ => breaker.failed(attempt, now),
                }
            }
        }
    }
}
