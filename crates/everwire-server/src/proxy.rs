//! Proxies in front: who is behind them, told before a connection's first byte or in each request's fields.
//!
//! ```text
//!  client ──▶ proxy ──▶ proxy ──▶ us        each hop that http.trusted_proxies holds says who is behind it;
//!    ▲──────────┴─────────┘                 the first that it does not hold is the client
//! ```
//!
//! Whoever is not trusted is the client itself, whatever it says of others.

mod forwarded;
mod neighbourhood;
pub mod protocol;
mod unbelieved;

use std::net::IpAddr;

use http::HeaderMap;

use self::forwarded::Said;
pub(crate) use self::{
    neighbourhood::neighbourhood,
    unbelieved::{Hint, Unbelieved, is_shared},
};
use crate::{config::Http, scheme::Scheme};

/// Who sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// Where it is, behind whatever proxies are trusted.
    pub address: IpAddr,
    /// By which scheme the connection takes requests; a proxy may have been asked by another.
    pub scheme: Scheme,
    /// Whether a trusted proxy passes its requests on.
    pub is_passed_on: bool,
    /// What its proxy says of the request as the client sent it; nothing where nobody is trusted to.
    pub said: Option<Box<Said>>,
}

/// Where a connection leads to: its peer, or whom the peer's PROXY header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    pub address: IpAddr,
    /// It is a proxy that has not said whom the connection is for (`UNKNOWN`, `LOCAL`): perhaps a client's, whose
    /// fields say what that likes.
    pub is_unnamed: bool,
}

impl Hop {
    /// A peer that speaks for itself.
    pub fn at(address: IpAddr) -> Self {
        Self {
            address,
            is_unnamed: false,
        }
    }

    /// Whether what it says of others is believed.
    pub fn is_trusted(self, settings: &Http) -> bool {
        !self.is_unnamed && is_trusted(self.address, settings)
    }
}

/// Something that a trusted proxy says is not understood. Its address is taken for the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Client {
    /// Whoever it is that a connection leads to.
    pub fn at(address: IpAddr, scheme: Scheme) -> Self {
        Self {
            address,
            scheme,
            is_passed_on: false,
            said: None,
        }
    }

    /// Who sends a request with these fields on a connection that leads to `hop`.
    pub fn of(
        hop: Hop,
        scheme: Scheme,
        headers: &HeaderMap,
        settings: &Http,
    ) -> (Self, Option<Malformed>) {
        if !hop.is_trusted(settings) {
            return (Self::at(hop.address, scheme), None);
        }
        let (address, said, malformed) = forwarded::read(hop.address, headers, settings);
        let said = (said != Said::default()).then(|| Box::new(said));
        let client = Self {
            address,
            scheme,
            is_passed_on: true,
            said,
        };
        (client, malformed)
    }
}

/// Whether what somebody says of others is believed.
pub(crate) fn is_trusted(address: IpAddr, settings: &Http) -> bool {
    (settings.trusted_proxies)
        .iter()
        .any(|network| network.contains(address))
}
