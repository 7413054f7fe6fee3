//! The fields by which a proxy says whose request it passes on.
//!
//! ```text
//!  X-Forwarded-For: 203.0.113.7, 10.0.0.2          each proxy adds who is behind it at the end
//!  Forwarded: for="[2001:db8::7]:4711";proto=https;host=live.example.org, for=10.0.0.2      (RFC 7239)
//!                  ▲ the client: the last that is no trusted proxy
//! ```
//!
//! Only one of the two is read, which the configuration names: a proxy adds to one and passes on the other as the
//! client made it up.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use http::{HeaderMap, HeaderName, header};

use super::{Malformed, is_trusted};
use crate::config::{Http, ProxyFields};

/// What a proxy says of a request as its client sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// The host that was asked.
    pub host: Option<String>,
    /// The scheme, `http` or `https`.
    pub scheme: Option<&'static str>,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Longest name of a host (RFC 1035, section 2.3.4), with a port.
const HOST_BYTES_MAX: usize = 261;

/// Who is behind the trusted `proxy`, and what it says of the request. What is not understood ends the search: the
/// client is then whoever was reached.
pub(super) fn read(
    proxy: IpAddr,
    headers: &HeaderMap,
    settings: &Http,
) -> (IpAddr, Said, Option<Malformed>) {
    let mut search = Search {
        settings,
        address: proxy,
        said: Said::default(),
        malformed: None,
    };
    let found = match settings.proxy_fields {
        ProxyFields::XForwarded => search.x_forwarded(headers),
        ProxyFields::Forwarded => search.forwarded(headers),
    };
    (
        search.address,
        search.said,
        found.err().or(search.malformed),
    )
}

struct Search<'s> {
    settings: &'s Http,
    /// Who was reached, going back from the server.
    address: IpAddr,
    said: Said,
    /// Something beside the address was not understood. Proxies pass on a host as the client wrote it, who must not
    /// hide behind its proxy's address by writing nonsense.
    malformed: Option<Malformed>,
}

impl Search<'_> {
    fn x_forwarded(&mut self, headers: &HeaderMap) -> Result<(), Malformed> {
        let host = last_of(headers, &X_FORWARDED_HOST).map(host_of);
        self.said.host = self.understood(host);
        let scheme = last_of(headers, &X_FORWARDED_PROTO).map(scheme_of);
        self.said.scheme = self.understood(scheme);
        for value in headers.get_all(X_FORWARDED_FOR).iter().rev() {
            let value = value.to_str().map_err(|_| Malformed)?;
            for node in value.rsplit(',') {
                if self.goes_back_to(address_of(node.trim())?) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn forwarded(&mut self, headers: &HeaderMap) -> Result<(), Malformed> {
        for value in headers.get_all(header::FORWARDED).iter().rev() {
            let value = value.to_str().map_err(|_| Malformed)?;
            for element in split_quoted(value, b',')?.into_iter().rev() {
                let element = Element::parse(element)?;
                // Each hop says by what address and scheme it was asked: the outermost trusted one was by the client.
                self.said = Said {
                    host: self.understood(element.host.map(|host| host_of(&host))),
                    scheme: self.understood(element.scheme.map(|scheme| scheme_of(&scheme))),
                };
                match element.node {
                    Some(Node::Address(address)) if !self.goes_back_to(address) => {}
                    Some(Node::Address(_) | Node::Hidden) | None => return Ok(()),
                }
            }
        }
        Ok(())
    }

    fn understood<T>(&mut self, value: Option<Result<T, Malformed>>) -> Option<T> {
        match value? {
            Ok(value) => Some(value),
            Err(malformed) => {
                self.malformed = Some(malformed);
                None
            }
        }
    }

    /// Goes one hop further. True if the client is reached.
    fn goes_back_to(&mut self, address: IpAddr) -> bool {
        self.address = address;
        !is_trusted(address, self.settings)
    }
}

/// One hop of a `Forwarded` field.
#[derive(Default)]
struct Element {
    node: Option<Node>,
    host: Option<String>,
    scheme: Option<String>,
}

enum Node {
    Address(IpAddr),
    /// `unknown`, or a name that tells nothing to others (RFC 7239, section 6.2 and 6.3).
    Hidden,
}

impl Element {
    fn parse(text: &str) -> Result<Self, Malformed> {
        let mut element = Self::default();
        for pair in split_quoted(text, b';')? {
            if pair.is_empty() {
                continue;
            }
            let (name, value) = pair.split_once('=').ok_or(Malformed)?;
            let value = unquoted(value)?;
            match name.to_ascii_lowercase().as_str() {
                "for" if element.node.is_none() => element.node = Some(value.parse()?),
                "host" if element.host.is_none() => element.host = Some(value),
                "proto" if element.scheme.is_none() => element.scheme = Some(value),
                // Each parameter at most once (RFC 7239, section 4).
                "for" | "host" | "proto" => return Err(Malformed),
                _ => {}
            }
        }
        Ok(element)
    }
}

impl FromStr for Node {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let name = text.split_once(':').map_or(text, |(name, _port)| name);
        match name.eq_ignore_ascii_case("unknown") || name.starts_with('_') {
            true => Ok(Self::Hidden),
            false => address_of(text).map(Self::Address),
        }
    }
}

/// The last value of a field that is a list: what the nearest proxy says.
fn last_of<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let value = headers.get_all(name).iter().next_back()?;
    // What is no text is no host and no scheme either.
    let value = value.to_str().unwrap_or_default();
    value.rsplit(',').next().map(str::trim)
}

/// An address, with a port or without. Some proxies leave out the brackets.
fn address_of(text: &str) -> Result<IpAddr, Malformed> {
    let bare = (text.strip_prefix('[')).and_then(|rest| rest.strip_suffix(']'));
    let address = match text.parse::<SocketAddr>() {
        Ok(socket) => Ok(socket.ip()),
        Err(_) => match bare {
            Some(v6) => v6.parse().map(IpAddr::V6),
            None => text.parse(),
        },
    };
    address
        .map(|address| address.to_canonical())
        .map_err(|_| Malformed)
}

fn host_of(text: &str) -> Result<String, Malformed> {
    let is_of_a_host = |c: u8| c.is_ascii_alphanumeric() || b"-._:[]".contains(&c);
    match (1..=HOST_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_of_a_host) {
        true => Ok(text.to_owned()),
        false => Err(Malformed),
    }
}

fn scheme_of(text: &str) -> Result<&'static str, Malformed> {
    // WebSockets are said to be ws and wss by some.
    match text.to_ascii_lowercase().as_str() {
        "https" | "wss" => Ok("https"),
        "http" | "ws" => Ok("http"),
        _ => Err(Malformed),
    }
}

/// The parts between separators that are in no quoted string.
fn split_quoted(text: &str, separator: u8) -> Result<Vec<&str>, Malformed> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let mut bytes = text.bytes().enumerate();
    let mut quoted = false;
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => drop(bytes.next()),
            _ if byte == separator && !quoted => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    match quoted {
        true => Err(Malformed),
        false => Ok(parts),
    }
}

/// A token as it is, or what a quoted string says (RFC 9110, section 5.6.4).
fn unquoted(text: &str) -> Result<String, Malformed> {
    let Some(rest) = text.strip_prefix('"') else {
        return match text.contains(['"', '\\', ' ']) || text.is_empty() {
            true => Err(Malformed),
            false => Ok(text.to_owned()),
        };
    };
    let inside = rest.strip_suffix('"').ok_or(Malformed)?;
    let (mut said, mut chars) = (String::new(), inside.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => said.push(chars.next().ok_or(Malformed)?),
            '"' => return Err(Malformed),
            c => said.push(c),
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::{
        super::{Client, Hop},
        *,
    };
    use crate::scheme::Scheme;

    fn settings(fields: ProxyFields) -> Http {
        Http {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            proxy_fields: fields,
            ..Http::default()
        }
    }

    /// Who sends a request, as `address host scheme`; with ` !` if something was not understood.
    fn client(hop: &str, fields: ProxyFields, lines: &[(&str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::try_from(*name).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let (client, malformed) = Client::of(
            Hop::at(hop.parse().unwrap()),
            Scheme::Http,
            &headers,
            &settings(fields),
        );
        let mut text = client.address.to_string();
        if let Some(said) = client.said {
            for part in [said.host, said.scheme.map(str::to_owned)] {
                text.push(' ');
                text.push_str(part.as_deref().unwrap_or("-"));
            }
        }
        if malformed.is_some() {
            text.push_str(" !");
        }
        text
    }

    #[test]
    fn the_last_that_is_no_trusted_proxy_is_the_client() {
        for (hop, values, expected) in [
            ("10.0.0.1", &["203.0.113.7"][..], "203.0.113.7"),
            ("10.0.0.1", &["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", &["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
            (
                "10.0.0.1",
                &["198.51.100.1,203.0.113.7 , 10.9.9.9"],
                "203.0.113.7",
            ),
            ("10.0.0.1", &["203.0.113.7:4711"], "203.0.113.7"),
            ("10.0.0.1", &["2001:db8::7"], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
            ("fd00::1", &["::ffff:203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", &["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            // Who is not trusted is the client, whatever it says.
            ("192.0.2.1", &["203.0.113.7"], "192.0.2.1"),
            ("192.0.2.1", &["rubbish"], "192.0.2.1"),
            // What is not understood is not passed over: further left stands what the client made up.
            ("10.0.0.1", &["203.0.113.7, rubbish"], "10.0.0.1 !"),
            (
                "10.0.0.1",
                &["203.0.113.7, unknown, 10.0.0.2"],
                "10.0.0.2 !",
            ),
            ("10.0.0.1", &[""], "10.0.0.1 !"),
            ("10.0.0.1", &["203.0.113.7,"], "10.0.0.1 !"),
            ("10.0.0.1", &["203.0.113.7\u{e9}"], "10.0.0.1 !"),
        ] {
            let lines: Vec<_> = values
                .iter()
                .map(|value| ("x-forwarded-for", *value))
                .collect();
            let found = client(hop, ProxyFields::XForwarded, &lines);
            assert_eq!(found, expected, "{hop} says {values:?}");
        }
    }

    #[test]
    fn rfc_7239_says_it_in_one_field() {
        for (value, expected) in [
            ("for=203.0.113.7", "203.0.113.7"),
            ("For=\"[2001:db8::7]:4711\"", "2001:db8::7"),
            (
                "for=203.0.113.7;proto=https;host=live.example.org",
                "203.0.113.7 live.example.org https",
            ),
            (
                "for=203.0.113.7; Proto=HTTPS ;host=\"live.example.org:8443\"",
                "203.0.113.7 live.example.org:8443 https",
            ),
            (
                "for=198.51.100.1, for=203.0.113.7;by=10.0.0.1",
                "203.0.113.7",
            ),
            (
                "for=203.0.113.7;proto=https, for=10.0.0.2;proto=http",
                "203.0.113.7 - https",
            ),
            ("for=203.0.113.7;by=\"_a,b;\\\"c\"", "203.0.113.7"),
            ("for=198.51.100.1, for=unknown", "10.0.0.1"),
            ("for=198.51.100.1, for=_hidden, for=10.0.0.2", "10.0.0.2"),
            ("for=198.51.100.1, proto=https", "10.0.0.1 - https"),
            ("for=198.51.100.1, for=rubbish", "10.0.0.1 !"),
            (
                "for=198.51.100.1, for=203.0.113.7;for=203.0.113.8",
                "10.0.0.1 !",
            ),
            ("for=198.51.100.1, for=\"203.0.113.7", "10.0.0.1 !"),
            ("for=198.51.100.1, for", "10.0.0.1 !"),
            ("for=203.0.113.7;proto=gopher", "203.0.113.7 !"),
            (
                "for=203.0.113.7;host=\"a b\";proto=https",
                "203.0.113.7 - https !",
            ),
        ] {
            let found = client("10.0.0.1", ProxyFields::Forwarded, &[("forwarded", value)]);
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn the_client_asked_for_the_host_that_its_proxy_names() {
        let said = &[
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-host", "forged.example, live.example.org"),
            ("x-forwarded-proto", "https"),
        ];
        let found = client("10.0.0.1", ProxyFields::XForwarded, said);
        assert_eq!(found, "203.0.113.7 live.example.org https");
        let found = client("192.0.2.1", ProxyFields::XForwarded, said);
        assert_eq!(found, "192.0.2.1", "who is not trusted");
        let forged = &[
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-host", "a b"),
        ];
        let found = client("10.0.0.1", ProxyFields::XForwarded, forged);
        assert_eq!(found, "203.0.113.7 !", "whose client writes nonsense");
    }

    /// Clients make up what their proxy does not set.
    #[test]
    fn the_field_that_is_not_configured_says_nothing() {
        let both = &[
            ("x-forwarded-for", "203.0.113.7"),
            ("forwarded", "for=198.51.100.1"),
        ];
        for (fields, expected) in [
            (ProxyFields::XForwarded, "203.0.113.7"),
            (ProxyFields::Forwarded, "198.51.100.1"),
        ] {
            assert_eq!(client("10.0.0.1", fields, both), expected);
        }
    }

    proptest! {
        /// However a client begins the field, its proxy's word at the end is what counts.
        #[test]
        fn nothing_before_the_proxys_own_word_changes_it(made_up in "[ -~]{0,60}") {
            let forged = format!("{made_up}, 203.0.113.7");
            prop_assert_eq!(client("10.0.0.1", ProxyFields::XForwarded, &[("x-forwarded-for", &forged)]), "203.0.113.7");
            let fields = ProxyFields::Forwarded;
            let lines = &[("forwarded", made_up.as_str()), ("forwarded", "for=203.0.113.7")];
            prop_assert_eq!(client("10.0.0.1", fields, lines), "203.0.113.7");
        }
    }
}
