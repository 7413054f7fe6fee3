//! Error responses: problem details (RFC 9457), or whatever a proxy says instead.

use std::time::{Duration, SystemTime};

use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::{Gap, Offset, backoff::ASKED_WAIT_MAX, signal::Refusal};

/// A text that a server says: it goes to a terminal, so it stays on its line.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).collect()
}

/// The name of a problem: its type, or the last segment of a type that is an address.
pub(crate) fn name(kind: &str) -> String {
    harmless(kind.rsplit('/').next().unwrap_or_default())
}

/// Collects the body of one error response.
#[derive(Debug)]
pub(crate) struct ProblemDecoder {
    /// What the head told.
    refusal: Refusal,
    /// The content is a problem, and no page of something between.
    is_problem: bool,
    body: Vec<u8>,
}

impl ProblemDecoder {
    /// A response with this head; `now` is the time that a date in `Retry-After` is compared with.
    pub fn new(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Self {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value: &http::HeaderValue| value.to_str().ok())
        };
        let reason = status.canonical_reason().unwrap_or("an unknown status");
        let detail = match text(LOCATION) {
            Some(location) if status.is_redirection() => {
                format!("{reason}; redirects are not followed, use {location}")
            }
            _ => reason.to_owned(),
        };
        let retry_after = text(RETRY_AFTER).and_then(|value| retry_after(value, now));
        Self {
            refusal: Refusal {
                status: status.as_u16(),
                detail,
                retry_after,
                gap: None,
                problem: None,
            },
            is_problem: text(CONTENT_TYPE)
                .is_some_and(|media_type| media_type.starts_with("application/problem+json")),
            body: Vec::new(),
        }
    }

    /// Takes a piece of the body; what is beyond the limit is left out.
    pub fn decode(&mut self, bytes: &[u8]) {
        let room = BODY_BYTES_MAX - self.body.len();
        self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    pub fn finish(self) -> Refusal {
        let Self {
            mut refusal,
            is_problem,
            body,
        } = self;
        let Ok(problem) = serde_json::from_slice::<Problem>(&body) else {
            return refusal;
        };
        if let Some(detail) = problem.detail.or(problem.title) {
            refusal.detail = harmless(&detail);
        }
        refusal.problem = is_problem.then(|| name(problem.r#type.as_deref().unwrap_or("unknown")));
        refusal.gap = match (problem.oldest, problem.newest) {
            (Some(oldest), Some(newest)) if refusal.status == 410 => Some(Gap { oldest, newest }),
            _ => None,
        };
        refusal
    }
}

#[derive(Deserialize)]
struct Problem {
    r#type: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    oldest: Option<Offset>,
    newest: Option<Offset>,
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let wait = match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value.trim())
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    Some(wait.min(ASKED_WAIT_MAX))
}

/// A page that a proxy sends as an error may be long, and nobody reads it.
const BODY_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn refusal(status: u16, fields: &[(&'static str, &str)], body: &str) -> Refusal {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:00 GMT").unwrap();
        let mut decoder = ProblemDecoder::new(StatusCode::from_u16(status).unwrap(), &headers, now);
        for byte in body.as_bytes().chunks(1) {
            decoder.decode(byte);
        }
        decoder.finish()
    }

    #[test]
    fn problem_details_say_what_happened() {
        for (status, body, expected) in [
            (
                409,
                r#"{"title":"closed","detail":"the channel is closed; use another"}"#,
                "the channel is closed; use another",
            ),
            (409, r#"{"title":"closed"}"#, "closed"),
            (409, r#"{"detail":"red: \u001b[31m"}"#, "red: [31m"),
            (502, "<html>no such luck</html>", "Bad Gateway"),
            (599, "", "an unknown status"),
        ] {
            assert_eq!(
                refusal(status, &[], body).detail,
                expected,
                "{status} {body}"
            );
        }
        let moved = refusal(301, &[("location", "https://h/channels/a")], "");
        assert!(
            moved.detail.contains("use https://h/channels/a"),
            "{moved:?}"
        );
    }

    #[test]
    fn a_gap_is_told_with_410_alone() {
        let body = r#"{"detail":"gone","oldest":"a3","newest":"a9"}"#;
        let gap = Gap {
            oldest: "a3".parse().unwrap(),
            newest: "a9".parse().unwrap(),
        };
        assert_eq!(refusal(410, &[], body).gap, Some(gap));
        assert_eq!(refusal(404, &[], body).gap, None);
        assert_eq!(refusal(410, &[], r#"{"detail":"deleted"}"#).gap, None);
    }

    #[test]
    fn a_problem_is_known_by_its_media_type_and_named_by_the_end_of_its_type() {
        let body = r#"{"type":"https://everwire.dev/problems/forbidden"}"#;
        for (media_type, expected) in [
            ("application/problem+json", Some("forbidden")),
            ("application/json", None),
        ] {
            let refusal = refusal(403, &[("content-type", media_type)], body);
            assert_eq!(refusal.problem.as_deref(), expected, "{media_type}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (value, expected) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 08:48:00 GMT", Some(0)),
            ("99999999", Some(3600)),
            ("soon", None),
            ("-1", None),
        ] {
            let wait = refusal(503, &[("retry-after", value)], "").retry_after;
            assert_eq!(wait, expected.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn a_long_page_is_no_problem() {
        assert_eq!(
            refusal(502, &[], &"x".repeat(100_000)).detail,
            "Bad Gateway"
        );
    }
}
