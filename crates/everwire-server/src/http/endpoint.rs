//! What a request asks for: an address, and a method that it takes. All that is served is a variant here, and each has its
//! cost.

use everwire_channel::ChannelName;
use everwire_wire::Problem;
use http::{Method, request::Parts};

use super::{
    answer::method_not_allowed,
    read::{WIRES, wants_websocket},
    target::{Dialect, Target},
};
use crate::cost::{self, COMMANDS, Cost, Row};

/// An address together with a method.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Endpoint<'a> {
    /// What a page of another origin may do here, whatever the address.
    Preflight,
    /// A channel's entries, over any wire.
    Read(Dialect, ChannelName),
    /// What a channel is.
    Describe(ChannelName),
    Append(Dialect, ChannelName),
    Create(Dialect, ChannelName),
    Delete(ChannelName),
    /// Who is in a channel, and who comes and goes, over any wire.
    Members(ChannelName),
    /// That this can be asked.
    MembersHead(ChannelName),
    Batch,
    /// A new session.
    Connect,
    /// What a session is told, by its id.
    Poll(&'a str),
    /// Commands of a session.
    Command(&'a str),
    /// The end of a session.
    Disconnect(&'a str),
    /// Which tokens are taken back.
    Revoked,
    Revoke,
    EchoMessages,
    EchoContent,
    Health,
    Ready,
    Metrics,
    AcmeChallenge(&'a str),
    /// A file of the page, by its path.
    Page(&'a str),
    /// The prefix below which the page is.
    Bare,
}

/// All costs: of requests, of the wires that they ask for, and of the commands of sessions.
#[must_use]
pub fn costs() -> [(&'static str, &'static [Row]); 3] {
    [
        ("request", REQUESTS),
        ("wire", WIRES),
        ("command", COMMANDS),
    ]
}

cost::costs! {
    /// What a request costs.
    fn of_request(&Endpoint<'_>);
    /// Requests. What is at no address, or by a method that is not taken there, costs its address one read.
    const REQUESTS;
    Endpoint::Preflight => "`OPTIONS`, anywhere", Cost::Read;
    Endpoint::Read(..) => "`GET /channels/{name}`, `GET /v1/stream/{name}`", Cost::Wire;
    Endpoint::Describe(_) => "`HEAD /channels/{name}`, `HEAD /v1/stream/{name}`", Cost::Read;
    Endpoint::Append(..) => "`POST /channels/{name}`, `POST /v1/stream/{name}`", Cost::Append;
    Endpoint::Create(..) => "`PUT /channels/{name}`, `PUT /v1/stream/{name}`", Cost::Append;
    Endpoint::Delete(_) => "`DELETE /channels/{name}`, `DELETE /v1/stream/{name}`", Cost::Read;
    Endpoint::Members(_) => "`GET /presence/{name}`", Cost::Wire;
    Endpoint::MembersHead(_) => "`HEAD /presence/{name}`", Cost::Page;
    Endpoint::Batch => "`POST /publish`", Cost::Append;
    Endpoint::Connect => "`GET /connect`, over any wire", Cost::Line;
    Endpoint::Poll(_) => "`GET /connect/{session}`", Cost::Read;
    Endpoint::Command(_) => "`POST /connect/{session}`, besides its commands", Cost::Read;
    Endpoint::Disconnect(_) => "`DELETE /connect/{session}`", Cost::Read;
    Endpoint::Revoked => "`GET /revocations`, `HEAD /revocations`", Cost::Read;
    Endpoint::Revoke => "`POST /revocations`", Cost::Read;
    Endpoint::EchoMessages => "`GET /echo`", Cost::Line;
    Endpoint::EchoContent => "`POST /echo`", Cost::Read;
    Endpoint::Health => "`GET /healthz`, `HEAD /healthz`", Cost::Free;
    Endpoint::Ready => "`GET /readyz`, `HEAD /readyz`", Cost::Free;
    Endpoint::Metrics => "`GET /metrics`, `HEAD /metrics`", Cost::Free;
    Endpoint::AcmeChallenge(_) => "`GET /.well-known/acme-challenge/{token}`, `HEAD` too", Cost::Free;
    Endpoint::Page(_) => "`GET /` and the files of the page, `HEAD` too", Cost::Read;
    Endpoint::Bare => "`http.prefix` without a slash, which leads to the page", Cost::Read;
}

impl<'a> Endpoint<'a> {
    /// What is asked for at an address.
    ///
    /// # Errors
    ///
    /// The address does not take the request's method.
    pub fn of(target: Target<'a>, parts: &Parts) -> Result<Self, Problem> {
        let method = &parts.method;
        // Over HTTP/2 a WebSocket is opened by CONNECT (RFC 8441). Any other answer of success to that would open a
        // tunnel (RFC 9110, section 9.3.6).
        let opens = match *method {
            Method::GET => true,
            Method::CONNECT => wants_websocket(parts),
            _ => false,
        };
        Ok(match (target, method) {
            (_, &Method::OPTIONS) => Self::Preflight,
            (Target::Channel(dialect, name), method) => match *method {
                _ if opens => Self::Read(dialect, name),
                Method::HEAD => Self::Describe(name),
                Method::POST => Self::Append(dialect, name),
                Method::PUT => Self::Create(dialect, name),
                Method::DELETE => Self::Delete(name),
                _ => return not_taken(method, "GET, HEAD, POST, PUT, DELETE, OPTIONS"),
            },
            (Target::Presence(name), method) => match *method {
                _ if opens => Self::Members(name),
                Method::HEAD => Self::MembersHead(name),
                _ => return not_taken(method, "GET, HEAD, OPTIONS"),
            },
            (Target::Publish, &Method::POST) => Self::Batch,
            (Target::Publish, method) => return not_taken(method, "POST, OPTIONS"),
            (Target::Connect, _) if opens => Self::Connect,
            (Target::Connect, method) => return not_taken(method, "GET, OPTIONS"),
            (Target::Session(id), method) => match *method {
                Method::GET => Self::Poll(id),
                Method::POST => Self::Command(id),
                Method::DELETE => Self::Disconnect(id),
                _ => return not_taken(method, "GET, POST, DELETE, OPTIONS"),
            },
            (Target::Revocations, method) => match *method {
                Method::GET | Method::HEAD => Self::Revoked,
                Method::POST => Self::Revoke,
                _ => return not_taken(method, "GET, HEAD, POST, OPTIONS"),
            },
            (Target::Echo, &Method::POST) if !wants_websocket(parts) => Self::EchoContent,
            // What is no handshake is told so there.
            (Target::Echo, _) => Self::EchoMessages,
            (Target::Health, &Method::GET | &Method::HEAD) => Self::Health,
            (Target::Ready, &Method::GET | &Method::HEAD) => Self::Ready,
            (Target::Metrics, &Method::GET | &Method::HEAD) => Self::Metrics,
            (Target::AcmeChallenge(token), &Method::GET | &Method::HEAD) => {
                Self::AcmeChallenge(token)
            }
            (Target::Page(path), &Method::GET | &Method::HEAD) => Self::Page(path),
            (
                Target::Health
                | Target::Ready
                | Target::Metrics
                | Target::AcmeChallenge(_)
                | Target::Page(_),
                method,
            ) => return not_taken(method, "GET, HEAD"),
        })
    }
}

fn not_taken<T>(method: &Method, allow: &'static str) -> Result<T, Problem> {
    Err(method_not_allowed(method, allow))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const METHODS: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE",
    ];

    /// Which of all methods an address takes.
    fn taken(path: &str) -> Vec<&'static str> {
        let is_taken = |method: &&str| {
            let request = Request::builder().method(*method).uri(path).body(());
            let (parts, ()) = request.unwrap().into_parts();
            match Endpoint::of(Target::parse(path).unwrap(), &parts) {
                Ok(_) => true,
                Err(problem) => {
                    assert_eq!(problem.kind.status(), 405, "{method} {path}");
                    false
                }
            }
        };
        METHODS.into_iter().filter(is_taken).collect()
    }

    #[test]
    fn each_address_takes_its_methods_and_no_other() {
        let reads = ["GET", "HEAD", "OPTIONS"];
        for (path, expected) in [
            (
                "/channels/a",
                &["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"][..],
            ),
            (
                "/v1/stream/a",
                &["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"],
            ),
            ("/presence/a", &reads),
            ("/publish", &["POST", "OPTIONS"]),
            ("/connect", &["GET", "OPTIONS"]),
            ("/connect/0a", &["GET", "POST", "DELETE", "OPTIONS"]),
            ("/revocations", &["GET", "HEAD", "POST", "OPTIONS"]),
            // Whatever is no handshake there is told to be one (426).
            ("/echo", &METHODS),
            ("/healthz", &reads),
            ("/readyz", &reads),
            ("/metrics", &reads),
            ("/.well-known/acme-challenge/a", &reads),
            ("/page/app.js", &reads),
        ] {
            assert_eq!(taken(path), expected, "{path}");
        }
    }

    #[test]
    fn a_connect_that_opens_no_websocket_is_not_taken() {
        for path in ["/channels/a", "/presence/a", "/connect"] {
            assert!(!taken(path).contains(&"CONNECT"), "{path}");
        }
    }
}
