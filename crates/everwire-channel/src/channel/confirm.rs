//! Creating a channel that exists already (`PUT`): idempotent if it is what was asked for.

use super::{Channel, State};
use crate::content_type::ContentType;
use crate::expiry::Expiry;

impl Channel {
    /// Confirms that the channel is what a creation asks for. `content_type: None` asks for none
    /// in particular; expiry and closedness have to be the same.
    ///
    /// A channel that a read made, with no media type yet, has no creator so far: it takes on what
    /// is asked, and the caller answers as to a creation.
    ///
    /// # Errors
    ///
    /// The first [`Mismatch`], in the order of its variants.
    pub fn confirm(
        &mut self,
        content_type: Option<&ContentType>,
        expiry: Option<Expiry>,
        closed: bool,
        now_ms: u64,
    ) -> Result<Confirmed, Mismatch> {
        let Some(channel) = &self.content_type else {
            return self.adopt(content_type, expiry, closed, now_ms);
        };
        if let Some(asked) = content_type
            && asked != channel
        {
            return Err(Mismatch::ContentType {
                channel: channel.clone(),
                asked: asked.clone(),
            });
        }
        if expiry != self.expiry {
            return Err(Mismatch::Expiry);
        }
        match (self.is_closed(), closed) {
            (true, false) => Err(Mismatch::Closed),
            (false, true) => Err(Mismatch::Open),
            (true, true) | (false, false) => Ok(Confirmed::Same),
        }
    }

    fn adopt(
        &mut self,
        content_type: Option<&ContentType>,
        expiry: Option<Expiry>,
        closed: bool,
        now_ms: u64,
    ) -> Result<Confirmed, Mismatch> {
        match (&self.state, closed) {
            (State::Closed { .. }, false) => return Err(Mismatch::Closed),
            (State::Open, true) => self.state = State::Closed { by: None },
            (State::Open, false) | (State::Closed { .. }, true) => {}
        }
        self.content_type = content_type.cloned();
        self.expiry = expiry;
        self.touch(now_ms);
        Ok(Confirmed::Adopted)
    }
}

/// A creation of a channel that exists already, and is what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// It was that already: answer `200`.
    Same,
    /// It had been made by a read and now is that: answer `201`.
    Adopted,
}

/// Why an existing channel is not what a creation asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Another media type.
    #[error(
        "the channel exists and holds {channel}, not {asked}; create it with its own type or under another name"
    )]
    ContentType {
        /// The channel's type.
        channel: ContentType,
        /// The type asked for.
        asked: ContentType,
    },
    /// Another expiry.
    #[error(
        "the channel exists with another expiry; ask for its own, or create it under another name"
    )]
    Expiry,
    /// It is closed and was asked for open.
    #[error("the channel exists and is closed; delete it first, or create it under another name")]
    Closed,
    /// It is open and was asked for closed.
    #[error("the channel exists and is open; close it with an append instead")]
    Open,
}
