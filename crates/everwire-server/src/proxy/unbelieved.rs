//! Addresses that name others as their clients and are not believed: strangers that make it up, or a proxy that nobody has
//! told the server of. Behind such a proxy all clients share what one address may, and nothing else would tell why.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use http::{HeaderMap, HeaderName, header};

use super::neighbourhood;

/// The last addresses that did so, and of which of them the operator was told. It only hints, so that a few places are
/// enough, in which the newest come to stand.
pub(crate) struct Unbelieved {
    hasher: RandomState,
    /// Each a hash of an address, whose last bit tells whether it was told of; 0 is nobody.
    seen: [AtomicU64; PLACES],
}

/// What becomes of a limit that such an address has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// The operator is to be told, for the first time.
    Tell,
    /// It was told already.
    Told,
}

const PLACES: usize = 64;

const TOLD: u64 = 1;

impl Default for Unbelieved {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            seen: [const { AtomicU64::new(0) }; PLACES],
        }
    }
}

impl Unbelieved {
    /// A request came from an address that is not believed, with these fields.
    pub fn note(&self, address: IpAddr, headers: &HeaderMap) {
        if !names_others(headers) {
            return;
        }
        let (place, hash) = self.place(address);
        if place.load(Relaxed) & !TOLD != hash {
            place.store(hash, Relaxed);
        }
    }

    /// An address has met a limit. Nothing is told of one that speaks for itself alone.
    pub fn on_limit(&self, address: IpAddr) -> Option<Hint> {
        let (place, hash) = self.place(address);
        match place.compare_exchange(hash, hash | TOLD, Relaxed, Relaxed) {
            Ok(_) => Some(Hint::Tell),
            Err(found) if found == hash | TOLD => Some(Hint::Told),
            Err(_) => None,
        }
    }

    fn place(&self, address: IpAddr) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one(neighbourhood(address)) & !TOLD | 1 << 63;
        (&self.seen[(hash >> 1) as usize % PLACES], hash)
    }
}

/// Limits that count what comes from one address.
const BY_ADDRESS: [&str; 8] = [
    "appends_per_second_max",
    "connections_per_address_max",
    "connections_per_second_max",
    "connections_share",
    "lines_per_address_max",
    "lines_per_second_max",
    "lines_share",
    "polls_share",
];

/// Limits that count what comes from one caller, which is an address for those without a credential.
const BY_CALLER: [&str; 2] = ["in_flight_bytes_per_caller_max", "reads_per_second_max"];

/// Whether all who come from one address share a limit.
pub(crate) fn is_shared(limit: &str, has_credential: bool) -> bool {
    BY_ADDRESS.contains(&limit) || !has_credential && BY_CALLER.contains(&limit)
}

/// Whether a request says whose it is, in either way that proxies do.
fn names_others(headers: &HeaderMap) -> bool {
    headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(header::FORWARDED)
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn fields(name: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("x"))])
    }

    #[test]
    fn the_operator_is_told_once_of_who_names_others_and_meets_a_limit() {
        let unbelieved = Unbelieved::default();
        let [proxy, other, single]: [IpAddr; 3] =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|text| text.parse().unwrap());
        unbelieved.note(proxy, &fields("x-forwarded-for"));
        unbelieved.note(single, &fields("via"));
        assert_eq!(unbelieved.on_limit(proxy), Some(Hint::Tell));
        for _ in 0..3 {
            unbelieved.note(proxy, &fields("forwarded"));
            assert_eq!(unbelieved.on_limit(proxy), Some(Hint::Told));
        }
        assert_eq!(unbelieved.on_limit(single), None);
        // Unless it came to stand in the place of the first.
        let expected = unbelieved.place(other).1 == unbelieved.place(proxy).1;
        assert_eq!(unbelieved.on_limit(other).is_some(), expected);
    }

    #[test]
    fn whoever_makes_up_many_addresses_takes_no_more_places() {
        let unbelieved = Unbelieved::default();
        for n in 0..100_000_u32 {
            unbelieved.note(IpAddr::from(n.to_be_bytes()), &fields("forwarded"));
        }
        let proxy = IpAddr::from([10, 0, 0, 1]);
        unbelieved.note(proxy, &fields("forwarded"));
        assert_eq!(
            unbelieved.on_limit(proxy),
            Some(Hint::Tell),
            "the newest is known"
        );
    }
}
