//! By which scheme a request is asked for: whether it came under TLS.

use http::{HeaderMap, HeaderValue, header};

/// By which scheme requests come over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// In clear text; a proxy in front may have been asked by `https`.
    Http,
    /// Under TLS.
    Https,
}

impl Scheme {
    /// As addresses have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Whether a page whose origin has this scheme may be one of our own, if its host is ours. Under TLS one that came
    /// in clear text is not: whoever was on the way may have written it. In clear text we cannot know what the proxy
    /// in front was asked for.
    pub fn may_be_own(self, scheme: &str) -> bool {
        match self {
            Self::Http => matches!(scheme, "http" | "https"),
            Self::Https => scheme == "https",
        }
    }

    /// Tells browsers to use nothing but TLS for so many seconds (RFC 6797, section 7.2: under TLS only).
    pub fn insist(self, seconds: u64, headers: &mut HeaderMap) {
        if self == Self::Https && seconds > 0 {
            let value = HeaderValue::try_from(format!("max-age={seconds}"));
            let value = value.expect("digits are a field's value");
            headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
        }
    }
}
