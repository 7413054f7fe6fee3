//! Why no certificate came: for people as a sentence, for the schedule as a setback.

use instant_acme::{Error, Problem};

use super::{schedule::Setback, storage::StorageError, told::Told};
use crate::outbound::OutboundError;

/// Why no certificate came.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    setback: Setback,
    message: String,
}

impl Failure {
    /// The authority said no, for a reason that this server found out by itself.
    pub fn refused(message: impl Into<String>) -> Self {
        Self {
            setback: Setback::Refused,
            message: message.into(),
        }
    }

    /// The authority was not done in time.
    pub fn timed_out(message: impl Into<String>) -> Self {
        Self {
            setback: Setback::Unreachable,
            message: message.into(),
        }
    }

    /// Nothing was asked of the authority: there is no place for what it gives.
    pub fn no_room(error: &StorageError) -> Self {
        Self {
            setback: Setback::NoRoom,
            message: format!("nothing was ordered, since it could not be kept: {error}"),
        }
    }

    /// A certificate was issued that cannot be used.
    pub fn wasted(message: impl Into<String>) -> Self {
        Self {
            setback: Setback::Wasted,
            message: message.into(),
        }
    }

    /// From what the protocol's library says, and what the last answer said about coming back.
    pub fn of(doing: &str, error: &Error, told: Told) -> Self {
        let setback = match (told.retry_after_s, error) {
            (Some(after_s), _) => Setback::Told { after_s },
            (None, Error::Api(problem)) if is(problem, "rateLimited") => Setback::Told {
                after_s: RATE_LIMITED_S,
            },
            (None, Error::Api(problem)) if problem.status.is_some_and(|status| status >= 500) => {
                Setback::Unreachable
            }
            (None, Error::Api(_) | Error::Timeout(_)) => Setback::Refused,
            // No connection, or an answer that is not ACME's: that cost the authority nothing.
            (None, _) => Setback::Unreachable,
        };
        Self {
            setback,
            message: format!("{doing}: {}", described(error, told)),
        }
    }

    /// What it means for the next attempt.
    pub fn setback(&self) -> Setback {
        self.setback
    }
}

/// What was got or made here cannot be kept: it is as if the authority had refused, so that it is not asked again soon.
impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::refused(error.to_string())
    }
}

/// Whether a problem is of a type of RFC 8555, section 6.7.
pub(super) fn is(problem: &Problem, kind: &str) -> bool {
    let prefix = "urn:ietf:params:acme:error:";
    (problem.r#type.as_deref()).and_then(|found| found.strip_prefix(prefix)) == Some(kind)
}

/// What the authority says about a problem, within bounds: it goes to the log.
pub(super) fn describe(problem: &Problem) -> String {
    let mut text = problem.detail.clone().unwrap_or_default();
    for part in &problem.subproblems {
        let detail = part.detail.as_deref().unwrap_or_default();
        if !text.contains(detail) {
            text = format!("{text}; {detail}");
        }
    }
    let kind = problem.r#type.as_deref().unwrap_or("no type");
    let kind = kind.rsplit(':').next().unwrap_or(kind);
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(DETAIL_CHARS_MAX)
        .collect();
    match text.is_empty() {
        true => kind.to_owned(),
        false => format!("{text} ({kind})"),
    }
}

fn described(error: &Error, told: Told) -> String {
    match error {
        Error::Api(problem) => describe(problem),
        Error::Other(error) => match error.downcast_ref::<OutboundError>() {
            Some(error) => error.to_string(),
            None => error.to_string(),
        },
        Error::Json(_) if told.status.is_some_and(|status| status >= 400) => format!(
            "it answered with status {}, and not as ACME does",
            told.status.unwrap_or_default()
        ),
        Error::Json(_) => {
            "its answer is not ACME's; see that acme.directory is the whole address of its directory".to_owned()
        }
        error => error.to_string(),
    }
}

/// Longest text of an authority that is repeated in a log.
const DETAIL_CHARS_MAX: usize = 600;

/// How long an authority is left alone that says no more than that it was asked too often.
const RATE_LIMITED_S: u64 = 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, status: u16) -> Error {
        let text = format!(
            "{{\"type\":\"urn:ietf:params:acme:error:{kind}\",\"detail\":\"no\\nso\",\"status\":{status}}}"
        );
        Error::Api(serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn what_went_wrong_decides_when_to_come_back() {
        let json = || Error::Json(serde_json::from_str::<u8>("<").unwrap_err());
        let answered = |status, retry_after_s| Told {
            status: Some(status),
            retry_after_s,
        };
        let told = |after_s| Setback::Told { after_s };
        for (error, last, expected) in [
            (
                problem("rateLimited", 429),
                answered(429, Some(90)),
                told(90),
            ),
            (problem("rateLimited", 429), answered(429, None), told(3600)),
            (
                problem("serverInternal", 503),
                answered(503, Some(7)),
                told(7),
            ),
            (
                problem("serverInternal", 500),
                answered(500, None),
                Setback::Unreachable,
            ),
            (
                problem("rejectedIdentifier", 400),
                answered(400, None),
                Setback::Refused,
            ),
            (json(), answered(502, None), Setback::Unreachable),
            (Error::Timeout(None), answered(200, None), Setback::Refused),
            (
                Error::Other(Box::new(OutboundError::Stopping)),
                Told::default(),
                Setback::Unreachable,
            ),
        ] {
            assert_eq!(
                Failure::of("order", &error, last).setback(),
                expected,
                "{error}"
            );
        }
    }

    #[test]
    fn what_the_authority_says_is_repeated_on_one_line_and_within_bounds() {
        let failure = Failure::of("order", &problem("caa", 403), Told::default());
        assert_eq!(failure.to_string(), "order: no so (caa)");
        let long = format!("{{\"detail\":\"{}\"}}", "x".repeat(10_000));
        let long = Error::Api(serde_json::from_str(&long).unwrap());
        let failure = Failure::of("order", &long, Told::default()).to_string();
        assert!(failure.len() < 700, "{}", failure.len());
    }
}
