//! What one side of a connection may do: settled by the opening handshake and the configuration.

use crate::deflate::Deflate;

/// Which side of the connection *we* are (RFC 6455, section 1.2).
///
/// The role decides who masks: a client masks every frame it sends, a server none (section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// We accepted the opening handshake.
    Server,
    /// We started the opening handshake.
    Client,
}

/// The rules for what arrives on a connection.
///
/// They are the same for all connections of a class, so they are an argument of
/// [`Inbound::handle_bytes`](crate::Inbound::handle_bytes) and not part of each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Our side of the connection.
    pub role: Role,
    /// Largest message accepted, in bytes, after inflation and over all its fragments. A larger one
    /// fails the connection with close code 1009 (RFC 6455, section 7.4.1). Must leave room for one
    /// more byte in a `usize`; no default, since only the caller knows its budget.
    pub message_bytes_max: usize,
    /// What the opening handshake settled about compression; `None`: RSV1 is a protocol error.
    pub deflate: Option<Deflate>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_two_words() {
        assert_eq!(size_of::<Option<Deflate>>(), 4);
        assert_eq!(size_of::<Rules>(), 2 * size_of::<usize>());
    }
}
