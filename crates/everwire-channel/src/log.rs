//! The log: entries in order, of which retention keeps the newest, and reads from a position.
//!
//! ```text
//!   sequence    0    1    2    3    4    5    6
//!               │ e1 │ e2 │ e3 │ e4 │ e5 │ e6 │
//!               └─ trimmed ─┘  └──── kept ────┘
//!                         ▲                   ▲
//!                    oldest = 2            head = 6
//!
//!   after(4)  Entries e5, e6        after(6)  CaughtUp        after(1), after(7)  Gap
//! ```
//!
//! Invariants: kept entries are contiguous; the head never moves back; the position `oldest` keeps
//! the mark of the last trimmed entry, so a reader that stands there resumes.

mod read;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::entry::{Draft, Entry};
use crate::offset::{Epoch, Mark, Offset};
use crate::retention::Retention;
use crate::start::Start;

pub use read::{Entries, Gap, Read};

/// One life of a channel's history.
#[derive(Debug, Clone)]
pub struct Log {
    epoch: Epoch,
    /// What entries appended from now on bear.
    mark: Mark,
    retention: Retention,
    /// The position before the oldest kept entry.
    oldest_sequence: u64,
    oldest_mark: Mark,
    /// The accounted bytes of all kept entries.
    bytes: u64,
    entries: VecDeque<Entry>,
}

impl Log {
    /// An empty log.
    ///
    /// # Panics
    ///
    /// If the epoch is beyond [`Epoch::MAX`].
    pub fn new(epoch: Epoch, mark: Mark, retention: Retention) -> Self {
        assert!(
            epoch <= Epoch::MAX,
            "epoch {} does not fit an offset",
            epoch.0
        );
        Self {
            epoch,
            mark,
            retention,
            oldest_sequence: 0,
            oldest_mark: mark,
            bytes: 0,
            entries: VecDeque::new(),
        }
    }

    /// Appends an entry, and applies the retention. The offset after the entry is the [head](Self::head).
    pub fn append(&mut self, draft: Draft, now_ms: u64) {
        let entry = Entry::new(draft, self.mark, now_ms);
        self.bytes += entry.accounted_bytes();
        self.entries.push_back(entry);
        self.apply_retention(now_ms);
    }

    /// Removes what has become too old, and gives unused memory back.
    pub fn trim(&mut self, now_ms: u64) {
        self.apply_retention(now_ms);
        // A quarter, so that a log which breathes does not reallocate at each breath.
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    /// Gives entries appended from now on another mark. A store that was reopened does this, for
    /// it cannot know whether it lost entries that readers have already seen.
    pub fn set_mark(&mut self, mark: Mark) {
        self.mark = mark;
    }

    /// What follows the position `sequence`.
    pub fn after(&self, sequence: u64) -> Read<'_> {
        let head_sequence = self.head_sequence();
        if sequence == head_sequence {
            return Read::CaughtUp;
        }
        if sequence < self.oldest_sequence || sequence > head_sequence {
            return Read::Gap(self.gap());
        }
        let skipped = (sequence - self.oldest_sequence) as usize;
        Read::Entries(Entries::new(sequence, self.entries.range(skipped..)))
    }

    /// The sequence to read after, for a reader that asks to start there.
    ///
    /// # Errors
    ///
    /// [`Gap`] for an offset of another epoch or with another mark, one beyond the head, and one
    /// whose following entries were trimmed. The other starts are never a gap.
    pub fn locate(&self, start: &Start) -> Result<u64, Gap> {
        match start {
            Start::Beginning => Ok(self.oldest_sequence),
            Start::Now => Ok(self.head_sequence()),
            Start::Last(count) => Ok(self
                .head_sequence()
                .saturating_sub(*count)
                .max(self.oldest_sequence)),
            Start::After(offset) if self.offset_at(offset.sequence) == Some(*offset) => {
                Ok(offset.sequence)
            }
            Start::After(_) => Err(self.gap()),
        }
    }

    /// The offset at a position: `None` before the oldest and beyond the head.
    pub fn offset_at(&self, sequence: u64) -> Option<Offset> {
        let kept = usize::try_from(sequence.checked_sub(self.oldest_sequence)?).ok()?;
        let mark = match kept.checked_sub(1) {
            None => self.oldest_mark,
            Some(index) => self.entries.get(index)?.mark,
        };
        Some(Offset {
            epoch: self.epoch,
            sequence,
            mark,
        })
    }

    /// The offset after an entry of this log.
    pub fn offset_of(&self, sequence: u64, entry: &Entry) -> Offset {
        Offset {
            epoch: self.epoch,
            sequence,
            mark: entry.mark,
        }
    }

    /// The offset after the newest entry.
    pub fn head(&self) -> Offset {
        Offset {
            epoch: self.epoch,
            sequence: self.head_sequence(),
            mark: self
                .entries
                .back()
                .map_or(self.oldest_mark, |newest| newest.mark),
        }
    }

    /// The position from which all kept entries follow.
    pub fn oldest(&self) -> Offset {
        Offset {
            epoch: self.epoch,
            sequence: self.oldest_sequence,
            mark: self.oldest_mark,
        }
    }

    /// The sequence of [`Log::head`]: how many entries were ever appended.
    pub fn head_sequence(&self) -> u64 {
        self.oldest_sequence + self.entries.len() as u64
    }

    /// The sequence of [`Log::oldest`]: how many entries were trimmed.
    pub fn oldest_sequence(&self) -> u64 {
        self.oldest_sequence
    }

    /// How many entries are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no entry is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The [accounted](Entry::accounted_bytes) bytes of all kept entries.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The retention in force.
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// The notice for a reader whose position is not in this log.
    pub fn gap(&self) -> Gap {
        Gap {
            oldest: self.oldest(),
            newest: self.head(),
        }
    }

    fn apply_retention(&mut self, now_ms: u64) {
        let Retention {
            entries_max,
            bytes_max,
            age_max_ms,
        } = self.retention;
        while let Some(oldest) = self.entries.front() {
            let is_newest = self.entries.len() == 1;
            let too_many = self.entries.len() as u64 > entries_max || self.bytes > bytes_max;
            // A clock that stepped back makes an age of 0, never one from the far future.
            let age_ms = now_ms.saturating_sub(oldest.time_ms);
            let too_old = age_max_ms.is_some_and(|age_max_ms| age_ms > age_max_ms);
            if !(too_old || too_many && !is_newest) {
                break;
            }
            self.bytes -= oldest.accounted_bytes();
            self.oldest_mark = oldest.mark;
            self.oldest_sequence += 1;
            self.entries.pop_front();
        }
    }
}
