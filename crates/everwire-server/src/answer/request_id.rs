//! The name of a request, in its answer and in the log.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::proxy::Client;

/// Names a request, in its answer and in the log: as a trusted proxy named it, or by 16 digits of no meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(String);

/// The field of an answer that names its request.
pub(crate) const EVERWIRE_REQUEST_ID: HeaderName = HeaderName::from_static("everwire-request-id");

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Longest name that a proxy may give.
const ID_BYTES_MAX: usize = 64;

impl RequestId {
    /// The name of a request: another one for each, unless a trusted proxy gave it one.
    pub fn of(headers: &HeaderMap, client: &Client) -> Self {
        let given = client.is_passed_on.then(|| given(headers)).flatten();
        given.map_or_else(Self::random, Self)
    }

    /// A name for a request that has no other.
    pub fn random() -> Self {
        Self(format!("{:016x}", fastrand::u64(..)))
    }

    /// As a field's value.
    pub fn to_value(&self) -> HeaderValue {
        HeaderValue::try_from(&self.0).expect("letters and digits are visible ASCII")
    }
}

/// `X-Request-Id`, or the trace of `traceparent` (W3C Trace Context, section 3.2).
fn given(headers: &HeaderMap) -> Option<String> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let id = text(X_REQUEST_ID).or_else(|| text(TRACEPARENT)?.split('-').nth(1))?;
    let is_fine = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    ((1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_fine)).then(|| id.to_owned())
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a refused request in its answer, as it was named before or by a new name, which the log then knows.
pub(crate) fn name_refusal(
    id: Option<HeaderValue>,
    problem: &'static str,
    response: &mut Response<Bytes>,
) {
    let id = id.unwrap_or_else(|| {
        let id = RequestId::random();
        tracing::debug!(request = %id, problem, "a request was refused");
        id.to_value()
    });
    response.headers_mut().insert(EVERWIRE_REQUEST_ID, id);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::Scheme;

    #[test]
    fn a_name_that_a_proxy_gives_is_taken_if_it_is_one() {
        let long = "a".repeat(65);
        for (fields, expected) in [
            (&[("x-request-id", "7f-A_b.9")][..], Some("7f-A_b.9")),
            (&[("x-request-id", "")], None),
            (&[("x-request-id", "a b")], None),
            (&[("x-request-id", "a\"b")], None),
            (&[("x-request-id", &long)], None),
            (
                &[(
                    "traceparent",
                    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                )],
                Some("0af7651916cd43dd8448eb211c80319c"),
            ),
            (&[("traceparent", "00")], None),
            (
                &[("x-request-id", "a"), ("traceparent", "00-b-c-01")],
                Some("a"),
            ),
            (&[], None),
        ] {
            let headers = fields
                .iter()
                .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
                .collect();
            assert_eq!(given(&headers).as_deref(), expected, "{fields:?}");
        }
    }

    #[test]
    fn nobody_else_names_a_request() {
        let headers = HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_static("mine"))]);
        let id =
            RequestId::of(&headers, &Client::at([10, 0, 0, 1].into(), Scheme::Http)).to_string();
        assert!(id.len() == 16 && id != "mine", "{id}");
    }
}
