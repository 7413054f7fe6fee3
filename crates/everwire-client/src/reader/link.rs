//! The line that a reader has to its server: opens it, and turns what arrives into signals.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::time::SystemTime;

use http::StatusCode;
use http::header::AUTHORIZATION;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::ask::{Ask, Form, stream_start};
use crate::credential::Purse;
use crate::decode::Decoder;
use crate::http::{HttpConnection, NoResponse, describe};
use crate::signal::Signal;
use crate::websocket::{Opened, WebSocket};
use crate::{Cause, ChannelUrl};

/// The reader's line. Whatever is dropped is cut at once.
#[derive(Debug, Default)]
pub(crate) struct Link {
    state: State,
    /// What arrived and was not handed over yet.
    signals: VecDeque<Signal>,
    purse: Purse,
}

#[derive(Default)]
enum State {
    #[default]
    Down,
    /// Between two polls.
    Idle(HttpConnection),
    Opening(Pin<Box<dyn Future<Output = Result<Line, Signal>> + Send>>),
    Open(Line),
}

/// An open line.
enum Line {
    Body(Box<Content>),
    WebSocket(Box<WebSocket>),
}

/// A response whose content arrives.
struct Content {
    body: Incoming,
    decoder: Decoder,
    connection: HttpConnection,
    /// What the head told, to be handed over first.
    head: Option<Signal>,
}

impl Link {
    /// Asks on a new line, or on that of the last poll.
    pub fn ask(&mut self, ask: Ask, url: &ChannelUrl, bytes_max: usize) {
        // What the line before told after it was left is asked for again.
        self.signals.clear();
        let idle = match std::mem::take(&mut self.state) {
            State::Idle(connection) => Some(connection),
            State::Down | State::Opening(_) | State::Open(_) => None,
        };
        self.state = State::Opening(Box::pin(open(
            ask,
            url.clone(),
            idle,
            bytes_max,
            self.purse.clone(),
        )));
    }

    /// Leaves the line, but for a connection that can take the next poll.
    pub fn rest(&mut self) {
        if !matches!(self.state, State::Idle(_)) {
            self.state = State::Down;
        }
    }

    /// Cuts the connection.
    pub fn cut(&mut self) {
        self.state = State::Down;
        self.signals.clear();
    }

    /// Shows a credential with what is asked from now on.
    pub fn show(&mut self, purse: Purse) {
        self.purse = purse;
    }

    /// The next signal. If the future is dropped, nothing is lost.
    pub async fn signal(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return signal;
            }
            match &mut self.state {
                State::Down | State::Idle(_) => return std::future::pending().await,
                State::Opening(opening) => {
                    let opened = opening.as_mut().await;
                    self.state = State::Down;
                    match opened {
                        Ok(line) => self.state = State::Open(line),
                        Err(signal) => return signal,
                    }
                }
                State::Open(Line::WebSocket(websocket)) => {
                    websocket.turn().await;
                    while let Some(event) = websocket.poll_event() {
                        let signal = event.into();
                        if let Signal::Ended(Cause::Closed { code: 4401, .. }) = signal {
                            self.purse.refused();
                        }
                        self.signals.push_back(signal);
                    }
                }
                State::Open(Line::Body(content)) => match content.turn(&mut self.signals).await {
                    Turn::More => {}
                    Turn::Broken(signal) => {
                        self.signals.push_back(signal);
                        self.state = State::Down;
                    }
                    Turn::Complete => self.complete(),
                },
            }
        }
    }

    /// A response was read to its end: its connection can take another request.
    fn complete(&mut self) {
        if let State::Open(Line::Body(content)) = std::mem::take(&mut self.state) {
            self.state = State::Idle(content.connection);
            self.signals
                .push_back(content.decoder.finish().unwrap_or_else(Signal::from));
        }
    }
}

/// What came of waiting for content.
enum Turn {
    More,
    Broken(Signal),
    Complete,
}

impl Content {
    /// Waits for the next piece. If the future is dropped, nothing is lost.
    async fn turn(&mut self, signals: &mut VecDeque<Signal>) -> Turn {
        if let Some(head) = self.head.take() {
            signals.push_back(head);
            return Turn::More;
        }
        match self.body.frame().await {
            Some(Ok(frame)) => match frame
                .data_ref()
                .map(|bytes| self.decoder.decode(bytes, signals))
            {
                Some(Err(undecodable)) => Turn::Broken(undecodable.into()),
                Some(Ok(())) | None => Turn::More,
            },
            Some(Err(error)) => Turn::Broken(Signal::Ended(Cause::Lost(describe(&error)))),
            None => Turn::Complete,
        }
    }
}

async fn open(
    ask: Ask,
    url: ChannelUrl,
    idle: Option<HttpConnection>,
    bytes_max: usize,
    purse: Purse,
) -> Result<Line, Signal> {
    let field = (purse.field().await).map_err(|error| Signal::Ended(Cause::NoCredential(error)))?;
    let mut request = ask.request(&url);
    request
        .headers_mut()
        .extend(field.map(|field| (AUTHORIZATION, field)));
    if ask.form == Form::WebSocket {
        let opened = WebSocket::open(url.http(), request, bytes_max).await;
        return match opened.map_err(Signal::Ended)? {
            Opened::WebSocket(websocket) => Ok(Line::WebSocket(websocket)),
            Opened::Refused(response, connection) => {
                body(&ask, response, connection, bytes_max, &purse)
            }
        };
    }
    let mut connection = HttpConnection::reuse_or_open(idle, url.http()).await?;
    let response = connection.send(request).await?;
    body(&ask, response, connection, bytes_max, &purse)
}

fn body(
    ask: &Ask,
    response: http::Response<Incoming>,
    connection: HttpConnection,
    bytes_max: usize,
    purse: &Purse,
) -> Result<Line, Signal> {
    let (head, body) = response.into_parts();
    if head.status == StatusCode::UNAUTHORIZED {
        purse.refused();
    }
    let decoder = ask.decoder(head.status, &head.headers, bytes_max, SystemTime::now())?;
    let start = match decoder {
        Decoder::EventStream(_) | Decoder::Ndjson(_) => {
            Some(Signal::Opened(stream_start(&head.headers)))
        }
        Decoder::Page(_) | Decoder::Problem(_) => None,
    };
    Ok(Line::Body(Box::new(Content {
        body,
        decoder,
        connection,
        head: start,
    })))
}

impl From<NoResponse> for Signal {
    fn from(no_response: NoResponse) -> Self {
        Self::Ended(no_response.into())
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "Down",
            Self::Idle(_) => "Idle",
            Self::Opening(_) => "Opening",
            Self::Open(Line::Body(_)) => "Open(Body)",
            Self::Open(Line::WebSocket(_)) => "Open(WebSocket)",
        })
    }
}
