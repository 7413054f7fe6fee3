//! What it takes to connect a WebSocket and to lose it again.

use std::time::Instant;

use anyhow::Result;

use super::{Bench, Floors, Load, Scene, Stage, Work};
use crate::{rival::Rival, subject::Subject, wire::Wire};

/// Opens WebSockets and closes each as soon as it is open, as a client does that goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connecting;

/// Connections that are being opened at once.
const OPENING: usize = 32;
/// Enough to measure; more would use up the ports, which rest for a minute.
const CONNECTIONS_MAX: usize = 20_000;

impl Load for Connecting {
    type Sample = Work;

    fn name(&self) -> String {
        "connect and close".to_owned()
    }

    fn floors(&self) -> Floors<Self> {
        Floors::floor(*self)
    }

    fn suits(&self, rival: &Rival) -> bool {
        rival.speaks(Wire::WebSocket)
    }

    fn measure(&self, bench: &Bench, subject: &Subject) -> Result<Work> {
        bench.on_stage(subject, &Scene::of_one_channel(1, 128), |stage| {
            connect(stage, OPENING * 10)?;
            stage.settle()?;
            bench.progress.detail("measuring");
            let (cpu, start) = (stage.running.cpu_time()?, Instant::now());
            let connections = connect(stage, CONNECTIONS_MAX)? as f64;
            let elapsed = start.elapsed();
            stage.settle()?; // what the subject does after a close belongs to it
            let cpu = stage.running.cpu_time()?.since(cpu);
            Ok(Work {
                per_second: connections / elapsed.as_secs_f64(),
                cpu_us: cpu.total().as_secs_f64() / connections * 1e6,
                user_share: cpu.user_share(),
                line_bytes: 0.0,
            })
        })
    }
}

/// Connects and closes for the run's duration, at most `connections` times; returns how often.
fn connect(stage: &mut Stage<'_>, connections: usize) -> Result<usize> {
    let end = Instant::now() + stage.bench.duration;
    let (mut opening, mut closed) = (0, 0);
    let mut opened = Vec::new();
    loop {
        let more = connections - closed - opening;
        if Instant::now() < end {
            for _ in 0..more.min(OPENING - opening) {
                stage
                    .client
                    .open_unread(Wire::WebSocket, &stage.channels[0], &stage.ledger)?;
                opening += 1;
            }
        }
        if opening == 0 {
            return Ok(closed);
        }
        stage
            .client
            .turn_with(&mut stage.ledger, |line| opened.push(line))?;
        for line in opened.drain(..) {
            stage.client.close(line);
            opening -= 1;
            closed += 1;
        }
    }
}
