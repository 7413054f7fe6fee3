//! Where a line stands that reads from the log by itself.
//!
//! ```text
//!  log      │ entry 7 │        entry 8        │ entry 9 │
//!                     ├── skip ──▶│◀── rest ──┤
//!                sequence 7       └ sent up to here
//! ```
//!
//! A small rest is kept as bytes, and the entry counts as sent; a larger one is left to be encoded again, with
//! what was sent of it skipped. So a slow line copies a few kilobytes at most, however large its entry is; the entry
//! itself it shares, within the bound of `held.rs`.

/// Of an entry that a line is inside of, up to so many bytes are kept for it; a larger rest is encoded again.
pub(super) const REST_BYTES_MAX: usize = 4096;

/// Where a line stands that reads from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    /// The last entry that was sent whole.
    pub sequence: u64,
    /// How many bytes of the next entry's encoding were sent.
    pub skip: usize,
    /// The cursor that a Durable Streams reader came with.
    pub cursor: Option<u64>,
    /// It was told once that it has all there is.
    pub told: bool,
}

impl Behind {
    /// At a place among entries, for a line that was served by a tail before.
    pub fn at(sequence: u64, skip: usize) -> Self {
        Self {
            sequence,
            skip,
            cursor: None,
            told: true,
        }
    }

    /// Where the line stands once `sent` bytes of a batch are out, those counted that it skipped. `ends` holds
    /// each entry's sequence and where its encoding ends in the batch. Also tells how many bytes after these are
    /// to be kept for it.
    pub fn advance(self, ends: &[(u64, usize)], sent: usize) -> (Self, usize) {
        let whole = ends.partition_point(|(_, end)| *end <= sent);
        let (sequence, start) = match whole.checked_sub(1) {
            Some(last) => ends[last],
            None => (self.sequence, 0),
        };
        let at = Self {
            sequence,
            skip: sent - start,
            // Each entry's own control event tells.
            told: self.told || whole > 0,
            ..self
        };
        match ends.get(whole) {
            Some((next, end)) if at.skip > 0 && end - sent <= REST_BYTES_MAX => {
                let after = Self {
                    sequence: *next,
                    skip: 0,
                    told: true,
                    ..at
                };
                (after, end - sent)
            }
            Some(_) | None => (at, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries of these sizes as one batch after entry 7.
    const SIZES: [usize; 6] = [1, 300, 4096, 4097, 20_000, 2];

    #[test]
    fn whatever_was_sent_what_follows_is_kept_or_found_again() {
        let batch: Vec<u8> = (0..SIZES.iter().sum())
            .map(|at: usize| at as u8 ^ (at >> 8) as u8)
            .collect();
        let mut ends = Vec::new();
        for size in SIZES {
            let end = ends.last().map_or(0, |(_, end)| *end) + size;
            ends.push((8 + ends.len() as u64, end));
        }
        for sent in 0..=batch.len() {
            let (behind, rest) = Behind::at(7, 0).advance(&ends, sent);
            assert!(rest <= REST_BYTES_MAX, "after {sent} bytes");
            assert!(rest == 0 || behind.skip == 0, "after {sent} bytes");
            // What is encoded again is everything after the entry it stands at, but for what it skips.
            let start = ends
                .iter()
                .find(|(sequence, _)| *sequence == behind.sequence)
                .map_or(0, |(_, end)| *end);
            let next = [&batch[sent..sent + rest], &batch[start + behind.skip..]].concat();
            assert_eq!(next, batch[sent..], "after {sent} bytes");
        }
    }

    #[test]
    fn a_line_inside_a_large_entry_goes_on_inside_it() {
        let ends = [(8, 100_000)];
        let (inside, rest) = Behind::at(7, 0).advance(&ends, 30_000);
        assert_eq!((inside, rest), (Behind::at(7, 30_000), 0));
        // The batch is the same again, and what was skipped counts as sent.
        let (further, rest) = inside.advance(&ends, 60_000);
        assert_eq!((further, rest), (Behind::at(7, 60_000), 0));
        let (nearly, rest) = further.advance(&ends, 99_000);
        assert_eq!((nearly, rest), (Behind::at(8, 0), 1_000));
        assert_eq!(further.advance(&ends, 100_000), (Behind::at(8, 0), 0));
    }
}
