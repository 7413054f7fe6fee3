//! The close codes of our own, from the range of private use (RFC 6455, section 7.4.2).

use everwire_websocket::CloseCode;

/// The message is not what this line takes.
pub const BAD_MESSAGE: CloseCode = CloseCode::new(4400);
/// The credential is missing or has expired.
pub const EXPIRED: CloseCode = CloseCode::new(4401);
/// Not permitted.
pub const FORBIDDEN: CloseCode = CloseCode::new(4403);
/// There is no such channel; said where a page is to see why its handshake is refused.
pub const NOT_FOUND: CloseCode = CloseCode::new(4404);
/// The peer has answered no heartbeat.
pub const HEARTBEAT_MISSED: CloseCode = CloseCode::new(4408);
/// Another took this one's place.
pub const REPLACED: CloseCode = CloseCode::new(4409);
/// Entries are gone that the line needed.
pub const GAP: CloseCode = CloseCode::new(4410);
/// Too many messages.
pub const TOO_FAST: CloseCode = CloseCode::new(4429);
