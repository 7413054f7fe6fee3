//! Connections, from accept to close.
//!
//! ```text
//!  accept ─▶ Arrival ─▶ Visit ─▶ HTTP ⇄ parked poll
//!            counted    counted   └───▶ line, which has a seat
//!            in all     by address
//! ```
//!
//! A visit belongs to a socket and goes where that goes: through HTTP, into a parked poll and back. A socket that has
//! become a line for good is counted as a line instead. So nobody holds a socket that counts nowhere.
//!
//! When all places are taken, some are left in a reserve, for those who look whether the server is well. Else whoever
//! fills the server would have it restarted by what watches over it.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Census,
    addresses::{NoPlace, Place},
    lock, take_one,
};
use crate::{live::Live, proxy::Hop, shares::Pot};

/// A connection that was accepted. Who is behind it is not known yet.
pub(crate) struct Arrival {
    census: Arc<Census>,
    pass: Pass,
}

/// A connection, counted for its address, until this is dropped. Boxed, since it is handed on and on.
pub(crate) struct Visit(Box<Counted>);

struct Counted {
    arrival: Arrival,
    place: Place,
    /// Where it leads to.
    hop: Hop,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Anything.
    All,
    /// A look whether the server is well, from this machine or from elsewhere: it came when all places were taken.
    Look(Side),
}

/// Whose reserve a connection is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Local,
    Remote,
}

/// Connections beyond `limits.connections_max` that are answered whether the server is well: so many from this machine,
/// and so many from elsewhere.
const RESERVE: usize = 16;

/// Of the reserve one address has so many at most.
const RESERVE_PER_ADDRESS: usize = 2;

impl Census {
    /// Counts a connection that was accepted, if there is room for it.
    pub fn arrive(self: &Arc<Self>, peer: IpAddr, connections_max: usize) -> Option<Arrival> {
        let pass = match take_one(&self.connections, connections_max) {
            Ok(()) => Pass::All,
            Err(()) => {
                let side = match peer.to_canonical().is_loopback() {
                    true => Side::Local,
                    false => Side::Remote,
                };
                take_one(&self.looks[side as usize], RESERVE).ok()?;
                Pass::Look(side)
            }
        };
        Some(Arrival {
            census: self.clone(),
            pass,
        })
    }

    /// Connections open now that are no lines, and those of parked polls.
    pub fn connections(&self) -> usize {
        let looks = self.looks.iter().map(|count| count.load(Ordering::Relaxed));
        self.connections.load(Ordering::Relaxed) + looks.sum::<usize>()
    }

    /// A connection that no limit is for, where none was accepted.
    #[cfg(any(test, feature = "simulation"))]
    pub fn visit(self: &Arc<Self>, hop: IpAddr) -> Visit {
        let arrival = self.arrive(hop, usize::MAX).expect("there is always room");
        Visit(Box::new(Counted {
            arrival,
            place: super::addresses::NOWHERE,
            hop: Hop::at(hop),
        }))
    }
}

impl Arrival {
    /// Whether it came when all places were taken.
    pub fn is_in_reserve(&self) -> bool {
        self.pass != Pass::All
    }

    /// Counts it for the address that it leads to, or tells which limit is met; where `max` is 0, there is none.
    pub fn at(self, hop: Hop, max: usize, live: &Live) -> Result<Visit, &'static str> {
        let census = &self.census;
        let pot = |size: usize, held: usize| Pot {
            size: size as u64,
            // Without itself, which is counted already.
            held: held.saturating_sub(1) as u64,
            percent: live.share_percent(),
        };
        let place = match self.pass {
            Pass::All => {
                let held = census.connections.load(Ordering::Relaxed);
                let pot = pot(live.config.limits.connections_max, held);
                lock(&census.connections_by_address).take(hop.address, max, pot, None)
            }
            Pass::Look(side) => {
                let held = census.looks[side as usize].load(Ordering::Relaxed);
                let max = match side {
                    Side::Local => 0,
                    Side::Remote => RESERVE_PER_ADDRESS,
                };
                let pot = Pot {
                    percent: 100,
                    ..pot(RESERVE, held)
                };
                lock(&census.looks_by_address).take(hop.address, max, pot, None)
            }
        };
        let place = place.map_err(|none| match (none, self.pass) {
            (_, Pass::Look(_)) => "connections_max",
            (NoPlace::Max, Pass::All) => "connections_per_address_max",
            (NoPlace::Share | NoPlace::SharedPolls, Pass::All) => "connections_share",
        })?;
        Ok(Visit(Box::new(Counted {
            arrival: self,
            place,
            hop,
        })))
    }
}

impl Visit {
    /// Where the connection leads to: its peer, or whom the proxy named before its first byte.
    pub fn hop(&self) -> Hop {
        self.0.hop
    }

    /// What the connection is for.
    pub fn pass(&self) -> Pass {
        self.0.arrival.pass
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let count = match self.pass {
            Pass::All => &self.census.connections,
            Pass::Look(side) => &self.census.looks[side as usize],
        };
        count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let census = &self.arrival.census;
        let by_address = match self.arrival.pass {
            Pass::All => &census.connections_by_address,
            Pass::Look(_) => &census.looks_by_address,
        };
        lock(by_address).give_back(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const ADA: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn live(connections_max: usize) -> Live {
        let mut config = Config::default();
        config.limits.connections_max = connections_max;
        Live::without_credentials(config)
    }

    fn come(
        census: &Arc<Census>,
        from: IpAddr,
        max: usize,
        live: &Live,
    ) -> Result<Visit, &'static str> {
        let connections_max = live.config.limits.connections_max;
        let arrival = census.arrive(from, connections_max);
        arrival
            .ok_or("connections_max")?
            .at(Hop::at(from), max, live)
    }

    #[test]
    fn an_address_has_as_many_connections_as_it_may_until_one_ends() {
        let (census, live) = (Arc::default(), live(10));
        let first = come(&census, ADA, 2, &live).unwrap();
        let _second = come(&census, ADA, 2, &live).unwrap();
        let refused = || come(&census, ADA, 2, &live).err();
        assert_eq!(refused(), Some("connections_per_address_max"));
        assert!(come(&census, BOB, 2, &live).is_ok());
        assert_eq!(census.connections(), 2);
        drop(first);
        assert!(come(&census, ADA, 2, &live).is_ok());
    }

    #[test]
    fn one_address_leaves_some_for_others() {
        let (census, live) = (Arc::default(), live(100));
        let come_all = |from| -> Vec<_> {
            std::iter::from_fn(|| come(&census, from, 1_000, &live).ok()).collect()
        };
        let (ada, bob) = (come_all(ADA), come_all(BOB));
        assert_eq!((ada.len(), bob.len()), (90, 9));
    }

    /// Each side has its own places, and one address from elsewhere has few of them.
    #[test]
    fn beyond_all_places_there_are_some_for_a_look() {
        let (census, live) = (Arc::new(Census::default()), live(1));
        let _full = come(&census, ADA, 0, &live).unwrap();
        let looks = |from| -> Vec<_> {
            std::iter::from_fn(|| come(&census, from, 1_000, &live).ok()).collect()
        };
        let (ada, bob) = (looks(ADA), looks(BOB));
        assert_eq!(
            (ada.len(), bob.len()),
            (RESERVE_PER_ADDRESS, RESERVE_PER_ADDRESS)
        );
        assert!(
            ada.iter()
                .all(|visit| visit.pass() == Pass::Look(Side::Remote))
        );
        assert_eq!(looks(HERE).len(), RESERVE);
        drop((ada, bob));
        assert_eq!(census.connections(), 1);
        assert!(census.looks_by_address.lock().unwrap().is_empty());
    }
}
