//! The framings of a channel's entries, as pure encoders over a cursor.
//!
//! ```text
//!                      ┌─▶ websocket      one message an entry, or the session's JSON messages
//!  log ─▶ entry ─▶ Framing ─▶ event_stream   for a bare `EventSource`, or as Durable Streams defines it
//!                      ├─▶ ndjson         a JSON object a line
//!                      └─▶ body           catch-up and long poll: many entries, one body
//! ```
//!
//! A [`Framing`] names one way to write an entry as bytes; all lines that share a framing share the bytes,
//! which a [`Tail`] keeps for as long as somebody still has to be sent them. What a cursor meets is written
//! by the same module: entries, a gap, the end. Nothing here opens a socket, reads a clock or starts a task.

mod body;
mod carrier;
pub mod codes;
mod cursor;
mod envelope;
mod event_stream;
mod framing;
mod ndjson;
mod problem;
mod session;
mod tail;
mod transfer;
mod websocket;

pub use body::{Page, PageForm, page, page_if};
pub use carrier::Carrier;
pub use cursor::{CURSOR_INTERVAL_MS, StreamCursor};
pub use framing::{Deflaters, Framing, Notice, Source, Standing};
pub use problem::{Problem, ProblemKind};
pub use session::{
    SUBPROTOCOL,
    command::{Command, CommandError, Data, From, Operation, PresenceWish, Publish, Subscribe},
    message::{
        Welcome, encode_error, encode_ok, encode_revoked, encode_subscribed, encode_welcome,
        entry_of_reply, offset_of_reply,
    },
};
pub use tail::{Place, Tail};
pub use transfer::{LAST_CHUNK, Transfer};
