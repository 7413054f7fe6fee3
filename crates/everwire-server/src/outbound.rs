//! What the server itself asks for over HTTP: key servers and webhooks.
//!
//! ```text
//!  send(request, limits) ─▶ a place for its host ─▶ a connection, perhaps an open one ─▶ answer, bounded
//!                           └──────────────────── all of it before the deadline ───────────────────┘
//! ```
//!
//! Each exchange runs on the workers, whoever waits for it: no core thread is held up by a name that is looked up, a
//! handshake or a certificate. It does not follow redirects, since who is asked is what the operator wrote, and takes
//! HTTP/1.1 only, which is all that a key server or a webhook needs. Connections stay open for the next exchange. What
//! can be asked stands in the configuration, so the hosts are few.

mod error;
mod places;
#[cfg(test)]
mod tests;
mod trust;

use std::{
    collections::HashMap,
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header, uri::Authority};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{runtime::Handle, task::JoinHandle, time::timeout};

pub(crate) use self::{error::OutboundError, places::Whose};
use self::{places::Places, trust::Trust};
use crate::{
    config::{self, Address, ConfigError},
    metrics::Metrics,
};

/// What one exchange may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From the call to the answer's last byte.
    pub time_max: Duration,
    /// The answer's content.
    pub content_bytes_max: usize,
}

/// Asks other servers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outbound(Arc<Shared>);

struct Shared {
    workers: Handle,
    metrics: Arc<Metrics>,
    trust: Trust,
    connections_per_host_max: usize,
    /// Made for the first exchange: who asks nobody reads no certificates.
    client: OnceLock<HttpClient>,
    hosts: Mutex<HashMap<Authority, Places>>,
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// How long an open connection waits for the next exchange. Many servers close theirs after 5 s, and one that is closed
/// while it is taken costs an attempt.
const IDLE: Duration = Duration::from_secs(4);

/// Largest head of an answer.
const HEAD_BYTES_MAX: usize = 32 * 1024;

impl Outbound {
    /// Nothing is asked and nobody connected to yet. `read` gets the content of `outbound.ca_file`.
    ///
    /// # Errors
    ///
    /// The file of certificates cannot be read, or holds none.
    pub fn new(
        settings: &config::Outbound,
        workers: Handle,
        metrics: Arc<Metrics>,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, ConfigError> {
        Ok(Self(Arc::new(Shared {
            workers,
            metrics,
            trust: Trust::new(settings, read)?,
            connections_per_host_max: settings.connections_per_host_max,
            client: OnceLock::new(),
            hosts: Mutex::default(),
        })))
    }

    /// Where exchanges run, and so do those best who ask by themselves.
    pub fn workers(&self) -> &Handle {
        &self.0.workers
    }

    /// Sends a request to an address that may be asked, on behalf of whoever caused it, and gives back the whole answer,
    /// whatever its status is. Goes on to its end, or its deadline, when nobody waits for it any more.
    ///
    /// # Errors
    ///
    /// No whole answer came.
    pub async fn send(
        &self,
        to: &Address,
        mut request: Request<Bytes>,
        whose: Whose,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        *request.uri_mut() = to.as_uri().clone();
        let host = to.authority().clone();
        let shared = self.0.clone();
        let exchange = async move { shared.exchange(request, host, whose, limits).await };
        let exchange: JoinHandle<_> = self.0.workers.spawn(exchange);
        match exchange.await {
            Ok(outcome) => outcome,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(_) => Err(OutboundError::Stopping),
        }
    }
}

impl Shared {
    async fn exchange(
        &self,
        mut request: Request<Bytes>,
        host: Authority,
        whose: Whose,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let time_ms = limits.time_max.as_millis();
        let mut has_place_since = None;
        request
            .headers_mut()
            .entry(header::USER_AGENT)
            .or_insert(USER_AGENT);
        let exchange = async {
            let _place = self.places(&host).take(whose).await;
            has_place_since = Some(Instant::now());
            let (parts, content) = request.into_parts();
            let request = Request::from_parts(parts, Full::new(content));
            let answer = self
                .client()
                .request(request)
                .await
                .map_err(|error| OutboundError::of_client(host.as_str(), &error))?;
            let (parts, content) = answer.into_parts();
            let content = Limited::new(content, limits.content_bytes_max)
                .collect()
                .await
                .map_err(|error| match error.is::<LengthLimitError>() {
                    true => OutboundError::TooLarge {
                        host: host.to_string(),
                        bytes_max: limits.content_bytes_max,
                    },
                    false => OutboundError::cut(host.as_str(), &*error),
                })?;
            Ok(Response::from_parts(parts, content.to_bytes()))
        };
        let outcome = timeout(limits.time_max, exchange).await;
        match (outcome, has_place_since) {
            (Ok(outcome), _) => outcome,
            (Err(_), Some(since)) => Err(OutboundError::TimeOut {
                host: host.to_string(),
                time_ms,
                had: since.elapsed(),
            }),
            (Err(_), None) => {
                self.metrics.outbound_was_busy();
                Err(OutboundError::Busy {
                    host: host.to_string(),
                    connections_max: self.connections_per_host_max,
                    time_ms,
                })
            }
        }
    }

    fn places(&self, host: &Authority) -> Places {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let places = hosts
            .entry(host.clone())
            .or_insert_with(|| Places::new(self.connections_per_host_max));
        places.clone()
    }

    fn client(&self) -> &HttpClient {
        self.client.get_or_init(|| {
            let mut connector = HttpConnector::new();
            connector.enforce_http(false); // so that it is under TLS too
            connector.set_nodelay(true);
            let connector = HttpsConnectorBuilder::new()
                .with_tls_config(self.trust.client_config())
                .https_or_http()
                .enable_http1()
                .wrap_connector(connector);
            Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(self.connections_per_host_max)
                .http1_max_buf_size(HEAD_BYTES_MAX)
                .build(connector)
        })
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").finish_non_exhaustive()
    }
}

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("everwire/", env!("CARGO_PKG_VERSION")));
