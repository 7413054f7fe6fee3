//! Contents: those of requests, collected within limits, and those of responses.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use crate::{
    config::Config,
    stream::{EntryStream, SessionStream},
};

/// A request's content, whole. Larger than the limit is 413, slower than the limit 408, compressed 415.
pub(crate) async fn collect(
    content: Incoming,
    headers: &HeaderMap,
    config: &Config,
) -> Result<Bytes, Problem> {
    check_encoding(headers)?;
    let bytes_max = config.limits.content_bytes_max;
    let too_large = || {
        Problem::new(
            ProblemKind::TooLarge,
            format!("the content has more than {bytes_max} bytes (limits.content_bytes_max); send it in parts"),
        )
        .with("bytes_max", bytes_max)
        .at_limit("content_bytes_max")
    };
    // What Content-Length says; zero where there is none.
    let announced = content.size_hint().lower();
    let limit = Duration::from_millis(config.http.content_ms);
    if announced > bytes_max as u64 {
        // Who asks first is told before it sends anything (RFC 9110, section 10.1.1), and so is who would not be heard out.
        if !headers.contains_key(header::EXPECT) && announced <= DISCARDED_BYTES_MAX {
            let _ = tokio::time::timeout(limit, discard(content)).await;
        }
        return Err(too_large());
    }
    let mut content = content;
    let gathered = {
        let mut gathering = std::pin::pin!(gather(&mut content, bytes_max));
        // Nearly every content came together with its head, and needs no clock.
        match poll_fn(|cx| Poll::Ready(gathering.as_mut().poll(cx))).await {
            Poll::Ready(gathered) => Some(gathered),
            Poll::Pending => tokio::time::timeout(limit, gathering).await.ok(),
        }
    };
    match gathered {
        Some(Ok(whole)) => Ok(whole),
        Some(Err(Cut::TooLarge)) => {
            let _ = tokio::time::timeout(limit, discard(content)).await;
            Err(too_large())
        }
        Some(Err(Cut::BrokenOff)) => Err(broken_off()),
        None => Err(too_slow(config)),
    }
}

/// Sees that a request has no content, however it is framed: in no chunk, in a DATA frame that is empty, with a length
/// of 0. Proxies send all of these in the place of a head alone (RFC 9110, section 6.4: content is what the framing
/// holds). Nothing of real content is kept.
pub(crate) async fn refuse(mut content: Incoming, config: &Config) -> Result<(), Problem> {
    if content.is_end_stream() {
        return Ok(());
    }
    let unwanted = || {
        Problem::new(
            ProblemKind::BadRequest,
            "a read has no content; send it without any, or by the method that takes it",
        )
    };
    if content.size_hint().lower() > 0 {
        return Err(unwanted()); // announced, so there is no need to wait for it
    }
    let looking = async {
        while !content.is_end_stream() {
            match content.frame().await {
                None => return Ok(()),
                Some(Err(_)) => return Err(broken_off()),
                Some(Ok(frame)) if frame.data_ref().is_some_and(|data| !data.is_empty()) => {
                    return Err(unwanted());
                }
                Some(Ok(_)) => {} // an empty DATA frame, or trailers
            }
        }
        Ok(())
    };
    let limit = Duration::from_millis(config.http.content_ms);
    match tokio::time::timeout(limit, looking).await {
        Ok(seen) => seen,
        Err(_) => Err(too_slow(config)),
    }
}

fn broken_off() -> Problem {
    Problem::new(
        ProblemKind::BadRequest,
        "the content broke off before its end",
    )
}

fn too_slow(config: &Config) -> Problem {
    let content_ms = config.http.content_ms;
    let detail = format!("the content did not arrive within {content_ms} ms (http.content_ms)");
    Problem::new(ProblemKind::TimedOut, detail).at_limit("content_ms")
}

/// Content is kept as it comes, and readers are not told of any encoding (RFC 9110, section 8.4).
fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    match encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        true => Ok(()),
        false => Err(Problem::new(
            ProblemKind::UnsupportedEncoding,
            "the content has a Content-Encoding; send it as it is, without that field",
        )),
    }
}

/// Why a content is not had whole.
enum Cut {
    TooLarge,
    BrokenOff,
}

/// All data of a content. What came in one piece is not copied.
async fn gather(content: &mut Incoming, bytes_max: usize) -> Result<Bytes, Cut> {
    let (mut first, mut joined) = (Bytes::new(), BytesMut::new());
    while !content.is_end_stream() {
        let Some(frame) = content.frame().await else {
            break;
        };
        let Ok(data) = frame.map_err(|_| Cut::BrokenOff)?.into_data() else {
            continue; // trailers
        };
        if first.len().max(joined.len()) + data.len() > bytes_max {
            return Err(Cut::TooLarge);
        }
        if first.is_empty() {
            first = data;
            continue;
        }
        if joined.is_empty() {
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&data);
    }
    Ok(if joined.is_empty() {
        first
    } else {
        joined.freeze()
    })
}

/// Bytes that are taken of a content that is too large.
const DISCARDED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Takes the rest of a content that is too large, within reason: a client that is cut off while it sends sees a
/// broken connection instead of the answer.
async fn discard(mut content: Incoming) {
    let mut discarded = 0;
    while let Some(Ok(frame)) = content.frame().await {
        discarded += frame.data_ref().map_or(0, Bytes::len) as u64;
        if discarded > DISCARDED_BYTES_MAX {
            return;
        }
    }
}

/// A response's content.
pub(crate) enum Body {
    /// Known as a whole.
    Full(Option<Bytes>),
    /// Entries as they come, over HTTP/2.
    Entries(Box<EntryStream>),
    /// A session's messages as they come, over HTTP/2.
    Session(Box<SessionStream>),
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Full((!bytes.is_empty()).then_some(bytes))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Entries(stream) => stream
                .poll_bytes(cx)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
            Self::Session(stream) => stream
                .poll_bytes(cx)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Entries(_) | Self::Session(_) => SizeHint::default(),
        }
    }
}
