//! A channel on a line: read it, publish to it, ask about it.

use std::sync::Arc;

use everwire_channel::{EventName, IdempotencyKey};

use super::command::{Command, History, Members, Snapshot};
use super::shared::Handle;
use super::{AlreadySubscribed, AskError, Publication, SubscribeOptions, Subscription};
use crate::{Offset, Receipt, Start};

/// A channel on a line; made by [`Line::channel`](crate::Line::channel). Cheap to clone.
#[derive(Clone, Debug)]
pub struct Channel {
    handle: Arc<Handle>,
    name: String,
}

impl Channel {
    pub(super) fn new(handle: Arc<Handle>, name: String) -> Self {
        Self { handle, name }
    }

    /// The channel's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the channel. A line reads each channel once at a time.
    ///
    /// # Errors
    ///
    /// The channel is being read on this line.
    pub fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription, AlreadySubscribed> {
        let shared = &self.handle.shared;
        let id = shared.with(|core, now| core.subscribe(&self.name, options, now))?;
        Ok(Subscription::new(self.handle.clone(), id))
    }

    /// Appends an entry, exactly once for as long as the server remembers keys: it is sent again with the same
    /// key when the line is lost before the answer, and waits while there is no line. Publications of one line
    /// are sent in the order in which these futures are first polled; where the server refuses some for a while,
    /// await each to keep the order. If the future is dropped, the entry may be published or not.
    ///
    /// # Errors
    ///
    /// The publication is not valid, the server refuses it, too much waits already, or no answer came in time.
    pub async fn publish(&self, publication: Publication) -> Result<Receipt, AskError> {
        if let Some(event) = &publication.event {
            EventName::new(event)?;
        }
        if let Some(key) = &publication.key {
            IdempotencyKey::new(key)?;
        }
        #[derive(serde::Deserialize)]
        struct Published {
            offset: Offset,
        }
        let shared = &self.handle.shared;
        let ok = shared
            .ask(|core, now| core.publish(&self.name, &publication, now))
            .await?;
        let Published { offset } = serde_json::from_str(&ok).map_err(|error| unreadable(&error))?;
        Ok(Receipt { offset })
    }

    /// Asks for at most `limit` entries of the past; servers give at most 1000 at once.
    ///
    /// # Errors
    ///
    /// The server refuses, too much waits already, or no answer came in time.
    pub async fn history(&self, start: &Start, limit: u32) -> Result<History, AskError> {
        let ok = self.ask(Command::history(&self.name, start, limit)).await?;
        History::parse(&ok).map_err(|error| AskError::Unreadable(format!("{error:?}")))
    }

    /// Asks who is there. Needs no subscription.
    ///
    /// # Errors
    ///
    /// The server refuses, too much waits already, or no answer came in time.
    pub async fn members(&self) -> Result<Members, AskError> {
        let ok = self.ask(Command::members(&self.name)).await?;
        let snapshot: Snapshot = serde_json::from_str(&ok).map_err(|error| unreadable(&error))?;
        Ok(snapshot.members.unwrap_or_default())
    }

    async fn ask(&self, command: Command) -> Result<String, AskError> {
        let shared = &self.handle.shared;
        shared.ask(|core, now| core.ask(command, now)).await
    }
}

fn unreadable(error: &serde_json::Error) -> AskError {
    AskError::Unreadable(error.to_string())
}
