//! What several channels have for a session in their logs leaves in one write.

use bytes::{Buf, BytesMut};

use super::{
    super::{
        Behind, FeedKey, LineKey, Net, Shard,
        side::{BATCH_BYTES, Going, Next},
    },
    Late,
};

/// The entries of one feed in a batch.
struct Stretch {
    feed: FeedKey,
    /// Where the session stood before them.
    behind: Behind,
    /// Where they begin in the batch.
    start: usize,
    /// Each entry's sequence, and where its encoding ends, counted from there.
    ends: Vec<(u64, usize)>,
}

impl<N: Net> Shard<N> {
    /// Sends a session one batch from the logs of all feeds that it reads there, each from a boundary between two
    /// entries, as far as they fit.
    pub(in super::super) fn send_late(&mut self, key: LineKey, behind: Behind) -> Going {
        let mut batch = std::mem::take(&mut self.scratch);
        batch.clear();
        let stretches = self.encode_late(key, behind, &mut batch);
        if stretches.is_empty() {
            self.scratch = batch;
            // None of them has an entry: what each has to be told instead, it is told by itself.
            return match self.side(key).next_late() {
                Some(behind) => self.send_behind(key, behind),
                None => Going::OnAtOnce,
            };
        }
        self.note_speech(key);
        let total = batch.len();
        let sent = self.write(key, &mut batch);
        let sent_bytes = total - batch.len();
        for stretch in stretches {
            self.note_stretch(key, stretch, sent_bytes, &mut batch);
        }
        self.scratch = batch;
        self.after_batch(key, &sent)
    }

    /// Encodes what feeds have for a session. Those that have no entry are put back behind the others.
    fn encode_late(&mut self, key: LineKey, behind: Behind, batch: &mut BytesMut) -> Vec<Stretch> {
        let side = self.side(key);
        side.behind = None;
        if let Some(feed) = side.reads {
            side.late.push_front(Late { feed, behind });
        }
        let mut stretches = Vec::new();
        for _ in 0..side.late.len() {
            if batch.len() >= BATCH_BYTES {
                break;
            }
            let Some(Late { feed, behind }) = self.side(key).late.pop_front() else {
                break;
            };
            let (start, mut ends) = (batch.len(), Vec::new());
            match self.encode_behind(key, feed, behind, batch, &mut ends) {
                Next::Entries => {
                    for (_, end) in &mut ends {
                        *end -= start;
                    }
                    stretches.push(Stretch {
                        feed,
                        behind,
                        start,
                        ends,
                    });
                }
                // It goes by itself, before those that have had their turn.
                Next::Large => {
                    self.side(key).late.push_front(Late { feed, behind });
                    break;
                }
                Next::AtTail | Next::AheadOfTail | Next::Gap(_) => {
                    self.side(key).late.push_back(Late { feed, behind });
                }
            }
        }
        stretches
    }

    /// Notes how far a session got in a stretch, of which `rest` begins with what was not sent.
    fn note_stretch(
        &mut self,
        key: LineKey,
        stretch: Stretch,
        sent_bytes: usize,
        rest: &mut BytesMut,
    ) {
        let Stretch {
            feed,
            behind,
            start,
            ends,
        } = stretch;
        let length = ends.last().map_or(0, |(_, end)| *end);
        let sent = sent_bytes.saturating_sub(start).min(length);
        let (behind, kept) = behind.advance(&ends, sent);
        let side = self.side(key);
        // Only the stretch that was cut keeps something, which is what `rest` begins with.
        side.out.extend_from_slice(&rest[..kept]);
        rest.advance(kept);
        if behind.skip > 0 {
            side.reads = Some(feed);
            side.behind = Some(behind);
            self.hold_entry(key, feed, behind);
        } else {
            side.late.push_back(Late { feed, behind });
        }
    }
}
