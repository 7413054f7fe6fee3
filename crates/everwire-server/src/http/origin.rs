//! Pages of other sites: which may use this server (the Fetch standard's CORS protocol, and the origin check
//! that WebSockets need because CORS does not cover them, RFC 6455 section 10.2).

use bytes::Bytes;
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};

use super::{answer, host};
use crate::{
    answer::{Allowed, allow_in},
    config::{Config, PageOrigin},
    proxy::Client,
};

/// Where a request's page comes from, and whether it may use this server.
#[derive(Debug)]
pub(crate) enum Origin {
    /// No page of another site: a program, or this server's own page.
    Own,
    /// A page of a site that may.
    Allowed(Allowed),
    /// A page of a site that may not.
    Denied(String),
}

/// By these a browser asks whether a page of the open internet may use a server in its visitor's own network, and is told
/// (the draft "Private Network Access" of the WICG). Pages of sites that are listed may, since the operator knows them;
/// that any page may read what all may read does not mean that it may from inside of networks that it cannot reach.
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// The methods of a channel, which is what pages use most.
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";

const ALLOWED_FIELDS: &str = "accept, authorization, content-type, idempotency-key, if-none-match, last-event-id, \
    prefer, producer-id, producer-epoch, producer-seq, stream-closed, stream-seq, stream-ttl, stream-expires-at, \
    everwire-event, everwire-publisher, everwire-secret";

impl Origin {
    /// Judges a request's origin. Who is believed may say what host and scheme the page was asked from.
    pub fn of(headers: &HeaderMap, client: &Client, config: &Config) -> Self {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Self::Own;
        };
        let Ok(text) = origin.to_str() else {
            return Self::Denied("an origin that is no text".to_owned());
        };
        let (scheme, authority) = text.split_once("://").unzip();
        let page = PageOrigin::parse(text);
        if let (Some(scheme), Some(page)) = (scheme, &page)
            && is_own(scheme, page, headers, client)
        {
            return Self::Own;
        }
        let listed = config
            .http
            .origins
            .iter()
            .filter_map(|allowed| PageOrigin::parse(allowed))
            .any(|allowed| page.as_ref().is_some_and(|page| allowed.covers(page)));
        if listed || (config.dev && authority.is_some_and(is_loopback)) {
            return Self::Allowed(Allowed {
                value: origin.clone(),
                with_cookies: config.takes_cookies() || config.http.cookies,
            });
        }
        if config.http.origins.iter().any(|allowed| allowed == "*") {
            return Self::Allowed(Allowed {
                value: HeaderValue::from_static("*"),
                with_cookies: false,
            });
        }
        Self::Denied(text.to_owned())
    }

    /// Whether a cookie on the request was sent because a page that may asked for it. Browsers send cookies along with
    /// whatever any page asks for; they name the page's origin, or say that it is this server's own.
    pub fn vouches(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Allowed(allowed) => allowed.with_cookies,
            Self::Own => {
                let is_same = |site: &HeaderValue| site.as_bytes() == b"same-origin";
                headers.contains_key(header::ORIGIN)
                    || headers.get("sec-fetch-site").is_some_and(is_same)
            }
            Self::Denied(_) => false,
        }
    }

    /// Refuses a request that changes something, or opens a WebSocket, from a page that may not.
    pub fn check(&self) -> Result<(), Problem> {
        match self {
            Self::Own | Self::Allowed(_) => Ok(()),
            Self::Denied(origin) => Err(Problem::new(
                ProblemKind::BadOrigin,
                format!(
                    "pages of {origin} may not use this server; add it to http.origins if they should"
                ),
            )),
        }
    }

    /// How the page is let in, if it has to be.
    pub fn allowed(&self) -> Option<&Allowed> {
        match self {
            Self::Allowed(allowed) => Some(allowed),
            Self::Own | Self::Denied(_) => None,
        }
    }

    /// Lets the page read a response.
    pub fn allow_in(&self, headers: &mut HeaderMap) {
        allow_in(self.allowed(), headers);
    }

    /// The answer to a preflight request.
    pub fn preflight(&self, asked: &HeaderMap) -> Response<Bytes> {
        let mut response = answer::no_content();
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static(METHODS));
        if self.allowed().is_some() {
            let headers = response.headers_mut();
            let fixed = HeaderValue::from_static;
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, fixed(METHODS));
            let fields = asked_fields(asked).unwrap_or(fixed(ALLOWED_FIELDS));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, fields);
            headers.append(header::VARY, fixed("access-control-request-headers"));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, fixed("600"));
        }
        if self.allowed().is_some_and(Allowed::is_by_name)
            && asked
                .get(REQUEST_PRIVATE_NETWORK)
                .is_some_and(|asked| asked == "true")
        {
            let headers = response.headers_mut();
            headers.insert(ALLOW_PRIVATE_NETWORK, answer::TRUE);
            headers.append(header::VARY, REQUEST_PRIVATE_NETWORK.into());
        }
        response
    }
}

/// The fields that a page asks to send, if they are names of fields, and no more of them than fit a head: a page that may
/// use this server may send what it likes, as a program may. `Authorization` is named, since `*` would not cover it.
fn asked_fields(asked: &HeaderMap) -> Option<HeaderValue> {
    const BYTES_MAX: usize = 1024;
    const FIELDS_MAX: usize = 64;
    let value = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS)?;
    let names = value
        .to_str()
        .ok()
        .filter(|names| names.len() <= BYTES_MAX)?;
    let names = names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let names: Vec<HeaderName> = names.map(|name| name.parse().ok()).collect::<Option<_>>()?;
    if !(1..=FIELDS_MAX).contains(&names.len()) {
        return None;
    }
    let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
    HeaderValue::try_from(names.join(", ")).ok()
}

/// Whether an origin is the server's own, as its clients know it.
fn is_own(scheme: &str, page: &PageOrigin<'_>, headers: &HeaderMap, client: &Client) -> bool {
    let host = || (headers.get(header::HOST)).and_then(|host| host.to_str().ok());
    let (said_host, said_scheme) = match &client.said {
        Some(said) => (said.host.as_deref(), said.scheme),
        None => (None, None),
    };
    // A page in clear text is anybody's on the way, so it is not the own page of a server under or behind TLS.
    let is_same_scheme = match said_scheme {
        Some(said) => scheme.eq_ignore_ascii_case(said),
        None => client.scheme.may_be_own(scheme),
    };
    let own = said_host.or_else(host);
    let own = own.and_then(|host| PageOrigin::at(scheme, host));
    is_same_scheme && own.is_some_and(|own| own.covers(page))
}

fn is_loopback(authority: &str) -> bool {
    let host = host::without_port(authority);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::Scheme;

    fn judged(config: &Config, origin: Option<&str>) -> String {
        judged_under(Scheme::Http, config, origin)
    }

    fn judged_under(scheme: Scheme, config: &Config, origin: Option<&str>) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::HOST,
            HeaderValue::from_static("live.example.org:8080"),
        );
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        match Origin::of(&headers, &Client::at([192, 0, 2, 1].into(), scheme), config) {
            Origin::Own => "own".to_owned(),
            Origin::Allowed(allowed) => format!("allowed {}", allowed.value.to_str().unwrap()),
            Origin::Denied(_) => "denied".to_owned(),
        }
    }

    /// A browser sends cookies along with what any page asks for.
    #[test]
    fn a_cookie_counts_for_pages_that_are_known_by_name() {
        let mut config = Config::default();
        config.http.origins = vec!["*".to_owned(), "https://example.org".to_owned()];
        config.tokens.cookie = "t".to_owned();
        for (origin, site, expected) in [
            (Some("https://example.org"), None, true),
            (Some("http://live.example.org:8080"), None, true),
            (None, Some("same-origin"), true),
            (None, Some("same-site"), false),
            (None, Some("cross-site"), false),
            (None, Some("none"), false),
            (None, None, false),
            (Some("https://anything.net"), None, false),
            (Some("https://anything.net"), Some("same-origin"), false),
            (Some("null"), None, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(
                header::HOST,
                HeaderValue::from_static("live.example.org:8080"),
            );
            for (name, value) in [("origin", origin), ("sec-fetch-site", site)] {
                if let Some(value) = value {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            let found = Origin::of(
                &headers,
                &Client::at([192, 0, 2, 1].into(), Scheme::Http),
                &config,
            );
            assert_eq!(found.vouches(&headers), expected, "{origin:?} {site:?}");
        }
    }

    /// A page in clear text may have been written by whoever was on the way.
    #[test]
    fn under_tls_only_a_page_that_came_by_it_is_our_own() {
        let config = Config::default();
        for (scheme, origin, expected) in [
            (Scheme::Https, "https://live.example.org:8080", "own"),
            (Scheme::Https, "http://live.example.org:8080", "denied"),
            (Scheme::Https, "wss://live.example.org:8080", "denied"),
            (Scheme::Http, "http://live.example.org:8080", "own"),
            // A proxy in front speaks TLS.
            (Scheme::Http, "https://live.example.org:8080", "own"),
            (Scheme::Http, "ftp://live.example.org:8080", "denied"),
        ] {
            let found = judged_under(scheme, &config, Some(origin));
            assert_eq!(found, expected, "{origin} under {scheme:?}");
        }
    }

    #[test]
    fn pages_of_other_sites_need_to_be_listed() {
        let mut listed = Config::default();
        listed.http.origins = vec!["https://example.org".to_owned()];
        let mut any = Config::default();
        any.http.origins = vec!["*".to_owned(), "https://example.org".to_owned()];
        let dev = Config {
            dev: true,
            ..Config::default()
        };
        for (config, origin, expected) in [
            (&listed, None, "own"),
            (&listed, Some("http://live.example.org:8080"), "own"),
            (
                &listed,
                Some("https://example.org"),
                "allowed https://example.org",
            ),
            (&listed, Some("https://example.org.evil.net"), "denied"),
            (&listed, Some("http://live.example.org"), "denied"),
            (&listed, Some("null"), "denied"),
            (&any, Some("https://anything.net"), "allowed *"),
            (
                &any,
                Some("https://example.org"),
                "allowed https://example.org",
            ),
            (
                &dev,
                Some("http://localhost:3000"),
                "allowed http://localhost:3000",
            ),
            (&dev, Some("http://[::1]:3000"), "allowed http://[::1]:3000"),
            (&dev, Some("http://127.0.0.1"), "allowed http://127.0.0.1"),
            (&dev, Some("http://localhost.evil.net"), "denied"),
            (&dev, Some("https://example.org"), "denied"),
        ] {
            assert_eq!(judged(config, origin), expected, "{origin:?}");
        }
    }

    /// The Fetch standard, "CORS-preflight fetch": what is asked is granted to who may use the server, and to nobody else.
    #[test]
    fn a_page_that_may_use_the_server_may_send_the_fields_that_it_asks_for() {
        let mut config = Config::default();
        config.http.origins = vec!["https://*.example.org".to_owned()];
        let many = vec!["x-a"; 65].join(",");
        let long = format!("x-{}", "a".repeat(1100));
        for (origin, asked, expected) in [
            (
                "https://a.example.org",
                Some("traceparent, X-Requested-With"),
                Some("traceparent, x-requested-with"),
            ),
            (
                "https://a.example.org",
                Some("authorization"),
                Some("authorization"),
            ),
            ("https://a.example.org", Some("a b"), Some(ALLOWED_FIELDS)),
            ("https://a.example.org", Some(&*many), Some(ALLOWED_FIELDS)),
            ("https://a.example.org", Some(&*long), Some(ALLOWED_FIELDS)),
            ("https://a.example.org", Some(""), Some(ALLOWED_FIELDS)),
            ("https://a.example.org", None, Some(ALLOWED_FIELDS)),
            ("https://example.org", Some("traceparent"), None),
            ("https://evil.net", Some("traceparent"), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            if let Some(asked) = asked {
                let asked = HeaderValue::from_str(asked).unwrap();
                headers.insert(header::ACCESS_CONTROL_REQUEST_HEADERS, asked);
            }
            let client = Client::at([192, 0, 2, 1].into(), Scheme::Https);
            let response = Origin::of(&headers, &client, &config).preflight(&headers);
            let granted = response.headers().get(header::ACCESS_CONTROL_ALLOW_HEADERS);
            let granted = granted.map(|granted| granted.to_str().unwrap());
            assert_eq!(granted, expected, "{origin} {asked:?}");
        }
    }

    /// A browser asks so before a page of the open internet reaches into a private network.
    #[test]
    fn pages_of_sites_that_are_listed_may_reach_into_a_private_network() {
        let mut listed = Config::default();
        listed.http.origins = vec!["https://*.example.org".to_owned()];
        let mut any = Config::default();
        any.http.origins = vec!["*".to_owned(), "https://a.example.org".to_owned()];
        let dev = Config {
            dev: true,
            ..Config::default()
        };
        for (config, origin, asked, expected) in [
            (&listed, "https://a.example.org", Some("true"), true),
            (&listed, "https://a.example.org", Some("false"), false),
            (&listed, "https://a.example.org", None, false),
            (&listed, "https://evil.net", Some("true"), false),
            (&any, "https://a.example.org", Some("true"), true),
            (&any, "https://evil.net", Some("true"), false),
            (&any, "null", Some("true"), false),
            (&dev, "http://localhost:3000", Some("true"), true),
            (&dev, "https://evil.net", Some("true"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            if let Some(asked) = asked {
                headers.insert(REQUEST_PRIVATE_NETWORK, HeaderValue::from_static(asked));
            }
            let client = Client::at([192, 0, 2, 1].into(), Scheme::Https);
            let response = Origin::of(&headers, &client, config).preflight(&headers);
            let granted = response.headers().get(ALLOW_PRIVATE_NETWORK);
            assert_eq!(granted.is_some(), expected, "{origin} {asked:?}");
        }
    }
}
