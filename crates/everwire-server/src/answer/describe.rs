//! What a channel is, as fields of an answer.

use everwire_channel::{Expiry, Offset, Whole};
use http::{HeaderMap, HeaderValue, header};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{MIXED, STREAM_CLOSED, STREAM_EXPIRES_AT, STREAM_NEXT_OFFSET, STREAM_TTL, TRUE};
use crate::hub::State;

/// What a channel is, as fields of a response.
pub(crate) fn describe(state: &State, headers: &mut HeaderMap) {
    let core = state.core();
    let content_type = match core.whole() {
        None => HeaderValue::from_static("application/octet-stream"),
        Some(Whole::Of(content_type)) => {
            HeaderValue::from_str(content_type.as_str()).expect("a media type is ASCII")
        }
        Some(Whole::Mixed) => HeaderValue::from_static(MIXED),
    };
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(STREAM_NEXT_OFFSET, offset_value(&core.log().head()));
    if core.is_closed() {
        headers.insert(STREAM_CLOSED, TRUE);
    }
    match core.expiry() {
        Some(Expiry::Sliding { ttl_ms }) => {
            headers.insert(STREAM_TTL, HeaderValue::from(ttl_ms / 1000));
        }
        Some(Expiry::At { unix_ms }) => {
            let at = HeaderValue::try_from(rfc3339(unix_ms)).expect("a time is ASCII");
            headers.insert(STREAM_EXPIRES_AT, at);
        }
        None => {}
    }
}

/// An offset as a field's value.
pub(crate) fn offset_value(offset: &Offset) -> HeaderValue {
    HeaderValue::from_str(&offset.to_token()).expect("an offset is letters and digits")
}

/// A time as RFC 3339 has it, in UTC.
fn rfc3339(unix_ms: u64) -> String {
    let nanos = i128::from(unix_ms) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_to_the_millisecond() {
        assert_eq!(rfc3339(60_500), "1970-01-01T00:01:00.5Z");
    }
}
