//! Compare-and-append: the condition on a channel's tail under which an append happens.

use std::fmt;

use crate::offset::Offset;

/// Where a log ends, and whether it ends there for good. An offset names the entry before it, so the same tail is the
/// same log, entry by entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// The offset after the last entry.
    pub offset: Offset,
    /// True if the channel is closed.
    pub closed: bool,
}

impl Tail {
    /// The tail of a channel that is open.
    pub fn open(offset: Offset) -> Self {
        Self {
            offset,
            closed: false,
        }
    }
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.closed {
            true => write!(f, "{}, closed", self.offset),
            false => self.offset.fmt(f),
        }
    }
}

/// A condition on the tail. It is judged in the same step as what it guards, so that of any number of writers who name
/// the same tail one comes first, and the others are told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// The tail has to be one of these, if they are told.
    pub is_one_of: Option<Vec<Tail>>,
    /// The tail may be none of these.
    pub is_none_of: Vec<Tail>,
}

impl Guard {
    /// The tail has to be this one.
    pub fn is(tail: Tail) -> Self {
        Self {
            is_one_of: Some(vec![tail]),
            is_none_of: Vec::new(),
        }
    }

    /// Returns true if `tail` fulfils the condition.
    pub fn admits(&self, tail: Tail) -> bool {
        (self.is_one_of.as_ref()).is_none_or(|tails| tails.contains(&tail))
            && !self.is_none_of.contains(&tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offset::{Epoch, Mark};

    #[test]
    fn a_tail_is_compared_with_all_that_are_named() {
        let tail = |sequence| {
            Tail::open(Offset {
                epoch: Epoch(1),
                sequence,
                mark: Mark(7),
            })
        };
        let closed = Tail {
            closed: true,
            ..tail(1)
        };
        for (one_of, none_of, expected) in [
            (None, &[][..], true),
            (Some(&[][..]), &[], false),
            (Some(&[tail(1)]), &[], true),
            (Some(&[tail(2), tail(1)]), &[], true),
            (Some(&[tail(2)]), &[], false),
            (Some(&[closed]), &[], false),
            (None, &[tail(1)], false),
            (None, &[tail(2), closed], true),
            (Some(&[tail(1)]), &[tail(1)], false),
        ] {
            let guard = Guard {
                is_one_of: one_of.map(<[Tail]>::to_vec),
                is_none_of: none_of.to_vec(),
            };
            assert_eq!(guard.admits(tail(1)), expected, "{guard:?}");
        }
    }
}
