//! How long to wait before the next attempt.

use std::time::Duration;

use fastrand::Rng;

/// Exponential backoff with full jitter: each wait is drawn evenly between nothing and a bound, which
/// doubles with every attempt that failed. So clients that lost one server together do not come back
/// together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The bound of the first wait. Default: 500 ms.
    pub first: Duration,
    /// No bound is larger. Default: 30 s.
    pub max: Duration,
}

impl Backoff {
    /// The wait before another attempt, after `failed` attempts in a row before this one.
    pub(crate) fn wait(&self, failed: u32, rng: &mut Rng) -> Duration {
        self.bound(failed).mul_f64(rng.f64())
    }

    fn bound(&self, failed: u32) -> Duration {
        self.first
            .saturating_mul(2_u32.saturating_pow(failed))
            .min(self.max)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            max: Duration::from_secs(30),
        }
    }
}

/// The longest wait that a server can ask for; a longer one is cut to it, so that a mistake there does
/// not silence a reader for ever.
pub(crate) const ASKED_WAIT_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_its_maximum() {
        let backoff = Backoff {
            first: Duration::from_millis(500),
            max: Duration::from_secs(30),
        };
        for (failed, bound_ms) in [
            (0, 500),
            (1, 1000),
            (5, 16_000),
            (6, 30_000),
            (u32::MAX, 30_000),
        ] {
            assert_eq!(
                backoff.bound(failed).as_millis(),
                bound_ms,
                "after {failed} failures"
            );
        }
    }

    #[test]
    fn waits_spread_over_the_whole_range() {
        let mut rng = Rng::with_seed(7);
        let waits: Vec<_> = (0..1000)
            .map(|_| Backoff::default().wait(1, &mut rng).as_millis())
            .collect();
        for tenth in 0..10 {
            let within = waits.iter().filter(|wait| **wait / 100 == tenth).count();
            assert!(
                (50..150).contains(&within),
                "{within} of 1000 waits in tenth {tenth}"
            );
        }
    }
}
