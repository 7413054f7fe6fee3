//! The client's side of the opening handshake (RFC 6455, section 4.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};
use http::header::{
    CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{VERSION, accept_key, field, field_value, write_fields};
use crate::deflate::{EXTENSION_NAME, ParameterError};
use crate::{Deflate, DeflateOffer};

/// A client's opening handshake: its fields, and the judge of the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer<'o> {
    subprotocols: &'o [&'o str],
    deflate: Option<DeflateOffer>,
    /// Over HTTP/1.1: the value of `Sec-WebSocket-Key`.
    key: Option<String>,
}

/// A subprotocol that cannot be offered, since it is no token or is offered twice (section 4.1).
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the subprotocol {0:?} is no token or is listed twice; use letters, digits, - and .")]
pub struct InvalidSubprotocol(pub String);

/// What both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established<'o> {
    /// The subprotocol that the server chose, one of those offered.
    pub subprotocol: Option<&'o str>,
    /// The parameters of permessage-deflate, for [`Rules`](crate::Rules).
    pub deflate: Option<Deflate>,
}

/// Why the response opens no connection (section 4.1; section 5.1 of RFC 7692).
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The server answered with another status code than 101, or 200 for an extended CONNECT.
    #[error("the server answered {0} and did not open a websocket; look at the response")]
    Status(StatusCode),
    /// `Upgrade` or `Connection` is missing.
    #[error(
        "the response does not upgrade to websocket; a proxy between may have removed the fields"
    )]
    NotUpgraded,
    /// `Sec-WebSocket-Accept` does not fit the key.
    #[error("sec-websocket-accept does not fit our key; the answer is not from a websocket server")]
    Accept,
    /// `Sec-WebSocket-Protocol` is none of those offered.
    #[error("the server chose a subprotocol that was not offered; check which ones it speaks")]
    Subprotocol,
    /// `Sec-WebSocket-Extensions` is malformed, or names an extension that was not offered.
    #[error("the server chose an extension that was not offered; connect without extensions")]
    Extension,
    /// The server's parameters of permessage-deflate are malformed or go beyond the offer.
    #[error("the server's permessage-deflate parameters go beyond the offer; connect without it")]
    DeflateParameters,
}

impl<'o> Offer<'o> {
    /// An upgrade over HTTP/1.1. The `nonce` must be random, and fresh for each connection.
    ///
    /// # Errors
    ///
    /// A subprotocol that cannot be sent.
    pub fn upgrade(
        nonce: [u8; 16],
        subprotocols: &'o [&'o str],
        deflate: Option<DeflateOffer>,
    ) -> Result<Self, InvalidSubprotocol> {
        let offer = Self::extended_connect(subprotocols, deflate)?;
        Ok(Self {
            key: Some(STANDARD.encode(nonce)),
            ..offer
        })
    }

    /// An extended CONNECT over HTTP/2 or 3 (RFC 8441, section 5), which needs no key.
    ///
    /// # Errors
    ///
    /// A subprotocol that cannot be sent.
    pub fn extended_connect(
        subprotocols: &'o [&'o str],
        deflate: Option<DeflateOffer>,
    ) -> Result<Self, InvalidSubprotocol> {
        for (index, name) in subprotocols.iter().enumerate() {
            if !field::is_token(name) || subprotocols[..index].contains(name) {
                return Err(InvalidSubprotocol((*name).to_owned()));
            }
        }
        Ok(Self {
            subprotocols,
            deflate,
            key: None,
        })
    }

    /// The fields of the request that belong to the handshake; `Host` is not among them.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(key) = &self.key {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_KEY, field_value(key.clone()));
        }
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        if !self.subprotocols.is_empty() {
            headers.insert(
                SEC_WEBSOCKET_PROTOCOL,
                field_value(self.subprotocols.join(", ")),
            );
        }
        if let Some(deflate) = &self.deflate {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, field_value(deflate.header()));
        }
        headers
    }

    /// Appends the whole head of an upgrade request, with the fields of `more` in it. `target` is the
    /// path with its query.
    pub fn write_head(
        &self,
        host: &HeaderValue,
        target: &http::uri::PathAndQuery,
        more: &HeaderMap,
        out: &mut BytesMut,
    ) {
        out.put_slice(format!("GET {target} HTTP/1.1\r\n").as_bytes());
        write_fields(
            [(&HOST, host)]
                .into_iter()
                .chain(&self.headers())
                .chain(more),
            out,
        );
    }

    /// Judges the server's response.
    ///
    /// # Errors
    ///
    /// The connection must not be used as a WebSocket.
    pub fn check(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Established<'o>, HandshakeError> {
        match &self.key {
            Some(key) => check_upgrade(key, status, headers)?,
            None if status == StatusCode::OK => {}
            None => return Err(HandshakeError::Status(status)),
        }
        Ok(Established {
            subprotocol: self.check_subprotocol(headers)?,
            deflate: self.check_extensions(headers)?,
        })
    }

    fn check_subprotocol(&self, headers: &HeaderMap) -> Result<Option<&'o str>, HandshakeError> {
        match field::single(headers, SEC_WEBSOCKET_PROTOCOL) {
            Ok(None) => Ok(None),
            Ok(Some(chosen)) => {
                let offered = self
                    .subprotocols
                    .iter()
                    .copied()
                    .find(|offered| *offered == chosen);
                offered.map(Some).ok_or(HandshakeError::Subprotocol)
            }
            Err(_) => Err(HandshakeError::Subprotocol),
        }
    }

    fn check_extensions(&self, headers: &HeaderMap) -> Result<Option<Deflate>, HandshakeError> {
        let chosen = field::extensions(headers, SEC_WEBSOCKET_EXTENSIONS)
            .map_err(|_| HandshakeError::Extension)?;
        match (&chosen[..], &self.deflate) {
            ([], _) => Ok(None),
            ([response], Some(offer)) if response.name == EXTENSION_NAME => offer
                .check(response)
                .map(Some)
                .map_err(|_: ParameterError| HandshakeError::DeflateParameters),
            _ => Err(HandshakeError::Extension),
        }
    }
}

fn check_upgrade(key: &str, status: StatusCode, headers: &HeaderMap) -> Result<(), HandshakeError> {
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(HandshakeError::Status(status));
    }
    if !field::is_upgrade(headers) {
        return Err(HandshakeError::NotUpgraded);
    }
    match field::single(headers, SEC_WEBSOCKET_ACCEPT) {
        Ok(Some(accept)) if accept == accept_key(key) => Ok(()),
        _ => Err(HandshakeError::Accept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::{self, Policy, Request};
    use crate::{ContextTakeover, DeflatePolicy};
    use http::{Method, Version};

    /// The nonce of RFC 6455, section 1.3.
    const NONCE: [u8; 16] = *b"the sample nonce";

    fn offer() -> Offer<'static> {
        Offer::upgrade(NONCE, &["chat", "superchat"], Some(DeflateOffer::default())).unwrap()
    }

    #[test]
    fn the_request_of_section_1_3_is_written() {
        let offer = Offer::upgrade(NONCE, &["chat", "superchat"], None).unwrap();
        let (mut head, mut more) = (BytesMut::new(), HeaderMap::new());
        more.insert("origin", HeaderValue::from_static("http://example.com"));
        let host = HeaderValue::from_static("server.example.com");
        offer.write_head(&host, &"/chat?x=1".parse().unwrap(), &more, &mut head);
        let expected = "GET /chat?x=1 HTTP/1.1\r\n\
                        host: server.example.com\r\n\
                        connection: upgrade\r\n\
                        upgrade: websocket\r\n\
                        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                        sec-websocket-version: 13\r\n\
                        sec-websocket-protocol: chat, superchat\r\n\
                        origin: http://example.com\r\n\r\n";
        assert_eq!(head, expected);
    }

    #[test]
    fn only_distinct_tokens_are_offered() {
        let rows: [(&[&str], Option<&str>); 5] = [
            (&[], None),
            (&["a", "bearer.x-y_z"], None),
            (&["a b"], Some("a b")),
            (&[""], Some("")),
            (&["a", "b", "a"], Some("a")),
        ];
        for (subprotocols, invalid) in rows {
            let refused = Offer::upgrade(NONCE, subprotocols, None).err();
            assert_eq!(
                refused.map(|InvalidSubprotocol(name)| name).as_deref(),
                invalid
            );
        }
    }

    /// Section 4.1, the client's checks, in their order.
    #[test]
    fn a_response_that_does_not_fit_the_offer_opens_nothing() {
        let rows = [
            ("", "", Ok(Some("chat"))),
            ("connection", "keep-alive, UPGRADE", Ok(Some("chat"))),
            ("upgrade", "WebSocket", Ok(Some("chat"))),
            ("sec-websocket-protocol", "superchat", Ok(Some("superchat"))),
            ("connection", "keep-alive", Err(HandshakeError::NotUpgraded)),
            ("upgrade", "h2c", Err(HandshakeError::NotUpgraded)),
            (
                "sec-websocket-accept",
                "s3pPLMBiTxaQ9kYGzzhZRbK+xOO=",
                Err(HandshakeError::Accept),
            ),
            (
                "sec-websocket-protocol",
                "other",
                Err(HandshakeError::Subprotocol),
            ),
            (
                "sec-websocket-protocol",
                "chat, superchat",
                Err(HandshakeError::Subprotocol),
            ),
            (
                "sec-websocket-extensions",
                "permessage-deflate",
                Ok(Some("chat")),
            ),
            (
                "sec-websocket-extensions",
                "x-other",
                Err(HandshakeError::Extension),
            ),
            (
                "sec-websocket-extensions",
                "a b",
                Err(HandshakeError::Extension),
            ),
            (
                "sec-websocket-extensions",
                "permessage-deflate, permessage-deflate",
                Err(HandshakeError::Extension),
            ),
            (
                "sec-websocket-extensions",
                "permessage-deflate; server_max_window_bits=7",
                Err(HandshakeError::DeflateParameters),
            ),
        ];
        for (name, value, expected) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("upgrade", "websocket"),
                ("connection", "Upgrade"),
                ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
                ("sec-websocket-protocol", "chat"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            if !name.is_empty() {
                headers.insert(name, HeaderValue::from_static(value));
            }
            let checked = offer().check(StatusCode::SWITCHING_PROTOCOLS, &headers);
            let subprotocol = checked.map(|established| established.subprotocol);
            assert_eq!(subprotocol, expected, "{name}: {value}");
        }
    }

    #[test]
    fn another_status_opens_nothing() {
        for status in [
            StatusCode::OK,
            StatusCode::UNAUTHORIZED,
            StatusCode::UPGRADE_REQUIRED,
        ] {
            let refused = offer().check(status, &HeaderMap::new());
            assert_eq!(refused, Err(HandshakeError::Status(status)));
        }
        let connect = Offer::extended_connect(&[], None).unwrap();
        assert!(connect.check(StatusCode::OK, &HeaderMap::new()).is_ok());
        assert!(
            connect
                .check(StatusCode::NOT_IMPLEMENTED, &HeaderMap::new())
                .is_err()
        );
    }

    #[test]
    fn a_server_may_not_choose_what_was_not_offered() {
        let offer = Offer::extended_connect(&[], None).unwrap();
        for (name, value, error) in [
            (
                "sec-websocket-protocol",
                "chat",
                HandshakeError::Subprotocol,
            ),
            (
                "sec-websocket-extensions",
                "permessage-deflate",
                HandshakeError::Extension,
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(offer.check(StatusCode::OK, &headers), Err(error), "{name}");
        }
    }

    #[test]
    fn our_server_and_our_client_agree() {
        let policy = Policy {
            subprotocols: &["superchat"],
            deflate: Some(DeflatePolicy {
                client_context_takeover: ContextTakeover::Yes,
                ..DeflatePolicy::STANDARD
            }),
        };
        let connect = Offer {
            key: None,
            ..offer()
        };
        for (offer, method, version, protocol) in [
            (offer(), Method::GET, Version::HTTP_11, None),
            (connect, Method::CONNECT, Version::HTTP_2, Some("websocket")),
        ] {
            let mut headers = offer.headers();
            headers.insert(HOST, HeaderValue::from_static("here"));
            let request = Request {
                method: &method,
                version,
                headers: &headers,
                protocol,
            };
            let accepted = handshake::accept(&request, &policy).unwrap();
            let established = offer.check(accepted.status(), &accepted.headers()).unwrap();
            assert_eq!(established.subprotocol, accepted.subprotocol);
            assert_eq!(established.deflate, accepted.deflate);
            assert!(established.deflate.is_some());
        }
    }
}
