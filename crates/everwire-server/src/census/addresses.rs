//! Places by address: how many each has taken.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    num::NonZeroU32,
};

use super::Stay;
use crate::{
    proxy::neighbourhood,
    shares::{Pot, Short},
};

/// How many places each address has taken. Who has none is not remembered.
#[derive(Default)]
pub(super) struct Addresses {
    place_of: HashMap<IpAddr, Place>,
    counts: slab::Slab<Count>,
}

/// Where something is counted: by the number of its address, from one on; and whether among the polls too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(NonZeroU32);

/// Why an address has no more places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// It has as many as it may.
    Max,
    /// It has its share of all.
    Share,
    /// It has its share of all polls.
    SharedPolls,
}

struct Count {
    address: IpAddr,
    all: usize,
    polls: usize,
}

/// No address, where nothing is counted by it.
pub(super) const NOWHERE: Place = Place(NonZeroU32::new(POLL - 1).unwrap());

/// The bit of a place that tells that it is a poll's.
const POLL: u32 = 1 << 31;

impl Place {
    fn of(key: usize) -> Self {
        let number = u32::try_from(key + 1)
            .ok()
            .filter(|number| *number < NOWHERE.0.get());
        let number = number.and_then(NonZeroU32::new);
        Self(number.expect("a server has fewer than 2^31 addresses"))
    }

    /// The same for a line that is there for this.
    pub fn with(self, stay: Stay) -> Self {
        match stay {
            Stay::Open => self,
            Stay::Poll => Self(self.0 | POLL),
        }
    }

    pub fn is_poll(self) -> bool {
        self.0.get() & POLL != 0
    }

    /// The key of its address, if it is counted by one.
    fn key(self) -> Option<usize> {
        let number = self.0.get() & !POLL;
        (number != NOWHERE.0.get()).then(|| number as usize - 1)
    }
}

impl Addresses {
    /// Counts one more for an address that has fewer than `max`, and less than its share of what all have; for a poll
    /// also of what all polls have. With `max` 0 it may have any number, and is not counted.
    pub fn take(
        &mut self,
        address: IpAddr,
        max: usize,
        all: Pot,
        polls: Option<Pot>,
    ) -> Result<Place, NoPlace> {
        if max == 0 {
            return Ok(NOWHERE);
        }
        let address = neighbourhood(address);
        let known = self.place_of.get(&address).copied();
        let known_key = known.and_then(Place::key);
        let own = known_key.map_or((0, 0), |key| (self.counts[key].all, self.counts[key].polls));
        if own.0 >= max {
            return Err(NoPlace::Max);
        }
        // That there is room at all was seen by whoever counts all.
        if all.admit(own.0 as u64, 1) == Err(Short::Share) {
            return Err(NoPlace::Share);
        }
        if polls.is_some_and(|polls| polls.admit(own.1 as u64, 1) == Err(Short::Share)) {
            return Err(NoPlace::SharedPolls);
        }
        let Self { place_of, counts } = self;
        let place = match place_of.entry(address) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => *entry.insert(Place::of(counts.insert(Count {
                address,
                all: 0,
                polls: 0,
            }))),
        };
        let stay = if polls.is_some() {
            Stay::Poll
        } else {
            Stay::Open
        };
        if let Some(key) = place.key() {
            let count = &mut counts[key];
            count.all += 1;
            count.polls += usize::from(stay == Stay::Poll);
        }
        Ok(place.with(stay))
    }

    pub fn give_back(&mut self, place: Place) {
        let Some(key) = place.key() else { return };
        let count = &mut self.counts[key];
        count.all -= 1;
        count.polls -= usize::from(place.is_poll());
        if count.all == 0 {
            let address = count.address;
            self.counts.remove(key);
            self.place_of.remove(&address);
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.place_of.is_empty()
    }
}
