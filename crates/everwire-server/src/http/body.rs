//! Contents: those of requests, collected within limits, and those of responses.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use everwire_wire::{Problem, ProblemKind};
use http::{Version, header, request::Parts};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::coding::of_content;
use crate::{
    budget::{Content, Exhausted, FREE_BYTES, STEP_BYTES, Share},
    config::{Action, Config},
    press::{Coding, NotDecoded},
    rate::Account,
    shard::{Shared, Speaker},
    stream::{Cut as LineCut, Piped},
};

/// How much content is taken, and for whom it is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    pub account: Account,
    pub bytes_max: usize,
    /// The setting of this limit.
    pub setting: &'static str,
    /// It may be held for longer than it takes to come.
    pub waits: bool,
}

impl Allowance {
    /// What is published, by a caller who may.
    pub fn to_publish(shared: &Shared, account: Account) -> Self {
        Self {
            account,
            bytes_max: shared.live.config.limits.content_bytes_max,
            setting: "limits.content_bytes_max",
            waits: false,
        }
    }

    /// The same, where the application may be asked about what came.
    pub fn waiting(self, waits: bool) -> Self {
        Self { waits, ..self }
    }

    /// Commands of a session, of which `speaker` says whom it speaks for.
    pub fn to_command(shared: &Shared, speaker: &Speaker) -> Self {
        let (live, account) = (&shared.live, speaker.account);
        let may_publish = speaker.caller.may_ever(&live.rules, Action::Publish)
            || live.rules.is_decided_somewhere(Action::Publish);
        // Who lowers the limit of all contents means these too.
        let of_all = live.config.limits.content_bytes_max;
        let of_sessions = live.config.sessions.content_bytes_max;
        let (bytes_max, setting) = match of_sessions <= of_all {
            true => (of_sessions, "sessions.content_bytes_max"),
            false => (of_all, "limits.content_bytes_max"),
        };
        Self {
            account,
            // Commands are short but for what is published.
            bytes_max: match may_publish {
                true => bytes_max,
                false => bytes_max.min(STEP_BYTES),
            },
            setting,
            // Behind others that the application has to judge.
            waits: true,
        }
    }

    fn too_large(self) -> Problem {
        let Self {
            bytes_max, setting, ..
        } = self;
        let (_, limit) = setting.rsplit_once('.').unwrap_or(("", setting));
        let detail =
            format!("the content has more than {bytes_max} bytes ({setting}); send it in parts");
        Problem::new(ProblemKind::TooLarge, detail)
            .with("bytes_max", bytes_max)
            .at_limit(limit)
    }
}

/// Collects a request's content, without its coding. Larger than the limit is 413, slower than the limit 408, in a coding
/// that is not known 415, damaged 400; where there is no room to hold it, 429 or 503.
pub(super) async fn collect(
    content: Incoming,
    parts: &Parts,
    shared: &Shared,
    allowance: Allowance,
) -> Result<Content, Problem> {
    let headers = &parts.headers;
    let config = &shared.live.config;
    let coding = of_content(headers, config.http.compression)?;
    // What Content-Length says; zero where there is none.
    let announced = content.size_hint().lower();
    let limit = Duration::from_millis(config.http.content_ms);
    if announced > allowance.bytes_max as u64 {
        // Who asks first is told before it sends anything (RFC 9110, section 10.1.1), and so is who would not be heard out.
        if !headers.contains_key(header::EXPECT) && announced <= DISCARDED_BYTES_MAX {
            let _ = tokio::time::timeout(limit, discard(content)).await;
        }
        return Err(allowance.too_large());
    }
    // A connection has one request at a time, or a thousand.
    let free_bytes = match parts.version {
        Version::HTTP_2 => 0,
        _ => FREE_BYTES,
    };
    let mut content = content;
    let gathered = {
        let mut gathering = std::pin::pin!(gather(&mut content, shared, allowance, free_bytes));
        // Nearly every content came together with its head, and needs no clock.
        match poll_fn(|cx| Poll::Ready(gathering.as_mut().poll(cx))).await {
            Poll::Ready(gathered) => Some(gathered),
            Poll::Pending => tokio::time::timeout(limit, gathering).await.ok(),
        }
    };
    match gathered {
        Some(Ok(whole)) => match coding {
            // Nothing is nothing in any coding.
            Some(coding) if !whole.bytes.is_empty() => {
                Box::pin(unpack(whole, coding, shared, allowance)).await
            }
            Some(_) | None => Ok(whole),
        },
        Some(Err(Cut::Refused(problem))) => {
            let _ = tokio::time::timeout(limit, discard(content)).await;
            Err(problem)
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

/// Takes a content out of its coding: readers are not told of any, and their limits are about what it holds.
async fn unpack(
    content: Content,
    coding: Coding,
    shared: &Shared,
    allowance: Allowance,
) -> Result<Content, Problem> {
    // What came has its share until all is unpacked.
    let Content {
        bytes: coded,
        share: _held,
    } = content;
    let (coded_bytes, account) = (coded.len(), allowance.account);
    let share = shared.hold(account, 0)?;
    let unpacking = (shared.press).decode((coding, coded), (share, account), allowance.bytes_max);
    let limit = Duration::from_millis(shared.live.config.http.content_ms);
    let Ok(unpacked) = tokio::time::timeout(limit, unpacking).await else {
        let detail = "as many contents are unpacked here as may be; send it without Content-Encoding, or try later";
        return Err(Problem::new(ProblemKind::Overloaded, detail).at_limit("coders_max"));
    };
    let (bytes, share) = unpacked.map_err(|error| match error {
        NotDecoded::TooLarge => allowance.too_large(),
        NotDecoded::NoRoom(exhausted) => exhausted.problem(),
        NotDecoded::Broken(broken) => {
            let name = coding.name();
            let detail = format!(
                "the content cannot be unpacked as {name}, which its Content-Encoding says it is: {broken}; send it anew"
            );
            Problem::new(ProblemKind::BadContent, detail)
        }
        NotDecoded::Failed => {
            tracing::error!(coding = coding.name(), "a content could not be unpacked");
            let detail = "the content could not be unpacked; send it without Content-Encoding";
            Problem::new(ProblemKind::Internal, detail)
        }
    })?;
    (shared.metrics).coded((coding.name(), "received"), coded_bytes, bytes.len());
    Ok(Content {
        bytes,
        share: Some(share),
    })
}

/// Why a content is not had whole.
enum Cut {
    /// It is too large, or there is no room to hold it.
    Refused(Problem),
    BrokenOff,
}

/// All data of a content. What came in one piece is not copied; what is waited for is, into memory that a share is taken
/// for first: a piece keeps all of what was read with it.
async fn gather(
    content: &mut Incoming,
    shared: &Shared,
    allowance: Allowance,
    free_bytes: usize,
) -> Result<Content, Cut> {
    let announced = usize::try_from(content.size_hint().lower()).unwrap_or(usize::MAX);
    let at_once_bytes = match allowance.waits {
        true => free_bytes,
        false => STEP_BYTES,
    };
    let mut joined = Vec::new();
    let mut share: Option<Share> = None;
    while !content.is_end_stream() {
        let Some(frame) = content.frame().await else {
            break;
        };
        let Ok(data) = frame.map_err(|_| Cut::BrokenOff)?.into_data() else {
            continue; // trailers
        };
        let length = joined.len() + data.len();
        if length > allowance.bytes_max {
            return Err(Cut::Refused(allowance.too_large()));
        }
        if joined.is_empty() && length <= at_once_bytes && content.is_end_stream() {
            let bytes = data;
            return Ok(Content { bytes, share });
        }
        if length > joined.capacity() {
            let most = if announced > 0 {
                announced
            } else {
                allowance.bytes_max
            };
            let capacity = length.max((2 * joined.capacity()).min(most));
            if let Some(share) = &mut share {
                let grown = share.grow_to(capacity).map_err(Exhausted::problem);
                grown.map_err(Cut::Refused)?;
            } else if capacity > free_bytes {
                let held = shared.hold(allowance.account, capacity);
                share = Some(held.map_err(Cut::Refused)?);
            }
            joined.reserve_exact(capacity - joined.len());
        }
        joined.extend_from_slice(&data);
    }
    // What it took too much is given back, and not kept by a log in which it is not counted.
    joined.shrink_to_fit();
    if let Some(share) = &mut share {
        share.shrink_to(joined.len());
    }
    let bytes = joined.into();
    Ok(Content { bytes, share })
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
    /// What a line sends, as it comes, over HTTP/2.
    Line(Box<Piped>),
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Full((!bytes.is_empty()).then_some(bytes))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = LineCut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Line(line) => line
                .poll_bytes(cx)
                .map(|taken| taken.map(|taken| taken.map(Frame::data))),
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
            Self::Line(_) => SizeHint::default(),
        }
    }
}
