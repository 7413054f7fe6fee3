//! A WebSocket with the subprotocol `everwire.v1`.

use bytes::{Bytes, BytesMut};
use everwire_websocket::handshake::Offer;
use everwire_websocket::{CloseCode, Connection, ConnectionEvent, ConnectionOptions, MessageKind};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until};

use crate::http::{HttpConnection, describe};
use crate::url::HttpUrl;
use crate::{Cause, random};

/// An open WebSocket.
pub(crate) struct WebSocket {
    connection: Connection,
    read: ReadHalf<TokioIo<Upgraded>>,
    write: WriteHalf<TokioIo<Upgraded>>,
    inbound: BytesMut,
}

/// What came of a request for a WebSocket.
pub(crate) enum Opened {
    WebSocket(Box<WebSocket>),
    /// The server answers otherwise.
    Refused(Response<Incoming>, HttpConnection),
}

impl WebSocket {
    /// Sends a request as opening handshake, on a connection of its own. `bytes_max` bounds a message.
    pub async fn open(
        url: &HttpUrl,
        mut request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<Opened, Cause> {
        let offer = Offer::upgrade(random::bytes(), &[SUBPROTOCOL], None)
            .unwrap_or_else(|_| unreachable!("the subprotocol is a token"));
        request.headers_mut().extend(offer.headers());
        let mut connection = HttpConnection::reuse_or_open(None, url).await?;
        let response = connection.send(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Opened::Refused(response, connection));
        }
        let established = offer
            .check(response.status(), response.headers())
            .map_err(|error| Cause::Malformed(error.to_string()))?;
        if established.subprotocol.is_none() {
            return Err(Cause::Malformed(format!(
                "the server does not speak {SUBPROTOCOL}"
            )));
        }
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|error| Cause::Lost(describe(&error)))?;
        let options = ConnectionOptions {
            message_bytes_max: bytes_max,
            deflate: established.deflate,
            ..ConnectionOptions::default()
        };
        let (read, write) = tokio::io::split(TokioIo::new(upgraded));
        let now = Instant::now().into_std();
        Ok(Opened::WebSocket(Box::new(Self {
            connection: Connection::client(options, Box::new(random::bytes), now),
            read,
            write,
            inbound: BytesMut::new(),
        })))
    }

    /// Queues a text message; one that is too late is as lost as one that was cut on its way.
    pub fn send(&mut self, text: &str) {
        let _ = self.connection.send(MessageKind::Text, text.as_bytes());
    }

    /// Starts the closing handshake.
    pub fn close(&mut self, code: CloseCode) {
        let now = Instant::now().into_std();
        self.connection.close(Some((code, "")), now);
    }

    /// Whether the connection is over, for both sides.
    pub fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// What came of the last turn; `None` until there was another.
    pub fn poll_event(&mut self) -> Option<ConnectionEvent> {
        self.connection.poll_event()
    }

    /// Waits for the transport once. If the future is dropped, nothing is lost.
    pub async fn turn(&mut self) {
        let Self {
            connection,
            read,
            write,
            inbound,
        } = self;
        let wake_at = connection.wake_at().map(Instant::from_std);
        inbound.reserve(READ_BYTES);
        tokio::select! {
            read = read.read_buf(inbound) => match read {
                Ok(0) | Err(_) => connection.handle_eof(),
                Ok(_) => connection.handle_bytes(inbound, Instant::now().into_std()),
            },
            written = write.write(connection.outgoing()), if connection.wants_write() => match written {
                Ok(bytes) => connection.advance_outgoing(bytes),
                Err(_) => connection.handle_eof(),
            },
            () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {
                connection.handle_timeout(Instant::now().into_std());
            }
        }
    }
}

/// How much is read at once: without it a read would take 64 bytes.
const READ_BYTES: usize = 16 * 1024;

const SUBPROTOCOL: &str = "everwire.v1";
