//! Which channel a command is about.

use anyhow::{Context, bail};
use everwire_client::ChannelUrl;

/// A channel, by its URL or by its name on a server.
#[derive(Debug, clap::Args)]
pub struct Address {
    /// The channel: its name, such as chat/lobby, or its whole URL.
    ///
    /// A name is taken on the server that --server names; a URL, such as
    /// http://127.0.0.1:8080/channels/chat/lobby, stands for itself.
    channel: String,

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
    /// The channel's URL.
    ///
    /// # Errors
    ///
    /// The name or a URL is not valid.
    pub fn url(&self) -> anyhow::Result<ChannelUrl> {
        let Self { channel, server } = self;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn url(channel: &str) -> Result<String, String> {
        let server = "http://h:8080".to_owned();
        let address = Address {
            channel: channel.to_owned(),
            server,
        };
        address
            .url()
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
}
