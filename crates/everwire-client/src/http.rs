//! One HTTP/1.1 connection, as thin as it can be.

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::ChannelUrl;

/// A connection that sends requests with bodies of type `B`. Dropped, it is gone at once.
#[derive(Debug)]
pub(crate) struct HttpConnection<B> {
    sender: SendRequest<B>,
    /// Moves the bytes; a set, since dropping one aborts what is in it.
    _driver: JoinSet<()>,
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoResponse {
    /// The server could not be reached, and has seen nothing.
    Unreachable(String),
    /// The connection broke; the server may have seen the request.
    Lost(String),
}

impl<B> HttpConnection<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    /// The connection of the last request, or a new one where the server has closed that meanwhile.
    pub async fn reuse_or_open(idle: Option<Self>, url: &ChannelUrl) -> Result<Self, NoResponse> {
        if let Some(mut idle) = idle
            && idle.sender.ready().await.is_ok()
        {
            return Ok(idle);
        }
        Self::open(url).await
    }

    async fn open(url: &ChannelUrl) -> Result<Self, NoResponse> {
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
        let (sender, connection) = http1::handshake(TokioIo::new(socket))
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

    pub async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, NoResponse> {
        self.sender
            .send_request(request)
            .await
            .map_err(|error| lost(&error))
    }
}

/// Tells a failure of hyper with its cause, which names what the system said.
pub(crate) fn lost(error: &hyper::Error) -> NoResponse {
    NoResponse::Lost(describe(error))
}

/// An error with its cause.
pub(crate) fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
