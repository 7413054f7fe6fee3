//! Who has seen what: the proof that nothing was lost, repeated or reordered, and the count that
//! paces the publishers.
//!
//! ```text
//!  source 0, four readers      completed ┐        ┌ published
//!  number        …  38   39   40 │ 41   42   43 │
//!  seen by          4    4    4  │ 3    3    1  │       3 in flight
//! ```
//!
//! An entry is *in flight* until every reader has seen it. Counting this way is stricter than
//! comparing averages: one reader far behind holds the publisher back, so a server cannot look
//! better by serving its readers unevenly.

use std::collections::VecDeque;

use crate::payload::{NotOurs, Payloads, Stamp};

/// The entries published in a run and what each reader has seen of them.
pub struct Ledger {
    payloads: Payloads,
    sources: Vec<Source>,
    /// The number that each reader must see next, by reader and then by source.
    next: Vec<u64>,
    deliveries: u64,
}

impl Ledger {
    /// An empty ledger for entries of `sources` publishing connections.
    ///
    /// # Panics
    /// If `sources` is zero or more than a payload can name.
    pub fn new(payloads: Payloads, sources: usize) -> Self {
        assert!((1..=Payloads::SOURCES_MAX).contains(&sources));
        Self {
            payloads,
            sources: vec![Source::default(); sources],
            next: Vec::new(),
            deliveries: 0,
        }
    }

    /// Takes in one more reader and returns its index. A reader joins before the first entry.
    ///
    /// # Panics
    /// If something was published already, since what the reader must see would be unknown.
    pub fn join(&mut self) -> usize {
        assert!(self.published() == 0);
        self.next.extend(self.sources.iter().map(|_| 0));
        self.readers() - 1
    }

    /// Notes one more entry of `source` and appends its payload to `out`.
    pub fn publish(&mut self, source: usize, out: &mut Vec<u8>) {
        let readers = self.readers();
        let number = self.sources[source].publish(readers);
        self.payloads.write(Stamp { source, number }, out);
    }

    /// Reader `reader` was delivered `payload`.
    ///
    /// # Errors
    /// If it is not the entry that this reader must see next.
    pub fn deliver(&mut self, reader: usize, payload: &[u8]) -> Result<(), Violation> {
        let stamp = self.payloads.read(payload)?;
        let Stamp { source, number } = stamp;
        let sources = self.sources.len();
        let published = self.sources.get(source).map_or(0, Source::published);
        if number >= published {
            return Err(Violation::Unpublished {
                reader,
                stamp,
                published,
            });
        }
        let next = &mut self.next[reader * sources + source];
        if number != *next {
            let expected = *next;
            return Err(if number > expected {
                Violation::Lost {
                    reader,
                    stamp,
                    expected,
                }
            } else {
                Violation::Repeated {
                    reader,
                    stamp,
                    expected,
                }
            });
        }
        *next += 1;
        self.deliveries += 1;
        let readers = self.next.len() / sources;
        self.sources[source].seen(number, readers);
        Ok(())
    }

    /// The payloads of this run.
    pub fn payloads(&self) -> &Payloads {
        &self.payloads
    }

    /// How many readers joined.
    pub fn readers(&self) -> usize {
        self.next.len() / self.sources.len()
    }

    /// Deliveries so far, over all readers.
    pub fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// Entries published so far, over all sources.
    pub fn published(&self) -> u64 {
        self.sources.iter().map(Source::published).sum()
    }

    /// Entries of `source` that some reader has not seen yet.
    pub fn in_flight(&self, source: usize) -> usize {
        self.sources[source].seen_by.len()
    }

    /// Whether every reader has seen everything.
    pub fn is_drained(&self) -> bool {
        self.sources.iter().all(|source| source.seen_by.is_empty())
    }

    /// How many deliveries are still missing, for a message about a stall.
    pub fn missing(&self) -> u64 {
        self.published() * self.readers() as u64 - self.deliveries
    }
}

/// One publishing connection's entries.
#[derive(Clone, Default)]
struct Source {
    /// Entries that all readers have seen.
    completed: u64,
    /// For each later entry, how many readers have seen it.
    seen_by: VecDeque<u32>,
}

impl Source {
    fn publish(&mut self, readers: usize) -> u64 {
        let number = self.published();
        if readers == 0 {
            self.completed += 1;
        } else {
            self.seen_by.push_back(0);
        }
        number
    }

    fn seen(&mut self, number: u64, readers: usize) {
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

    fn published(&self) -> u64 {
        self.completed + self.seen_by.len() as u64
    }
}

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
    /// The payload is none of ours.
    #[error(transparent)]
    NotOurs(#[from] NotOurs),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload(source: usize, number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        Payloads::new(32).write(Stamp { source, number }, &mut out);
        out
    }

    fn ledger(readers: usize, published: u64) -> Ledger {
        let mut ledger = Ledger::new(Payloads::new(32), 2);
        for _ in 0..readers {
            ledger.join();
        }
        for _ in 0..published {
            ledger.publish(0, &mut Vec::new());
        }
        ledger
    }

    #[test]
    fn an_entry_is_in_flight_until_the_last_reader_has_it() {
        let mut ledger = ledger(2, 2);
        for (reader, number, in_flight) in [(0, 0, 2), (0, 1, 2), (1, 0, 1), (1, 1, 0)] {
            ledger.deliver(reader, &payload(0, number)).unwrap();
            assert_eq!(
                ledger.in_flight(0),
                in_flight,
                "reader {reader} saw {number}"
            );
        }
        assert!(ledger.is_drained());
        assert_eq!(ledger.deliveries(), 4);
    }

    #[test]
    fn without_readers_nothing_is_in_flight() {
        assert!(ledger(0, 3).is_drained());
    }

    #[test]
    fn a_wrong_delivery_is_named() {
        let (reader, expected) = (0, 1);
        let stamp = |number| Stamp { source: 0, number };
        let cases = [
            (
                0,
                Violation::Repeated {
                    reader,
                    stamp: stamp(0),
                    expected,
                },
            ),
            (
                2,
                Violation::Lost {
                    reader,
                    stamp: stamp(2),
                    expected,
                },
            ),
            (
                3,
                Violation::Unpublished {
                    reader,
                    stamp: stamp(3),
                    published: 3,
                },
            ),
        ];
        for (number, violation) in cases {
            let mut ledger = ledger(1, 3);
            ledger.deliver(0, &payload(0, 0)).unwrap();
            assert_eq!(ledger.deliver(0, &payload(0, number)), Err(violation));
        }
        let foreign = ledger(1, 3).deliver(0, b"hello");
        assert!(matches!(foreign, Err(Violation::NotOurs(_))), "{foreign:?}");
        let unknown = ledger(1, 3).deliver(0, &payload(2, 0));
        assert!(
            matches!(unknown, Err(Violation::Unpublished { published: 0, .. })),
            "{unknown:?}"
        );
    }

    proptest! {
        /// The model keeps, for each reader, how far it is; the slowest tells what is in flight.
        #[test]
        fn in_flight_is_published_less_the_slowest_reader(
            readers in 1..5_usize,
            steps in prop::collection::vec((0..2_usize, 0..6_usize), 0..200),
        ) {
            let mut ledger = ledger(readers, 0);
            let mut published = [0_u64; 2];
            let mut seen = vec![[0_u64; 2]; readers];
            for (source, who) in steps {
                if who >= readers {
                    ledger.publish(source, &mut Vec::new());
                    published[source] += 1;
                } else if seen[who][source] < published[source] {
                    ledger.deliver(who, &payload(source, seen[who][source])).unwrap();
                    seen[who][source] += 1;
                }
                for source in 0..2 {
                    let slowest = seen.iter().map(|seen| seen[source]).min().unwrap();
                    prop_assert_eq!(ledger.in_flight(source) as u64, published[source] - slowest);
                }
                let deliveries = seen.iter().flatten().sum::<u64>();
                prop_assert_eq!(ledger.deliveries(), deliveries);
                let wanted = published.iter().sum::<u64>() * readers as u64;
                prop_assert_eq!(ledger.missing(), wanted - deliveries);
            }
        }
    }
}
