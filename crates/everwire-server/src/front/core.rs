//! A core thread: one current-thread runtime that runs the front and the shard side by side, so that a
//! publish needs no other thread to reach the lines of its own.

use std::{
    cell::{Cell, RefCell, RefMut},
    future::{Future, poll_fn},
    io,
    net::{IpAddr, TcpListener as StdListener},
    ops::{Deref, DerefMut},
    os::fd::OwnedFd,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{self, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Handle, LocalOptions},
    task::yield_now,
    time::Sleep,
};

use super::{
    accept, h1,
    stream::Stream,
    watch::{Patience, Watch},
};
use crate::{
    census::Arrival,
    clock::Now,
    http::Context,
    parts::{self, BEAT, Heart, Part},
    shard::{Kernel, Mailbox, Returned, Shard},
};

/// What the tasks of a core thread share.
pub(super) struct Core {
    context: RefCell<Rc<Context>>,
    shard: RefCell<Shard>,
    /// Something panicked in the middle of a change of the shard.
    is_harmed: Cell<bool>,
    /// Times that the shard's loop was woken, which shows that it lives.
    turns: Cell<u64>,
    /// Wakes that loop.
    waker: RefCell<Option<Waker>>,
    pub workers: Handle,
    pub watch: Rc<Watch>,
    /// Connections that are in HTTP on this thread, which end before it does.
    in_http: Cell<usize>,
}

/// A connection that is in HTTP on this thread, until this is dropped.
pub(super) struct InHttp(Rc<Core>);

impl Core {
    /// What a request is served with that begins now.
    pub fn context(&self) -> Rc<Context> {
        let mut context = self.context.borrow_mut();
        if context.shared.live.is_outdated() {
            *context = Rc::new(context.refreshed());
            self.watch.allow(patience(&context));
        }
        context.clone()
    }

    /// The shard, for one change of it.
    pub fn shard(&self) -> Entered<'_> {
        Entered {
            shard: self.shard.borrow_mut(),
            is_harmed: &self.is_harmed,
        }
    }

    /// Spawns a task that serves one connection. One that panics ends that connection, unless it was in the middle of
    /// a change of the shard: then nothing that the shard holds can be relied on, and the thread ends, and with it
    /// the process.
    pub fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let core = self.clone();
        tokio::task::spawn_local(parts::caught(task, move || {
            core.context().shared.metrics.task_panicked();
            core.wake();
        }));
    }

    /// Has the shard's loop look around.
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Shows that the shard's loop is woken when there is something to do.
    async fn beat(self: Rc<Self>, heart: Heart) {
        let mut seen = u64::MAX;
        loop {
            let turns = self.turns.get();
            if turns != seen {
                heart.beat();
                seen = turns;
            }
            self.wake();
            tokio::time::sleep(BEAT).await;
        }
    }

    /// A connection is in HTTP from now on.
    pub fn serves(self: &Rc<Self>) -> InHttp {
        self.in_http.set(self.in_http.get() + 1);
        InHttp(self.clone())
    }

    /// Counts a connection that was accepted, or tells that there is no room for it.
    pub fn arrive(&self, peer: IpAddr) -> Option<Arrival> {
        let shared = &self.context().shared;
        let connections_max = shared.live.config.limits.connections_max;
        let arrival = shared.census.arrive(peer, connections_max);
        if arrival.as_ref().is_none_or(Arrival::is_in_reserve) {
            shared.metrics.limit_met("connections_max");
        }
        if arrival.is_none() {
            shared.metrics.connection_refused();
        }
        arrival
    }
}

/// The shard while it is changed.
pub(super) struct Entered<'a> {
    shard: RefMut<'a, Shard>,
    is_harmed: &'a Cell<bool>,
}

impl Deref for Entered<'_> {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        &self.shard
    }
}

impl DerefMut for Entered<'_> {
    fn deref_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.is_harmed.set(true);
        }
    }
}

impl Drop for InHttp {
    fn drop(&mut self) {
        self.0.in_http.set(self.0.in_http.get() - 1);
    }
}

/// Runs a core thread until the server has stopped.
pub(crate) fn run(
    context: Context,
    mailbox: Arc<Mailbox>,
    listeners: Vec<StdListener>,
    workers: Handle,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let shard = Shard::new(
            context.shared.clone(),
            mailbox.clone(),
            Kernel::new()?,
            Now::read(),
        );
        let watch = Rc::new(Watch::new(patience(&context)));
        let parts = context.parts.clone();
        let watched = (watch.clone(), context.stopping.clone());
        let looks = move || {
            let (watch, stopping) = watched.clone();
            async move { watch.run(stopping).await }
        };
        tokio::task::spawn_local(parts.clone().supervise(Part::Watch, looks));
        let core = Rc::new(Core {
            watch,
            context: RefCell::new(Rc::new(context)),
            shard: RefCell::new(shard),
            is_harmed: Cell::new(false),
            turns: Cell::new(0),
            waker: RefCell::default(),
            workers,
            in_http: Cell::new(0),
        });
        tokio::task::spawn_local(core.clone().beat(parts.heart(Part::Core)));
        for listener in listeners {
            let listener = Rc::new(TcpListener::from_std(listener)?);
            let core = core.clone();
            let start = move || accept::accept(core.clone(), listener.clone());
            tokio::task::spawn_local(parts.clone().supervise(Part::Accept, start));
        }
        serve_lines(core, &mailbox).await
    })
}

/// How long a connection may keep HTTP waiting.
fn patience(context: &Context) -> Patience {
    let config = &context.shared.live.config;
    Patience {
        request: Duration::from_millis(config.http.idle_ms),
        head: Duration::from_millis(config.http.head_ms),
        taking: Duration::from_millis(config.limits.write_stall_ms),
    }
}

/// Turns the shard for as long as there is something to do, and sleeps in between.
async fn serve_lines(core: Rc<Core>, mailbox: &Mailbox) -> io::Result<()> {
    // Deprecated because a type may lie about its descriptor, which an `OwnedFd` cannot; the successor is unsafe.
    #[expect(
        deprecated,
        reason = "sound for an OwnedFd, and the crate forbids unsafe code"
    )]
    let queue = AsyncFd::with_interest(core.shard().descriptor()?, Interest::READABLE)?;
    let mut alarm = Alarm::default();
    let (mut has_events, mut drain_until) = (true, None);
    loop {
        if core.is_harmed.get() {
            return Err(io::Error::other(
                "a task panicked in the middle of a change of its thread's lines",
            ));
        }
        let (more, wake_at) = {
            let mut shard = core.shard();
            let more = shard.turn(Now::read(), has_events)?;
            (more, shard.wake_at())
        };
        let returned = core.shard().take_returned();
        for connection in returned {
            serve_returned(&core, connection);
        }
        // The order to stop comes with mail, and is seen once that has woken the shard.
        if core.context().stopping.is_stopping() {
            let now = Instant::now();
            let drain_ms = core.context().shared.live.config.stop.drain_ms;
            let until = *drain_until.get_or_insert(now + Duration::from_millis(drain_ms));
            let idle = core.shard().len() == 0 && core.in_http.get() == 0;
            if idle || now >= until {
                return Ok(());
            }
        }
        if more {
            // Requests are served between two turns.
            core.turns.set(core.turns.get().wrapping_add(1));
            yield_now().await;
            has_events = poll_fn(|cx| Poll::Ready(take_events(&queue, cx))).await?;
            continue;
        }
        // While it drains, the end of the last connection is looked for often enough.
        let deadline = match drain_until {
            Some(_) => Some(Instant::now() + Duration::from_millis(20)),
            None => wake_at,
        };
        alarm.set(deadline);
        // Sleeps until there are events, mail, or a timer is due.
        has_events = poll_fn(|cx| {
            core.turns.set(core.turns.get().wrapping_add(1));
            attend(&mut core.waker.borrow_mut(), cx);
            let has_events = take_events(&queue, cx)?;
            let awake = has_events
                || core.is_harmed.get()
                || mailbox.poll(cx).is_ready()
                || alarm.poll(cx).is_ready();
            match awake {
                true => Poll::Ready(io::Result::Ok(has_events)),
                false => Poll::Pending,
            }
        })
        .await?;
    }
}

/// Keeps what wakes a task.
fn attend(waker: &mut Option<Waker>, cx: &task::Context<'_>) {
    if !waker
        .as_ref()
        .is_some_and(|waker| waker.will_wake(cx.waker()))
    {
        *waker = Some(cx.waker().clone());
    }
}

/// Whether the shard's queue has events since this was true last; else the task is woken by the next.
fn take_events(queue: &AsyncFd<OwnedFd>, cx: &mut task::Context<'_>) -> io::Result<bool> {
    match queue.poll_read_ready(cx) {
        // Cleared before the queue is read: what comes after that is an event again.
        Poll::Ready(guard) => guard.map(|mut guard| guard.clear_ready()).map(|()| true),
        Poll::Pending => Ok(false),
    }
}

/// A timer that is registered anew only when its time has changed, which costs more than most turns.
#[derive(Default)]
struct Alarm {
    at: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    fn set(&mut self, at: Option<Instant>) {
        if self.at == at {
            return;
        }
        self.at = at;
        match (&mut self.sleep, at) {
            (Some(sleep), Some(at)) => sleep.as_mut().reset(at.into()),
            (sleep, _) => *sleep = at.map(|at| Box::pin(tokio::time::sleep_until(at.into()))),
        }
    }

    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

fn serve_returned(core: &Rc<Core>, connection: Returned<mio::net::TcpStream>) {
    let Some((socket, tls)) = connection.outlet.into_parts() else {
        return;
    };
    let Ok(socket) = TcpStream::from_std(socket.into()) else {
        return;
    };
    let stream = Stream::new(socket, tls, connection.unread);
    let (serving, visit) = (core.clone(), connection.visit);
    let in_http = core.serves();
    core.spawn(async move {
        let _in_http = in_http;
        let core = serving;
        let guest = core.watch.enter();
        h1::serve(core, guest, stream, visit).await;
    });
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        io::{Read, Write},
        net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    };

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::{Config, Server};

    /// Clients from these addresses have the server panic, each at another place.
    pub const IN_ACCEPT: [u8; 4] = [127, 66, 0, 1];
    pub const IN_CONNECTION: [u8; 4] = [127, 66, 0, 2];
    pub const IN_SHARD: [u8; 4] = [127, 66, 0, 3];

    pub fn planted(peer: IpAddr, place: [u8; 4]) {
        assert!(peer != Ipv4Addr::from(place), "planted");
    }

    pub fn planted_in_a_connection(core: &Core, peer: IpAddr) {
        planted(peer, IN_CONNECTION);
        let _changing = core.shard();
        planted(peer, IN_SHARD);
    }

    fn server() -> Server {
        Server::start(Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)).into(),
            threads: 1,
            dev: true,
            ..Config::default()
        })
        .unwrap()
    }

    /// What is answered to a request from this address.
    fn ask(server: &Server, from: [u8; 4], path: &str) -> String {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
        socket.connect(&server.address().into()).unwrap();
        let mut peer = TcpStream::from(socket);
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let _ = peer.write_all(request.as_bytes());
        let mut answer = String::new();
        let _ = peer.read_to_string(&mut answer);
        answer
    }

    const OTHER: [u8; 4] = [127, 0, 0, 1];

    #[test]
    fn a_panic_that_serves_a_connection_ends_that_connection_and_nothing_else() {
        let server = server();
        for _ in 0..3 {
            assert_eq!(ask(&server, IN_CONNECTION, "/healthz"), "");
            assert!(ask(&server, OTHER, "/healthz").starts_with("HTTP/1.1 200"));
        }
        let metrics = ask(&server, OTHER, "/metrics");
        assert!(
            metrics.contains("everwire_tasks_panicked_total 3\n"),
            "{metrics}"
        );
    }

    #[test]
    fn an_accept_loop_that_panics_is_started_again_on_its_listener() {
        let server = server();
        assert_eq!(ask(&server, IN_ACCEPT, "/healthz"), "");
        assert!(ask(&server, OTHER, "/healthz").starts_with("HTTP/1.1 200"));
        let metrics = ask(&server, OTHER, "/metrics");
        let restarted = "everwire_parts_restarted_total{part=\"accept\"} 1\n";
        assert!(metrics.contains(restarted), "{metrics}");
    }

    #[test]
    fn a_panic_within_a_change_of_the_shard_ends_the_server() {
        let mut server = server();
        assert_eq!(ask(&server, IN_SHARD, "/healthz"), "");
        let runtime = Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(server.failed());
        assert!(
            error.to_string().contains("in the middle of a change"),
            "{error}"
        );
        server.abandon();
    }
}
