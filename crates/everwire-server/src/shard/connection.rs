//! What goes over a line's connection, wherever the line keeps it: in its feed, or by itself.

use std::io::{self, IoSlice};

use super::{Key, LineKey, Net, Outlet, Pipe, Seat, Shard, secured::Heard};
use crate::budget::Exhausted;

impl<N: Net> Shard<N> {
    /// What a line has to send goes here. `None` if it is closed.
    pub(super) fn send(&self, key: LineKey, slices: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        match &self.lines.get(key)?.seat {
            Seat::Feed { feed, index } => {
                let subscriber = &self.feeds[*feed].subscribers[index.index()];
                Some(self.net.send(subscriber.socket.as_ref()?, slices))
            }
            Seat::Session(session) => Some(session.outlet.send(&self.net, slices)),
            Seat::Alone(alone) => Some(alone.outlet.send(&self.net, slices)),
            Seat::Vacant => None,
        }
    }

    /// Counts the limit that a line's end met, if what it was to be sent has no room in the budget.
    pub(super) fn count_exhausted(&self, error: &io::Error) {
        if let Some(limit) = Exhausted::limit_of(error) {
            self.shared.metrics.limit_met(limit);
        }
    }

    /// Reads what a line's peer sent. `None` if it is closed.
    pub(super) fn read(&self, key: LineKey, buffer: &mut [u8]) -> Option<io::Result<Heard>> {
        match &self.lines.get(key)?.seat {
            Seat::Feed { feed, index } => {
                let subscriber = &self.feeds[*feed].subscribers[index.index()];
                Some(Heard::of(&self.net, subscriber.socket.as_ref()?, buffer))
            }
            Seat::Session(session) => Some(session.outlet.read(&self.net, buffer)),
            Seat::Alone(alone) => Some(alone.outlet.read(&self.net, buffer)),
            Seat::Vacant => None,
        }
    }

    /// The pipe that a line has instead of a connection of its own, if it has one.
    pub(super) fn pipe(&self, key: LineKey) -> Option<&Pipe> {
        let outlet = match &self.lines.get(key)?.seat {
            Seat::Session(session) => &session.outlet,
            Seat::Alone(alone) => &alone.outlet,
            Seat::Feed { .. } | Seat::Vacant => return None,
        };
        match outlet {
            Outlet::Pipe(end) => Some(&end.0),
            Outlet::Socket(_) | Outlet::Tls(_) => None,
        }
    }

    /// Tells a line's peer that it ends in order.
    pub(super) fn say_end(&self, key: LineKey) {
        match self.lines.get(key).map(|line| &line.seat) {
            Some(Seat::Alone(alone)) => alone.outlet.say_end(&self.net),
            Some(Seat::Session(session)) => session.outlet.say_end(&self.net),
            Some(Seat::Feed { .. } | Seat::Vacant) | None => {}
        }
    }

    /// Waits for a socket to have room for output, or no longer. Input is always waited for.
    pub(super) fn wait_for_room(&mut self, key: LineKey, wait: bool) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        let watched = match &mut line.seat {
            Seat::Feed { feed, index } => {
                let subscriber = &mut self.feeds[*feed].subscribers[index.index()];
                match &mut subscriber.socket {
                    Some(socket) => self.net.watch_again(socket, key, wait),
                    None => Ok(()),
                }
            }
            Seat::Session(session) => session.outlet.watch_again(&self.net, key, wait),
            Seat::Alone(alone) => alone.outlet.watch_again(&self.net, key, wait),
            Seat::Vacant => return,
        };
        if let Err(error) = watched {
            tracing::error!(%error, "a socket could not be registered again; its line is closed");
            self.close(key);
        }
    }
}
