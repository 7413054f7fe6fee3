//! Answers that may be used again, for as long as they say.
//!
//! There are so many at most. When there is no room, the caller who has most of them loses the one that it has not used
//! for the longest time: who has very many different questions asked forgets its own answers, and nobody else's.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{answer::Decision, question::Digest};
use crate::rate::Account;

/// Answers by question.
#[derive(Debug)]
pub(super) struct Remembered {
    answers_max: usize,
    answers: HashMap<Digest, Known>,
    /// Each caller's questions, by when they were asked last.
    by_caller: HashMap<Account, BTreeMap<u64, Digest>>,
    /// How many each caller has.
    shares: BTreeSet<(usize, Account)>,
    /// Rises with each use.
    uses: u64,
}

#[derive(Debug)]
struct Known {
    decision: Decision,
    /// In Unix milliseconds.
    ends_ms: u64,
    whose: Account,
    used: u64,
}

impl Remembered {
    /// Nothing yet, and never more than so many.
    pub fn new(answers_max: usize) -> Self {
        Self {
            answers_max,
            answers: HashMap::new(),
            by_caller: HashMap::new(),
            shares: BTreeSet::new(),
            uses: 0,
        }
    }

    /// The answer to a question, unless its time is over.
    pub fn find(&mut self, question: &Digest, now_ms: u64) -> Option<Decision> {
        let known = self.answers.get_mut(question)?;
        if known.ends_ms <= now_ms {
            self.forget(question);
            return None;
        }
        self.uses += 1;
        if let Some(own) = self.by_caller.get_mut(&known.whose) {
            own.remove(&known.used);
            own.insert(self.uses, *question);
        }
        known.used = self.uses;
        Some(known.decision.clone())
    }

    /// Keeps an answer to a caller's question until this time, or for less if there are too many.
    pub fn keep(&mut self, question: Digest, whose: Account, decision: Decision, ends_ms: u64) {
        self.forget(&question);
        if self.answers_max == 0 {
            return;
        }
        while self.answers.len() >= self.answers_max {
            self.make_room(whose);
        }
        self.uses += 1;
        let known = Known {
            decision,
            ends_ms,
            whose,
            used: self.uses,
        };
        self.answers.insert(question, known);
        let own = self.by_caller.entry(whose).or_default();
        self.shares.remove(&(own.len(), whose));
        own.insert(self.uses, question);
        self.shares.insert((own.len(), whose));
    }

    /// Forgets an answer of who has most, and of those of who needs the room.
    fn make_room(&mut self, for_whom: Account) {
        let most = self.shares.last().copied();
        let loser = most.map(|(count, whose)| match self.by_caller.get(&for_whom) {
            Some(own) if own.len() >= count => for_whom,
            Some(_) | None => whose,
        });
        let oldest = loser.and_then(|whose| self.by_caller.get(&whose)?.values().next().copied());
        if let Some(oldest) = oldest {
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, question: &Digest) {
        let Some(Known { whose, used, .. }) = self.answers.remove(question) else {
            return;
        };
        if let Some(own) = self.by_caller.get_mut(&whose) {
            self.shares.remove(&(own.len(), whose));
            own.remove(&used);
            match own.len() {
                0 => drop(self.by_caller.remove(&whose)),
                left => drop(self.shares.insert((left, whose))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{auth::Caller, rate::Rate};

    fn callers() -> [Account; 2] {
        let rate = Rate::default();
        [1, 2].map(|last| rate.account(&Caller::Anybody, [10, 0, 0, last].into()))
    }

    fn refusal(number: u64) -> Decision {
        Decision::Refused(Some(number.to_string().into()))
    }

    fn number(decision: Option<Decision>) -> Option<u64> {
        match decision? {
            Decision::Refused(Some(reason)) => reason.parse().ok(),
            Decision::Refused(None) | Decision::Allowed(_) | Decision::None(_) => None,
        }
    }

    #[test]
    fn an_answer_is_used_again_until_its_end() {
        let mut remembered = Remembered::new(10);
        remembered.keep([1; 32], callers()[0], refusal(7), 1_000);
        assert_eq!(number(remembered.find(&[1; 32], 999)), Some(7));
        assert_eq!(number(remembered.find(&[1; 32], 1_000)), None);
        assert_eq!(number(remembered.find(&[2; 32], 0)), None);
    }

    #[test]
    fn nothing_is_kept_where_nothing_may_be() {
        let mut remembered = Remembered::new(0);
        remembered.keep([1; 32], callers()[0], refusal(7), 1_000);
        assert!(remembered.find(&[1; 32], 0).is_none());
    }

    #[test]
    fn who_has_many_questions_asked_forgets_its_own_answers_only() {
        let [few, many] = callers();
        let mut remembered = Remembered::new(10);
        for question in 0..5 {
            remembered.keep([question; 32], few, refusal(7), u64::MAX);
        }
        for question in 100..250 {
            remembered.keep([question; 32], many, refusal(7), u64::MAX);
        }
        for question in 0..5 {
            assert!(remembered.find(&[question; 32], 0).is_some(), "{question}");
        }
        assert!(
            remembered.find(&[249; 32], 0).is_some(),
            "its last one is there"
        );
        assert!(remembered.find(&[200; 32], 0).is_none());
    }

    #[test]
    fn all_of_it_is_for_who_is_alone() {
        let mut remembered = Remembered::new(10);
        for question in 0..10 {
            remembered.keep([question; 32], callers()[0], refusal(7), u64::MAX);
        }
        assert!((0..10).all(|question| remembered.find(&[question; 32], 0).is_some()));
    }

    proptest! {
        /// It may forget, but what it tells is what was kept last, in its time; and what is used stays.
        #[test]
        fn it_tells_what_the_naive_one_does_or_nothing(
            steps in proptest::collection::vec((any::<bool>(), 0_u8..20, 0_u64..50, 0_u64..10), 0..300)
        ) {
            const ANSWERS_MAX: usize = 12;
            let (mut remembered, mut model, mut now_ms) = (Remembered::new(ANSWERS_MAX), HashMap::new(), 0);
            let callers = callers();
            let used = [255; 32];
            remembered.keep(used, callers[0], refusal(0), u64::MAX);
            for (keeps, question, life_ms, later_ms) in steps {
                now_ms += later_ms;
                if keeps {
                    let whose = callers[usize::from(question) % 2];
                    remembered.keep([question; 32], whose, refusal(now_ms), now_ms + life_ms);
                    model.insert(question, (now_ms, now_ms + life_ms));
                    let found = number(remembered.find(&[question; 32], now_ms));
                    prop_assert_eq!(found, (life_ms > 0).then_some(now_ms), "what was just kept is there");
                } else if let Some(found) = number(remembered.find(&[question; 32], now_ms)) {
                    let (said, ends_ms) = model[&question];
                    prop_assert_eq!(found, said);
                    prop_assert!(now_ms < ends_ms);
                }
                prop_assert!(remembered.answers.len() <= ANSWERS_MAX);
                let own = remembered.by_caller.iter().map(|(whose, own)| (own.len(), *whose));
                prop_assert_eq!(&own.collect::<BTreeSet<_>>(), &remembered.shares);
                let owned: usize = remembered.shares.iter().map(|(count, _)| count).sum();
                prop_assert_eq!(owned, remembered.answers.len());
                prop_assert_eq!(number(remembered.find(&used, now_ms)), Some(0));
            }
        }
    }
}
