//! What lines keep for themselves beside the logs: a message that has not come whole, and replies that nobody takes.
//!
//! Each line may keep a little, and what is beyond that all lines of a shard share. Without a bound in common, a
//! thousand lines that send a kilobyte each, which inflates to a megabyte and never ends, would keep a gigabyte; and so
//! would a thousand that ask for pages of history and take none of them.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use everwire_wire::{Problem, ProblemKind};

use super::{LineKey, Net, Shard};
use crate::{
    rate::Account,
    shares::{Pot, Short},
};

/// So much each line may keep in any case: more than a list of members takes, which all who come back after a restart
/// are told at once. So who fills the room harms those alone who need as much.
pub(super) const FREE_BYTES: usize = 128 * 1024;

/// The room that the lines of a shard share.
#[derive(Clone, Default)]
pub(super) struct Room {
    taken: Rc<RefCell<Taken>>,
}

/// What is taken of it.
#[derive(Default)]
struct Taken {
    all: usize,
    /// By each caller that has some, whichever lines they are; and by lines that are counted for nobody any more.
    by: HashMap<Option<Account>, usize>,
}

/// What one line has taken of it; given back when it is dropped.
pub(crate) struct Share {
    bytes: usize,
    account: Option<Account>,
    room: Room,
}

/// How much room there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// For all, in bytes.
    pub bytes: usize,
    /// For a caller who is alone, in percent.
    pub percent: u32,
}

impl Room {
    /// Takes room for what a line of this caller keeps. A line that keeps little takes none.
    pub fn take(
        &self,
        account: Option<Account>,
        bytes: usize,
        size: Size,
    ) -> Result<Option<Share>, Short> {
        if bytes <= FREE_BYTES {
            return Ok(None);
        }
        let mut taken = self.taken.borrow_mut();
        if taken.all + bytes > size.bytes {
            return Err(Short::Pot);
        }
        let own = taken.by.get(&account).copied().unwrap_or_default();
        let pot = Pot {
            size: size.bytes as u64,
            held: taken.all as u64,
            percent: size.percent,
        };
        pot.admit(own as u64, bytes as u64)?;
        taken.all += bytes;
        *taken.by.entry(account).or_default() += bytes;
        let room = self.clone();
        Ok(Some(Share {
            bytes,
            account,
            room,
        }))
    }

    /// Bytes that are taken now.
    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.taken.borrow().all
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.room.taken.borrow_mut();
        taken.all -= self.bytes;
        if let Some(own) = taken.by.get_mut(&self.account) {
            *own -= self.bytes;
            if *own == 0 {
                taken.by.remove(&self.account);
            }
        }
    }
}

impl<N: Net> Shard<N> {
    /// The room for what a line keeps, where it is more than a little.
    ///
    /// # Errors
    ///
    /// All lines together keep as much as they may, or those of its caller as much as is for one.
    pub(super) fn room_for(&self, key: LineKey, bytes: usize) -> Result<Option<Share>, Problem> {
        let seat = self.lines[key].address.as_ref();
        let account = seat.map(|seat| seat.account);
        let size = Size {
            bytes: self.shared.live.config.limits.kept_bytes_max,
            percent: self.shared.live.share_percent(),
        };
        let taken = self.room.take(account, bytes, size);
        taken.map_err(no_room)
    }
}

/// There is no room, for anybody or for this caller. Fits into a Close frame.
fn no_room(short: Short) -> Problem {
    match short {
        Short::Pot => Problem::new(
            ProblemKind::Overloaded,
            "no room to keep this until all of it is there or can be answered; send it again later, or in parts",
        )
        .at_limit("kept_bytes_max"),
        Short::Share => Problem::new(
            ProblemKind::TooMany,
            "your lines keep as much as one caller may (limits.share_percent_max); send it again later, or in parts",
        )
        .at_limit("kept_bytes_share"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{auth::Caller, rate::Rate};

    /// Two callers, who differ in nothing else.
    fn callers() -> [Option<Account>; 2] {
        let rate = Rate::default();
        [1, 2].map(|host| Some(rate.account(&Caller::Anybody, [192, 0, 2, host].into())))
    }

    #[test]
    fn room_is_taken_beyond_what_each_may_keep_and_given_back() {
        let room = Room::default();
        let [eve, _] = callers();
        let take = |parts| {
            let size = Size {
                bytes: 10 * FREE_BYTES,
                percent: 100,
            };
            room.take(eve, parts * FREE_BYTES, size)
        };
        assert!(take(1).unwrap().is_none());
        let first = take(6).unwrap();
        assert_eq!(room.taken(), 6 * FREE_BYTES);
        assert!(matches!(take(5), Err(Short::Pot)));
        let second = take(4).unwrap();
        assert!(take(1).is_ok(), "whoever keeps little is not asked");
        drop((first, second));
        assert_eq!(room.taken(), 0);
        assert!(room.taken.borrow().by.is_empty());
    }

    #[test]
    fn one_caller_leaves_some_for_who_comes_next() {
        let room = Room::default();
        let [eve, ada] = callers();
        let take = |whose| {
            let size = Size {
                bytes: 40 * FREE_BYTES,
                percent: 90,
            };
            room.take(whose, 2 * FREE_BYTES, size)
        };
        let held: Vec<_> = std::iter::from_fn(|| take(eve).ok()).collect();
        assert_eq!(held.len(), 18, "nine tenths of it");
        assert!(matches!(take(eve), Err(Short::Share)));
        let hers = take(ada).unwrap();
        assert!(hers.is_some());
        drop(held);
        assert!(take(eve).is_ok(), "what was given back");
        assert_eq!(room.taken(), 2 * FREE_BYTES, "hers is left");
    }
}
