//! Which circuit breaker a failure counts for: that of all callers, or that of the one whose question it was.
//!
//! ```text
//!  no connection ─────────────────────────────────────────▶ all callers'
//!  no answer in time, ──▶ the caller's own ─ the first of ▶ all callers'
//!  a gateway's 502 …                         this caller since an answer
//! ```
//!
//! Whoever finds an input on which the application takes long, or its gateway gives up, can ask it again and again. That
//! opens the caller's own breaker, and counts once for all: several callers in a row have to find nobody there.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::breaker::{Attempt, Breaker, Position, Terms};
use crate::rate::Account;

/// The breaker of all callers, and those of callers whose last questions had no answer.
#[derive(Debug)]
pub(super) struct Breakers {
    terms: Terms,
    common: Breaker,
    own: HashMap<Account, Breaker>,
    /// Who found nobody there since the last answer.
    failed: Vec<Account>,
}

/// The leave to make one attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leave {
    whose: Account,
    common: Attempt,
    own: Attempt,
}

/// How an attempt told that nobody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// There was no connection, whatever would have been asked.
    Connection,
    /// The question was not answered, which may be its own fault.
    Answer,
}

/// Breakers that are kept for single callers at most. Who fails beyond that many has none of its own.
const OWN_MAX: usize = 1_000;

impl Breakers {
    /// All of them closed.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            common: Breaker::new(terms),
            own: HashMap::new(),
            failed: Vec::new(),
        }
    }

    /// Lets an attempt be made, or tells how long to wait.
    pub fn admit(&mut self, whose: Account, now: Instant) -> Result<Leave, Duration> {
        // Its own first: the probe of all is not for who is left alone.
        let own = match self.own.get_mut(&whose) {
            Some(own) => own.admit(now)?,
            None => Attempt::Usual,
        };
        let common = self.common.admit(now)?;
        Ok(Leave { whose, common, own })
    }

    /// The attempt showed that the application is there.
    pub fn succeeded(&mut self, leave: Leave) {
        if let Some(own) = self.own.get_mut(&leave.whose) {
            own.succeeded(leave.own);
            if own.position() == Position::Closed {
                self.own.remove(&leave.whose);
            }
        }
        self.common.succeeded(leave.common);
        if self.common.position() == Position::Closed {
            self.failed.clear();
        }
    }

    /// The attempt showed that it is not.
    pub fn failed(&mut self, leave: Leave, absence: Absence, now: Instant) {
        let Leave { whose, common, .. } = leave;
        let is_first = !self.failed.contains(&whose);
        let counts = match absence {
            Absence::Connection => true,
            Absence::Answer => {
                self.own_failed(leave, now);
                is_first || common == Attempt::Probe
            }
        };
        if counts {
            self.common.failed(common, now);
            if is_first && self.failed.len() < self.terms.failures as usize {
                self.failed.push(whose);
            }
        }
    }

    fn own_failed(&mut self, leave: Leave, now: Instant) {
        let Leave { whose, common, own } = leave;
        if self.own.len() >= OWN_MAX && !self.own.contains_key(&whose) {
            self.own.retain(|_, own| own.rests(now));
            if self.own.len() >= OWN_MAX {
                return;
            }
        }
        let terms = Terms {
            rest: self.terms.rest * 2,
            ..self.terms
        };
        let breaker = (self.own.entry(whose)).or_insert_with(|| Breaker::new(terms));
        match common {
            Attempt::Usual => breaker.failed(own, now),
            // It rests for longer than all others, so that one of them makes the next.
            Attempt::Probe => breaker.open(now),
        }
    }

    /// Where that of all callers stands.
    pub fn position(&self) -> Position {
        self.common.position()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{auth::Caller, rate::Rate};

    const TERMS: Terms = Terms {
        failures: 3,
        rest: Duration::from_secs(5),
        probe: Duration::from_secs(3),
    };

    struct Bench {
        breakers: Breakers,
        rate: Rate,
        start: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                breakers: Breakers::new(TERMS),
                rate: Rate::default(),
                start: Instant::now(),
            }
        }

        fn admit(&mut self, whose: u8, at_s: u64) -> Result<Leave, Duration> {
            let address = IpAddr::from([10, 0, 0, whose]);
            let whose = self.rate.account(&Caller::Anybody, address);
            let now = self.start + Duration::from_secs(at_s);
            self.breakers.admit(whose, now)
        }

        fn fail(&mut self, whose: u8, absence: Absence, at_s: u64) {
            let leave = self.admit(whose, at_s).unwrap();
            let now = self.start + Duration::from_secs(at_s);
            self.breakers.failed(leave, absence, now);
        }
    }

    #[test]
    fn one_caller_whose_questions_have_no_answer_is_left_alone_and_nobody_else() {
        let mut bench = Bench::new();
        for _ in 0..3 {
            bench.fail(1, Absence::Answer, 0);
        }
        assert_eq!(bench.admit(1, 0).unwrap_err(), TERMS.rest * 2);
        assert!(bench.admit(2, 0).is_ok());
        // It tries again and again, and it still is one caller.
        for at_s in [10, 20, 30] {
            bench.fail(1, Absence::Answer, at_s);
            assert!(bench.admit(1, at_s).is_err() && bench.admit(2, at_s).is_ok());
        }
        let leave = bench.admit(1, 40).unwrap();
        bench.breakers.succeeded(leave);
        assert!(bench.admit(1, 40).is_ok());
        assert!(bench.breakers.own.is_empty());
    }

    #[test]
    fn several_callers_in_a_row_without_an_answer_open_it_for_all() {
        let mut bench = Bench::new();
        for whose in [1, 1, 2, 2] {
            bench.fail(whose, Absence::Answer, 0);
        }
        assert!(bench.admit(4, 0).is_ok(), "those were two");
        bench.fail(3, Absence::Answer, 0);
        assert_eq!(bench.admit(4, 0).unwrap_err(), TERMS.rest);
        assert_eq!(bench.breakers.position(), Position::Open);
    }

    #[test]
    fn an_answer_between_them_counts_anew() {
        let mut bench = Bench::new();
        for whose in [1, 2] {
            bench.fail(whose, Absence::Answer, 0);
        }
        let leave = bench.admit(4, 0).unwrap();
        bench.breakers.succeeded(leave);
        for whose in [1, 3] {
            bench.fail(whose, Absence::Answer, 0);
        }
        assert_eq!(bench.breakers.position(), Position::Closed);
    }

    #[test]
    fn without_a_connection_it_opens_whoever_asked() {
        let mut bench = Bench::new();
        for _ in 0..3 {
            bench.fail(1, Absence::Connection, 0);
        }
        assert!(bench.admit(2, 0).is_err());
        assert!(bench.breakers.own.is_empty(), "which is nobody's fault");
    }

    #[test]
    fn who_failed_as_the_probe_leaves_the_next_one_to_others() {
        let mut bench = Bench::new();
        for whose in [1, 2, 3] {
            bench.fail(whose, Absence::Answer, 0);
        }
        bench.fail(1, Absence::Answer, 5);
        assert!(bench.admit(1, 11).is_err(), "it rests for longer");
        let leave = bench.admit(4, 11).unwrap();
        assert_eq!(leave.common, Attempt::Probe);
        bench.breakers.succeeded(leave);
        assert_eq!(bench.breakers.position(), Position::Closed);
    }

    #[test]
    fn there_are_no_more_breakers_than_may_be() {
        let mut bench = Bench::new();
        for number in 0..OWN_MAX as u32 + 100 {
            let address = IpAddr::from(number.to_be_bytes());
            let leave = Leave {
                whose: bench.rate.account(&Caller::Anybody, address),
                common: Attempt::Usual,
                own: Attempt::Usual,
            };
            bench.breakers.own_failed(leave, bench.start);
            assert!(bench.breakers.own.len() <= OWN_MAX);
        }
    }
}
