//! Channels as logs: names, offsets, entries, retention and cursor reads.

pub mod name;
pub mod pattern;
pub mod offset;
pub mod start;
pub mod label;
pub mod entry;
pub mod content_type;
pub mod split;
pub mod log;
pub mod retention;

pub use content_type::{ContentKind, ContentType, ContentTypeError};
pub use entry::{Draft, Entry};
pub use label::{EventName, IdempotencyKey, LabelError, PublisherId, StreamSeq};
pub use log::{Entries, Gap, Log, Read};
pub use name::{ChannelName, NameError};
pub use offset::{Epoch, Mark, Offset, OffsetError, Token};
pub use pattern::{Pattern, PatternError};
pub use retention::Retention;
pub use split::{ContentError, split};
pub use start::Start;
