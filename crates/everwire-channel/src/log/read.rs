//! The three answers to a read.

use std::collections::vec_deque;

use crate::entry::Entry;
use crate::offset::Offset;

/// What follows a position in a log.
#[derive(Debug, Clone)]
pub enum Read<'a> {
    /// At least one entry.
    Entries(Entries<'a>),
    /// Nothing yet: the position is the head.
    CaughtUp,
    /// The log does not hold what follows the position.
    Gap(Gap),
}

/// The notice that continuity was lost: entries between the reader's position and `oldest`, if
/// there were any, are not in the log any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "entries after this position are gone; resume from the oldest kept one at {oldest} or from the newest at {newest}"
)]
pub struct Gap {
    /// Resuming here gives all entries that are kept.
    pub oldest: Offset,
    /// Resuming here gives what comes next.
    pub newest: Offset,
}

/// Contiguous entries, each with its sequence: the position after it.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    /// The position before the next entry.
    sequence: u64,
    entries: vec_deque::Iter<'a, Entry>,
}

impl<'a> Entries<'a> {
    pub(super) fn new(sequence: u64, entries: vec_deque::Iter<'a, Entry>) -> Self {
        Self { sequence, entries }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (u64, &'a Entry);

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?;
        self.sequence += 1;
        Some((self.sequence, entry))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for Entries<'_> {}
