//! What a small channel suffers from a large one beside it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    Bench, Floors, Load, Scene, Stage,
    latency::{Delays, Steady},
};
use crate::{
    client::Client,
    ledger::Ledger,
    payload::Payloads,
    publisher::{Pace, Publishers},
    rival::Rival,
    subject::Subject,
    timing::Timing,
    wire::Wire,
};

/// One load of this kind, over WebSockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Readers of the small channel, whose deliveries are timed.
    pub readers: usize,
    /// Entries a second there.
    pub rate: u32,
    /// Readers of the large channel.
    pub beside: usize,
    /// Entries of the large channel that are under way at all times.
    pub in_flight: usize,
    /// Size of each payload.
    pub payload_bytes: usize,
}

/// How long the small channel's deliveries take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beside {
    /// With nobody else there.
    pub alone: Delays,
    /// While the large channel is busy.
    pub beside: Delays,
}

impl Beside {
    /// What the large channel adds for 99 of 100 deliveries, in milliseconds.
    pub fn rise_ms(&self) -> f64 {
        (self.beside.p99.as_secs_f64() - self.alone.p99.as_secs_f64()) * 1e3
    }
}

impl Load for Neighbour {
    type Sample = Beside;

    fn name(&self) -> String {
        format!("{} readers beside {}", self.readers, self.beside)
    }

    fn floors(&self) -> Floors<Self> {
        Floors::floor(*self)
    }

    fn suits(&self, rival: &Rival) -> bool {
        rival.publishes_over_websocket()
    }

    /// The small channel has a client of its own, and the large one's client never serves more
    /// than a few lines before it looks there: what is measured is the server's delay.
    fn measure(&self, bench: &Bench, subject: &Subject) -> Result<Beside> {
        let scene = Scene::of_one_channel(1, self.payload_bytes);
        bench.on_stage(subject, &scene, |stage| {
            let lines = stage.open_readers(Wire::WebSocket, self.readers)?;
            stage.ledger.time(Timing::new(0, Instant::now()));
            let mut steady = Steady::new(lines[0], self.rate);
            stage.settle()?;
            bench.progress.detail("measuring alone");
            steady.restart();
            steady.drive(&mut stage.client, &mut stage.ledger, bench.duration)?;
            let alone = steady.delays(&mut stage.ledger)?;

            let mut large = Large::open(stage, self)?;
            stage.settle()?;
            bench.progress.detail("measuring beside");
            steady.restart();
            let small = (&mut stage.client, &mut stage.ledger);
            large.drive(&mut steady, small, bench.duration)?;
            let beside = steady.delays(&mut stage.ledger)?;
            Ok(Beside { alone, beside })
        })
    }
}

/// The large channel and its own client.
struct Large {
    client: Client,
    ledger: Ledger,
    publishers: Publishers,
}

impl Large {
    fn open(stage: &Stage<'_>, load: &Neighbour) -> Result<Self> {
        let (running, bench) = (&stage.running, stage.bench);
        let (server, interrupt) = (running.address(), bench.interrupt.clone());
        let client = Client::with_turns_of(LINES_PER_TURN, server, interrupt)?;
        let mut client = client.speaking(running.dialect());
        let mut ledger = Ledger::new(Payloads::new(load.payload_bytes), 1);
        if let Some(request) = client.create_request(CHANNEL) {
            let creating = client.open_publisher()?;
            client.send(creating, &request, 1)?;
            while client.unanswered(creating) > 0 {
                client.turn(&mut ledger)?;
            }
            client.close(creating);
        }
        let (wire, count) = (Wire::WebSocket, load.beside);
        let lines = client.open_readers(wire, CHANNEL, count, &mut ledger, |opened| {
            let detail = format!("{opened} of {count} {} lines", wire.name());
            bench.progress.detail(&detail);
        })?;
        let in_flight = load.in_flight;
        let publishers = Publishers::over_websockets(&lines[..1], Pace::Readers { in_flight });
        Ok(Self {
            client,
            ledger,
            publishers,
        })
    }

    /// Keeps the large channel busy while `steady` publishes to the small one.
    fn drive(
        &mut self,
        steady: &mut Steady,
        (client, ledger): (&mut Client, &mut Ledger),
        duration: Duration,
    ) -> Result<()> {
        const NOW: Duration = Duration::ZERO;
        let end = Instant::now() + duration;
        loop {
            client.turn_for(NOW, ledger)?;
            if Instant::now() < end {
                steady.publish_due(client, ledger)?;
                self.publishers.refill(&mut self.client, &mut self.ledger)?;
            } else if ledger.is_drained() && self.publishers.is_done(&self.client, &self.ledger) {
                return Ok(());
            }
            self.client.turn_for(NOW, &mut self.ledger)?;
        }
    }
}

const CHANNEL: &str = "large";
const LINES_PER_TURN: usize = 16;
