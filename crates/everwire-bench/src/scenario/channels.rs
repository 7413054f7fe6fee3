//! What it takes to deliver the entries of many channels, each to a few readers.

use anyhow::Result;

use super::{Bench, Count, Floors, Load, Scene, Work};
use crate::{publisher::Publishers, rival::Rival, subject::Subject, wire::Wire};

/// One load of this kind: WebSocket readers, HTTP publishers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// How many channels.
    pub channels: usize,
    /// How many read each.
    pub readers: usize,
    /// Connections that publish. Each walks its share of the channels, and goes on when its last
    /// entry was seen by all its readers and answered.
    pub connections: usize,
    /// Size of each payload.
    pub payload_bytes: usize,
}

impl Load for Channels {
    type Sample = Work;

    fn name(&self) -> String {
        format!(
            "{} channels with {} readers each, published over {} connections",
            self.channels, self.readers, self.connections
        )
    }

    fn floors(&self) -> Floors<Self> {
        Floors::floor(*self)
    }

    fn suits(&self, rival: &Rival) -> bool {
        rival.speaks(Wire::WebSocket) && rival.publishes_over_http()
    }

    fn measure(&self, bench: &Bench, subject: &Subject) -> Result<Work> {
        let scene = Scene::of_channels(self.channels, self.payload_bytes);
        bench.on_stage(subject, &scene, |stage| {
            stage.open_readers(Wire::WebSocket, self.readers)?;
            let (client, ledger) = (&mut stage.client, &stage.ledger);
            let mut publishers =
                Publishers::in_turn(client, &stage.channels, ledger, self.connections)?;
            stage.settle()?;
            stage.drive(&mut publishers, Count::Deliveries)
        })
    }
}
