//! The wires over plain HTTP.
//!
//! Messages come down by one long response, or by one poll after the other. Commands go up by POST, one request at
//! a time so that they keep their order, and the replies are its content.
//!
//! ```text
//!  GET  /connect             ─▶ {"ev":"welcome","session":"…","secret":"…"} …
//!  POST /connect/{session}   ─▶ [{"re":1,"ok":{…}}, …]
//! ```

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Happened, Lane, Opening, Told, first_request, read, request};
use crate::LineWire;
use crate::decode::event_stream::parser::{Parser, Part};
use crate::decode::lines::Lines;
use crate::decode::session::Message;
use crate::decode::{ProblemDecoder, Undecodable, append};
use crate::http::{NoResponse, names};
use crate::line::ending::Ending;

/// A session whose messages come down by HTTP, and whose commands go up by HTTP.
#[derive(Debug)]
pub(crate) struct HttpWire {
    wire: LineWire,
    opening: Opening,
    /// What the welcome told.
    session: Option<Session>,
    down: Response,
    up: Response,
    /// Commands that wait for the lane up.
    waiting: VecDeque<String>,
    /// The number of the last answer to a poll.
    last: Option<u64>,
    /// The last poll broke, and was asked again.
    polled_again: bool,
}

/// What names a session, and shows that it is ours.
#[derive(Debug)]
struct Session {
    path: String,
    secret: HeaderValue,
    poll: Duration,
}

/// How far the response on a lane came.
#[derive(Debug)]
enum Response {
    /// Nothing is asked.
    Idle,
    Awaited,
    EventStream(Parser),
    Lines(Lines),
    /// One JSON value as a whole.
    Whole(Vec<u8>),
    Nothing,
    Refused(ProblemDecoder),
}

impl HttpWire {
    pub fn open(wire: LineWire, opening: &Opening) -> (Self, Request<Bytes>) {
        let mut request = first_request(opening);
        let accept = HeaderValue::from_static(media_type(wire));
        request.headers_mut().insert(ACCEPT, accept);
        let http = Self {
            wire,
            opening: opening.clone(),
            session: None,
            down: Response::Awaited,
            up: Response::Idle,
            waiting: VecDeque::new(),
            last: None,
            polled_again: false,
        };
        (http, request)
    }

    pub fn handle(&mut self, happened: Happened) -> Vec<Told> {
        let mut told = Vec::new();
        if let Err(ending) = self.take(happened, &mut told) {
            told.push(Told::Ended(ending));
        }
        told
    }

    pub fn send(&mut self, commands: Vec<String>) -> Vec<Told> {
        self.waiting.extend(commands);
        self.post().into_iter().collect()
    }

    pub fn farewell(&self) -> Option<Request<Bytes>> {
        // A session over a stream ends with the stream.
        let session = match self.wire {
            LineWire::LongPoll => self.session.as_ref()?,
            LineWire::WebSocket | LineWire::EventStream | LineWire::Ndjson => return None,
        };
        Some(self.request(Method::DELETE, session, &[]))
    }

    fn take(&mut self, happened: Happened, told: &mut Vec<Told>) -> Result<(), Ending> {
        match happened {
            Happened::Head {
                lane,
                status,
                headers,
                at,
            } => {
                *self.lane(lane) = self.response(lane, status, &headers, at)?;
                Ok(())
            }
            Happened::Piece { lane, bytes } => self.piece(lane, &bytes, told),
            Happened::End { lane } => self.end(lane, told),
            Happened::Broken { lane, error } => match self.lane(lane) {
                // What came of a refusal is enough.
                Response::Refused(_) => self.end(lane, told),
                Response::Whole(_) | Response::Nothing if lane == Lane::Down => {
                    self.poll_again(error, told)
                }
                _ => Err(Ending::Cut(error)),
            },
            Happened::Failed { lane, error } => match (self.session.is_some(), lane, error) {
                // What is not acknowledged comes again, so that a poll that got lost on its way is no loss.
                (true, Lane::Down, NoResponse::Lost(error) | NoResponse::Unreachable(error)) => {
                    self.poll_again(error, told)
                }
                (true, Lane::Up, NoResponse::Lost(error) | NoResponse::Unreachable(error)) => {
                    Err(Ending::Cut(error))
                }
                (false, _, NoResponse::Unreachable(error)) => Err(Ending::Unreachable(error)),
                (false, _, NoResponse::Lost(error)) => Err(Ending::NoResponse {
                    error,
                    wire: self.wire,
                }),
            },
            Happened::Text(_) | Happened::Alive | Happened::Ended(_) => Ok(()),
        }
    }

    fn lane(&mut self, lane: Lane) -> &mut Response {
        match lane {
            Lane::Down => &mut self.down,
            Lane::Up => &mut self.up,
        }
    }

    /// How to read the content of a response with this head.
    fn response(
        &self,
        lane: Lane,
        status: StatusCode,
        headers: &HeaderMap,
        at: SystemTime,
    ) -> Result<Response, Ending> {
        let expected = match lane {
            Lane::Down => media_type(self.wire),
            Lane::Up => JSON,
        };
        match (status.as_u16(), lane) {
            (200, _) if !names(headers, CONTENT_TYPE.as_str(), expected) => {
                Err(Ending::Foreign(format!(
                    "something between spoke in the server's place, and its content is not {expected}"
                )))
            }
            (200, Lane::Up) => Ok(Response::Whole(Vec::new())),
            (200, Lane::Down) => Ok(match self.wire {
                LineWire::EventStream => {
                    Response::EventStream(Parser::new(self.opening.message_bytes_max))
                }
                LineWire::Ndjson => Response::Lines(Lines::new(self.opening.message_bytes_max)),
                LineWire::LongPoll | LineWire::WebSocket => Response::Whole(Vec::new()),
            }),
            (204, Lane::Down) if self.session.is_some() => Ok(Response::Nothing),
            // Ended, or the server restarted.
            (404, _) if self.session.is_some() => Err(Ending::SessionGone),
            (413, Lane::Up) => Err(Ending::Oversized),
            _ => Ok(Response::Refused(ProblemDecoder::new(status, headers, at))),
        }
    }

    fn piece(&mut self, lane: Lane, bytes: &[u8], told: &mut Vec<Told>) -> Result<(), Ending> {
        let mut messages = Vec::new();
        let mut is_welcomed = self.session.is_some();
        let mut read = |text: &[u8]| {
            let message = read(text, is_welcomed)?;
            is_welcomed |= matches!(message, Message::Welcome(_));
            messages.push(message);
            Ok(())
        };
        let bytes_max = self.opening.message_bytes_max;
        let outcome = match self.lane(lane) {
            Response::EventStream(parser) => {
                told.push(Told::Heard);
                parser.parse(bytes, |part| match part {
                    Part::Event(event) => read(&event.data),
                    Part::Retry(_) | Part::Comment => Ok(()),
                })
            }
            Response::Lines(lines) => {
                told.push(Told::Heard);
                lines.cut(bytes, read)
            }
            Response::Whole(whole) => append(whole, bytes, bytes_max),
            Response::Refused(decoder) => {
                decoder.decode(bytes);
                Ok(())
            }
            Response::Idle | Response::Awaited | Response::Nothing => Ok(()),
        };
        // What came before something that cannot be read is told.
        self.tell(messages, told)?;
        Ok(outcome?)
    }

    fn end(&mut self, lane: Lane, told: &mut Vec<Told>) -> Result<(), Ending> {
        match (std::mem::replace(self.lane(lane), Response::Idle), lane) {
            (Response::EventStream(_) | Response::Lines(_), _) => {
                Err(Ending::Cut("the server ended the stream".into()))
            }
            (Response::Refused(decoder), _) => Err(Ending::Refused {
                refusal: decoder.finish(),
                wire: self.wire,
            }),
            (Response::Whole(body), Lane::Down) => {
                told.push(Told::Heard);
                self.answer(&body, told)?;
                self.polled_again = false;
                self.poll(told)
            }
            (Response::Nothing, _) => {
                told.push(Told::Heard);
                self.polled_again = false;
                self.poll(told)
            }
            (Response::Whole(body), Lane::Up) => {
                let replies: Vec<&RawValue> = serde_json::from_slice(&body)
                    .map_err(|error| Ending::Foreign(error.to_string()))?;
                for reply in replies {
                    let message = read(reply.get().as_bytes(), true)?;
                    told.push(Told::Message(message));
                }
                told.extend(self.post());
                Ok(())
            }
            (Response::Idle | Response::Awaited, _) => Ok(()),
        }
    }

    /// Takes the answer to a poll.
    fn answer(&mut self, body: &[u8], told: &mut Vec<Told>) -> Result<(), Ending> {
        let Answer { last, messages } =
            serde_json::from_slice(body).map_err(|error| Ending::Foreign(error.to_string()))?;
        // The same bytes again, since our acknowledgement got lost.
        if self.last.is_some_and(|known| last <= known) {
            return Ok(());
        }
        self.last = Some(last);
        for message in messages {
            let message = read(message.get().as_bytes(), self.session.is_some())?;
            self.tell(vec![message], told)?;
        }
        Ok(())
    }

    /// Hands messages over, and takes from the welcome what a session is named by.
    fn tell(&mut self, messages: Vec<Message>, told: &mut Vec<Told>) -> Result<(), Ending> {
        for message in messages {
            if let Message::Welcome(welcome) = &message {
                let nameless = || Ending::Foreign("a welcome names no session".into());
                let id = welcome.session.as_deref().ok_or_else(nameless)?;
                if !is_plain(id) {
                    return Err(nameless());
                }
                let secret = welcome.secret.as_deref().unwrap_or_default();
                let mut secret = HeaderValue::from_str(secret).map_err(|_| nameless())?;
                secret.set_sensitive(true);
                self.session = Some(Session {
                    path: format!("/connect/{id}"),
                    secret,
                    poll: welcome.heartbeat().unwrap_or(self.opening.poll),
                });
            }
            told.push(Told::Message(message));
        }
        told.extend(self.post());
        Ok(())
    }

    fn poll(&mut self, told: &mut Vec<Told>) -> Result<(), Ending> {
        let Some(session) = &self.session else {
            return Err(Ending::Foreign("there was no welcome".into()));
        };
        let ack: Vec<_> = self
            .last
            .map(|last| ("ack", last.to_string()))
            .into_iter()
            .collect();
        let mut request = self.request(Method::GET, session, &ack);
        let seconds = session.poll.as_secs().max(1);
        let fields = request.headers_mut();
        fields.insert(ACCEPT, HeaderValue::from_static(JSON));
        let wait = HeaderValue::from_str(&format!("wait={seconds}"));
        fields.extend(wait.ok().map(|wait| (PREFER, wait)));
        self.down = Response::Awaited;
        told.push(Told::Request(Lane::Down, request));
        Ok(())
    }

    fn poll_again(&mut self, error: String, told: &mut Vec<Told>) -> Result<(), Ending> {
        if self.polled_again || self.wire != LineWire::LongPoll {
            return Err(Ending::Cut(error));
        }
        self.polled_again = true;
        self.poll(told)
    }

    /// The next request up, if there is something to send, and a session to send it to.
    fn post(&mut self) -> Option<Told> {
        let session = self.session.as_ref()?;
        if !matches!(self.up, Response::Idle) || self.waiting.is_empty() {
            return None;
        }
        let mut body = String::new();
        for _ in 0..POST_COMMANDS_MAX {
            match self.waiting.front() {
                Some(next) if body.is_empty() => body.push_str(next),
                Some(next) if body.len() + next.len() < POST_BYTES_MAX => {
                    body.push(',');
                    body.push_str(next);
                }
                Some(_) | None => break,
            }
            self.waiting.pop_front();
        }
        let body = format!("[{body}]");
        let mut request = self.request(Method::POST, session, &[]);
        let fields = request.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        *request.body_mut() = body.into();
        self.up = Response::Awaited;
        Some(Told::Request(Lane::Up, request))
    }

    fn request(
        &self,
        method: Method,
        session: &Session,
        parameters: &[(&str, String)],
    ) -> Request<Bytes> {
        let mut request = request(&self.opening, &session.path, parameters);
        *request.method_mut() = method;
        request.headers_mut().insert(SECRET, session.secret.clone());
        request
    }
}

/// The answer to a poll.
#[derive(Deserialize)]
struct Answer<'a> {
    last: u64,
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
}

impl From<Undecodable> for Ending {
    fn from(undecodable: Undecodable) -> Self {
        match undecodable {
            Undecodable::Malformed(problem) => Self::Foreign(problem),
            Undecodable::TooLarge { bytes_max } => Self::TooLarge { bytes_max },
        }
    }
}

/// The type that a wire asks for, and gets.
fn media_type(wire: LineWire) -> &'static str {
    match wire {
        LineWire::EventStream => "text/event-stream",
        LineWire::Ndjson => "application/x-ndjson",
        LineWire::LongPoll | LineWire::WebSocket => JSON,
    }
}

/// A session's name goes back in a request target, so it is taken only if it needs no percent-encoding.
fn is_plain(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (1..=128).contains(&id.len()) && id.bytes().all(plain)
}

const JSON: &str = "application/json";
const SECRET: HeaderName = HeaderName::from_static("everwire-secret");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Commands share a request up to this size; a larger one has a request of its own.
const POST_BYTES_MAX: usize = 64 * 1024;

/// So many commands share a request at most: half of what servers take by default.
const POST_COMMANDS_MAX: usize = 50;

#[cfg(test)]
mod tests;
