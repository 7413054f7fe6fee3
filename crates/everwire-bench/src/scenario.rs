//! The stage on which each measurement plays: a fresh subject, a client, a ledger, a channel.

pub mod connecting;
pub mod fanout;
pub mod idle;
pub mod publishing;

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{
    client::{Client, Turn},
    cores::Cores,
    interrupt::Interrupt,
    ledger::Ledger,
    payload::Payloads,
    progress::Progress,
    publisher::Publishers,
    subject::{Running, Subject},
    wire::{self, Wire},
};

/// What all measurements of a run have in common.
pub struct Bench {
    /// Who runs on which core.
    pub cores: Cores,
    /// Ends the run early.
    pub interrupt: Interrupt,
    /// The payloads that are published.
    pub payloads: Payloads,
    /// How long each measurement publishes.
    pub duration: Duration,
    /// When no more measurements begin, counted from the run's start.
    pub time_max: Duration,
    /// Tells how far the run is.
    pub progress: Progress,
}

/// A started subject with its client; the subject is stopped first when this is dropped.
pub struct Stage<'a> {
    running: Running,
    client: Client,
    ledger: Ledger,
    bench: &'a Bench,
}

/// The channel that everybody reads and publishes to.
const CHANNEL: &str = "bench";

impl Bench {
    /// Whether it is too late to begin another measurement.
    pub fn is_late(&self) -> bool {
        self.progress.elapsed() > self.time_max
    }

    /// Sets the stage for entries of `sources`, and lets `play` measure on it.
    ///
    /// # Errors
    /// If the subject does not start, or `play` fails; the message quotes the subject.
    pub fn on_stage<T>(
        &self,
        subject: &Subject,
        sources: usize,
        play: impl FnOnce(&mut Stage<'_>) -> Result<T>,
    ) -> Result<T> {
        let running = subject
            .start(self.cores, &self.interrupt)
            .with_context(|| format!("the {} did not start", subject.name()))?;
        let client = Client::new(running.address(), self.interrupt.clone())?;
        let ledger = Ledger::new(self.payloads.clone(), sources);
        let mut stage = Stage {
            running,
            client,
            ledger,
            bench: self,
        };
        let played = stage.create_channel().and_then(|()| play(&mut stage));
        played.with_context(|| {
            format!(
                "the {} failed; {}",
                subject.name(),
                stage.running.last_words()
            )
        })
    }
}

impl Stage<'_> {
    /// Opens `count` readers and returns their lines.
    ///
    /// # Errors
    /// If one is refused.
    pub fn open_readers(&mut self, wire: Wire, count: usize) -> Result<Vec<usize>> {
        let progress = &self.bench.progress;
        self.client
            .open_readers(wire, CHANNEL, count, &mut self.ledger, |opened| {
                progress.detail(&format!("{opened} of {count} {} lines", wire.name()));
            })
    }

    /// Waits until the subject does nothing any more.
    ///
    /// # Errors
    /// If it goes on working, or answers a poll, though nothing was asked of it.
    pub fn settle(&mut self) -> Result<()> {
        const QUIET: Duration = Duration::from_millis(50);
        const TICK: Duration = Duration::from_millis(10);
        const ATTEMPTS: usize = 160;
        self.bench.progress.detail("waiting for quiet");
        // A parked poll is not answered, so nothing tells that it was read. The answer to a later
        // request does, even where a busy machine keeps the subject from running for a while.
        self.create_channel()?;
        let mut before = self.running.cpu_time()?;
        for _ in 0..ATTEMPTS {
            if self.client.rest(QUIET, &mut self.ledger)?.polls_answered > 0 {
                bail!("a long poll was answered though nothing was published");
            }
            let now = self.running.cpu_time()?;
            if now.since(before).total() <= TICK {
                return Ok(());
            }
            before = now;
        }
        bail!("it keeps its core busy without load, so what a line costs cannot be told");
    }

    /// Publishes for a moment without measuring, so that caches and buffers are warm; then for the
    /// run's duration. Returns what that took.
    ///
    /// # Errors
    /// If a line failed or delivered something wrong.
    fn drive(&mut self, publishers: &mut Publishers) -> Result<Driven> {
        let (client, ledger, duration) = (&mut self.client, &mut self.ledger, self.bench.duration);
        self.bench.progress.detail("warming up");
        publishers.drive(client, ledger, duration / 10)?;
        self.bench.progress.detail("measuring");
        let (deliveries, published) = (ledger.deliveries(), ledger.published());
        let (cpu, start) = (self.running.cpu_time()?, std::time::Instant::now());
        publishers.drive(client, ledger, duration)?;
        let elapsed = start.elapsed();
        let cpu = self.running.cpu_time()?.since(cpu);
        Ok(Driven {
            deliveries: ledger.deliveries() - deliveries,
            published: ledger.published() - published,
            elapsed,
            cpu_seconds: cpu.total().as_secs_f64(),
            user_share: cpu.user.as_secs_f64() / cpu.total().as_secs_f64(),
        })
    }

    /// Creates the channel, or confirms that it is there.
    fn create_channel(&mut self) -> Result<()> {
        let request = wire::create_request(self.client.server(), CHANNEL);
        self.request(&request)
            .context("cannot create the channel")
            .map(drop)
    }

    /// Sends one request that is not part of the load and waits for its answer. It has its own
    /// connection, since a kept one might rest for longer than the server likes.
    fn request(&mut self, request: &[u8]) -> Result<Turn> {
        let line = self.client.open_publisher()?;
        self.client.send(line, request, 1)?;
        let mut sum = Turn::default();
        while self.client.unanswered(line) > 0 {
            sum += self.client.turn(&mut self.ledger)?;
        }
        self.client.close(line);
        Ok(sum)
    }
}

/// What a stretch of publishing took.
struct Driven {
    deliveries: u64,
    published: u64,
    elapsed: Duration,
    cpu_seconds: f64,
    /// The part of the CPU time that was not the kernel's.
    user_share: f64,
}
