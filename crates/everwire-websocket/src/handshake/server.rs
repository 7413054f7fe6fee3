//! The server's side of the opening handshake (RFC 6455, section 4.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};
use http::header::{
    ALLOW, CONNECTION, HOST, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::{VERSION, accept_key, field, field_value, write_field, write_fields};
use crate::{Deflate, DeflatePolicy};

/// The head of a request, as the HTTP layer parsed it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method: `GET`, or `CONNECT` over HTTP/2 and 3.
    pub method: &'a Method,
    /// The version of HTTP.
    pub version: Version,
    /// All header fields.
    pub headers: &'a HeaderMap,
    /// The pseudo-header field `:protocol` of an extended CONNECT (RFC 8441, section 4).
    pub protocol: Option<&'a str>,
}

/// What the server speaks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy<'p> {
    /// Subprotocols, the preferred one first. The first that the client asks for is taken; none in
    /// common is no error (RFC 6455, section 4.2.2).
    pub subprotocols: &'p [&'p str],
    /// What is granted of permessage-deflate; `None`: never negotiated.
    pub deflate: Option<DeflatePolicy>,
}

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Neither an upgrade nor an extended CONNECT.
    #[error("the request asks for no websocket; send connection: upgrade and upgrade: websocket")]
    NotWebSocket,
    /// An upgrade by another method than GET (section 4.2.1).
    #[error("a websocket is not opened by this method; use GET")]
    Method,
    /// An upgrade in HTTP/1.0, or in HTTP/2 and later.
    #[error("this version of HTTP cannot upgrade; use HTTP/1.1, or extended CONNECT over HTTP/2")]
    HttpVersion,
    /// `:protocol` names something else (RFC 9220, section 3).
    #[error("extended CONNECT asks for another protocol; set :protocol to websocket")]
    Protocol,
    /// `Host` is missing or repeated (section 4.2.1).
    #[error("the host field is missing or repeated; send it once")]
    Host,
    /// `Sec-WebSocket-Version` is not 13 (section 4.4).
    #[error("the websocket version is missing or unknown; send sec-websocket-version: 13")]
    Version,
    /// `Sec-WebSocket-Key` is missing, repeated, or not 16 bytes in base64 (section 4.2.1).
    #[error("sec-websocket-key is missing or malformed; send 16 random bytes in base64, once")]
    Key,
    /// `Sec-WebSocket-Protocol` is not a list of tokens (section 4.1).
    #[error("sec-websocket-protocol is malformed; send a comma-separated list of tokens")]
    Subprotocols,
    /// `Sec-WebSocket-Extensions` does not follow its grammar (section 9.1).
    #[error("sec-websocket-extensions is malformed; follow RFC 6455 section 9.1")]
    Extensions,
}

/// A request that becomes a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted<'p> {
    /// The chosen subprotocol, one of the policy's.
    pub subprotocol: Option<&'p str>,
    /// The parameters of permessage-deflate, for [`Rules`](crate::Rules).
    pub deflate: Option<Deflate>,
    extensions: Option<HeaderValue>,
    /// Over HTTP/1.1: the value of `Sec-WebSocket-Accept`.
    accept: Option<HeaderValue>,
}

/// Whether the request asks for a WebSocket, well or badly: an upgrade over HTTP/1.1 or an extended
/// CONNECT. If so, [`accept`] answers it.
pub fn wants_websocket(request: &Request<'_>) -> bool {
    match request.protocol {
        Some(protocol) => request.method == Method::CONNECT && protocol == "websocket",
        // "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request"
        // (RFC 9110, section 7.8).
        None => request.version == Version::HTTP_11 && field::is_upgrade(request.headers),
    }
}

/// Judges the client's opening handshake (sections 4.2.1 and 4.2.2; RFC 8441, section 5).
///
/// Whether the `Origin` is welcome is not asked here: that is the application's to decide.
///
/// # Errors
///
/// A [`Refusal`] has the status code and the fields to answer with.
pub fn accept<'p>(request: &Request<'_>, policy: &Policy<'p>) -> Result<Accepted<'p>, Refusal> {
    let headers = request.headers;
    let accept = match request.protocol {
        Some(_) if request.method != Method::CONNECT => return Err(Refusal::Method),
        Some("websocket") => {
            check_version(headers)?;
            None
        }
        Some(_) => return Err(Refusal::Protocol),
        None => Some(check_upgrade(request)?),
    };
    let wanted =
        field::token_list(headers, SEC_WEBSOCKET_PROTOCOL).map_err(|_| Refusal::Subprotocols)?;
    let subprotocol = policy
        .subprotocols
        .iter()
        .copied()
        .find(|known| wanted.contains(known));
    let offers =
        field::extensions(headers, SEC_WEBSOCKET_EXTENSIONS).map_err(|_| Refusal::Extensions)?;
    let chosen = policy.deflate.and_then(|policy| policy.choose(&offers));
    let (deflate, extensions) = chosen.unzip();
    Ok(Accepted {
        subprotocol,
        deflate,
        extensions: extensions.map(field_value),
        accept,
    })
}

impl Accepted<'_> {
    /// 101 over HTTP/1.1, 200 for an extended CONNECT.
    pub fn status(&self) -> StatusCode {
        match self.accept {
            Some(_) => StatusCode::SWITCHING_PROTOCOLS,
            None => StatusCode::OK,
        }
    }

    /// The response's fields.
    pub fn headers(&self) -> HeaderMap {
        self.fields().collect()
    }

    /// Appends the whole head of the response for HTTP/1.1, with the fields of `more` in it.
    pub fn write_head(&self, more: &HeaderMap, out: &mut BytesMut) {
        out.put_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
        for (name, value) in self.fields() {
            write_field(&name, &value, out);
        }
        write_fields(more.iter(), out);
    }

    fn fields(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let upgrade = |value| {
            self.accept
                .as_ref()
                .map(|_| HeaderValue::from_static(value))
        };
        let subprotocol = |name: &str| field_value(name.to_owned());
        [
            (CONNECTION, upgrade("upgrade")),
            (UPGRADE, upgrade("websocket")),
            (SEC_WEBSOCKET_ACCEPT, self.accept.clone()),
            (SEC_WEBSOCKET_PROTOCOL, self.subprotocol.map(subprotocol)),
            (SEC_WEBSOCKET_EXTENSIONS, self.extensions.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

impl Refusal {
    /// The status code of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotWebSocket | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Protocol => StatusCode::NOT_IMPLEMENTED,
            Self::HttpVersion | Self::Host | Self::Key | Self::Subprotocols | Self::Extensions => {
                StatusCode::BAD_REQUEST
            }
        }
    }

    /// The fields that the status code asks for.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::NotWebSocket | Self::Version => {
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
            }
            Self::Method => {
                headers.insert(ALLOW, HeaderValue::from_static("GET"));
            }
            Self::Protocol
            | Self::HttpVersion
            | Self::Host
            | Self::Key
            | Self::Subprotocols
            | Self::Extensions => {}
        }
        headers
    }
}

/// Section 4.2.1: what an upgrade must have. Gives the proof for its key.
fn check_upgrade(request: &Request<'_>) -> Result<HeaderValue, Refusal> {
    let headers = request.headers;
    if !field::is_upgrade(headers) {
        return Err(Refusal::NotWebSocket);
    }
    if request.method != Method::GET {
        return Err(Refusal::Method);
    }
    if request.version != Version::HTTP_11 {
        return Err(Refusal::HttpVersion);
    }
    if !matches!(field::single(headers, HOST), Ok(Some(_))) {
        return Err(Refusal::Host);
    }
    check_version(headers)?;
    let Ok(Some(key)) = field::single(headers, SEC_WEBSOCKET_KEY) else {
        return Err(Refusal::Key);
    };
    match STANDARD.decode(key) {
        Ok(nonce) if nonce.len() == 16 => Ok(field_value(accept_key(key))),
        _ => Err(Refusal::Key),
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    match field::single(headers, SEC_WEBSOCKET_VERSION) {
        Ok(Some(VERSION)) => Ok(()),
        _ => Err(Refusal::Version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change to the fields of a request: a name, and its new value or none.
    type Change = (&'static str, Option<&'static str>);

    /// The request of RFC 6455, section 1.3, changed.
    fn fields(changes: &[Change]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let sample = [
            ("host", Some("server.example.com")),
            ("upgrade", Some("websocket")),
            ("connection", Some("Upgrade")),
            ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ==")),
            ("origin", Some("http://example.com")),
            ("sec-websocket-protocol", Some("chat, superchat")),
            ("sec-websocket-version", Some("13")),
        ];
        for (name, value) in sample.iter().chain(changes) {
            headers.remove(*name);
            if let Some(value) = value {
                headers.insert(*name, HeaderValue::from_static(value));
            }
        }
        headers
    }

    fn upgrade(headers: &HeaderMap) -> Request<'_> {
        Request {
            method: &Method::GET,
            version: Version::HTTP_11,
            headers,
            protocol: None,
        }
    }

    fn connect(headers: &HeaderMap) -> Request<'_> {
        Request {
            method: &Method::CONNECT,
            version: Version::HTTP_2,
            headers,
            protocol: Some("websocket"),
        }
    }

    const POLICY: Policy<'static> = Policy {
        subprotocols: &["superchat", "chat"],
        deflate: Some(DeflatePolicy::STANDARD),
    };

    #[test]
    fn the_request_of_section_1_3_is_answered() {
        let headers = fields(&[]);
        assert!(wants_websocket(&upgrade(&headers)));
        let accepted = accept(&upgrade(&headers), &POLICY).unwrap();
        let (mut head, mut more) = (BytesMut::new(), HeaderMap::new());
        more.insert("server", HeaderValue::from_static("test"));
        accepted.write_head(&more, &mut head);
        let expected = "HTTP/1.1 101 Switching Protocols\r\n\
                        connection: upgrade\r\n\
                        upgrade: websocket\r\n\
                        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                        sec-websocket-protocol: superchat\r\n\
                        server: test\r\n\r\n";
        assert_eq!(head, expected);
    }

    /// RFC 8441, section 5.1: the key is not used, the rest is the same.
    #[test]
    fn an_extended_connect_is_answered_without_a_key() {
        let headers = fields(&[
            ("host", None),
            ("upgrade", None),
            ("connection", None),
            ("sec-websocket-key", None),
            ("sec-websocket-extensions", Some("permessage-deflate")),
        ]);
        assert!(wants_websocket(&connect(&headers)));
        let accepted = accept(&connect(&headers), &POLICY).unwrap();
        assert_eq!(accepted.status(), StatusCode::OK);
        let response = accepted.headers();
        assert_eq!(response.len(), 2, "{response:?}");
        assert_eq!(response["sec-websocket-protocol"], "superchat");
        let deflate = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        assert_eq!(response["sec-websocket-extensions"], deflate);
    }

    /// Section 4.2.1, and the status codes of RFC 9110.
    #[test]
    fn a_request_that_lacks_something_is_refused() {
        let rows: [(Change, Refusal, u16); 21] = [
            (("upgrade", None), Refusal::NotWebSocket, 426),
            (("upgrade", Some("h2c")), Refusal::NotWebSocket, 426),
            (("connection", None), Refusal::NotWebSocket, 426),
            (
                ("connection", Some("keep-alive")),
                Refusal::NotWebSocket,
                426,
            ),
            (("host", None), Refusal::Host, 400),
            (("sec-websocket-version", None), Refusal::Version, 426),
            (("sec-websocket-version", Some("12")), Refusal::Version, 426),
            (
                ("sec-websocket-version", Some("8, 13")),
                Refusal::Version,
                426,
            ),
            (
                ("sec-websocket-version", Some("013")),
                Refusal::Version,
                426,
            ),
            (("sec-websocket-key", None), Refusal::Key, 400),
            (("sec-websocket-key", Some("")), Refusal::Key, 400),
            (("sec-websocket-key", Some("c2hvcnQ=")), Refusal::Key, 400),
            (
                ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ")),
                Refusal::Key,
                400,
            ),
            (
                ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZR==")),
                Refusal::Key,
                400,
            ),
            (
                ("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZSEh")),
                Refusal::Key,
                400,
            ),
            (
                ("sec-websocket-key", Some("!GhlIHNhbXBsZSBub25jZQ==")),
                Refusal::Key,
                400,
            ),
            (
                ("sec-websocket-protocol", Some("a b")),
                Refusal::Subprotocols,
                400,
            ),
            (
                ("sec-websocket-protocol", Some("a;b")),
                Refusal::Subprotocols,
                400,
            ),
            (
                ("sec-websocket-extensions", Some("a b")),
                Refusal::Extensions,
                400,
            ),
            (
                ("sec-websocket-extensions", Some("a;")),
                Refusal::Extensions,
                400,
            ),
            (
                ("sec-websocket-extensions", Some("a; b=\"\"")),
                Refusal::Extensions,
                400,
            ),
        ];
        for (change, refusal, status) in rows {
            let headers = fields(&[change]);
            assert_eq!(
                accept(&upgrade(&headers), &POLICY),
                Err(refusal),
                "{change:?}"
            );
            assert_eq!(refusal.status().as_u16(), status, "{change:?}");
            assert_eq!(
                wants_websocket(&upgrade(&headers)),
                refusal != Refusal::NotWebSocket
            );
        }
        assert_eq!(Refusal::Version.headers()["sec-websocket-version"], "13");
    }

    #[test]
    fn method_and_version_of_http_are_checked() {
        let headers = fields(&[]);
        let other = Some("connect-udp");
        let rows = [
            (Method::POST, Version::HTTP_11, None, Refusal::Method, 405),
            (
                Method::GET,
                Version::HTTP_10,
                None,
                Refusal::HttpVersion,
                400,
            ),
            (
                Method::GET,
                Version::HTTP_2,
                None,
                Refusal::HttpVersion,
                400,
            ),
            (
                Method::GET,
                Version::HTTP_2,
                Some("websocket"),
                Refusal::Method,
                405,
            ),
            (
                Method::CONNECT,
                Version::HTTP_2,
                other,
                Refusal::Protocol,
                501,
            ),
        ];
        for (method, version, protocol, refusal, status) in rows {
            let request = Request {
                method: &method,
                version,
                headers: &headers,
                protocol,
            };
            assert_eq!(accept(&request, &POLICY), Err(refusal), "{request:?}");
            assert_eq!(refusal.status().as_u16(), status, "{request:?}");
        }
        assert_eq!(Refusal::Method.headers()["allow"], "GET");
    }

    /// RFC 9110, section 7.8: an upgrade in HTTP/1.0 is as if it were not there.
    #[test]
    fn an_upgrade_in_http_1_0_is_an_ordinary_request() {
        let headers = fields(&[]);
        let request = Request {
            version: Version::HTTP_10,
            ..upgrade(&headers)
        };
        assert!(!wants_websocket(&request));
    }

    #[test]
    fn a_field_that_must_stand_alone_is_not_repeated() {
        for (name, refusal) in [
            ("host", Refusal::Host),
            ("sec-websocket-key", Refusal::Key),
            ("sec-websocket-version", Refusal::Version),
        ] {
            let mut headers = fields(&[]);
            let value = headers[name].clone();
            headers.append(name, value);
            assert_eq!(
                accept(&upgrade(&headers), &POLICY),
                Err(refusal),
                "{name} twice"
            );
        }
    }

    #[test]
    fn the_server_prefers_among_the_subprotocols_offered() {
        let rows: [(Option<&str>, &[&str], Option<&str>); 6] = [
            (None, &["a"], None),
            (Some("a"), &[], None),
            (Some("b, a"), &["a", "b"], Some("a")),
            (Some("b"), &["a", "b"], Some("b")),
            (Some("A"), &["a"], None),
            (Some("bearer.x.y-z_, a"), &["a"], Some("a")),
        ];
        for (offered, subprotocols, expected) in rows {
            let headers = fields(&[("sec-websocket-protocol", offered)]);
            let policy = Policy {
                subprotocols,
                deflate: None,
            };
            let accepted = accept(&upgrade(&headers), &policy).unwrap();
            assert_eq!(accepted.subprotocol, expected, "{offered:?}");
        }
    }

    #[test]
    fn compression_is_agreed_on_only_if_both_want_it() {
        let headers = fields(&[("sec-websocket-extensions", Some("permessage-deflate"))]);
        let accepted = accept(&upgrade(&headers), &POLICY).unwrap();
        assert!(accepted.deflate.is_some());
        let without = Policy {
            deflate: None,
            ..POLICY
        };
        let accepted = accept(&upgrade(&headers), &without).unwrap();
        assert_eq!(accepted.deflate, None);
        assert!(!accepted.headers().contains_key("sec-websocket-extensions"));
        assert_eq!(
            accept(&upgrade(&fields(&[])), &POLICY).unwrap().deflate,
            None
        );
    }
}
