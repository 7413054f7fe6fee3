//! Who is connected: lines and connections, counted over all threads and by address.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::live::Live;

/// The counts. Nobody is connected at first.
#[derive(Default)]
pub struct Census {
    lines: AtomicUsize,
    by_address: Mutex<Addresses>,
}

/// A counted line. Four bytes, since every line keeps one; given back by [`Census::leave`].
#[derive(Debug, PartialEq, Eq)]
pub struct Seat(u32);

/// Why one more line is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The server has as many as it takes.
    Server,
    /// This address has as many as it may.
    Address,
}

#[derive(Default)]
struct Addresses {
    number_of: HashMap<IpAddr, u32>,
    counts: slab::Slab<(IpAddr, usize)>,
}

/// Stands for no address, where lines are not counted by it.
const NOBODY: u32 = u32::MAX;

impl Census {
    /// Counts one more line from an address, within the limits that hold for it.
    pub fn enter(&self, address: IpAddr, live: &Live) -> Result<Seat, Full> {
        let per_address_max = live.lines_per_address_max();
        if self.lines.fetch_add(1, Ordering::Relaxed) >= live.config.limits.lines_max {
            self.lines.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Server);
        }
        if per_address_max == 0 {
            return Ok(Seat(NOBODY));
        }
        let mut addresses = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Addresses { number_of, counts } = &mut *addresses;
        let number = match number_of.entry(address) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => *entry.insert(counts.insert((address, 0)) as u32),
        };
        let count = &mut counts[number as usize].1;
        if *count >= per_address_max {
            self.lines.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Address);
        }
        *count += 1;
        Ok(Seat(number))
    }

    /// A line is gone.
    pub fn leave(&self, Seat(number): Seat) {
        self.lines.fetch_sub(1, Ordering::Relaxed);
        if number == NOBODY {
            return;
        }
        let mut addresses = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (address, count) = &mut addresses.counts[number as usize];
        *count -= 1;
        if *count == 0 {
            let address = *address;
            addresses.counts.remove(number as usize);
            addresses.number_of.remove(&address);
        }
    }

    /// Lines open now.
    pub fn lines(&self) -> usize {
        self.lines.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn live(lines_max: usize, lines_per_address_max: usize) -> Live {
        let mut config = Config::default();
        config.limits.lines_max = lines_max;
        config.limits.lines_per_address_max = lines_per_address_max;
        Live::without_credentials(config)
    }

    #[test]
    fn an_address_has_as_many_lines_as_it_may_and_no_more() {
        let (census, live) = (Census::default(), live(10, 2));
        let (ada, bob) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = census.enter(ada, &live).unwrap();
        let second = census.enter(ada, &live).unwrap();
        assert_eq!(census.enter(ada, &live), Err(Full::Address));
        let third = census.enter(bob, &live).unwrap();
        assert_eq!(census.lines(), 3);
        census.leave(first);
        let fourth = census.enter(ada, &live).unwrap();
        for seat in [second, third, fourth] {
            census.leave(seat);
        }
        assert_eq!(census.lines(), 0);
        assert!(
            census.by_address.lock().unwrap().number_of.is_empty(),
            "nobody is remembered who left"
        );
    }

    #[test]
    fn the_server_has_as_many_lines_as_it_takes() {
        let (census, live) = (Census::default(), live(1, 0));
        let seat = census.enter(IpAddr::from([10, 0, 0, 1]), &live).unwrap();
        assert_eq!(
            census.enter(IpAddr::from([10, 0, 0, 2]), &live),
            Err(Full::Server)
        );
        census.leave(seat);
        assert!(census.enter(IpAddr::from([10, 0, 0, 2]), &live).is_ok());
    }
}
