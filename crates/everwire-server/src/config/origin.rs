//! Origins of pages (RFC 6454): a scheme, a host and a port, compared as such and not as texts.
//!
//! ```text
//!  https://example.org       that very one, with or without :443, in any case
//!  https://*.example.org     every name below it, however deep, and not example.org itself
//! ```

use super::host::is_below;

/// An origin, or those of all hosts below one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageOrigin<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
}

impl<'a> PageOrigin<'a> {
    /// Reads an origin as a browser sends it, or a configuration lists it.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = |c: u8| c.is_ascii_alphanumeric() || b"+-.".contains(&c);
        let begins = scheme.bytes().next()?.is_ascii_alphabetic();
        (begins && scheme.bytes().all(is_scheme)).then_some(())?;
        Self::at(scheme, authority)
    }

    /// The origin of this scheme at an authority, a host with a port or without.
    pub fn at(scheme: &'a str, authority: &'a str) -> Option<Self> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let end = rest.find(']')? + 2;
                (&authority[..end], authority[end..].strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let rest = authority.len() - host.len();
        if rest > 0 && port.is_none() {
            return None;
        }
        let is_of_a_host = |c: u8| c.is_ascii_alphanumeric() || b"-._~*:[]".contains(&c);
        if host.is_empty() || !host.bytes().all(is_of_a_host) {
            return None;
        }
        let port = match port {
            None | Some("") => default_port(scheme),
            Some(digits) if digits.bytes().all(|c| c.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
        };
        Some(Self { scheme, host, port })
    }

    /// Whether another is the same, or one of those below this one.
    pub fn covers(&self, other: &Self) -> bool {
        let is_host = match self.host.strip_prefix("*.") {
            None => self.host.eq_ignore_ascii_case(other.host),
            Some(parent) => is_below(other.host, parent),
        };
        is_host && self.port == other.port && self.scheme.eq_ignore_ascii_case(other.scheme)
    }

    /// Tells what is wrong with an origin that a configuration lists and that no page could have.
    pub fn never_matches(text: &'a str) -> Option<&'static str> {
        if text == "*" {
            return None;
        }
        let Some(origin) = Self::parse(text) else {
            return Some(
                "an origin is a scheme, a host and perhaps a port, without a path: `https://example.org`",
            );
        };
        let name = origin.host.strip_prefix("*.").unwrap_or(origin.host);
        match () {
            () if ["ws", "wss"]
                .iter()
                .any(|ws| origin.scheme.eq_ignore_ascii_case(ws)) =>
            {
                Some("a page's origin has the scheme that the page came by, `https` or `http`")
            }
            () if name.contains('*') => {
                Some("`*` stands for whatever is below a host: `https://*.example.org`")
            }
            () if name.starts_with('.') || name.is_empty() => Some("the host is none"),
            () => None,
        }
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(443),
        "http" | "ws" => Some(80),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_compared_by_scheme_host_and_port() {
        for (listed, origin, expected) in [
            ("https://example.org", "https://example.org", true),
            ("https://example.org:443", "https://example.org", true),
            ("https://example.org", "https://example.org:443", true),
            ("HTTPS://Example.ORG", "https://example.org", true),
            ("http://example.org:80", "http://example.org", true),
            ("https://example.org:80", "https://example.org", false),
            ("http://example.org", "https://example.org", false),
            ("https://example.org:8443", "https://example.org", false),
            ("https://[2001:db8::1]:443", "https://[2001:db8::1]", true),
            ("app://host", "app://host", true),
            ("https://*.example.org", "https://a.example.org", true),
            ("https://*.example.org", "https://A.b.Example.org:443", true),
            ("https://*.example.org", "https://example.org", false),
            ("https://*.example.org", "https://.example.org", false),
            ("https://*.example.org", "https://evilexample.org", false),
            (
                "https://*.example.org",
                "https://a.example.org.evil.net",
                false,
            ),
            ("https://*.example.org", "http://a.example.org", false),
            ("https://*.example.org", "https://a.example.org:8443", false),
            (
                "https://*.example.org:8443",
                "https://a.example.org:8443",
                true,
            ),
            ("https://example.org", "https://example.org/", false),
            ("https://example.org", "https://a@example.org", false),
            ("https://example.org", "https://example.org:x", false),
            ("https://example.org", "null", false),
        ] {
            let listed_origin = PageOrigin::parse(listed).unwrap();
            let found =
                PageOrigin::parse(origin).is_some_and(|origin| listed_origin.covers(&origin));
            assert_eq!(found, expected, "{listed} {origin}");
        }
    }

    #[test]
    fn an_origin_that_no_page_could_have_is_told() {
        for (text, is_fine) in [
            ("*", true),
            ("https://example.org", true),
            ("https://*.example.org:8443", true),
            ("app://host", true),
            ("example.org", false),
            ("https://example.org/", false),
            ("https://example.org/path", false),
            ("https://ada@example.org", false),
            ("https://bücher.example", false),
            ("https://a.*.example.org", false),
            ("https://*", false),
            ("https://*example.org", false),
            ("wss://example.org", false),
            ("https://example.org:99999", false),
            ("https://", false),
            ("null", false),
        ] {
            assert_eq!(PageOrigin::never_matches(text).is_none(), is_fine, "{text}");
        }
    }
}
