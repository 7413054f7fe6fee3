//! Who is connected: lines and connections, counted over all threads and by address.

mod addresses;
mod visit;

use std::{
    net::IpAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use self::addresses::{Addresses, NoPlace, Place};
pub(crate) use self::visit::{Arrival, Pass, Visit};
use crate::{live::Live, rate::Account, shares::Pot};

/// The counts. Nobody is connected at first.
#[derive(Default)]
pub struct Census {
    lines: AtomicUsize,
    polls: AtomicUsize,
    lines_by_address: Mutex<Addresses>,
    connections: AtomicUsize,
    connections_by_address: Mutex<Addresses>,
    /// Connections that came when all places were taken, from this machine and from elsewhere.
    looks: [AtomicUsize; 2],
    looks_by_address: Mutex<Addresses>,
}

/// What a line is there for, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// It stays open: a WebSocket, a stream, a session.
    Open,
    /// It waits for one answer.
    Poll,
}

/// A counted line. Eight bytes, since every line keeps one; given back by [`Census::leave`].
#[derive(Debug, PartialEq, Eq)]
pub struct Seat {
    place: Place,
    /// Who pays for what comes in on it.
    pub(crate) account: Account,
}

/// Why one more line is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The server has as many as it takes.
    Server,
    /// This address has as many as it may.
    Address,
    /// As many long polls wait as may.
    Polls,
    /// This address has its share of all lines, and the rest is for others.
    Share,
    /// The same of all long polls that wait.
    SharedPolls,
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
        let pot = |size: usize, held: &AtomicUsize| Pot {
            size: size as u64,
            // Without itself, which is counted already.
            held: held.load(Ordering::Relaxed).saturating_sub(1) as u64,
            percent: live.share_percent(),
        };
        let all = pot(limits.lines_max, &self.lines);
        let polls = is_poll.then(|| pot(limits.polls_max, &self.polls));
        let max = live.lines_per_address_max();
        let taken = lock(&self.lines_by_address).take(address, max, all, polls);
        match taken {
            Ok(place) => Ok(Seat {
                place: place.with(stay),
                account,
            }),
            Err(none) => {
                self.polls
                    .fetch_sub(usize::from(is_poll), Ordering::Relaxed);
                self.lines.fetch_sub(1, Ordering::Relaxed);
                Err(match none {
                    NoPlace::Max => Full::Address,
                    NoPlace::Share => Full::Share,
                    NoPlace::SharedPolls => Full::SharedPolls,
                })
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
            census.lines_by_address.lock().unwrap().is_empty(),
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
}
