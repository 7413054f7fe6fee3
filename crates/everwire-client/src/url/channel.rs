//! The URL of a channel: `http[s]://host[:port]/channels/{name}`.

use std::fmt;
use std::str::FromStr;

use everwire_channel::ChannelName;

use super::{HttpUrl, ServerUrl, UrlError};
use crate::Trust;

/// The URL of a channel. Parsed with [`FromStr`]; a query is kept and sent along.
#[derive(Clone, PartialEq, Eq)]
pub struct ChannelUrl(HttpUrl);

impl ChannelUrl {
    /// The channel of this name on a server, which is given by its URL, such as
    /// `http://127.0.0.1:8080`. A path in that URL stands before `/channels/`.
    ///
    /// # Errors
    ///
    /// The server's URL or the name is not valid.
    pub fn on_server(server: &str, name: &str) -> Result<Self, UrlError> {
        let name = ChannelName::new(name)?;
        let server = HttpUrl::parse_server(server)?;
        let path = format!(
            "{}/channels/{}",
            server.path.trim_end_matches('/'),
            name.to_path()
        );
        Ok(Self(HttpUrl { path, ..server }))
    }

    /// The server and the name that the channel has there; `None` if the path has no `/channels/` in it, as
    /// where a proxy gives a channel a path of its own.
    pub fn server_and_name(&self) -> Option<(ServerUrl, String)> {
        let (path, name) = self.0.path.split_once("/channels/")?;
        let name = ChannelName::from_path(name).ok()?.as_str().to_owned();
        let server = HttpUrl {
            path: path.to_owned(),
            ..self.0.clone()
        };
        Some((ServerUrl(server), name))
    }

    /// The same, where these authorities are believed if it is encrypted. Default: those of the system.
    #[must_use]
    pub fn trusting(self, trust: &Trust) -> Self {
        Self(self.0.trusting(trust))
    }

    pub(crate) fn http(&self) -> &HttpUrl {
        &self.0
    }
}

impl FromStr for ChannelUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let parsed = HttpUrl::parse(url)?;
        // A name is looked for only where we know where names begin: a proxy may map any path.
        match parsed.path.split_once("/channels/") {
            Some((_, name)) => drop(ChannelName::from_path(name)?),
            None if parsed.path == "/" => return Err(UrlError::NoChannel(url.to_owned())),
            None => {}
        }
        Ok(Self(parsed))
    }
}

impl fmt::Display for ChannelUrl {
    /// Without the query, which may hold a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ChannelUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_named_by_its_url() {
        for (url, address, target) in [
            (
                "http://example.org/channels/news",
                ("example.org", 80),
                "/channels/news?offset=-1",
            ),
            (
                "HTTP://h:8080/channels/a/b",
                ("h", 8080),
                "/channels/a/b?offset=-1",
            ),
            (
                "ws://h/channels/a?token=x",
                ("h", 80),
                "/channels/a?token=x&offset=-1",
            ),
            (
                "http://[::1]:9/channels/caf%C3%A9",
                ("::1", 9),
                "/channels/caf%C3%A9?offset=-1",
            ),
            ("http://h/v1/stream/a?", ("h", 80), "/v1/stream/a?offset=-1"),
        ] {
            let parsed: ChannelUrl = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(parsed.0.address(), address, "{url}");
            assert_eq!(parsed.0.target(&[("offset", "-1".into())]), target, "{url}");
        }
    }

    #[test]
    fn a_server_is_not_named_by_one_of_its_channels() {
        for (server, expected) in [
            (
                "http://h:8080/channels/news",
                "`http://h:8080/channels/news` is the URL of a channel; its server is http://h:8080",
            ),
            (
                "https://h/live/channels/a/b?token=secret",
                "`https://h/live/channels/a/b` is the URL of a channel; its server is https://h/live",
            ),
            (
                "localhost:8080",
                "`localhost:8080` does not begin with http:// or https://; write http://localhost:8080, or https://localhost:8080 if it speaks TLS",
            ),
            (
                "//example.org/live",
                "`//example.org/live` does not begin with http:// or https://; write http://example.org/live, or https://example.org/live if it speaks TLS",
            ),
            (
                "ftp://h",
                "`ftp://h` does not begin with http:// or https://; write it as http://127.0.0.1:8080, or https:// if it speaks TLS",
            ),
        ] {
            let of_channel = ChannelUrl::on_server(server, "a").unwrap_err().to_string();
            let of_server = server.parse::<ServerUrl>().unwrap_err().to_string();
            assert_eq!([&*of_channel, &*of_server], [expected; 2]);
        }
    }

    #[test]
    fn a_channel_is_named_by_its_name_on_a_server() {
        for (server, name, expected) in [
            (
                "http://h:8080",
                "chat/lobby",
                "http://h:8080/channels/chat/lobby",
            ),
            ("http://h/", "café", "http://h/channels/caf%C3%A9"),
            (
                "http://h/live/",
                "q?x#y",
                "http://h/live/channels/q%3Fx%23y",
            ),
        ] {
            assert_eq!(
                ChannelUrl::on_server(server, name).unwrap().to_string(),
                expected
            );
        }
    }

    #[test]
    fn a_channel_below_channels_is_on_a_server() {
        for (url, expected) in [
            (
                "http://h:8080/channels/caf%C3%A9/a",
                Some(("http://h:8080", "café/a")),
            ),
            (
                "http://h/live/channels/a?token=x",
                Some(("http://h/live", "a")),
            ),
            ("http://h/v1/stream/a", None),
        ] {
            let parsed: ChannelUrl = url.parse().unwrap();
            let found = parsed.server_and_name();
            let found = found.map(|(server, name)| (server.to_string(), name));
            let expected = expected.map(|(server, name)| (server.to_owned(), name.to_owned()));
            assert_eq!(found, expected, "{url}");
        }
    }

    #[test]
    fn what_cannot_be_reached_is_refused_with_the_way_out() {
        for (url, expected) in [
            ("ftp://h/channels/a", "http:// or https://"),
            ("wsss://h/channels/a", "http:// or https://"),
            ("news", "does not begin with http:// or https://"),
            ("ftp://h/channels/a", "does not begin with http://"),
            ("http://", "is no URL"),
            ("http://h", "names no channel"),
            ("http://me:secret@h/channels/a", "user name"),
            ("http://h/channels/a//b", "empty segment"),
            ("http://h/channels/a%00", "control character"),
            ("http://h:99999/channels/a", "is no URL"),
            ("http://h/channels/a b", "is no URL"),
        ] {
            let error = url.parse::<ChannelUrl>().expect_err(url).to_string();
            assert!(error.contains(expected), "{url} gave {error:?}");
        }
    }

    #[test]
    fn a_credential_in_the_query_is_not_shown() {
        let url: ChannelUrl = "http://h/channels/a?token=secret".parse().unwrap();
        assert!(!format!("{url} {url:?}").contains("secret"));
    }
}
