//! What fuzzing reaches of what is private.

use super::jwks::KeySet;

/// Reads a document of keys: each that is taken has a name of its own and an algorithm that fits what is published.
pub fn read_jwks(document: &[u8]) {
    const KEYS_MAX: usize = 20;
    let Ok(set) = KeySet::parse(document, KEYS_MAX, "https://a/") else {
        return;
    };
    assert!((1..=KEYS_MAX).contains(&set.keys.len()));
    for (index, key) in set.keys.iter().enumerate() {
        assert!(!key.algorithm.is_symmetric());
        assert!(set.keys[..index].iter().all(|other| other.kid != key.kid));
        let found = set.find(key.kid.as_deref());
        assert!(found.is_some_and(|found| std::ptr::eq(found, key)));
    }
    assert!(set.reasons().len() < 4096);
}
