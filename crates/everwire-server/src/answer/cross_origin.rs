//! Answers that pages of other sites may read (the Fetch standard's CORS protocol).

use http::{HeaderMap, HeaderValue, header};

use super::{RESOURCE_POLICY, TRUE};

/// How a page of another site is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// For `Access-Control-Allow-Origin`.
    pub value: HeaderValue,
    /// Its cookies count, so it may send them: `Access-Control-Allow-Credentials`.
    pub with_cookies: bool,
}

impl Allowed {
    /// Whether its site is listed, and not let in as anybody is.
    pub fn is_by_name(&self) -> bool {
        self.value != "*"
    }
}

const EXPOSED: &str = "etag, location, retry-after, stream-next-offset, stream-up-to-date, stream-closed, \
    stream-cursor, stream-ttl, stream-expires-at, stream-sse-data-encoding, producer-epoch, producer-seq, \
    producer-expected-seq, producer-received-seq, everwire-ack, everwire-type, everwire-request-id";

/// Lets a page of this origin read a response. Without one only the server's own pages may embed it, which every
/// response says from its start.
pub(crate) fn allow_in(origin: Option<&Allowed>, headers: &mut HeaderMap) {
    if let Some(origin) = origin {
        headers.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.value.clone());
        if origin.with_cookies {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        );
    }
}

/// Lets a page read a response as it may read another.
pub(crate) fn copy_allowed(from: &HeaderMap, to: &mut HeaderMap) {
    let value = from.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    let allowed = value.map(|value| Allowed {
        value: value.clone(),
        with_cookies: from.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS),
    });
    allow_in(allowed.as_ref(), to);
}
