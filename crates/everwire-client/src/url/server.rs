//! The URL of a server: `http[s]://host[:port]`.

use std::fmt;
use std::str::FromStr;

use super::{HttpUrl, UrlError};
use crate::Trust;

/// The URL of a server. Parsed with [`FromStr`]; a path in it stands before those of the server, and a query
/// is kept and sent along.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(pub(super) HttpUrl);

impl ServerUrl {
    /// The same, where these authorities are believed if it is encrypted. Default: those of the system.
    #[must_use]
    pub fn trusting(self, trust: &Trust) -> Self {
        Self(self.0.trusting(trust))
    }

    pub(crate) fn http(&self) -> &HttpUrl {
        &self.0
    }
}

impl FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let parsed = HttpUrl::parse_server(url)?;
        let path = parsed.path.trim_end_matches('/').to_owned();
        Ok(Self(HttpUrl { path, ..parsed }))
    }
}

impl fmt::Display for ServerUrl {
    /// Without the query, which may hold a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_offers_is_below_its_url() {
        for (url, target) in [
            ("http://h:8080", "/connect?publisher=p"),
            ("http://h/", "/connect?publisher=p"),
            ("ws://h/live/?token=x", "/live/connect?token=x&publisher=p"),
        ] {
            let parsed: ServerUrl = url.parse().unwrap();
            let parameters = [("publisher", "p".to_owned())];
            assert_eq!(
                parsed.http().target_below("/connect", &parameters),
                target,
                "{url}"
            );
        }
    }
}
