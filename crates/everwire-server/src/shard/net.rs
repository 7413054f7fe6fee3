//! What a shard needs of the operating system: sockets that never wait, and a queue that tells which of them are
//! ready.
//!
//! ```text
//!  Shard ──▶ Net ──┬─▶ Kernel           TCP sockets and the kernel's event queue, by mio
//!                  └─▶ a net in memory  for tests and simulations
//! ```
//!
//! A socket is used through the net that it belongs to, so that it can be as small as a number. Who calls is
//! known when the program is compiled: the walk pays nothing for the choice.

mod kernel;
#[cfg(test)]
pub(crate) mod memory;

use std::io::{self, IoSlice};

use super::keys::{Key, LineKey};

pub(crate) use kernel::Kernel;

/// Sockets, and the queue of their events. Readiness is told once for each change (edge-triggered), and asking
/// again for a socket tells what it is ready for now.
pub(crate) trait Net {
    /// An open connection, which ends when this is dropped.
    type Socket;

    /// Tells from now on when a socket has input, under its line's number.
    fn watch(&self, socket: &mut Self::Socket, line: LineKey) -> io::Result<()>;

    /// Tells of input, and of room for output where that is waited for.
    fn watch_again(
        &self,
        socket: &mut Self::Socket,
        line: LineKey,
        for_room: bool,
    ) -> io::Result<()>;

    /// Tells no more of a socket, which stays open.
    fn unwatch(&self, socket: &mut Self::Socket) -> io::Result<()>;

    /// Adds what happened, without waiting for anything to happen. True if there may be more, of which nothing
    /// wakes the shard.
    fn poll(&mut self, happened: &mut Vec<Ready>) -> io::Result<bool>;

    /// Reads what there is; 0 bytes are the end.
    fn read(&self, socket: &Self::Socket, buffer: &mut [u8]) -> io::Result<usize>;

    /// Sends what fits, and tells how much, never 0; fewer bytes than given mean that no more fit for now.
    fn send(&self, socket: &Self::Socket, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends our side of a connection; what comes from the peer is still read.
    fn end(&self, socket: &Self::Socket) -> io::Result<()>;
}

/// What a line's socket is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready {
    pub line: LineKey,
    pub readable: bool,
    pub writable: bool,
    /// The peer has ended its side, or the connection is broken.
    pub read_closed: bool,
}
