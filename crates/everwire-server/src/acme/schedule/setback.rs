//! How long to leave the authority alone after an attempt that failed.

use serde::{Deserialize, Serialize};

use super::{DAY_S, HOUR_S, Jitter, MINUTE_S};

/// Why no certificate came, as far as it matters for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Setback {
    /// The authority was not reached, or had a fault of its own. Such attempts cost nobody anything.
    Unreachable,
    /// The authority said no, or could not verify a name: these are counted, and five in an hour are all that Let's
    /// Encrypt takes for a name.
    Refused,
    /// It asks to come back after so many seconds, or later.
    Told { after_s: u64 },
    /// Nothing was asked of the authority, since what it gives could not be kept.
    NoRoom,
    /// What came of an order is not known: the process ended meanwhile. It counts as a refusal.
    Interrupted,
    /// A certificate was asked for, and is not kept: it could not be stored, it cannot be used, or the process ended
    /// before it came. Authorities count these by the week; five for the same names are all that Let's Encrypt issues.
    Wasted,
}

impl Setback {
    /// What it is counted as.
    pub fn outcome(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Told { .. } => "told-to-wait",
            Self::NoRoom => "no-room",
            Self::Interrupted | Self::Wasted => "wasted",
        }
    }
}

/// Attempts that failed one after the other. It is stored, so that a server that is started again and again does not
/// use up what the authority allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    failures: u32,
    setback: Setback,
    /// When the last attempt was.
    at_s: u64,
    /// When the next may be.
    retry_at_s: u64,
    /// When the last refusals were, [`REFUSALS_MAX`] of them at most, the newest last.
    refused_at_s: Vec<u64>,
}

impl Trouble {
    /// After what went wrong before, with so much of the certificate's life left, if there is one.
    pub(super) fn new(
        setback: Setback,
        before: Option<&Self>,
        left_s: Option<u64>,
        now_s: u64,
        jitter: Jitter,
    ) -> Self {
        let failures = before.map_or(0, |before| before.failures);
        let doubled = |first_s: u64| first_s << failures.min(16);
        let wait_s = match setback {
            Setback::Unreachable => doubled(UNREACHABLE_S).min(HOUR_S),
            Setback::NoRoom => doubled(NO_ROOM_S).min(NO_ROOM_S_MAX),
            Setback::Wasted => doubled(HOUR_S).min(REFUSED_S_MAX),
            Setback::Refused | Setback::Interrupted => {
                // The less time is left the more often.
                let most_s = left_s.map_or(REFUSED_S_MAX, |left_s| {
                    (left_s / 8).clamp(REFUSED_S, REFUSED_S_MAX)
                });
                doubled(REFUSED_S).min(most_s)
            }
            Setback::Told { after_s } => after_s.clamp(MINUTE_S, TOLD_S_MAX),
        };
        let mut refused_at_s = before.map_or_else(Vec::new, |before| before.refused_at_s.clone());
        if matches!(setback, Setback::Refused | Setback::Interrupted) {
            refused_at_s.push(now_s);
            let surplus = refused_at_s.len().saturating_sub(REFUSALS_MAX);
            refused_at_s.drain(..surplus);
        }
        let this = Self {
            failures: failures.saturating_add(1),
            setback,
            at_s: now_s,
            // Later by up to a quarter, never earlier.
            retry_at_s: now_s + wait_s + jitter.of(wait_s / 4),
            refused_at_s,
        };
        Self {
            retry_at_s: this.retry_at_s.max(this.allowed_at()),
            ..this
        }
    }

    /// Whoever starts the server again has perhaps mended what was wrong, and wants to see it: then it is tried at once,
    /// unless the authority asked for time, has refused too often within an hour, or has issued what was not kept.
    pub(super) fn after_restart(self) -> Self {
        let retry_at_s = match self.setback {
            Setback::Unreachable | Setback::Refused | Setback::NoRoom | Setback::Interrupted => {
                self.at_s.max(self.allowed_at())
            }
            Setback::Told { .. } | Setback::Wasted => self.retry_at_s,
        };
        Self { retry_at_s, ..self }
    }

    /// Why the last attempt failed, and when.
    pub(super) fn last(&self) -> (Setback, u64) {
        (self.setback, self.at_s)
    }

    /// How many attempts failed, one after the other.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// When the next attempt may be. If the last one lies in the future, the clock was set back, and what was noted
    /// tells nothing.
    pub fn retry_at(&self, now_s: u64) -> u64 {
        match now_s < self.at_s {
            true => now_s,
            false => self.retry_at_s,
        }
    }

    /// When one more refusal would not be too many.
    fn allowed_at(&self) -> u64 {
        match self.refused_at_s.first() {
            Some(first_s) if self.refused_at_s.len() >= REFUSALS_MAX => first_s + HOUR_S,
            _ => 0,
        }
    }
}

/// The first wait when the authority is not reached; each further one is twice as long, up to an hour.
const UNREACHABLE_S: u64 = 30;
/// The first wait after a refusal.
const REFUSED_S: u64 = 5 * MINUTE_S;
/// The first wait when there is no room. To look again costs nobody else anything.
const NO_ROOM_S: u64 = 30;
/// The longest wait when there is no room.
const NO_ROOM_S_MAX: u64 = 10 * MINUTE_S;
/// The longest wait after a refusal.
const REFUSED_S_MAX: u64 = 12 * HOUR_S;
/// Most refusals in an hour. Let's Encrypt locks a name out after five.
pub(super) const REFUSALS_MAX: usize = 4;
/// The longest wait that an authority is believed: the longest of Let's Encrypt's limits is a week.
const TOLD_S_MAX: u64 = 7 * DAY_S;
