//! The type of what somebody publishes: the channel's, or a guess that binds nobody else.

use std::sync::Arc;

use everwire_channel::{ContentKind, ContentType};

use crate::hub::Channel;

/// The type of a publication's payloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PayloadType {
    /// The publisher or the channel states it. An append with it fixes the type of a channel that has none.
    Stated(ContentType),
    /// Nobody states it: each entry has a kind of its own, and the channel stays open for any other.
    Guessed(ContentKind),
}

impl PayloadType {
    /// The type stated for a channel; `None` if there is no channel yet or nobody has stated one.
    pub fn stated_for(channel: Option<&Arc<Channel>>) -> Option<Self> {
        let stated = channel?.lock().core().content_type().cloned();
        stated.map(Self::Stated)
    }

    /// How payloads of this type are checked and encoded.
    pub fn kind(&self) -> ContentKind {
        match self {
            Self::Stated(content_type) => content_type.kind(),
            Self::Guessed(kind) => *kind,
        }
    }

    /// The media type that an append states.
    pub fn stated(&self) -> Option<&ContentType> {
        match self {
            Self::Stated(content_type) => Some(content_type),
            Self::Guessed(_) => None,
        }
    }

    /// The kind that each entry keeps for itself.
    pub fn own_kind(&self) -> Option<ContentKind> {
        match self {
            Self::Stated(_) => None,
            Self::Guessed(kind) => Some(*kind),
        }
    }

    /// The media type to name where one has to be named.
    pub fn media_type(&self) -> &ContentType {
        match self {
            Self::Stated(content_type) => content_type,
            Self::Guessed(kind) => kind.media_type(),
        }
    }
}
