//! Answers that may be used again, for as long as they say.
//!
//! There are two generations. When the young one has its share it becomes the old one, and what was the old one is
//! forgotten; what is found in the old one moves to the young. So it is bounded, and what is used stays.

use std::collections::HashMap;

use super::{answer::Decision, question::Digest};

/// Answers by question.
#[derive(Debug)]
pub(super) struct Remembered {
    generation_max: usize,
    young: HashMap<Digest, Known>,
    old: HashMap<Digest, Known>,
}

#[derive(Debug)]
struct Known {
    decision: Decision,
    /// In Unix milliseconds.
    ends_ms: u64,
}

impl Remembered {
    /// Nothing yet, and never more than so many.
    pub fn new(answers_max: usize) -> Self {
        Self {
            generation_max: answers_max / 2,
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    /// The answer to a question, unless its time is over.
    pub fn find(&mut self, question: &Digest, now_ms: u64) -> Option<Decision> {
        if let Some(known) = self.old.remove(question) {
            self.put(*question, known);
        }
        let known = self.young.get(question)?;
        (now_ms < known.ends_ms).then(|| known.decision.clone())
    }

    /// Keeps an answer until this time, or for less if there are too many.
    pub fn keep(&mut self, question: Digest, decision: Decision, ends_ms: u64) {
        if self.generation_max > 0 {
            self.old.remove(&question);
            self.put(question, Known { decision, ends_ms });
        }
    }

    fn put(&mut self, question: Digest, known: Known) {
        if self.young.len() >= self.generation_max && !self.young.contains_key(&question) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(question, known);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
        remembered.keep([1; 32], refusal(7), 1_000);
        assert_eq!(number(remembered.find(&[1; 32], 999)), Some(7));
        assert_eq!(number(remembered.find(&[1; 32], 1_000)), None);
        assert_eq!(number(remembered.find(&[2; 32], 0)), None);
    }

    #[test]
    fn nothing_is_kept_where_nothing_may_be() {
        let mut remembered = Remembered::new(0);
        remembered.keep([1; 32], refusal(7), 1_000);
        assert!(remembered.find(&[1; 32], 0).is_none());
    }

    proptest! {
        /// It may forget, but what it tells is what was kept last, in its time; and what is used stays.
        #[test]
        fn it_tells_what_the_naive_one_does_or_nothing(
            steps in proptest::collection::vec((any::<bool>(), 0_u8..20, 0_u64..50, 0_u64..10), 0..300)
        ) {
            const ANSWERS_MAX: usize = 12;
            let (mut remembered, mut model, mut now_ms) = (Remembered::new(ANSWERS_MAX), HashMap::new(), 0);
            let used = [255; 32];
            remembered.keep(used, refusal(0), u64::MAX);
            for (keeps, question, life_ms, later_ms) in steps {
                now_ms += later_ms;
                if keeps {
                    remembered.keep([question; 32], refusal(now_ms), now_ms + life_ms);
                    model.insert(question, (now_ms, now_ms + life_ms));
                    let found = number(remembered.find(&[question; 32], now_ms));
                    prop_assert_eq!(found, (life_ms > 0).then_some(now_ms), "what was just kept is there");
                } else if let Some(found) = number(remembered.find(&[question; 32], now_ms)) {
                    let (said, ends_ms) = model[&question];
                    prop_assert_eq!(found, said);
                    prop_assert!(now_ms < ends_ms);
                }
                prop_assert!(remembered.young.len() + remembered.old.len() <= ANSWERS_MAX);
                prop_assert_eq!(number(remembered.find(&used, now_ms)), Some(0));
            }
        }
    }
}
