//! The way to the authority, and what its last answer said besides its content.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use crate::{
    config::{Address, ClearText, Url},
    outbound::{Limits, Outbound},
};

/// What the last answer said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Its status, unless none came.
    pub status: Option<u16>,
    /// For how long to stay away, if it refused and said so (RFC 9110, section 10.2.3).
    pub retry_after_s: Option<u64>,
}

/// Asks the authority in bounded time and space, and remembers what the last answer said: the protocol's library gives
/// back only the content of a refusal.
#[derive(Clone)]
pub(crate) struct Listener {
    outbound: Outbound,
    told: Arc<Mutex<Told>>,
}

impl Listener {
    pub fn new(outbound: Outbound) -> Self {
        Self {
            outbound,
            told: Arc::default(),
        }
    }

    /// What the last answer said.
    pub fn told(&self) -> Told {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, told: Told) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    async fn send(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>, Error> {
        self.remember(Told::default());
        let (parts, content) = request.into_parts();
        let content = match content.collect().await {
            Ok(content) => content.to_bytes(),
            Err(never) => match never {},
        };
        // Every address that the authority names is asked by `https`, as the first (RFC 8555, section 6.1).
        let address = Url::parse(&parts.uri.to_string()).map_err(no_address)?;
        let address = Address::of(&address, ClearText::Nowhere);
        let address = address.map_err(|exposed| no_address(&exposed.to_string()))?;
        let request = Request::from_parts(parts, content);
        let answer = self.outbound.send(&address, request, None, LIMITS).await;
        let answer = answer.map_err(|error| Error::Other(Box::new(error)))?;
        let status = answer.status();
        let is_refusal = status.is_client_error() || status.is_server_error();
        self.remember(Told {
            status: Some(status.as_u16()),
            retry_after_s: match is_refusal {
                true => retry_after_s(answer.headers(), SystemTime::now()),
                false => None,
            },
        });
        Ok(answer)
    }
}

/// The authority has named an address that is not asked.
fn no_address(problem: &str) -> Error {
    Error::Other(format!("the authority names an address that cannot be asked: {problem}").into())
}

impl HttpClient for Listener {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let this = self.clone();
        Box::pin(async move {
            Ok(BytesResponse::from(
                this.send(request).await?.map(Full::new),
            ))
        })
    }
}

/// `Retry-After`: seconds, or a date.
fn retry_after_s(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    text.parse().ok().or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        let left = date.duration_since(now).unwrap_or_default();
        Some(left.as_secs() + u64::from(left.subsec_nanos() > 0))
    })
}

/// For one exchange. The largest answers are chains of certificates.
const LIMITS: Limits = Limits {
    time_max: Duration::from_secs(30),
    content_bytes_max: 1024 * 1024,
};

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::HeaderValue;

    use super::*;

    /// RFC 8555, section 6.1. An authority that is not what it should be could else have us ask whom it likes.
    #[tokio::test]
    async fn an_address_that_the_authority_names_is_asked_by_https_only() {
        let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = nobody.local_addr().unwrap();
        let outbound = Outbound::new(
            &crate::config::Outbound {
                insecure_clear_text: true,
                ..crate::config::Outbound::default()
            },
            tokio::runtime::Handle::current(),
            Arc::default(),
            &mut |_| Ok(Vec::new()),
        );
        let listener = Listener::new(outbound.unwrap());
        for (url, part) in [
            (format!("http://{address}/order/1"), "has to be https"),
            (format!("ftp://{address}/order/1"), "not an address"),
            (format!("https://ada:b@{address}/order/1"), "user name"),
            ("/order/1".to_owned(), "not an address"),
        ] {
            let mut request = Request::new(BodyWrapper::default());
            *request.uri_mut() = url.parse().unwrap();
            let Err(error) = listener.send(request).await else {
                panic!("{url} was asked");
            };
            let Error::Other(error) = error else {
                panic!("{url}: {error}");
            };
            assert!(error.to_string().contains(part), "{url}: {error}");
        }
        let asked = tokio::time::timeout(Duration::ZERO, nobody.accept()).await;
        assert!(asked.is_err(), "somebody connected");
    }

    #[test]
    fn the_time_to_come_back_is_read_as_seconds_or_as_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = UNIX_EPOCH + Duration::from_millis(784_111_777_500);
        for (text, expected) in [
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:40:37 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
            assert_eq!(retry_after_s(&headers, now), expected, "{text}");
        }
        assert_eq!(retry_after_s(&HeaderMap::new(), now), None);
    }
}
