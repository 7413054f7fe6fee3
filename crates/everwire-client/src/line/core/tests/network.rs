//! The network between lines and server, and what goes wrong with each wire.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::server::{CUT, Output, Server, secret};
use crate::LineWire;
use crate::http::NoResponse;
use crate::line::core::Act;
use crate::line::ending::Ending;
use crate::line::wire::{Happened, Lane};

/// What goes wrong with a wire, on lines that are open as well as on new ones.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub(super) enum Fault {
    None,
    /// The first request gets `status`, or no response at all; with `problem`, from the server itself.
    Refuse {
        status: Option<u16>,
        problem: Option<String>,
        retry_after_s: Option<u64>,
    },
    /// Accepted, and something between answers 200 with a page of its own.
    Foreign,
    /// Accepted, and nothing comes down.
    Swallow,
    /// Accepted, and nothing goes up.
    SwallowUp,
    /// Every line is cut after so many bytes from the server.
    Cut {
        bytes: usize,
    },
    /// Each message takes so long.
    Delay {
        ms: u64,
    },
}

/// One wire of one line.
pub(super) type Conn = (usize, u64);

/// The network; times are since the world began.
#[derive(Default)]
pub(super) struct Network {
    pub faults: HashMap<LineWire, Fault>,
    /// The wires that lines tried to open, in order.
    pub attempts: Vec<LineWire>,
    conns: HashMap<Conn, Connection>,
    /// Which session is on which wire.
    routes: HashMap<u64, Conn>,
    /// What happens next, in order of time.
    scheduled: BTreeMap<(Duration, u64), Scheduled>,
    last: u64,
}

struct Connection {
    wire: LineWire,
    session: Option<u64>,
    /// Bytes that came down.
    passed: usize,
    /// What was swallowed once never comes; nor does what follows it.
    swallows_down: bool,
    swallows_up: bool,
    /// What shares a direction keeps its order, as it does in a TCP connection.
    down_until: Duration,
    up_until: Duration,
    poll: Poll,
}

/// The messages of a long-poll session that were not acknowledged.
#[derive(Default)]
struct Poll {
    messages: Vec<(u64, Value)>,
    last: u64,
    is_waiting: bool,
    is_over: bool,
}

enum Scheduled {
    Opens(Conn, Request<Bytes>),
    Request(Conn, Lane, Request<Bytes>),
    Command(Conn, String),
    Down(Conn, Value),
    Close(Conn, u16, String),
    Beat(u64),
}

/// Pieces in which streams come, in bytes: small ones cut each message somewhere.
const PIECE_BYTES: usize = 7;

impl Network {
    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Duration> {
        self.scheduled.keys().next().map(|(at, _)| *at)
    }

    /// A line does something.
    pub fn act(&mut self, line: usize, act: Act, server: &mut Server, now: Duration) {
        match act {
            Act::Open {
                serial,
                wire,
                request,
            } => {
                self.attempts.push(wire);
                let conn = (line, serial);
                let connection = Connection {
                    wire,
                    session: None,
                    passed: 0,
                    swallows_down: false,
                    swallows_up: false,
                    down_until: now,
                    up_until: now,
                    poll: Poll::default(),
                };
                self.conns.insert(conn, connection);
                self.up(conn, now, Scheduled::Opens(conn, request));
            }
            Act::Request {
                serial,
                lane,
                request,
            } => {
                let conn = (line, serial);
                self.up(conn, now, Scheduled::Request(conn, lane, request));
            }
            Act::Text { serial, text } => {
                let conn = (line, serial);
                self.up(conn, now, Scheduled::Command(conn, text));
            }
            Act::Close {
                serial, farewell, ..
            } => {
                let conn = (line, serial);
                let Some(connection) = self.conns.remove(&conn) else {
                    return;
                };
                // A long-poll session outlives its connections.
                if let Some(session) = connection.session
                    && (connection.wire != LineWire::LongPoll || farewell.is_some())
                {
                    server.drop_session(session);
                }
            }
            Act::FetchToken => unreachable!("the world has the tokens"),
        }
    }

    /// Carries out what is due, and tells what that means for a line.
    pub fn happen(&mut self, server: &mut Server, now: Duration) -> Vec<(Conn, Happened)> {
        let Some((_, scheduled)) = self.scheduled.pop_first() else {
            return vec![];
        };
        let mut told = Vec::new();
        match scheduled {
            Scheduled::Opens(conn, request) => self.opens(conn, &request, server, now, &mut told),
            Scheduled::Request(conn, lane, request) => {
                self.requested(conn, lane, &request, server, now, &mut told);
            }
            Scheduled::Command(conn, text) => {
                let session = self.conns.get(&conn).and_then(|conn| conn.session);
                if let Some(id) = session.filter(|id| server.sessions.contains_key(id)) {
                    match text.len() > server.message_bytes_max {
                        true => server.end(id, 1009, "too large"),
                        false => server.command(id, &serde_json::from_str(&text).unwrap(), now),
                    }
                }
            }
            Scheduled::Down(conn, message) => self.arrives(conn, message, server, &mut told),
            Scheduled::Close(conn, code, reason) => self.closes(conn, code, reason, &mut told),
            Scheduled::Beat(id) => {
                if server.beat(id, now) {
                    self.schedule(now + Server::HEARTBEAT, Scheduled::Beat(id));
                }
            }
        }
        self.route(server, now);
        told
    }

    /// Sends what the server put out on its way.
    pub fn route(&mut self, server: &mut Server, now: Duration) {
        while let Some((session, output)) = server.outputs.pop_front() {
            let Some(conn) = self.routes.get(&session).copied() else {
                continue;
            };
            let scheduled = match output {
                Output::Event(message) | Output::Reply(message) => Scheduled::Down(conn, message),
                Output::Close(code, reason) => Scheduled::Close(conn, code, reason),
            };
            if let Some(connection) = self.conns.get(&conn) {
                let at = connection.down_until.max(now + self.delay(connection.wire));
                self.conns.get_mut(&conn).unwrap().down_until = at;
                self.schedule(at, scheduled);
            }
        }
    }

    fn opens(
        &mut self,
        conn: Conn,
        request: &Request<Bytes>,
        server: &mut Server,
        now: Duration,
        told: &mut Vec<(Conn, Happened)>,
    ) {
        let Some(connection) = self.conns.get(&conn) else {
            return;
        };
        let wire = connection.wire;
        let lane = Lane::Down;
        let token = request.headers().get(AUTHORIZATION);
        let token = token.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let failed = |error| vec![(conn, Happened::Failed { lane, error })];
        let answer = match self.faults.get(&wire) {
            _ if !server.up => failed(NoResponse::Unreachable("refused".into())),
            Some(Fault::Refuse { status: None, .. }) => failed(NoResponse::Lost("reset".into())),
            Some(Fault::Refuse {
                status: Some(status),
                problem,
                retry_after_s,
            }) => refusal(conn, lane, *status, problem.as_deref(), *retry_after_s),
            Some(Fault::Foreign) => whole(conn, lane, 200, "text/html", "<h1>please log in</h1>"),
            Some(Fault::Swallow) if wire == LineWire::LongPoll => return,
            _ if !server.accepts(token, now) => {
                refusal(conn, lane, 401, Some("unauthorized"), None)
            }
            _ => vec![],
        };
        if !answer.is_empty() {
            return told.extend(answer);
        }
        let query = request.uri().query().unwrap_or("");
        let publisher = query.strip_prefix("publisher=").map(str::to_owned);
        let is_http = wire != LineWire::WebSocket;
        let id = server.open(token.map(str::to_owned), publisher, is_http);
        self.routes.insert(id, conn);
        let connection = self.conns.get_mut(&conn).unwrap();
        connection.session = Some(id);
        connection.poll.is_waiting = true;
        self.schedule(now + Server::HEARTBEAT, Scheduled::Beat(id));
        let accept = request.headers().get("accept");
        match wire {
            LineWire::WebSocket | LineWire::LongPoll => {}
            LineWire::EventStream | LineWire::Ndjson => {
                let accept = accept.unwrap().to_str().unwrap();
                told.push((conn, head(lane, 200, &[(CONTENT_TYPE, accept)])));
            }
        }
    }

    fn requested(
        &mut self,
        conn: Conn,
        lane: Lane,
        request: &Request<Bytes>,
        server: &mut Server,
        now: Duration,
        told: &mut Vec<(Conn, Happened)>,
    ) {
        let Some(connection) = self.conns.get_mut(&conn) else {
            return;
        };
        let Some(id) = connection.session else {
            return;
        };
        assert_eq!(request.uri().path(), format!("/connect/s{id}"));
        assert_eq!(request.headers()["everwire-secret"], secret(id));
        if lane == Lane::Down {
            let query = request.uri().query().unwrap_or("");
            if let Some(ack) = query.strip_prefix("ack=") {
                let ack: u64 = ack.parse().unwrap();
                connection.poll.messages.retain(|(number, _)| *number > ack);
            }
            connection.poll.is_waiting = true;
            return self.answer_poll(conn, told);
        }
        assert_eq!(request.method(), Method::POST);
        if !server.up {
            let error = NoResponse::Unreachable("refused".into());
            return told.push((conn, Happened::Failed { lane, error }));
        }
        if !server.sessions.contains_key(&id) {
            return told.extend(refusal(conn, lane, 404, Some("not-found"), None));
        }
        if request.body().len() > server.message_bytes_max {
            return told.extend(refusal(conn, lane, 413, Some("too-large"), None));
        }
        let commands: Vec<Value> = serde_json::from_slice(request.body()).unwrap();
        let mut replies = Vec::new();
        for command in &commands {
            server.command(id, command, now);
            // Replies are the content; everything else goes its own way.
            for (to, output) in std::mem::take(&mut server.outputs) {
                match output {
                    Output::Reply(reply) if to == id => replies.push(reply),
                    output => server.outputs.push_back((to, output)),
                }
            }
            if !server.sessions.contains_key(&id) {
                let error = NoResponse::Lost("terminated".into());
                return told.push((conn, Happened::Failed { lane, error }));
            }
            // So that what follows a reply is not taken for that of the next command.
            self.route(server, now);
        }
        let body = Value::from(replies).to_string();
        told.extend(whole(conn, lane, 200, "application/json", &body));
    }

    /// A message is at the end of its way down.
    fn arrives(
        &mut self,
        conn: Conn,
        message: Value,
        server: &mut Server,
        told: &mut Vec<(Conn, Happened)>,
    ) {
        let Some(connection) = self.conns.get_mut(&conn) else {
            return;
        };
        let fault = self.faults.get(&connection.wire);
        connection.swallows_down |= fault == Some(&Fault::Swallow);
        if connection.swallows_down {
            return;
        }
        let text = match connection.wire {
            LineWire::WebSocket => message.to_string(),
            LineWire::EventStream => format!(": c\r\ndata: {message}\r\n\r\n"),
            LineWire::Ndjson => format!("{message}\n"),
            LineWire::LongPoll => {
                connection.poll.last += 1;
                let number = connection.poll.last;
                connection.poll.messages.push((number, message));
                return self.answer_poll(conn, told);
            }
        };
        let passes = match fault {
            Some(Fault::Cut { bytes }) => bytes.saturating_sub(connection.passed).min(text.len()),
            _ => text.len(),
        };
        connection.passed += passes;
        let is_cut = passes < text.len();
        match connection.wire {
            // A frame of which the end is missing is no message.
            LineWire::WebSocket if is_cut => {}
            LineWire::WebSocket => told.push((conn, Happened::Text(text.into()))),
            LineWire::EventStream | LineWire::Ndjson | LineWire::LongPoll => {
                for piece in text.as_bytes()[..passes].chunks(PIECE_BYTES) {
                    let bytes = Bytes::copy_from_slice(piece);
                    let lane = Lane::Down;
                    told.push((conn, Happened::Piece { lane, bytes }));
                }
            }
        }
        if is_cut {
            if let Some(session) = connection.session {
                server.drop_session(session);
            }
            self.closes(conn, CUT, String::new(), told);
        }
    }

    fn answer_poll(&mut self, conn: Conn, told: &mut Vec<(Conn, Happened)>) {
        let lane = Lane::Down;
        let Some(connection) = self.conns.get_mut(&conn) else {
            return;
        };
        let poll = &mut connection.poll;
        if !poll.is_waiting || connection.swallows_down {
            return;
        }
        match poll.messages.last() {
            Some((last, _)) => {
                let messages: Vec<_> = poll.messages.iter().map(|(_, message)| message).collect();
                let body = json!({"last": last, "messages": messages}).to_string();
                poll.is_waiting = false;
                told.extend(whole(conn, lane, 200, "application/json", &body));
            }
            None if poll.is_over => {
                poll.is_waiting = false;
                told.extend(refusal(conn, lane, 404, Some("not-found"), None));
            }
            None => {}
        }
    }

    /// The server closes a line, or the network cuts it.
    fn closes(&mut self, conn: Conn, code: u16, reason: String, told: &mut Vec<(Conn, Happened)>) {
        let Some(connection) = self.conns.get_mut(&conn) else {
            return;
        };
        if connection.swallows_down {
            return;
        }
        let lane = Lane::Down;
        match (connection.wire, code) {
            (LineWire::WebSocket, CUT) => {
                let ending = Ending::Cut("it ended without a close frame".into());
                told.push((conn, Happened::Ended(ending)));
            }
            (LineWire::WebSocket, code) => {
                told.push((conn, Happened::Ended(Ending::Closed { code, reason })));
            }
            (LineWire::EventStream | LineWire::Ndjson, CUT) => {
                let error = "terminated".into();
                told.push((conn, Happened::Broken { lane, error }));
            }
            (LineWire::EventStream | LineWire::Ndjson, _) => {
                told.push((conn, Happened::End { lane }));
            }
            (LineWire::LongPoll, _) => {
                connection.poll.is_over = true;
                self.answer_poll(conn, told);
            }
        }
    }

    /// Something goes up, unless it is swallowed.
    fn up(&mut self, conn: Conn, now: Duration, scheduled: Scheduled) {
        let Some(connection) = self.conns.get(&conn) else {
            return;
        };
        let fault = self.faults.get(&connection.wire);
        let is_command = matches!(
            scheduled,
            Scheduled::Command(..) | Scheduled::Request(_, Lane::Up, _)
        );
        let swallows = connection.swallows_up || (is_command && fault == Some(&Fault::SwallowUp));
        let delayed = now + self.delay(connection.wire);
        let is_poll = matches!(scheduled, Scheduled::Request(_, Lane::Down, _));
        let connection = self.conns.get_mut(&conn).unwrap();
        connection.swallows_up = swallows;
        if swallows && is_command {
            return;
        }
        // The two lanes are two connections.
        let at = match is_poll {
            true => delayed,
            false => {
                connection.up_until = connection.up_until.max(delayed);
                connection.up_until
            }
        };
        self.schedule(at, scheduled);
    }

    fn delay(&self, wire: LineWire) -> Duration {
        match self.faults.get(&wire) {
            Some(Fault::Delay { ms }) => Duration::from_millis(*ms),
            _ => Duration::ZERO,
        }
    }

    fn schedule(&mut self, at: Duration, scheduled: Scheduled) {
        self.last += 1;
        self.scheduled.insert((at, self.last), scheduled);
    }
}

fn head(lane: Lane, status: u16, fields: &[(http::HeaderName, &str)]) -> Happened {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    Happened::Head {
        lane,
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        at: SystemTime::UNIX_EPOCH,
    }
}

fn whole(
    conn: Conn,
    lane: Lane,
    status: u16,
    media_type: &str,
    body: &str,
) -> Vec<(Conn, Happened)> {
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    vec![
        (conn, head(lane, status, &[(CONTENT_TYPE, media_type)])),
        (conn, Happened::Piece { lane, bytes }),
        (conn, Happened::End { lane }),
    ]
}

fn refusal(
    conn: Conn,
    lane: Lane,
    status: u16,
    problem: Option<&str>,
    retry_after_s: Option<u64>,
) -> Vec<(Conn, Happened)> {
    let retry_after = retry_after_s.map(|seconds| seconds.to_string());
    let media_type = match problem {
        Some(_) => "application/problem+json",
        None => "text/html",
    };
    let mut fields = vec![(CONTENT_TYPE, media_type)];
    fields.extend(retry_after.as_deref().map(|value| (RETRY_AFTER, value)));
    let body = problem.map_or("<h1>no</h1>".to_owned(), |name| {
        json!({"type": format!("https://everwire.dev/problems/{name}"), "detail": "refused"})
            .to_string()
    });
    let mut answer = whole(conn, lane, status, media_type, &body);
    answer[0].1 = head(lane, status, &fields);
    answer
}
