//! Starting and stopping: the threads, and what they share.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use everwire_channel::Mark;
use rustls::crypto::aws_lc_rs;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc::{self, UnboundedReceiver},
};

use crate::{
    acme,
    clock::{self, Now},
    config::{Config, ConfigError},
    front,
    http::Context,
    hub::{self, Hub},
    key_servers, lifecycle,
    live::Live,
    lost_lines::LostLines,
    outbound::Outbound,
    parts::{Part, Parts},
    presence,
    press::Press,
    reload::Reloader,
    shard::{Mail, Mailbox, Shared},
    stop::{AllGone, Stop, Stopping},
    tls::Acceptor,
};

/// Threads for what must not hold up lines: HTTP/2, compressing, the sweep, who has left, what is told to servers.
const WORKERS: usize = 2;

/// How often ages and expiries are looked after.
const SWEEP: Duration = Duration::from_secs(1);

/// A running server.
pub struct Server {
    addresses: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
    /// Each core thread tells how it ended.
    ended: UnboundedReceiver<io::Result<()>>,
    reloader: Reloader,
    stop: Stop,
    all_gone: AllGone,
    workers: Runtime,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}; {advice}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// A key of the configuration is not what it should be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refused a thread or a runtime.
    #[error("cannot start the server's threads: {0}")]
    Threads(#[from] io::Error),
}

impl StartError {
    fn listen(address: SocketAddr, error: io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "stop what listens there, or choose another address with --listen"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 take a privilege: choose a higher one with --listen, give the program the capability \
                 CAP_NET_BIND_SERVICE, or have systemd listen for it"
            }
            io::ErrorKind::AddrNotAvailable => {
                "no interface of this machine has this address: choose one of its own with --listen, or :PORT for all"
            }
            _ => "choose another address with --listen",
        };
        Self::Listen {
            address,
            error,
            advice,
        }
    }
}

impl Server {
    /// Starts a server. It serves once this returns.
    ///
    /// # Errors
    ///
    /// The address is taken, a key is not what it should be, or the system refuses threads.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_on(Vec::new(), config, &mut |path| fs::read(path))
    }

    /// Starts a server on sockets that somebody else listens on, a service manager for example; without any it listens
    /// for itself, where the configuration says. `read` gets the content of the files that the configuration names.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_on(
        sockets: Vec<TcpListener>,
        config: Config,
        read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, StartError> {
        let live = Live::new(config, read)?;
        let config = &live.config;
        let tls = Acceptor::new(&config.tls, read, clock::unix_ms())?;
        let count = config.threads_effective();
        let listeners = match sockets.is_empty() {
            true => front::listen(&config.listen, count)
                .map_err(|(address, error)| StartError::listen(address, error)),
            false => front::share(sockets, count).map_err(StartError::Threads),
        };
        let listeners = listeners?;
        let addresses = (listeners[0].iter())
            .map(TcpListener::local_addr)
            .collect::<io::Result<Vec<_>>>()?;
        let (stop, stopping) = Stop::new();
        let (all_gone, alive) = AllGone::new();
        let mailboxes: Vec<Arc<Mailbox>> = (0..count).map(|_| Arc::default()).collect();
        let now = Now::read();
        let workers = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("everwire-worker")
            .enable_all()
            .build()?;
        let shared = Shared {
            tls: Arc::new(tls),
            press: Arc::new(Press::new(Some(workers.handle().clone()))),
            ..Shared::new(live, Mark(fastrand::u32(..)), mailboxes.clone(), now)
        };
        let outbound = Outbound::new(
            &shared.live.config.outbound,
            workers.handle().clone(),
            shared.metrics.clone(),
            read,
        )?;
        let parts = Parts::new(stopping.clone(), shared.metrics.clone());
        key_servers::keep(
            &shared.live.authority,
            &outbound,
            &shared.metrics,
            &mailboxes,
            &parts,
        );
        let challenges = Arc::default();
        let keeper = acme::open(
            &shared.live.config.acme,
            &outbound,
            &challenges,
            shared.tls.certificates(),
            Arc::new(aws_lc_rs::default_provider()),
            &shared.metrics,
            &mut |path| fs::read(path),
        )?;
        if let Some(desk) = &shared.live.desk {
            desk.connect(&outbound, &shared.metrics);
        }
        let context = Context {
            shared,
            challenges,
            stopping: stopping.clone(),
            parts: parts.clone(),
            _alive: alive,
            busy: None,
        };
        let Shared {
            hub,
            lifecycle,
            metrics,
            presences,
            live,
            tls,
            ..
        } = context.shared.clone();
        let reloader = Reloader {
            settings: live.settings().clone(),
            tls,
            mailboxes: mailboxes.clone(),
            metrics: metrics.clone(),
            outbound,
            parts: parts.clone(),
        };
        metrics.configured(now.unix_ms);
        lifecycle::open(&lifecycle, &hub, now.unix_ms);
        workers.spawn(parts.clone().beat_for_workers());
        if lifecycle.is_enabled() {
            let (hub, stopping) = (hub.clone(), stopping.clone());
            let start = move || {
                let (lifecycle, hub) = (lifecycle.clone(), hub.clone());
                lifecycle::tell(lifecycle, hub, metrics.clone(), stopping.clone())
            };
            workers.spawn(parts.clone().supervise(Part::Lifecycle, start));
        }
        let order = stopping.clone();
        let start = move || presence::expire(presences.clone(), order.clone());
        workers.spawn(parts.clone().supervise(Part::Presence, start));
        let order = stopping.clone();
        let start = move || sweep(hub.clone(), order.clone());
        workers.spawn(parts.clone().supervise(Part::Sweep, start));
        let (tell_end, ended) = mpsc::unbounded_channel();
        let mut threads = Vec::new();
        for (index, (listeners, mailbox)) in listeners.into_iter().zip(&mailboxes).enumerate() {
            let mailbox = mailbox.clone();
            let (context, workers) = (context.clone(), workers.handle().clone());
            let tell_end = tell_end.clone();
            let thread = thread::Builder::new()
                .name(format!("everwire-core-{index}"))
                .spawn(move || {
                    let run = || front::run_core(context, mailbox, listeners, workers);
                    let outcome = panic::catch_unwind(AssertUnwindSafe(run))
                        .unwrap_or_else(|_| Err(io::Error::other("a core thread panicked")));
                    // Whoever listened may be gone already, with the server.
                    let _ = tell_end.send(outcome);
                })?;
            threads.push(thread);
        }
        drop(context);
        // Not before somebody answers the authority.
        if let Some(keeper) = keeper {
            let keeper = Arc::new(tokio::sync::Mutex::new(keeper));
            let start = move || {
                let (keeper, stopping) = (keeper.clone(), stopping.clone());
                async move { keeper.lock().await.keep(stopping).await }
            };
            workers.spawn(parts.supervise(Part::Certificate, start));
        }
        Ok(Self {
            addresses,
            threads,
            ended,
            reloader,
            stop,
            all_gone,
            workers,
        })
    }

    /// Where it listens; the port is the real one where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All addresses that it listens on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Tells in its metrics which lines of the log were not written.
    pub fn count_lost_lines(&self, lost: Arc<LostLines>) {
        self.reloader.metrics.count_lost_lines(lost);
    }

    /// What gives it another configuration while it runs.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Tells a part of the server that is stuck, or ends again and again. If there is one, the process should not be
    /// taken for alive.
    pub fn stuck(&self) -> Option<&'static str> {
        let stuck_ms = self.reloader.settings.now().config.health.stuck_ms;
        self.reloader.parts.late(Duration::from_millis(stuck_ms))
    }

    /// Has `/readyz` say that the server will stop. It goes on serving, new lines too.
    pub fn leave(&self) {
        self.stop.leave();
    }

    /// Ends all threads at once, with all lines, for a server that has failed.
    pub fn abandon(self) {
        self.stop.stop();
        self.workers.shutdown_background();
    }

    /// Resolves if a core thread ends by itself, which is a fault: its lines are gone, and the process should
    /// stop so that a supervisor starts a whole one.
    pub async fn failed(&mut self) -> io::Error {
        match self.ended.recv().await {
            Some(Err(error)) => error,
            Some(Ok(())) | None => io::Error::other("a core thread ended by itself"),
        }
    }

    /// Stops: no new lines, open ones are told to go and when to come back, requests are finished. Returns once
    /// all is done, or after `stop.drain_ms` with what is left cut.
    pub fn stop(mut self) -> io::Result<()> {
        let began = Instant::now();
        self.stop.stop();
        for mailbox in &self.reloader.mailboxes {
            mailbox.post(Mail::Drain);
        }
        for thread in self.threads {
            thread
                .join()
                .expect("a core thread's panics are caught in it");
        }
        let mut outcome = Ok(());
        while let Ok(ended) = self.ended.try_recv() {
            outcome = outcome.and(ended);
        }
        // What is left is served by the workers, within the same time.
        let drain = Duration::from_millis(self.reloader.settings.now().config.stop.drain_ms);
        let left = drain.saturating_sub(began.elapsed());
        let _ = self
            .workers
            .block_on(async { tokio::time::timeout(left, self.all_gone.gone()).await });
        self.workers.shutdown_background();
        outcome
    }
}

async fn sweep(hub: Arc<Hub>, stopping: Stopping) {
    let mut interval = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            _ = interval.tick() => hub::sweep(&hub, clock::unix_ms()),
            () = stopping.stopped() => return,
        }
    }
}
