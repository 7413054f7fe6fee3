//! Whether anybody reads a channel as it grows, told when it changes.

use std::sync::Arc;

use everwire_channel::ChannelName;

use crate::lifecycle::Lifecycle;

/// Tells when a channel gets its first reader and loses its last. A channel that is removed loses its readers
/// there and then, whenever they notice: one that is made under its name afterwards is told of on its own.
pub(super) struct Occupancy {
    channel: ChannelName,
    lifecycle: Arc<Lifecycle>,
}

impl Occupancy {
    /// For a channel of which is told: not for those of the server's own, whose readers would be told of
    /// themselves.
    pub fn of(channel: &ChannelName, lifecycle: &Arc<Lifecycle>) -> Option<Self> {
        let is_told = lifecycle.is_enabled() && !channel.is_reserved();
        is_told.then(|| Self {
            channel: channel.clone(),
            lifecycle: lifecycle.clone(),
        })
    }

    /// Somebody may have come or gone.
    pub fn changed(&self, was_watched: bool, is_watched: bool) {
        match (was_watched, is_watched) {
            (false, true) => self.lifecycle.occupied(&self.channel),
            (true, false) => self.lifecycle.vacated(&self.channel),
            (false, false) | (true, true) => {}
        }
    }
}
