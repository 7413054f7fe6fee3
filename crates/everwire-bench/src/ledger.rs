//! Who has seen what: the proof that nothing was lost, repeated or reordered, and the count that
//! paces the publishers.
//!
//! ```text
//!  source 0, four readers      completed ┐        ┌ published
//!  number        …  38   39   40 │ 41   42   43 │
//!  seen by          4    4    4  │ 3    3    1  │       3 in flight
//! ```
//!
//! An entry is *in flight* until every reader of its channel has seen it. Counting this way is
//! stricter than comparing averages: one reader far behind holds the publisher back, so a server
//! cannot look better by serving its readers unevenly.

mod offsets;
mod source;
mod violation;

use std::ops::Range;

pub use self::violation::Violation;
use self::{offsets::Offsets, source::Source};
use crate::{
    payload::{Payloads, Stamp},
    response::excerpt,
    timing::Timing,
    wire,
};

/// The entries published in a run and what each reader has seen of them.
pub struct Ledger {
    payloads: Payloads,
    sources: Vec<Source>,
    channels: Vec<Channel>,
    readers: Vec<Reader>,
    /// The number that each reader must see next, by reader and then by source of its channel.
    next: Vec<u64>,
    deliveries: u64,
    timing: Option<Timing>,
    offsets: Option<Offsets>,
}

/// A channel's sources stand side by side.
struct Channel {
    first_source: usize,
    sources: usize,
    readers: usize,
}

/// What one reader reads, and where its numbers stand.
struct Reader {
    channel: usize,
    first_next: usize,
}

impl Ledger {
    /// An empty ledger for one channel that `sources` publish to.
    ///
    /// # Panics
    /// If `sources` is zero or more than a payload can name.
    pub fn new(payloads: Payloads, sources: usize) -> Self {
        Self::of_channels(payloads, &[sources])
    }

    /// An empty ledger for as many channels as there are `sources`, each with so many. Sources
    /// are counted through: those of the second channel follow those of the first.
    ///
    /// # Panics
    /// If they are none in all, or more than a payload can name.
    pub fn of_channels(payloads: Payloads, sources: &[usize]) -> Self {
        let mut all = 0;
        let channels = sources
            .iter()
            .map(|&sources| {
                let first_source = all;
                all += sources;
                Channel {
                    first_source,
                    sources,
                    readers: 0,
                }
            })
            .collect();
        assert!((1..=Payloads::SOURCES_MAX).contains(&all));
        Self {
            payloads,
            sources: vec![Source::default(); all],
            channels,
            readers: Vec::new(),
            next: Vec::new(),
            deliveries: 0,
            timing: None,
            offsets: None,
        }
    }

    /// Takes in one more reader of `channel` and returns its index. A reader joins before the
    /// channel's first entry.
    ///
    /// # Panics
    /// If something was published there already, since what the reader must see would be unknown.
    pub fn join(&mut self, channel: usize) -> usize {
        let joined = &mut self.channels[channel];
        let sources = joined.first_source..joined.first_source + joined.sources;
        assert!(
            self.sources[sources]
                .iter()
                .all(|source| source.published() == 0)
        );
        joined.readers += 1;
        let first_next = self.next.len();
        self.next.resize(first_next + joined.sources, 0);
        self.readers.push(Reader {
            channel,
            first_next,
        });
        self.readers.len() - 1
    }

    /// From now on, how long each delivery took is noted in `timing`.
    pub fn time(&mut self, timing: Timing) {
        self.timing = Some(timing);
    }

    /// From now on, the offsets that sessions are told are noted, so that they can resume. Each
    /// channel must have one source.
    pub fn keep_offsets(&mut self) {
        self.offsets = Some(Offsets::default());
    }

    /// Notes one more entry of `source` and appends its payload to `out`.
    pub fn publish(&mut self, source: usize, out: &mut Vec<u8>) {
        let readers = self.readers_of(source);
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
        let published = self.sources.get(source).map_or(0, Source::published);
        if number >= published {
            return Err(Violation::Unpublished {
                reader,
                stamp,
                published,
            });
        }
        let Reader {
            channel,
            first_next,
        } = self.readers[reader];
        let Channel {
            first_source,
            sources,
            readers,
        } = self.channels[channel];
        let Some(place) = source.checked_sub(first_source).filter(|at| *at < sources) else {
            return Err(Violation::Astray { reader, stamp });
        };
        let next = &mut self.next[first_next + place];
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
        self.sources[source].seen(number, readers);
        if let Some(timing) = &mut self.timing {
            timing.on_delivery(stamp);
        }
        Ok(())
    }

    /// The session of `readers`, one for each channel that it reads, was delivered `payload` as an
    /// entry of the channel that is called `name`, with `offset` as the position after it.
    ///
    /// # Errors
    /// If it does not read that channel, the entry is not what it must see there next, or others
    /// were told another offset.
    pub fn deliver_to_session(
        &mut self,
        readers: Range<usize>,
        name: &[u8],
        offset: &[u8],
        payload: &[u8],
    ) -> Result<(), Violation> {
        let channel = wire::channel_number(name);
        let mut all = readers;
        let Some(reader) = all.find(|reader| Some(self.readers[*reader].channel) == channel) else {
            let channel = excerpt(name);
            return Err(Violation::Unasked { channel });
        };
        self.deliver(reader, payload)?;
        let Reader {
            channel,
            first_next,
        } = self.readers[reader];
        let number = self.next[first_next] - 1;
        if let Some(offsets) = &mut self.offsets {
            let source = self.channels[channel].first_source;
            let noted = offsets.note(source, number, offset);
            noted.map_err(|expected| Violation::Misplaced {
                reader,
                number,
                expected: excerpt(expected),
                found: excerpt(offset),
            })?;
        }
        Ok(())
    }

    /// Where `reader` stands: its channel, and the offset after the last entry that it has seen, if
    /// it has seen one and offsets are kept.
    pub fn place(&self, reader: usize) -> (usize, Option<&str>) {
        let Reader {
            channel,
            first_next,
        } = self.readers[reader];
        let source = self.channels[channel].first_source;
        let last = self.next[first_next].checked_sub(1);
        let offsets = self.offsets.as_ref();
        let offset = last.and_then(|last| offsets?.after(source, last));
        (channel, offset)
    }

    /// The payloads of this run.
    pub fn payloads(&self) -> &Payloads {
        &self.payloads
    }

    /// What was noted of the time that deliveries took, if it was asked for.
    pub fn timing(&mut self) -> Option<&mut Timing> {
        self.timing.as_mut()
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
        self.sources[source].in_flight()
    }

    /// Whether every reader has seen everything.
    pub fn is_drained(&self) -> bool {
        self.sources.iter().all(|source| source.in_flight() == 0)
    }

    /// How many deliveries are still missing, for a message about a stall.
    pub fn missing(&self) -> u64 {
        let wanted: u64 = self
            .channels
            .iter()
            .map(|channel| {
                let sources = channel.first_source..channel.first_source + channel.sources;
                let published: u64 = self.sources[sources].iter().map(Source::published).sum();
                published * channel.readers as u64
            })
            .sum();
        wanted - self.deliveries
    }

    fn readers_of(&self, source: usize) -> usize {
        // Channels are in the order of their sources.
        let after = self
            .channels
            .partition_point(|channel| channel.first_source <= source);
        self.channels[after - 1].readers
    }
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
            ledger.join(0);
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
    fn an_entry_belongs_to_the_readers_of_its_channel() {
        let mut ledger = Ledger::of_channels(Payloads::new(32), &[1, 2]);
        let (first, second) = (ledger.join(0), ledger.join(1));
        for source in 0..3 {
            ledger.publish(source, &mut Vec::new());
        }
        ledger.deliver(second, &payload(2, 0)).unwrap();
        ledger.deliver(second, &payload(1, 0)).unwrap();
        assert_eq!([0, 1, 2].map(|source| ledger.in_flight(source)), [1, 0, 0]);
        assert_eq!(ledger.missing(), 1);
        let stamp = Stamp {
            source: 2,
            number: 0,
        };
        assert_eq!(
            ledger.deliver(first, &payload(2, 0)),
            Err(Violation::Astray {
                reader: first,
                stamp
            })
        );
    }

    #[test]
    fn a_session_stands_somewhere_in_each_of_its_channels() {
        let mut ledger = Ledger::of_channels(Payloads::new(32), &[1, 1, 1]);
        ledger.keep_offsets();
        let session = ledger.join(2)..ledger.join(0) + 1;
        let other = ledger.join(2);
        for source in [2, 2, 0] {
            ledger.publish(source, &mut Vec::new());
        }
        let mut deliver = |readers: Range<usize>, name: &[u8], offset: &[u8], payload: &[u8]| {
            ledger.deliver_to_session(readers, name, offset, payload)
        };
        let (first, second) = (payload(2, 0), payload(2, 1));
        assert_eq!(deliver(session.clone(), b"bench/2", b"a", &first), Ok(()));
        assert_eq!(deliver(session.clone(), b"bench/2", b"b", &second), Ok(()));
        let unasked = deliver(session.clone(), b"bench/1", b"c", &payload(1, 0));
        assert!(
            matches!(unasked, Err(Violation::Unasked { .. })),
            "{unasked:?}"
        );
        let mixed_up = deliver(session.clone(), b"bench/0", b"c", &second);
        assert!(
            matches!(mixed_up, Err(Violation::Astray { .. })),
            "{mixed_up:?}"
        );
        let misplaced = deliver(other..other + 1, b"bench/2", b"b", &first);
        assert!(
            matches!(misplaced, Err(Violation::Misplaced { number: 0, .. })),
            "{misplaced:?}"
        );
        let places: Vec<_> = session.map(|reader| ledger.place(reader)).collect();
        assert_eq!(places, [(2, Some("b")), (0, None)]);
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
