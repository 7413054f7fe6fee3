//! Whether anybody reads a channel as it grows, told when it changes.

use std::sync::Arc;

use everwire_channel::ChannelName;

/// Who is told which channels have readers.
pub trait Audience: Send + Sync {
    /// A channel has its first live reader.
    fn occupied(&self, channel: &ChannelName);

    /// A channel's last live reader has gone, or the channel has.
    fn vacated(&self, channel: &ChannelName);
}

/// Tells when a channel gets its first reader and loses its last. A channel that is removed loses its readers
/// there and then, whenever they notice: one that is made under its name afterwards is told of on its own.
pub(super) struct Occupancy {
    channel: ChannelName,
    audience: Arc<dyn Audience>,
}

impl Occupancy {
    /// For a channel of which is told: not for those of the server's own, whose readers would be told of
    /// themselves.
    pub fn of(channel: &ChannelName, audience: Option<&Arc<dyn Audience>>) -> Option<Self> {
        let audience = audience.filter(|_| !channel.is_reserved())?.clone();
        let channel = channel.clone();
        Some(Self { channel, audience })
    }

    /// Somebody may have come or gone.
    pub fn changed(&self, was_watched: bool, is_watched: bool) {
        match (was_watched, is_watched) {
            (false, true) => self.audience.occupied(&self.channel),
            (true, false) => self.audience.vacated(&self.channel),
            (false, false) | (true, true) => {}
        }
    }
}
