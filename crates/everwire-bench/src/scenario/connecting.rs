//! What it takes to connect a WebSocket and to lose it again.

use std::time::Instant;

use anyhow::Result;

use super::{Bench, CHANNEL};
use crate::{subject::Subject, wire::Wire};

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connected {
    /// Connections opened and closed per second.
    pub per_second: f64,
    /// CPU time of the subject for each, in microseconds.
    pub cpu_us: f64,
}

/// Connections that are being opened at once.
const OPENING: usize = 32;
/// Enough to measure; more would use up the ports, which rest for a minute.
const CONNECTIONS_MAX: usize = 20_000;

/// Opens WebSockets and closes each as soon as it is open, as a client does that goes away.
///
/// # Errors
/// If the subject fails or refuses one.
pub fn measure(bench: &Bench, subject: &Subject) -> Result<Connected> {
    bench.on_stage(subject, 1, |stage| {
        connect(stage, OPENING * 10)?;
        stage.settle()?;
        bench.progress.detail("measuring");
        let (cpu, start) = (stage.running.cpu_time()?, Instant::now());
        let connections = connect(stage, CONNECTIONS_MAX)?;
        let elapsed = start.elapsed();
        stage.settle()?; // what the subject does after a close belongs to it
        let cpu = stage.running.cpu_time()?.since(cpu);
        Ok(Connected {
            per_second: connections as f64 / elapsed.as_secs_f64(),
            cpu_us: cpu.total().as_secs_f64() / connections as f64 * 1e6,
        })
    })
}

/// Connects and closes for the run's duration, at most `connections` times; returns how often.
fn connect(stage: &mut super::Stage<'_>, connections: usize) -> Result<usize> {
    let end = Instant::now() + stage.bench.duration;
    let (mut opening, mut closed) = (0, 0);
    let mut opened = Vec::new();
    loop {
        let more = connections - closed - opening;
        if Instant::now() < end {
            for _ in 0..more.min(OPENING - opening) {
                stage
                    .client
                    .open_unread(Wire::WebSocket, CHANNEL, &stage.ledger)?;
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
