//! File descriptors: as many as the system lets the process have, and limits that fit them.
//!
//! ```text
//!  soft limit ─▶ raised to the hard limit ─▶ ├─ files, webhooks, looks ─┤─ connections ─┤──── lines ────┤
//! ```
//!
//! Each line and each connection is a descriptor. A server that takes more of them than it has descriptors accepts
//! nobody when they are gone, not even who asks whether it is well; so it takes no more.

use everwire_server::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many descriptors the process may have, once the soft limit was raised as far as the hard one allows.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised,
        // What there is has to do.
        Err(_) => limit,
    };
    limit.current.unwrap_or(u64::MAX)
}

/// Lowers the limits of lines and connections to what so many descriptors are enough for. True if they were too high.
pub fn fit(config: &mut Config, descriptors: u64) -> bool {
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let threads = config.threads_effective();
    let limits = &mut config.limits;
    let kept = (KEPT + KEPT_PER_THREAD * threads).min(descriptors / 4);
    let usable = descriptors - kept;
    if limits.lines_max.saturating_add(limits.connections_max) <= usable {
        return false;
    }
    let connections = limits.connections_max.min(usable / 4).max(1);
    limits.lines_max = limits.lines_max.min(usable - connections).max(1);
    limits.connections_max = limits.connections_max.min(usable - limits.lines_max);
    true
}

/// Descriptors that are for nobody's line or connection: files, questions to others, looks whether the server is well.
const KEPT: usize = 128;

/// Each core thread has its queues and its listeners.
const KEPT_PER_THREAD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_connections_fit_and_something_is_left() {
        for (descriptors, set, expected) in [
            (2_000_000, (1_000_000, 100_000), (1_000_000, 100_000)),
            (1_024, (1_000_000, 100_000), (666, 222)),
            (1_048_576, (1_000_000, 100_000), (948_440, 100_000)),
            (1_024, (1_000_000, 100), (788, 100)),
            (1_024, (10, 100_000), (10, 878)),
            (64, (1_000_000, 100_000), (36, 12)),
        ] {
            let mut config = Config {
                threads: 1,
                ..Config::default()
            };
            let limits = &mut config.limits;
            (limits.lines_max, limits.connections_max) = set;
            let is_fitted = fit(&mut config, descriptors);
            let limits = &config.limits;
            let found = (limits.lines_max, limits.connections_max);
            assert_eq!(is_fitted, found != set, "{descriptors} for {set:?}");
            assert_eq!(found, expected, "{descriptors} for {set:?}");
        }
    }
}
