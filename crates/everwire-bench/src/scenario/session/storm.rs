//! What happens when all sessions lose their connections at once and come back.
//!
//! ```text
//!  sessions     ━━━━━━━━━━━┓ dropped          ┏━━ each asks again with its offsets ━━━━ current
//!  channels     ─────────────▲▲▲ entries that all of them miss
//!  bystander    · · · · · · · · · · · · · · · · · · · · · · · · · · · · · · · · · · ·  100 a second
//! ```
//!
//! The ledger outlives the connections, so each entry must come once, in order, whether it came
//! before the drop or was missed.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{Begin, Plan, Session, opening};
use crate::{
    client::Client,
    ledger::Ledger,
    scenario::{
        Bench, Floors, Load, Scene, Stage,
        latency::{Delays, Steady},
    },
    subject::{Subject, counter},
    timing::Timing,
    usage::CpuTime,
    wire::Wire,
};

/// One load of this kind, over WebSockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storm {
    /// How many sessions.
    pub sessions: usize,
    /// How many channels there are for them.
    pub channels: usize,
    /// How many of these each reads.
    pub each: usize,
    /// Entries that each channel gets while all are away.
    pub missed: usize,
    /// How many come back at a time.
    pub at_once: usize,
    /// Entries a second in a small channel beside, whose deliveries are timed.
    pub rate: u32,
    /// Size of each payload.
    pub payload_bytes: usize,
}

/// How a storm passed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weathered {
    /// From the first that comes back until all have all that they missed.
    pub back: Duration,
    /// CPU time of the subject, from the drop on.
    pub cpu: CpuTime,
    /// System calls of the subject that sent to lines, from the drop on.
    pub sends: f64,
    /// How long the small channel's deliveries take with nobody else there.
    pub alone: Delays,
    /// The same, while all are dropped and away.
    pub away: Delays,
    /// The same, while all come back.
    pub returning: Delays,
}

impl Load for Storm {
    type Sample = Weathered;

    fn name(&self) -> String {
        format!(
            "{} sessions of {} channels come back",
            self.sessions, self.each
        )
    }

    /// The floor keeps nothing that could be missed.
    fn floors(&self) -> Floors<Self> {
        Floors {
            floor: None,
            hyper: None,
            server: true,
        }
    }

    fn rounds(&self, rounds: usize) -> usize {
        rounds.min(ROUNDS_MAX)
    }

    fn measure(&self, bench: &Bench, subject: &Subject) -> Result<Weathered> {
        let scene = Scene::of_channels(1 + self.channels, self.payload_bytes);
        bench.on_stage(subject, &scene, |stage| {
            let address = stage.running.address();
            let small = stage.channels[BESIDE].clone();
            let small = stage.client.subscription(Wire::WebSocket, &small)?;
            let asked = std::iter::repeat_n((BESIDE, small), READERS_BESIDE);
            let lines = stage.client.open_lines(asked, &mut stage.ledger, |_| {})?;
            stage.ledger.time(Timing::new(BESIDE, Instant::now()));
            stage.ledger.keep_offsets();
            let mut steady = Steady::new(lines[0], self.rate);

            let mut crowd = Crowd::open(stage, self)?;
            stage.settle()?;
            bench.progress.detail("measuring alone");
            steady.restart();
            steady.drive(&mut stage.client, &mut stage.ledger, bench.duration)?;
            let alone = steady.delays(&mut stage.ledger)?;

            let sends = || counter(address, "everwire_sends_total");
            let (sends_before, before) = (sends()?, stage.running.cpu_time()?);
            steady.restart();
            bench.progress.detail("all are away");
            let dropped = Instant::now();
            crowd.drop_all(stage, &mut steady)?;
            crowd.publish(stage, &mut steady, self.missed)?;
            while dropped.elapsed() < AWAY {
                crowd.turn(stage, &mut steady)?;
            }
            let away = steady.delays(&mut stage.ledger)?;
            steady.restart();
            bench.progress.detail("all come back");
            let start = Instant::now();
            crowd.come_back(stage, &mut steady, self.at_once)?;
            let back = start.elapsed();
            let cpu = stage.running.cpu_time()?.since(before);
            let sends = sends()? - sends_before;
            let returning = steady.delays(&mut stage.ledger)?;

            // What is still under way now would come twice.
            crowd.client.rest(AFTER, &mut stage.ledger)?;
            while !stage.ledger.is_drained() {
                stage.client.turn(&mut stage.ledger)?;
            }
            let per_channel = (1 + self.missed) as u64;
            let read = (self.sessions * self.each) as u64 * per_channel;
            let beside = (stage.ledger.published() - self.channels as u64 * per_channel)
                * READERS_BESIDE as u64;
            ensure!(
                stage.ledger.deliveries() == read + beside,
                "{} deliveries were made of {}",
                stage.ledger.deliveries(),
                read + beside
            );
            Ok(Weathered {
                back,
                cpu,
                sends,
                alone,
                away,
                returning,
            })
        })
    }
}

/// All sessions, with a client of their own that never serves more than a few lines before the
/// small channel's client has its turn: what is measured there is the server's delay.
struct Crowd {
    client: Client,
    plan: Plan,
    sessions: Vec<Session>,
    /// Publishes over HTTP what all of them miss.
    publisher: usize,
}

impl Crowd {
    /// Opens all sessions. Each channel gets an entry, so that each session has offsets to come back
    /// with.
    fn open(stage: &mut Stage<'_>, storm: &Storm) -> Result<Self> {
        let (server, interrupt) = (stage.running.address(), stage.bench.interrupt.clone());
        let mut client = Client::with_turns_of(LINES_PER_TURN, server, interrupt)?;
        let publisher = client.open_publisher()?;
        let plan = Plan {
            first: BESIDE + 1,
            channels: storm.channels,
            each: storm.each,
        };
        let mut crowd = Self {
            client,
            plan,
            sessions: Vec::new(),
            publisher,
        };
        let ledger = &mut stage.ledger;
        let joined = (0..storm.sessions).map(|number| plan.join(number, ledger));
        let joined: Vec<_> = joined.collect();
        let mut opened = 0;
        for readers in joined {
            let line = crowd.ask(readers.clone(), &Begin::Now, &stage.ledger)?;
            crowd.sessions.push(Session { line, readers });
            while opened + OPENING_MAX < crowd.sessions.len() {
                opened += crowd.client.turn(&mut stage.ledger)?.opened;
            }
        }
        while opened < storm.sessions {
            opened += crowd.client.turn(&mut stage.ledger)?.opened;
        }
        let requests = crowd.requests(stage, 1)?;
        crowd.client.send(publisher, &requests, storm.channels)?;
        while !crowd.is_current(&stage.ledger) {
            crowd.client.turn(&mut stage.ledger)?;
        }
        Ok(crowd)
    }

    fn ask(&mut self, readers: Range<usize>, begin: &Begin, ledger: &Ledger) -> Result<usize> {
        let subscription = opening(&self.client, readers.clone(), begin, ledger);
        self.client.open(readers, subscription, ledger)
    }

    /// All lose their connections.
    fn drop_all(&mut self, stage: &mut Stage<'_>, steady: &mut Steady) -> Result<()> {
        for at in 0..self.sessions.len() {
            self.client.close(self.sessions[at].line);
            if at % LINES_PER_TURN == 0 {
                self.turn(stage, steady)?;
            }
        }
        Ok(())
    }

    /// Each channel gets so many `entries`, and all are answered.
    fn publish(
        &mut self,
        stage: &mut Stage<'_>,
        steady: &mut Steady,
        entries: usize,
    ) -> Result<()> {
        let requests = self.requests(stage, entries)?;
        let count = self.plan.channels * entries;
        self.client.send(self.publisher, &requests, count)?;
        while self.client.unanswered(self.publisher) > 0 {
            self.turn(stage, steady)?;
        }
        Ok(())
    }

    /// All open a connection again, `at_once` at a time, and ask for what they missed, until they have
    /// it.
    fn come_back(
        &mut self,
        stage: &mut Stage<'_>,
        steady: &mut Steady,
        at_once: usize,
    ) -> Result<()> {
        let (mut asked, mut opened) = (0, 0);
        while opened < self.sessions.len() || !self.is_current(&stage.ledger) {
            let most = self.sessions.len().min(opened + at_once);
            let ready = asked..most.min(asked + CONNECTS_PER_TURN);
            asked = ready.end;
            for at in ready {
                let readers = self.sessions[at].readers.clone();
                self.sessions[at].line = self.ask(readers, &Begin::Last, &stage.ledger)?;
            }
            opened += self.turn(stage, steady)?;
        }
        Ok(())
    }

    /// Serves some lines of the crowd and all of the small channel; returns how many sessions came
    /// to rest.
    fn turn(&mut self, stage: &mut Stage<'_>, steady: &mut Steady) -> Result<usize> {
        const NOW: Duration = Duration::ZERO;
        let opened = self.client.turn_for(NOW, &mut stage.ledger)?.opened;
        stage.client.turn_for(NOW, &mut stage.ledger)?;
        steady.publish_due(&mut stage.client, &mut stage.ledger)?;
        Ok(opened)
    }

    fn requests(&self, stage: &mut Stage<'_>, entries: usize) -> Result<Vec<u8>> {
        let mut requests = Vec::new();
        for _ in 0..entries {
            for channel in self.plan.first..self.plan.first + self.plan.channels {
                let name = &stage.channels[channel];
                let request = self.client.publish_request(name, &stage.ledger)?;
                request.write(&mut stage.ledger, channel, &mut requests);
            }
        }
        Ok(requests)
    }

    /// Whether all sessions have seen all that was published to their channels.
    fn is_current(&self, ledger: &Ledger) -> bool {
        let mut channels = self.plan.first..self.plan.first + self.plan.channels;
        channels.all(|channel| ledger.in_flight(channel) == 0)
    }
}

/// The channel beside, which is also its source.
const BESIDE: usize = 0;
const READERS_BESIDE: usize = 10;
const LINES_PER_TURN: usize = 16;
/// On loopback, connecting takes the client much of what the system does for both sides.
const CONNECTS_PER_TURN: usize = 4;
/// Sessions that are being opened at once before the storm.
const OPENING_MAX: usize = 100;
/// How long all are away at least.
const AWAY: Duration = Duration::from_millis(300);
const AFTER: Duration = Duration::from_millis(200);
/// So that a run stays short.
const ROUNDS_MAX: usize = 3;
