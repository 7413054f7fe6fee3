//! The stage on which each measurement plays: a fresh subject, a client, a ledger, channels.

pub mod channels;
pub mod connecting;
pub mod echo;
pub mod fanout;
pub mod idle;
pub mod joining;
pub mod latency;
pub mod neighbour;
pub mod publishing;
pub mod session;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{
    client::{Client, Turn},
    cores::Cores,
    interrupt::Interrupt,
    ledger::Ledger,
    payload::Payloads,
    progress::Progress,
    publisher::Publishers,
    rival::Rival,
    subject::{Running, Subject},
    wire::{self, Wire},
};

/// Something that subjects are measured with.
pub trait Load {
    /// What one measurement gives.
    type Sample;

    /// Tells a person what it is.
    fn name(&self) -> String;

    /// Whom it is measured on, beside the server, and in what form there.
    fn floors(&self) -> Floors<Self>
    where
        Self: Sized;

    /// Whether `rival` has all that this takes.
    fn suits(&self, _rival: &Rival) -> bool {
        false
    }

    /// How many of `rounds` are worth it.
    fn rounds(&self, rounds: usize) -> usize {
        rounds
    }

    /// Measures it on `subject`.
    ///
    /// # Errors
    /// If the subject fails, or a reader does not see every entry once and in order.
    fn measure(&self, bench: &Bench, subject: &Subject) -> Result<Self::Sample>;
}

/// The subjects that a load is compared with.
pub struct Floors<L> {
    /// The floor and what it is measured with, if it can be.
    pub floor: Option<(Subject, L)>,
    /// What bare hyper is measured with, if it can be.
    pub hyper: Option<L>,
    /// Whether a server is measured too.
    pub server: bool,
}

impl<L> Floors<L> {
    /// The floor alone, with `load`.
    pub fn floor(load: L) -> Self {
        Self {
            floor: Some((Subject::Floor { joined: 1 }, load)),
            hyper: None,
            server: true,
        }
    }
}

/// What all measurements of a run have in common.
pub struct Bench {
    /// Who runs on which core.
    pub cores: Cores,
    /// Ends the run early.
    pub interrupt: Interrupt,
    /// How long each measurement publishes.
    pub duration: Duration,
    /// When no more measurements begin, counted from the run's start.
    pub time_max: Duration,
    /// Tells how far the run is.
    pub progress: Progress,
}

/// What is there before anybody connects.
pub struct Scene {
    /// How many sources publish to each channel.
    pub sources: Vec<usize>,
    /// Size of each payload.
    pub payload_bytes: usize,
}

impl Scene {
    /// One channel that `sources` publish to.
    pub fn of_one_channel(sources: usize, payload_bytes: usize) -> Self {
        Self {
            sources: vec![sources],
            payload_bytes,
        }
    }

    /// `channels` with one source each.
    pub fn of_channels(channels: usize, payload_bytes: usize) -> Self {
        Self {
            sources: vec![1; channels],
            payload_bytes,
        }
    }
}

/// A started subject with its client; the subject is stopped first when this is dropped.
pub struct Stage<'a> {
    running: Running,
    client: Client,
    ledger: Ledger,
    /// The names of the channels.
    channels: Vec<String>,
    bench: &'a Bench,
}

/// What most measurements give: the work of the subject for each thing that it does, be that a
/// delivery, an entry that it accepts, a connection or an echo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// How many a second.
    pub per_second: f64,
    /// CPU time of the subject for each, in microseconds; the same as seconds for a million.
    pub cpu_us: f64,
    /// The part of that which was not the kernel's, 0–1.
    pub user_share: f64,
    /// Bytes on the readers' lines for each, with all framing; 0 where nobody reads.
    pub line_bytes: f64,
}

impl Bench {
    /// Measurements that publish for `duration` each, none of which begins after `time_max`.
    ///
    /// # Errors
    /// If the system lets no signals be listened for.
    pub fn new(duration: Duration, time_max: Duration) -> Result<Self> {
        Ok(Self {
            cores: Cores::divide(),
            interrupt: Interrupt::listen().context("cannot listen for signals")?,
            duration,
            time_max,
            progress: Progress::new(),
        })
    }

    /// Whether it is too late to begin another measurement.
    pub fn is_late(&self) -> bool {
        self.progress.elapsed() > self.time_max
    }

    /// Sets the stage for `scene`, and lets `play` measure on it.
    ///
    /// # Errors
    /// If the subject does not start, or `play` fails; the message quotes the subject.
    pub fn on_stage<T>(
        &self,
        subject: &Subject,
        scene: &Scene,
        play: impl FnOnce(&mut Stage<'_>) -> Result<T>,
    ) -> Result<T> {
        let running = subject
            .start(self.cores, &self.interrupt)
            .with_context(|| format!("{} did not start", subject.title()))?;
        let client = Client::new(running.address(), self.interrupt.clone())?;
        let client = client.speaking(running.dialect());
        let ledger = Ledger::of_channels(Payloads::new(scene.payload_bytes), &scene.sources);
        let channels = 0..scene.sources.len();
        let mut stage = Stage {
            running,
            client,
            ledger,
            channels: channels.map(wire::channel_name).collect(),
            bench: self,
        };
        let played = stage.create_channels().and_then(|()| play(&mut stage));
        played.with_context(|| {
            let last_words = stage.running.last_words();
            format!("{} failed; {last_words}", subject.title())
        })
    }
}

impl Stage<'_> {
    /// Opens `count` readers of each channel and returns their lines.
    ///
    /// # Errors
    /// If one is refused.
    pub fn open_readers(&mut self, wire: Wire, count: usize) -> Result<Vec<usize>> {
        let progress = &self.bench.progress;
        let (mut asked, all) = (Vec::new(), count * self.channels.len());
        for (at, channel) in self.channels.iter().enumerate() {
            let subscription = self.client.subscription(wire, channel)?;
            asked.extend(std::iter::repeat_n((at, subscription), count));
        }
        self.client.open_lines(asked, &mut self.ledger, |opened| {
            progress.detail(&format!("{opened} of {all} {} lines", wire.name()));
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
        self.create_channels()?;
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
    /// run's duration. Returns what that took for each of what `count` counts.
    ///
    /// # Errors
    /// If a line failed or delivered something wrong.
    fn drive(&mut self, publishers: &mut Publishers, count: Count) -> Result<Work> {
        let counted = |ledger: &Ledger| match count {
            Count::Deliveries => ledger.deliveries(),
            Count::Published => ledger.published(),
        };
        let (client, ledger, duration) = (&mut self.client, &mut self.ledger, self.bench.duration);
        self.bench.progress.detail("warming up");
        publishers.drive(client, ledger, duration / 10)?;
        self.bench.progress.detail("measuring");
        let (before, bytes) = (counted(ledger), client.received_bytes());
        let (cpu, start) = (self.running.cpu_time()?, Instant::now());
        publishers.drive(client, ledger, duration)?;
        let elapsed = start.elapsed();
        let cpu = self.running.cpu_time()?.since(cpu);
        let all = (counted(ledger) - before) as f64;
        Ok(Work {
            per_second: all / elapsed.as_secs_f64(),
            cpu_us: cpu.total().as_secs_f64() / all * 1e6,
            user_share: cpu.user_share(),
            line_bytes: (client.received_bytes() - bytes) as f64 / all,
        })
    }

    /// Creates the channels, or confirms that they are there.
    fn create_channels(&mut self) -> Result<()> {
        let channels = self.channels.iter();
        let requests = channels.filter_map(|channel| self.client.create_request(channel));
        let requests: Vec<Vec<u8>> = requests.collect();
        if requests.is_empty() {
            return Ok(());
        }
        self.request(&requests.concat(), requests.len())
            .context("cannot create the channels")
            .map(drop)
    }

    /// Sends `requests`, which are not part of the load, and waits for all answers. They have a
    /// connection of their own, since a kept one might rest for longer than the server likes.
    fn request(&mut self, bytes: &[u8], requests: usize) -> Result<Turn> {
        let line = self.client.open_publisher()?;
        self.client.send(line, bytes, requests)?;
        let mut sum = Turn::default();
        while self.client.unanswered(line) > 0 {
            sum += self.client.turn(&mut self.ledger)?;
        }
        self.client.close(line);
        Ok(sum)
    }
}

/// What the work of a measurement is divided by.
#[derive(Clone, Copy)]
enum Count {
    Deliveries,
    Published,
}
