//! How long an entry takes to each reader, at a steady pace.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Bench, Floors, Load, Scene};
use crate::{
    client::Client, ledger::Ledger, pacer::Pacer, rival::Rival, statistics::percentile,
    subject::Subject, timing::Timing, wire::Wire,
};

/// One load of this kind: WebSocket readers, one of which publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// How many read.
    pub readers: usize,
    /// Entries in a second.
    pub rate: u32,
    /// Size of each payload.
    pub payload_bytes: usize,
}

/// What was measured, by the load client's clock: from before an entry is written until a reader
/// has parsed it, over all entries and readers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delays {
    /// Half of all deliveries took no longer.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// None took longer.
    pub max: Duration,
    /// Entries that the load client started late, as a part of all, 0–1.
    pub late_share: f64,
}

impl Load for Latency {
    type Sample = Delays;

    fn name(&self) -> String {
        format!("{} entries a second to {}", self.rate, self.readers)
    }

    fn floors(&self) -> Floors<Self> {
        Floors::floor(*self)
    }

    fn suits(&self, rival: &Rival) -> bool {
        rival.publishes_over_websocket()
    }

    fn measure(&self, bench: &Bench, subject: &Subject) -> Result<Delays> {
        let scene = Scene::of_one_channel(1, self.payload_bytes);
        bench.on_stage(subject, &scene, |stage| {
            let lines = stage.open_readers(Wire::WebSocket, self.readers)?;
            let (client, ledger) = (&mut stage.client, &mut stage.ledger);
            ledger.time(Timing::new(0, Instant::now()));
            let mut steady = Steady::new(lines[0], self.rate);
            bench.progress.detail("warming up");
            steady.drive(client, ledger, bench.duration / 10)?;
            stage.settle()?;
            let (client, ledger) = (&mut stage.client, &mut stage.ledger);
            bench.progress.detail("measuring");
            steady.restart();
            steady.drive(client, ledger, bench.duration)?;
            steady.delays(ledger)
        })
    }
}

/// A WebSocket that publishes at a steady pace, as source 0 of a timed ledger.
pub struct Steady {
    line: usize,
    interval: Duration,
    pacer: Pacer,
    unsent: Vec<u8>,
}

impl Steady {
    /// Publishes `rate` entries a second on `line`, from now on.
    pub fn new(line: usize, rate: u32) -> Self {
        let interval = Duration::from_secs(1) / rate;
        Self {
            line,
            interval,
            pacer: Pacer::new(interval, Instant::now()),
            unsent: Vec::new(),
        }
    }

    /// Begins anew, from now on; what was late before does not count.
    pub fn restart(&mut self) {
        self.pacer = Pacer::new(self.interval, Instant::now());
    }

    /// Publishes what is due.
    ///
    /// # Errors
    /// If the connection broke.
    pub fn publish_due(&mut self, client: &mut Client, ledger: &mut Ledger) -> Result<()> {
        while self.pacer.start_due(Instant::now()) {
            self.unsent.clear();
            client.write_frame(self.line, ledger, 0, &mut self.unsent)?;
            if let Some(timing) = ledger.timing() {
                timing.on_publish(Instant::now());
            }
            client.send(self.line, &self.unsent, 0)?;
        }
        Ok(())
    }

    /// Publishes for `duration`, then waits until every reader has seen everything. What was
    /// timed before is forgotten.
    ///
    /// # Errors
    /// If a line failed or delivered something wrong.
    pub fn drive(
        &mut self,
        client: &mut Client,
        ledger: &mut Ledger,
        duration: Duration,
    ) -> Result<()> {
        if let Some(timing) = ledger.timing() {
            timing.take();
        }
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.publish_due(client, ledger)?;
            client.turn_for(self.pacer.wait(Instant::now()), ledger)?;
        }
        while !ledger.is_drained() {
            client.turn(ledger)?;
        }
        Ok(())
    }

    /// What the ledger timed since the last call or drive.
    ///
    /// # Errors
    /// If nothing was delivered in that time.
    pub fn delays(&self, ledger: &mut Ledger) -> Result<Delays> {
        let took = ledger.timing().map(Timing::take).unwrap_or_default();
        let of = |percent| {
            percentile(&took, percent)
                .context("nothing was published in so short a time; measure for longer")
        };
        Ok(Delays {
            p50: of(50)?,
            p99: of(99)?,
            max: of(100)?,
            late_share: self.pacer.late_share(),
        })
    }
}
