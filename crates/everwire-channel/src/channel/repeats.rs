//! What a channel remembers to recognise repeated appends and a writer's order.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::append::{Append, Appended};
use super::setup::RepeatLimits;
use crate::label::{IdempotencyKey, StreamSeq};
use crate::offset::Offset;
use crate::producer::{Producer, ProducerAnswer};
use crate::recent::Recent;

/// The memory of one channel; made with the first append that needs it.
#[derive(Debug, Clone, Default)]
pub(super) struct Repeats {
    producers: Recent<ProducerAnswer>,
    keys: Recent<KeyedAnswer>,
    /// The last `Stream-Seq`.
    pub(super) stream_seq: Option<Box<str>>,
}

/// By what an append is known when it comes again.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryMarks<'a> {
    pub(super) producer: Option<Producer<'a>>,
    pub(super) keyed: Option<(IdempotencyKey<'a>, Fingerprint)>,
    pub(super) stream_seq: Option<StreamSeq<'a>>,
}

/// What the first append with a key said, and what it was answered.
#[derive(Debug, Clone)]
pub(super) struct KeyedAnswer {
    pub(super) fingerprint: Fingerprint,
    next: Offset,
    closed: bool,
    producer: Option<ProducerAnswer>,
}

/// A digest of what an append does. Not proof against forgery: who publishes something else under
/// a key of its own with the same digest has its append taken for the repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

impl Repeats {
    /// Takes note of an append that was accepted with `answer`.
    pub(super) fn remember(
        &mut self,
        marks: RetryMarks<'_>,
        answer: &Appended,
        now_ms: u64,
        limits: &RepeatLimits,
    ) {
        let RetryMarks {
            producer,
            keyed,
            stream_seq,
        } = marks;
        if let Some(producer) = producer {
            let bounds = limits.of_producers();
            self.producers
                .put(producer.id(), producer.answer(), now_ms, bounds);
        }
        if let Some((key, fingerprint)) = keyed {
            let (next, closed, producer) = (answer.next(), answer.is_closed(), answer.producer());
            let answer = KeyedAnswer {
                fingerprint,
                next,
                closed,
                producer,
            };
            self.keys
                .put(key.as_str(), answer, now_ms, limits.of_keys());
        }
        if let Some(value) = stream_seq {
            self.stream_seq = Some(value.as_str().into());
        }
    }

    pub(super) fn forget(&mut self, now_ms: u64, limits: &RepeatLimits) {
        self.producers.forget(now_ms, limits.of_producers());
        self.keys.forget(now_ms, limits.of_keys());
    }

    pub(super) fn key(
        &self,
        key: IdempotencyKey<'_>,
        now_ms: u64,
        limits: &RepeatLimits,
    ) -> Option<&KeyedAnswer> {
        self.keys.find(key.as_str(), now_ms, limits.of_keys())
    }

    pub(super) fn producer(
        &self,
        producer: Producer<'_>,
        now_ms: u64,
        limits: &RepeatLimits,
    ) -> Option<ProducerAnswer> {
        self.producers
            .find(producer.id(), now_ms, limits.of_producers())
            .copied()
    }

    /// What it takes, in bytes, about.
    pub(super) fn bytes(&self) -> u64 {
        self.producers.bytes() + self.keys.bytes()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.producers.is_empty() && self.keys.is_empty() && self.stream_seq.is_none()
    }
}

impl<'a> RetryMarks<'a> {
    pub(super) fn of(append: &Append<'a>) -> Self {
        Self {
            producer: append.producer,
            keyed: append
                .idempotency_key
                .map(|key| (key, Fingerprint::of(append))),
            stream_seq: append.stream_seq,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.producer.is_none() && self.keyed.is_none() && self.stream_seq.is_none()
    }
}

impl KeyedAnswer {
    pub(super) fn again(&self) -> Appended {
        let Self {
            next,
            closed,
            producer,
            ..
        } = *self;
        Appended::Duplicate {
            next,
            closed,
            producer,
        }
    }
}

impl Fingerprint {
    pub(super) fn of(append: &Append<'_>) -> Self {
        // Its keys are fixed, so that nothing here depends on hidden randomness.
        let mut hasher = DefaultHasher::new();
        append.close.hash(&mut hasher);
        for draft in &append.entries {
            draft.payload.hash(&mut hasher);
            draft.event.hash(&mut hasher);
            draft.publisher.hash(&mut hasher);
        }
        Self(hasher.finish())
    }
}
