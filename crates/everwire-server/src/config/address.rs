//! Addresses that may be asked: what the server sends goes to one of these and nowhere else.
//!
//! ```text
//!  webhooks.url ─┐
//!  tokens.jwks  ─┼─▶ Url ─▶ Address::of(url, where clear text may be) ─▶ Outbound::send
//!  ACME         ─┘             └─ the only way there
//! ```

use std::{fmt, net::IpAddr};

use http::{Uri, uri::Authority};

use super::url::Url;

/// An address that may be asked: by `https`, or in clear text where nobody is on the way or that was put up with.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address(Url);

/// Where others may be asked in clear text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClearText {
    /// Not at all: `https` alone.
    Nowhere,
    /// On this machine.
    OnLoopback,
    /// Wherever the operator says, who knows that nobody is on the way.
    Anywhere,
}

/// The address is in clear text, which may not be spoken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it would be asked in clear text, which whoever is on the way can read and change; it has to be https"
)]
pub(crate) struct Exposed;

impl Address {
    /// An address, if it may be asked where clear text may be spoken there.
    pub fn of(url: &Url, clear_text: ClearText) -> Result<Self, Exposed> {
        let is_fine = match clear_text {
            _ if url.as_uri().scheme_str() == Some("https") => true,
            ClearText::Nowhere => false,
            ClearText::OnLoopback => is_on_loopback(url.as_uri()),
            ClearText::Anywhere => true,
        };
        match is_fine {
            true => Ok(Self(url.clone())),
            false => Err(Exposed),
        }
    }

    /// For a request.
    pub fn as_uri(&self) -> &Uri {
        self.0.as_uri()
    }

    /// Its host and port.
    pub fn authority(&self) -> &Authority {
        let authority = self.0.as_uri().authority();
        authority.expect("an address is absolute")
    }

    /// As it was written.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

fn is_on_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URLS: [(&str, bool, bool); 10] = [
        // The URL, whether it is secure, whether it stays on this machine.
        ("https://example.org/", true, false),
        ("HTTPS://example.org/", true, false),
        ("https://127.0.0.1/", true, true),
        ("http://127.0.0.1:81/", false, true),
        ("http://[::1]/", false, true),
        ("http://LOCALHOST:81/", false, true),
        ("http://localhost.example.org/", false, false),
        ("http://10.0.0.1/", false, false),
        ("http://127.1/", false, false),
        ("http://example.org/", false, false),
    ];

    #[test]
    fn clear_text_is_spoken_where_it_may_be() {
        for (text, is_secure, is_local) in URLS {
            let url = Url::parse(text).unwrap();
            for (clear_text, expected) in [
                (ClearText::Nowhere, is_secure),
                (ClearText::OnLoopback, is_secure || is_local),
                (ClearText::Anywhere, true),
            ] {
                let found = Address::of(&url, clear_text).is_ok();
                assert_eq!(found, expected, "{text}, clear text {clear_text:?}");
            }
        }
    }
}
