//! Who is connected: lines and connections, counted over all threads and by address.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{live::Live, rate::Account};

/// The counts. Nobody is connected at first.
#[derive(Default)]
pub struct Census {
    lines: AtomicUsize,
    by_address: Mutex<Addresses>,
}

/// A counted line. Eight bytes, since every line keeps one; given back by [`Census::leave`].
#[derive(Debug, PartialEq, Eq)]
pub struct Seat {
    place: Place,
    /// Who pays for what comes in on it.
    pub(crate) account: Account,
}

/// Where a line is counted: by the number of its address, from one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(NonZeroU32);

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
    place_of: HashMap<IpAddr, Place>,
    counts: slab::Slab<(IpAddr, usize)>,
}

/// No address, where lines are not counted by it.
const NOWHERE: Place = Place(NonZeroU32::MAX);

impl Place {
    fn of(key: usize) -> Self {
        let number = u32::try_from(key + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("a server has fewer than 2^32 lines"))
    }

    fn key(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// What counts as one address: of IPv6 a whole /64, which is what a single host or household is given. Otherwise
/// whoever has one could have as many addresses as all of IPv4 squared.
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

impl Census {
    /// Counts one more line from an address, within the limits that hold for it. What comes in on it is paid for by
    /// the account.
    pub fn enter(&self, address: IpAddr, account: Account, live: &Live) -> Result<Seat, Full> {
        let place = self.take_place(address, live)?;
        Ok(Seat { place, account })
    }

    fn take_place(&self, address: IpAddr, live: &Live) -> Result<Place, Full> {
        let per_address_max = live.lines_per_address_max();
        if self.lines.fetch_add(1, Ordering::Relaxed) >= live.config.limits.lines_max {
            self.lines.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Server);
        }
        if per_address_max == 0 {
            return Ok(NOWHERE);
        }
        let mut addresses = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let address = neighbourhood(address);
        let Addresses { place_of, counts } = &mut *addresses;
        let place = match place_of.entry(address) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => *entry.insert(Place::of(counts.insert((address, 0)))),
        };
        let count = &mut counts[place.key()].1;
        if *count >= per_address_max {
            self.lines.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Address);
        }
        *count += 1;
        Ok(place)
    }

    /// A line is gone.
    #[expect(clippy::needless_pass_by_value, reason = "a seat is given back once")]
    pub fn leave(&self, seat: Seat) {
        self.lines.fetch_sub(1, Ordering::Relaxed);
        if seat.place == NOWHERE {
            return;
        }
        let mut addresses = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = seat.place.key();
        let (address, count) = &mut addresses.counts[key];
        *count -= 1;
        if *count == 0 {
            let address = *address;
            addresses.counts.remove(key);
            addresses.place_of.remove(&address);
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
    use crate::{auth::Caller, config::Config, rate::Rate};

    fn account() -> Account {
        Rate::default().account(&Caller::Anybody, [10, 0, 0, 1].into())
    }

    fn live(lines_max: usize, lines_per_address_max: usize) -> Live {
        let mut config = Config::default();
        config.limits.lines_max = lines_max;
        config.limits.lines_per_address_max = lines_per_address_max;
        Live::without_credentials(config)
    }

    #[test]
    fn an_address_has_as_many_lines_as_it_may_and_no_more() {
        let (census, live) = (Census::default(), live(10, 2));
        let account = account();
        let (ada, bob) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = census.enter(ada, account, &live).unwrap();
        let second = census.enter(ada, account, &live).unwrap();
        assert_eq!(census.enter(ada, account, &live), Err(Full::Address));
        let third = census.enter(bob, account, &live).unwrap();
        assert_eq!(census.lines(), 3);
        census.leave(first);
        let fourth = census.enter(ada, account, &live).unwrap();
        for seat in [second, third, fourth] {
            census.leave(seat);
        }
        assert_eq!(census.lines(), 0);
        assert!(
            census.by_address.lock().unwrap().place_of.is_empty(),
            "nobody is remembered who left"
        );
    }

    #[test]
    fn the_server_has_as_many_lines_as_it_takes() {
        let (census, live) = (Census::default(), live(1, 0));
        let enter = |address: [u8; 4]| census.enter(address.into(), account(), &live);
        let seat = enter([10, 0, 0, 1]).unwrap();
        assert_eq!(enter([10, 0, 0, 2]), Err(Full::Server));
        census.leave(seat);
        assert!(enter([10, 0, 0, 2]).is_ok());
    }

    #[test]
    fn a_household_by_ipv6_is_one_address() {
        let (census, live) = (Census::default(), live(10, 1));
        let enter = |text: &str| census.enter(text.parse().unwrap(), account(), &live);
        let one = enter("2001:db8::1").unwrap();
        assert_eq!(enter("2001:db8::2:3:4"), Err(Full::Address));
        assert_eq!(size_of_val(&Some(one)), 8);
        assert!(enter("2001:db8:0:1::1").is_ok());
        assert!(enter("192.0.2.1").is_ok());
        assert_eq!(enter("::ffff:192.0.2.1"), Err(Full::Address));
    }
}
