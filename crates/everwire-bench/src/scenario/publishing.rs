//! What it takes to accept an entry over HTTP.

use anyhow::Result;

use super::{Bench, CHANNEL};
use crate::{
    publisher::{Pace, Publishers},
    subject::Subject,
    wire::Wire,
};

/// One load of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publishing {
    /// Kept connections that publish.
    pub connections: usize,
    /// Requests that each has under way.
    pub pipelined: usize,
    /// WebSocket readers of the channel.
    pub readers: usize,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Published {
    /// Accepted entries per second.
    pub per_second: f64,
    /// CPU time of the subject for each, in microseconds.
    pub cpu_us: f64,
}

/// Measures `publishing` on `subject`.
///
/// # Errors
/// If the subject fails or refuses an entry, or a reader misses one.
pub fn measure(bench: &Bench, subject: &Subject, publishing: Publishing) -> Result<Published> {
    let Publishing {
        connections,
        pipelined,
        readers,
    } = publishing;
    bench.on_stage(subject, connections, |stage| {
        stage.open_readers(Wire::WebSocket, readers)?;
        let pace = Pace::Answers { pipelined };
        let mut publishers =
            Publishers::over_http(&mut stage.client, CHANNEL, &stage.ledger, connections, pace)?;
        stage.settle()?;
        let driven = stage.drive(&mut publishers)?;
        Ok(Published {
            per_second: driven.published as f64 / driven.elapsed.as_secs_f64(),
            cpu_us: driven.cpu_seconds / driven.published as f64 * 1e6,
        })
    })
}
