//! One ordered sequence of entries, and how many readers have seen each.

use std::collections::VecDeque;

/// The entries of one source.
#[derive(Clone, Default)]
pub struct Source {
    /// Entries that all readers have seen.
    completed: u64,
    /// For each later entry, how many readers have seen it.
    seen_by: VecDeque<u32>,
}

impl Source {
    /// Notes one more entry, for so many readers, and returns its number.
    pub fn publish(&mut self, readers: usize) -> u64 {
        let number = self.published();
        if readers == 0 {
            self.completed += 1;
        } else {
            self.seen_by.push_back(0);
        }
        number
    }

    /// One more of so many readers has seen `number`.
    pub fn seen(&mut self, number: u64, readers: usize) {
        self.seen_by[(number - self.completed) as usize] += 1;
        while self
            .seen_by
            .front()
            .is_some_and(|seen| *seen as usize == readers)
        {
            self.seen_by.pop_front();
            self.completed += 1;
        }
    }

    /// Entries so far.
    pub fn published(&self) -> u64 {
        self.completed + self.seen_by.len() as u64
    }

    /// Entries that some reader has not seen yet.
    pub fn in_flight(&self) -> usize {
        self.seen_by.len()
    }
}
