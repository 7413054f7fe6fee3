//! Entries: what a log holds.

use bytes::Bytes;

use crate::content_type::ContentKind;
use crate::label::{EventName, PublisherId};
use crate::offset::Mark;

/// One appended item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was appended, in Unix milliseconds, as the appending side told.
    pub time_ms: u64,
    /// Fixed when it was stored; part of the offset after it.
    pub mark: Mark,
    /// What was published, in the channel's media type or of the entry's own kind.
    pub payload: Bytes,
    kind: Option<ContentKind>,
    // Boxed, since most entries have none: 8 bytes then, not 32.
    labels: Option<Box<Labels>>,
}

/// An entry before it is appended.
///
/// A payload keeps alive the allocation that it is a slice of, which [`Entry::accounted_bytes`]
/// cannot see. [`split`](crate::split()) bounds that for a body that is its own allocation; who
/// takes slices of a larger read buffer should copy them first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Draft {
    /// What is published.
    pub payload: Bytes,
    /// The kind of the payload where nobody stated the channel's media type; `None` for one in that type.
    pub kind: Option<ContentKind>,
    /// The event's name, if it has one.
    pub event: Option<EventName>,
    /// Who publishes, if readers shall know.
    pub publisher: Option<PublisherId>,
}

impl Entry {
    /// What each entry is accounted beside payload and labels, in bytes: its place in the log and
    /// the header of its payload's allocation. It bounds a million empty entries too.
    pub const OVERHEAD_BYTES: u64 = 128;

    pub(crate) fn new(draft: Draft, mark: Mark, time_ms: u64) -> Self {
        let Draft {
            payload,
            kind,
            event,
            publisher,
        } = draft;
        let labels =
            (event.is_some() || publisher.is_some()).then(|| Box::new(Labels { event, publisher }));
        Self {
            time_ms,
            mark,
            payload,
            kind,
            labels,
        }
    }

    /// The entry's own kind, if it was appended while nobody had stated the channel's media type. `None` for an
    /// entry in that type.
    pub fn kind(&self) -> Option<ContentKind> {
        self.kind
    }

    /// The event's name, if it has one.
    pub fn event(&self) -> Option<&str> {
        self.labels.as_ref()?.event.as_ref().map(EventName::as_str)
    }

    /// Who published it, if told.
    pub fn publisher(&self) -> Option<&PublisherId> {
        self.labels.as_ref()?.publisher.as_ref()
    }

    /// What the entry counts for in [`Retention::bytes_max`](crate::Retention::bytes_max): payload,
    /// labels and [`Entry::OVERHEAD_BYTES`].
    pub fn accounted_bytes(&self) -> u64 {
        let labels =
            self.event().map_or(0, str::len) + self.publisher().map_or(0, |id| id.as_str().len());
        (self.payload.len() + labels) as u64 + Self::OVERHEAD_BYTES
    }
}

impl Draft {
    /// What its entry will count for, as [`Entry::accounted_bytes`] tells then.
    pub fn accounted_bytes(&self) -> u64 {
        let event = self.event.as_ref().map_or(0, |event| event.as_str().len());
        let publisher = (self.publisher.as_ref()).map_or(0, |id| id.as_str().len());
        (self.payload.len() + event + publisher) as u64 + Entry::OVERHEAD_BYTES
    }
}

impl From<Bytes> for Draft {
    fn from(payload: Bytes) -> Self {
        Self {
            payload,
            kind: None,
            event: None,
            publisher: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Labels {
    event: Option<EventName>,
    publisher: Option<PublisherId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry>(), 56);
    }

    #[test]
    fn an_entry_keeps_what_its_draft_says() {
        let event = EventName::new("typing").ok();
        let publisher = PublisherId::new("user-17").ok();
        for (event, publisher, accounted) in [
            (None, None, 2 + 128),
            (event.clone(), None, 2 + 6 + 128),
            (None, publisher.clone(), 2 + 7 + 128),
            (event, publisher, 2 + 6 + 7 + 128),
        ] {
            let payload = Bytes::from_static(b"hi");
            let draft = Draft {
                payload,
                kind: None,
                event: event.clone(),
                publisher: publisher.clone(),
            };
            let entry = Entry::new(draft, Mark(5), 1_700_000_000_000);
            assert_eq!(entry.payload, "hi");
            assert_eq!(entry.mark, Mark(5));
            assert_eq!(entry.time_ms, 1_700_000_000_000);
            assert_eq!(entry.event(), event.as_ref().map(EventName::as_str));
            assert_eq!(entry.publisher(), publisher.as_ref());
            assert_eq!(entry.accounted_bytes(), accounted);
        }
    }
}
