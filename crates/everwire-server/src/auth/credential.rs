//! Where a request shows its credential.

use std::{borrow::Cow, fmt};

use everwire_wire::{Problem, ProblemKind};
use http::{HeaderMap, header};
use percent_encoding::percent_decode_str;

/// A token or an API key, as it was shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credential<'r>(Cow<'r, str>);

impl<'r> Credential<'r> {
    /// The first of these that is there: the field `Authorization`, the list of WebSocket subprotocols, the cookie of
    /// this name if one is given, the parameter `token`.
    pub fn of(
        headers: &'r HeaderMap,
        query: Option<&'r str>,
        cookie: Option<&str>,
    ) -> Result<Option<Self>, Problem> {
        if let Some(shown) = authorization(headers)? {
            return Ok(Some(Self(shown.into())));
        }
        let shown =
            subprotocol(headers).or_else(|| cookie.and_then(|name| cookie_of(headers, name)));
        match shown {
            Some(shown) => Ok(Some(Self(shown.into()))),
            None => parameter(query),
        }
    }

    /// What was shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(not shown)")
    }
}

/// `Authorization: Bearer …` (RFC 6750, section 2.1). Other schemes are somebody else's, a proxy's perhaps.
fn authorization(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(malformed(
            "the field Authorization is repeated; send it once",
        ));
    }
    let text = value
        .to_str()
        .map_err(|_| malformed("the field Authorization is not ASCII"))?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    Ok(scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim()))
}

/// `Sec-WebSocket-Protocol: everwire.v1, bearer.…`: the one field that a page can set. It is never chosen for the answer.
fn subprotocol(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|offered| offered.trim().strip_prefix(SUBPROTOCOL_PREFIX))
}

fn cookie_of<'r>(headers: &'r HeaderMap, name: &str) -> Option<&'r str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(found, value)| (found == name).then(|| value.trim_matches('"')))
}

fn parameter(query: Option<&str>) -> Result<Option<Credential<'_>>, Problem> {
    let mut shown = query
        .unwrap_or("")
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter_map(|(name, value)| ["token", "access_token"].contains(&name).then_some(value));
    let Some(first) = shown.next() else {
        return Ok(None);
    };
    if shown.next().is_some() {
        return Err(malformed(
            "the parameter `token` or `access_token` is given twice; give one of them, once",
        ));
    }
    let decoded = percent_decode_str(first)
        .decode_utf8()
        .map_err(|_| malformed("the parameter `token` is not UTF-8 after percent-decoding"))?;
    Ok(Some(Credential(decoded)))
}

fn malformed(detail: &str) -> Problem {
    Problem::new(ProblemKind::BadRequest, detail)
}

const SUBPROTOCOL_PREFIX: &str = "bearer.";

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn shown(fields: &[(&str, &str)], query: &str, cookie: Option<&str>) -> Result<String, u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        Credential::of(&headers, Some(query), cookie)
            .map(|found| found.map_or("none".to_owned(), |found| found.reveal().to_owned()))
            .map_err(|problem| problem.kind.status())
    }

    #[test]
    fn the_first_place_that_shows_something_counts() {
        let field = ("authorization", "Bearer a");
        let list = ("sec-websocket-protocol", "everwire.v1, bearer.b");
        let jar = ("cookie", "x=y; t=\"c\"");
        for (fields, query, cookie, expected) in [
            (&[field, list, jar][..], "token=d", Some("t"), "a"),
            (&[list, jar], "token=d", Some("t"), "b"),
            (&[jar], "token=d", Some("t"), "c"),
            (&[jar], "token=d", None, "d"),
            (&[], "offset=-1&token=d%2e&x", None, "d."),
            (&[], "offset=-1&access_token=d", None, "d"), // RFC 6750, section 2.3
            (&[jar], "offset=-1", None, "none"),
            (&[jar], "Token=d", Some("x2"), "none"),
            (&[("authorization", "bearer   a ")], "", None, "a"),
            (&[("authorization", "Bearer")], "token=d", None, ""),
            (&[("authorization", "Basic YTpi")], "token=d", None, "d"),
            (&[("sec-websocket-protocol", "other"), list], "", None, "b"),
        ] {
            assert_eq!(
                shown(fields, query, cookie).as_deref(),
                Ok(expected),
                "{fields:?} {query}"
            );
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let field = ("authorization", "Bearer a");
        assert_eq!(shown(&[field, field], "", None), Err(400));
        assert_eq!(shown(&[], "token=a&token=b", None), Err(400));
        assert_eq!(shown(&[], "token=a&access_token=a", None), Err(400));
        assert_eq!(shown(&[], "token=%ff", None), Err(400));
    }

    #[test]
    fn a_credential_is_not_shown() {
        assert_eq!(
            format!("{:?}", Credential("secret".into())),
            "Credential(not shown)"
        );
    }
}
