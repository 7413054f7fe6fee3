//! The request fields of appends and creations, parsed into types that cannot be wrong.

use everwire_channel::{
    ContentType, EventName, Expiry, IdempotencyKey, Producer, PublisherId, StreamSeq,
};
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderMap, HeaderName};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    answer::{self, MIXED},
    list::{divide, elements},
    target::Dialect,
};
use crate::publish::event_name;

/// What the sender says its content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// This type.
    Type(ContentType),
    /// Nothing: no field, or a type that clients name without being asked.
    Nothing,
}

/// The one value of a field, as text; an error if it is repeated or not UTF-8.
pub(crate) fn one<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(bad(format!("the field {name} is repeated; send it once")));
    }
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Ok(Some(text.trim())),
        Err(_) => Err(bad(format!("the field {name} is not UTF-8"))),
    }
}

/// What an append says in its fields, each looked at once: looking them up by name, one after the other, costs
/// more than the append itself.
#[derive(Debug, Default)]
pub(crate) struct AppendFields<'a> {
    /// `Content-Type` as it was sent.
    pub content_type: Option<&'a str>,
    /// `Stream-Closed`: only `true` counts, anything else is as if it were not there.
    pub closes: bool,
    /// `Producer-Id`, `Producer-Epoch` and `Producer-Seq`: all or none.
    pub producer: Option<Producer<'a>>,
    /// `Idempotency-Key`.
    pub idempotency_key: Option<IdempotencyKey<'a>>,
    /// `Stream-Seq`.
    pub stream_seq: Option<StreamSeq<'a>>,
    /// `Everwire-Event`.
    pub event: Option<EventName>,
    /// `Everwire-Publisher`.
    pub publisher: Option<PublisherId>,
    /// Whether there are preconditions.
    pub is_conditional: bool,
}

impl<'a> AppendFields<'a> {
    /// Reads them; an error if one is repeated or malformed, or one of several that belong together is missing.
    pub fn of(headers: &'a HeaderMap) -> Result<Self, Problem> {
        let mut found = Self::default();
        let (mut id, mut epoch, mut seq) = (None, None, None);
        for name in headers.keys() {
            let said = || one(headers, name);
            match name.as_str() {
                "content-type" => found.content_type = said()?,
                "stream-closed" => found.closes = closes(headers),
                "producer-id" => id = said()?,
                "producer-epoch" => epoch = said()?,
                "producer-seq" => seq = said()?,
                "idempotency-key" => {
                    found.idempotency_key = parsed(said()?, IdempotencyKey::new)?;
                }
                "stream-seq" => found.stream_seq = parsed(said()?, StreamSeq::new)?,
                // The extended one says it better (RFC 8187, section 4.2).
                "everwire-event" if headers.contains_key("everwire-event*") => {}
                "everwire-event" => found.event = said()?.map(event_name).transpose()?,
                "everwire-event*" => {
                    let name = said()?.map(|said| extended("Everwire-Event*", said));
                    found.event = name.transpose()?.as_deref().map(event_name).transpose()?;
                }
                "if-match" | "if-none-match" => found.is_conditional = true,
                "everwire-publisher" => found.publisher = parsed(said()?, PublisherId::new)?,
                _ => {}
            }
        }
        found.producer = producer(id, epoch, seq)?;
        Ok(found)
    }
}

fn producer<'a>(
    id: Option<&'a str>,
    epoch: Option<&str>,
    seq: Option<&str>,
) -> Result<Option<Producer<'a>>, Problem> {
    match (id, epoch, seq) {
        (None, None, None) => Ok(None),
        (Some(id), Some(epoch), Some(seq)) => Producer::from_fields(id, epoch, seq)
            .map(Some)
            .map_err(|error| bad(error.to_string())),
        _ => Err(bad(
            "Producer-Id, Producer-Epoch and Producer-Seq belong together; send all three"
                .to_owned(),
        )),
    }
}

fn parsed<'a, T, E: std::fmt::Display>(
    said: Option<&'a str>,
    parse: impl FnOnce(&'a str) -> Result<T, E>,
) -> Result<Option<T>, Problem> {
    said.map(parse)
        .transpose()
        .map_err(|error| bad(error.to_string()))
}

/// `Stream-Closed`: only `true` counts, anything else is as if it were not there.
pub(crate) fn closes(headers: &HeaderMap) -> bool {
    headers
        .get(answer::STREAM_CLOSED)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

/// The `Content-Type` field of an append or a creation, as it was sent.
pub(crate) fn content_type(said: Option<&str>, dialect: Dialect) -> Result<Said, Problem> {
    let Some(text) = said else {
        return Ok(Said::Nothing);
    };
    if dialect == Dialect::Everwire && text.eq_ignore_ascii_case(UNASKED_TEXT) {
        return Ok(Said::Nothing);
    }
    let content_type: ContentType = text.parse().map_err(|error| bad(format!("{error}")))?;
    match content_type.essence() {
        "application/x-www-form-urlencoded" => Ok(Said::Nothing),
        MIXED => Err(bad(format!(
            "{MIXED} is the type of pages that this server makes; state the type of what is sent"
        ))),
        _ => Ok(Said::Type(content_type)),
    }
}

/// The type that `fetch`, `XMLHttpRequest` and `sendBeacon` name for any string, JSON included, spelled just so (WHATWG
/// Fetch, "extract a body"). Durable Streams has every type stated, so there it counts.
const UNASKED_TEXT: &str = "text/plain;charset=UTF-8";

/// `Stream-TTL` or `Stream-Expires-At`, not both.
pub(crate) fn expiry(headers: &HeaderMap) -> Result<Option<Expiry>, Problem> {
    match (
        one(headers, &answer::STREAM_TTL)?,
        one(headers, &answer::STREAM_EXPIRES_AT)?,
    ) {
        (Some(_), Some(_)) => Err(bad(
            "Stream-TTL and Stream-Expires-At exclude each other; send one".to_owned(),
        )),
        (Some(ttl), None) => Expiry::from_ttl_seconds(ttl)
            .map(Some)
            .map_err(|error| bad(format!("Stream-TTL: {error}"))),
        (None, Some(at)) => {
            let time = OffsetDateTime::parse(at, &Rfc3339).map_err(|_| {
                bad(format!("Stream-Expires-At is {at:?}; write a time as RFC 3339 has it, 2030-01-31T12:00:00Z"))
            })?;
            let unix_ms = u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
            Ok(Some(Expiry::At { unix_ms }))
        }
        (None, None) => Ok(None),
    }
}

/// How long a long poll may wait, if `Prefer: wait=N` tells (RFC 7240, section 4.3). Of several the first counts.
pub(crate) fn prefer_wait_ms(headers: &HeaderMap) -> Option<u64> {
    const PREFER: HeaderName = HeaderName::from_static("prefer");
    elements(headers, &PREFER)
        // What follows a semicolon are the preference's parameters.
        .filter_map(|preference| divide(preference, ';').next()?.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, seconds)| seconds.trim().trim_matches('"').parse::<u64>().ok())
        .map(|seconds| seconds.saturating_mul(1000))
}

/// A value in UTF-8 that a field can carry (RFC 8187, section 3.2): `UTF-8''` and its bytes, percent-encoded.
fn extended(name: &str, said: &str) -> Result<String, Problem> {
    let mut parts = said.splitn(3, '\'');
    let (charset, value) = (parts.next().unwrap_or(""), parts.nth(1));
    match value {
        Some(value) if charset.eq_ignore_ascii_case("UTF-8") => {
            let text = percent_encoding::percent_decode_str(value).decode_utf8();
            text.map(String::from).map_err(|_| {
                bad(format!(
                    "the field {name} is not UTF-8 after percent-decoding"
                ))
            })
        }
        _ => Err(bad(format!(
            "the field {name} is UTF-8'' and percent-encoded bytes (RFC 8187), such as UTF-8''caf%C3%A9"
        ))),
    }
}

fn bad(detail: String) -> Problem {
    Problem::new(ProblemKind::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn a_waiting_time_is_found_among_preferences() {
        for (prefer, expected) in [
            ("wait=10", Some(10_000)),
            ("respond-async, wait = 3", Some(3_000)),
            ("WAIT=\"4\"", Some(4_000)),
            ("wait=5; x=y", Some(5_000)),
            ("handling=lenient; wait=6, wait=7", Some(7_000)),
            ("wait=8, wait=9", Some(8_000)),
            ("x=\"a, wait=3\"", None),
            ("x=\"a, b\"|wait=4", Some(4_000)),
            ("wait=soon", None),
            ("respond-async", None),
        ] {
            let mut headers = HeaderMap::new();
            for line in prefer.split('|') {
                headers.append("prefer", HeaderValue::from_static(line));
            }
            assert_eq!(prefer_wait_ms(&headers), expected, "{prefer}");
        }
    }

    #[test]
    fn an_expiry_is_a_number_of_seconds_or_a_time() {
        for (pairs, expected) in [
            (&[][..], Ok(None)),
            (
                &[("stream-ttl", "60")][..],
                Ok(Some(Expiry::Sliding { ttl_ms: 60_000 })),
            ),
            (
                &[("stream-expires-at", "1970-01-01T00:01:00Z")][..],
                Ok(Some(Expiry::At { unix_ms: 60_000 })),
            ),
            (
                &[("stream-expires-at", "1970-01-01T01:01:00.5+01:00")][..],
                Ok(Some(Expiry::At { unix_ms: 60_500 })),
            ),
            (&[("stream-ttl", "060")][..], Err(400)),
            (&[("stream-ttl", "6e1")][..], Err(400)),
            (&[("stream-expires-at", "tomorrow")][..], Err(400)),
            (
                &[
                    ("stream-ttl", "60"),
                    ("stream-expires-at", "2030-01-01T00:00:00Z"),
                ][..],
                Err(400),
            ),
        ] {
            assert_eq!(
                expiry(&fields(pairs)).map_err(|problem| problem.kind.status()),
                expected,
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn producer_fields_come_together() {
        let none = fields(&[]);
        assert!(AppendFields::of(&none).unwrap().producer.is_none());
        let all = [
            ("producer-id", "a"),
            ("producer-epoch", "0"),
            ("producer-seq", "7"),
        ];
        let headers = fields(&all);
        let found = AppendFields::of(&headers).unwrap();
        assert_eq!(found.producer.unwrap().seq(), 7);
        for missing in 0..3 {
            let some: Vec<_> = all
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != missing)
                .map(|(_, pair)| *pair)
                .collect();
            let problem = AppendFields::of(&fields(&some)).unwrap_err();
            assert_eq!(problem.kind.status(), 400, "without {:?}", all[missing]);
        }
    }

    /// As a page says it, whose fields hold no more than Latin-1, and as it is.
    #[test]
    fn an_events_name_may_be_any_text() {
        for (pairs, expected) in [
            (&[("everwire-event", "goal")][..], Ok("goal")),
            (&[("everwire-event*", "UTF-8''caf%C3%A9")], Ok("café")),
            (&[("everwire-event*", "utf-8'fr'%E2%9A%BD")], Ok("⚽")),
            (
                &[
                    ("everwire-event", "cafe"),
                    ("everwire-event*", "UTF-8''caf%C3%A9"),
                ],
                Ok("café"),
            ),
            (&[("everwire-event*", "caf%C3%A9")], Err(400)),
            (&[("everwire-event*", "UTF-8''%ff")], Err(400)),
            (&[("everwire-event*", "UTF-8''gap")], Err(400)),
            (&[("everwire-event*", "UTF-8''a%0Ab")], Err(400)),
        ] {
            let headers = fields(pairs);
            let found = AppendFields::of(&headers).map_err(|problem| problem.kind.status());
            let found = found.map(|found| found.event.unwrap().to_string());
            assert_eq!(found, expected.map(str::to_owned), "{pairs:?}");
        }
    }

    #[test]
    fn an_append_says_each_thing_once() {
        for (name, value) in [
            ("content-type", "text/plain"),
            ("producer-id", "a"),
            ("idempotency-key", "k"),
            ("stream-seq", "1"),
            ("everwire-event", "goal"),
            ("everwire-publisher", "p"),
        ] {
            let mut headers = fields(&[(name, value)]);
            headers.append(name, HeaderValue::from_static(value));
            let problem = AppendFields::of(&headers).unwrap_err();
            assert_eq!(problem.kind.status(), 400, "{name} twice");
            assert!(problem.detail.contains(name), "{}", problem.detail);
        }
    }
}
