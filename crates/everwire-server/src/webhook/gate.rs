//! Who waits for which answer: the same question is asked once, an answer is used again for as long as it says, and
//! no more wait than may, of one caller and of all.

use std::collections::HashMap;

use slab::Slab;

use super::{
    answer::{Answer, Decision, NoDecision},
    question::{Digest, Question},
    remembered::Remembered,
};
use crate::rate::Account;

/// The questions that are open, each with those who wait for its answer.
#[derive(Debug)]
pub(super) struct Gate<W> {
    terms: Terms,
    remembered: Remembered,
    open: Slab<Open<W>>,
    /// Those that another may join who asks the same.
    shared: HashMap<Digest, usize>,
    waiting: usize,
    /// How many wait of each caller.
    by_caller: HashMap<Account, usize>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Most that wait at once, for whichever answer.
    pub waiting_max: usize,
    /// Most of them that are one caller's.
    pub waiting_per_caller_max: usize,
    /// Most answers that are remembered.
    pub cached_max: usize,
    /// Longest time for which one is.
    pub cache_s_max: u64,
}

#[derive(Debug)]
struct Open<W> {
    digest: Digest,
    is_shared: bool,
    waiters: Vec<(Account, W)>,
}

/// What becomes of somebody who asks.
#[derive(Debug)]
pub(super) enum Asked<W> {
    /// There is a decision already.
    Decided(W, Decision),
    /// The answer is on its way.
    Waits,
    /// The question has to be asked, and the answer told under this number.
    Ask(Ticket),
}

/// An open question, to be closed once.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Ticket(usize);

impl<W> Gate<W> {
    /// No question is open.
    pub fn new(terms: Terms) -> Self {
        Self {
            terms,
            remembered: Remembered::new(terms.cached_max),
            open: Slab::new(),
            shared: HashMap::new(),
            waiting: 0,
            by_caller: HashMap::new(),
        }
    }

    /// This caller wants to know.
    pub fn ask(&mut self, question: &Question, whose: Account, waiter: W, now_ms: u64) -> Asked<W> {
        let digest = question.digest();
        if let Some(decision) = self.remembered.find(&digest, now_ms) {
            return Asked::Decided(waiter, decision);
        }
        let own = self.by_caller.get(&whose).copied().unwrap_or(0);
        if own >= self.terms.waiting_per_caller_max {
            return Asked::Decided(waiter, Decision::None(NoDecision::TooManyOfOne));
        }
        if self.waiting >= self.terms.waiting_max {
            return Asked::Decided(waiter, Decision::None(NoDecision::TooMany));
        }
        self.waiting += 1;
        self.by_caller.insert(whose, own + 1);
        let is_shared = question.kind.is_shared();
        if let Some(open) = self.shared.get(&digest).filter(|_| is_shared) {
            self.open[*open].waiters.push((whose, waiter));
            return Asked::Waits;
        }
        let number = self.open.insert(Open {
            digest,
            is_shared,
            waiters: vec![(whose, waiter)],
        });
        if is_shared {
            self.shared.insert(digest, number);
        }
        Asked::Ask(Ticket(number))
    }

    /// The answer has come, or there is none: tells who waits for it, and what.
    pub fn close(
        &mut self,
        Ticket(number): Ticket,
        answer: Result<Answer, NoDecision>,
        now_ms: u64,
    ) -> (Vec<W>, Decision) {
        let Open {
            digest,
            is_shared,
            waiters,
        } = self.open.remove(number);
        if is_shared {
            self.shared.remove(&digest);
        }
        self.waiting -= waiters.len();
        // Who asked first has it remembered.
        let whose = waiters.first().map(|(whose, _)| *whose);
        let mut told = Vec::with_capacity(waiters.len());
        for (whose, waiter) in waiters {
            self.forget_waiter(whose);
            told.push(waiter);
        }
        let decision = match answer {
            Ok(Answer { decision, cache_s }) => {
                let life_ms = cache_s.min(self.terms.cache_s_max) * 1000;
                let ends_ms = match &decision {
                    Decision::Allowed(allowed) => allowed.until_ms.unwrap_or(u64::MAX),
                    Decision::Refused(_) | Decision::None(_) => u64::MAX,
                };
                let ends_ms = ends_ms.min(now_ms + life_ms);
                if let Some(whose) = whose.filter(|_| now_ms < ends_ms) {
                    (self.remembered).keep(digest, whose, decision.clone(), ends_ms);
                }
                decision
            }
            Err(none) => Decision::None(none),
        };
        (told, decision)
    }

    fn forget_waiter(&mut self, whose: Account) {
        if let Some(count) = self.by_caller.get_mut(&whose) {
            *count -= 1;
            if *count == 0 {
                self.by_caller.remove(&whose);
            }
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::HeaderMap;

    use super::*;
    use crate::{
        auth::Caller,
        config::{Action, Webhooks},
        rate::Rate,
        webhook::{Kind, question::Evidence},
    };

    const TERMS: Terms = Terms {
        waiting_max: 3,
        waiting_per_caller_max: 9,
        cached_max: 10,
        cache_s_max: 60,
    };

    fn question(action: Action, name: &str) -> Question {
        let peer = IpAddr::from([127, 0, 0, 1]);
        let evidence = Evidence::of(&Webhooks::default(), peer, &HeaderMap::new(), false, None);
        Question::permit(action, &evidence, &Caller::Anybody, &name.parse().unwrap())
    }

    fn callers() -> [Account; 2] {
        let rate = Rate::default();
        [1, 2].map(|last| rate.account(&Caller::Anybody, [10, 0, 0, last].into()))
    }

    fn answer(content: &str) -> Result<Answer, NoDecision> {
        let kind = Kind::Do(Action::Read);
        Ok(Answer::parse(kind, content.as_bytes(), 1, 0).unwrap())
    }

    fn ticket(asked: Asked<u32>) -> Ticket {
        match asked {
            Asked::Ask(ticket) => ticket,
            other => panic!("{other:?} instead of a question that has to be asked"),
        }
    }

    #[test]
    fn who_asks_the_same_waits_for_the_same_answer() {
        let (mut gate, [ada, _]) = (Gate::new(TERMS), callers());
        let read = question(Action::Read, "a");
        let first = ticket(gate.ask(&read, ada, 1, 0));
        assert!(matches!(gate.ask(&read, ada, 2, 0), Asked::Waits));
        let other = ticket(gate.ask(&question(Action::Read, "b"), ada, 3, 0));
        assert_eq!(gate.close(first, answer(r#"{"allow":true}"#), 0).0, [1, 2]);
        assert_eq!(gate.close(other, Err(NoDecision::Failed), 0).0, [3]);
        assert_eq!(gate.waiting(), 0);
    }

    #[test]
    fn two_publications_are_two_questions() {
        let (mut gate, [ada, _]) = (Gate::new(TERMS), callers());
        let publish = question(Action::Publish, "a");
        let (first, second) = (
            ticket(gate.ask(&publish, ada, 1, 0)),
            ticket(gate.ask(&publish, ada, 2, 0)),
        );
        assert_eq!(gate.close(second, answer(r#"{"allow":true}"#), 0).0, [2]);
        assert_eq!(gate.close(first, answer(r#"{"allow":true}"#), 0).0, [1]);
    }

    #[test]
    fn no_more_wait_than_may_whichever_answer_they_wait_for() {
        let (mut gate, [ada, _]) = (Gate::new(TERMS), callers());
        let read = question(Action::Read, "a");
        let first = ticket(gate.ask(&read, ada, 1, 0));
        gate.ask(&read, ada, 2, 0);
        gate.ask(&question(Action::Read, "b"), ada, 3, 0);
        for name in ["a", "c"] {
            let asked = gate.ask(&question(Action::Read, name), ada, 4, 0);
            let is_refused = matches!(
                asked,
                Asked::Decided(4, Decision::None(NoDecision::TooMany))
            );
            assert!(is_refused, "{asked:?}");
        }
        gate.close(first, Err(NoDecision::Failed), 0);
        ticket(gate.ask(&question(Action::Read, "c"), ada, 4, 0));
    }

    #[test]
    fn who_has_asked_as_much_as_one_may_is_refused_and_others_are_not() {
        let terms = Terms {
            waiting_max: 4,
            waiting_per_caller_max: 2,
            ..TERMS
        };
        let (mut gate, [ada, bob]) = (Gate::new(terms), callers());
        let ask = |gate: &mut Gate<u32>, whose, name| {
            gate.ask(&question(Action::Read, name), whose, 0, 0)
        };
        let first = ticket(ask(&mut gate, ada, "a"));
        assert!(
            matches!(ask(&mut gate, ada, "a"), Asked::Waits),
            "joined, and counted too"
        );
        for name in ["a", "b"] {
            let asked = ask(&mut gate, ada, name);
            let is_refused = matches!(
                asked,
                Asked::Decided(0, Decision::None(NoDecision::TooManyOfOne))
            );
            assert!(is_refused, "{asked:?}");
        }
        let second = ticket(ask(&mut gate, bob, "b"));
        gate.close(first, Err(NoDecision::Failed), 0);
        let third = ticket(ask(&mut gate, ada, "c"));
        for ticket in [second, third] {
            gate.close(ticket, Err(NoDecision::Failed), 0);
        }
        assert!(gate.by_caller.is_empty() && gate.waiting() == 0);
    }

    #[test]
    fn an_answer_is_used_again_for_as_long_as_it_says_and_may_be() {
        for (content, until_ms) in [
            (r#"{"allow":true}"#, 1_000),
            (r#"{"allow":true,"cache_s":5}"#, 6_000),
            (r#"{"allow":true,"cache_s":3600}"#, 61_000),
            (r#"{"allow":true,"cache_s":5,"until":4}"#, 4_000),
            (r#"{"allow":true,"cache_s":5,"until":0.5}"#, 1_000),
            (r#"{"allow":false,"cache_s":5}"#, 6_000),
        ] {
            let (mut gate, [ada, _]) = (Gate::new(TERMS), callers());
            let read = question(Action::Read, "a");
            let first = ticket(gate.ask(&read, ada, 1, 1_000));
            gate.close(first, answer(content), 1_000);
            if until_ms > 1_000 {
                let asked = gate.ask(&read, ada, 2, until_ms - 1);
                assert!(matches!(asked, Asked::Decided(2, _)), "{content}");
            }
            ticket(gate.ask(&read, ada, 2, until_ms));
        }
    }

    #[test]
    fn what_was_not_decided_is_asked_again() {
        let (mut gate, [ada, _]) = (Gate::new(TERMS), callers());
        let read = question(Action::Read, "a");
        let first = ticket(gate.ask(&read, ada, 1, 0));
        gate.close(first, Err(NoDecision::Failed), 0);
        ticket(gate.ask(&read, ada, 2, 0));
    }
}
