//! The end of a shard: each line is told to go, and when to come back.

use bytes::BytesMut;
use everwire_wire::Framing;

use super::{Net, Role, SLICE, Seat, Shard};

impl<N: Net> Shard<N> {
    /// Starts to tell every line that the server stops.
    pub(super) fn drain(&mut self) {
        self.draining = Some(self.lines.iter().map(|(key, _)| key).collect());
    }

    /// Whether lines are left to be told.
    pub(super) fn is_draining(&self) -> bool {
        self.draining
            .as_ref()
            .is_some_and(|lines| !lines.is_empty())
    }

    /// Whether the server stops: new lines are refused.
    pub fn is_stopping(&self) -> bool {
        self.draining.is_some()
    }

    /// Tells the next lines. Each gets a hint of its own, so that a million readers do not come back in the
    /// same second.
    pub(super) fn drain_some(&mut self) {
        for _ in 0..SLICE {
            let Some(key) = self.draining.as_mut().and_then(Vec::pop) else {
                return;
            };
            let Some(line) = self.lines.get(key) else {
                continue;
            };
            let framing = match &line.seat {
                Seat::Feed { feed, .. } => self.feeds[*feed].framing,
                Seat::Session(session) => session.speech.framing(),
                Seat::Alone(alone) => match &alone.role {
                    Role::Echo => Framing::Raw { window: None },
                    Role::Poll(_) => {
                        self.end_poll(key);
                        continue;
                    }
                    Role::Answering { .. } | Role::Lingering => continue,
                },
                Seat::Vacant => continue,
            };
            let after_ms = fastrand::u64(0..=self.shared.live.config.stop.reconnect_ms_max);
            let mut goodbye = BytesMut::new();
            framing.encode_drain(after_ms, &mut goodbye);
            self.say_last(key, &goodbye);
        }
    }
}
