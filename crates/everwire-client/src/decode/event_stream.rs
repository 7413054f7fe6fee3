//! Event streams (WHATWG HTML, section 9.2.6) that carry a channel's entries.
//!
//! ```text
//!  id: <offset>     an event with data ────────────────────────────────────▶ Entry · Gap · Closed
//!  event: <name>
//!  kind: <kind>
//!  data: <line>
//!  retry: <ms>      ──────────────────────────────────────────────────────▶ Retry
//!  : comment        ──────────────────────────────────────────────────────▶ Alive
//! ```

pub(crate) mod parser;

use std::collections::VecDeque;

use serde::Deserialize;

use super::{Undecodable, envelope, one_of_many};
use crate::{Data, Entry, Gap, Offset, signal::Signal};
use parser::{Event, Parser, Part};

/// Reads an event stream of entries.
#[derive(Debug)]
pub(crate) struct EventStreamDecoder {
    encoding: DataEncoding,
    parser: Parser,
}

/// How the `data` field holds an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataEncoding {
    /// There is no `Everwire-Type`: nobody had stated the channel's type yet.
    Unknown,
    Text,
    /// `Everwire-Type` names JSON: each entry is a JSON text.
    Json,
    /// `Stream-SSE-Data-Encoding: base64`.
    Base64,
}

impl EventStreamDecoder {
    /// `bytes_max` bounds a line and the data of an event.
    pub fn new(encoding: DataEncoding, bytes_max: usize) -> Self {
        Self {
            encoding,
            parser: Parser::new(bytes_max),
        }
    }

    pub fn decode(
        &mut self,
        bytes: &[u8],
        signals: &mut VecDeque<Signal>,
    ) -> Result<(), Undecodable> {
        let Self { encoding, parser } = self;
        parser.parse(bytes, |part| {
            signals.push_back(match part {
                Part::Event(event) => one_of_many(signal(event, *encoding))?,
                Part::Retry(time) => Signal::Retry(time),
                Part::Comment => Signal::Alive,
            });
            Ok(())
        })
    }
}

/// What an event says.
fn signal(event: Event, encoding: DataEncoding) -> Result<Signal, Undecodable> {
    let Event {
        id,
        name,
        kind,
        data,
    } = event;
    let encoding = kind.and_then(|kind| of_kind(&kind)).unwrap_or(encoding);
    let offset: Offset = id
        .and_then(|id| std::str::from_utf8(&id).ok()?.parse().ok())
        .ok_or_else(|| Undecodable::malformed("an event has no offset as its `id`"))?;
    if let Some(notice) = notice(&name, &data, &offset) {
        return Ok(notice);
    }
    let text = |bytes| {
        String::from_utf8(bytes).map_err(|_| Undecodable::malformed("an event is not UTF-8"))
    };
    let event = match name.is_empty() {
        true => None,
        false => Some(text(name)?),
    };
    let data = match encoding {
        DataEncoding::Unknown | DataEncoding::Text => Data::Text(text(data)?),
        DataEncoding::Json => Data::Json(text(data)?),
        DataEncoding::Base64 => Data::Binary(envelope::base64(data)?.into()),
    };
    let entry = Entry {
        offset: Some(offset),
        time_ms: None,
        event,
        data,
    };
    Ok(match encoding {
        DataEncoding::Unknown => Signal::Untyped(entry),
        DataEncoding::Text | DataEncoding::Json | DataEncoding::Base64 => Signal::Entry(entry),
    })
}

/// The encoding of an entry that names its own kind, in a channel whose type nobody has stated.
fn of_kind(kind: &[u8]) -> Option<DataEncoding> {
    match kind {
        b"json" => Some(DataEncoding::Json),
        b"text" => Some(DataEncoding::Text),
        b"bytes" => Some(DataEncoding::Base64),
        _ => None,
    }
}

/// A notice is known by its name and by the offset of its id in its data: publishers may name their own
/// events `gap` and `closed`.
fn notice(name: &[u8], data: &[u8], id: &Offset) -> Option<Signal> {
    #[derive(Deserialize)]
    struct Closed {
        offset: Offset,
    }
    match name {
        b"gap" => serde_json::from_slice(data)
            .ok()
            .filter(|gap: &Gap| gap.oldest == *id)
            .map(Signal::Gap),
        b"closed" => serde_json::from_slice(data)
            .ok()
            .filter(|closed: &Closed| closed.offset == *id)
            .map(|_| Signal::Closed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ReadError;
    use crate::decode::{Decoder, tests};

    fn decoder(encoding: DataEncoding) -> Decoder {
        Decoder::EventStream(EventStreamDecoder::new(encoding, 100))
    }

    fn check(body: &str, expected: &[Signal]) {
        tests::check(|| decoder(DataEncoding::Text), body, expected);
    }

    fn entry(event: Option<&str>, data: &str) -> Signal {
        let offset = Some("a1".parse().unwrap());
        let data = Data::Text(data.into());
        Signal::Entry(Entry {
            offset,
            time_ms: None,
            event: event.map(str::to_owned),
            data,
        })
    }

    #[test]
    fn an_event_with_its_id_is_an_entry() {
        for (body, event, data) in [
            ("id: a1\ndata: hi\n\n", None, "hi"),
            (
                "id: a1\r\nevent: typing ä\r\ndata: hi\r\n\r\n",
                Some("typing ä"),
                "hi",
            ),
            ("id: a1\rdata: hi\r\r", None, "hi"),
            ("\u{feff}id:a1\ndata:hi\n\n", None, "hi"),
            (
                "id: a1\ndata: one\ndata: two\ndata\ndata:\n\n",
                None,
                "one\ntwo\n\n",
            ),
            (
                "id: a1\ndata:  two spaces: kept \n\n",
                None,
                " two spaces: kept ",
            ),
            ("id: a1\ndata:\n\n", None, ""),
            ("unknown: x\nid: a1\ndata: hi\n\n", None, "hi"),
            (
                "id: a1\nevent: gap\ndata: mind it\n\n",
                Some("gap"),
                "mind it",
            ),
            (
                "id: a1\nevent: closed\ndata: {\"offset\":\"a0\"}\n\n",
                Some("closed"),
                "{\"offset\":\"a0\"}",
            ),
        ] {
            check(body, &[entry(event, data)]);
        }
    }

    #[test]
    fn entries_of_an_unknown_type_are_told_as_such() {
        let Signal::Entry(entry) = entry(None, "aGk=") else {
            unreachable!("an entry");
        };
        tests::check(
            || decoder(DataEncoding::Unknown),
            "id: a1\ndata: aGk=\n\n",
            &[Signal::Untyped(entry)],
        );
    }

    #[test]
    fn an_entry_that_names_its_kind_is_of_that_kind_whatever_the_head_said() {
        for encoding in [
            DataEncoding::Unknown,
            DataEncoding::Text,
            DataEncoding::Base64,
        ] {
            for (kind, text, data) in [
                ("json", "[1]", Data::Json("[1]".into())),
                ("text", "[1]", Data::Text("[1]".into())),
                ("bytes", "aGk=", Data::Binary("hi".into())),
            ] {
                let expected = Entry {
                    offset: Some("a1".parse().unwrap()),
                    time_ms: None,
                    event: None,
                    data,
                };
                tests::check(
                    || decoder(encoding),
                    &format!("id: a1\nkind: {kind}\ndata: {text}\n\n"),
                    &[Signal::Entry(expected)],
                );
            }
        }
    }

    #[test]
    fn binary_entries_are_base64() {
        let expected = Entry {
            offset: Some("a1".parse().unwrap()),
            time_ms: None,
            event: None,
            data: Data::Binary(vec![0, 255].into()),
        };
        let body = "id: a1\ndata: AP8=\n\n";
        tests::check(
            || decoder(DataEncoding::Base64),
            body,
            &[Signal::Entry(expected)],
        );
    }

    #[test]
    fn notices_stand_between_the_entries() {
        let gap = Gap {
            oldest: "a3".parse().unwrap(),
            newest: "a9".parse().unwrap(),
        };
        for (body, expected) in [
            (":\n\n", &[Signal::Alive][..]),
            (": a comment\n", &[Signal::Alive]),
            ("retry: 2000\n\n", &[Signal::Retry(Duration::from_secs(2))]),
            ("retry: soon\n\n", &[]),
            ("id: a1\n\n", &[]),
            (
                "id: a3\nevent: gap\ndata: {\"oldest\":\"a3\",\"newest\":\"a9\"}\n\n",
                &[Signal::Gap(gap)],
            ),
            (
                "id: a9\nevent: closed\ndata: {\"offset\":\"a9\"}\n\n",
                &[Signal::Closed],
            ),
        ] {
            check(body, expected);
        }
    }

    #[test]
    fn an_event_without_its_empty_line_says_nothing() {
        check(
            "id: a1\ndata: hi\n\nid: a2\ndata: cut\n",
            &[entry(None, "hi")],
        );
    }

    #[test]
    fn an_event_without_an_offset_or_with_other_bytes_is_told_in_its_place() {
        for (encoding, body) in [
            (DataEncoding::Text, &b"data: hi\n\n"[..]),
            (DataEncoding::Text, b"id: A!\ndata: hi\n\n"),
            (DataEncoding::Text, b"id: a1\ndata: \xff\n\n"),
            (DataEncoding::Text, b"id: a1\nevent: \xff\ndata: hi\n\n"),
            (DataEncoding::Base64, b"id: a1\ndata: ???\n\n"),
        ] {
            let signals = tests::signals(decoder(encoding), &[body, b":\n"]);
            assert!(
                matches!(signals[..], [Signal::Unreadable(_), Signal::Alive]),
                "{body:?} gave {signals:?}"
            );
        }
    }

    #[test]
    fn an_event_beyond_the_limit_fails_before_its_end() {
        let too_large = Signal::Failed(ReadError::TooLarge { bytes_max: 100 });
        check(&"x".repeat(101), std::slice::from_ref(&too_large));
        check(
            &format!("data: {0}\ndata: {0}\n", "x".repeat(60)),
            &[too_large],
        );
    }
}
