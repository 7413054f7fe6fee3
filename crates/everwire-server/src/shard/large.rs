//! Large entries, whose readers take them in many pieces.
//!
//! ```text
//!  encoding │████████████████░░░░░░░░░░░░░░░░░│  made once, and shared by all lines of a feed that are inside the entry
//!                     ▲ one  ▲ another line: where it is is a number
//! ```
//!
//! A pipe takes 32 KiB at a time, and a slow socket less: whoever encoded an entry of megabytes anew for each piece would
//! do little else. So the encoding is kept for as long as some line is inside the entry. What is kept has a bound: within
//! it is always one encoding, and those beyond it are made anew for each piece. An encoding is made when its first line
//! takes bytes, and not before.

use std::{
    cell::Cell,
    collections::HashMap,
    rc::{Rc, Weak},
};

use bytes::{Bytes, BytesMut};
use everwire_channel::{Entry, Read};
use everwire_wire::{Standing, StreamCursor};

use super::{
    Behind, FeedKey, LineKey, Net, Shard,
    feed::source,
    side::{BATCH_BYTES, Going},
};

/// Entries of so many bytes are large: more than a batch.
const LARGE_BYTES: usize = BATCH_BYTES;

/// An entry of a feed: the feed's generation, and the entry's sequence.
type Place = (u32, u64);

/// The encodings that are kept.
#[derive(Default)]
pub(super) struct Encodings {
    by_place: HashMap<Place, Weak<Encoding>>,
    bytes: Rc<Cell<usize>>,
}

/// An entry as a feed's framing has it.
pub(crate) struct Encoding {
    bytes: Bytes,
    /// What is kept in all, if this is.
    kept: Option<Rc<Cell<usize>>>,
}

impl Encodings {
    fn find(&self, place: Place) -> Option<Rc<Encoding>> {
        self.by_place.get(&place)?.upgrade()
    }

    /// An encoding that whoever asks for its place is given, if there is room for it among `bytes_max`.
    fn insert(&mut self, place: Place, bytes: Bytes, bytes_max: usize) -> Rc<Encoding> {
        let before = self.bytes.get();
        let is_kept = before == 0 || before + bytes.len() <= bytes_max;
        let kept = is_kept.then(|| {
            self.bytes.set(before + bytes.len());
            self.bytes.clone()
        });
        let encoding = Rc::new(Encoding { bytes, kept });
        if is_kept {
            // Few are kept at a time, since each is large.
            self.by_place.retain(|_, known| known.strong_count() > 0);
            self.by_place.insert(place, Rc::downgrade(&encoding));
        }
        encoding
    }

    /// Bytes that are kept now.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }
}

impl Drop for Encoding {
    fn drop(&mut self) {
        if let Some(kept) = &self.kept {
            kept.set(kept.get() - self.bytes.len());
        }
    }
}

/// Whether an entry is encoded once for all who read it piece by piece.
pub(super) fn is_large(entry: &Entry) -> bool {
    entry.payload.len() >= LARGE_BYTES
}

impl<N: Net> Shard<N> {
    /// Holds the entry that a line is inside of which has left the tail at `position`.
    pub(super) fn hold_departed(
        &mut self,
        key: LineKey,
        feed: FeedKey,
        behind: Behind,
        position: u64,
    ) {
        self.hold_entry(key, feed, behind);
        if behind.skip == 0 || self.side(key).inside.is_some() {
            return;
        }
        // The log may have let go of it during the walk. The tail has not.
        let feed = &self.feeds[feed];
        let place = (feed.generation, behind.sequence + 1);
        let encoding = match self.encodings.find(place) {
            Some(encoding) => encoding,
            None => {
                let Some(bytes) = feed.tail.encoding(position) else {
                    return;
                };
                let bytes_max = self.shared.live.config.limits.kept_bytes_max;
                (self.encodings).insert(place, Bytes::copy_from_slice(bytes), bytes_max)
            }
        };
        if encoding.kept.is_some() {
            self.side(key).encoding = Some(encoding);
        }
    }

    /// Sends a line the next large entry in its feed, or more of it.
    pub(super) fn send_large(&mut self, key: LineKey, feed: FeedKey, before: Behind) -> Going {
        let Some(encoding) = self.encoding_of_next(key, feed, before) else {
            // It was there a moment ago: what became of it is seen by another look.
            return Going::OnAtOnce;
        };
        let mut rest = encoding.bytes.get(before.skip..).unwrap_or_default();
        let offered = rest.len();
        let sent = self.write(key, &mut rest);
        let ends = [(before.sequence + 1, encoding.bytes.len())];
        let (behind, kept) = before.advance(&ends, before.skip + offered - rest.len());
        self.note_speech(key);
        let side = self.side(key);
        side.out.extend_from_slice(&rest[..kept]);
        side.behind = Some(behind);
        if behind.skip == 0 {
            (side.inside, side.encoding) = (None, None);
        } else if encoding.kept.is_some() {
            (side.inside, side.encoding) = (None, Some(encoding));
        } else if before.skip == 0 {
            self.hold_entry(key, feed, behind);
        }
        self.between_entries(key, feed, &sent, before.skip > 0);
        self.after_batch(key, &sent)
    }

    /// The encoding of the entry after a line's place.
    fn encoding_of_next(
        &mut self,
        key: LineKey,
        feed_key: FeedKey,
        behind: Behind,
    ) -> Option<Rc<Encoding>> {
        let side = self.sides.get(&key);
        if let Some(encoding) = side.and_then(|side| side.encoding.clone()) {
            return Some(encoding);
        }
        let feed = &self.feeds[feed_key];
        let place = (feed.generation, behind.sequence + 1);
        if let Some(encoding) = self.encodings.find(place) {
            return Some(encoding);
        }
        let mut encoded = BytesMut::new();
        let state = feed.channel.lock();
        let log = state.core().log();
        let held = side.and_then(|side| side.inside.as_deref());
        let entry = match (log.after(behind.sequence), held) {
            (Read::Entries(mut entries), _) => entries.next().map(|(_, entry)| entry),
            (Read::Gap(_), Some(held)) => Some(held.entry()),
            (Read::Gap(_), None) | (Read::CaughtUp, _) => None,
        }?;
        let standing = Standing {
            up_to_date: behind.sequence + 1 == log.head_sequence(),
            cursor: StreamCursor::answer(self.now_ms, behind.cursor, fastrand::u64(..)),
        };
        feed.framing.encode_entry(
            &source(&feed.channel, &state),
            &log.offset_of(behind.sequence + 1, entry),
            entry,
            standing,
            &mut self.deflaters,
            &mut encoded,
        );
        drop(state);
        let bytes_max = self.shared.live.config.limits.kept_bytes_max;
        // Copied, since the encoder reserves for the worst and escaping may need six times as much.
        let bytes = Bytes::copy_from_slice(&encoded);
        Some(self.encodings.insert(place, bytes, bytes_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_shared_while_a_line_needs_them_and_have_a_bound() {
        let mut encodings = Encodings::default();
        let bytes = |count| Bytes::from(vec![0; count]);
        let first = encodings.insert((1, 7), bytes(2_000), 1_000);
        assert!(first.kept.is_some(), "one, however large");
        let beyond = encodings.insert((1, 8), bytes(10), 1_000);
        assert!(beyond.kept.is_none());
        assert!(encodings.find((1, 8)).is_none());
        let shared = encodings.find((1, 7)).unwrap();
        drop(first);
        assert_eq!(encodings.bytes(), 2_000);
        drop(shared);
        assert_eq!(encodings.bytes(), 0);
        assert!(encodings.find((1, 7)).is_none());
        let some = [8, 9].map(|sequence| encodings.insert((1, sequence), bytes(500), 1_000));
        assert!(some.iter().all(|encoding| encoding.kept.is_some()));
        assert_eq!(encodings.by_place.len(), 2, "what is gone is forgotten");
    }
}
