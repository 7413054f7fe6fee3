//! The channel against a naive model: a list of every append that was accepted, searched afresh
//! for each decision.

use bytes::Bytes;
use everwire_channel::{
    Append, AppendError, Appended, Channel, ContentType, Draft, Epoch, IdempotencyKey, Mark,
    Offset, Producer, ProducerAnswer, Read, RepeatLimits, Retention, Setup, StreamSeq,
};
use proptest::prelude::*;

/// What a publisher sends, as plain values.
#[derive(Debug, Clone, PartialEq)]
struct Request {
    payloads: Vec<u8>,
    close: bool,
    is_json: bool,
    producer: Option<(&'static str, u64, u64)>,
    key: Option<&'static str>,
    stream_seq: Option<&'static str>,
}

/// An accepted request, when it came, and the head after it.
struct Accepted {
    request: Request,
    at_ms: u64,
    next: Offset,
}

struct Model {
    accepted: Vec<Accepted>,
    limits: RepeatLimits,
    before: Offset,
}

/// An answer, with the details that only readers of messages need left out.
#[derive(Debug, PartialEq)]
enum Answer {
    New(Offset, bool, Option<ProducerAnswer>),
    Duplicate(Offset, bool, Option<ProducerAnswer>),
    Refused(&'static str),
}

impl Model {
    fn answer(&self, request: &Request, now_ms: u64) -> Answer {
        use Answer::*;
        let known = request
            .producer
            .and_then(|(id, ..)| self.producer(id, now_ms));
        let (head, is_closed) = (self.head(), self.is_closed());
        if request.payloads.is_empty() && !request.close {
            return Refused("empty");
        }
        if let Some(first) = request.key.and_then(|key| self.first_with_key(key, now_ms)) {
            let Accepted {
                request: said,
                next,
                ..
            } = first;
            let is_same = (&said.payloads, said.close) == (&request.payloads, request.close);
            let producer = said
                .producer
                .map(|(_, epoch, seq)| ProducerAnswer { epoch, seq });
            return match is_same {
                true => Duplicate(*next, said.close, producer),
                false => Refused("key reused"),
            };
        }
        if is_closed {
            let closed_by = self
                .accepted
                .iter()
                .find(|accepted| accepted.request.close)
                .unwrap();
            if let Some((_, epoch, seq)) = request.producer {
                if closed_by.request.producer == request.producer {
                    return Duplicate(head, true, Some(ProducerAnswer { epoch, seq }));
                }
                if known.is_some_and(|known| epoch < known.epoch) {
                    return Refused("stale epoch");
                }
            }
            return match request.payloads.is_empty() {
                true => Duplicate(head, true, known),
                false => Refused("closed"),
            };
        }
        if !request.payloads.is_empty() && request.is_json {
            return Refused("content type");
        }
        if let Some((_, epoch, seq)) = request.producer {
            let current = known.map_or(epoch, |known| known.epoch);
            let expected = match known {
                Some(known) if known.epoch == epoch => known.seq + 1,
                Some(_) | None => 0,
            };
            if epoch < current {
                return Refused("stale epoch");
            } else if epoch > current && seq > 0 {
                return Refused("epoch must start at zero");
            } else if seq > expected {
                return Refused("producer gap");
            } else if seq < expected {
                return Duplicate(head, false, known);
            }
        }
        let last = self
            .accepted
            .iter()
            .rev()
            .find_map(|accepted| accepted.request.stream_seq);
        if request.stream_seq.is_some() && last.is_some() && request.stream_seq <= last {
            return Refused("stream seq");
        }
        let next = Offset {
            sequence: head.sequence + request.payloads.len() as u64,
            ..head
        };
        let producer = request
            .producer
            .map(|(_, epoch, seq)| ProducerAnswer { epoch, seq });
        New(next, request.close, producer)
    }

    /// The producer's last accepted append, unless it is too long ago or too many other producers
    /// have appended since.
    fn producer(&self, id: &str, now_ms: u64) -> Option<ProducerAnswer> {
        let mut others = std::collections::BTreeSet::new();
        for accepted in self.accepted.iter().rev() {
            let Some((other, epoch, seq)) = accepted.request.producer else {
                continue;
            };
            if other == id {
                let is_kept = others.len() < self.limits.producers_max as usize
                    && now_ms - accepted.at_ms <= self.limits.producer_idle_max_ms;
                return is_kept.then_some(ProducerAnswer { epoch, seq });
            }
            others.insert(other);
        }
        None
    }

    /// The last append accepted with the key, as a repeat is never accepted while it is
    /// remembered; unless it is too long ago or too many keys came since.
    fn first_with_key(&self, key: &str, now_ms: u64) -> Option<&Accepted> {
        let with_keys = self
            .accepted
            .iter()
            .rev()
            .filter(|accepted| accepted.request.key.is_some());
        with_keys
            .take(self.limits.keys_max as usize)
            .find(|accepted| accepted.request.key == Some(key))
            .filter(|accepted| now_ms - accepted.at_ms <= self.limits.key_age_max_ms)
    }

    fn head(&self) -> Offset {
        self.accepted
            .last()
            .map_or(self.before, |accepted| accepted.next)
    }

    fn is_closed(&self) -> bool {
        self.accepted.iter().any(|accepted| accepted.request.close)
    }

    fn payloads(&self) -> Vec<u8> {
        self.accepted
            .iter()
            .flat_map(|accepted| accepted.request.payloads.clone())
            .collect()
    }
}

fn append(channel: &mut Channel, request: &Request, now_ms: u64) -> Answer {
    let (text, json) = (ContentType::text(), ContentType::json());
    let entries = request
        .payloads
        .iter()
        .map(|&byte| Draft::from(Bytes::from(vec![byte])));
    let answer = channel.append(
        Append {
            entries: entries.collect(),
            content_type: Some(if request.is_json { &json } else { &text }),
            close: request.close,
            producer: request
                .producer
                .map(|(id, epoch, seq)| Producer::new(id, epoch, seq).unwrap()),
            idempotency_key: request.key.map(|key| IdempotencyKey::new(key).unwrap()),
            stream_seq: request
                .stream_seq
                .map(|value| StreamSeq::new(value).unwrap()),
            guard: None,
        },
        now_ms,
    );
    match answer {
        Ok(Appended::New {
            next,
            closed,
            producer,
        }) => Answer::New(next, closed, producer),
        Ok(Appended::Duplicate {
            next,
            closed,
            producer,
        }) => Answer::Duplicate(next, closed, producer),
        Err(error) => Answer::Refused(match error {
            AppendError::TailMoved { .. } => unreachable!("nothing is guarded"),
            AppendError::Empty => "empty",
            AppendError::KeyReused => "key reused",
            AppendError::Closed { .. } => "closed",
            AppendError::ContentTypeMismatch { .. } => "content type",
            AppendError::StaleEpoch { .. } => "stale epoch",
            AppendError::ProducerGap { .. } => "producer gap",
            AppendError::EpochMustStartAtZero { .. } => "epoch must start at zero",
            AppendError::StreamSeqNotRising { .. } => "stream seq",
        }),
    }
}

fn any_request() -> impl Strategy<Value = Request> {
    let sometimes = |strategy: BoxedStrategy<&'static str>| prop::option::weighted(0.3, strategy);
    let producer = (prop::sample::select(&["p", "q", "r"][..]), 0..3u64, 0..4u64);
    (
        prop::collection::vec(b'a'..b'e', 0..3),
        prop::bool::weighted(0.03),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.6, producer),
        sometimes(prop::sample::select(&["k", "l", "m"][..]).boxed()),
        sometimes(prop::sample::select(&["1", "10", "2", "3", "4", "5"][..]).boxed()),
    )
        .prop_map(
            |(payloads, close, is_json, producer, key, stream_seq)| Request {
                payloads,
                close,
                is_json,
                producer,
                key,
                stream_seq,
            },
        )
}

fn read_all(channel: &Channel) -> Vec<u8> {
    match channel.log().after(0) {
        Read::Entries(entries) => entries.map(|(_, entry)| entry.payload[0]).collect(),
        Read::CaughtUp => Vec::new(),
        Read::Gap(gap) => panic!("{gap:?} though everything is kept"),
    }
}

proptest! {
    #[test]
    fn a_channel_decides_as_a_search_through_its_whole_past_would(
        steps in prop::collection::vec((0..4u64, any_request(), any::<bool>()), 1..120),
    ) {
        let limits = RepeatLimits {
            producers_max: 2,
            keys_max: 2,
            producer_idle_max_ms: 30,
            key_age_max_ms: 20,
        };
        let setup = Setup {
            content_type: Some(ContentType::text()),
            retention: Retention { entries_max: u64::MAX, bytes_max: u64::MAX, age_max_ms: None },
            repeats: limits,
            ..Setup::new(Epoch(7), Mark(1))
        };
        let mut channel = Channel::new(setup, 0);
        let mut model = Model { accepted: Vec::new(), limits, before: channel.log().head() };
        let mut now_ms = 0;
        for (wait_ms, request, is_trimmed) in steps {
            now_ms += wait_ms;
            if is_trimmed {
                channel.trim(now_ms);
            }
            let before = format!("{channel:?}");
            let expected = model.answer(&request, now_ms);
            prop_assert_eq!(&append(&mut channel, &request, now_ms), &expected, "{:?}", request);
            match expected {
                Answer::New(next, ..) => {
                    model.accepted.push(Accepted { request, at_ms: now_ms, next });
                }
                Answer::Refused(_) => prop_assert_eq!(format!("{channel:?}"), before),
                Answer::Duplicate(..) => {}
            }
            prop_assert_eq!(channel.log().head(), model.head());
            prop_assert_eq!(channel.is_closed(), model.is_closed());
        }
        prop_assert_eq!(read_all(&channel), model.payloads());
    }
}
