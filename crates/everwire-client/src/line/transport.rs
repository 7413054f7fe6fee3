//! The sockets of one wire: requests and texts to bytes, and bytes to reports.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use everwire_websocket::{CloseCode, ConnectionEvent, Ending as End, Failure, MessageKind};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::sync::mpsc::{self, Sender, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ending::Ending;
use super::wire::{Happened, Lane};
use crate::http::{HttpConnection, NoResponse, describe};
use crate::url::HttpUrl;
use crate::websocket::{Opened, WebSocket};
use crate::{Cause, LineWire};

/// What happened on the transport of the wire of this number.
pub(super) type Report = (u64, Happened);

/// The sockets of one wire; dropped, they are gone at once.
pub(super) struct Transport {
    form: Form,
    tasks: JoinSet<()>,
}

/// What goes up waits here. How much that can be is limited by the queue of the line.
enum Form {
    WebSocket(UnboundedSender<Outgoing>),
    Http {
        down: UnboundedSender<Request<Bytes>>,
        up: UnboundedSender<Request<Bytes>>,
    },
}

enum Outgoing {
    Text(String),
    Close(u16),
}

impl Transport {
    /// Opens a wire with its first request, and reports what happens on it.
    pub fn open(
        wire: LineWire,
        serial: u64,
        request: Request<Bytes>,
        url: HttpUrl,
        bytes_max: usize,
        reports: Sender<Report>,
    ) -> Self {
        let reporter = Reporter { serial, reports };
        let mut tasks = JoinSet::new();
        let form = match wire {
            LineWire::WebSocket => {
                let (up, outgoing) = mpsc::unbounded_channel();
                tasks.spawn(async move {
                    let request = request.map(Full::new);
                    websocket(url, request, bytes_max, outgoing, &reporter).await;
                });
                Form::WebSocket(up)
            }
            LineWire::EventStream | LineWire::Ndjson | LineWire::LongPoll => {
                let (down, polls) = mpsc::unbounded_channel();
                let (up, posts) = mpsc::unbounded_channel();
                // Cannot fail: the other end is here.
                drop(down.send(request));
                tasks.spawn(lane(Lane::Down, url.clone(), polls, reporter.clone()));
                tasks.spawn(lane(Lane::Up, url, posts, reporter));
                Form::Http { down, up }
            }
        };
        Self { form, tasks }
    }

    /// Sends a request, after those before it on this lane.
    pub fn request(&mut self, lane: Lane, request: Request<Bytes>) {
        let sender = match (&self.form, lane) {
            (Form::Http { down, .. }, Lane::Down) => down,
            (Form::Http { up, .. }, Lane::Up) => up,
            (Form::WebSocket(_), _) => return,
        };
        // The task is gone when the wire is over, which was reported.
        drop(sender.send(request));
    }

    /// Sends a text message.
    pub fn text(&mut self, text: String) {
        if let Form::WebSocket(up) = &self.form {
            drop(up.send(Outgoing::Text(text)));
        }
    }

    /// Lets go of the wire; a WebSocket with a closing handshake, if it does not take long.
    pub async fn close(self, code: u16) {
        let Self { form, mut tasks } = self;
        if let Form::WebSocket(up) = form {
            drop(up.send(Outgoing::Close(code)));
            // Whoever does not answer in time is cut.
            drop(timeout(FAREWELL, tasks.join_next()).await);
        }
    }
}

/// Sends a request on a connection of its own, for a moment, and does not care what comes of it.
pub(super) async fn send_once(url: HttpUrl, request: Request<Bytes>) {
    let exchange = async {
        let mut connection = HttpConnection::reuse_or_open(None, &url).await?;
        connection.send(request.map(Full::new)).await
    };
    drop(timeout(FAREWELL, exchange).await);
}

#[derive(Clone)]
struct Reporter {
    serial: u64,
    reports: Sender<Report>,
}

impl Reporter {
    /// Waits while the core has enough to do. A core that is gone wants nothing more.
    async fn report(&self, happened: Happened) {
        drop(self.reports.send((self.serial, happened)).await);
    }
}

/// One request after the other, each answered before the next is sent.
async fn lane(
    lane: Lane,
    url: HttpUrl,
    mut requests: UnboundedReceiver<Request<Bytes>>,
    reporter: Reporter,
) {
    let mut idle = None;
    while let Some(request) = requests.recv().await {
        match send(idle.take(), &url, request).await {
            Ok((connection, response)) => {
                if content(lane, response, &reporter).await {
                    idle = Some(connection);
                }
            }
            Err(error) => reporter.report(Happened::Failed { lane, error }).await,
        }
    }
}

async fn send(
    idle: Option<HttpConnection>,
    url: &HttpUrl,
    request: Request<Bytes>,
) -> Result<(HttpConnection, Response<Incoming>), NoResponse> {
    let mut connection = HttpConnection::reuse_or_open(idle, url).await?;
    let response = connection.send(request.map(Full::new)).await?;
    Ok((connection, response))
}

/// Reports a response; whether it came to its end.
async fn content(lane: Lane, response: Response<Incoming>, reporter: &Reporter) -> bool {
    let (head, mut body) = response.into_parts();
    let head = Happened::Head {
        lane,
        status: head.status,
        headers: head.headers,
        at: SystemTime::now(),
    };
    reporter.report(head).await;
    loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                let mut bytes = frame.into_data().unwrap_or_default();
                while !bytes.is_empty() {
                    let bytes = bytes.split_to(bytes.len().min(PIECE_BYTES_MAX));
                    reporter.report(Happened::Piece { lane, bytes }).await;
                }
            }
            Some(Err(error)) => {
                let error = describe(&error);
                reporter.report(Happened::Broken { lane, error }).await;
                return false;
            }
            None => {
                reporter.report(Happened::End { lane }).await;
                return true;
            }
        }
    }
}

async fn websocket(
    url: HttpUrl,
    request: Request<Full<Bytes>>,
    bytes_max: usize,
    mut outgoing: UnboundedReceiver<Outgoing>,
    reporter: &Reporter,
) {
    let lane = Lane::Down;
    let opened = tokio::select! {
        opened = WebSocket::open(&url, request, bytes_max) => opened,
        // Nothing is sent before the welcome but the end.
        _ = outgoing.recv() => return,
    };
    let mut websocket = match opened {
        Ok(Opened::WebSocket(websocket)) => websocket,
        Ok(Opened::Refused(response, _connection)) => {
            content(lane, response, reporter).await;
            return;
        }
        Err(cause) => {
            let error = match cause {
                Cause::Unreachable(error) => NoResponse::Unreachable(error),
                cause => NoResponse::Lost(cause.to_string()),
            };
            return reporter.report(Happened::Failed { lane, error }).await;
        }
    };
    while !websocket.is_closed() {
        tokio::select! {
            () = websocket.turn() => {}
            outgoing = outgoing.recv() => match outgoing {
                Some(Outgoing::Text(text)) => websocket.send(&text),
                Some(Outgoing::Close(code)) => websocket.close(close_code(code)),
                None => return,
            },
        }
        while let Some(event) = websocket.poll_event() {
            reporter.report(event.into()).await;
        }
    }
}

/// Codes that we send ourselves are fit to be sent.
fn close_code(code: u16) -> CloseCode {
    CloseCode::from_wire(code).unwrap_or(CloseCode::NORMAL)
}

impl From<ConnectionEvent> for Happened {
    fn from(event: ConnectionEvent) -> Self {
        Self::Ended(match event {
            ConnectionEvent::Message(MessageKind::Text, text) => return Self::Text(text),
            ConnectionEvent::Ping(_) | ConnectionEvent::Pong(_) => return Self::Alive,
            ConnectionEvent::Message(MessageKind::Binary, _) => {
                Ending::Foreign("a message of a session is binary".into())
            }
            ConnectionEvent::Ended(End::Closed(Some((code, reason)))) => Ending::Closed {
                code: code.as_u16(),
                reason: crate::decode::problem::harmless(&reason),
            },
            ConnectionEvent::Ended(End::Closed(None)) => Ending::Closed {
                code: NO_CODE,
                reason: String::new(),
            },
            ConnectionEvent::Ended(End::Failed(Failure::MessageTooBig { bytes_max })) => {
                Ending::TooLarge { bytes_max }
            }
            ConnectionEvent::Ended(End::Failed(failure)) => Ending::Foreign(failure.to_string()),
            ConnectionEvent::Ended(End::Lost | End::TimedOut) => {
                Ending::Cut("the WebSocket ended without a close frame".into())
            }
        })
    }
}

/// How a Close frame without a code is told (RFC 6455, section 7.1.5).
const NO_CODE: u16 = 1005;

/// A piece that is larger is reported in parts.
const PIECE_BYTES_MAX: usize = 4096;

/// How long the server may take to hear that a wire is let go of.
const FAREWELL: Duration = Duration::from_secs(1);
