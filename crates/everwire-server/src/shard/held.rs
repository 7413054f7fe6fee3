//! Entries that slow lines hold, so that a message that was begun can be finished though retention lets go of it.
//!
//! Payloads are shared, but lines inside different entries hold different ones: without a bound, ten thousand slow
//! readers of large entries would keep gigabytes alive that the log has let go. Beyond the bound a line holds nothing,
//! and is cut if its entry goes before it has got it.

use std::{cell::Cell, rc::Rc};

use everwire_channel::Entry;

/// What the lines of a shard hold together.
#[derive(Clone, Default)]
pub(super) struct Held {
    bytes: Rc<Cell<usize>>,
}

/// An entry that a line holds; given back when it is dropped.
pub(crate) struct HeldEntry {
    entry: Entry,
    held: Held,
}

impl Held {
    /// Holds an entry, if there is room: the lines of a shard hold so many bytes of payload together, counted for each
    /// line by itself.
    pub fn hold(&self, entry: &Entry, bytes_max: usize) -> Option<Box<HeldEntry>> {
        let bytes = self.bytes.get() + entry.payload.len();
        if bytes > bytes_max {
            return None;
        }
        self.bytes.set(bytes);
        Some(Box::new(HeldEntry {
            entry: entry.clone(),
            held: self.clone(),
        }))
    }

    /// Bytes that are held now.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }
}

impl HeldEntry {
    /// The entry.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Drop for HeldEntry {
    fn drop(&mut self) {
        let bytes = &self.held.bytes;
        bytes.set(bytes.get() - self.entry.payload.len());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use everwire_channel::{Draft, Epoch, Log, Mark, Read, Retention};

    use super::*;

    #[test]
    fn lines_hold_so_much_together_and_no_more() {
        let mut log = Log::new(Epoch(1), Mark(1), Retention::default());
        let payload = Bytes::from(vec![0; 250]);
        log.append(Draft::from(payload), 0);
        let Read::Entries(mut entries) = log.after(0) else {
            unreachable!("there is an entry");
        };
        let (_, entry) = entries.next().unwrap();
        let held = Held::default();
        let mut lines: Vec<_> = std::iter::from_fn(|| held.hold(entry, 1_000)).collect();
        assert_eq!(lines.len(), 4);
        lines.pop();
        assert!(
            held.hold(entry, 1_000).is_some(),
            "what one gives back another may hold"
        );
        drop(lines);
        assert_eq!(held.bytes(), 0);
    }
}
