//! Media types (RFC 9110, section 8.3.1), as far as a channel needs them: what was said, whether
//! two say the same, and which of three kinds of payload it is.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

/// A media type. Parsed with [`FromStr`]; cheap to clone.
///
/// Two are equal when type, subtype and parameters are, whatever the case of names, the order of
/// parameters, quotes and white space; `charset` does not count, so that a client which adds
/// `; charset=utf-8` still speaks the channel's type.
#[derive(Clone)]
pub struct ContentType(Arc<Parsed>);

struct Parsed {
    /// What was said: names in lower case, `; ` before each parameter.
    text: Box<str>,
    /// What equality compares: as `text`, but sorted, unquoted, and without `charset`.
    identity: Box<str>,
    essence_bytes: usize,
    kind: ContentKind,
}

/// How a channel of some media type treats its payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentKind {
    /// `application/json` and every subtype with the suffix `+json` (RFC 6839, section 3.1): each entry is one JSON
    /// value on one line, and a body may be a batch.
    Json,
    /// `text/*`: each entry is UTF-8.
    Text,
    /// Everything else: each entry is bytes.
    Binary,
}

impl ContentKind {
    /// The kind of content whose type nobody stated: JSON if it parses as JSON, else text if it is UTF-8, else bytes.
    /// A byte order mark before JSON does not count.
    pub fn guess(content: &[u8]) -> Self {
        match simdutf8::basic::from_utf8(without_mark(content)) {
            Ok(text) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => Self::Json,
            Ok(_) => Self::Text,
            Err(_) => Self::Binary,
        }
    }

    /// Returns true if a payload of this kind is a valid payload of `other`: all JSON is text, and all text is bytes.
    pub fn fits(self, other: Self) -> bool {
        match other {
            Self::Json => self == Self::Json,
            Self::Text => self != Self::Binary,
            Self::Binary => true,
        }
    }

    /// The media type that describes payloads of this kind where nobody stated one.
    pub fn media_type(self) -> &'static ContentType {
        static JSON: LazyLock<ContentType> = LazyLock::new(ContentType::json);
        // A browser has to be told that it is UTF-8.
        static TEXT: LazyLock<ContentType> =
            LazyLock::new(|| "text/plain; charset=utf-8".parse().expect("a media type"));
        static BYTES: LazyLock<ContentType> = LazyLock::new(ContentType::octet_stream);
        match self {
            Self::Json => &JSON,
            Self::Text => &TEXT,
            Self::Binary => &BYTES,
        }
    }
}

/// Content without the UTF-8 byte order mark that some editors and serializers put first (RFC 8259, section 8.1,
/// lets parsers ignore it).
pub(crate) fn without_mark(content: &[u8]) -> &[u8] {
    content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content)
}

impl ContentType {
    /// The largest media type, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// `application/json`.
    pub fn json() -> Self {
        static JSON: LazyLock<ContentType> =
            LazyLock::new(|| ContentType::well_known("application/json", ContentKind::Json));
        JSON.clone()
    }

    /// `text/plain`.
    pub fn text() -> Self {
        static TEXT: LazyLock<ContentType> =
            LazyLock::new(|| ContentType::well_known("text/plain", ContentKind::Text));
        TEXT.clone()
    }

    /// `application/octet-stream`.
    pub fn octet_stream() -> Self {
        static OCTET_STREAM: LazyLock<ContentType> = LazyLock::new(|| {
            ContentType::well_known("application/octet-stream", ContentKind::Binary)
        });
        OCTET_STREAM.clone()
    }

    /// What was said, with names in lower case and one space before each parameter. Fit for a
    /// `Content-Type` field.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Type and subtype without parameters, in lower case.
    pub fn essence(&self) -> &str {
        &self.0.text[..self.0.essence_bytes]
    }

    /// How payloads of this type are treated.
    pub fn kind(&self) -> ContentKind {
        self.0.kind
    }

    fn well_known(essence: &str, kind: ContentKind) -> Self {
        Self(Arc::new(Parsed {
            text: essence.into(),
            identity: essence.into(),
            essence_bytes: essence.len(),
            kind,
        }))
    }
}

impl FromStr for ContentType {
    type Err = ContentTypeError;

    fn from_str(text: &str) -> Result<Self, ContentTypeError> {
        // What nearly all say, and all of them share.
        match text {
            "application/json" => return Ok(Self::json()),
            "text/plain" => return Ok(Self::text()),
            "application/octet-stream" => return Ok(Self::octet_stream()),
            _ => {}
        }
        if text.len() > Self::BYTES_MAX {
            return Err(ContentTypeError::TooLong { bytes: text.len() });
        }
        let mut scan = Scan { text, position: 0 };
        scan.skip_white_space();
        let main = scan.token()?;
        scan.expect(b'/')?;
        let sub = scan.token()?;
        let parameters = scan.parameters()?;

        let mut said = String::with_capacity(text.len() + 2 * parameters.len());
        said += main;
        said += "/";
        said += sub;
        said.make_ascii_lowercase();
        let essence_bytes = said.len();
        let mut identity = said.clone();
        for Parameter { name, value } in &parameters {
            said += "; ";
            said += name;
            said += "=";
            value.spell(&mut said);
        }
        let mut counted: Vec<_> = parameters
            .iter()
            .filter(|parameter| parameter.name != "charset")
            .collect();
        counted.sort();
        for Parameter { name, value } in counted {
            identity += "; ";
            identity += name;
            identity += "=";
            value.quote(&mut identity);
        }
        let essence = &said[..essence_bytes];
        let kind = match essence.split_once('/') {
            Some(("application", "json")) => ContentKind::Json,
            Some((_, sub)) if sub.len() > "+json".len() && sub.ends_with("+json") => {
                ContentKind::Json
            }
            Some(("text", _)) => ContentKind::Text,
            _ => ContentKind::Binary,
        };
        Ok(Self(Arc::new(Parsed {
            text: said.into(),
            identity: identity.into(),
            essence_bytes,
            kind,
        })))
    }
}

impl PartialEq for ContentType {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.identity == other.0.identity
    }
}

impl Eq for ContentType {}

impl Hash for ContentType {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.identity.hash(state);
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Why a text is no media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentTypeError {
    /// More than [`ContentType::BYTES_MAX`] bytes.
    #[error("the media type is {bytes} bytes long; use at most {max}", max = ContentType::BYTES_MAX)]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// It breaks the grammar.
    #[error(
        "the media type breaks off or is malformed at position {position}; write it as in application/json or text/plain; charset=utf-8"
    )]
    Malformed {
        /// Where, in bytes from 0.
        position: usize,
    },
}

/// A parameter, its name in lower case.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Parameter<'a> {
    name: Cow<'a, str>,
    value: Value<'a>,
}

/// A parameter's value without its quotes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Value<'a>(Cow<'a, str>);

impl Value<'_> {
    /// Writes it as a token, or in quotes if it is none.
    fn spell(&self, out: &mut String) {
        let is_token = !self.0.is_empty() && self.0.bytes().all(is_token_byte);
        if is_token {
            *out += &self.0;
        } else {
            self.quote(out);
        }
    }

    fn quote(&self, out: &mut String) {
        out.push('"');
        for char in self.0.chars() {
            if matches!(char, '"' | '\\') {
                out.push('\\');
            }
            out.push(char);
        }
        out.push('"');
    }
}

struct Scan<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Scan<'a> {
    /// `*( OWS ";" OWS [ parameter ] )`, up to the end.
    fn parameters(&mut self) -> Result<Vec<Parameter<'a>>, ContentTypeError> {
        let mut parameters = Vec::new();
        loop {
            self.skip_white_space();
            if self.peek().is_none() {
                return Ok(parameters);
            }
            self.expect(b';')?;
            self.skip_white_space();
            if matches!(self.peek(), None | Some(b';')) {
                continue;
            }
            let name = match self.token()? {
                name if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                    Cow::Owned(name.to_ascii_lowercase())
                }
                name => Cow::Borrowed(name),
            };
            self.expect(b'=')?;
            let value = Value(match self.peek() {
                Some(b'"') => Cow::Owned(self.quoted_string()?),
                _ => Cow::Borrowed(self.token()?),
            });
            parameters.push(Parameter { name, value });
        }
    }

    fn token(&mut self) -> Result<&'a str, ContentTypeError> {
        let rest = &self.text[self.position..];
        let length = rest
            .bytes()
            .position(|byte| !is_token_byte(byte))
            .unwrap_or(rest.len());
        if length == 0 {
            return Err(self.malformed());
        }
        self.position += length;
        Ok(&rest[..length])
    }

    /// RFC 9110, section 5.6.4, but ASCII only: what is beyond has no agreed meaning.
    fn quoted_string(&mut self) -> Result<String, ContentTypeError> {
        self.expect(b'"')?;
        let mut value = String::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(value);
                }
                Some(b'\\') => self.position += 1,
                _ => {}
            }
            match self.peek() {
                Some(byte @ (b'\t' | b' '..=b'~')) => value.push(byte.into()),
                _ => return Err(self.malformed()),
            }
            self.position += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), ContentTypeError> {
        if self.peek() != Some(byte) {
            return Err(self.malformed());
        }
        self.position += 1;
        Ok(())
    }

    fn skip_white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.position += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn malformed(&self) -> ContentTypeError {
        ContentTypeError::Malformed {
            position: self.position,
        }
    }
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_media_type_is_kept_as_said_with_names_in_lower_case() {
        for (text, said, essence) in [
            ("application/json", "application/json", "application/json"),
            ("TEXT/PLAIN", "text/plain", "text/plain"),
            (
                "text/plain;charset=UTF-8",
                "text/plain; charset=UTF-8",
                "text/plain",
            ),
            (
                " a/b ;\tCharSet=\"utf-8\" ; x=1 ",
                "a/b; charset=utf-8; x=1",
                "a/b",
            ),
            ("a/b; x=\"1 \\\"2\\\\\"", "a/b; x=\"1 \\\"2\\\\\"", "a/b"),
            ("a/b; x=\"\"", "a/b; x=\"\"", "a/b"),
            ("a/b;", "a/b", "a/b"),
            ("a/b;; ; x=1;", "a/b; x=1", "a/b"),
        ] {
            let parsed: ContentType = text.parse().unwrap();
            assert_eq!(parsed.as_str(), said, "{text:?}");
            assert_eq!(parsed.essence(), essence, "{text:?}");
        }
    }

    #[test]
    fn case_order_white_space_and_charset_make_no_other_type() {
        for (a, b) in [
            ("text/plain", "TEXT/Plain"),
            ("application/json", "application/json; charset=utf-8"),
            ("text/plain; charset=utf-8", "text/plain;charset=ISO-8859-1"),
            ("a/b; x=1; y=2", "a/b;Y=2;  X=\"1\""),
        ] {
            assert_eq!(a.parse::<ContentType>(), b.parse(), "{a} and {b}");
        }
        for (a, b) in [
            ("text/plain", "text/html"),
            ("text/json", "application/json"),
            ("a/b; x=1", "a/b"),
            ("a/b; x=1", "a/b; x=2"),
            ("a/b; x=y", "a/b; x=Y"),
            // A value that spells a parameter is no parameter.
            ("a/b; x=\"1; y=2\"", "a/b; x=1; y=2"),
            ("a/b; x=\"1\\\"; y=\\\"2\"", "a/b; x=1; y=2"),
        ] {
            assert_ne!(a.parse::<ContentType>(), b.parse(), "{a} and {b}");
        }
    }

    /// RFC 9110, section 5.6.2.
    #[test]
    fn a_token_is_made_of_letters_digits_and_fifteen_signs() {
        let signs = b"!#$%&'*+-.^_`|~";
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || signs.contains(&byte);
            assert_eq!(is_token_byte(byte), expected, "{byte:#04x}");
        }
    }

    #[test]
    fn the_kind_follows_the_essence() {
        for (text, kind) in [
            ("application/json", ContentKind::Json),
            ("Application/JSON; charset=utf-8", ContentKind::Json),
            ("text/plain", ContentKind::Text),
            ("text/event-stream", ContentKind::Text),
            ("application/octet-stream", ContentKind::Binary),
            ("application/x-ndjson", ContentKind::Binary),
            ("application/ld+json", ContentKind::Json),
            ("application/vnd.api+JSON; profile=x", ContentKind::Json),
            ("model/gltf+json", ContentKind::Json),
            ("application/+json", ContentKind::Binary),
            ("application/json+x", ContentKind::Binary),
            ("application/json-seq", ContentKind::Binary),
            ("image/png", ContentKind::Binary),
            ("texts/plain", ContentKind::Binary),
        ] {
            assert_eq!(text.parse::<ContentType>().unwrap().kind(), kind, "{text}");
        }
    }

    #[test]
    fn content_of_no_stated_type_is_json_else_text_else_bytes() {
        for (content, kind) in [
            (&b"{\"a\":1}"[..], ContentKind::Json),
            (b" [1,\n2] ", ContentKind::Json),
            (b"17", ContentKind::Json),
            (b"null", ContentKind::Json),
            (b"\"hi\"", ContentKind::Json),
            (b"\xef\xbb\xbf{}", ContentKind::Json),
            (b"hello", ContentKind::Text),
            (b"007", ContentKind::Text),
            (b"{\"a\":1", ContentKind::Text),
            (b"1 2", ContentKind::Text),
            (b"", ContentKind::Text),
            (b"\xff\xfe", ContentKind::Binary),
            (b"{\"a\":\"\xff\"}", ContentKind::Binary),
        ] {
            assert_eq!(ContentKind::guess(content), kind, "{content:?}");
        }
    }

    #[test]
    fn json_fits_text_and_text_fits_bytes_and_nothing_fits_the_other_way() {
        use ContentKind::{Binary, Json, Text};
        let fitting = [
            (Json, Json),
            (Json, Text),
            (Json, Binary),
            (Text, Text),
            (Text, Binary),
            (Binary, Binary),
        ];
        for kind in [Json, Text, Binary] {
            for other in [Json, Text, Binary] {
                assert_eq!(
                    kind.fits(other),
                    fitting.contains(&(kind, other)),
                    "{kind:?} in {other:?}"
                );
            }
            assert_eq!(kind.media_type().kind(), kind);
        }
    }

    #[test]
    fn the_well_known_types_are_what_their_texts_parse_to() {
        for known in [
            ContentType::json(),
            ContentType::text(),
            ContentType::octet_stream(),
        ] {
            // As it is written, and so that the grammar has to be read.
            for text in [known.to_string(), format!(" {known};")] {
                let parsed: ContentType = text.parse().unwrap();
                assert_eq!(parsed, known);
                assert_eq!(parsed.as_str(), known.as_str());
                assert_eq!(parsed.kind(), known.kind());
                assert_eq!(parsed.essence(), known.essence());
            }
        }
    }

    #[test]
    fn what_is_no_media_type_is_refused_where_it_breaks_off() {
        for (text, position) in [
            ("", 0),
            ("json", 4),
            ("/json", 0),
            ("application/", 12),
            ("application/json, text/plain", 16),
            ("a/b c", 4),
            ("a/b; x", 6),
            ("a/b; x=", 7),
            ("a/b; x =1", 6),
            ("a/b; x=\"1", 9),
            ("a/b; x=\"1\\", 10),
            ("a/b; x=\"\u{1}\"", 8),
            ("a/b\r\nx: y", 3),
            ("a/é", 2),
            ("a/b; é=1", 5),
            ("a/b; x=\"é\"", 8),
            ("a/b; x=\"\\é\"", 9),
        ] {
            let refused = Err(ContentTypeError::Malformed { position });
            assert_eq!(text.parse::<ContentType>(), refused, "{text:?}");
        }
        let long = format!("a/{}", "b".repeat(254));
        assert_eq!(
            long.parse::<ContentType>(),
            Err(ContentTypeError::TooLong { bytes: 256 })
        );
    }

    proptest! {
        #[test]
        fn what_was_said_says_it_again(text in "[a-zA-Z]{1,3}/[a-z+.]{1,3}( ?;\t?[a-c]=([a-z]{1,2}|\"[ -~]{0,4}\")){0,3}") {
            if let Ok(parsed) = text.parse::<ContentType>() {
                let again: ContentType = parsed.as_str().parse().unwrap();
                prop_assert_eq!(again.as_str(), parsed.as_str());
                prop_assert_eq!(again, parsed);
            }
        }
    }
}
