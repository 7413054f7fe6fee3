//! How many appends one address may make: the generic cell rate algorithm, one time stamp an address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How much of its rate each address has used up.
#[derive(Default)]
pub(crate) struct Rate {
    /// When each address would have used up what it was admitted for.
    used_until: Mutex<HashMap<IpAddr, Instant>>,
}

/// In a burst, an address may be ahead of the sustained rate by so much.
const BURST: Duration = Duration::from_secs(2);

/// Addresses that are remembered before those whose time has passed are forgotten.
const REMEMBERED: usize = 10_000;

impl Rate {
    /// Admits one of so many a second, or tells how many seconds to wait. 0 a second is any number.
    pub fn admit(&self, address: IpAddr, per_second_max: u32) -> Result<(), u64> {
        match interval(per_second_max) {
            Some(interval) => self.admit_at(address, interval, Instant::now()),
            None => Ok(()), // without asking the clock
        }
    }

    /// Counts `count` more that came with one that was admitted. They are not refused, but what comes after them
    /// waits until they are paid for.
    pub fn charge(&self, address: IpAddr, per_second_max: u32, count: u32) {
        let Some(interval) = interval(per_second_max).filter(|_| count > 0) else {
            return;
        };
        let now = Instant::now();
        let mut used_until = self
            .used_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let until = used_until.entry(address).or_insert(now);
        *until = (*until).max(now) + interval * count;
    }

    fn admit_at(&self, address: IpAddr, interval: Duration, now: Instant) -> Result<(), u64> {
        let mut used_until = self
            .used_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if used_until.len() >= REMEMBERED {
            used_until.retain(|_, until| *until > now);
        }
        let until = used_until.entry(address).or_insert(now);
        let next = (*until).max(now) + interval;
        let ahead = next - now;
        if ahead > BURST + interval {
            return Err((ahead - BURST).as_secs().max(1));
        }
        *until = next;
        Ok(())
    }
}

/// The time that one takes up at the sustained rate.
fn interval(per_second_max: u32) -> Option<Duration> {
    (per_second_max > 0).then(|| Duration::from_secs(1) / per_second_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    #[test]
    fn an_address_gets_its_rate_and_a_burst_of_two_seconds() {
        let rate = Rate::default();
        let (ada, bob) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let start = Instant::now();
        let burst = (0..100)
            .take_while(|_| rate.admit_at(ada, TENTH, start).is_ok())
            .count();
        assert_eq!(burst, 21, "what two seconds hold, and the one that is due");
        assert_eq!(rate.admit_at(ada, TENTH, start), Err(1));
        assert!(
            rate.admit_at(bob, TENTH, start).is_ok(),
            "nobody pays for another"
        );
        let admitted = (1..=50)
            .filter(|tenth| {
                rate.admit_at(ada, TENTH, start + Duration::from_millis(tenth * 100))
                    .is_ok()
            })
            .count();
        assert_eq!(admitted, 50, "the sustained rate goes on");
    }

    #[test]
    fn what_comes_after_a_batch_waits_until_the_batch_is_paid_for() {
        let rate = Rate::default();
        let ada = IpAddr::from([10, 0, 0, 1]);
        assert!(rate.admit(ada, 10).is_ok());
        rate.charge(ada, 10, 99);
        let waits_s = rate.admit(ada, 10).unwrap_err();
        assert!(
            (7..=8).contains(&waits_s),
            "ten seconds of work, two ahead: {waits_s}"
        );
    }

    #[test]
    fn zero_is_no_limit() {
        let rate = Rate::default();
        assert!((0..10_000).all(|_| rate.admit(IpAddr::from([10, 0, 0, 1]), 0).is_ok()));
    }
}
