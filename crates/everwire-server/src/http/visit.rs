//! What is told of one request: its name in the answer, and a line in the log where that is wanted.
//!
//! A line holds which kind of address was asked for and the channel, never the address as it was sent: there may be a
//! token in it. For the same reason it holds no field of the request but the name that a trusted proxy gave it.

use std::{fmt, net::IpAddr, time::Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, request::Parts};

use super::target::Target;
use crate::proxy::Client;

/// Names a request, in its answer and in the log: as a trusted proxy named it, or by 16 digits of no meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestId(String);

/// A request of which the log will tell.
pub(super) struct Visit {
    id: RequestId,
    began: Instant,
    method: Method,
    route: &'static str,
    channel: Option<String>,
    address: IpAddr,
}

/// The field of an answer that names its request.
pub(super) const EVERWIRE_REQUEST_ID: HeaderName = HeaderName::from_static("everwire-request-id");

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

impl Visit {
    /// A request has come.
    pub fn begin(parts: &Parts, client: &Client) -> Self {
        let target = Target::parse(parts.uri.path());
        let (route, channel) = target.map_or(("none", None), |target| match target {
            Target::Channel(_, name) => ("channel", Some(name)),
            Target::Presence(name) => ("presence", Some(name)),
            Target::Publish => ("publish", None),
            Target::Connect => ("connect", None),
            Target::Session(_) => ("session", None),
            Target::Echo => ("echo", None),
            Target::Health
            | Target::Ready
            | Target::Metrics
            | Target::Revocations
            | Target::AcmeChallenge(_) => ("operations", None),
            Target::Page(_) => ("page", None),
        });
        Self {
            id: RequestId::of(&parts.headers, client),
            began: Instant::now(),
            method: parts.method.clone(),
            route,
            channel: channel.map(|name| name.to_string()),
            address: client.address,
        }
    }

    /// Its name.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// It has its answer, with so many bytes of content, or has become a line.
    pub fn end(&self, status: StatusCode, bytes: Option<usize>) {
        tracing::info!(
            target: "everwire::requests",
            request = %self.id,
            method = %self.method,
            route = self.route,
            channel = self.channel,
            status = status.as_u16(),
            bytes,
            line = bytes.is_none(),
            elapsed_ms = self.began.elapsed().as_millis() as u64,
            address = %self.address,
            "request"
        );
    }
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
