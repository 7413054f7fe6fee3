//! The encoded tail: what one channel's readers of one framing still have to be sent.
//!
//! ```text
//!            released ◀── start                              end
//!  position  ·············│█ entry 7 █│█ entry 8 █│█ entry 9 █│
//!                         └── piece ──────────────┘└─ piece ──┘   a piece is one batch, encoded at once
//!                                     ▲
//!                          a line's cursor: one number, which says both which entry and where inside it
//! ```
//!
//! Positions count the bytes ever encoded and never restart, so a line's place is one `u64` and what it still
//! has to get is a slice that nearly all lines share. The tail keeps bytes only while somebody needs them:
//! its owner releases what every line has passed. It holds no history; that is the log's.

use std::{collections::VecDeque, io::IoSlice, ops::Range};

use bytes::{Bytes, BytesMut};

/// The encoded entries that some line has still to be sent.
pub struct Tail {
    pieces: VecDeque<Piece>,
    /// The sequence of the newest entry encoded, and the position where its encoding ends, for all entries of
    /// the kept pieces, oldest first.
    ends: VecDeque<End>,
    end: u64,
    /// What is being written; its allocation is shared by the pieces split off from it.
    scratch: BytesMut,
}

struct Piece {
    start: u64,
    bytes: Bytes,
}

struct End {
    sequence: u64,
    position: u64,
}

/// Where a position lies among the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The last entry that is wholly before the position.
    pub sequence: u64,
    /// How many bytes of what follows that entry are before the position; 0 on an entry's boundary.
    pub skip: usize,
    /// How many bytes are left until the next boundary; 0 on an entry's boundary.
    pub rest: usize,
}

impl Tail {
    /// A tail whose next entry will be the one after `sequence`.
    pub fn new(sequence: u64) -> Self {
        Self {
            pieces: VecDeque::new(),
            ends: VecDeque::from([End {
                sequence,
                position: 0,
            }]),
            end: 0,
            scratch: BytesMut::new(),
        }
    }

    /// The position after all that was encoded.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The newest entry encoded.
    pub fn sequence(&self) -> u64 {
        self.last().sequence
    }

    /// How many bytes are kept.
    pub fn len(&self) -> usize {
        usize::try_from(self.end - self.start()).expect("the kept bytes are in memory")
    }

    /// Whether nothing is kept: every line is at the end.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Encodes the entry with the next sequence.
    pub fn push_entry(&mut self, sequence: u64, encode: impl FnOnce(&mut BytesMut)) {
        debug_assert_eq!(
            sequence,
            self.sequence() + 1,
            "entries are encoded in order"
        );
        let position = self.write(encode);
        self.ends.push_back(End { sequence, position });
    }

    /// Encodes something that is no entry (a heartbeat, a control event, the end). It belongs to the entry
    /// before it, so a line inside it has that entry's encoding behind it.
    pub fn push_notice(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let position = self.write(encode);
        // A boundary of its own, so that a line between the entry and the notice is known to be between.
        let sequence = self.sequence();
        self.ends.push_back(End { sequence, position });
    }

    /// Ends a batch: what was pushed since the last call becomes one piece that is sent as one slice.
    pub fn seal(&mut self) {
        if !self.scratch.is_empty() {
            let bytes = self.scratch.split().freeze();
            let start = self.end - bytes.len() as u64;
            self.pieces.push_back(Piece { start, bytes });
        }
    }

    /// What lies behind `position`, as slices for one vectored write; at most `slices.len()` pieces.
    /// Returns how many were filled in and the number of their bytes.
    pub fn after<'a>(&'a self, position: u64, slices: &mut [IoSlice<'a>]) -> (usize, usize) {
        debug_assert!(
            self.scratch.is_empty(),
            "a batch is sealed before it is sent"
        );
        assert!(
            position >= self.start(),
            "a line never stands before what its tail still holds"
        );
        let first = self.pieces.partition_point(|piece| piece.end() <= position);
        let (mut count, mut bytes) = (0, 0);
        for (slot, piece) in slices.iter_mut().zip(self.pieces.range(first..)) {
            let from = position.saturating_sub(piece.start) as usize;
            *slot = IoSlice::new(&piece.bytes[from..]);
            count += 1;
            bytes += piece.bytes.len() - from;
        }
        (count, bytes)
    }

    /// What lies in a range of positions, as slices for one vectored write. Returns how many were filled in, and
    /// whether they are all of it.
    pub fn between<'a>(&'a self, range: Range<u64>, slices: &mut [IoSlice<'a>]) -> (usize, bool) {
        let mut left = usize::try_from(range.end - range.start).expect("the range is in memory");
        let first = self
            .pieces
            .partition_point(|piece| piece.end() <= range.start);
        let mut count = 0;
        for (slot, piece) in slices.iter_mut().zip(self.pieces.range(first..)) {
            if left == 0 {
                break;
            }
            let from = range.start.saturating_sub(piece.start) as usize;
            let bytes = &piece.bytes[from..];
            let bytes = &bytes[..bytes.len().min(left)];
            left -= bytes.len();
            *slot = IoSlice::new(bytes);
            count += 1;
        }
        (count, left == 0)
    }

    /// Which entry a position belongs to.
    pub fn place(&self, position: u64) -> Place {
        let next = self.ends.partition_point(|end| end.position <= position);
        let before = &self.ends[next
            .checked_sub(1)
            .expect("a position is not before the first kept boundary")];
        match self.ends.get(next) {
            Some(after) if before.position < position => Place {
                sequence: before.sequence,
                skip: (position - before.position) as usize,
                rest: (after.position - position) as usize,
            },
            _ => Place {
                sequence: before.sequence,
                skip: 0,
                rest: 0,
            },
        }
    }

    /// The whole encoding of the entry or notice that `position` is inside of.
    pub fn encoding(&self, position: u64) -> Option<&[u8]> {
        let Place { skip, rest, .. } = self.place(position);
        let at = self.pieces.partition_point(|piece| piece.end() <= position);
        // What is encoded at once is one piece.
        let piece = self.pieces.get(at)?;
        let from = position.checked_sub(piece.start + skip as u64)? as usize;
        piece.bytes.get(from..from + skip + rest)
    }

    /// The bytes between `position` and the next boundary, as they were encoded.
    pub fn rest(&self, position: u64, out: &mut Vec<u8>) {
        let mut left = self.place(position).rest;
        let mut slices = [IoSlice::new(&[]); 8];
        let mut at = position;
        while left > 0 {
            let (count, _) = self.after(at, &mut slices);
            for slice in &slices[..count] {
                let take = left.min(slice.len());
                out.extend_from_slice(&slice[..take]);
                left -= take;
                at += take as u64;
            }
        }
    }

    /// Gives back whole pieces that lie before `position`, which every line has passed.
    pub fn release(&mut self, position: u64) {
        while self
            .pieces
            .front()
            .is_some_and(|piece| piece.end() <= position)
        {
            self.pieces.pop_front();
        }
        if self.pieces.is_empty() {
            // An idle channel keeps no bytes, not even spare capacity.
            self.scratch = BytesMut::new();
        }
        let start = self.start();
        // The boundary at the start itself stays: it names the entry before it.
        while self.ends.len() > 1 && self.ends[1].position <= start {
            self.ends.pop_front();
        }
        if self.pieces.is_empty() {
            self.ends.shrink_to(4);
            self.pieces.shrink_to(4);
        }
    }

    fn write(&mut self, encode: impl FnOnce(&mut BytesMut)) -> u64 {
        if self.scratch.capacity() == self.scratch.len() {
            // Pieces share one allocation: it grows with what is in flight, so that a quiet channel's is small.
            self.scratch
                .reserve(self.len().clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX));
        }
        let before = self.scratch.len();
        encode(&mut self.scratch);
        self.end += (self.scratch.len() - before) as u64;
        self.end
    }

    fn start(&self) -> u64 {
        // What is not sealed yet is kept too.
        let unsealed = self.end - self.scratch.len() as u64;
        self.pieces.front().map_or(unsealed, |piece| piece.start)
    }

    fn last(&self) -> &End {
        self.ends
            .back()
            .expect("the newest boundary is never released")
    }
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

const CHUNK_BYTES_MIN: usize = 1024;
const CHUNK_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use proptest::prelude::*;

    use super::*;

    fn read(tail: &Tail, position: u64) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let (count, bytes) = tail.after(position, &mut slices);
        let read: Vec<u8> = slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect();
        assert_eq!(read.len(), bytes);
        read
    }

    fn tail_of(batches: &[&[&str]]) -> Tail {
        let mut tail = Tail::new(10);
        for batch in batches {
            for text in *batch {
                tail.push_entry(tail.sequence() + 1, |out| out.put_slice(text.as_bytes()));
            }
            tail.seal();
        }
        tail
    }

    #[test]
    fn a_line_reads_on_from_any_byte() {
        let tail = tail_of(&[&["abc", "de"], &["f"], &["ghij"]]);
        for position in 0..=10 {
            assert_eq!(
                read(&tail, position),
                b"abcdefghij"[position as usize..],
                "from {position}"
            );
        }
    }

    #[test]
    fn a_position_names_its_entry_and_the_way_to_its_end() {
        let tail = tail_of(&[&["abc", "de"], &["f"]]);
        for (position, sequence, skip, rest) in [
            (0, 10, 0, 0),
            (1, 10, 1, 2),
            (3, 11, 0, 0),
            (4, 11, 1, 1),
            (5, 12, 0, 0),
            (6, 13, 0, 0),
        ] {
            assert_eq!(
                tail.place(position),
                Place {
                    sequence,
                    skip,
                    rest
                },
                "position {position}"
            );
            if rest > 0 {
                let start = position as usize - skip;
                let whole = &b"abcdef"[start..start + skip + rest];
                assert_eq!(tail.encoding(position), Some(whole), "position {position}");
            }
        }
    }

    #[test]
    fn what_is_being_written_counts_before_it_is_sealed() {
        let mut tail = Tail::new(0);
        tail.push_entry(1, |out| out.put_slice(b"abc"));
        assert_eq!(tail.len(), 3);
        tail.push_entry(2, |out| out.put_slice(b"de"));
        assert_eq!(tail.len(), 5);
        tail.seal();
        assert_eq!(tail.len(), 5);
    }

    #[test]
    fn a_notice_belongs_to_the_entry_before_it() {
        let mut tail = tail_of(&[&["abc"]]);
        tail.push_notice(|out| out.put_slice(b"ping"));
        tail.seal();
        assert_eq!(
            tail.place(3),
            Place {
                sequence: 11,
                skip: 0,
                rest: 0
            }
        );
        assert_eq!(
            tail.place(5),
            Place {
                sequence: 11,
                skip: 2,
                rest: 2
            }
        );
        assert_eq!(
            tail.place(7),
            Place {
                sequence: 11,
                skip: 0,
                rest: 0
            }
        );
    }

    #[test]
    fn what_all_have_passed_is_given_back_in_whole_pieces() {
        let mut tail = tail_of(&[&["abc", "de"], &["f"]]);
        tail.release(4);
        assert_eq!(
            tail.len(),
            6,
            "a piece that somebody still needs stays whole"
        );
        tail.release(5);
        assert_eq!(tail.len(), 1);
        assert_eq!(tail.place(5).sequence, 12);
        tail.release(6);
        assert!(tail.is_empty());
        assert_eq!((tail.end(), tail.sequence()), (6, 13), "the numbers go on");
        tail.push_entry(14, |out| out.put_slice(b"gh"));
        tail.seal();
        assert_eq!(read(&tail, 6), b"gh");
    }

    proptest! {
        /// Against the naive model: one long string, and the list of its entries' ends.
        #[test]
        fn reads_places_and_releases_agree_with_one_long_string(
            steps in prop::collection::vec((0usize..4, prop::collection::vec(0usize..40, 0..4), 0.0f64..1.0), 1..40),
        ) {
            let (mut tail, mut all, mut ends, mut released) = (Tail::new(0), Vec::<u8>::new(), vec![0usize], 0u64);
            for (kind, sizes, share) in steps {
                if kind == 0 {
                    released += ((all.len() as u64 - released) as f64 * share) as u64;
                    tail.release(released);
                } else {
                    for size in sizes {
                        let text = vec![b'a' + (all.len() % 26) as u8; size];
                        tail.push_entry(tail.sequence() + 1, |out| out.put_slice(&text));
                        all.extend_from_slice(&text);
                        ends.push(all.len());
                    }
                    tail.seal();
                }
                prop_assert_eq!(tail.end(), all.len() as u64);
                for position in released..=all.len() as u64 {
                    prop_assert_eq!(read(&tail, position), &all[position as usize..]);
                    let mut rest = Vec::new();
                    tail.rest(position, &mut rest);
                    let boundary = *ends.iter().find(|end| **end >= position as usize).unwrap();
                    prop_assert_eq!(rest, &all[position as usize..boundary]);
                }
            }
        }
    }
}
