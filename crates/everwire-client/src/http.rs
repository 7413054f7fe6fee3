//! One HTTP/1.1 connection, as thin as it can be.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::InvalidMessage;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::url::HttpUrl;

/// A connection that sends one request after the other. Dropped, it is gone at once.
#[derive(Debug)]
pub(crate) struct HttpConnection {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes; a set, since dropping one aborts what is in it.
    _driver: JoinSet<()>,
}

/// A socket, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoResponse {
    /// The server could not be reached, and has seen nothing.
    Unreachable(String),
    /// The connection broke; the server may have seen the request.
    Lost(String),
}

impl HttpConnection {
    /// The connection of the last request, or a new one where the server has closed that meanwhile.
    pub async fn reuse_or_open(idle: Option<Self>, url: &HttpUrl) -> Result<Self, NoResponse> {
        if let Some(mut idle) = idle
            && idle.sender.ready().await.is_ok()
        {
            return Ok(idle);
        }
        Self::open(url).await
    }

    async fn open(url: &HttpUrl) -> Result<Self, NoResponse> {
        let (host, port) = url.address();
        let unreachable = |error: &dyn std::error::Error| {
            NoResponse::Unreachable(format!("{host} port {port}: {error}"))
        };
        let socket = TcpStream::connect((host, port))
            .await
            .map_err(|error| unreachable(&error))?;
        // Requests are small, and each is waited for.
        socket
            .set_nodelay(true)
            .map_err(|error| unreachable(&error))?;
        let stream: Box<dyn Stream> = match url.trust() {
            None => Box::new(socket),
            Some(trust) => {
                let name = ServerName::try_from(host.to_owned());
                let name = name.map_err(|error| unreachable(&error))?;
                let connector = TlsConnector::from(trust.config());
                let stream = connector.connect(name, socket).await;
                Box::new(stream.map_err(|error| match speaks_no_tls(&error) {
                    true => unreachable(&NoTls),
                    false => unreachable(&error),
                })?)
            }
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(&error))?;
        let mut driver = JoinSet::new();
        // How it ends is told to whoever waits for a response.
        driver.spawn(async move { drop(connection.with_upgrades().await) });
        Ok(Self {
            sender,
            _driver: driver,
        })
    }

    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, NoResponse> {
        self.sender
            .send_request(request)
            .await
            .map_err(|error| lost(&error))
    }
}

/// Whether an answer to a handshake is no TLS.
fn speaks_no_tls(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(
        cause,
        Some(rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType
        ))
    )
}

#[derive(Debug, thiserror::Error)]
#[error("what answers there does not speak TLS; write http:// if it is meant to be clear text")]
struct NoTls;

/// Whether a field names this media type, whatever its parameters.
pub(crate) fn names(headers: &HeaderMap, field: &str, media_type: &str) -> bool {
    let value = headers.get(field).map_or(&b""[..], HeaderValue::as_bytes);
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    (essence.trim_ascii()).eq_ignore_ascii_case(media_type.as_bytes())
}

/// Tells a failure of hyper with its cause, which names what the system said.
pub(crate) fn lost(error: &hyper::Error) -> NoResponse {
    NoResponse::Lost(describe(error))
}

/// An error with its cause.
pub(crate) fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None if error.is_parse() => format!(
            "{error}; what answers there does not speak HTTP, or speaks it under TLS: then write https://"
        ),
        None => error.to_string(),
    }
}
