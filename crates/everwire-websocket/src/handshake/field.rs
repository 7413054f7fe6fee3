//! The header fields of the handshake: lists of tokens, and lists of extensions (RFC 6455,
//! section 9.1).
//!
//! ```text
//!  Connection: keep-alive, Upgrade
//!  Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; server_max_window_bits="10", other
//! ```

use std::borrow::Cow;

use http::header::{CONNECTION, HeaderName, UPGRADE};
use http::{HeaderMap, HeaderValue};

/// An element of `Sec-WebSocket-Extensions`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Extension<'a> {
    pub(crate) name: &'a str,
    pub(crate) parameters: Vec<Parameter<'a>>,
}

/// A parameter of an extension, with its value unquoted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parameter<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: Option<Cow<'a, str>>,
}

/// A field value that does not follow its grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Whether the fields ask for, or agree to, a change to WebSocket (RFC 6455, section 4.1).
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    list_has(headers, UPGRADE, "websocket") && list_has(headers, CONNECTION, "upgrade")
}

/// Whether one of the comma-separated elements of a field is `token`, in any case.
fn list_has(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// The elements of a field that lists tokens; empty elements are skipped (RFC 9110, section 5.6.1.2).
pub(crate) fn token_list(headers: &HeaderMap, name: HeaderName) -> Result<Vec<&str>, Malformed> {
    let mut tokens = Vec::new();
    for value in headers.get_all(name) {
        for element in text(value)?.split(',') {
            match element.trim_ascii() {
                "" => {}
                token if is_token(token) => tokens.push(token),
                _ => return Err(Malformed),
            }
        }
    }
    Ok(tokens)
}

/// The value of a field that must not be repeated; `None` if it is absent.
pub(crate) fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Malformed> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(text(value)?.trim_ascii())),
        (Some(_), Some(_)) => Err(Malformed),
    }
}

/// All extensions of a message, in order; several fields are one list.
pub(crate) fn extensions(
    headers: &HeaderMap,
    name: HeaderName,
) -> Result<Vec<Extension<'_>>, Malformed> {
    let mut extensions = Vec::new();
    for value in headers.get_all(name) {
        let mut rest = Scanner { rest: text(value)? };
        loop {
            rest.skip_space();
            if !rest.rest.starts_with(',') && !rest.rest.is_empty() {
                extensions.push(rest.extension()?);
            }
            if rest.rest.is_empty() {
                break;
            }
            rest.expect(',')?;
        }
    }
    Ok(extensions)
}

/// Whether `text` is a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

fn text(value: &HeaderValue) -> Result<&str, Malformed> {
    value.to_str().map_err(|_| Malformed)
}

/// Reads a field value from the left.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn extension(&mut self) -> Result<Extension<'a>, Malformed> {
        let mut extension = Extension {
            name: self.token()?,
            parameters: Vec::new(),
        };
        self.skip_space();
        while self.skip(';') {
            self.skip_space();
            extension.parameters.push(self.parameter()?);
            self.skip_space();
        }
        Ok(extension)
    }

    fn parameter(&mut self) -> Result<Parameter<'a>, Malformed> {
        let name = self.token()?;
        self.skip_space();
        if !self.skip('=') {
            return Ok(Parameter { name, value: None });
        }
        self.skip_space();
        let value = if self.skip('"') {
            self.quoted()?
        } else {
            Cow::Borrowed(self.token()?)
        };
        Ok(Parameter {
            name,
            value: Some(value),
        })
    }

    /// The rest of a quoted string, whose content must be a token too (section 9.1).
    fn quoted(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let mut value = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((index, char)) = chars.next() {
            match char {
                '"' if is_token(&value) => {
                    self.rest = &self.rest[index + 1..];
                    return Ok(Cow::Owned(value));
                }
                '"' => return Err(Malformed),
                '\\' => value.push(chars.next().ok_or(Malformed)?.1),
                char => value.push(char),
            }
        }
        Err(Malformed)
    }

    fn token(&mut self) -> Result<&'a str, Malformed> {
        let len = self
            .rest
            .bytes()
            .take_while(|&byte| is_token_byte(byte))
            .count();
        if len == 0 {
            return Err(Malformed);
        }
        let (token, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(token)
    }

    fn expect(&mut self, expected: char) -> Result<(), Malformed> {
        if self.skip(expected) {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    fn skip(&mut self, skipped: char) -> bool {
        match self.rest.strip_prefix(skipped) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::SEC_WEBSOCKET_EXTENSIONS;

    /// RFC 9110, section 5.6.2.
    #[test]
    fn a_token_is_made_of_letters_digits_and_fifteen_signs() {
        let signs = b"!#$%&'*+-.^_`|~";
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || signs.contains(&byte);
            assert_eq!(is_token_byte(byte), expected, "{byte:#04x}");
        }
    }

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    /// The list as `name;parameter=value`, or `malformed`.
    fn parsed(values: &[&str]) -> String {
        let headers = headers(&SEC_WEBSOCKET_EXTENSIONS, values);
        let Ok(list) = extensions(&headers, SEC_WEBSOCKET_EXTENSIONS) else {
            return "malformed".into();
        };
        let list = list.iter().map(|extension| {
            let parameters = extension
                .parameters
                .iter()
                .map(|parameter| match &parameter.value {
                    Some(value) => format!(";{}={value}", parameter.name),
                    None => format!(";{}", parameter.name),
                });
            extension.name.to_owned() + &parameters.collect::<String>()
        });
        list.collect::<Vec<_>>().join(",")
    }

    #[test]
    fn extension_lists_follow_section_9_1() {
        let rows: [(&[&str], &str); 18] = [
            (&[], ""),
            (&[""], ""),
            (&["foo"], "foo"),
            (&["foo, bar; baz=2"], "foo,bar;baz=2"),
            (&["foo", "bar; baz=2"], "foo,bar;baz=2"),
            (&["foo;bar"], "foo;bar"),
            (&["foo ;\tbar = 1 ; baz"], "foo;bar=1;baz"),
            (&["foo; bar=\"10\""], "foo;bar=10"),
            (&["foo; bar=\"1\\0\""], "foo;bar=10"),
            (&[", foo,, bar ,"], "foo,bar"),
            (&["foo; bar=\"a b\""], "malformed"),
            (&["foo; bar=\"\""], "malformed"),
            (&["foo; bar=\"10"], "malformed"),
            (&["foo; bar=\"1\\\""], "malformed"),
            (&["foo;"], "malformed"),
            (&["foo; bar="], "malformed"),
            (&["foo bar"], "malformed"),
            (&["f\u{e4}"], "malformed"),
        ];
        for (values, expected) in rows {
            assert_eq!(parsed(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_token_is_found_in_any_case_and_place() {
        let rows: [(&[&str], bool); 6] = [
            (&["Upgrade"], true),
            (&["keep-alive, UPGRADE"], true),
            (&["keep-alive", "upgrade "], true),
            (&["upgrades"], false),
            (&["up grade"], false),
            (&[], false),
        ];
        for (values, expected) in rows {
            assert_eq!(
                list_has(&headers(&CONNECTION, values), CONNECTION, "upgrade"),
                expected,
                "{values:?}"
            );
        }
    }
}
