//! A sans-IO WebSocket codec: RFC 6455 and permessage-deflate (RFC 7692), for both sides.
//!
//! ```text
//!            handshake ─▶ Deflate ─▶ Rules
//!                                      │
//!  bytes of the peer ─▶ Inbound ───────┴─▶ Event      messages, pings, close; or a Failure
//!  message ─▶ encode_message, Deflater ──▶ bytes      for one peer or, unmasked, for all
//! ```
//!
//! Nothing here has a socket, a task, a clock or randomness of its own. A connection at rest costs
//! nothing: [`Inbound`] holds no heap while it is idle, and a shell may drop it and start with a new
//! one at the next byte. [`Connection`] joins the pieces for shells that want one object.

pub mod frame;
pub mod handshake;

mod close;
mod connection;
mod deflate;
mod encode;
mod failure;
mod inbound;
mod mask;
mod rules;
mod utf8;

pub use close::CloseCode;
pub use connection::{
    Connection, ConnectionEvent, ConnectionOptions, Ending, MaskingKeys, NotOpen,
};
pub use deflate::{
    ContextTakeover, Deflate, DeflateOffer, DeflatePolicy, Deflater, Level, Scratch, WindowBits,
};
pub use encode::{
    Masker, encode_close, encode_compressed_message, encode_message, encode_message_head,
    encode_message_with, encode_ping, encode_pong,
};
pub use failure::Failure;
pub use frame::MessageKind;
pub use inbound::{Event, Inbound};
pub use mask::{MaskingKey, mask};
pub use rules::{Role, Rules};
