//! What lines keep for themselves beside the logs: a message that has not come whole, and replies that nobody takes.
//!
//! Each line may keep a little, and what is beyond that all lines of a shard share. Without a bound in common, a
//! thousand lines that send a kilobyte each, which inflates to a megabyte and never ends, would keep a gigabyte; and so
//! would a thousand that ask for pages of history and take none of them.

use std::{cell::Cell, rc::Rc};

/// So much each line may keep in any case: more than a list of members takes, which all who come back after a restart
/// are told at once. So who fills the room harms those alone who need as much.
pub(super) const FREE_BYTES: usize = 128 * 1024;

/// The room that the lines of a shard share.
#[derive(Clone, Default)]
pub(super) struct Room {
    taken: Rc<Cell<usize>>,
}

/// What one line has taken of it; given back when it is dropped.
pub(crate) struct Share {
    bytes: usize,
    room: Room,
}

/// All lines together keep as much as they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Room {
    /// Takes room for what a line keeps, of so much in all. A line that keeps little takes none.
    pub fn take(&self, bytes: usize, bytes_max: usize) -> Result<Option<Share>, NoRoom> {
        if bytes <= FREE_BYTES {
            return Ok(None);
        }
        let taken = self.taken.get() + bytes;
        if taken > bytes_max {
            return Err(NoRoom);
        }
        self.taken.set(taken);
        let room = self.clone();
        Ok(Some(Share { bytes, room }))
    }

    /// Bytes that are taken now.
    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.taken.get()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let taken = &self.room.taken;
        taken.set(taken.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_beyond_what_each_may_keep_and_given_back() {
        let room = Room::default();
        let bytes_max = 10 * FREE_BYTES;
        assert!(room.take(FREE_BYTES, bytes_max).unwrap().is_none());
        let first = room.take(6 * FREE_BYTES, bytes_max).unwrap();
        assert_eq!(room.taken(), 6 * FREE_BYTES);
        assert!(matches!(room.take(5 * FREE_BYTES, bytes_max), Err(NoRoom)));
        let second = room.take(4 * FREE_BYTES, bytes_max).unwrap();
        assert!(
            room.take(FREE_BYTES, bytes_max).is_ok(),
            "whoever keeps little is not asked"
        );
        drop((first, second));
        assert_eq!(room.taken(), 0);
    }
}
