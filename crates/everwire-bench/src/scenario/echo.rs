//! What it takes to send a WebSocket message back: the line alone, without channel or log.

use std::sync::Arc;

use anyhow::Result;

use super::{Bench, Count, Floors, Load, Scene, Work};
use crate::{
    dialect::Subscription,
    publisher::{Pace, Publishers},
    subject::Subject,
    wire::{self, Wire},
};

/// One load of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// WebSockets that each send and wait for what comes back.
    pub connections: usize,
    /// Messages in each write.
    pub messages: usize,
    /// Size of each message; it is sent as masked text.
    pub payload_bytes: usize,
}

impl Load for Echo {
    type Sample = Work;

    fn name(&self) -> String {
        format!(
            "echo of {} bytes, {} in each write, over {} connections",
            self.payload_bytes, self.messages, self.connections
        )
    }

    fn floors(&self) -> Floors<Self> {
        Floors::floor(*self)
    }

    /// Each connection is a channel of its own, which it alone publishes to and reads.
    fn measure(&self, bench: &Bench, subject: &Subject) -> Result<Work> {
        let scene = Scene::of_channels(self.connections, self.payload_bytes);
        bench.on_stage(subject, &scene, |stage| {
            let request = wire::echo_request(stage.client.server());
            let subscription = Arc::new(Subscription::plain(Wire::WebSocket, request));
            let asked = (0..self.connections).map(|at| (at, Arc::clone(&subscription)));
            let (client, ledger) = (&mut stage.client, &mut stage.ledger);
            let lines = client.open_lines(asked, ledger, |_| {})?;
            let entries = self.messages;
            let mut publishers = Publishers::over_websockets(&lines, Pace::Bursts { entries });
            stage.settle()?;
            stage.drive(&mut publishers, Count::Deliveries)
        })
    }
}
