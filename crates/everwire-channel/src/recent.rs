//! A bounded table that forgets what was used least recently.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Values by text, in order of last use. Both maps are trees: callers choose the keys, and a tree
/// has no hash for them to attack and no hidden randomness to defend it.
#[derive(Debug, Clone)]
pub(crate) struct Recent<V> {
    slots: BTreeMap<Arc<str>, Slot<V>>,
    /// The last use of each key, by its `Slot::turn`.
    order: BTreeMap<u64, Use>,
    next_turn: u64,
    /// What all keys take, in bytes.
    key_bytes: u64,
}

#[derive(Debug, Clone)]
struct Slot<V> {
    turn: u64,
    used_ms: u64,
    value: V,
}

/// As much of a slot as tells whether to forget it, so that its key is looked up for that alone.
#[derive(Debug, Clone)]
struct Use {
    key: Arc<str>,
    used_ms: u64,
}

/// The limits of a [`Recent`] table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) count_max: u32,
    /// How long after its last use a value is remembered, in milliseconds.
    pub(crate) idle_max_ms: u64,
}

impl<V> Recent<V> {
    /// Puts a value at the newest end, then forgets what exceeds the bounds.
    pub(crate) fn put(&mut self, key: &str, value: V, now_ms: u64, bounds: Bounds) {
        let turn = self.next_turn;
        self.next_turn += 1;
        let used_ms = now_ms;
        let slot = Slot {
            turn,
            used_ms,
            value,
        };
        let key = match self.slots.get_mut(key) {
            Some(known) => {
                let before = std::mem::replace(known, slot);
                let last = self.order.remove(&before.turn);
                last.expect("each slot has its place in the order").key
            }
            None => {
                let key: Arc<str> = key.into();
                self.key_bytes += key.len() as u64;
                self.slots.insert(key.clone(), slot);
                key
            }
        };
        self.order.insert(turn, Use { key, used_ms });
        self.forget(now_ms, bounds);
    }

    /// Forgets the least recently used values that exceed the bounds.
    pub(crate) fn forget(&mut self, now_ms: u64, bounds: Bounds) {
        while let Some(oldest) = self.order.first_entry() {
            let is_idle = bounds.is_idle(oldest.get().used_ms, now_ms);
            if !is_idle && self.slots.len() as u64 <= bounds.count_max.into() {
                break;
            }
            let key = oldest.remove().key;
            self.key_bytes -= key.len() as u64;
            self.slots.remove(&key);
        }
    }

    /// The value, unless it was forgotten or is due to be.
    pub(crate) fn find(&self, key: &str, now_ms: u64, bounds: Bounds) -> Option<&V> {
        let slot = self.slots.get(key)?;
        (!bounds.is_idle(slot.used_ms, now_ms)).then_some(&slot.value)
    }

    /// What it takes, in bytes, about.
    pub(crate) fn bytes(&self) -> u64 {
        // Nodes of trees are filled by two thirds or so, and a key has two counters before it.
        let slot = size_of::<(Arc<str>, Slot<V>)>() + size_of::<(u64, Use)>();
        self.key_bytes + self.slots.len() as u64 * (slot as u64 * 3 / 2 + 16)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            order: BTreeMap::new(),
            next_turn: 0,
            key_bytes: 0,
        }
    }
}

impl Bounds {
    fn is_idle(&self, used_ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(used_ms) > self.idle_max_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds {
        count_max: 3,
        idle_max_ms: 10,
    };

    fn table(puts: &[(&str, u64)]) -> Recent<u64> {
        let mut table = Recent::default();
        for &(key, now_ms) in puts {
            table.put(key, now_ms, now_ms, BOUNDS);
        }
        table
    }

    #[test]
    fn a_full_table_forgets_the_least_recently_used_first() {
        for (puts, kept) in [
            (&[("a", 0), ("b", 1), ("c", 2)][..], ["a", "b", "c"]),
            (&[("a", 0), ("b", 1), ("c", 2), ("d", 3)], ["b", "c", "d"]),
            (
                &[("a", 0), ("b", 1), ("c", 2), ("a", 3), ("d", 4)],
                ["a", "c", "d"],
            ),
        ] {
            let table = table(puts);
            assert!(
                kept.iter().all(|key| table.find(key, 4, BOUNDS).is_some()),
                "{puts:?}"
            );
            assert_eq!(table.slots.len(), 3);
            assert_eq!(table.order.len(), 3);
        }
    }

    #[test]
    fn what_is_idle_too_long_is_forgotten_even_before_it_is_removed() {
        let mut table = table(&[("a", 0), ("b", 5)]);
        assert_eq!(table.find("a", 10, BOUNDS), Some(&0));
        assert_eq!(table.find("a", 11, BOUNDS), None);
        table.forget(11, BOUNDS);
        assert_eq!(table.find("a", 0, BOUNDS), None);
        assert_eq!(table.find("b", 11, BOUNDS), Some(&5));
        table.forget(16, BOUNDS);
        assert!(table.is_empty());
    }

    #[test]
    fn a_table_of_no_places_remembers_nothing() {
        let mut table = Recent::default();
        table.put(
            "a",
            (),
            0,
            Bounds {
                count_max: 0,
                idle_max_ms: 10,
            },
        );
        assert!(table.is_empty());
    }

    proptest! {
        /// The naive model is a list, newest last.
        #[test]
        fn the_table_remembers_what_a_list_would(
            puts in prop::collection::vec(("[a-e]", 0..4u64), 1..60),
        ) {
            let (mut table, mut model) = (Recent::default(), Vec::<(String, u64, usize)>::new());
            let mut now_ms = 0;
            for (value, (key, wait_ms)) in puts.into_iter().enumerate() {
                now_ms += wait_ms;
                table.put(&key, value, now_ms, BOUNDS);
                model.retain(|(other, ..)| *other != key);
                model.push((key, now_ms, value));
                model.retain(|&(_, used_ms, _)| now_ms - used_ms <= BOUNDS.idle_max_ms);
                if model.len() > 3 {
                    model.remove(0);
                }
                for key in ["a", "b", "c", "d", "e"] {
                    let expected = model.iter().find(|(other, ..)| other == key);
                    prop_assert_eq!(
                        table.find(key, now_ms, BOUNDS),
                        expected.map(|(_, _, value)| value)
                    );
                }
                prop_assert_eq!(table.order.len(), model.len());
            }
        }
    }
}
