//! What a reader must never see.

use crate::payload::{NotOurs, Stamp};

/// A reader saw something else than each entry once and in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Entries are missing before this one.
    #[error(
        "reader {reader} saw {stamp} where number {expected} comes next; \
         the entries between were lost or reordered"
    )]
    Lost {
        /// The reader's index.
        reader: usize,
        /// What came.
        stamp: Stamp,
        /// The number that had to come.
        expected: u64,
    },
    /// This entry came before.
    #[error(
        "reader {reader} saw {stamp} again, after all before {expected}; \
         the server delivered it twice"
    )]
    Repeated {
        /// The reader's index.
        reader: usize,
        /// What came.
        stamp: Stamp,
        /// The number that had to come.
        expected: u64,
    },
    /// This entry was not published yet.
    #[error(
        "reader {reader} saw {stamp}, of which only {published} were published; \
         the channel was not empty, or someone else publishes to it"
    )]
    Unpublished {
        /// The reader's index.
        reader: usize,
        /// What came.
        stamp: Stamp,
        /// How many entries this source has published.
        published: u64,
    },
    /// This entry belongs to another channel.
    #[error(
        "reader {reader} saw {stamp}, which was published to another channel; \
         the server mixed them up"
    )]
    Astray {
        /// The reader's index.
        reader: usize,
        /// What came.
        stamp: Stamp,
    },
    /// A session was told another channel than one that it reads.
    #[error("a session was sent an entry of {channel:?}, which it does not read")]
    Unasked {
        /// The channel's name, as it was told.
        channel: String,
    },
    /// The position after an entry is not the same for all.
    #[error(
        "reader {reader} was told that {found:?} is the offset after number {number}, and others \
         {expected:?}; who resumes from it would lose or repeat entries"
    )]
    Misplaced {
        /// The reader's index.
        reader: usize,
        /// The entry's number.
        number: u64,
        /// What others were told.
        expected: String,
        /// What this one was told.
        found: String,
    },
    /// The payload is none of ours.
    #[error(transparent)]
    NotOurs(#[from] NotOurs),
}
