//! Where servers and channels are.

mod channel;
mod server;

pub use channel::ChannelUrl;
pub use server::ServerUrl;

use std::fmt;

use everwire_channel::NameError;
use http::HeaderValue;
use http::uri::{Authority, PathAndQuery, Uri};

use crate::Trust;

/// What all URLs have in common that this client reaches.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HttpUrl {
    authority: Authority,
    port: u16,
    path: String,
    query: Option<String>,
    /// Whom to believe, where the connection is encrypted.
    trust: Option<Trust>,
}

/// Why a text is no URL that this client reaches.
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
    /// Another scheme, or none.
    #[error("`{url}` does not begin with http:// or https://; write {better}")]
    Scheme {
        /// What was given.
        url: String,
        /// What is meant, as far as that can be guessed.
        better: String,
    },
    /// The URL of a channel, where that of its server is wanted.
    #[error("`{url}` is the URL of a channel; its server is {server}")]
    Channel {
        /// What was given.
        url: String,
        /// The server's own URL.
        server: String,
    },
    /// The path is that of the server and names no channel.
    #[error("`{0}` names no channel; add one, as in /channels/chat/lobby")]
    NoChannel(String),
    /// The name breaks a rule of names.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl HttpUrl {
    fn parse(url: &str) -> Result<Self, UrlError> {
        let malformed = |reason: &str| UrlError::Malformed {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let trust = match url
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase())
            .as_deref()
        {
            Some("http" | "ws") => None,
            Some("https" | "wss") => Some(Trust::system()),
            Some(_) | None => {
                return Err(UrlError::Scheme {
                    url: url.to_owned(),
                    better: with_scheme(url),
                });
            }
        };
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
            None | Some("") if trust.is_some() => HTTPS_PORT,
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
            trust,
        })
    }

    /// The URL of a server, which is no channel's.
    fn parse_server(url: &str) -> Result<Self, UrlError> {
        let parsed = Self::parse(url)?;
        match parsed.path.split_once("/channels/") {
            Some((path, name)) if !name.is_empty() => Err(UrlError::Channel {
                url: parsed.to_string(),
                server: Self {
                    path: path.to_owned(),
                    ..parsed
                }
                .to_string(),
            }),
            _ => Ok(parsed),
        }
    }

    /// Whom to believe; nobody is asked for a certificate in clear text.
    pub(crate) fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    /// The same, with other authorities to be believed where it is encrypted.
    fn trusting(self, trust: &Trust) -> Self {
        Self {
            trust: self.trust.map(|_| trust.clone()),
            ..self
        }
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

    /// The target of a request to this URL with these parameters. Names and values are of characters that need no
    /// percent-encoding.
    pub(crate) fn target(&self, parameters: &[(&str, String)]) -> PathAndQuery {
        self.target_below("", parameters)
    }

    /// The same, of what is below this URL. Below is said in characters that need no percent-encoding.
    pub(crate) fn target_below(&self, below: &str, parameters: &[(&str, String)]) -> PathAndQuery {
        let mut target = format!("{}{below}", self.path);
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

impl fmt::Display for HttpUrl {
    /// Without the query, which may hold a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.trust.is_some() {
            "https"
        } else {
            "http"
        };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// A URL that begins with a host, such as `localhost:8080`, as it should be; else an example.
fn with_scheme(url: &str) -> String {
    let rest = url.trim_start_matches('/');
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_host = host.contains(['.', ':']) || host.eq_ignore_ascii_case("localhost");
    let is_url = format!("http://{rest}").parse::<Uri>().is_ok();
    match is_host && is_url && !rest.contains("://") {
        true => format!("http://{rest}, or https://{rest} if it speaks TLS"),
        false => "it as http://127.0.0.1:8080, or https:// if it speaks TLS".to_owned(),
    }
}

/// The port of an `http` URL that names none (RFC 9110, section 4.2.1).
const HTTP_PORT: u16 = 80;

/// That of an `https` URL (RFC 9110, section 4.2.2).
const HTTPS_PORT: u16 = 443;
