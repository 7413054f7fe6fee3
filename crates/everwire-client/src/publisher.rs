//! Publishes to one channel, each entry exactly once.

mod attempts;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use everwire_channel::{ContentType, ContentTypeError, EventName, IdempotencyKey, LabelError};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::credential::Purse;
use crate::decode::ProblemDecoder;
use crate::http::{HttpConnection, NoResponse, lost};
use crate::signal::Refusal;
use crate::{Backoff, ChannelUrl, Credential, Offset, random};
use attempts::{Attempts, Outcome, Verdict};

/// Publishes to one channel over HTTP.
///
/// An attempt that fails is made again with the same `Idempotency-Key`, under which the server appends
/// once and answers a repeat as it answered first. So an entry is there exactly once, even where the
/// answer to the first attempt was lost.
///
/// ```no_run
/// use everwire_client::Publisher;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut lobby = Publisher::new("http://127.0.0.1:8080/channels/chat/lobby".parse()?);
/// let receipt = lobby.publish("hello".into()).await?;
/// println!("published up to {}", receipt.offset);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Publisher {
    url: ChannelUrl,
    options: PublisherOptions,
    connection: Option<HttpConnection>,
    purse: Purse,
}

/// What is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The payload. In a JSON channel an array is a batch: each of its elements is an entry.
    pub data: Bytes,
    /// The media type, which has to be the channel's. Default: not said; the payload takes that of the
    /// channel, and gives a new channel `application/json` if it is JSON, else `text/plain`.
    pub content_type: Option<String>,
    /// The event's name, at most 64 bytes.
    pub event: Option<String>,
    /// The idempotency key, at most 255 bytes. Default: a random one for each message. A key of one's own
    /// also makes a repeat by another publisher, or by this program after a restart, harmless.
    pub key: Option<String>,
}

/// What the server says of a message that it has appended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The position after the entry, or after the last one of a batch.
    pub offset: Offset,
}

/// How a publisher behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherOptions {
    /// The waits between attempts.
    pub backoff: Backoff,
    /// The longest that one attempt may take. Default: 30 s.
    pub attempt_timeout: Duration,
    /// After how long no further attempt is made. Default: 60 s. Keep it shorter than the server remembers
    /// keys.
    pub patience: Duration,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            attempt_timeout: Duration::from_secs(30),
            patience: Duration::from_secs(60),
        }
    }
}

/// Why a message is not known to be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The server refuses the message, and would again; it is not published.
    #[error("the server answered {status}: {detail}")]
    Refused {
        /// The status code.
        status: u16,
        /// What the server says: what happened, why, and what to do.
        detail: String,
    },
    /// No attempt reached the server, so the message is not published.
    #[error("the server cannot be reached: {cause}; check the address, and that the server runs")]
    Unreachable {
        /// Why the last attempt failed.
        cause: String,
    },
    /// No attempt succeeded in time. The message may be published or not; publish it again with the same key
    /// to be sure.
    #[error(
        "gave up after {attempts} attempts, at last because {cause}; publish it again with the key {key}, so that it is there once"
    )]
    TimedOut {
        /// How many attempts were made.
        attempts: u32,
        /// Why the last one failed.
        cause: String,
        /// The key of all attempts.
        key: String,
    },
    /// The answer is a success and names no offset.
    #[error(
        "the answer is a success without stream-next-offset, so it is not from a channel; check the URL"
    )]
    NotAChannel,
    /// The event's name or the key breaks a rule.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// The media type is not valid.
    #[error(transparent)]
    ContentType(#[from] ContentTypeError),
}

impl Publisher {
    /// A publisher with the default [`PublisherOptions`]. It connects with the first message.
    pub fn new(url: ChannelUrl) -> Self {
        Self::with_options(url, PublisherOptions::default())
    }

    /// A publisher that behaves as told.
    pub fn with_options(url: ChannelUrl, options: PublisherOptions) -> Self {
        Self {
            url,
            options,
            connection: None,
            purse: Purse::default(),
        }
    }

    /// The same, which shows a credential. One that is fetched is fetched anew when it has expired or is refused.
    #[must_use]
    pub fn showing(self, credential: Credential) -> Self {
        Self {
            purse: Purse::new(credential),
            ..self
        }
    }

    /// Publishes one message and waits until the server has it. If the future is dropped, the message may be
    /// published or not. Must be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// The message is not valid, the server refuses it, or no attempt succeeded in time.
    pub async fn publish(&mut self, message: Message) -> Result<Receipt, PublishError> {
        let key = message.key.unwrap_or_else(random::hex);
        let fields = fields(
            &self.url,
            message.content_type.as_deref(),
            message.event.as_deref(),
            &key,
        )?;
        let now = Instant::now().into_std();
        let seed = u64::from_ne_bytes(random::bytes());
        let renews = self.purse.can_be_renewed();
        let mut attempts = Attempts::new(self.options.clone(), key, renews, now, seed);
        loop {
            let mut request = Request::new(Full::new(message.data.clone()));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = self.url.http().target(&[]).into();
            *request.headers_mut() = fields.clone();
            let deadline = Instant::now() + self.options.attempt_timeout;
            // Taken out: a connection on which something went wrong is not used again.
            let connection = self.connection.take();
            let attempt = attempt(connection, &self.url, request, &self.purse);
            let outcome = match timeout_at(deadline, attempt).await {
                Ok(Ok((outcome, connection))) => {
                    self.connection = connection;
                    outcome
                }
                Ok(Err(no_response)) => no_response.into(),
                Err(_) => Outcome::Lost("the server did not answer in time".to_owned()),
            };
            match attempts.judge(outcome, Instant::now().into_std()) {
                Verdict::Done(receipt) => return Ok(receipt),
                Verdict::RetryAt(at) => sleep_until(at.into()).await,
                Verdict::GiveUp(error) => return Err(error),
            }
        }
    }
}

async fn attempt(
    idle: Option<HttpConnection>,
    url: &ChannelUrl,
    mut request: Request<Full<Bytes>>,
    purse: &Purse,
) -> Result<(Outcome, Option<HttpConnection>), NoResponse> {
    match purse.field().await {
        Ok(field) => request
            .headers_mut()
            .extend(field.map(|field| (AUTHORIZATION, field))),
        Err(error) => return Ok((Outcome::Unreachable(error), idle)),
    }
    let mut connection = HttpConnection::reuse_or_open(idle, url.http()).await?;
    let (head, mut body) = connection.send(request).await?.into_parts();
    let mut decoder = ProblemDecoder::new(head.status, &head.headers, SystemTime::now());
    while let Some(frame) = body.frame().await {
        if let Some(bytes) = frame.map_err(|error| lost(&error))?.data_ref() {
            decoder.decode(bytes);
        }
    }
    if head.status == StatusCode::UNAUTHORIZED {
        purse.refused();
    }
    Ok((
        outcome(head.status, &head.headers, decoder.finish()),
        Some(connection),
    ))
}

fn outcome(status: StatusCode, headers: &HeaderMap, refusal: Refusal) -> Outcome {
    if !status.is_success() {
        return Outcome::Refused(refusal);
    }
    let next = headers
        .get("stream-next-offset")
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Outcome::Appended(next)
}

fn fields(
    url: &ChannelUrl,
    content_type: Option<&str>,
    event: Option<&str>,
    key: &str,
) -> Result<HeaderMap, PublishError> {
    let mut fields = HeaderMap::new();
    fields.insert(HOST, url.http().host());
    let content_type = match content_type {
        Some(content_type) => value(content_type.parse::<ContentType>()?.as_str()),
        None => HeaderValue::from_static(TYPE_NOT_SAID),
    };
    fields.insert(CONTENT_TYPE, content_type);
    if let Some(event) = event {
        fields.insert(EVENT, value(EventName::new(event)?.as_str()));
    }
    IdempotencyKey::new(key)?;
    fields.insert(KEY, value(key));
    Ok(fields)
}

/// A value that was checked to hold no control characters. What is not ASCII is sent as UTF-8.
fn value(checked: &str) -> HeaderValue {
    HeaderValue::from_bytes(checked.as_bytes())
        .unwrap_or_else(|_| unreachable!("without control characters"))
}

/// What curl sends if it is not told; servers take it for no type at all.
const TYPE_NOT_SAID: &str = "application/x-www-form-urlencoded";
const EVENT: HeaderName = HeaderName::from_static("everwire-event");
const KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl From<Bytes> for Message {
    fn from(data: Bytes) -> Self {
        Self {
            data,
            ..Self::default()
        }
    }
}

impl From<&'static str> for Message {
    fn from(data: &'static str) -> Self {
        Bytes::from(data).into()
    }
}

impl From<String> for Message {
    fn from(data: String) -> Self {
        Bytes::from(data).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_told_in_fields() {
        let url: ChannelUrl = "http://h:8080/channels/a".parse().unwrap();
        let said = fields(&url, Some("Text/Plain"), Some("typing ä"), "k1").unwrap();
        assert_eq!(said[CONTENT_TYPE], "text/plain");
        assert_eq!(said[EVENT], "typing ä".as_bytes());
        assert_eq!(said[KEY], "k1");
        let unsaid = fields(&url, None, None, "k1").unwrap();
        assert_eq!(unsaid[CONTENT_TYPE], TYPE_NOT_SAID);
        assert_eq!(unsaid.get(EVENT), None);
    }

    #[test]
    fn a_field_cannot_be_smuggled_in() {
        let url: ChannelUrl = "http://h/channels/a".parse().unwrap();
        let evil = "a\r\nx-evil: 1";
        assert!(matches!(
            fields(&url, None, Some(evil), "k"),
            Err(PublishError::Label(_))
        ));
        assert!(matches!(
            fields(&url, None, None, evil),
            Err(PublishError::Label(_))
        ));
        assert!(matches!(
            fields(&url, Some(evil), None, "k"),
            Err(PublishError::ContentType(_))
        ));
    }

    #[test]
    fn each_message_has_a_key_of_its_own() {
        assert_ne!(random::hex(), random::hex());
        assert_eq!(random::hex().len(), 32);
    }
}
