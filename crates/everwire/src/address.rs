//! Which channel a command is about.

use anyhow::{Context, bail};
use everwire_client::{ChannelUrl, ServerUrl};

/// Where channels are that are given by name.
#[derive(Debug, clap::Args)]
pub struct Address {
    /// The server, where only a name is given.
    #[arg(
        long,
        value_name = "URL",
        env = "EVERWIRE_SERVER",
        default_value = "http://127.0.0.1:8080"
    )]
    server: String,
}

impl Address {
    /// The URL of a channel, which is given by its name or by its whole URL.
    ///
    /// # Errors
    ///
    /// The name or a URL is not valid.
    pub fn url(&self, channel: &str) -> anyhow::Result<ChannelUrl> {
        let server = &self.server;
        if channel.contains("://") {
            return Ok(channel.parse()?);
        }
        // Names may hold nearly everything, but hardly anybody means such a one.
        if channel.contains("/channels/") {
            bail!("`{channel}` looks like a URL without its beginning; write http://{channel}");
        }
        ChannelUrl::on_server(server, channel).with_context(|| {
            format!("cannot address the channel `{channel}` on the server {server}")
        })
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
        Address { server }
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
            ("https://h/channels/news", "clear text only"),
        ] {
            let error = url(channel).unwrap_err();
            assert!(error.contains(expected), "{channel} gave {error:?}");
        }
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
