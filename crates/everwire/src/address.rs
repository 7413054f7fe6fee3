//! Which channel a command is about, and what it shows there.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use everwire_client::{ChannelUrl, Credential, ServerUrl, Trust};

/// Where channels are that are given by name.
#[derive(clap::Args)]
pub struct Address {
    /// The server, where only a name is given.
    #[arg(
        long,
        value_name = "URL",
        env = "EVERWIRE_SERVER",
        default_value = DEFAULT_SERVER
    )]
    server: String,

    /// A file of certificates as PEM, whose authorities are believed besides those of the system.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// The token or API key to show. Other users of this machine see it in the list of processes, and it
    /// stays in the history of the shell: better put it into --token-file or EVERWIRE_TOKEN.
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<String>,

    /// A file with the token or API key to show; it is read anew when the last one has ended or is refused.
    ///
    /// Without --token and --token-file, what EVERWIRE_TOKEN holds is shown, if it is set.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Without the token.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Address {
    /// The URL of a channel, which is given by its name or by its whole URL.
    ///
    /// # Errors
    ///
    /// The name or a URL is not valid.
    pub fn url(&self, channel: &str) -> anyhow::Result<ChannelUrl> {
        let server = &self.server;
        let trust = self.trust()?;
        if channel.contains("://") {
            return Ok(channel.parse::<ChannelUrl>()?.trusting(&trust));
        }
        // Names may hold nearly everything, but hardly anybody means such a one.
        if channel.contains("/channels/") {
            bail!("`{channel}` looks like a URL without its beginning; write http://{channel}");
        }
        // As if it were not set.
        let server = match server.trim() {
            "" => DEFAULT_SERVER,
            server => server,
        };
        let url = ChannelUrl::on_server(server, channel).with_context(|| {
            format!("cannot address the channel `{channel}` on the server {server}")
        })?;
        Ok(url.trusting(&trust))
    }

    /// What to show to the server, if anything. A file is read once now, so that a wrong one is told at once.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is empty.
    pub fn credential(&self) -> anyhow::Result<Option<Credential>> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(Some(Credential::fixed(token.trim()))),
            (None, Some(path)) => {
                token_in(path)?;
                let path = path.clone();
                let fetch = move || {
                    let token = token_in(&path).map_err(|error| format!("{error:#}"));
                    async move { token }
                };
                Ok(Some(Credential::fetched(fetch)))
            }
            (None, None) => {
                let token = env::var(TOKEN_VARIABLE).unwrap_or_default();
                let token = token.trim();
                Ok((!token.is_empty()).then(|| Credential::fixed(token)))
            }
        }
    }

    fn trust(&self) -> anyhow::Result<Trust> {
        let Some(path) = &self.ca_file else {
            return Ok(Trust::system());
        };
        let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Trust::and_pem(&pem).with_context(|| format!("cannot use {}", path.display()))
    }
}

/// Where a server listens by default.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// Where a token is looked for that is not given otherwise.
const TOKEN_VARIABLE: &str = "EVERWIRE_TOKEN";

fn token_in(path: &Path) -> anyhow::Result<String> {
    let token =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    match token.trim() {
        "" => bail!("{} is empty; write the token into it", path.display()),
        token => Ok(token.to_owned()),
    }
}

/// The one server that all these channels are on, and their names there.
///
/// # Errors
///
/// They are on several servers, or a URL does not tell the server from the channel.
pub fn one_server(urls: &[ChannelUrl]) -> anyhow::Result<(ServerUrl, Vec<String>)> {
    let mut names = Vec::new();
    let mut servers = Vec::new();
    for url in urls {
        let Some((server, name)) = url.server_and_name() else {
            bail!(
                "{url} is not below /channels/, so its server is not known; add --wire websocket to read this URL itself"
            );
        };
        names.push(name);
        servers.push(server);
    }
    match &servers[..] {
        [server, others @ ..] => match others.iter().find(|other| *other != server) {
            None => Ok((server.clone(), names)),
            Some(other) => bail!(
                "one line reads channels of one server, and these are on {server} and {other}; run a command for each"
            ),
        },
        [] => bail!("no channel is named"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        let server = "http://h:8080".to_owned();
        Address {
            server,
            ca_file: None,
            token: None,
            token_file: None,
        }
    }

    fn url(channel: &str) -> Result<String, String> {
        address()
            .url(channel)
            .map(|url| url.to_string())
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_channel_is_given_by_name_or_by_url() {
        for (channel, expected) in [
            ("news", "http://h:8080/channels/news"),
            ("chat/the lobby", "http://h:8080/channels/chat/the%20lobby"),
            ("http://other/channels/news", "http://other/channels/news"),
        ] {
            assert_eq!(url(channel).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_mistaken_address_is_told_with_the_way_out() {
        for (channel, expected) in [
            ("", "the channel name is empty; name one"),
            ("/news", "empty segment"),
            (
                "localhost:8080/channels/news",
                "write http://localhost:8080/channels/news",
            ),
            ("ftp://h/channels/news", "http:// or https://"),
        ] {
            let error = url(channel).unwrap_err();
            assert!(error.contains(expected), "{channel} gave {error:?}");
        }
    }

    #[test]
    fn a_token_is_taken_from_a_file_that_holds_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let credential = || {
            let address = Address {
                token_file: Some(path.clone()),
                ..address()
            };
            address.credential().map_err(|error| format!("{error:#}"))
        };
        assert!(credential().unwrap_err().contains("cannot read"));
        fs::write(&path, "\n").unwrap();
        assert!(credential().unwrap_err().contains("is empty"));
        fs::write(&path, "secret\n").unwrap();
        let shown = format!("{:?}", credential().unwrap());
        assert_eq!(shown, "Some(Credential(not shown))");
    }

    #[test]
    fn an_authority_that_cannot_be_believed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        fs::write(&path, "hello").unwrap();
        let address = Address {
            ca_file: Some(path),
            ..address()
        };
        let error = format!("{:#}", address.url("news").unwrap_err());
        assert!(error.contains("BEGIN CERTIFICATE"), "{error}");
    }

    #[test]
    fn channels_on_one_line_are_on_one_server() {
        let server = |channels: &[&str]| {
            let urls: Vec<_> = (channels.iter())
                .map(|channel| address().url(channel).unwrap())
                .collect();
            one_server(&urls)
                .map(|(server, names)| (server.to_string(), names.join(" ")))
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            server(&["news", "http://h:8080/channels/chat/a"]),
            Ok(("http://h:8080".into(), "news chat/a".into()))
        );
        for (channels, expected) in [
            (
                &["news", "http://other/channels/a"][..],
                "http://h:8080 and http://other",
            ),
            (&["http://h/v1/stream/a"], "add --wire websocket"),
        ] {
            let error = server(channels).unwrap_err();
            assert!(error.contains(expected), "{channels:?} gave {error:?}");
        }
    }
}
