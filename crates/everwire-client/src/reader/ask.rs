//! What a reader asks for, as a request, and what the head of the answer promises.

use std::time::SystemTime;

use everwire_channel::{ContentKind, ContentType};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::Full;

use crate::decode::event_stream::DataEncoding;
use crate::decode::{Decoder, EventStreamDecoder, NdjsonDecoder, PageDecoder, ProblemDecoder};
use crate::http::names;
use crate::signal::Signal;
use crate::{Cause, ChannelUrl, Offset, Start};

/// One request of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub start: Start,
    pub form: Form,
}

/// Which kind of answer is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    WebSocket,
    EventStream,
    Ndjson,
    /// One page, at once or when there is something.
    LongPoll {
        cursor: Option<String>,
    },
    /// One page, at once.
    CatchUp {
        etag: Option<String>,
    },
}

impl Ask {
    /// The request; for a WebSocket without the fields of the opening handshake.
    pub fn request(&self, url: &ChannelUrl) -> Request<Full<bytes::Bytes>> {
        let mut parameters = vec![self.start.parameter()];
        let mut fields = HeaderMap::new();
        fields.insert(HOST, url.http().host());
        match &self.form {
            Form::WebSocket => {}
            Form::EventStream => {
                fields.insert(ACCEPT, HeaderValue::from_static(EVENT_STREAM));
            }
            Form::Ndjson => {
                fields.insert(ACCEPT, HeaderValue::from_static(NDJSON));
            }
            Form::LongPoll { cursor } => {
                parameters.push(("live", "long-poll".to_owned()));
                parameters.extend(cursor.clone().map(|cursor| ("cursor", cursor)));
            }
            Form::CatchUp { etag } => {
                let etag = etag
                    .as_deref()
                    .and_then(|etag| HeaderValue::from_str(etag).ok());
                fields.extend(etag.map(|etag| (IF_NONE_MATCH, etag)));
            }
        }
        let mut request = Request::default();
        *request.uri_mut() = url.http().target(&parameters).into();
        *request.headers_mut() = fields;
        request
    }

    /// How to read the body of a response with this head. Statuses that upgrade are not among them.
    pub fn decoder(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        bytes_max: usize,
        now: SystemTime,
    ) -> Result<Decoder, Signal> {
        let stream =
            |media_type: &str, decoder| match names(headers, CONTENT_TYPE.as_str(), media_type) {
                true => Ok(decoder),
                false => Err(Signal::Ended(Cause::Malformed(format!(
                    "the content is not {media_type}"
                )))),
            };
        match (&self.form, status.as_u16()) {
            (Form::EventStream, 200) => {
                let base64 = headers
                    .get(DATA_ENCODING)
                    .is_some_and(|value| value == "base64");
                let encoding = match base64 {
                    true => DataEncoding::Base64,
                    false => match entry_kind(headers) {
                        None => DataEncoding::Unknown,
                        Some(ContentKind::Json) => DataEncoding::Json,
                        Some(ContentKind::Text | ContentKind::Binary) => DataEncoding::Text,
                    },
                };
                stream(
                    EVENT_STREAM,
                    Decoder::EventStream(EventStreamDecoder::new(encoding, bytes_max)),
                )
            }
            (Form::Ndjson, 200) => stream(NDJSON, Decoder::Ndjson(NdjsonDecoder::new(bytes_max))),
            // To an event stream that resumes at the end of a closed channel (WHATWG HTML, section 9.2.3).
            (Form::EventStream | Form::Ndjson, 204) => Err(Signal::Closed),
            (Form::LongPoll { .. }, 200 | 204) | (Form::CatchUp { .. }, 200 | 204 | 304) => {
                PageDecoder::new(status, headers, bytes_max)
                    .map(Decoder::Page)
                    .map_err(Signal::from)
            }
            _ => Ok(Decoder::Problem(ProblemDecoder::new(status, headers, now))),
        }
    }
}

/// Where a stream starts, if its head tells.
pub(crate) fn stream_start(headers: &HeaderMap) -> Option<Offset> {
    headers
        .get("stream-next-offset")?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// The kind of a stream's entries, if its head names their type.
fn entry_kind(headers: &HeaderMap) -> Option<ContentKind> {
    let stated = headers.get(ENTRY_TYPE)?.to_str().ok();
    let stated = stated.and_then(|text| text.parse::<ContentType>().ok());
    Some(stated.map_or(ContentKind::Text, |stated| stated.kind()))
}

const EVENT_STREAM: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";
/// The media type of a stream's entries, as the server tells it in the head.
const ENTRY_TYPE: &str = "everwire-type";
const DATA_ENCODING: HeaderName = HeaderName::from_static("stream-sse-data-encoding");

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Form {
        Form::LongPoll {
            cursor: Some("17".into()),
        }
    }

    #[test]
    fn each_form_is_asked_for_in_its_own_way() {
        let url: ChannelUrl = "http://h:8080/channels/a?token=x".parse().unwrap();
        let after = Start::After("a1".parse().unwrap());
        let etag = Form::CatchUp {
            etag: Some("\"a1\"".into()),
        };
        for (start, form, target, field) in [
            (Start::Now, Form::WebSocket, "offset=now", None),
            (
                after.clone(),
                Form::EventStream,
                "offset=a1",
                Some((ACCEPT, "text/event-stream")),
            ),
            (
                Start::Last(3),
                Form::Ndjson,
                "last=3",
                Some((ACCEPT, "application/x-ndjson")),
            ),
            (
                after.clone(),
                cursor(),
                "offset=a1&live=long-poll&cursor=17",
                None,
            ),
            (after, etag, "offset=a1", Some((IF_NONE_MATCH, "\"a1\""))),
            (
                Start::Beginning,
                Form::CatchUp { etag: None },
                "offset=-1",
                None,
            ),
        ] {
            let request = Ask { start, form }.request(&url);
            assert_eq!(
                request.uri().to_string(),
                format!("/channels/a?token=x&{target}")
            );
            assert_eq!(request.headers()[HOST], "h:8080");
            match field {
                Some((name, value)) => assert_eq!(request.headers()[name], value, "{target}"),
                None => assert_eq!(request.headers().len(), 1, "{target}"),
            }
        }
    }

    #[test]
    fn the_head_decides_how_the_body_is_read() {
        for (form, status, content_type, expected) in [
            (
                Form::EventStream,
                200,
                "text/event-stream; charset=utf-8",
                "Ok(EventStream(",
            ),
            (Form::EventStream, 200, "text/html", "Err(Ended(Malformed("),
            (Form::EventStream, 204, "", "Err(Closed)"),
            (Form::EventStream, 503, "text/event-stream", "Ok(Problem("),
            (Form::Ndjson, 200, "Application/X-NDJSON", "Ok(Ndjson("),
            (Form::Ndjson, 200, "", "Err(Ended(Malformed("),
            (cursor(), 204, "", "Ok(Page("),
            (cursor(), 200, "application/json", "Err(Ended(Malformed("),
            (cursor(), 304, "", "Ok(Problem("),
            (cursor(), 410, "", "Ok(Problem("),
            (Form::CatchUp { etag: None }, 304, "", "Ok(Page("),
            (Form::WebSocket, 200, "text/html", "Ok(Problem("),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            let ask = Ask {
                start: Start::Now,
                form,
            };
            let decoder = ask.decoder(
                StatusCode::from_u16(status).unwrap(),
                &headers,
                1,
                SystemTime::UNIX_EPOCH,
            );
            let decoder = format!("{decoder:?}");
            assert!(
                decoder.starts_with(expected),
                "{ask:?} answered {status} {content_type} gave {decoder}"
            );
        }
    }
}
