//! What is told of one request: its name in the answer, and a line in the log where that is wanted.
//!
//! A line holds which kind of address was asked for and the channel, never the address as it was sent: there may be a
//! token in it. For the same reason it holds no field of the request but the name that a trusted proxy gave it.

use std::{net::IpAddr, time::Instant};

use http::{Method, StatusCode, request::Parts};

use super::target::Target;
use crate::{answer::RequestId, proxy::Client};

/// A request of which the log will tell.
pub(super) struct Visit {
    id: RequestId,
    began: Instant,
    method: Method,
    route: &'static str,
    channel: Option<String>,
    address: IpAddr,
}

impl Visit {
    /// A request has come.
    pub fn begin(parts: &Parts, client: &Client) -> Self {
        let target = Target::parse(parts.uri.path());
        let (route, channel) = target.map_or(("none", None), |target| match target {
            Target::Channel(_, name) => ("channel", Some(name)),
            Target::Presence(name) => ("presence", Some(name)),
            Target::Publish => ("publish", None),
            Target::Connect => ("connect", None),
            Target::Session(_) => ("session", None),
            Target::Echo => ("echo", None),
            Target::Health
            | Target::Ready
            | Target::Metrics
            | Target::Revocations
            | Target::AcmeChallenge(_) => ("operations", None),
            Target::Page(_) => ("page", None),
        });
        Self {
            id: RequestId::of(&parts.headers, client),
            began: Instant::now(),
            method: parts.method.clone(),
            route,
            channel: channel.map(|name| name.to_string()),
            address: client.address,
        }
    }

    /// Its name.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// It has its answer, with so many bytes of content, or has become a line.
    pub fn end(&self, status: StatusCode, bytes: Option<usize>) {
        tracing::info!(
            target: "everwire::requests",
            request = %self.id,
            method = %self.method,
            route = self.route,
            channel = self.channel,
            status = status.as_u16(),
            bytes,
            line = bytes.is_none(),
            elapsed_ms = self.began.elapsed().as_millis() as u64,
            address = %self.address,
            "request"
        );
    }
}
