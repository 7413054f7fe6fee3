//! The parameters of a read (`?offset=…&live=…`), in any order; unknown ones are ignored.
//!
//! They are read as `URLSearchParams` writes them (WHATWG URL, section 5.1): a space is `+`.
//!
//! Where to start is told in several ways, since clients that resume put their position where their kind does. The
//! first of these that says something counts; each is newer than those after it:
//!
//! ```text
//!  Last-Event-ID: …        the field, which an EventSource sends when it comes back (not for a page of history)
//!  ?lastEventId=…          event-source-polyfill; as lastEventID, Last-Event-ID and the like, Mercure's clients
//!  ?offset=… or ?last=…    what the address was made with
//! ```

use std::borrow::Cow;

use everwire_channel::{PublisherId, Start};
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use super::fields;
use crate::publish::append_label;

/// What a read's parameters ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    /// Where to start, if that is told.
    pub start: Option<Start>,
    pub live: Option<Live>,
    /// The echoed stream cursor.
    pub cursor: Option<u64>,
    /// `on_gap=fail`: a gap ends the read instead of being told.
    pub fail_on_gap: bool,
    /// `heartbeat=event`: a page sees that its event stream is alive.
    pub shows_heartbeats: bool,
    /// Who reads, as a publisher.
    pub publisher: Option<PublisherId>,
    /// `ack`: the number of the last answer that a session's client has got.
    pub acknowledged: Option<u64>,
}

/// The value of `live`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Live {
    LongPoll,
    EventStream,
    Ndjson,
}

impl Query {
    /// Reads the query of a request target, without its question mark.
    pub fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut parsed = Self::default();
        let (mut offset, mut last, mut last_event_id) = (None, None, None);
        for pair in query
            .unwrap_or("")
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // A name that is not UTF-8 is none of these.
            let Ok(name) = decode(name) else { continue };
            match &*name {
                "offset" => once("offset", decode(value)?, &mut offset)?,
                "last" => once("last", decode(value)?, &mut last)?,
                name if is_last_event_id(name) => {
                    // An EventSource without an id has an empty one.
                    let value = decode(value)?;
                    // Under two names it may be there twice; that is a contradiction only if it is not the same.
                    if !value.is_empty() && last_event_id.as_ref() != Some(&value) {
                        once("last-event-id", value, &mut last_event_id)?;
                    }
                }
                "live" => parsed.live = Some(live(&decode(value)?)?),
                // Anything that is no number is another server's cursor, and as good as none.
                "cursor" => parsed.cursor = decode(value)?.parse().ok(),
                "publisher" => {
                    let id = PublisherId::new(&decode(value)?).map_err(append_label)?;
                    parsed.publisher = Some(id);
                }
                // Anything that is no number acknowledges nothing.
                "ack" => parsed.acknowledged = decode(value)?.parse().ok(),
                "heartbeat" => parsed.shows_heartbeats = heartbeat(&decode(value)?)?,
                "on_gap" => parsed.fail_on_gap = on_gap(&decode(value)?)?,
                _ => {}
            }
        }
        parsed.start = match (offset, last) {
            (Some(_), Some(_)) => {
                return Err(Problem::new(
                    ProblemKind::BadOffset,
                    "`offset` and `last` exclude each other; give one",
                ));
            }
            (Some(offset), None) => Some(offset.parse::<Start>()?),
            (None, Some(last)) => Some(Start::Last(last.parse().map_err(|_| {
                Problem::new(
                    ProblemKind::BadOffset,
                    format!("`last` is {last:?}; it is a number of entries"),
                )
            })?)),
            (None, None) => None,
        };
        if let Some(id) = last_event_id {
            parsed.start = Some(start_after_event(&id)?);
        }
        Ok(parsed)
    }

    /// Starts where the field `Last-Event-ID` says, if it says something.
    pub fn resume(&mut self, headers: &HeaderMap) -> Result<(), Problem> {
        let id = fields::one(headers, &LAST_EVENT_ID)?;
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            self.start = Some(start_after_event(id)?);
        }
        Ok(())
    }
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Whether a parameter is one of those that stand for the field `Last-Event-ID`.
fn is_last_event_id(name: &str) -> bool {
    ["lastEventId", "last-event-id", "last_event_id"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// Where to start by the id of the last event that was got: an offset, or Mercure's word for the beginning.
fn start_after_event(id: &str) -> Result<Start, Problem> {
    match id {
        "earliest" => Ok(Start::Beginning),
        offset => Ok(offset.parse()?),
    }
}

/// Keeps a value that may be given once.
fn once<'q>(
    name: &str,
    value: Cow<'q, str>,
    found: &mut Option<Cow<'q, str>>,
) -> Result<(), Problem> {
    match found.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::new(
            ProblemKind::BadOffset,
            format!("`{name}` is given twice; give it once"),
        )),
    }
}

/// Reads what `URLSearchParams` writes, and what is percent-encoded only.
fn decode(value: &str) -> Result<Cow<'_, str>, Problem> {
    let not_utf8 = || {
        Problem::new(
            ProblemKind::BadRequest,
            "a parameter is not UTF-8 after percent-decoding",
        )
    };
    match value.contains('+') {
        false => percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| not_utf8()),
        true => {
            let spaced = value.replace('+', " ");
            let decoded = percent_decode_str(&spaced).decode_utf8();
            let decoded = decoded.map_err(|_| not_utf8())?;
            Ok(Cow::Owned(decoded.into_owned()))
        }
    }
}

fn live(value: &str) -> Result<Live, Problem> {
    match value {
        "long-poll" => Ok(Live::LongPoll),
        "sse" => Ok(Live::EventStream),
        "ndjson" => Ok(Live::Ndjson),
        other => Err(Problem::new(
            ProblemKind::BadRequest,
            format!("`live` is {other:?}; it is long-poll, sse or ndjson"),
        )),
    }
}

fn on_gap(value: &str) -> Result<bool, Problem> {
    match value {
        "fail" => Ok(true),
        "tell" => Ok(false),
        other => Err(Problem::new(
            ProblemKind::BadRequest,
            format!("`on_gap` is {other:?}; it is tell or fail"),
        )),
    }
}

fn heartbeat(value: &str) -> Result<bool, Problem> {
    match value {
        "event" => Ok(true),
        "comment" => Ok(false),
        other => Err(Problem::new(
            ProblemKind::BadRequest,
            format!("`heartbeat` is {other:?}; it is comment or event"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_in_any_order_and_unknown_ones_are_ignored() {
        let expected = Query {
            start: Some(Start::Now),
            live: Some(Live::LongPoll),
            cursor: Some(17),
            fail_on_gap: true,
            shows_heartbeats: true,
            publisher: Some(PublisherId::new("me").unwrap()),
            acknowledged: Some(3),
        };
        for query in [
            "offset=now&live=long-poll&cursor=17&on_gap=fail&publisher=me&ack=3&heartbeat=event",
            "heartbeat=event&on_gap=fail&ack=3&cursor=17&x=%ff&live=long-poll&offset=now&y&publisher=m%65",
            "heartbeat=event&live=long%2Dpoll&&offset=%6Eow&cursor=17&ack=3&publisher=me&on_gap=fail&",
        ] {
            assert_eq!(Query::parse(Some(query)).unwrap(), expected, "{query}");
        }
        assert_eq!(Query::parse(None).unwrap(), Query::default());
    }

    #[test]
    fn a_parameter_is_read_as_pages_write_it() {
        for (query, expected) in [
            ("publisher=Ada+Lovelace", "Ada Lovelace"),
            ("publisher=Ada%20Lovelace", "Ada Lovelace"),
            ("publisher=a%2Bb", "a+b"),
            ("publisher=%C3%84nne+%2B1", "Änne +1"),
            ("p%75blisher=me", "me"),
        ] {
            let found = Query::parse(Some(query)).unwrap().publisher;
            assert_eq!(found, Some(PublisherId::new(expected).unwrap()), "{query}");
        }
    }

    /// By parameter alone, and with the field beside it.
    #[test]
    fn where_to_start_is_told_by_whoever_knows_best() {
        let (beginning, now, three) = (Start::Beginning, Start::Now, Start::Last(3));
        for (query, field, expected) in [
            ("", "", None),
            ("lastEventId=-1", "", Some(beginning)),
            ("lastEventID=now", "", Some(now)),
            ("last-event-id=now", "", Some(now)),
            ("Last-Event-ID=now", "", Some(now)),
            ("Last%2DEvent%2DID=now", "", Some(now)),
            ("lastEventID=earliest", "", Some(beginning)),
            ("lastEventId=", "", None),
            ("lastEventId=&offset=now", "", Some(now)),
            ("offset=-1&lastEventId=now", "", Some(now)),
            ("last=3&lastEventId=now", "", Some(now)),
            ("lastEventId=now&Last-Event-ID=now", "", Some(now)),
            ("last=3", "now", Some(now)),
            ("offset=now&lastEventId=-1", "earliest", Some(beginning)),
            ("offset=now", "", Some(now)),
            ("last=3", "", Some(three)),
        ] {
            let mut found = Query::parse(Some(query)).unwrap();
            let field = http::HeaderValue::from_static(field);
            let headers = HeaderMap::from_iter([(LAST_EVENT_ID, field)]);
            found.resume(&headers).unwrap();
            assert_eq!(found.start, expected, "{query} and {headers:?}");
        }
    }

    #[test]
    fn senseless_parameters_are_refused_by_name() {
        for (query, expected) in [
            ("offset=", "offset"),
            ("offset=-1&offset=-1", "`offset` is given twice"),
            ("last=1&last=2", "`last` is given twice"),
            (
                "lastEventId=-1&Last-Event-ID=now",
                "`last-event-id` is given twice",
            ),
            ("lastEventId=17", "offset"),
            ("offset=zzz&lastEventId=now", "offset"),
            ("offset=-1&last=3", "exclude each other"),
            ("offset=12%2C3", "offset"),
            ("offset=%ff", "not UTF-8"),
            ("last=many", "number of entries"),
            ("live=tv", "long-poll, sse or ndjson"),
            ("on_gap=cry", "tell or fail"),
            ("heartbeat=loud", "comment or event"),
            ("publisher=a%0Ab", "publisher id"),
        ] {
            let problem = Query::parse(Some(query)).unwrap_err();
            assert!(
                problem.detail.contains(expected),
                "{query} gave {:?}",
                problem.detail
            );
            assert_eq!(problem.kind.status(), 400);
        }
    }
}
