//! A queue in which each caller waits behind its own: those who ask for little are not held up by who asks for much.
//!
//! ```text
//!  push(ada, 1) push(ada, 2) push(ada, 3) push(bob, 4)        pop, pop, pop, pop
//!   ada: 1 2 3 ┐
//!   bob: 4     ┴▶ turns: ada, bob ──────────────────────────▶ 1, 4, 2, 3
//! ```

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// What waits, by whose it is. Callers take turns; what is one caller's keeps its order.
#[derive(Debug)]
pub(crate) struct Turns<K, T> {
    waiting: HashMap<K, VecDeque<T>>,
    /// Each that has something waiting, once.
    turns: VecDeque<K>,
}

impl<K, T> Default for Turns<K, T> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            turns: VecDeque::new(),
        }
    }
}

impl<K: Copy + Eq + Hash, T> Turns<K, T> {
    /// Has something wait behind what is the same caller's.
    pub fn push(&mut self, whose: K, what: T) {
        let line = self.waiting.entry(whose).or_default();
        if line.is_empty() {
            self.turns.push_back(whose);
        }
        line.push_back(what);
    }

    /// What comes next of those callers who may have a turn.
    pub fn pop_of(&mut self, mut may: impl FnMut(&K) -> bool) -> Option<(K, T)> {
        let at = self.turns.iter().position(&mut may)?;
        let whose = self.turns.remove(at)?;
        let line = self.waiting.get_mut(&whose)?;
        let what = line.pop_front()?;
        match line.is_empty() {
            true => drop(self.waiting.remove(&whose)),
            false => self.turns.push_back(whose),
        }
        Some((whose, what))
    }

    /// What comes next.
    #[cfg(test)]
    pub fn pop(&mut self) -> Option<(K, T)> {
        self.pop_of(|_| true)
    }

    /// Whether nothing waits.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn callers_take_turns_and_each_keeps_its_order() {
        let mut turns = Turns::default();
        for (whose, what) in [('a', 1), ('a', 2), ('a', 3), ('b', 4), ('c', 5), ('b', 6)] {
            turns.push(whose, what);
        }
        let popped = std::iter::from_fn(|| turns.pop()).map(|(_, what)| what);
        assert_eq!(popped.collect::<Vec<_>>(), [1, 4, 5, 2, 6, 3]);
        assert!(turns.is_empty() && turns.waiting.is_empty());
    }

    #[test]
    fn who_may_not_keeps_its_turn_and_holds_up_nobody() {
        let mut turns = Turns::default();
        for (whose, what) in [('a', 1), ('b', 2), ('b', 3)] {
            turns.push(whose, what);
        }
        assert_eq!(turns.pop_of(|whose| *whose == 'b'), Some(('b', 2)));
        assert_eq!(turns.pop_of(|whose| *whose == 'c'), None);
        assert_eq!(turns.pop(), Some(('a', 1)));
        assert_eq!(turns.pop(), Some(('b', 3)));
    }

    proptest! {
        /// However much others have waiting: what comes first of a caller's comes before anybody's third after it.
        #[test]
        fn nobody_waits_for_more_than_one_of_each_other(pushed in proptest::collection::vec(0_u8..5, 1..80)) {
            let mut turns = Turns::default();
            for (number, whose) in pushed.iter().enumerate() {
                turns.push(*whose, number);
            }
            let popped: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
            prop_assert_eq!(popped.len(), pushed.len());
            for whose in 0..5 {
                let own = popped.iter().filter(|(of, _)| *of == whose).map(|(_, number)| *number);
                prop_assert!(own.is_sorted(), "in its order");
                let mut since = [0; 5];
                for (of, _) in popped.iter().take_while(|(of, _)| *of != whose) {
                    since[usize::from(*of)] += 1;
                }
                let waits = popped.iter().any(|(of, _)| *of == whose);
                prop_assert!(!waits || since.iter().all(|count| *count <= 1));
            }
        }
    }
}
