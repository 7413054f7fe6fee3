//! Addresses that the server itself asks for something.

use std::fmt;

use http::Uri;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An absolute address of `http` or `https`, without a user name, a password and a fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(Uri);

impl Url {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// It is none that can be asked; the message continues a sentence that begins with what was to be read, and shows
    /// none of it, since there may be a secret in it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const SHAPE: &str =
            "is not an address; write it whole, such as `https://login.example.org/keys`";
        if text.contains('#') {
            return Err("has a fragment, which is never sent; leave out `#` and what follows");
        }
        let uri: Uri = text.parse().map_err(|_| SHAPE)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(SHAPE);
        }
        let authority = uri.authority().ok_or(SHAPE)?;
        if authority.as_str().contains('@') {
            return Err("has a user name or a password in it; leave it out, up to the `@`");
        }
        match authority.host().is_empty() {
            true => Err(SHAPE),
            false => Ok(Self(uri)),
        }
    }

    /// The address as it is.
    pub(super) fn as_uri(&self) -> &Uri {
        &self.0
    }
}

/// Without the query, which may hold a secret.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self
            .0
            .authority()
            .map_or("", |authority| authority.as_str());
        write!(f, "{scheme}://{authority}{}", self.0.path())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .map_err(|problem| serde::de::Error::custom(format!("the address {problem}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_absolute_and_holds_nothing_that_is_not_sent() {
        for (text, expected) in [
            ("https://example.org", Ok("https://example.org/")),
            ("http://[::1]:8081/keys?a=b", Ok("http://[::1]:8081/keys")),
            ("example.org/keys", Err("not an address")),
            ("/keys", Err("not an address")),
            ("ftp://example.org/", Err("not an address")),
            ("https:///keys", Err("not an address")),
            ("https://example.org/a b", Err("not an address")),
            ("https://ada:secret@example.org/", Err("user name")),
            ("https://example.org/#keys", Err("fragment")),
        ] {
            match (Url::parse(text), expected) {
                (Ok(url), Ok(shown)) => assert_eq!(url.to_string(), shown),
                (Err(problem), Err(part)) => assert!(problem.contains(part), "{text}: {problem}"),
                (read, _) => panic!("{text} gave {read:?}"),
            }
        }
    }

    #[test]
    fn a_query_is_asked_with_and_never_shown() {
        let url = Url::parse("https://example.org/keys?code=secret").unwrap();
        assert_eq!(url.as_uri().query(), Some("code=secret"));
        assert!(!format!("{url} {url:?}").contains("secret"));
    }
}
