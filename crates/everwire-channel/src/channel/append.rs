//! What is asked of a channel when something is published, and what it answers.

use super::guard::{Guard, Tail};
use crate::content_type::ContentType;
use crate::entry::Draft;
use crate::label::{IdempotencyKey, StreamSeq};
use crate::offset::Offset;
use crate::producer::{Producer, ProducerAnswer};

/// One append: all of it happens, or nothing.
///
/// Entries without `close` append, both append and close in one step, `close` alone closes. The
/// size of one append is limited where its body is [split](crate::split()).
#[derive(Debug, Clone, Default)]
pub struct Append<'a> {
    /// What is appended, in order.
    pub entries: Vec<Draft>,
    /// The media type that the publisher states for the entries: the first one stated is the channel's from then on.
    /// `None` states none, so that each entry keeps the [kind](Draft::kind) that it has. Ignored without entries.
    pub content_type: Option<&'a ContentType>,
    /// Whether the channel is closed after the last entry.
    pub close: bool,
    /// The numbers by which a retry is known.
    pub producer: Option<Producer<'a>>,
    /// The name by which a retry is known. Its scope is the channel, whoever publishes.
    pub idempotency_key: Option<IdempotencyKey<'a>>,
    /// The writer's own order, which must rise from append to append.
    pub stream_seq: Option<StreamSeq<'a>>,
    /// The condition on the channel's tail, judged last and in the same step as the append. `None` asks for nothing.
    pub guard: Option<&'a Guard>,
}

/// The answer to an append that was accepted, now or before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It changed the channel.
    New {
        /// The offset after the last entry.
        next: Offset,
        /// Whether the channel is closed now.
        closed: bool,
        /// The producer's state after it, if it named a producer.
        producer: Option<ProducerAnswer>,
    },
    /// It had been accepted before, or closed what was closed; nothing changed.
    Duplicate {
        /// For a repeated idempotency key, the offset of the first answer; else the head, at or
        /// after what the first one appended.
        next: Offset,
        /// Whether the channel is closed now; for a repeated key, as in the first answer.
        closed: bool,
        /// The producer's state, if it named a producer that is known.
        producer: Option<ProducerAnswer>,
    },
}

impl Appended {
    /// The offset to answer with.
    pub fn next(&self) -> Offset {
        match *self {
            Self::New { next, .. } | Self::Duplicate { next, .. } => next,
        }
    }

    /// Whether to answer that the channel is closed.
    pub fn is_closed(&self) -> bool {
        match *self {
            Self::New { closed, .. } | Self::Duplicate { closed, .. } => closed,
        }
    }

    /// The producer's state to answer with.
    pub fn producer(&self) -> Option<ProducerAnswer> {
        match *self {
            Self::New { producer, .. } | Self::Duplicate { producer, .. } => producer,
        }
    }

    /// Whether it changed the channel.
    pub fn is_new(&self) -> bool {
        matches!(self, Self::New { .. })
    }
}

/// Why an append was refused. The channel is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Neither entries nor a close.
    #[error("the append has no entries and does not close the channel; send at least one entry")]
    Empty,
    /// The idempotency key was used for an append that said something else.
    #[error(
        "the idempotency key was used for another append; use a new key for each append and repeat it for retries alone"
    )]
    KeyReused,
    /// The channel is closed.
    #[error(
        "the channel was closed at {tail} and takes no more entries; publish to another channel"
    )]
    Closed {
        /// The offset after the last entry.
        tail: Offset,
    },
    /// The media type is not the channel's.
    #[error(
        "the channel holds {channel} and the append is {received}; send what the channel holds"
    )]
    ContentTypeMismatch {
        /// The channel's type.
        channel: ContentType,
        /// The append's type.
        received: ContentType,
    },
    /// A later life of the producer has appended.
    #[error(
        "the producer's epoch is over, the current one is {current}; stop, or claim the id with a higher epoch"
    )]
    StaleEpoch {
        /// The producer's current epoch.
        current: u64,
    },
    /// Appends of the producer before this one have not arrived, or are forgotten.
    #[error(
        "the producer's sequence number is {received} and {expected} was expected; send again from there"
    )]
    ProducerGap {
        /// The sequence number to send next.
        expected: u64,
        /// The one received.
        received: u64,
    },
    /// A new epoch with a sequence number other than 0.
    #[error("the producer's new epoch starts with sequence number {received}; start it with 0")]
    EpochMustStartAtZero {
        /// The sequence number received.
        received: u64,
    },
    /// `Stream-Seq` is not above the last one.
    #[error(
        "the stream sequence {received:?} is not above the last one, {last:?}; it must rise, compared as bytes"
    )]
    StreamSeqNotRising {
        /// The last value accepted.
        last: Box<str>,
        /// The one received.
        received: Box<str>,
    },
    /// The tail is another than the append was made for.
    #[error(
        "the channel ends at {tail}, which is not where this append was to follow; read on from where you were, and decide again"
    )]
    TailMoved {
        /// Where the channel ends.
        tail: Tail,
    },
}
