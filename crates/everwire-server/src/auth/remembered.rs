//! The tokens that were checked lately. A page opens many requests with one token, and an asymmetric signature costs
//! more than everything else about a small request: 15 µs (RS256), 25 µs (EdDSA), 36 µs (ES256), where finding it here
//! costs 0.2 to 0.3 µs. HS256 takes 1.6 µs, most of which is reading the claims.
//!
//! A token is found by its SHA-256: the list holds no tokens, and a caller cannot choose where in it something lies.
//! There are two generations. When the young one has its share it becomes the old one, and what was the old one is
//! forgotten; who is found in the old one moves to the young. So it is bounded, and what is used stays.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest;

use super::Known;

/// Tokens that were checked lately, and who showed them.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    generation_max: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    /// By which keys all of them were checked: with others nothing is remembered.
    keys: u64,
    young: HashMap<Digest, Arc<Known>>,
    old: HashMap<Digest, Arc<Known>>,
}

type Digest = [u8; 32];

impl Remembered {
    /// Nothing yet, and never more than so many.
    pub fn new(tokens_max: usize) -> Self {
        Self {
            generation_max: tokens_max / 2,
            generations: Mutex::default(),
        }
    }

    /// Who showed this token, unless its time is over, or other keys are good than when it was checked.
    pub fn find(&self, token: &str, keys: u64, now_ms: u64) -> Option<Arc<Known>> {
        if self.generation_max == 0 {
            return None;
        }
        let digest = digest_of(token);
        let mut generations = self.lock();
        generations.be_of(keys);
        let known = match generations.young.get(&digest) {
            Some(known) => known.clone(),
            None => {
                let known = generations.old.remove(&digest)?;
                generations.put(digest, known.clone(), self.generation_max);
                known
            }
        };
        // Then it is checked once more, which tells what is wrong with it.
        known
            .ends_ms
            .is_none_or(|ends_ms| now_ms < ends_ms)
            .then_some(known)
    }

    /// Remembers who showed a token that was checked with these keys.
    pub fn keep(&self, token: &str, keys: u64, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        if self.generation_max > 0 {
            let digest = digest_of(token);
            let mut generations = self.lock();
            // Other keys may have come while it was checked.
            if generations.keys == keys {
                generations.put(digest, known.clone(), self.generation_max);
            }
        }
        known
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    /// Forgets what was checked with other keys.
    fn be_of(&mut self, keys: u64) {
        if self.keys != keys {
            *self = Self {
                keys,
                ..Self::default()
            };
        }
    }

    fn put(&mut self, digest: Digest, known: Arc<Known>, generation_max: usize) {
        if self.young.len() >= generation_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, known);
    }
}

fn digest_of(token: &str) -> Digest {
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Proof, Who};

    fn known(ends_ms: Option<u64>) -> Known {
        Known {
            proof: Proof::KeyServer([0; 32]),
            who: Who::Server(String::new()),
            grants: Vec::new(),
            told: None,
            can: Vec::new(),
            ends_ms,
        }
    }

    #[test]
    fn a_token_is_remembered_until_it_ends() {
        let remembered = Remembered::new(10);
        remembered.keep("a", 0, known(Some(1_000)));
        remembered.keep("b", 0, known(None));
        assert!(remembered.find("a", 0, 999).is_some());
        assert!(remembered.find("a", 0, 1_000).is_none());
        assert!(remembered.find("b", 0, u64::MAX).is_some());
        assert!(remembered.find("c", 0, 0).is_none());
    }

    #[test]
    fn what_is_used_stays_and_the_rest_makes_room() {
        let remembered = Remembered::new(10);
        remembered.keep("used", 0, known(None));
        for n in 0..1_000 {
            remembered.keep(&n.to_string(), 0, known(None));
            assert!(remembered.find("used", 0, 0).is_some(), "after {n} others");
            let generations = remembered.lock();
            assert!(generations.young.len() + generations.old.len() <= 10);
        }
        assert!(remembered.find("3", 0, 0).is_none());
    }

    #[test]
    fn what_was_checked_with_other_keys_is_forgotten() {
        let remembered = Remembered::new(10);
        remembered.keep("a", 0, known(None));
        assert!(remembered.find("a", 1, 0).is_none());
        remembered.keep("b", 0, known(None));
        for keys in [0, 1] {
            assert!(
                remembered.find("b", keys, 0).is_none(),
                "by the keys {keys}"
            );
        }
    }

    #[test]
    fn nothing_is_remembered_where_nothing_may_be() {
        let remembered = Remembered::new(0);
        remembered.keep("a", 0, known(None));
        assert!(remembered.find("a", 0, 0).is_none());
    }
}
