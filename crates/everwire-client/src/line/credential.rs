//! What a line knows of its token. The token itself stays out of it, so that no log of states holds a secret.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;

/// Whether there is a token, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// No token is used.
    None,
    /// One has to be fetched before the next attempt.
    Wanted,
    /// One is held, until that time if it is known.
    Held { until: Option<Instant> },
}

impl Credential {
    /// Whether a token has to be fetched before a wire is opened.
    pub fn is_wanted(self, now: Instant) -> bool {
        match self {
            Self::None => false,
            Self::Wanted => true,
            Self::Held { until } => until.is_some_and(|until| until <= now),
        }
    }

    /// When to fetch the next token; `None` if only a refusal will tell.
    pub fn refresh_at(self, now: Instant, lead: Duration) -> Option<Instant> {
        match self {
            Self::None | Self::Wanted => None,
            // A token that lives shorter than the lead would be fetched without end.
            Self::Held { until } => {
                until.map(|until| until - lead.min(until.saturating_duration_since(now) / 2))
            }
        }
    }
}

/// How long a token lives that is a JWT with `exp` (RFC 7519); `None` if it is none, or seems to be over: then
/// this clock is wrong, and the server has the last word.
pub(crate) fn lifetime(token: &str, now: SystemTime) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let payload = BASE64_URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1)?)
        .ok()?;
    let Claims { exp } = serde_json::from_slice(&payload).ok()?;
    let end = UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(exp).ok()?)?;
    let lifetime = end.duration_since(now).ok()?;
    // Beyond that no refresh is planned, and times stay where they can be added.
    (!lifetime.is_zero() && lifetime < LIFETIME_MAX).then_some(lifetime)
}

const LIFETIME_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("head.{}.signature", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn the_end_of_a_token_is_read_from_it_where_this_clock_can_believe_it() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        for (token, expected_s) in [
            (jwt(r#"{"exp":2000}"#), Some(1000)),
            (jwt(r#"{"exp":2000,"name":"ÿ?>"}"#), Some(1000)),
            (jwt(r#"{"exp":1000}"#), None),
            (jwt(r#"{"exp":1e300}"#), None),
            (jwt(r#"{"exp":-1}"#), None),
            (jwt("{}"), None),
            ("an opaque key".into(), None),
            ("a.b.c".into(), None),
        ] {
            let expected = expected_s.map(Duration::from_secs);
            assert_eq!(lifetime(&token, now), expected, "{token}");
        }
    }

    #[test]
    fn a_token_is_replaced_some_time_before_its_end_and_a_short_lived_one_at_half_its_life() {
        let now = Instant::now();
        for (lives_s, refreshed_s) in [(100, 70), (20, 10)] {
            let until = Some(now + Duration::from_secs(lives_s));
            let refresh = Credential::Held { until }.refresh_at(now, Duration::from_secs(30));
            assert_eq!(refresh, Some(now + Duration::from_secs(refreshed_s)));
        }
        let unknown = Credential::Held { until: None };
        assert_eq!(unknown.refresh_at(now, Duration::from_secs(30)), None);
    }
}
