//! A core thread: one current-thread runtime that runs the front and the shard side by side, so that a
//! publish needs no other thread to reach the lines of its own.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    io,
    net::{IpAddr, TcpListener as StdListener},
    os::fd::OwnedFd,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{self, Poll},
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
    hub::Mailbox,
    shard::{Kernel, Returned, Shard},
};

/// What the tasks of a core thread share.
pub(super) struct Core {
    context: RefCell<Rc<Context>>,
    pub shard: RefCell<Shard>,
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
        let watched = (watch.clone(), context.stopping.clone());
        tokio::task::spawn_local(async move { watched.0.run(watched.1).await });
        let core = Rc::new(Core {
            watch,
            context: RefCell::new(Rc::new(context)),
            shard: RefCell::new(shard),
            workers,
            in_http: Cell::new(0),
        });
        for listener in listeners {
            let listener = TcpListener::from_std(listener)?;
            tokio::task::spawn_local(accept::accept(core.clone(), listener));
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
    let queue = AsyncFd::with_interest(core.shard.borrow().descriptor()?, Interest::READABLE)?;
    let mut alarm = Alarm::default();
    let (mut has_events, mut drain_until) = (true, None);
    loop {
        let (more, wake_at) = {
            let mut shard = core.shard.borrow_mut();
            let more = shard.turn(Now::read(), has_events)?;
            (more, shard.wake_at())
        };
        let returned = core.shard.borrow_mut().take_returned();
        for connection in returned {
            serve_returned(&core, connection);
        }
        // The order to stop comes with mail, and is seen once that has woken the shard.
        if core.context().stopping.is_stopping() {
            let now = Instant::now();
            let drain_ms = core.context().shared.live.config.stop.drain_ms;
            let until = *drain_until.get_or_insert(now + Duration::from_millis(drain_ms));
            let idle = core.shard.borrow().len() == 0 && core.in_http.get() == 0;
            if idle || now >= until {
                return Ok(());
            }
        }
        if more {
            // Requests are served between two turns.
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
            let has_events = take_events(&queue, cx)?;
            let awake = has_events || mailbox.poll(cx).is_ready() || alarm.poll(cx).is_ready();
            match awake {
                true => Poll::Ready(io::Result::Ok(has_events)),
                false => Poll::Pending,
            }
        })
        .await?;
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
    let (core, visit) = (core.clone(), connection.visit);
    let in_http = core.serves();
    tokio::task::spawn_local(async move {
        let _in_http = in_http;
        let guest = core.watch.enter();
        h1::serve(core, guest, stream, visit).await;
    });
}
