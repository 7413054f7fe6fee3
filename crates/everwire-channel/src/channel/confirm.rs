//! Creating a channel that exists already (`PUT`): idempotent if it is what was asked for.

use super::{Channel, State};
use crate::content_type::ContentType;
use crate::expiry::Expiry;

impl Channel {
    /// Confirms that the channel is what a creation asks for. `content_type: None` asks for none
    /// in particular; expiry and closedness have to be the same.
    ///
    /// A channel that a reader made has no creator so far: it takes on what is asked, and the caller
    /// answers as to a creation. A media type that nobody stated yet is stated by this creation;
    /// entries that are there keep their kinds.
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
        if !self.is_created {
            return self.adopt(content_type, expiry, closed, now_ms);
        }
        if let (Some(asked), Some(channel)) = (content_type, &self.content_type)
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
            (true, true) | (false, false) => {
                if self.content_type.is_none() {
                    self.content_type = content_type.cloned();
                }
                Ok(Confirmed::Same)
            }
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
        self.is_created = true;
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

#[cfg(test)]
mod tests {
    use super::super::{Append, Setup};
    use super::*;
    use crate::offset::{Epoch, Mark};

    fn made_by_a_read() -> Channel {
        Channel::new(Setup::new(Epoch(7), Mark(1)), 0)
    }

    #[test]
    fn a_creation_confirms_a_channel_that_is_what_it_asks_for() {
        let (text, json) = (ContentType::text(), ContentType::json());
        let ttl = Some(Expiry::Sliding { ttl_ms: 10 });
        let other_ttl = Some(Expiry::Sliding { ttl_ms: 11 });
        let mismatch = Mismatch::ContentType {
            channel: text.clone(),
            asked: json.clone(),
        };
        for (is_closed, asked, expected) in [
            (false, (Some(&text), ttl, false), Ok(Confirmed::Same)),
            (false, (None, ttl, false), Ok(Confirmed::Same)),
            (true, (Some(&text), ttl, true), Ok(Confirmed::Same)),
            (false, (Some(&json), None, true), Err(mismatch)),
            (false, (Some(&text), other_ttl, true), Err(Mismatch::Expiry)),
            (false, (Some(&text), None, false), Err(Mismatch::Expiry)),
            (true, (Some(&text), ttl, false), Err(Mismatch::Closed)),
            (false, (Some(&text), ttl, true), Err(Mismatch::Open)),
        ] {
            let mut channel = Channel::new(
                Setup {
                    content_type: Some(text.clone()),
                    expiry: ttl,
                    closed: is_closed,
                    ..Setup::new(Epoch(7), Mark(1))
                },
                0,
            );
            let before = format!("{channel:?}");
            let (content_type, expiry, closed) = asked;
            assert_eq!(
                channel.confirm(content_type, expiry, closed, 5),
                expected,
                "{asked:?}"
            );
            assert_eq!(format!("{channel:?}"), before);
        }
    }

    #[test]
    fn a_creation_states_the_type_that_nobody_stated_and_then_others_conflict() {
        let (text, json) = (ContentType::text(), ContentType::json());
        let mut by_appending = made_by_a_read();
        by_appending
            .append(
                Append {
                    entries: vec![crate::Draft::from(bytes::Bytes::from_static(b"hi"))],
                    ..Append::default()
                },
                0,
            )
            .unwrap();
        let mut by_request = made_by_a_read();
        assert_eq!(
            by_request.confirm(None, None, false, 0),
            Ok(Confirmed::Adopted)
        );
        for mut channel in [by_appending, by_request] {
            assert_eq!(channel.confirm(None, None, false, 1), Ok(Confirmed::Same));
            assert_eq!(channel.content_type(), None);
            let ttl = Some(Expiry::Sliding { ttl_ms: 10 });
            assert_eq!(
                channel.confirm(Some(&text), ttl, false, 1),
                Err(Mismatch::Expiry)
            );
            assert_eq!(channel.content_type(), None);
            assert_eq!(
                channel.confirm(Some(&text), None, false, 1),
                Ok(Confirmed::Same)
            );
            assert_eq!(channel.content_type(), Some(&text));
            let conflict = channel.confirm(Some(&json), None, false, 1);
            assert!(matches!(conflict, Err(Mismatch::ContentType { .. })));
        }
    }

    #[test]
    fn a_creation_adopts_a_channel_that_a_read_made() {
        let text = ContentType::text();
        let ttl = Some(Expiry::Sliding { ttl_ms: 10 });
        for closed in [false, true] {
            let mut channel = made_by_a_read();
            assert_eq!(
                channel.confirm(Some(&text), ttl, closed, 5),
                Ok(Confirmed::Adopted)
            );
            assert_eq!(channel.content_type(), Some(&text));
            assert_eq!(channel.expires_at_ms(), Some(15));
            assert_eq!(channel.is_closed(), closed);
            assert_eq!(
                channel.confirm(Some(&text), ttl, closed, 6),
                Ok(Confirmed::Same)
            );
        }
        let mut closed = made_by_a_read();
        closed
            .append(
                Append {
                    close: true,
                    ..Append::default()
                },
                1,
            )
            .unwrap();
        assert_eq!(
            closed.confirm(Some(&text), None, false, 5),
            Err(Mismatch::Closed)
        );
    }
}
