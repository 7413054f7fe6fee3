//! A core thread: one current-thread runtime that runs the front and the shard side by side, so that a
//! publish needs no other thread to reach the lines of its own.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    io,
    net::{SocketAddr, TcpListener as StdListener},
    os::fd::OwnedFd,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Handle, LocalOptions},
    task::yield_now,
};

use super::{accept, h1, watch::Watch};
use crate::{
    clock::Now,
    http::Context,
    hub::Mailbox,
    shard::{Kernel, Returned, Shard},
};

/// What the tasks of a core thread share.
pub(super) struct Core {
    pub context: Context,
    pub shard: RefCell<Shard>,
    pub workers: Handle,
    pub watch: Rc<Watch>,
    connections: Cell<usize>,
    connections_max: usize,
}

/// A counted connection.
pub(super) struct Permit(Rc<Core>);

impl Core {
    /// Counts one more connection, if there is room.
    pub fn connection(self: &Rc<Self>) -> Option<Permit> {
        let count = self.connections.get();
        if count >= self.connections_max {
            return None;
        }
        self.connections.set(count + 1);
        Some(Permit(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}

/// Runs a core thread until the server has stopped.
pub(crate) fn run(
    context: Context,
    mailbox: Arc<Mailbox>,
    listener: StdListener,
    workers: Handle,
    threads: usize,
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
        let connections_max = context
            .shared
            .config
            .limits
            .connections_max
            .div_ceil(threads);
        let patience = Duration::from_millis(context.shared.config.http.idle_ms);
        let watch = Rc::new(Watch::new(patience, Instant::now()));
        let watched = (watch.clone(), context.stopping.clone());
        tokio::task::spawn_local(async move { watched.0.run(watched.1).await });
        let core = Rc::new(Core {
            watch,
            context,
            shard: RefCell::new(shard),
            workers,
            connections: Cell::new(0),
            connections_max,
        });
        tokio::task::spawn_local(accept::accept(
            core.clone(),
            TcpListener::from_std(listener)?,
        ));
        serve_lines(core, &mailbox).await
    })
}

/// Turns the shard for as long as there is something to do, and sleeps in between.
async fn serve_lines(core: Rc<Core>, mailbox: &Mailbox) -> io::Result<()> {
    // Deprecated because a type may lie about its descriptor, which an `OwnedFd` cannot; the successor is unsafe.
    #[expect(
        deprecated,
        reason = "sound for an OwnedFd, and the crate forbids unsafe code"
    )]
    let queue = AsyncFd::with_interest(core.shard.borrow().descriptor()?, Interest::READABLE)?;
    let mut drain_until = None;
    loop {
        let (more, wake_at) = {
            let mut shard = core.shard.borrow_mut();
            let more = shard.turn(Now::read())?;
            (more, shard.wake_at())
        };
        let returned = core.shard.borrow_mut().take_returned();
        for connection in returned {
            serve_returned(&core, connection);
        }
        let now = Instant::now();
        if core.context.stopping.is_stopping() {
            let drain_ms = core.context.shared.config.stop.drain_ms;
            let until = *drain_until.get_or_insert(now + Duration::from_millis(drain_ms));
            let idle = core.shard.borrow().len() == 0 && core.connections.get() == 0;
            if idle || now >= until {
                return Ok(());
            }
        }
        if more {
            // Requests are served between two turns.
            yield_now().await;
            continue;
        }
        let deadline = [wake_at, drain_until].into_iter().flatten().min();
        // While it drains, the end of the last connection is looked for often enough.
        let deadline = drain_until
            .map(|_| now + Duration::from_millis(20))
            .or(deadline);
        sleep(&queue, mailbox, deadline, &core).await?;
    }
}

/// Sleeps until there are events, mail, a timer, or the order to stop.
async fn sleep(
    queue: &AsyncFd<OwnedFd>,
    mailbox: &Mailbox,
    deadline: Option<Instant>,
    core: &Core,
) -> io::Result<()> {
    let mut mail = std::pin::pin!(mailbox.notified());
    let mut stopped = std::pin::pin!(async {
        match core.context.stopping.is_stopping() {
            // Known already; what is awaited now are the last lines.
            true => std::future::pending().await,
            false => core.context.stopping.stopped().await,
        }
    });
    let mut timer = std::pin::pin!(async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    });
    poll_fn(|cx| {
        if let Poll::Ready(guard) = queue.poll_read_ready(cx) {
            // Cleared before the queue is read: what comes after that is an event again.
            guard?.clear_ready();
            return Poll::Ready(Ok(()));
        }
        let awake = mail.as_mut().poll(cx).is_ready()
            || timer.as_mut().poll(cx).is_ready()
            || stopped.as_mut().poll(cx).is_ready();
        if awake {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await
}

fn serve_returned(core: &Rc<Core>, connection: Returned<mio::net::TcpStream>) {
    let Ok(stream) = TcpStream::from_std(connection.socket.into()) else {
        return;
    };
    let Ok(peer) = stream.peer_addr() else { return };
    let Some(permit) = core.connection() else {
        return core.context.shared.metrics.connection_refused();
    };
    let (core, peer): (_, SocketAddr) = (core.clone(), peer);
    tokio::task::spawn_local(async move {
        let _permit = permit;
        let guest = core.watch.enter();
        h1::serve(core, guest, stream, connection.unread, peer).await;
    });
}
