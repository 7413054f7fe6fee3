//! Where a channel is: `http://host[:port]/channels/{name}`.

use std::fmt;
use std::str::FromStr;

use everwire_channel::{ChannelName, NameError};
use http::HeaderValue;
use http::uri::{Authority, PathAndQuery, Uri};

/// The URL of a channel. Parsed with [`FromStr`]; a query is kept and sent along.
#[derive(Clone, PartialEq, Eq)]
pub struct ChannelUrl {
    authority: Authority,
    port: u16,
    path: String,
    query: Option<String>,
}

/// Why a text is no URL of a channel that this client reaches.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// It is no URL.
    #[error("`{url}` is no URL ({reason}); write it as http://127.0.0.1:8080/channels/chat/lobby")]
    Malformed {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The scheme needs TLS.
    #[error(
        "`{0}` asks for an encrypted connection and this version speaks clear text only; use http:// to a server or proxy that you reach over a trusted network"
    )]
    Encrypted(String),
    /// Another scheme, or none.
    #[error(
        "`{0}` does not begin with http://; write it as http://127.0.0.1:8080/channels/chat/lobby"
    )]
    Scheme(String),
    /// The path is that of the server and names no channel.
    #[error("`{0}` names no channel; add one, as in /channels/chat/lobby")]
    NoChannel(String),
    /// The name breaks a rule of names.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl ChannelUrl {
    /// The channel of this name on a server, which is given by its URL, such as
    /// `http://127.0.0.1:8080`. A path in that URL stands before `/channels/`.
    ///
    /// # Errors
    ///
    /// The server's URL or the name is not valid.
    pub fn on_server(server: &str, name: &str) -> Result<Self, UrlError> {
        let name = ChannelName::new(name)?;
        let server = Self::parse(server)?;
        let path = format!(
            "{}/channels/{}",
            server.path.trim_end_matches('/'),
            name.to_path()
        );
        Ok(Self { path, ..server })
    }

    fn parse(url: &str) -> Result<Self, UrlError> {
        let malformed = |reason: &str| UrlError::Malformed {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        match url
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase())
            .as_deref()
        {
            Some("http" | "ws") => {}
            Some("https" | "wss") => return Err(UrlError::Encrypted(url.to_owned())),
            Some(_) | None => return Err(UrlError::Scheme(url.to_owned())),
        }
        let uri: Uri = url
            .parse()
            .map_err(|error: http::uri::InvalidUri| malformed(&error.to_string()))?;
        let authority = uri
            .authority()
            .ok_or_else(|| malformed("it names no host"))?
            .clone();
        if authority.as_str().contains('@') {
            return Err(malformed(
                "it holds a user name, which is never sent; leave it out",
            ));
        }
        if authority.host().is_empty() {
            return Err(malformed("it names no host"));
        }
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            None | Some("") => HTTP_PORT,
            Some(port) => port
                .parse()
                .map_err(|_| malformed("its port is not a number from 0 to 65535"))?,
        };
        Ok(Self {
            authority,
            port,
            path: uri.path().to_owned(),
            query: uri
                .query()
                .filter(|query| !query.is_empty())
                .map(str::to_owned),
        })
    }

    /// The host and port to connect to.
    pub(crate) fn address(&self) -> (&str, u16) {
        let host = self.authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        (host, self.port)
    }

    /// The value of the `Host` field.
    pub(crate) fn host(&self) -> HeaderValue {
        HeaderValue::from_str(self.authority.as_str())
            .unwrap_or_else(|_| unreachable!("an authority is visible ASCII"))
    }

    /// The request target with these parameters. Names and values are of characters that need no
    /// percent-encoding.
    pub(crate) fn target(&self, parameters: &[(&str, String)]) -> PathAndQuery {
        let mut target = self.path.clone();
        let own = self.query.iter().cloned();
        let more = parameters
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        for (index, parameter) in own.chain(more).enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(&parameter);
        }
        target
            .parse()
            .unwrap_or_else(|_| unreachable!("a path and parameters that were checked"))
    }
}

impl FromStr for ChannelUrl {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let parsed = Self::parse(url)?;
        // A name is looked for only where we know where names begin: a proxy may map any path.
        match parsed.path.split_once("/channels/") {
            Some((_, name)) => drop(ChannelName::from_path(name)?),
            None if parsed.path == "/" => return Err(UrlError::NoChannel(url.to_owned())),
            None => {}
        }
        Ok(parsed)
    }
}

impl fmt::Display for ChannelUrl {
    /// Without the query, which may hold a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

impl fmt::Debug for ChannelUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The port of an `http` URL that names none (RFC 9110, section 4.2.1).
const HTTP_PORT: u16 = 80;

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
            assert_eq!(parsed.address(), address, "{url}");
            assert_eq!(parsed.target(&[("offset", "-1".into())]), target, "{url}");
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
    fn what_cannot_be_reached_is_refused_with_the_way_out() {
        for (url, expected) in [
            ("https://h/channels/a", "clear text only"),
            ("wss://h/channels/a", "clear text only"),
            ("news", "does not begin with http://"),
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
