//! The answer to a catch-up read or a long poll: entries concatenated, as a JSON array for JSON, or a line of JSON each
//! where they are of several kinds.

use std::collections::VecDeque;

use everwire_channel::{ContentKind, ContentType};
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderMap, StatusCode};
use serde_json::value::RawValue;

use super::{Undecodable, append, ndjson::NdjsonDecoder};
use crate::{
    Data, Entry, Offset,
    signal::{Page, Signal},
};

/// The form of an answer's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Of(ContentKind),
    /// Lines as the ndjson wire has them.
    Lines,
}

/// Collects the body of one answer.
#[derive(Debug)]
pub(crate) struct PageDecoder {
    form: Form,
    /// What the head told.
    page: Page,
    body: Vec<u8>,
    bytes_max: usize,
}

impl PageDecoder {
    /// An answer with this head: 200 with content, 204 or 304 without. `bytes_max` bounds the content.
    pub fn new(
        status: StatusCode,
        headers: &HeaderMap,
        bytes_max: usize,
    ) -> Result<Self, Undecodable> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_true =
            |name: &str| text(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let next = match text("stream-next-offset") {
            Some(offset) => Some(offset.parse::<Offset>()?),
            None if status == StatusCode::OK => {
                return Err(Undecodable::malformed(
                    "the answer has no stream-next-offset; it is not from a channel",
                ));
            }
            None => None,
        };
        let page = Page {
            entries: Vec::new(),
            next,
            up_to_date: status != StatusCode::OK || is_true("stream-up-to-date"),
            closed: is_true("stream-closed"),
            cursor: text("stream-cursor")
                .filter(|cursor| is_plain(cursor))
                .map(str::to_owned),
            etag: text(ETAG.as_str()).map(str::to_owned),
        };
        let content_type =
            text(CONTENT_TYPE.as_str()).and_then(|value| value.parse::<ContentType>().ok());
        let form = match content_type {
            Some(content_type) if content_type.essence() == MIXED => Form::Lines,
            Some(content_type) => Form::Of(content_type.kind()),
            None => Form::Of(ContentKind::Binary),
        };
        Ok(Self {
            form,
            page,
            body: Vec::new(),
            bytes_max,
        })
    }

    pub fn decode(&mut self, bytes: &[u8]) -> Result<(), Undecodable> {
        append(&mut self.body, bytes, self.bytes_max)
    }

    pub fn finish(self) -> Result<Page, Undecodable> {
        let Self {
            form,
            mut page,
            body,
            bytes_max,
        } = self;
        page.entries = match form {
            _ if body.is_empty() => Vec::new(),
            Form::Lines => lines(&body, bytes_max)?,
            Form::Of(ContentKind::Json) => json_entries(&body)?,
            Form::Of(ContentKind::Text) => {
                let text = String::from_utf8(body)
                    .map_err(|_| Undecodable::malformed("text that is not UTF-8"))?;
                vec![entry(Data::Text(text))]
            }
            Form::Of(ContentKind::Binary) => vec![entry(Data::Binary(body.into()))],
        };
        if let Some(last) = page.entries.last_mut() {
            last.offset = page.next.clone();
        }
        Ok(page)
    }
}

/// The media type of a page whose entries are of several kinds.
const MIXED: &str = "application/vnd.everwire.entries";

fn lines(body: &[u8], bytes_max: usize) -> Result<Vec<Entry>, Undecodable> {
    let mut signals = VecDeque::new();
    NdjsonDecoder::new(bytes_max).decode(body, &mut signals)?;
    Ok((signals.into_iter())
        .filter_map(|signal| match signal {
            Signal::Entry(entry) => Some(entry),
            _ => None,
        })
        .collect())
}

fn json_entries(body: &[u8]) -> Result<Vec<Entry>, Undecodable> {
    let elements: Vec<&RawValue> = serde_json::from_slice(body)?;
    Ok(elements
        .into_iter()
        .map(|element| entry(Data::Json(element.get().to_owned())))
        .collect())
}

fn entry(data: Data) -> Entry {
    Entry {
        offset: None,
        time_ms: None,
        event: None,
        data,
    }
}

/// A cursor goes back in a request target, so it is taken only if it needs no percent-encoding.
fn is_plain(cursor: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (1..=64).contains(&cursor.len()) && cursor.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn page(status: u16, fields: &[(&'static str, &str)], body: &str) -> Result<Page, Undecodable> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let mut decoder = PageDecoder::new(StatusCode::from_u16(status).unwrap(), &headers, 40)?;
        for byte in body.as_bytes().chunks(1) {
            decoder.decode(byte)?;
        }
        decoder.finish()
    }

    fn entry_at(offset: Option<&str>, data: Data) -> Entry {
        Entry {
            offset: offset.map(|token| token.parse().unwrap()),
            ..entry(data)
        }
    }

    const NEXT: (&str, &str) = ("stream-next-offset", "a9");

    #[test]
    fn only_the_last_entry_of_an_answer_has_an_offset() {
        let json = |text: &str| Data::Json(text.into());
        for (content_type, body, expected) in [
            ("application/json", "[]", vec![]),
            (
                "application/json",
                "[1]",
                vec![entry_at(Some("a9"), json("1"))],
            ),
            (
                "application/json; charset=utf-8",
                r#"[{"a": [1]},null, "x"]"#,
                vec![
                    entry_at(None, json(r#"{"a": [1]}"#)),
                    entry_at(None, json("null")),
                    entry_at(Some("a9"), json(r#""x""#)),
                ],
            ),
            (
                "text/plain",
                "hello",
                vec![entry_at(Some("a9"), Data::Text("hello".into()))],
            ),
            ("text/plain", "", vec![]),
            (
                "image/png",
                "hello",
                vec![entry_at(Some("a9"), Data::Binary("hello".into()))],
            ),
        ] {
            let page = page(200, &[NEXT, ("content-type", content_type)], body).unwrap();
            assert_eq!(page.entries, expected, "{content_type} {body}");
        }
    }

    #[test]
    fn the_head_tells_where_the_reader_stands() {
        let head = page(
            200,
            &[
                NEXT,
                ("stream-up-to-date", "true"),
                ("stream-cursor", "17"),
                ("etag", "\"a9\""),
            ],
            "",
        );
        let expected = Page {
            next: Some("a9".parse().unwrap()),
            up_to_date: true,
            cursor: Some("17".into()),
            etag: Some("\"a9\"".into()),
            ..Page::default()
        };
        assert_eq!(head, Ok(expected.clone()));
        assert!(
            page(204, &[NEXT, ("stream-closed", "true")], "")
                .unwrap()
                .closed
        );
        assert_eq!(
            page(304, &[], ""),
            Ok(Page {
                up_to_date: true,
                ..Page::default()
            })
        );
        assert_eq!(
            page(200, &[NEXT, ("stream-cursor", "a&b")], "")
                .unwrap()
                .cursor,
            None
        );
    }

    #[test]
    fn what_is_no_answer_of_a_channel_is_malformed() {
        for (fields, body) in [
            (&[("content-type", "text/html")][..], "<html>"),
            (&[("stream-next-offset", "A!")], ""),
            (&[NEXT, ("content-type", "application/json")], "[1,"),
            (&[NEXT, ("content-type", "application/json")], "{}"),
        ] {
            let page = page(200, fields, body);
            assert!(
                matches!(page, Err(Undecodable::Malformed(_))),
                "{fields:?} {body} gave {page:?}"
            );
        }
    }

    #[test]
    fn an_answer_beyond_the_limit_fails() {
        assert_eq!(
            page(200, &[NEXT], &"x".repeat(41)),
            Err(Undecodable::TooLarge { bytes_max: 40 })
        );
    }
}
