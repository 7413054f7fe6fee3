//! Channels as logs: names, offsets, entries, retention and cursor reads.
//!
//! ```text
//!   Append ──▶ Channel ── admits or refuses ──▶ Log  e7:1 e7:2 e7:3 …        trim ──▶ oldest
//!   (drafts,   (media type, closed,             ▲
//!    producer,  producers, keys)                └── after(sequence) ──▶ Entries · CaughtUp · Gap
//!    key)
//! ```
//!
//! A channel is a named log. Whoever reads it holds an [`Offset`], the position after an entry, and asks for what follows;
//! the answer has three forms only: entries, caught up, or gap ([`Read`]). So each reader sees each entry once, in order, or is
//! told of one explicit gap, over any number of disconnections.
//!
//! Nothing here reads a clock, draws a random number, takes a lock or does IO. Times are Unix milliseconds and come in as
//! `now_ms`; epochs and marks come in too.
//!
//! In reading order: [`name`] and [`pattern`] say what a channel is called, [`offset`] and [`start`] where a reader stands,
//! [`label`] and [`entry`] what is stored, [`content_type`] and [`split`](mod@split) how a body becomes entries, [`retention`] and
//! [`log`] how entries are kept and read, [`expiry`], [`producer`] and [`channel`] who may append and for how long.

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

pub mod channel;
pub mod expiry;
pub mod producer;
mod recent;

pub use channel::{
    Append, AppendError, Appended, Channel, Confirmed, Mismatch, RepeatLimits, Setup,
};
pub use content_type::{ContentKind, ContentType, ContentTypeError};
pub use entry::{Draft, Entry};
pub use expiry::{Expiry, TtlError};
pub use label::{EventName, IdempotencyKey, LabelError, PublisherId, StreamSeq};
pub use log::{Entries, Gap, Log, Read};
pub use name::{ChannelName, NameError};
pub use offset::{Epoch, Mark, Offset, OffsetError, Token};
pub use pattern::{Pattern, PatternError};
pub use producer::{Producer, ProducerAnswer, ProducerError};
pub use retention::Retention;
pub use split::{ContentError, split};
pub use start::Start;
