//! How many appends one address may make: the generic cell rate algorithm, one time stamp an address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The rate of each address.
pub(crate) struct Rate {
    /// Time that one append takes up, at the sustained rate; zero means no limit.
    interval: Duration,
    /// When each address would have used up what it was admitted for.
    used_until: Mutex<HashMap<IpAddr, Instant>>,
}

/// In a burst, an address may be ahead of the sustained rate by so much.
const BURST: Duration = Duration::from_secs(2);

/// Addresses that are remembered before those whose time has passed are forgotten.
const REMEMBERED: usize = 10_000;

impl Rate {
    /// So many a second; 0 means no limit.
    pub fn per_second(count: u32) -> Self {
        let interval = if count == 0 {
            Duration::ZERO
        } else {
            Duration::from_secs(1) / count
        };
        Self {
            interval,
            used_until: Mutex::default(),
        }
    }

    /// Admits one, or tells how many seconds to wait.
    pub fn admit(&self, address: IpAddr) -> Result<(), u64> {
        if self.interval.is_zero() {
            return Ok(()); // without asking the clock
        }
        self.admit_at(address, Instant::now())
    }

    /// Counts `count` more that came with one that was admitted. They are not refused, but what comes after them
    /// waits until they are paid for.
    pub fn charge(&self, address: IpAddr, count: u32) {
        if self.interval.is_zero() || count == 0 {
            return;
        }
        let now = Instant::now();
        let mut used_until = self
            .used_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let until = used_until.entry(address).or_insert(now);
        *until = (*until).max(now) + self.interval * count;
    }

    fn admit_at(&self, address: IpAddr, now: Instant) -> Result<(), u64> {
        let mut used_until = self
            .used_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if used_until.len() >= REMEMBERED {
            used_until.retain(|_, until| *until > now);
        }
        let until = used_until.entry(address).or_insert(now);
        let next = (*until).max(now) + self.interval;
        let ahead = next - now;
        if ahead > BURST + self.interval {
            return Err((ahead - BURST).as_secs().max(1));
        }
        *until = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_its_rate_and_a_burst_of_two_seconds() {
        let rate = Rate::per_second(10);
        let (ada, bob) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let start = Instant::now();
        let burst = (0..100)
            .take_while(|_| rate.admit_at(ada, start).is_ok())
            .count();
        assert_eq!(burst, 21, "what two seconds hold, and the one that is due");
        assert_eq!(rate.admit_at(ada, start), Err(1));
        assert!(rate.admit_at(bob, start).is_ok(), "nobody pays for another");
        let admitted = (1..=50)
            .filter(|tenth| {
                rate.admit_at(ada, start + Duration::from_millis(tenth * 100))
                    .is_ok()
            })
            .count();
        assert_eq!(admitted, 50, "the sustained rate goes on");
    }

    #[test]
    fn what_comes_after_a_batch_waits_until_the_batch_is_paid_for() {
        let rate = Rate::per_second(10);
        let ada = IpAddr::from([10, 0, 0, 1]);
        assert!(rate.admit(ada).is_ok());
        rate.charge(ada, 99);
        let waits_s = rate.admit(ada).unwrap_err();
        assert!(
            (7..=8).contains(&waits_s),
            "ten seconds of work, two ahead: {waits_s}"
        );
    }

    #[test]
    fn zero_is_no_limit() {
        let rate = Rate::per_second(0);
        assert!((0..10_000).all(|_| rate.admit(IpAddr::from([10, 0, 0, 1])).is_ok()));
    }
}
