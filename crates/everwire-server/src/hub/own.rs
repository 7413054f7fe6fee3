//! Channels of the server's own: their names begin with `$`, and nobody else makes, writes or deletes them.

use std::sync::Arc;

use everwire_channel::{Append, ChannelName, ContentType, Draft, Retention};

use super::{Channel, Hub, NoChannel, Payer, channel::Removed};
use crate::rate::Account;

/// A channel of the server's own, which holds JSON.
pub struct Own {
    pub name: ChannelName,
    pub retention: Retention,
    /// Who has it made, if it is made for a caller.
    pub by: Option<Account>,
    /// It stays while nobody uses it, as one that was made by request does.
    pub kept: bool,
}

impl Hub {
    /// The channel, made if there is none.
    pub fn open_own(&self, own: &Own, now_ms: u64) -> Result<Arc<Channel>, NoChannel> {
        debug_assert!(own.name.is_reserved(), "{} is everybody's", own.name);
        if let Some(channel) = self.find(&own.name, now_ms) {
            return Ok(channel);
        }
        let setup = self.setup(own.retention, Some(ContentType::json()), None);
        let (channel, _) = self.insert(&own.name, setup, (own.kept, own.by), now_ms)?;
        Ok(channel)
    }

    /// Appends to the channel, which is made if there is none. Retention alone bounds what it takes: the limit on
    /// all logs together is for what others send. Who causes it holds what it takes, or else who had the channel made.
    pub fn append_own(
        &self,
        own: &Own,
        entries: Vec<Draft>,
        by: Option<Account>,
        now_ms: u64,
    ) -> Result<(), NoChannel> {
        let content_type = ContentType::json();
        let mut append = Append {
            entries,
            content_type: Some(&content_type),
            ..Append::default()
        };
        loop {
            match self
                .open_own(own, now_ms)?
                .append(append, by.map(Payer::without_limit), now_ms)
            {
                Ok(appended) => {
                    debug_assert!(appended.is_ok(), "{appended:?}");
                    return Ok(());
                }
                // Forgotten in between, having been empty.
                Err(Removed(again)) => append = again,
            }
        }
    }
}
