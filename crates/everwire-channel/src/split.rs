//! How a body becomes entries.
//!
//! ```text
//!   application/json    [ {"a":1}, [2,3] ]   ──▶   {"a":1}    [2,3]      one array level is a batch
//!                       {"a":1}              ──▶   {"a":1}
//!   anything else       bytes                ──▶   bytes                 one body is one entry
//! ```
//!
//! A JSON entry is on one line: raw line breaks in valid JSON are white space between tokens, so
//! they become spaces. Framings whose messages end at a line break can then take it as it is. What other languages take
//! for a line's end (Python's `splitlines`, JavaScript before 2019) can stand in strings only, and is escaped there:
//! U+0085, U+2028 and U+2029.

use bytes::Bytes;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::content_type::{ContentKind, without_mark};

/// Splits a body into the payloads of its entries: at least one, at most `entries_max`.
///
/// The payloads are slices of `body` where they make up at least half of it, and copies elsewhere.
/// While any of them is kept, all of that memory is: a log may so hold one body more than it
/// accounts for, that of the oldest batch. A JSON payload is what stood in the body, byte for
/// byte, but for line breaks between tokens and the separators of lines in strings.
///
/// # Errors
///
/// [`ContentError`] if the body is empty, is not what its kind says, or is too large a batch.
pub fn split(
    kind: ContentKind,
    body: Bytes,
    entries_max: usize,
) -> Result<Vec<Bytes>, ContentError> {
    if body.is_empty() {
        return Err(ContentError::Empty);
    }
    match kind {
        ContentKind::Binary => Ok(vec![body]),
        ContentKind::Text => {
            utf8(&body)?;
            Ok(vec![body])
        }
        ContentKind::Json => {
            let body = match body.len() - without_mark(&body).len() {
                0 => body,
                mark => body.slice(mark..),
            };
            let text = utf8(&body)?;
            let values = json_values(text, entries_max)?;
            if values.iter().any(|value| depth(value) > DEPTH_MAX) {
                return Err(ContentError::TooDeep);
            }
            // In valid JSON they stand inside strings alone.
            match Lines::of(text) {
                Lines::Separators => Ok(values.into_iter().map(without_separators).collect()),
                lines => Ok(payloads(&body, &values, lines)),
            }
        }
    }
}

/// The payload of one entry, from a JSON value that a parser has found in something larger. An array is a value
/// here, not a batch.
///
/// # Errors
///
/// [`ContentError::TooDeep`].
pub fn json_entry(value: &RawValue) -> Result<Bytes, ContentError> {
    let value = value.get();
    if depth(value) > DEPTH_MAX {
        return Err(ContentError::TooDeep);
    }
    Ok(match Lines::of(value) {
        Lines::Separators => without_separators(value),
        Lines::Breaks => one_line(value.into()),
        Lines::One => Bytes::copy_from_slice(value.as_bytes()),
    })
}

/// Why a body gives no entries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// The body has no bytes.
    #[error("the body is empty; send what is to be appended")]
    Empty,
    /// The body is the JSON array `[]`.
    #[error("the body is an empty JSON array, a batch without entries; send at least one element")]
    EmptyBatch,
    /// The body is not JSON.
    #[error(
        "the body is not valid JSON: {reason} at line {line} column {column}; send one value, or an array as a batch"
    )]
    Json {
        /// What is wrong there.
        reason: String,
        /// The line, from 1.
        line: usize,
        /// The column of the byte at which parsing stopped, from 1; 0 if that is a line's end.
        column: usize,
    },
    /// A value is nested deeper than [`DEPTH_MAX`].
    #[error(
        "the body has a value nested deeper than {DEPTH_MAX} levels, which many parsers refuse; send it flatter"
    )]
    TooDeep,
    /// The body is not UTF-8, which text and JSON must be.
    #[error(
        "the body is not UTF-8 at position {position}; send text as UTF-8, or bytes as application/octet-stream"
    )]
    Utf8 {
        /// The first byte that does not belong, from 0.
        position: usize,
    },
    /// A batch of more elements than one append may have.
    #[error(
        "the body is a batch of more than {entries_max} entries; divide it into several appends"
    )]
    TooManyEntries {
        /// The limit.
        entries_max: usize,
    },
}

fn utf8(body: &[u8]) -> Result<&str, ContentError> {
    simdutf8::compat::from_utf8(body).map_err(|error| ContentError::Utf8 {
        position: error.valid_up_to(),
    })
}

/// The elements of a JSON array, or the one value that is no array: each a slice of `body`.
fn json_values(body: &str, entries_max: usize) -> Result<Vec<&str>, ContentError> {
    let is_batch = body
        .trim_start_matches([' ', '\t', '\n', '\r'])
        .starts_with('[');
    if !is_batch {
        let value: &RawValue = serde_json::from_str(body).map_err(|error| json_error(&error))?;
        return Ok(vec![value.get()]);
    }
    let mut json = serde_json::Deserializer::from_str(body);
    let values = json
        .deserialize_seq(Elements {
            count_max: entries_max,
        })
        .and_then(|values| json.end().map(|()| values));
    match values {
        Ok(values) if values.is_empty() => Err(ContentError::EmptyBatch),
        Ok(values) => Ok(values),
        Err(error) if error.is_data() => Err(ContentError::TooManyEntries { entries_max }),
        Err(error) => Err(json_error(&error)),
    }
}

/// Objects and arrays that may stand inside each other in one JSON entry. Reading is iterative here, but what passed
/// here has to be read by every subscriber's parser, and common ones stop at 128 or overflow their stack.
pub const DEPTH_MAX: usize = 128;

/// How deep the objects and arrays of a valid JSON value are nested.
fn depth(value: &str) -> usize {
    let value = value.as_bytes();
    // Nearly no value has enough brackets to be deep, and counting them is cheap.
    if memchr::memchr2_iter(b'{', b'[', value)
        .nth(DEPTH_MAX)
        .is_none()
    {
        return 0;
    }
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in value {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}

/// Collects the elements and stops after `count_max`, before a flood of them takes memory.
struct Elements {
    count_max: usize,
}

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an array of at most {} elements", self.count_max)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = elements.next_element::<&'de RawValue>()? {
            if values.len() == self.count_max {
                return Err(A::Error::custom("too many elements"));
            }
            values.push(value.get());
        }
        Ok(values)
    }
}

fn json_error(error: &serde_json::Error) -> ContentError {
    let (line, column) = (error.line(), error.column());
    let reason = error.to_string();
    let place = format!(" at line {line} column {column}");
    ContentError::Json {
        reason: reason.strip_suffix(&place).unwrap_or(&reason).to_owned(),
        line,
        column,
    }
}

/// Slices of `body` for the values in it.
///
/// Values that make up less than half of the body are copied out: else a megabyte of white space
/// around a digit would be held for as long as that digit.
fn payloads(body: &Bytes, values: &[&str], lines: Lines) -> Vec<Bytes> {
    let is_sparse = values.iter().map(|value| value.len()).sum::<usize>() < body.len() / 2;
    let has_line_breaks =
        lines == Lines::Breaks && values.iter().any(|value| has_line_break(value));
    if !is_sparse && !has_line_breaks {
        return values
            .iter()
            .map(|value| body.slice_ref(value.as_bytes()))
            .collect();
    }
    let mut joined = one_line(values.concat());
    values
        .iter()
        .map(|value| joined.split_to(value.len()))
        .collect()
}

/// What a JSON text has that ends a line for somebody.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// Nothing.
    One,
    /// Line breaks, which are white space between tokens.
    Breaks,
    /// [`SEPARATORS`], and perhaps line breaks.
    Separators,
}

impl Lines {
    fn of(json: &str) -> Self {
        // Nearly every body is on one line, and looking at all of it without a branch is cheapest.
        let least = json.bytes().fold(u8::MAX, u8::min);
        let may_separate = json.bytes().fold(false, |so_far, byte| {
            so_far | (byte | FIRST_BITS == SEPARATOR_FIRST)
        });
        if may_separate && has_separator(json) {
            Self::Separators
        } else if least < b' ' && has_line_break(json) {
            Self::Breaks
        } else {
            Self::One
        }
    }
}

fn has_line_break(json: &str) -> bool {
    memchr::memchr2(b'\n', b'\r', json.as_bytes()).is_some()
}

/// A JSON text with spaces for its line breaks.
fn one_line(json: String) -> Bytes {
    let mut json = json.into_bytes();
    for byte in &mut json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    json.into()
}

/// Characters at which some readers end a line, and which JSON allows in its strings as they are.
const SEPARATORS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// What the first bytes of the separators in UTF-8 are, 0xc2 and 0xe2, with [`FIRST_BITS`] set.
const SEPARATOR_FIRST: u8 = 0xe2;
const FIRST_BITS: u8 = 0xc2 ^ 0xe2;

fn has_separator(json: &str) -> bool {
    // Their first bytes are rare in most texts, and absent in ASCII.
    memchr::memchr2_iter(0xc2, 0xe2, json.as_bytes()).any(|at| json[at..].starts_with(SEPARATORS))
}

/// On one line whoever reads it.
fn without_separators(json: &str) -> Bytes {
    let mut escaped = String::with_capacity(json.len() + 16);
    for part in json.split_inclusive(SEPARATORS) {
        let plain = part.trim_end_matches(SEPARATORS);
        escaped.push_str(plain);
        for separator in part[plain.len()..].chars() {
            escaped.push_str(&format!("\\u{:04x}", u32::from(separator)));
        }
    }
    one_line(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ContentError::*;
    use proptest::prelude::*;

    fn check(kind: ContentKind, body: &[u8]) -> Result<Vec<Bytes>, ContentError> {
        split(kind, Bytes::copy_from_slice(body), 4)
    }

    #[test]
    fn a_value_may_be_nested_so_deep_and_no_deeper() {
        let nested = |depth: usize| format!("{}7{}", "[".repeat(depth), "]".repeat(depth));
        // One level is the batch.
        for (body, entries) in [
            (nested(1 + DEPTH_MAX), Ok(1)),
            (nested(2 + DEPTH_MAX), Err(TooDeep)),
            (nested(100_000), Err(TooDeep)),
            (format!("{{\"a\":{}}}", nested(DEPTH_MAX)), Err(TooDeep)),
            // Brackets in strings are text, and many brackets beside each other are not deep.
            (format!("{{\"a\\\"[\":\"{}\"}}", "[{".repeat(500)), Ok(1)),
            (format!("[{}{{}}]", "{},".repeat(500)), Ok(501)),
        ] {
            let found = split(ContentKind::Json, Bytes::from(body.clone()), 1_000);
            assert_eq!(found.map(|entries| entries.len()), entries, "{body:.80}");
        }
    }

    #[test]
    fn a_value_found_by_a_parser_is_one_entry() {
        let nested = |depth: usize| format!("{}7{}", "[".repeat(depth), "]".repeat(depth));
        for (value, expected) in [
            ("[1,2]".to_owned(), Ok("[1,2]".to_owned())),
            ("{\"a\":\n1}".to_owned(), Ok("{\"a\": 1}".to_owned())),
            (nested(DEPTH_MAX), Ok(nested(DEPTH_MAX))),
            (nested(DEPTH_MAX + 1), Err(TooDeep)),
        ] {
            let value: &RawValue = serde_json::from_str(&value).unwrap();
            let entry = json_entry(value);
            let expected = expected.map(Bytes::from);
            assert_eq!(entry, expected, "{value:.80}");
        }
    }

    #[test]
    fn one_array_level_is_a_batch() {
        for (body, payloads) in [
            (r#"{"a":1}"#, &[r#"{"a":1}"#][..]),
            (r#"[{"a":1},{"b":2}]"#, &[r#"{"a":1}"#, r#"{"b":2}"#]),
            ("[[1,2], [3,4]]", &["[1,2]", "[3,4]"]),
            ("[[[1,2,3]]]", &["[[1,2,3]]"]),
            ("[[]]", &["[]"]),
            (" \t[ 1 ,\t\"a\" , null ] ", &["1", "\"a\"", "null"]),
            ("\"text\"", &["\"text\""]),
            (" -1.50e+3 ", &["-1.50e+3"]),
            ("true", &["true"]),
            ("[\"]\",\"é,\\n\"]", &["\"]\"", "\"é,\\n\""]),
            // Duplicate names and large numbers stay as they are said.
            (
                r#"{"a":1e999,"a":123456789012345678901234567890}"#,
                &[r#"{"a":1e999,"a":123456789012345678901234567890}"#],
            ),
        ] {
            assert_eq!(
                check(ContentKind::Json, body.as_bytes()).unwrap(),
                payloads,
                "{body}"
            );
        }
    }

    #[test]
    fn a_json_entry_is_on_one_line() {
        for (body, payloads) in [
            ("{\n  \"a\": 1\r\n}\n", &["{   \"a\": 1  }"][..]),
            ("[\r\n1,\n[2,\n3]\n]", &["1", "[2, 3]"]),
            // In strings, what other readers take for a line's end.
            (
                "[\"a\u{2028}\u{2029}b\",\n\"\u{85}\",{\"é\u{2029}\":\n\"¿\u{2027}\"}]",
                &[
                    r#""a\u2028\u2029b""#,
                    r#""\u0085""#,
                    "{\"é\\u2029\": \"¿\u{2027}\"}",
                ],
            ),
            // An escaped line break is not a raw one.
            ("{\n\"a\":\"x\\ny\"}", &["{ \"a\":\"x\\ny\"}"]),
        ] {
            assert_eq!(
                check(ContentKind::Json, body.as_bytes()).unwrap(),
                payloads,
                "{body:?}"
            );
        }
    }

    #[test]
    fn a_byte_order_mark_before_json_is_skipped_and_before_text_is_text() {
        for (kind, body, expected) in [
            (ContentKind::Json, "\u{feff}{\"a\":1}", &["{\"a\":1}"][..]),
            (ContentKind::Json, "\u{feff} [1,2]", &["1", "2"]),
            (ContentKind::Text, "\u{feff}hi", &["\u{feff}hi"]),
        ] {
            let entries = split(kind, Bytes::from(body), 10).unwrap();
            assert_eq!(entries, expected, "{body:?}");
        }
    }

    #[test]
    fn invalid_json_is_refused_with_line_and_column() {
        for (body, reason, line, column) in [
            ("{ invalid json }", "key must be a string", 1, 3),
            ("[1,\n 2,\n x]", "expected value", 3, 2),
            ("[1,]", "trailing comma", 1, 4),
            ("[1 2]", "expected `,` or `]`", 1, 4),
            ("[1", "EOF while parsing a list", 1, 2),
            ("[1] x", "trailing characters", 1, 5),
            ("{} {}", "trailing characters", 1, 4),
            ("1,2", "trailing characters", 1, 2),
            ("nul", "EOF while parsing a value", 1, 3),
            ("01", "invalid number", 1, 2),
            (
                "\"a\nb\"",
                "control character (\\u0000-\\u001F) found while parsing a string",
                1,
                2,
            ),
            ("   ", "EOF while parsing a value", 1, 3),
            ("\u{feff}", "EOF while parsing a value", 1, 0),
            ("\u{feff}\u{feff}1", "expected value", 1, 1),
            ("1\u{feff}", "trailing characters", 1, 2),
        ] {
            let refused = Json {
                reason: reason.into(),
                line,
                column,
            };
            assert_eq!(
                check(ContentKind::Json, body.as_bytes()),
                Err(refused),
                "{body:?}"
            );
        }
    }

    #[test]
    fn a_body_without_entries_is_refused() {
        for kind in [ContentKind::Json, ContentKind::Text, ContentKind::Binary] {
            assert_eq!(check(kind, b""), Err(Empty), "{kind:?}");
        }
        assert_eq!(check(ContentKind::Json, b"[]"), Err(EmptyBatch));
        assert_eq!(check(ContentKind::Json, b" [\n] "), Err(EmptyBatch));
    }

    #[test]
    fn a_batch_has_at_most_its_limit_of_entries() {
        assert_eq!(check(ContentKind::Json, b"[1,2,3,4]").unwrap().len(), 4);
        let refused = Err(TooManyEntries { entries_max: 4 });
        assert_eq!(check(ContentKind::Json, b"[1,2,3,4,5]"), refused);
        let flood = format!("[{}1]", "1,".repeat(100_000));
        assert_eq!(check(ContentKind::Json, flood.as_bytes()), refused);
    }

    #[test]
    fn text_and_json_are_utf_8_and_binary_is_bytes() {
        let body = b"caf\xc3\xa9\xff\xfe";
        assert_eq!(check(ContentKind::Text, &body[..5]).unwrap(), ["café"]);
        assert_eq!(check(ContentKind::Text, body), Err(Utf8 { position: 5 }));
        assert_eq!(
            check(ContentKind::Json, b"\"\xc0\xaf\""),
            Err(Utf8 { position: 1 })
        );
        assert_eq!(check(ContentKind::Binary, body).unwrap(), [&body[..]]);
        assert_eq!(check(ContentKind::Text, b"[1,2]\n").unwrap(), ["[1,2]\n"]);
    }

    #[test]
    fn dense_payloads_share_the_body_and_sparse_ones_do_not() {
        for (text, is_shared) in [
            (r#"[{"a":1},{"b":2}]"#, true),
            (r#"{"a":1} "#, true),
            ("[1,                                   2]", false),
            ("{\n}", false),
        ] {
            let body = Bytes::from(text);
            let range = body.as_ptr_range();
            for payload in split(ContentKind::Json, body.clone(), 4).unwrap() {
                assert_eq!(range.contains(&payload.as_ptr()), is_shared, "{text}");
            }
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "\\PC{0,6}|[\n\r\t\",\\]\\[ ]{0,4}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::vec(("[a-z\n]{0,3}", inner), 0..4)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn splitting_gives_back_the_values_of_a_batch(
            values in prop::collection::vec(any_json(), 1..5),
            pretty in any::<bool>(),
        ) {
            let body = match pretty {
                true => serde_json::to_vec_pretty(&values).unwrap(),
                false => serde_json::to_vec(&values).unwrap(),
            };
            let payloads = check(ContentKind::Json, &body).unwrap();
            prop_assert_eq!(payloads.len(), values.len());
            for (payload, value) in payloads.iter().zip(&values) {
                prop_assert!(!payload.contains(&b'\n') && !payload.contains(&b'\r'));
                let parsed: serde_json::Value = serde_json::from_slice(payload).unwrap();
                prop_assert_eq!(&parsed, value);
            }
        }

        #[test]
        fn a_cut_batch_is_never_a_smaller_batch(values in prop::collection::vec(any_json(), 1..4)) {
            let body = serde_json::to_vec(&values).unwrap();
            for end in 0..body.len() {
                prop_assert!(check(ContentKind::Json, &body[..end]).is_err());
            }
        }
    }
}
