//! Which address a request is for.

use everwire_channel::ChannelName;
use everwire_wire::{Problem, ProblemKind};

/// An address of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Channel(Dialect, ChannelName),
    /// Who is in the channel.
    Presence(ChannelName),
    Publish,
    Connect,
    /// A session, by what stands for its id.
    Session(&'a str),
    /// Tokens that are taken back.
    Revocations,
    Echo,
    Health,
    Ready,
    Metrics,
    /// What a certificate authority looks for, by its token (RFC 8555, section 8.3).
    AcmeChallenge(&'a str),
    /// The page and what it is made of.
    Page(&'a str),
}

/// By which rules a channel is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `/channels/{name}`
    Everwire,
    /// `/v1/stream/{name}`: Durable Streams, where a stream has to be created first.
    DurableStreams,
}

impl<'a> Target<'a> {
    /// Reads a request's path, which is still percent-encoded.
    pub fn parse(path: &'a str) -> Result<Self, Problem> {
        if let Some(name) = path.strip_prefix("/channels/") {
            return name_of(name).map(|name| Self::Channel(Dialect::Everwire, name));
        }
        if let Some(name) = path.strip_prefix("/v1/stream/") {
            return name_of(name).map(|name| Self::Channel(Dialect::DurableStreams, name));
        }
        if let Some(name) = path.strip_prefix("/presence/") {
            return name_of(name).map(Self::Presence);
        }
        if let Some(session) = path.strip_prefix("/connect/") {
            return Ok(Self::Session(session));
        }
        if let Some(token) = path.strip_prefix(CHALLENGES) {
            return Ok(Self::AcmeChallenge(token));
        }
        match path {
            "/connect" => Ok(Self::Connect),
            "/publish" => Ok(Self::Publish),
            "/revocations" => Ok(Self::Revocations),
            "/echo" => Ok(Self::Echo),
            "/healthz" => Ok(Self::Health),
            "/readyz" => Ok(Self::Ready),
            "/metrics" => Ok(Self::Metrics),
            "/" => Ok(Self::Page("/")),
            page if page.starts_with("/page/") || page.starts_with("/examples/") => {
                Ok(Self::Page(page))
            }
            _ => Err(Problem::new(
                ProblemKind::NotFound,
                "there is nothing at this address; channels are at /channels/{name}",
            )),
        }
    }
}

/// Whether a path is what a certificate authority looks for.
pub(super) fn is_challenge(path: &str) -> bool {
    path.starts_with(CHALLENGES)
}

const CHALLENGES: &str = "/.well-known/acme-challenge/";

fn name_of(path: &str) -> Result<ChannelName, Problem> {
    ChannelName::from_path(path)
        .map_err(|error| Problem::new(ProblemKind::BadName, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OWN_SEGMENTS;

    #[test]
    fn each_address_is_known_and_nothing_else() {
        let name = |name: &str| ChannelName::new(name).unwrap();
        for (path, expected) in [
            (
                "/channels/chat/lobby",
                Ok(Target::Channel(Dialect::Everwire, name("chat/lobby"))),
            ),
            (
                "/channels/a%20b",
                Ok(Target::Channel(Dialect::Everwire, name("a b"))),
            ),
            (
                "/v1/stream/jobs/7",
                Ok(Target::Channel(Dialect::DurableStreams, name("jobs/7"))),
            ),
            (
                "/presence/chat/lobby",
                Ok(Target::Presence(name("chat/lobby"))),
            ),
            ("/publish", Ok(Target::Publish)),
            ("/connect", Ok(Target::Connect)),
            ("/connect/0a", Ok(Target::Session("0a"))),
            ("/revocations", Ok(Target::Revocations)),
            ("/revocations/a", Err(404)),
            ("/", Ok(Target::Page("/"))),
            ("/page/app.js", Ok(Target::Page("/page/app.js"))),
            ("/examples/chat/", Ok(Target::Page("/examples/chat/"))),
            (
                "/.well-known/acme-challenge/a-b",
                Ok(Target::AcmeChallenge("a-b")),
            ),
            ("/.well-known/", Err(404)),
            ("/channels", Err(404)),
            ("/channels/", Err(400)),
            ("/presence", Err(404)),
            ("/presence/", Err(400)),
            ("/channels/a//b", Err(400)),
            ("/channels/a/../b", Err(400)),
            ("/channels/a%2Fb", Err(400)),
            ("/channels/a%00", Err(400)),
            ("/channels/%ff", Err(400)),
            ("/publish/", Err(404)),
            ("/Channels/a", Err(404)),
        ] {
            let found = Target::parse(path).map_err(|problem| problem.kind.status());
            assert_eq!(found, expected, "{path}");
            let first = path.split('/').nth(1).unwrap();
            let is_own = first.is_empty() || OWN_SEGMENTS.contains(&first);
            assert!(
                found.is_err() || is_own,
                "{path} could stand below a prefix"
            );
        }
    }
}
