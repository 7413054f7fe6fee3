//! Who is connected: lines and connections, counted over all threads and by address.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{live::Live, rate::Account};

/// The counts. Nobody is connected at first.
#[derive(Default)]
pub struct Census {
    lines: AtomicUsize,
    polls: AtomicUsize,
    lines_by_address: Mutex<Addresses>,
    connections_by_address: Mutex<Addresses>,
}

/// What a line is there for, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// It stays open: a WebSocket, a stream, a session.
    Open,
    /// It waits for one answer.
    Poll,
}

/// A counted connection that is no line, until this is dropped.
pub(crate) struct Visit {
    census: Arc<Census>,
    place: Place,
}

/// A counted line. Eight bytes, since every line keeps one; given back by [`Census::leave`].
#[derive(Debug, PartialEq, Eq)]
pub struct Seat {
    place: Place,
    /// Who pays for what comes in on it.
    pub(crate) account: Account,
}

/// Where a line is counted: by the number of its address, from one on; and whether among the polls too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(NonZeroU32);

/// Why one more line is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The server has as many as it takes.
    Server,
    /// This address has as many as it may.
    Address,
    /// As many long polls wait as may.
    Polls,
    /// This address opens lines faster than it may.
    TooFast {
        /// How long to wait.
        wait_s: u64,
    },
}

#[derive(Default)]
struct Addresses {
    place_of: HashMap<IpAddr, Place>,
    counts: slab::Slab<(IpAddr, usize)>,
}

/// No address, where lines are not counted by it.
const NOWHERE: Place = Place(NonZeroU32::new(POLL - 1).unwrap());

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
    fn with(self, stay: Stay) -> Self {
        match stay {
            Stay::Open => self,
            Stay::Poll => Self(self.0 | POLL),
        }
    }

    fn is_poll(self) -> bool {
        self.0.get() & POLL != 0
    }

    /// The key of its address, if it is counted by one.
    fn key(self) -> Option<usize> {
        let number = self.0.get() & !POLL;
        (number != NOWHERE.0.get()).then(|| number as usize - 1)
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

impl Addresses {
    /// Counts one more for an address, if there are fewer than so many; 0 is any number, uncounted.
    fn take(&mut self, address: IpAddr, max: usize) -> Option<Place> {
        if max == 0 {
            return Some(NOWHERE);
        }
        let address = neighbourhood(address);
        let Self { place_of, counts } = self;
        let place = match place_of.entry(address) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => *entry.insert(Place::of(counts.insert((address, 0)))),
        };
        let count = &mut counts[place.key()?].1;
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(place)
    }

    fn give_back(&mut self, place: Place) {
        let Some(key) = place.key() else { return };
        let (address, count) = &mut self.counts[key];
        *count -= 1;
        if *count == 0 {
            let address = *address;
            self.counts.remove(key);
            self.place_of.remove(&address);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        lock(&self.census.connections_by_address).give_back(self.place);
    }
}

/// Counts one more, if there are fewer than so many.
fn take_one(count: &AtomicUsize, max: usize) -> Result<(), ()> {
    if count.fetch_add(1, Ordering::Relaxed) >= max {
        count.fetch_sub(1, Ordering::Relaxed);
        return Err(());
    }
    Ok(())
}

fn lock(addresses: &Mutex<Addresses>) -> MutexGuard<'_, Addresses> {
    addresses.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Census {
    /// Counts one more line from an address, within the limits that hold for it. What comes in on it is paid for by
    /// the account.
    pub fn enter(
        &self,
        address: IpAddr,
        stay: Stay,
        account: Account,
        live: &Live,
    ) -> Result<Seat, Full> {
        let limits = &live.config.limits;
        take_one(&self.lines, limits.lines_max).map_err(|()| Full::Server)?;
        let is_poll = stay == Stay::Poll;
        if is_poll && take_one(&self.polls, limits.polls_max).is_err() {
            self.lines.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Polls);
        }
        let mut addresses = lock(&self.lines_by_address);
        match addresses.take(address, live.lines_per_address_max()) {
            Some(place) => Ok(Seat {
                place: place.with(stay),
                account,
            }),
            None => {
                self.polls
                    .fetch_sub(usize::from(is_poll), Ordering::Relaxed);
                self.lines.fetch_sub(1, Ordering::Relaxed);
                Err(Full::Address)
            }
        }
    }

    /// A line is gone.
    #[expect(clippy::needless_pass_by_value, reason = "a seat is given back once")]
    pub fn leave(&self, seat: Seat) {
        self.lines.fetch_sub(1, Ordering::Relaxed);
        let polls = usize::from(seat.place.is_poll());
        self.polls.fetch_sub(polls, Ordering::Relaxed);
        lock(&self.lines_by_address).give_back(seat.place);
    }

    /// Counts one more connection from an address, if there are fewer than so many; 0 is any number.
    pub fn visit(self: &Arc<Self>, address: IpAddr, connections_max: usize) -> Option<Visit> {
        let place = lock(&self.connections_by_address).take(address, connections_max)?;
        let census = self.clone();
        Some(Visit { census, place })
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
        let first = census.enter(ada, Stay::Open, account, &live).unwrap();
        let second = census.enter(ada, Stay::Open, account, &live).unwrap();
        assert_eq!(
            census.enter(ada, Stay::Open, account, &live),
            Err(Full::Address)
        );
        let third = census.enter(bob, Stay::Open, account, &live).unwrap();
        assert_eq!(census.lines(), 3);
        census.leave(first);
        let fourth = census.enter(ada, Stay::Open, account, &live).unwrap();
        for seat in [second, third, fourth] {
            census.leave(seat);
        }
        assert_eq!(census.lines(), 0);
        assert!(
            census.lines_by_address.lock().unwrap().place_of.is_empty(),
            "nobody is remembered who left"
        );
    }

    #[test]
    fn the_server_has_as_many_lines_as_it_takes() {
        let (census, live) = (Census::default(), live(1, 0));
        let enter = |address: [u8; 4]| census.enter(address.into(), Stay::Open, account(), &live);
        let seat = enter([10, 0, 0, 1]).unwrap();
        assert_eq!(enter([10, 0, 0, 2]), Err(Full::Server));
        census.leave(seat);
        assert!(enter([10, 0, 0, 2]).is_ok());
    }

    #[test]
    fn a_household_by_ipv6_is_one_address() {
        let (census, live) = (Census::default(), live(10, 1));
        let enter = |text: &str| census.enter(text.parse().unwrap(), Stay::Open, account(), &live);
        let one = enter("2001:db8::1").unwrap();
        assert_eq!(enter("2001:db8::2:3:4"), Err(Full::Address));
        assert_eq!(size_of_val(&Some(one)), 8);
        assert!(enter("2001:db8:0:1::1").is_ok());
        assert!(enter("192.0.2.1").is_ok());
        assert_eq!(enter("::ffff:192.0.2.1"), Err(Full::Address));
    }

    #[test]
    fn polls_have_a_limit_of_their_own_among_the_lines() {
        let mut live = live(10, 0);
        live.config.limits.polls_max = 1;
        let census = Census::default();
        let enter = |stay| census.enter([10, 0, 0, 1].into(), stay, account(), &live);
        let poll = enter(Stay::Poll).unwrap();
        assert_eq!(enter(Stay::Poll), Err(Full::Polls));
        assert!(enter(Stay::Open).is_ok());
        census.leave(poll);
        assert!(enter(Stay::Poll).is_ok());
        assert_eq!(census.lines(), 2);
    }

    #[test]
    fn an_address_has_as_many_connections_as_it_may_until_one_ends() {
        let census = Arc::new(Census::default());
        let visit = || census.visit([10, 0, 0, 1].into(), 2);
        let (first, _second) = (visit().unwrap(), visit().unwrap());
        assert!(visit().is_none());
        assert!(census.visit([10, 0, 0, 2].into(), 2).is_some());
        drop(first);
        assert!(visit().is_some());
    }
}
