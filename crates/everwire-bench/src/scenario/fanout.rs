//! What it takes to deliver each entry of one channel to many readers.

use anyhow::Result;

use super::{Bench, CHANNEL};
use crate::{
    publisher::{Pace, Publishers},
    subject::Subject,
    wire::Wire,
};

/// One load of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fanout {
    /// The wire of the readers.
    pub wire: Wire,
    /// How many read.
    pub readers: usize,
    /// Entries that may be unseen by some reader, over all publishers.
    pub in_flight: usize,
    /// Who publishes.
    pub publisher: Publisher,
}

/// Who publishes in a fan-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publisher {
    /// One of the readers, over its own WebSocket; the other readers use the load's wire.
    WebSocket,
    /// As many HTTP connections as entries may be in flight; each has one.
    Http,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delivered {
    /// Deliveries per second.
    pub per_second: f64,
    /// CPU seconds of the subject for a million deliveries.
    pub cpu_per_million: f64,
    /// The part of those that was not the kernel's, 0–1.
    pub user_share: f64,
}

impl Fanout {
    /// The load that the floor is measured with for comparison. It knows one wire only.
    pub fn on_the_floor(self) -> Self {
        Self {
            wire: Wire::WebSocket,
            ..self
        }
    }
}

impl Publisher {
    /// The name used in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Http => "http",
        }
    }
}

/// Measures `fanout` on `subject`.
///
/// # Errors
/// If the subject fails, or a reader does not see every entry once and in order.
pub fn measure(bench: &Bench, subject: &Subject, fanout: Fanout) -> Result<Delivered> {
    let Fanout {
        wire,
        readers,
        in_flight,
        publisher,
    } = fanout;
    let sources = match publisher {
        Publisher::WebSocket => 1,
        Publisher::Http => in_flight,
    };
    bench.on_stage(subject, sources, |stage| {
        let mut publishers = match publisher {
            Publisher::WebSocket => {
                let line = stage.open_readers(Wire::WebSocket, 1)?;
                stage.open_readers(wire, readers - 1)?;
                Publishers::over_websocket(line[0], in_flight)
            }
            Publisher::Http => {
                stage.open_readers(wire, readers)?;
                let pace = Pace::Readers { in_flight: 1 };
                Publishers::over_http(&mut stage.client, CHANNEL, &stage.ledger, in_flight, pace)?
            }
        };
        stage.settle()?;
        let driven = stage.drive(&mut publishers)?;
        Ok(Delivered {
            per_second: driven.deliveries as f64 / driven.elapsed.as_secs_f64(),
            cpu_per_million: driven.cpu_seconds / driven.deliveries as f64 * 1e6,
            user_share: driven.user_share,
        })
    })
}
