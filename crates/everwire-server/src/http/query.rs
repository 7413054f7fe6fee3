//! The parameters of a read (`?offset=…&live=…`), in any order; unknown ones are ignored.

use std::borrow::Cow;

use everwire_channel::{OffsetError, PublisherId, Start};
use everwire_wire::{Problem, ProblemKind};
use percent_encoding::percent_decode_str;

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
        let (mut offset, mut last) = (None, None);
        for pair in query
            .unwrap_or("")
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "offset" if offset.is_some() => {
                    return Err(Problem::new(
                        ProblemKind::BadOffset,
                        "`offset` is given twice; give it once",
                    ));
                }
                "offset" => offset = Some(decode(value)?),
                "last" => last = Some(decode(value)?),
                "live" => parsed.live = Some(live(&decode(value)?)?),
                // Anything that is no number is another server's cursor, and as good as none.
                "cursor" => parsed.cursor = decode(value)?.parse().ok(),
                "publisher" => {
                    let id = PublisherId::new(&decode(value)?).map_err(append_label)?;
                    parsed.publisher = Some(id);
                }
                // Anything that is no number acknowledges nothing.
                "ack" => parsed.acknowledged = decode(value)?.parse().ok(),
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
            (Some(offset), None) => Some(start(&offset)?),
            (None, Some(last)) => Some(Start::Last(last.parse().map_err(|_| {
                Problem::new(
                    ProblemKind::BadOffset,
                    format!("`last` is {last:?}; it is a number of entries"),
                )
            })?)),
            (None, None) => None,
        };
        Ok(parsed)
    }
}

/// Reads an offset as a client gives it: `-1`, `now`, or one of ours.
pub(crate) fn start(offset: &str) -> Result<Start, Problem> {
    offset
        .parse()
        .map_err(|error: OffsetError| Problem::new(ProblemKind::BadOffset, error.to_string()))
}

fn decode(value: &str) -> Result<Cow<'_, str>, Problem> {
    percent_decode_str(value).decode_utf8().map_err(|_| {
        Problem::new(
            ProblemKind::BadRequest,
            "a parameter is not UTF-8 after percent-decoding",
        )
    })
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
            publisher: Some(PublisherId::new("me").unwrap()),
            acknowledged: Some(3),
        };
        for query in [
            "offset=now&live=long-poll&cursor=17&on_gap=fail&publisher=me&ack=3",
            "on_gap=fail&ack=3&cursor=17&x=%ff&live=long-poll&offset=now&y&publisher=m%65",
            "live=long%2Dpoll&&offset=%6Eow&cursor=17&ack=3&publisher=me&on_gap=fail&",
        ] {
            assert_eq!(Query::parse(Some(query)).unwrap(), expected, "{query}");
        }
        assert_eq!(Query::parse(None).unwrap(), Query::default());
    }

    #[test]
    fn senseless_parameters_are_refused_by_name() {
        for (query, expected) in [
            ("offset=", "offset"),
            ("offset=-1&offset=-1", "`offset` is given twice"),
            ("offset=-1&last=3", "exclude each other"),
            ("offset=12%2C3", "offset"),
            ("offset=%ff", "not UTF-8"),
            ("last=many", "number of entries"),
            ("live=tv", "long-poll, sse or ndjson"),
            ("on_gap=cry", "tell or fail"),
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
