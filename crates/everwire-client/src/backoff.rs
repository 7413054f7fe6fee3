//! How long to wait before the next attempt.

use std::time::Duration;

/// Exponential backoff with full jitter: each wait is drawn evenly between nothing and a bound, which
/// doubles with every attempt that failed. So clients that lost one server together do not come back
/// together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The bound of the first wait. Default: 1 s.
    pub first: Duration,
    /// No bound is larger. Default: 30 s.
    pub max: Duration,
}

impl Backoff {
    /// The wait before another attempt, after `failed` attempts in a row before this one. `roll` is how
    /// chance fell, from 0 up to 1.
    pub(crate) fn wait(&self, failed: u32, roll: f64) -> Duration {
        self.bound(failed).mul_f64(roll)
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
            first: Duration::from_secs(1),
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
    fn a_wait_is_any_part_of_its_bound() {
        for (roll, wait_ms) in [(0.0, 0), (0.5, 1000), (0.999, 1998)] {
            let wait = Backoff::default().wait(1, roll);
            assert_eq!(wait.as_millis(), wait_ms, "roll {roll}");
        }
    }
}
