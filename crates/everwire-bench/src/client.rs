//! The load client: one thread, one epoll loop, thousands of lines.
//!
//! ```text
//!            ┌──────────────── Client ────────────────┐
//!  open ────▶│ line 0   reading, reader 0             │──▶ Ledger::deliver
//!  send ────▶│ line 1   reading, reader 1             │
//!            │ line 2   publishing, 3 unanswered      │──▶ unanswered
//!            └────────────────────────────────────────┘
//! ```
//!
//! It shares the machine with the server, so a delivery costs it one `recv` and a comparison: all
//! lines read into one buffer, and a line that is between entries holds none.

mod line;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    ops::{AddAssign, Range},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use socket2::{Domain, Protocol, Socket, Type};

use self::line::Line;
use crate::{
    dialect::{Dialect, Subscription},
    interrupt::Interrupt,
    ledger::Ledger,
    publish::{self, PublishRequest},
    wire::Wire,
};

/// Lines to one server and the loop that serves them.
pub struct Client {
    poll: Poll,
    events: Events,
    server: SocketAddr,
    dialect: Dialect,
    interrupt: Interrupt,
    lines: Vec<Option<Line>>,
    vacant: Vec<usize>,
    /// Bytes that reading lines were sent, with the heads of their responses.
    received_bytes: u64,
    /// How many source ports were tried.
    sockets: usize,
    buffer: Vec<u8>,
    progress_at: Instant,
}

/// The server went silent before all was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "nothing came for {} s while {missing} deliveries are missing; the server lost them or hangs",
    STALLED.as_secs()
)]
pub struct Stalled {
    /// Deliveries that are missing, over all readers.
    pub missing: u64,
}

/// What happened in one or more turns of the loop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// Lines that came to rest: response head received, or long poll sent.
    pub opened: usize,
    /// Long polls that were answered with all their entries.
    pub polls_answered: usize,
    /// Bytes that reading lines were sent, with the heads of their responses.
    pub received_bytes: u64,
}

impl AddAssign for Turn {
    fn add_assign(&mut self, later: Self) {
        self.opened += later.opened;
        self.polls_answered += later.polls_answered;
        self.received_bytes += later.received_bytes;
    }
}

impl Client {
    /// Lines that one client can hold: the usual limit of 20,000 files less some reserve.
    pub const LINES_MAX: usize = 19_500;

    /// A client of the server at `server`; `interrupt` ends each of its loops.
    ///
    /// # Errors
    /// If the system gives no epoll instance.
    pub fn new(server: SocketAddr, interrupt: Interrupt) -> Result<Self> {
        Self::with_turns_of(EVENTS_PER_TURN, server, interrupt)
    }

    /// One that serves at most `events` lines before it returns from a turn, so that its caller
    /// has other things done in time.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_turns_of(events: usize, server: SocketAddr, interrupt: Interrupt) -> Result<Self> {
        Ok(Self {
            poll: Poll::new().context("cannot create an epoll instance")?,
            events: Events::with_capacity(events),
            server,
            dialect: Dialect::Everwire,
            interrupt,
            lines: Vec::new(),
            vacant: Vec::new(),
            received_bytes: 0,
            sockets: 0,
            buffer: vec![0; READ_BYTES],
            progress_at: Instant::now(),
        })
    }

    /// The same client, for a server that speaks `dialect`.
    pub fn speaking(self, dialect: Dialect) -> Self {
        Self { dialect, ..self }
    }

    /// How `channel` is read over `wire`.
    ///
    /// # Errors
    /// If the server has no such wire.
    pub fn subscription(&self, wire: Wire, channel: &str) -> Result<Arc<Subscription>> {
        let subscription = self.dialect.subscription(wire, self.server, channel)?;
        Ok(Arc::new(subscription))
    }

    /// The request that publishes the entries of `ledger` to `channel`.
    ///
    /// # Errors
    /// If the server takes none over HTTP.
    pub fn publish_request(&self, channel: &str, ledger: &Ledger) -> Result<PublishRequest> {
        PublishRequest::new(&self.dialect, self.server, channel, ledger)
    }

    /// The request that creates `channel`, where the server wants one.
    pub fn create_request(&self, channel: &str) -> Option<Vec<u8>> {
        self.dialect.create_request(self.server, channel)
    }

    /// Opens `count` readers of `channel`, the ledger's first, as [`open_lines`](Self::open_lines).
    ///
    /// # Errors
    /// If the server refuses one, does not answer, or too many lines are asked for.
    pub fn open_readers(
        &mut self,
        wire: Wire,
        channel: &str,
        count: usize,
        ledger: &mut Ledger,
        on_opened: impl FnMut(usize),
    ) -> Result<Vec<usize>> {
        let subscription = self.subscription(wire, channel)?;
        let asked = std::iter::repeat_n((0, subscription), count);
        self.open_lines(asked, ledger, on_opened)
    }

    /// Opens reading lines, a few at a time, and waits until all are at rest. Each is `asked` for
    /// by the ledger's channel and a subscription. `on_opened` is told how many are open. Returns
    /// their indices.
    ///
    /// # Errors
    /// If the server refuses one, does not answer, or too many lines are asked for.
    pub fn open_lines(
        &mut self,
        asked: impl IntoIterator<Item = (usize, Arc<Subscription>)>,
        ledger: &mut Ledger,
        mut on_opened: impl FnMut(usize),
    ) -> Result<Vec<usize>> {
        let (mut asked, mut lines, mut opened) = (asked.into_iter().fuse(), Vec::new(), 0);
        loop {
            while lines.len() - opened < OPENING_MAX
                && let Some((channel, subscription)) = asked.next()
            {
                let reader = ledger.join(channel);
                lines.push(self.open(reader..reader + 1, subscription, ledger)?);
            }
            if opened == lines.len() {
                return Ok(lines);
            }
            opened += self.turn(ledger)?.opened;
            on_opened(opened);
        }
    }

    /// Opens one line of `readers` and gives its index at once; it is open when a turn says so.
    ///
    /// # Errors
    /// If the system gives no socket.
    pub fn open(
        &mut self,
        readers: Range<usize>,
        subscription: Arc<Subscription>,
        ledger: &Ledger,
    ) -> Result<usize> {
        let line = Line::reading(self.connect()?, readers, subscription, ledger);
        self.insert(line)
    }

    /// As [`open`](Self::open), for a line that must not be delivered anything.
    ///
    /// # Errors
    /// If the system gives no socket.
    pub fn open_unread(&mut self, wire: Wire, channel: &str, ledger: &Ledger) -> Result<usize> {
        let subscription = self.subscription(wire, channel)?;
        self.open(UNREAD, subscription, ledger)
    }

    /// Opens a connection that sends HTTP requests and keeps being used; returns its index.
    ///
    /// # Errors
    /// If the system gives no socket.
    pub fn open_publisher(&mut self) -> Result<usize> {
        let line = Line::publishing(self.connect()?);
        self.insert(line)
    }

    /// Appends a message with the next entry of `source`, as the WebSocket `index` publishes it.
    ///
    /// # Errors
    /// If nothing can be published on that line.
    pub fn write_frame(
        &self,
        index: usize,
        ledger: &mut Ledger,
        source: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let line = self.lines[index].as_ref();
        let envelope = line.and_then(Line::envelope);
        let envelope = envelope.context("nothing can be published on this line")?;
        publish::write_frame(ledger, source, envelope, out);
        Ok(())
    }

    /// Sends `bytes`, of which `requests` will be answered, on line `index`.
    ///
    /// # Errors
    /// If the connection broke.
    pub fn send(&mut self, index: usize, bytes: &[u8], requests: usize) -> Result<()> {
        let line = self.lines[index].as_mut().context("this line was closed")?;
        line.expect_answers(requests);
        line.send(bytes)
            .with_context(|| format!("cannot send on line {index}"))
    }

    /// Sends `bytes` with so many `commands` on the session `index`, which is at rest, as a turn then
    /// tells, when all have succeeded.
    ///
    /// # Errors
    /// If the connection broke.
    pub fn command(&mut self, index: usize, bytes: &[u8], commands: usize) -> Result<()> {
        let line = self.lines[index].as_mut().context("this line was closed")?;
        line.expect_success(commands);
        self.send(index, bytes, 0)
    }

    /// The same for the session over an event stream `index`, which asks for `channels` by a request on
    /// the connection `publisher`.
    ///
    /// # Errors
    /// If the connection broke, or the session was not told who it is.
    pub fn subscribe_by_request(
        &mut self,
        index: usize,
        publisher: usize,
        channels: &[String],
    ) -> Result<()> {
        let line = self.lines[index].as_mut().context("this line was closed")?;
        line.expect_success(channels.len());
        let identity = line.identity().context("a welcome without a secret")?;
        let request = identity.subscribe_request(self.server, channels.iter().cloned());
        self.send(publisher, &request, 1)
    }

    /// Closes line `index`, as a client does that goes away.
    pub fn close(&mut self, index: usize) {
        if self.lines[index].take().is_some() {
            self.vacant.push(index);
        }
    }

    /// Waits for events up to a moment, then serves them all.
    ///
    /// # Errors
    /// If a line delivered something wrong or broke, if nothing happened for long, or if the
    /// process was told to stop.
    pub fn turn(&mut self, ledger: &mut Ledger) -> Result<Turn> {
        self.turn_with(ledger, |_| {})
    }

    /// As [`turn`](Self::turn); `on_opened` learns the index of each line that came to rest.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn turn_with(&mut self, ledger: &mut Ledger, on_opened: impl FnMut(usize)) -> Result<Turn> {
        self.turn_within(WAIT, ledger, on_opened)
    }

    /// As [`turn`](Self::turn), but waits no longer than `wait`.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn turn_for(&mut self, wait: Duration, ledger: &mut Ledger) -> Result<Turn> {
        self.turn_within(wait.min(WAIT), ledger, |_| {})
    }

    fn turn_within(
        &mut self,
        wait: Duration,
        ledger: &mut Ledger,
        on_opened: impl FnMut(usize),
    ) -> Result<Turn> {
        let (turn, events) = self.serve(wait, ledger, on_opened)?;
        if events > 0 {
            self.progress_at = Instant::now();
        } else if self.progress_at.elapsed() > STALLED {
            let missing = ledger.missing();
            return Err(Stalled { missing }.into());
        }
        Ok(turn)
    }

    /// Serves what comes within `wait`, where silence is no fault.
    ///
    /// # Errors
    /// As [`turn`](Self::turn), but for silence.
    pub fn rest(&mut self, wait: Duration, ledger: &mut Ledger) -> Result<Turn> {
        let end = Instant::now() + wait;
        let mut sum = Turn::default();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (turn, _) = self.serve(left, ledger, |_| {})?;
            sum += turn;
            if left.is_zero() {
                self.progress_at = Instant::now();
                return Ok(sum);
            }
        }
    }

    /// The address of the server.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Bytes that reading lines were sent so far, with the heads of their responses.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Requests sent on line `index` that have no answer yet.
    pub fn unanswered(&self, index: usize) -> usize {
        self.lines[index].as_ref().map_or(0, Line::unanswered)
    }

    /// One wait and what came of it, with the number of events.
    fn serve(
        &mut self,
        wait: Duration,
        ledger: &mut Ledger,
        mut on_opened: impl FnMut(usize),
    ) -> Result<(Turn, usize)> {
        self.interrupt.check()?;
        match self.poll.poll(&mut self.events, Some(wait)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok((Turn::default(), 0));
            }
            Err(error) => return Err(error).context("cannot wait for events"),
        }
        let (mut turn, mut events) = (Turn::default(), 0);
        for event in &self.events {
            events += 1;
            let Token(index) = event.token();
            let Some(line) = self.lines[index].as_mut() else {
                continue;
            };
            let opened = turn.opened;
            line.handle_event(event, &mut self.buffer, ledger, &mut turn)
                .with_context(|| format!("line {index} failed"))?;
            if turn.opened > opened {
                on_opened(index);
            }
        }
        self.received_bytes += turn.received_bytes;
        Ok((turn, events))
    }

    fn insert(&mut self, mut line: Line) -> Result<usize> {
        let index = self.vacant.pop().unwrap_or(self.lines.len());
        if index >= Self::LINES_MAX {
            bail!(
                "one client holds at most {} lines; ask for fewer",
                Self::LINES_MAX
            );
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(line.socket(), Token(index), interest)?;
        if index == self.lines.len() {
            self.lines.push(Some(line));
        } else {
            self.lines[index] = Some(line);
        }
        Ok(index)
    }

    /// Begins to connect. A loopback server is reached from ports that are named here: to find a
    /// free one takes the system milliseconds while tens of thousands of earlier connections rest
    /// in TIME_WAIT. Those led to other ports of the server's side, so theirs may serve again.
    fn connect(&mut self) -> Result<TcpStream> {
        loop {
            let socket = Socket::new(
                Domain::for_address(self.server),
                Type::STREAM.nonblocking(),
                Some(Protocol::TCP),
            )
            .context("cannot open a socket; raise the limit of open files (ulimit -n)")?;
            socket.set_tcp_nodelay(true)?;
            let mut bound = Ok(());
            if self.server.ip() == Ipv4Addr::LOCALHOST {
                socket.set_reuse_address(true)?;
                bound = socket.bind(&source(self.server.port(), self.sockets).into());
                self.sockets += 1;
            }
            match bound.and_then(|()| socket.connect(&self.server.into())) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => {}
                // Somebody listens there, or another client of this server has it.
                Err(error) if is_taken(&error) && self.sockets < SOURCES_TRIED_MAX => continue,
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot connect to {}", self.server));
                }
            }
            return Ok(TcpStream::from_std(socket.into()));
        }
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
    )
}

/// More than a measurement opens; to go on would be to turn in a circle.
const SOURCES_TRIED_MAX: usize = 200_000;

/// The source of the `n`th connection to a server on loopback, which is another for each server, so
/// that a second run does not meet what the first left behind.
fn source(server_port: u16, n: usize) -> SocketAddr {
    const ADDRESSES: usize = 8;
    const PORTS: Range<usize> = 20_000..60_000;
    let place = usize::from(server_port) + n / ADDRESSES;
    let port = PORTS.start + place % PORTS.len();
    let last = 1 + (n % ADDRESSES) as u8;
    SocketAddr::from(([127, 0, 0, last], port as u16))
}

const EVENTS_PER_TURN: usize = 1024;
const READ_BYTES: usize = 256 * 1024;
/// Lines that are being opened at once: below every listener's backlog.
const OPENING_MAX: usize = 100;
/// The longest wait within a turn, so that an interrupt is soon noticed.
const WAIT: Duration = Duration::from_millis(100);
/// Silence after which a run has failed.
const STALLED: Duration = Duration::from_secs(10);
/// The readers of lines that must not be delivered anything.
const UNREAD: Range<usize> = usize::MAX..usize::MAX;
const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

#[cfg(test)]
mod tests;
