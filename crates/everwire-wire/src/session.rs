//! The messages of a session (`everwire.v1`), each a JSON object, the same over every wire.
//!
//! ```text
//!  → {"id":2,"op":"publish","channel":"chat/lobby","data":{"text":"hello"},"key":"c1-17"}
//!  ← {"re":2,"ok":{"offset":"0hx…"}}
//!  ← {"ev":"entry","channel":"chat/lobby","offset":"0hx…","time":1790000000000,"data":{"text":"hi"}}
//! ```
//!
//! [`command`] reads what a client says, [`message`] writes what it is told.

pub mod command;
pub mod message;

/// The WebSocket subprotocol of sessions.
pub const SUBPROTOCOL: &str = "everwire.v1";
